//! The trainer service: trains networks by stochastic gradient descent and keeps a snapshot of every epoch.
//!
//! What holds: one operating-system thread trains, one run after the other in the order of their acceptance; nothing
//! that a client does holds it up. A run's snapshots are a function of its specification, the network, the dataset and
//! the numeric class. A snapshot is evaluated as an evaluator does it, so its losses are those at the centre of a
//! surface around it, bit for bit. A run that diverges is a result like any other: its values are kept as they are.
//!
//! What it does not do: it augments no images, keeps no optimiser state, and continues no run: one that its process
//! leaves unfinished fails, and keeps its snapshots. A store belongs to one trainer.

mod admission;
mod app;
pub mod config;
mod error;
mod grpc;
mod identity;
mod journal;
mod listing;
mod progress;
mod record;
mod run;
mod shuffle;
mod trainer;
mod training;
mod watcher;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

pub use app::{App, AppError, Options};
