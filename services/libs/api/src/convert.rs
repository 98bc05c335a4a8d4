//! Conversions between messages and domain types: the only place that reads what came over the wire.

pub mod catalog;
pub mod evaluation;
pub mod job;
pub mod surface;
pub mod time;
pub mod training;
