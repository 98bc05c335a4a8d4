//! The evaluator: computes the points of tiles, and the products and sums of differences between checkpoints, each a
//! pure function of its request, and keeps what it loaded.
//!
//! What holds: an answer depends on the request only; what is cached is known by its digest and can be thrown away at
//! any moment. A value is computed in the numeric class that its request names; which of those that are offered suits a
//! plane best is another question, asked once for each surface. One thread owns the device, behind a bounded queue;
//! health checks and heart-beats never run on it. Differences need no device: they have threads of their own, for one
//! request at a time.
//!
//! What it does not do: it writes nothing, plans nothing, and knows of no other evaluator.

pub mod config;

mod app;
mod cache;
mod compute;
mod difference;
mod grpc;
mod loader;
mod numerics;
mod outlet;

pub use app::{App, AppError, Options};
pub use numerics::NothingOffered;
