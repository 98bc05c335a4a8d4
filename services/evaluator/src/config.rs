//! Configuration by flag and environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use relief_core::{Engine, NumericRequest, OrAuto, Precision};
use relief_nn::{CpuPath, DeviceChoice};

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

    /// Samples per forward pass of burn; part of its numeric classes, so all evaluators of a surface need the same
    #[arg(long, env = "RELIEF_EVALUATOR_BATCH_SIZE", value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch_size: u32,

    /// What runs the forward passes: cpu, the engine made for processors; burn; or auto, which leaves both to requests
    #[arg(long, env = "RELIEF_EVALUATOR_ENGINE", value_name = "ENGINE", default_value_t)]
    pub engine: OrAuto<Engine>,

    /// How exactly products are computed: f32, split-bf16 or bf16; or auto, which leaves all of them to requests
    #[arg(long, env = "RELIEF_EVALUATOR_PRECISION", value_name = "PRECISION", default_value_t)]
    pub precision: OrAuto<Precision>,

    /// The instructions that the cpu engine computes with: avx512, avx2 or portable; the fastest of this processor unless
    /// said
    ///
    /// It is part of the numeric class: say the same on processors of several kinds, and they share the work of a surface.
    #[arg(long, env = "RELIEF_EVALUATOR_CPU_PATH", value_name = "PATH")]
    pub cpu_path: Option<CpuPath>,

    /// The memory that a plane and its samples may take, in MiB
    ///
    /// The cpu engine computes fewer images at a time where that is enough to fit; what would take more even so is
    /// refused (OUT_OF_MEMORY), and tried in smaller parts and elsewhere. Counted are the parameters and directions, what the
    /// engine packs and computes in, and 4 bytes for each input value.
    /// Several planes and splits are kept, so that a process takes a few times as much.
    #[arg(long, env = "RELIEF_EVALUATOR_MEMORY_LIMIT", value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub memory_limit: Option<u64>,

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
        Options {
            device: self.device,
            batch_size: self.batch_size as usize,
            queue: self.queue as usize,
            numerics: NumericRequest { engine: self.engine.0, precision: self.precision.0 },
            cpu_path: self.cpu_path,
            memory_limit: self.memory_limit.map(|mebibytes| mebibytes << 20),
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
    fn what_is_offered_may_be_restricted() {
        let parse =
            |more: &[&str]| Config::try_parse_from(["relief-evaluator", "--store=memory://"].iter().chain(more));
        let open = parse(&[]).expect("good arguments").options().numerics;
        assert!(open.is_open());
        assert_eq!(parse(&["--engine=auto", "--precision=auto"]).expect("good arguments").options().numerics, open);
        let restricted = parse(&["--engine", "burn", "--precision", "split-bf16"]).expect("good arguments").options();
        let expected = NumericRequest { engine: Some(Engine::Burn), precision: Some(Precision::SplitBf16) };
        assert_eq!(restricted.numerics, expected);
        let options = parse(&["--cpu-path=portable", "--memory-limit=2"]).expect("good arguments").options();
        assert_eq!(options.cpu_path.expect("a path").as_str(), "portable");
        assert_eq!(options.memory_limit, Some(2 << 20));
        let error = parse(&["--cpu-path=mmx"]).expect_err("no path").to_string();
        assert!(error.contains("portable"), "{error}");
        let error = parse(&["--precision=f16"]).expect_err("no precision").to_string();
        assert!(error.contains("auto, f32, split-bf16, bf16"), "{error}");
    }
}
