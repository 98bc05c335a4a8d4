//! Pictures of several pictures.

use bytes::Bytes;
use relief_api::plot::v1 as wire;
use relief_api::plot::v1::figure_panel::Picture;
use relief_api::{ApiError, FieldViolation};
use relief_store::Store;

use super::{drawn, run, several, style, trajectory};
use crate::plot::{self, FigureSpec, Layout, Panel, PlotSpec, SurfacesSpec, draw_figure};

/// More panels than this have no room in one picture.
const MOST_PANELS: usize = 24;
/// More surfaces than this, over all panels, are not held at once.
const MOST_SURFACES: usize = 48;

/// Draws several pictures as they are now.
///
/// # Errors
/// With the field that is wrong, or those of the pictures, each with the panel that it is of.
pub(super) async fn render(store: &Store, request: wire::RenderFigureRequest) -> Result<(Bytes, String), ApiError> {
    let n_panels = request.panels.len();
    if n_panels == 0 || n_panels > MOST_PANELS {
        let message = format!("it holds {n_panels} panels; it must hold 1 to {MOST_PANELS}");
        return Err(ApiError::field("panels", message));
    }
    let n_surfaces: usize = request.panels.iter().map(n_surfaces).sum();
    if n_surfaces > MOST_SURFACES {
        let message = format!("its panels show {n_surfaces} surfaces; they must show {MOST_SURFACES} at most");
        return Err(ApiError::field("panels", message));
    }
    let figure = figure_spec(&request)?;
    let mut panels = Vec::with_capacity(n_panels);
    for (idx, panel) in request.panels.into_iter().enumerate() {
        let Some(picture) = panel.picture else {
            let message = "it is empty; it must hold one of surface, trajectory, runs and surfaces";
            return Err(ApiError::field(format!("panels[{idx}].picture"), message));
        };
        let name = name(&picture);
        panels.push(self::panel(store, picture, request.theme).await.map_err(|error| of_panel(idx, name, error))?);
    }
    drawn(figure.format, move || draw_figure(&panels, &figure)).await
}

/// What is told of the panel `idx` of a figure, whose picture stands in the field `picture`.
pub(super) fn of_panel(idx: usize, picture: &str, error: ApiError) -> ApiError {
    let place = format!("panels[{idx}].{picture}");
    let below =
        |violation: FieldViolation| FieldViolation { field: format!("{place}.{}", violation.field), ..violation };
    let message = if error.violations.is_empty() {
        format!("{place}: {}", error.message)
    } else {
        // The message begins with the field.
        format!("{place}.{}", error.message)
    };
    ApiError { message, violations: error.violations.into_iter().map(below).collect(), ..error }
}

/// How many surfaces a panel shows.
fn n_surfaces(panel: &wire::FigurePanel) -> usize {
    match &panel.picture {
        Some(Picture::Surface(_) | Picture::Trajectory(_)) => 1,
        Some(Picture::Surfaces(request)) => request.surfaces.len(),
        Some(Picture::Runs(_)) | None => 0,
    }
}

fn name(picture: &Picture) -> &'static str {
    match picture {
        Picture::Surface(_) => "surface",
        Picture::Trajectory(_) => "trajectory",
        Picture::Runs(_) => "runs",
        Picture::Surfaces(_) => "surfaces",
    }
}

fn figure_spec(request: &wire::RenderFigureRequest) -> Result<FigureSpec, ApiError> {
    let like = wire::RenderSurfaceRequest {
        kind: wire::PlotKind::Contour.into(),
        format: request.format,
        theme: request.theme,
        width: request.width,
        dpi: request.dpi,
        ..wire::RenderSurfaceRequest::default()
    };
    let PlotSpec { format, theme, pixel_ratio, .. } = style(&like, 2)?;
    Ok(FigureSpec {
        n_columns: request.columns,
        title: Some(request.title.clone()).filter(|title| !title.is_empty()),
        format,
        theme,
        width: request.width,
        pixel_ratio,
        has_shared_scale: request.shared_scale,
    })
}

