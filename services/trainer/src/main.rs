//! The trainer as a process.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use relief_rpc::ServiceHost;
use relief_store::Store;
use relief_trainer::App;
use relief_trainer::config::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    relief_runtime::run("relief-trainer", |shutdown| serve(config, shutdown)).await
}

async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::open(&config.store)?;
    let app = App::new(config.options(), store, shutdown.clone())?;
    let mut host = ServiceHost::new();
    app.add_to(&mut host);
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let serving = async {
        let served = host.serve(listener, app.ready(), shutdown.clone(), config.grace()).await;
        // A listener that fails must end the runs too.
        shutdown.cancel();
        served
    };
    let (served, ()) = tokio::join!(serving, app.run());
    Ok(served?)
}
