//! Pages: a picture that answers to the pointer, in one HTML file that fetches nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use relief_core::SurfaceValues;
use serde_json::{Value, json};

use super::bar;
use super::colormap::{self, Tones};
use super::contour;
use super::field::{Field, Range};
use super::frame::Frame;
use super::isoline::isolines;
use super::mesh::Mesh;
use super::number::short;
use super::scene::{Drawing, Rect, Size, escaped};
use super::tick::{self, Ticks};
use super::view::{DISTANCE, LEAST_SLANT};
use super::{axes, note};
use crate::plot::{LossScale, Path, PlotError, PlotSpec, Projection};

const PAGE: &str = include_str!("../../page/page.html");
const STYLE: &str = include_str!("../../page/page.css");
const SURFACE: &str = include_str!("../../page/surface.js");
const PICTURE: &str = include_str!("../../page/picture.js");

/// Returns a page on which `field` is a surface that turns under the pointer.
pub(super) fn surface(values: &SurfaceValues, field: &Field<'_>, spec: &PlotSpec) -> Vec<u8> {
    let mesh = Mesh::of(field);
    let tones = Tones::of(spec.theme);
    let (x, y) = (contour::ends(field.x), contour::ends(field.y));
    let positions: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
    let mut contours = Vec::new();
    for level in contour::levels_of(field) {
        let color = tones.line(spec.palette, field.range.share(level.position)).to_string();
        for line in isolines(&positions, field.n_columns(), level.position) {
            let close = line.is_closed.then(|| line.points[0]);
            let place = |(column, row): (f64, f64)| {
                [contour::coordinate(&mesh.x, column), contour::coordinate(&mesh.y, row)].map(rounded)
            };
            let line: Vec<f64> = line.points.into_iter().chain(close).flat_map(place).collect();
            contours.push(json!({ "color": color, "line": line }));
        }
    }
    let whole = field.range.widened();
    let data = json!({
        "x": mesh.x,
        "y": mesh.y,
        "heights": floats(mesh.z.iter().copied()),
        "losses": floats(values.main.loss.iter().copied()),
        "half": mesh.half,
        "range": [mesh.height(whole.lo), mesh.height(whole.hi)],
        "xRange": [x.lo, x.hi],
        "yRange": [y.lo, y.hi],
        "xTicks": placed(tick::linear(x.lo, x.hi, 6), |at| mesh.x_place(at)),
        "yTicks": placed(tick::linear(y.lo, y.hi, 6), |at| mesh.y_place(at)),
        "zTicks": placed(bar::loss_ticks(field, 5), |at| mesh.height(at)),
        "barTicks": placed(bar::loss_ticks(field, 8), |at| whole.share(at)),
        "xLabel": spec.x_label,
        "yLabel": spec.y_label,
        "zLabel": axes::height_label(field, spec),
        "lossLabel": bar::loss_label(field, spec),
        "map": colormap::map(spec.palette).map(|color| colormap::Color(color).to_string()).to_vec(),
        "contours": contours,
        "azimuth": spec.camera.azimuth,
        "elevation": spec.camera.elevation,
        "perspective": spec.camera.projection == Projection::Perspective,
        "distance": DISTANCE,
        "leastSlant": LEAST_SLANT,
        "paper": tones.paper.to_string(),
        "ink": tones.ink.to_string(),
        "quiet": tones.quiet.to_string(),
        "faint": tones.faint.to_string(),
        "wall": tones.paper.towards(tones.faint, 0.35).to_string(),
    });
    let title = spec.title.as_deref().unwrap_or(&spec.loss_label);
    let notes: Vec<String> = note::omissions(field).into_iter().map(|note| escaped(&note.text)).collect();
    let label = escaped(&format!(
        "Surface of the {} from {} to {}; arrow keys turn it, plus and minus zoom, 0 resets",
        spec.loss_label,
        short(field.losses.lo),
        short(field.losses.hi)
    ));
    let heading = spec.title.as_deref().map(|title| format!("<h1>{}</h1>\n", escaped(title))).unwrap_or_default();
    let content = format!(
        "{heading}<div class=\"stage orbit\" tabindex=\"0\" role=\"img\" aria-label=\"{label}\">\
         <canvas></canvas><canvas></canvas><div class=\"tip\"></div></div>\n\
         <p>Drag to turn, wheel or pinch to zoom, point to read values. {}</p>",
        notes.iter().map(|note| format!("{note}.")).collect::<Vec<_>>().join(" "),
    );
    page(title, tones, &content, &data, SURFACE)
}

