//! The parts put together.

use std::convert::Infallible;

use relief_api::plot::v1::plot_service_server::PlotServiceServer;
use relief_rpc::{MAX_MESSAGE_BYTES, ServiceHost};
use relief_store::Store;
use tokio_util::sync::CancellationToken;

use crate::grpc::PlotHandler;

/// What a renderer is told: nothing yet.
#[derive(Debug, Clone, Default)]
pub struct Options {}

/// Why a renderer cannot be put together: no reason yet.
pub type AppError = Infallible;

/// A renderer. Clones are the same one.
#[derive(Debug, Clone)]
pub struct App {
    handler: PlotHandler,
    shutdown: CancellationToken,
}

impl App {
    /// Returns a renderer that reads from `store`.
    ///
    /// # Errors
    /// Never.
    pub fn new(_: Options, store: Store, shutdown: CancellationToken) -> Result<Self, AppError> {
        Ok(Self { handler: PlotHandler { store }, shutdown })
    }

    /// Adds the plot service.
    pub fn add_to(&self, host: &mut ServiceHost) {
        let service = PlotServiceServer::new(self.handler.clone());
        host.add(service.max_encoding_message_size(MAX_MESSAGE_BYTES));
    }

    /// Completes at once: nothing is kept.
    pub async fn ready(&self) {}

    /// Waits for the shutdown.
    pub async fn run(&self) {
        self.shutdown.cancelled().await;
    }
}
