//! The platform inside a test: its programs as processes on loopback over one directory, and what tests ask of them.
//!
//! What holds: every process listens on a port of its own that the system chose, sees none of the caller's settings,
//! and is gone when its [`Process`] is dropped, which also prints its log (the test runner shows it when the test has
//! failed). Every wait has a bound, and an error says what was waited for.
//!
//! What it does not do: it asserts nothing about the platform, and no test needs more of the machine than a temporary
//! directory and loopback.

mod bound;
mod checkpoint;
mod client;
mod collector;
mod command_line;
mod dataset;
mod directory;
mod process;
mod program;
mod proxy;
mod refusal;
mod sandbox;
mod surface;

pub use bound::{BOUND, within};
pub use checkpoint::{checkpoint_messages, initial_tensors, network_id, tensors_of_seed};
pub use client::{Client, Watch};
pub use collector::{Collector, ExportedSpan};
pub use command_line::{CommandLine, Said};
pub use dataset::{SplitImages, dataset_messages};
pub use directory::{FileStamp, contents, stamps};
pub use process::{Launch, Process, Reservation};
pub use program::Program;
pub use proxy::{Proxy, Traffic};
pub use refusal::Refusal;
pub use sandbox::{CHECKPOINT, DATASET, Sandbox};
pub use surface::{Values, axis, in_float32, plane_axes, random, surface_spec};
