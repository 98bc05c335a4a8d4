//! Configuration by flag and environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::app::Options;

/// Draws stored surfaces, and serves `relief.plot.v1`.
#[derive(Debug, Clone, Parser)]
#[command(name = "relief-renderer", version)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, env = "RELIEF_RENDERER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7376")]
    pub listen: SocketAddr,

    /// The object store: file:///absolute/directory or memory://
    #[arg(long, env = "RELIEF_RENDERER_STORE", value_name = "URL")]
    pub store: String,

    /// How long open calls may take after SIGTERM
    #[arg(long, env = "RELIEF_RENDERER_GRACE", value_name = "SECONDS", default_value_t = 20)]
    pub grace: u64,
}

impl Config {
    /// What the renderer is told.
    #[must_use]
    pub fn options(&self) -> Options {
        Options::default()
    }

    /// How long open calls may take after SIGTERM.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}
