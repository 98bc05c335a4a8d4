//! One listener, any number of services, with health and reflection.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::util::MapResponseLayer;

use crate::refusal::explained;
use crate::trace::ServerTraceLayer;

/// Why a server ended early.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The compiled contract cannot be read.
    #[error("cannot serve reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The listener or a connection failed.
    #[error("cannot serve")]
    Serve(#[source] tonic::transport::Error),
}

/// Collects services, then serves them on one listener with `grpc.health.v1` and reflection (v1 and v1alpha).
#[derive(Debug)]
pub struct ServiceHost {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    health: HealthReporter,
}

impl Default for ServiceHost {
    fn default() -> Self {
        Self::new()
    }
}

impl ServiceHost {
    /// Returns a host without services.
    #[must_use]
    pub fn new() -> Self {
        Self { routes: RoutesBuilder::default(), names: Vec::new(), health: HealthReporter::new() }
    }

    /// Adds a service.
    pub fn add<S>(&mut self, service: S) -> &mut Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Runs a service as a process: listens on `address` (port 0 takes a free one) and logs the address that was taken,
    /// serves as [`ServiceHost::serve`] does, and beside that does `work`, which is told the address and ends with `shutdown`. The end of
    /// serving, whatever its cause, is the shutdown.
    ///
    /// # Errors
    /// When the address cannot be listened on, and as [`ServiceHost::serve`].
    pub async fn run(
        self,
        address: SocketAddr,
        ready: impl Future<Output = ()> + Send,
        work: impl AsyncFnOnce(SocketAddr),
        shutdown: CancellationToken,
        grace: Duration,
    ) -> Result<(), HostError> {
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = listening.await.map_err(|source| HostError::Listen { address, source })?;
        tracing::info!(%address, "listening");
        let stop = shutdown.clone();
        let serving = async {
            let outcome = self.serve(listener, ready, shutdown, grace).await;
            stop.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(serving, work(address));
        outcome
    }

    /// Serves on `listener` until `shutdown` is cancelled, then waits for open calls, at most `grace`.
    ///
    /// Health is NOT_SERVING, for every service and for the server as a whole, until `ready` completes, and again
    /// from the shutdown on.
    ///
    /// # Errors
    /// When reflection cannot be built, or the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        ready: impl Future<Output = ()> + Send,
        shutdown: CancellationToken,
        grace: Duration,
    ) -> Result<(), HostError> {
        let Self { mut routes, names, health } = self;
        set_all(&health, &names, ServingStatus::NotServing).await;
        routes.add_service(HealthServer::new(HealthService::from_health_reporter(health.clone())));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(relief_api::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The details of a refusal, which no service names.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection = |service_names: &[&str]| {
            service_names.iter().fold(reflection(), |builder, name| builder.with_service_name(*name))
        };
        let listed: Vec<&str> = names.iter().copied().chain(["grpc.health.v1.Health"]).collect();
        routes.add_service(reflection(&listed).build_v1().map_err(HostError::Reflection)?);
        routes.add_service(reflection(&listed).build_v1alpha().map_err(HostError::Reflection)?);

        let server = Server::builder()
            .layer(ServerTraceLayer)
            .layer(MapResponseLayer::new(explained))
            .add_routes(routes.routes())
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                shutdown.clone().cancelled_owned(),
            );
        let serving = async {
            tokio::select! {
                () = ready => set_all(&health, &names, ServingStatus::Serving).await,
                () = shutdown.cancelled() => {}
            }
            shutdown.cancelled().await;
            set_all(&health, &names, ServingStatus::NotServing).await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            outcome = server => outcome.map_err(HostError::Serve),
            () = serving => {
                tracing::warn!(grace_seconds = grace.as_secs(), "calls were still open at the end of the grace period");
                Ok(())
            }
        }
    }
}

async fn set_all(health: &HealthReporter, names: &[&'static str], status: ServingStatus) {
    for name in names.iter().copied().chain([""]) {
        health.set_service_status(name, status).await;
    }
}
