//! Notes below the axes: what a picture leaves out, and what its marks mean.

use super::colormap::Color;
use super::field::{Clip, Field, Missing};
use super::frame::{MARGIN, WIDTH, draw_cross};
use super::number::short;
use super::scene::{Anchor, Point, Rect, Scene, Stroke, TextStyle};
use super::trajectory::{draw_end, draw_start};

const SIZE: f64 = 11.5;
const ROW: f64 = 17.0;
const GAP: f64 = 20.0;
const SWATCH: f64 = 10.0;

/// What a note explains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sign {
    /// Nothing that is drawn.
    None,
    /// The colour of points that cannot be drawn.
    Missing(Missing),
    /// A colour that areas are filled with.
    Swatch(Color),
    /// The cross of the checkpoint.
    Cross,
    /// A line.
    Line(Color),
    /// A line of another width, or dashed.
    Stroke(Stroke),
    /// A dot of a radius.
    Dot(f64, Color),
    /// The mark of a path's start.
    Start,
    /// The mark of a path's end.
    End,
}

/// A short text with the sign that it explains.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    /// The sign.
    pub sign: Sign,
    /// The text.
    pub text: String,
}

/// Returns the notes on what of `field` is not drawn as it is.
pub(super) fn omissions(field: &Field<'_>) -> Vec<Note> {
    let mut notes = missing(field);
    notes.extend(clipping(field));
    notes
}

/// Returns the notes on the points of `field` that cannot be drawn.
pub(super) fn missing(field: &Field<'_>) -> Vec<Note> {
    Missing::ALL.into_iter().filter_map(|reason| missing_for(reason, field.n_missing(reason))).collect()
}

/// Returns the note on `n_points` that cannot be drawn for a reason, if there are any.
pub(super) fn missing_for(reason: Missing, n_points: usize) -> Option<Note> {
    let why = match reason {
        Missing::NonFinite => "not finite",
        Missing::WithoutLogarithm => "not above 0, not drawable on a log scale",
        Missing::Unknown => "not computed yet",
    };
    (n_points > 0).then(|| Note { sign: Sign::Missing(reason), text: format!("{} {why}", count(n_points)) })
}

/// Returns the note on where `field` is clipped, if it is.
pub(super) fn clipping(field: &Field<'_>) -> Option<Note> {
    let Clip { limit, greatest, n_points } = field.clip?;
    let quantity = field.quantity.as_str();
    let text = format!("{quantity} clipped above {} ({}, up to {})", short(limit), count(n_points), short(greatest));
    Some(Note { sign: Sign::None, text })
}

fn count(n_points: usize) -> String {
    if n_points == 1 { "1 point".to_owned() } else { format!("{n_points} points") }
}

/// Draws `notes` in rows from `left` on, below `top`; returns the height of the picture that ends with them.
pub(super) fn draw(scene: &mut Scene, notes: &[Note], left: f64, top: f64) -> f64 {
    draw_within(scene, notes, left, WIDTH - MARGIN, top)
}

/// Draws `notes` in rows from `left` to `right`, below `top`; returns the height of the picture that ends with them.
pub(super) fn draw_within(scene: &mut Scene, notes: &[Note], left: f64, right: f64, top: f64) -> f64 {
    let mut base = if notes.is_empty() { top } else { top + ROW };
    let mut x = left;
    for note in notes {
        let sign_width = match note.sign {
            Sign::None => 0.0,
            Sign::Line(_) | Sign::Stroke(_) => 2.0 * SWATCH + 6.0,
            Sign::Dot(radius, _) => 2.0 * radius + 6.0,
            _ => SWATCH + 6.0,
        };
        let text = scene.typeface.fit(&note.text, SIZE, right - left - sign_width);
        let width = sign_width + scene.typeface.width(&text, SIZE);
        if x > left && x + width > right {
            x = left;
            base += ROW;
        }
        let middle = base - 0.5 * scene.typeface.cap_height(SIZE);
        let swatch = Rect { left: x, right: x + SWATCH, top: middle - 0.5 * SWATCH, bottom: middle + 0.5 * SWATCH };
        match note.sign {
            Sign::None => {}
            Sign::Missing(reason) => {
                scene.fill(&[swatch], scene.tones.missing(reason));
                scene.outline(swatch, Stroke::solid(scene.tones.quiet, 0.5));
            }
            Sign::Swatch(color) => scene.fill(&[swatch], color),
            Sign::Cross => draw_cross(scene, swatch.centre()),
            Sign::Line(color) => {
                let (from, to) = (Point { x, y: middle }, Point { x: x + sign_width - 6.0, y: middle });
                scene.line(from, to, Stroke::solid(color, 2.0));
            }
            Sign::Stroke(stroke) => {
                scene.line(Point { x, y: middle }, Point { x: x + sign_width - 6.0, y: middle }, stroke);
            }
            Sign::Dot(radius, color) => scene.dot(Point { x: x + 0.5 * (sign_width - 6.0), y: middle }, radius, color),
            Sign::Start => draw_start(scene, swatch.centre(), scene.tones.quiet),
            Sign::End => draw_end(scene, swatch.centre(), scene.tones.quiet),
        }
        let style = TextStyle::level(SIZE, scene.tones.quiet, Anchor::Start);
        scene.text(&text, Point { x: x + sign_width, y: base }, style);
        x += width + GAP;
    }
    (base + MARGIN - 2.0).ceil()
}

/// Returns a sentence that lists `notes`, for readers who do not see the picture.
pub(super) fn described(notes: &[Note]) -> String {
    notes.iter().map(|note| format!(" {}.", note.text)).collect()
}
