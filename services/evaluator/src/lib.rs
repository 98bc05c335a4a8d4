//! The evaluator: computes the points of tiles, a pure function of each request, and keeps what it loaded.
//!
//! What holds: an answer depends on the request only; what is cached is known by its digest and can be thrown away at
//! any moment. One thread owns the device, behind a bounded queue; health checks and heart-beats never run on it.
//!
//! What it does not do: it writes nothing, plans nothing, and knows of no other evaluator.

pub mod config;

mod app;
mod cache;
mod compute;
mod grpc;
mod loader;
mod outlet;

pub use app::{App, AppError, Options};
