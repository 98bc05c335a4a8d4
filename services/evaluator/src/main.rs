//! `relief-evaluator`: the evaluator as a process.

use std::process::ExitCode;

use clap::Parser as _;
use relief_evaluator::App;
use relief_evaluator::config::Config;
use relief_rpc::ServiceHost;
use relief_store::{Store, StoreAccess};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    relief_runtime::run("relief-evaluator", |shutdown| serve(config, shutdown)).await
}

async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(&config.store, StoreAccess::Read).await?;
    let app = App::new(config.options(), store, shutdown.clone())?;
    let mut host = ServiceHost::new();
    app.add_to(&mut host);
    Ok(host.run(config.listen, app.ready(), async |_| app.run().await, shutdown, config.grace()).await?)
}