/// Returns a page that shows `drawing` and the values under the pointer: of `values`, and of `paths` if there are any.
pub(super) fn picture(
    drawing: &Drawing,
    values: &SurfaceValues,
    paths: &[Path],
    spec: &PlotSpec,
) -> Result<Vec<u8>, PlotError> {
    let tones = Tones::of(spec.theme);
    let is_curve = values.n_rows() == 1 && paths.is_empty();
    let Frame { area, x, y } = drawing.hover.unwrap_or_else(|| whole(drawing));
    let mut points: Vec<Value> = paths.iter().flat_map(|path| described(path, paths.len() > 1)).collect();
    points.extend(drawing.spots.iter().map(|spot| json!({ "x": spot.at.x, "y": -spot.at.y, "text": spot.text })));
    let splits: Vec<Value> = values
        .splits()
        .map(|split| {
            json!({
                "name": split.split.as_str(),
                "losses": floats(split.loss.iter().copied()),
                "accuracies": floats(split.accuracy.iter().copied()),
            })
        })
        .take(if is_curve { 2 } else { 1 })
        .collect();
    let data = json!({
        "x": values.x,
        "y": values.y,
        "splits": splits,
        "isCurve": is_curve,
        "quantity": drawing.quantity.as_str(),
        "isLog": spec.scale == LossScale::Log,
        "width": drawing.size().width,
        "area": [area.left, area.top, area.right, area.bottom],
        "reach": [[x.lo, x.hi], [y.lo, y.hi]],
        "points": points,
    });
    let svg = drawing.svg()?;
    let content = format!(
        "<div class=\"stage flat\" tabindex=\"0\">{svg}<div class=\"mark rule\"></div><div class=\"mark dot\"></div>\
         <div class=\"tip\"></div></div>"
    );
    Ok(page(&drawing.title, tones, &content, &data, PICTURE))
}

/// The frame of a picture whose places are its scene's, upwards below zero.
fn whole(drawing: &Drawing) -> Frame {
    let Size { width, height } = drawing.size();
    let area = Rect { left: 0.0, top: 0.0, right: width, bottom: height };
    Frame { area, x: Range { lo: 0.0, hi: width }, y: Range { lo: -height, hi: 0.0 } }
}

/// What is said of each checkpoint of a path.
fn described(path: &Path, is_named: bool) -> Vec<Value> {
    let text = |(idx, point): (usize, &super::PathPoint)| {
        let mut lines = Vec::new();
        if is_named {
            lines.push(path.name.clone());
        }
        lines.push(point.epoch.map_or(format!("checkpoint {idx}"), |epoch| format!("epoch {}", short(epoch))));
        lines.extend(point.loss.map(|loss| format!("loss {}", short(loss))));
        lines.push(format!("x {}\ny {}", short(point.x), short(point.y)));
        lines.push(format!("{} % off the plane", short(100.0 * point.off_plane)));
        if point.is_drop {
            lines.push("learning rate lowered".to_owned());
        }
        json!({ "x": point.x, "y": point.y, "text": lines.join("\n") })
    };
    path.points.iter().enumerate().map(text).collect()
}

fn page(title: &str, tones: Tones, content: &str, data: &Value, script: &str) -> Vec<u8> {
    let parts = [
        ("{title}", escaped(title)),
        ("{style}", STYLE.to_owned()),
        ("{paper}", tones.paper.to_string()),
        ("{ink}", tones.ink.to_string()),
        ("{quiet}", tones.quiet.to_string()),
        ("{faint}", tones.faint.to_string()),
        ("{content}", content.to_owned()),
        // A text that ends the element early would be read as a part of the page.
        ("{data}", data.to_string().replace('<', "\\u003c")),
        ("{script}", script.to_owned()),
    ];
    // In one pass, so that what is put in is not searched for further parts.
    let mut page = String::with_capacity(PAGE.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = PAGE;
    for (mark, text) in parts {
        if let Some((before, after)) = rest.split_once(mark) {
            page.push_str(before);
            page.push_str(&text);
            rest = after;
        }
    }
    page.push_str(rest);
    page.into_bytes()
}

fn placed(ticks: Ticks, place: impl Fn(f64) -> f64) -> Vec<(f64, String)> {
    ticks.major.into_iter().map(|tick| (place(tick.position), tick.label)).collect()
}

/// Numbers as a script reads them: single precision, little-endian, in base64.
fn floats(values: impl Iterator<Item = f64>) -> String {
    let bytes: Vec<u8> = values.flat_map(|value| (value as f32).to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

/// A coordinate in the box to a ten-thousandth: less than a pixel.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
