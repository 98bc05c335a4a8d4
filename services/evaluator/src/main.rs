//! `relief-evaluator`: the evaluator as a process.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use relief_evaluator::App;
use relief_evaluator::config::Config;
use relief_rpc::ServiceHost;
use relief_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    relief_runtime::run("relief-evaluator", |shutdown| serve(config, shutdown)).await
}

async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::open(&config.store)?;
    let app = App::new(config.options(), store, shutdown.clone())?;
    let mut host = ServiceHost::new();
    app.add_to(&mut host);
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let stop = shutdown.clone();
    let serving = async {
        let outcome = host.serve(listener, app.ready(), shutdown, config.grace()).await;
        stop.cancel();
        outcome
    };
    let (outcome, ()) = tokio::join!(serving, app.run());
    Ok(outcome?)
}
