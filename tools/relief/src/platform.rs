//! All services in one process, on one port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use relief_core::{DatasetId, NumericRequest};
use relief_rpc::{Endpoint, ServiceHost};
use relief_store::{Store, StoreErrorKind, embedded};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long calls may go on after the services were asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Coordinator, evaluator, trainer and renderer over one store, talking to each other over gRPC on their own port.
#[derive(Debug)]
pub struct Platform {
    address: SocketAddr,
    endpoint: Endpoint,
    is_ready: CancellationToken,
    shutdown: CancellationToken,
    services: JoinHandle<anyhow::Result<()>>,
}

impl Platform {
    /// Starts all services on `listen` (port 0 takes a free one), the evaluator with what `numerics` leaves of all that
    /// the processor offers; they stop when `shutdown` is cancelled, and cancel it when they fail.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a service refuses to start.
    pub async fn start(
        store: Store,
        listen: SocketAddr,
        numerics: NumericRequest,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().with_context(|| format!("cannot listen on {listen}"))?;
        let endpoint: Endpoint = format!("http://{}", reachable(address)).parse()?;

        let options = relief_coordinator::Options {
            evaluators: vec![endpoint.clone()],
            ..relief_coordinator::Options::default()
        };
        let coordinator = relief_coordinator::App::new(options, store.clone(), shutdown.clone())?;
        let options = relief_evaluator::Options { numerics, ..relief_evaluator::Options::default() };
        let evaluator = relief_evaluator::App::new(options, store.clone(), shutdown.clone())?;
        let trainer = relief_trainer::App::new(relief_trainer::Options::default(), store.clone(), shutdown.clone())?;
        let renderer = relief_renderer::App::new(relief_renderer::Options::default(), store, shutdown.clone())?;

        let mut host = ServiceHost::new();
        coordinator.add_to(&mut host);
        evaluator.add_to(&mut host);
        trainer.add_to(&mut host);
        renderer.add_to(&mut host);

        let is_ready = CancellationToken::new();
        let (ready, stop, advertised) = (is_ready.clone(), shutdown.clone(), endpoint.to_string());
        let services = tokio::spawn(async move {
            let all_ready = async {
                tokio::join!(coordinator.ready(), evaluator.ready(), trainer.ready(), renderer.ready());
                ready.cancel();
            };
            let serve = async {
                let served = host.serve(listener, all_ready, stop.clone(), GRACE).await;
                // Without a server there is nothing left for the others to do.
                stop.cancel();
                served
            };
            let (served, (), (), (), ()) =
                tokio::join!(serve, coordinator.run(advertised), evaluator.run(), trainer.run(), renderer.run());
            Ok(served?)
        });
        Ok(Self { address, endpoint, is_ready, shutdown, services })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients on this machine find it.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Waits until every service is warm, or the services are stopping.
    pub async fn ready(&self) {
        tokio::select! {
            () = self.is_ready.cancelled() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Waits until the services have stopped.
    ///
    /// # Errors
    /// When they failed.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.services.await.context("the services ended abnormally")?
    }

    /// Stops the services and waits for them.
    ///
    /// # Errors
    /// When they failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.finish().await
    }
}

/// The address that connects to a listener on `address`, which may stand for all of this machine's.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Opens the store in `dir`, which is made when absent, with the embedded dataset in it.
///
/// # Errors
/// When the directory cannot be used, or the dataset cannot be stored.
pub async fn open_local(dir: &Path) -> anyhow::Result<Store> {
    let dir = std::path::absolute(dir).with_context(|| format!("cannot use {} as a store", dir.display()))?;
    let text = dir.to_str().with_context(|| format!("cannot use {} as a store: not UTF-8", dir.display()))?;
    let store = Store::open(&format!("file://{text}"))?;
    add_embedded_dataset(&store).await?;
    Ok(store)
}

/// Stores the dataset that comes with the program unless it is there.
async fn add_embedded_dataset(store: &Store) -> anyhow::Result<()> {
    let id: DatasetId = embedded::FASHION_MNIST_6K.parse()?;
    match store.get_dataset(&id).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == StoreErrorKind::NotFound => {
            store.import_dataset(&id, embedded::fashion_mnist_6k()).await?;
            tracing::info!(dataset = %id, "embedded dataset stored");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_through_the_loopback() {
        for (address, expected) in [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("127.0.0.2:7", "127.0.0.2:7")]
        {
            let address = reachable(address.parse().expect("an address"));
            assert_eq!(address.to_string(), expected);
            assert!(format!("http://{address}").parse::<Endpoint>().is_ok());
        }
    }

    #[tokio::test]
    async fn the_embedded_dataset_is_stored_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = async || {
            let store = open_local(&dir.path().join("store")).await.expect("a store");
            store.get_dataset(&embedded::FASHION_MNIST_6K.parse().expect("a name")).await.expect("a dataset")
        };
        assert_eq!(record().await, record().await);
    }
}
