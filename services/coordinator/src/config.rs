//! Configuration by flag and environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use relief_rpc::Endpoint;

use crate::app::Options;

/// Plans loss surfaces, has evaluators compute their tiles, and serves `relief.surface.v1` and `relief.catalog.v1`.
#[derive(Debug, Clone, Parser)]
#[command(name = "relief-coordinator", version)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, env = "RELIEF_COORDINATOR_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7373")]
    pub listen: SocketAddr,

    /// The object store: file:///absolute/directory, memory://, s3://bucket/prefix, gs://bucket/prefix or
    /// az://container/prefix
    ///
    /// Buckets take the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, and,
    /// for another server than Amazon's, AWS_ENDPOINT, with AWS_ALLOW_HTTP=true where it is not encrypted;
    /// GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY. The URL holds no
    /// credentials.
    #[arg(long, env = "RELIEF_COORDINATOR_STORE", value_name = "URL")]
    pub store: String,

    /// Where the evaluators are, http://HOST:PORT; several separated by commas, or the flag repeated
    #[arg(long = "evaluator", env = "RELIEF_COORDINATOR_EVALUATOR", value_name = "URL", value_delimiter = ',')]
    pub evaluators: Vec<Endpoint>,

    /// The most points of one surface
    #[arg(long, env = "RELIEF_COORDINATOR_MAX_POINTS", value_name = "N", default_value_t = Options::default().max_points)]
    pub max_points: u64,

    /// The most bytes of one imported file
    #[arg(long, env = "RELIEF_COORDINATOR_MAX_IMPORT_BYTES", value_name = "BYTES", default_value_t = Options::default().max_import_bytes)]
    pub max_import_bytes: usize,

    /// An evaluator that is silent for so long is given up
    #[arg(long, env = "RELIEF_COORDINATOR_STALL_TIMEOUT", value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub stall_timeout: u64,

    /// How long open calls may take after SIGTERM
    #[arg(long, env = "RELIEF_COORDINATOR_GRACE", value_name = "SECONDS", default_value_t = 20)]
    pub grace: u64,
}

impl Config {
    /// What the coordinator is told.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            evaluators: self.evaluators.clone(),
            max_points: self.max_points,
            max_import_bytes: self.max_import_bytes,
            stall_timeout: Duration::from_secs(self.stall_timeout),
        }
    }

    /// How long open calls may take after SIGTERM.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluators_may_be_separated_by_commas() {
        let config = Config::try_parse_from([
            "relief-coordinator",
            "--store=memory://",
            "--evaluator=http://a:1,http://b:2",
            "--evaluator=http://c:3",
        ])
        .expect("good arguments");
        assert_eq!(config.evaluators.len(), 3);
        assert!(Config::try_parse_from(["relief-coordinator", "--store=memory://", "--evaluator=a:1"]).is_err());
    }
}
