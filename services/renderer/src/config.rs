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

    /// The object store: file:///absolute/directory, memory://, s3://bucket/prefix, gs://bucket/prefix or
    /// az://container/prefix
    ///
    /// Buckets take the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and,
    /// for another server than Amazon's, AWS_ENDPOINT, with AWS_ALLOW_HTTP=true where it is not encrypted;
    /// GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY. The URL holds no
    /// credentials.
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
