//! Pictures of several surfaces.

use relief_api::convert::UnknownNumber;
use relief_api::plot::v1 as wire;
use relief_api::{ApiError, ErrorReason};
use relief_core::{NameError, PointFlag, SurfaceId, SurfaceSpec};
use relief_store::{Store, SurfaceRecord};

use super::{direction_label, of_split, split, style};
use crate::plot::{Layout, NamedSurface, Panel, Picture, PlotKind, PlotSpec, Spread, SurfacesSpec};

/// More surfaces than this have no room in one picture.
const MOST_SURFACES: usize = 24;

/// Several surfaces as they are now.
///
/// # Errors
/// With the field that is wrong, or when one of them has no computed point yet.
pub(super) async fn panel(store: &Store, request: &wire::RenderSurfacesRequest) -> Result<Panel, ApiError> {
    let ids = ids(request)?;
    let mut records = Vec::with_capacity(ids.len());
    for id in &ids {
        records.push(store.get_surface(id).await?);
    }
    check_alike(&records)?;
    let several = layout(request, &records[0].spec)?;
    let spec = plot_spec(request, &records)?;
    if spec.kind == PlotKind::Curve && records[0].spec.grid.n_rows() > 1 {
        let message = format!("it is curve, but surfaces[0] has {} rows", records[0].spec.grid.n_rows());
        return Err(ApiError::field("kind", message));
    }
    let mut surfaces = Vec::with_capacity(records.len());
    for (idx, record) in records.iter().enumerate() {
        let split = split(request.split, &record.spec)?;
        let values = of_split(store.read_values(record).await?, split);
        if values.main.flags.iter().all(|flag| *flag == PointFlag::Never) {
            let message = format!("{} has no computed point yet; draw it when its first tile is done", record.id);
            return Err(ApiError::new(ErrorReason::WrongState, message));
        }
        let name = match request.labels.get(idx) {
            Some(label) if !label.is_empty() => label.clone(),
            _ => record.id.as_str().to_owned(),
        };
        surfaces.push(NamedSurface { name, values });
    }
    Ok(Panel { picture: Picture::Surfaces(surfaces, several), spec })
}

fn ids(request: &wire::RenderSurfacesRequest) -> Result<Vec<SurfaceId>, ApiError> {
    let wire::RenderSurfacesRequest { surfaces, labels, .. } = request;
    let n_surfaces = surfaces.len();
    if n_surfaces == 0 || n_surfaces > MOST_SURFACES {
        let message = format!("it holds {n_surfaces} surfaces; it must hold 1 to {MOST_SURFACES}");
        return Err(ApiError::field("surfaces", message));
    }
    if !labels.is_empty() && labels.len() != n_surfaces {
        let n_labels = labels.len();
        let message =
            format!("it holds {n_labels} labels for {n_surfaces} surfaces; it must hold one for each, or none");
        return Err(ApiError::field("labels", message));
    }
    let id = |(idx, name): (usize, &String)| {
        name.parse().map_err(|error: NameError| ApiError::field(format!("surfaces[{idx}]"), error.to_string()))
    };
    surfaces.iter().enumerate().map(id).collect()
}

/// Checks that all are curves, or none is.
fn check_alike(records: &[SurfaceRecord]) -> Result<(), ApiError> {
    let kind = |record: &SurfaceRecord| match record.spec.grid.n_rows() {
        1 => "a curve",
        _ => "a surface of two axes",
    };
    let first = kind(&records[0]);
    match records.iter().enumerate().find(|(_, record)| kind(record) != first) {
        None => Ok(()),
        Some((idx, record)) => {
            let message = format!(
                "{} is {}, but {} is {first}; one picture is of curves alone, or of none",
                record.id,
                kind(record),
                records[0].id,
            );
            Err(ApiError::field(format!("surfaces[{idx}]"), message))
        }
    }
}

