//! Programs that are not ours: every command of the API reference, its Python client, zarr-python and xarray at a live
//! server, and ONNX Runtime and NumPy beside it.
//!
//! They do not come with Rust, so the tests are left out unless they are asked for, as `cargo xtask clients` does.

mod document;
mod peers;

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::Context as _;
use relief_test_support::{Process, Program, Sandbox, within};
use tokio::process::Command;

use document::Example;

/// The page, from the root of the repository.
const PAGE: &str = "docs/api.md";

/// Calls and scripts that are there at least: a page that is not understood is no page that passes.
const EXPECTED: &[&str] = &["grpc.health.v1.Health/Check", "surface.py", "result.py"];

/// Runs `example` at the root of the repository as its reader would, beside `server`.
async fn run(example: &Example, server: &Process, sandbox: &Sandbox, out: &Path) -> anyhow::Result<Output> {
    let relief = Program::Relief.path()?;
    let programs = relief.parent().context("a program lies in a folder")?;
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs.to_owned()].into_iter().chain(std::env::split_paths(&inherited)))?;
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &example.script]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).env("PATH", path);
    command.env("SERVER", server.address().to_string()).env("STORE", sandbox.store()).env("OUT", out);
    command.env("RELIEF_ENDPOINT", server.endpoint()).stdin(Stdio::null()).kill_on_drop(true);
    within("the end of a command", command.output()).await?.context("bash does not start")
}

#[tokio::test]
#[ignore = "needs grpcurl and Python packages; `cargo xtask clients` runs it"]
async fn every_command_of_the_reference_does_what_it_says() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE)).context(PAGE)?;
    let examples = document::examples(&page)?;
    for expected in EXPECTED {
        assert!(examples.iter().any(|example| example.script.contains(expected)), "{PAGE} has no {expected}");
    }

    let sandbox = Sandbox::new()?;
    let server = sandbox.launch(Program::Relief).start().await?;
    let out = Sandbox::new()?;
    let mut complaints = Vec::new();
    for example in &examples {
        let output = run(example, &server, &sandbox, out.path()).await?;
        complaints.extend(example.complaint(&output).map(|complaint| format!("{PAGE}:{}: {complaint}", example.line)));
    }
    let n_wrong = complaints.len();
    assert_eq!(n_wrong, 0, "{n_wrong} of {} commands:\n\n{}", examples.len(), complaints.join("\n\n"));
    Ok(())
}
