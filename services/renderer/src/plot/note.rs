//! Notes below the axes: what a picture leaves out, and what its marks mean.

use super::colormap::Color;
use super::field::{Clip, Field, Missing};
use super::frame::{MARGIN, WIDTH, draw_cross};
use super::number::short;
use super::scene::{Anchor, Point, Rect, Scene, Stroke, TextStyle};

const SIZE: f64 = 11.5;
const ROW: f64 = 17.0;
const GAP: f64 = 20.0;
const SWATCH: f64 = 10.0;

/// What a note explains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sign {
    /// Nothing that is drawn.
    None,
    /// A colour.
    Fill(Color),
    /// The cross of the checkpoint.
    Cross,
}

/// A short text with the sign that it explains.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    /// The sign.
    pub sign: Sign,
    /// The text.
    pub text: String,
}

/// The colour that stands for points that cannot be drawn.
pub(super) fn missing_color(reason: Missing) -> Color {
    match reason {
        Missing::NonFinite => Color(0xc0c0c0),
        Missing::WithoutLogarithm => Color(0xdccfb8),
        Missing::Unknown => Color(0xececec),
    }
}

/// Returns the notes on what of `field` is not drawn as it is.
pub(super) fn omissions(field: &Field<'_>) -> Vec<Note> {
    let mut notes = missing(field);
    notes.extend(clipping(field));
    notes
}

/// Returns the notes on the points of `field` that cannot be drawn.
pub(super) fn missing(field: &Field<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    for reason in Missing::ALL {
        let n_points = field.n_missing(reason);
        if n_points > 0 {
            let why = match reason {
                Missing::NonFinite => "not finite",
                Missing::WithoutLogarithm => "not above 0, not drawable on a log scale",
                Missing::Unknown => "not computed yet",
            };
            let sign = Sign::Fill(missing_color(reason));
            notes.push(Note { sign, text: format!("{} {why}", count(n_points)) });
        }
    }
    notes
}

/// Returns the note on where `field` is clipped, if it is.
pub(super) fn clipping(field: &Field<'_>) -> Option<Note> {
    let Clip { limit, greatest, n_points } = field.clip?;
    let text = format!("loss clipped above {} ({}, up to {})", short(limit), count(n_points), short(greatest));
    Some(Note { sign: Sign::None, text })
}

fn count(n_points: usize) -> String {
    if n_points == 1 { "1 point".to_owned() } else { format!("{n_points} points") }
}

/// Draws `notes` in rows from `left` on, below `top`; returns the height of the picture that ends with them.
pub(super) fn draw(scene: &mut Scene, notes: &[Note], left: f64, top: f64) -> f64 {
    let mut base = if notes.is_empty() { top } else { top + ROW };
    let mut x = left;
    for note in notes {
        let sign_width = if note.sign == Sign::None { 0.0 } else { SWATCH + 6.0 };
        let text = scene.typeface.fit(&note.text, SIZE, WIDTH - MARGIN - left - sign_width);
        let width = sign_width + scene.typeface.width(&text, SIZE);
        if x > left && x + width > WIDTH - MARGIN {
            x = left;
            base += ROW;
        }
        let middle = base - 0.5 * scene.typeface.cap_height(SIZE);
        let swatch = Rect { left: x, right: x + SWATCH, top: middle - 0.5 * SWATCH, bottom: middle + 0.5 * SWATCH };
        match note.sign {
            Sign::None => {}
            Sign::Fill(color) => {
                scene.fill(&[swatch], color);
                scene.outline(swatch, Stroke::solid(Color::QUIET, 0.5));
            }
            Sign::Cross => draw_cross(scene, swatch.centre()),
        }
        let style = TextStyle::level(SIZE, Color::QUIET, Anchor::Start);
        scene.text(&text, Point { x: x + sign_width, y: base }, style);
        x += width + GAP;
    }
    (base + MARGIN - 2.0).ceil()
}

/// Returns a sentence that lists `notes`, for readers who do not see the picture.
pub(super) fn described(notes: &[Note]) -> String {
    notes.iter().map(|note| format!(" {}.", note.text)).collect()
}