/// Reads what a picture shows, to be drawn in `theme`.
async fn panel(store: &Store, picture: Picture, theme: i32) -> Result<Panel, ApiError> {
    match picture {
        Picture::Surface(request) => {
            shared([request.format, request.theme], request.width, request.dpi)?;
            super::panel(store, &wire::RenderSurfaceRequest { theme, ..request }).await
        }
        Picture::Trajectory(request) => {
            shared([request.format, request.theme], request.width, request.dpi)?;
            trajectory::panel(store, &wire::RenderTrajectoryRequest { theme, ..request }).await
        }
        Picture::Runs(request) => {
            shared([request.format, request.theme], request.width, request.dpi)?;
            run::panel(store, &wire::RenderRunsRequest { theme, ..request }).await
        }
        Picture::Surfaces(request) => {
            shared([request.format, request.theme], request.width, request.dpi)?;
            let panel = several::panel(store, &wire::RenderSurfacesRequest { theme, ..request }).await?;
            match panel.picture {
                plot::Picture::Surfaces(_, SurfacesSpec { layout: Layout::Panels(_), .. }) => {
                    let message = "it is panels, of which a figure is made: let each surface be a panel of its own";
                    Err(ApiError::field("layout", message))
                }
                _ => Ok(panel),
            }
        }
    }
}

/// Checks that a panel leaves out what all panels share.
fn shared([format, theme]: [i32; 2], width: Option<u32>, dpi: Option<f64>) -> Result<(), ApiError> {
    let given = [
        ("format", (format != 0).then(|| format.to_string())),
        ("theme", (theme != 0).then(|| theme.to_string())),
        ("width", width.map(|width| width.to_string())),
        ("dpi", dpi.map(|dpi| dpi.to_string())),
    ];
    match given.into_iter().find_map(|(field, value)| value.map(|value| (field, value))) {
        Some((field, value)) => {
            Err(ApiError::field(field, format!("it is {value}; all panels have that of the figure: leave it out")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use relief_api::ErrorReason;

    use super::*;

    fn figure(pictures: Vec<Option<Picture>>) -> wire::RenderFigureRequest {
        let panels = pictures.into_iter().map(|picture| wire::FigurePanel { picture }).collect();
        wire::RenderFigureRequest { panels, ..wire::RenderFigureRequest::default() }
    }

    fn surface(name: &str) -> Picture {
        Picture::Surface(wire::RenderSurfaceRequest { surface: name.to_owned(), ..Default::default() })
    }

    #[tokio::test]
    async fn refusals_name_the_panel_the_field_and_what_would_be_right() {
        let store = Store::open("memory://").expect("a store");
        let wide = wire::RenderRunsRequest { runs: vec!["r".to_owned()], width: Some(300), ..Default::default() };
        let cases = [
            (figure(Vec::new()), ErrorReason::InvalidField, "panels: it holds 0 panels; it must hold 1 to 24"),
            (figure(vec![None; 25]), ErrorReason::InvalidField, "it holds 25 panels"),
            (figure(vec![None]), ErrorReason::InvalidField, "panels[0].picture: it is empty"),
            (figure(vec![Some(surface("a b"))]), ErrorReason::InvalidField, "panels[0].surface.surface"),
            (figure(vec![Some(surface("s"))]), ErrorReason::NotFound, "panels[0].surface: there is no surfaces/s"),
            (
                figure(vec![Some(Picture::Runs(wide))]),
                ErrorReason::InvalidField,
                "panels[0].runs.width: it is 300; all",
            ),
            (
                wire::RenderFigureRequest { theme: 7, ..figure(vec![Some(surface("s"))]) },
                ErrorReason::InvalidField,
                "1 paper, 2 dark",
            ),
        ];
        for (request, reason, part) in cases {
            let error = render(&store, request).await.expect_err(part);
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
