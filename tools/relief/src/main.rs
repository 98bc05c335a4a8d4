//! The program `relief`; see the library for what it does.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    relief::execute(relief::Cli::parse()).await
}
