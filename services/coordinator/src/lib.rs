//! The coordinator: plans surfaces and trajectories, has evaluators compute them, stores the values, serves the public
//! API.
//!
//! What holds: the store is the truth. A surface is accepted when its specification is stored, a tile is done when its
//! chunks are stored, a surface has ended when its outcome is stored; what this process remembers beside that can be
//! lost at any moment, and is found again at the next start. Of several coordinators on one store one leads; only it
//! writes, and what it had on its way when it lost the lead changes nothing.
//!
//! What it does not do: it computes no loss and links no engine; it draws nothing and trains nothing.

pub mod config;

mod app;
mod assignment;
mod catalog;
mod direction;
mod fleet;
mod grpc;
mod identity;
mod inference;
mod job;
mod leadership;
mod planning;
mod reply;
mod schedule;
mod subject;
mod term;
mod trajectory;

pub use app::{App, AppError, Options};
pub use fleet::{Answers, EvaluatorPort};
