//! The gRPC stacks that every service shares: a server host with health and reflection, a client channel, and the
//! trace context that both carry.
//!
//! What holds: a server answers health checks from its first moment and says NOT_SERVING until it is ready; a trace
//! that enters a process leaves it with every call made on its behalf; a message that cannot be read is refused like any
//! other bad input.
//!
//! What it does not do: it knows no service by name, sets no deadline and retries nothing; whoever calls knows how long
//! an answer may take and what may be repeated.

mod client;
mod host;
mod propagation;
mod refusal;
mod trace;

pub use client::{ClientChannel, Endpoint, EndpointError, MAX_MESSAGE_BYTES, connect};
pub use host::{HostError, ServiceHost};
pub use trace::{ClientTrace, ServerTrace, ServerTraceLayer};
