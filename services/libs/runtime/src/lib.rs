//! The life of a process: telemetry, signals, and an orderly end.
//!
//! What holds: nothing of a process outlives [`run`]; spans are flushed before it returns, whatever the outcome.
//!
//! What it does not do: it knows no service, no address and no protocol but OTLP.

mod process;
mod telemetry;

pub use process::{run, shutdown_on_signal};
pub use telemetry::{Telemetry, TelemetryError};
