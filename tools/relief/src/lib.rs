//! The command line of Relief, and all its services in one process.
//!
//! What holds: results go to standard output and nothing else does; progress, notes and errors go to standard error.
//! Everything but the built-in networks is asked of a server over gRPC, so a command does the same to a laptop's
//! `relief up` as to a cluster. A file is written whole or not at all. Wrong use exits with 2, failure with 1.
//!
//! What it does not do: it computes nothing itself, and apart from `up` and `quickstart`, which run the services, it
//! never opens a store.

mod checkpoint;
mod cli;
mod client;
mod dataset;
mod direction;
mod error;
mod export;
mod figure;
mod file;
mod import;
mod inference;
mod job;
mod network;
mod npz;
mod output;
pub mod platform;
mod plot;
mod progress;
mod quickstart;
mod run;
mod surface;
mod train;
mod trajectory;
mod up;
mod values;

use std::process::ExitCode;

use relief_runtime::Telemetry;
use tracing::Instrument as _;

pub use cli::Cli;
use cli::Command;
use client::{Client, Endpoints};
use output::Output;

/// Does what was asked for. Returns the exit status after an error was told on standard error.
pub async fn execute(cli: Cli) -> ExitCode {
    // A person at a terminal wants progress and errors; the log of a server is its output.
    let filter = if matches!(cli.command, Command::Up(_)) { "info" } else { "warn" };
    let telemetry = match Telemetry::install_with_filter("relief", filter) {
        Ok(telemetry) => telemetry,
        Err(error) => return error::report(&error.into()),
    };
    let outcome = dispatch(cli).await;
    telemetry.flush().await;
    outcome.map_or_else(|error| error::report(&error), |()| ExitCode::SUCCESS)
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let output = Output::new(cli.output);
    match cli.command {
        Command::Quickstart(arguments) => quickstart::run(arguments, output).await,
        Command::Up(arguments) => up::run(arguments).await,
        command => {
            let (trainer, renderer) = (cli.trainer_endpoint, cli.renderer_endpoint);
            let client = Client::new(Endpoints { all: cli.endpoint, trainer, renderer })?;
            ask(command, &client, output).instrument(tracing::info_span!("relief.command")).await
        }
    }
}

async fn ask(command: Command, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Quickstart(_) | Command::Up(_) => Ok(()),
        Command::Network(command) => network::run(command, client, output).await,
        Command::Dataset(command) => dataset::run(command, client, output).await,
        Command::Checkpoint(command) => checkpoint::run(command, client, output).await,
        Command::Train(arguments) => train::run(arguments, client, output).await,
        Command::Run(command) => run::run(command, client, output).await,
        Command::Surface(command) => surface::run(command, client, output).await,
        Command::Trajectory(command) => trajectory::run(command, client, output).await,
        Command::Plot(command) => plot::run(command, client).await,
        Command::Figure(arguments) => figure::run(*arguments, client, output).await,
    }
}
