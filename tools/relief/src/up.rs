//! `relief up`: all services in one process, kept running.

use anyhow::Context as _;

use relief_core::NumericRequest;

use crate::cli::UpArguments;
use crate::output;
use crate::platform::{self, Platform};

pub(crate) async fn run(UpArguments { data, listen, engine, precision }: UpArguments) -> anyhow::Result<()> {
    let numerics = NumericRequest { engine: engine.0, precision: precision.0 };
    let shutdown = relief_runtime::shutdown_on_signal().context("cannot handle signals")?;
    let data = std::path::absolute(&data).with_context(|| format!("cannot use {}", data.display()))?;
    let store = platform::open_local(&data.join("store")).await?;
    let platform = Platform::start(store, listen, numerics, shutdown).await?;
    output::note(&format!("relief listens on {} and keeps its data in {}", platform.endpoint(), data.display()));
    platform.finish().await
}
