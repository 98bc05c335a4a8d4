//! The renderer service: draws stored surfaces as curves, contours, heat maps, convexity maps and in three dimensions,
//! paths of training over them, and how runs went; puts such pictures beside each other; and writes surfaces for
//! programs that show them.
//!
//! What holds: drawing ([`plot`]) is pure: a picture is a function of the values and the specification, byte for byte.
//! There is one scene description, SVG; PNG, PDF and the pictures of an animation are made from that same SVG. What has
//! more than a few thousand facets or cells stands in it as pixels. Text is drawn from a typeface inside the binary, so
//! no picture depends on the fonts of the machine that draws or shows it; only the labels of a surface in HTML, which
//! turn with it, are set by the browser. A page of HTML loads nothing. A plot may leave out what cannot be drawn
//! (points that are not finite, values above a limit), but then it says so in the picture.
//!
//! What it does not do: it computes no loss, changes nothing in the store, and keeps no state between requests.

pub mod config;
pub mod plot;

mod app;
mod grpc;

pub use app::{App, AppError, Options};
