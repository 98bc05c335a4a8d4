//! `relief up`: all services in one process, kept running.

use anyhow::Context as _;

use crate::cli::UpArguments;
use crate::output;
use crate::platform::{self, Platform};

pub(crate) async fn run(UpArguments { data, listen }: UpArguments) -> anyhow::Result<()> {
    let shutdown = relief_runtime::shutdown_on_signal().context("cannot handle signals")?;
    let data = std::path::absolute(&data).with_context(|| format!("cannot use {}", data.display()))?;
    let store = platform::open_local(&data.join("store")).await?;
    let platform = Platform::start(store, listen, shutdown).await?;
    output::note(&format!("relief listens on {} and keeps its data in {}", platform.endpoint(), data.display()));
    platform.finish().await
}
