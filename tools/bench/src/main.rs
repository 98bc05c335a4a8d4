//! `relief-bench`: measures the platform, and prints what it measured as a table in Markdown.
//!
//! What holds: nothing is kept but what is printed and the reports that were asked for, and every figure says what it
//! was measured with.

#![allow(clippy::print_stdout, reason = "what is measured is told to whoever runs it")]

mod dispatch;
mod engine;
mod evaluator;
mod services;
mod statistic;
mod usage;

use clap::Parser;

/// Measures the platform.
#[derive(Debug, Parser)]
#[command(name = "relief-bench", version)]
enum Bench {
    /// A coordinator with simulated evaluators: tiles per second, memory, and how long others wait meanwhile
    Dispatch(dispatch::Arguments),
    /// The engines of this build and other programs: images per second, memory, and where the time of a point goes
    Engine(engine::Arguments),
    /// A surface through all services, in turn with the bare loop of the engine over its points
    Services(services::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Bench::parse() {
        Bench::Dispatch(arguments) => dispatch::run(arguments).await,
        Bench::Services(arguments) => services::run(arguments).await,
        Bench::Engine(arguments) => tokio::task::spawn_blocking(|| engine::run(arguments)).await?,
    }
}
