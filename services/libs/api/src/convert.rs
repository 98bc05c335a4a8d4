//! Conversions between messages and domain types: the only place that reads what came over the wire.

pub mod catalog;
pub mod difference;
pub mod evaluation;
pub mod inference;
pub mod job;
pub mod numerics;
pub mod surface;
pub mod time;
pub mod training;
pub mod trajectory;

/// A number on the wire that stands for nothing that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{number} is not one of its values: {known}")]
pub struct UnknownNumber {
    /// The number given.
    pub number: i32,
    /// The numbers there are, and what they stand for.
    pub known: &'static str,
}
