//! `relief-coordinator`: the coordinator as a process.

use std::process::ExitCode;

use clap::Parser as _;
use relief_coordinator::App;
use relief_coordinator::config::Config;
use relief_rpc::ServiceHost;
use relief_store::{Store, StoreAccess};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    relief_runtime::run("relief-coordinator", |shutdown| serve(config, shutdown)).await
}

async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(&config.store, StoreAccess::Write).await?;
    let app = App::new(config.options(), store, shutdown.clone())?;
    let mut host = ServiceHost::new();
    app.add_to(&mut host);
    let work = async |address| app.run(config.advertised(address)).await;
    Ok(host.run(config.listen, app.ready(), work, shutdown, config.grace()).await?)
}
