//! The renderer service: draws stored surfaces as curves, contours and heat maps.
//!
//! What holds: drawing ([`plot`]) is pure: a picture is a function of the values and the specification, byte for byte.
//! There is one scene description, SVG; PNG is made from that same SVG. Text is drawn from a typeface inside the
//! binary, so no picture depends on the fonts of the machine that draws or shows it. A plot may leave out what cannot
//! be drawn (points that are not finite, values above a limit), but then it says so in the picture.
//!
//! What it does not do: it computes no loss, changes nothing in the store, and keeps no state between requests.

pub mod config;
pub mod plot;

mod app;
mod grpc;

pub use app::{App, AppError, Options};