fn layout(request: &wire::RenderSurfacesRequest, first: &SurfaceSpec) -> Result<SurfacesSpec, ApiError> {
    let unknown = |field: &str, number, known| ApiError::field(field, UnknownNumber { number, known }.to_string());
    let spread = match wire::BandSpread::try_from(request.spread) {
        Ok(wire::BandSpread::Unspecified | wire::BandSpread::Range) => Spread::Range,
        Ok(wire::BandSpread::Deviation) => Spread::Deviation,
        Err(_) => return Err(unknown("spread", request.spread, "1 range, 2 deviation")),
    };
    let layout = match wire::SurfacesLayout::try_from(request.layout) {
        Ok(wire::SurfacesLayout::Unspecified) if first.grid.n_rows() > 1 => Layout::Panels(request.columns),
        Ok(wire::SurfacesLayout::Unspecified | wire::SurfacesLayout::Overlay) => Layout::Overlay,
        Ok(wire::SurfacesLayout::Band) => Layout::Band(spread),
        Ok(wire::SurfacesLayout::Panels) => Layout::Panels(request.columns),
        Err(_) => return Err(unknown("layout", request.layout, "1 overlay, 2 band, 3 panels")),
    };
    if let (Some(columns), Layout::Overlay | Layout::Band(_)) = (request.columns, layout) {
        return Err(ApiError::field("columns", format!("it is {columns}; only panels have columns: leave it out")));
    }
    Ok(SurfacesSpec { layout, has_accuracy: request.accuracy, has_own_width: request.width.is_none() })
}

fn plot_spec(request: &wire::RenderSurfacesRequest, records: &[SurfaceRecord]) -> Result<PlotSpec, ApiError> {
    let like = wire::RenderSurfaceRequest {
        kind: request.kind,
        scale: request.scale,
        format: request.format,
        theme: request.theme,
        palette: request.palette,
        width: request.width,
        dpi: request.dpi,
        azimuth: request.azimuth,
        elevation: request.elevation,
        projection: request.projection,
        loss_max: request.loss_max,
        ..wire::RenderSurfaceRequest::default()
    };
    let styled = style(&like, records[0].spec.grid.n_rows())?;
    let title = Some(request.title.clone()).filter(|title| !title.is_empty());
    // An axis that leads elsewhere in each has no name that fits all.
    let shared = |label: &dyn Fn(&SurfaceSpec) -> Option<String>| {
        let first = label(&records[0].spec);
        first.filter(|first| records.iter().all(|record| label(&record.spec).as_ref() == Some(first)))
    };
    let x_label = shared(&|spec| direction_label(spec, &spec.plane.x)).unwrap_or(styled.x_label.clone());
    let y_label = shared(&|spec| spec.plane.y.as_ref().and_then(|y| direction_label(spec, y)));
    let y_label = y_label.unwrap_or(styled.y_label.clone());
    Ok(PlotSpec { title, x_label, y_label, ..styled })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(surfaces: &[&str]) -> wire::RenderSurfacesRequest {
        wire::RenderSurfacesRequest {
            surfaces: surfaces.iter().map(|surface| (*surface).to_owned()).collect(),
            ..wire::RenderSurfacesRequest::default()
        }
    }

    #[tokio::test]
    async fn refusals_name_the_field_and_what_would_be_right() {
        let store = Store::open("memory://").expect("a store");
        let labels = vec!["x".to_owned()];
        let cases = [
            (request(&[]), ErrorReason::InvalidField, "it holds 0 surfaces; it must hold 1 to 24"),
            (request(&["s"; 25]), ErrorReason::InvalidField, "it holds 25 surfaces"),
            (request(&["s", "a b"]), ErrorReason::InvalidField, "surfaces[1]"),
            (request(&["none"]), ErrorReason::NotFound, "there is no surfaces/none"),
            (
                wire::RenderSurfacesRequest { labels, ..request(&["a", "b"]) },
                ErrorReason::InvalidField,
                "it holds 1 labels for 2 surfaces; it must hold one for each, or none",
            ),
        ];
        for (request, reason, part) in cases {
            let error = panel(&store, &request).await.expect_err(part);
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
