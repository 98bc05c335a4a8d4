//! Configuration by flag and environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use relief_core::{ClientId, NameError, Scheduling};
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
        value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub stall_timeout: u64,

    /// Where clients reach this coordinator, which others that stand by tell them: http://HOST:PORT; the address that it
    /// listens on unless given
    #[arg(long, env = "RELIEF_COORDINATOR_ADVERTISE", value_name = "URL")]
    pub advertise: Option<Endpoint>,

    /// How long a coordinator that does not answer still counts as the leader of its store
    ///
    /// Of several coordinators on one store one leads and the others stand by; one of them takes over when the leader has
    /// not renewed its lease for so long.
    #[arg(long, env = "RELIEF_COORDINATOR_LEASE", value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    pub lease: u64,

    /// The most surfaces that one client may have at work
    #[arg(long, env = "RELIEF_COORDINATOR_MAX_JOBS_PER_CLIENT", value_name = "N",
        default_value_t = Options::default().max_jobs_per_client)]
    pub max_jobs_per_client: usize,

    /// The most tiles of one client that are computed at once; no limit unless given
    #[arg(long, env = "RELIEF_COORDINATOR_MAX_TILES_PER_CLIENT", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_tiles_per_client: Option<u64>,

    /// The part of a client in the evaluators' time where others have work too, 1 unless given: NAME=WEIGHT; several
    /// separated by commas, or the flag repeated
    #[arg(long = "client-weight", env = "RELIEF_COORDINATOR_CLIENT_WEIGHTS", value_name = "NAME=WEIGHT",
        value_delimiter = ',', value_parser = client_weight)]
    pub client_weights: Vec<(String, u32)>,

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
            lease: Duration::from_secs(self.lease),
            max_jobs_per_client: self.max_jobs_per_client,
            max_tiles_per_client: self.max_tiles_per_client.map_or(usize::MAX, |n| n as usize),
            client_weights: self.client_weights.iter().cloned().collect(),
        }
    }

    /// Where clients reach a coordinator that listens on `address`.
    #[must_use]
    pub fn advertised(&self, address: SocketAddr) -> String {
        self.advertise.as_ref().map_or_else(|| format!("http://{address}"), ToString::to_string)
    }

    /// How long open calls may take after SIGTERM.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

fn client_weight(text: &str) -> Result<(String, u32), String> {
    let refuse = || format!("`{text}` is not of the form NAME=WEIGHT with a weight of 1 to 1000, as in alice=3");
    let (name, weight) = text.split_once('=').ok_or_else(refuse)?;
    let name: ClientId = name.parse().map_err(|error: NameError| error.to_string())?;
    let weight = weight.parse().ok().filter(|weight| Scheduling::WEIGHTS.contains(weight)).ok_or_else(refuse)?;
    Ok((name.as_str().to_owned(), weight))
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

    #[test]
    fn clients_have_weights() {
        let parse = |weights: &str| {
            Config::try_parse_from(["relief-coordinator", "--store=memory://", &format!("--client-weight={weights}")])
        };
        let config = parse("alice=3,bob=1").expect("good arguments");
        assert_eq!(config.options().client_weights, [("alice".to_owned(), 3), ("bob".to_owned(), 1)].into());
        for wrong in ["alice", "alice=0", "alice=x", "Al ice=1", "alice=1001"] {
            let error = parse(wrong).expect_err("a bad weight").to_string();
            assert!(error.contains(wrong.split('=').next().unwrap_or_default()), "{error}");
        }
    }
}
