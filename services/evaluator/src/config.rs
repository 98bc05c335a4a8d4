//! Configuration by flag and environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use relief_nn::DeviceChoice;

use crate::app::Options;

/// Computes the points of tiles for a coordinator, and serves `relief.evaluator.v1`.
#[derive(Debug, Clone, Parser)]
#[command(name = "relief-evaluator", version)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, env = "RELIEF_EVALUATOR_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7374")]
    pub listen: SocketAddr,

    /// The object store: file:///absolute/directory, memory://, s3://bucket/prefix, gs://bucket/prefix or
    /// az://container/prefix
    ///
    /// Buckets take the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and,
    /// for another server than Amazon's, AWS_ENDPOINT, with AWS_ALLOW_HTTP=true where it is not encrypted;
    /// GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY. The URL holds no
    /// credentials.
    #[arg(long, env = "RELIEF_EVALUATOR_STORE", value_name = "URL")]
    pub store: String,

    /// What computes: cpu, or cuda:N in builds with the `cuda` feature
    #[arg(long, env = "RELIEF_EVALUATOR_DEVICE", value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,

    /// Samples per forward pass; part of the numeric class, so all evaluators of a surface need the same
    #[arg(long, env = "RELIEF_EVALUATOR_BATCH_SIZE", value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch_size: u32,

    /// Tiles that may wait for the device
    #[arg(long, env = "RELIEF_EVALUATOR_QUEUE", value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub queue: u32,

    /// How long open calls may take after SIGTERM
    #[arg(long, env = "RELIEF_EVALUATOR_GRACE", value_name = "SECONDS", default_value_t = 20)]
    pub grace: u64,
}

impl Config {
    /// What the evaluator is told.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { device: self.device, batch_size: self.batch_size as usize, queue: self.queue as usize }
    }

    /// How long open calls may take after SIGTERM.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}
