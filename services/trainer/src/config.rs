//! What the process is told by flags and environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use relief_nn::DeviceChoice;

use crate::app::Options;

/// Trains networks and keeps a snapshot of every epoch.
#[derive(Debug, Clone, Parser)]
#[command(name = "relief-trainer", version)]
pub struct Config {
    /// The address to serve gRPC on; port 0 lets the system choose
    #[arg(long, env = "RELIEF_TRAINER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7375")]
    pub listen: SocketAddr,
    /// The object store: file:///absolute/directory, memory://, s3://bucket/prefix, gs://bucket/prefix or
    /// az://container/prefix
    ///
    /// Buckets take the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and,
    /// for another server than Amazon's, AWS_ENDPOINT, with AWS_ALLOW_HTTP=true where it is not encrypted;
    /// GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY. The URL holds no
    /// credentials.
    #[arg(long, env = "RELIEF_TRAINER_STORE", value_name = "URL")]
    pub store: String,
    /// How many seconds open calls may take to end after SIGTERM
    #[arg(long, env = "RELIEF_TRAINER_GRACE", value_name = "SECONDS", default_value_t = 20)]
    pub grace: u64,
    /// What computes: cpu, or cuda:N in builds with the `cuda` feature
    #[arg(long, env = "RELIEF_TRAINER_DEVICE", value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
    /// Samples per batch when a snapshot is evaluated; with the evaluators' value the losses of a snapshot and those of
    /// a surface around it that is asked for in float32 are of one numeric class
    #[arg(long, env = "RELIEF_TRAINER_BATCH_SIZE", value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch_size: u32,
}

impl Config {
    /// The options of the service.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { device: self.device, batch_size: self.batch_size as usize }
    }

    /// How long open calls may take to end.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent_and_the_defaults_are_the_options_defaults() {
        Config::command().debug_assert();
        let config = Config::try_parse_from(["relief-trainer", "--store", "memory://"]).expect("enough flags");
        assert_eq!(config.options(), Options::default());
    }

    #[test]
    fn every_flag_has_its_variable() {
        for argument in Config::command().get_arguments().filter(|argument| argument.get_long().is_some()) {
            let long = argument.get_long().unwrap_or_default();
            let variable = format!("RELIEF_TRAINER_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|env| env.to_str()), Some(variable.as_str()), "{long}");
        }
    }
}
