//! Connections to the server, and what its refusals mean.

use std::error::Error as _;

use relief_api::ApiError;
use relief_api::catalog::v1::catalog_service_client::CatalogServiceClient;
use relief_api::inference::v1::inference_service_client::InferenceServiceClient;
use relief_api::plot::v1::plot_service_client::PlotServiceClient;
use relief_api::surface::v1::surface_service_client::SurfaceServiceClient;
use relief_api::training::v1::training_service_client::TrainingServiceClient;
use relief_api::trajectory::v1::trajectory_service_client::TrajectoryServiceClient;
use relief_rpc::{ClientChannel, Endpoint, MAX_MESSAGE_BYTES};
use tonic::{Code, Status};

use crate::error::CommandError;

/// The most that a page of a list may hold.
pub(crate) const PAGE_SIZE: u32 = 1000;

/// The servers of all services, most often one and the same.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// That of networks, datasets and checkpoints.
    pub(crate) catalog: Server,
    /// That of training runs.
    pub(crate) training: Server,
    /// That of surfaces.
    pub(crate) surfaces: Server,
    /// That of trajectories.
    pub(crate) trajectories: Server,
    /// That of logits.
    pub(crate) inference: Server,
    /// That of pictures.
    pub(crate) plots: Server,
}

/// Where the services are.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    /// All that is nowhere else.
    pub(crate) all: Endpoint,
    /// Training runs.
    pub(crate) trainer: Option<Endpoint>,
    /// Pictures.
    pub(crate) renderer: Option<Endpoint>,
}

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    endpoint: Endpoint,
    /// What names it on the command line.
    flag: &'static str,
    channel: ClientChannel,
}

macro_rules! services {
    ($($name:ident: $client:ident),+) => {
        $(pub(crate) fn $name(&self) -> $client<ClientChannel> {
            $client::new(self.$name.channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        })+
    };
}

impl Client {
    /// Returns a client of the servers at `endpoints`; it connects with the first call.
    pub(crate) fn new(endpoints: Endpoints) -> anyhow::Result<Self> {
        let Endpoints { all, trainer, renderer } = endpoints;
        let all = Server::new(all, "--endpoint")?;
        let of = |endpoint: Option<Endpoint>, flag| match endpoint {
            Some(endpoint) => Server::new(endpoint, flag),
            None => Ok(all.clone()),
        };
        Ok(Self {
            training: of(trainer, "--trainer-endpoint")?,
            plots: of(renderer, "--renderer-endpoint")?,
            catalog: all.clone(),
            inference: all.clone(),
            trajectories: all.clone(),
            surfaces: all,
        })
    }

    services! {
        catalog: CatalogServiceClient,
        training: TrainingServiceClient,
        surfaces: SurfaceServiceClient,
        trajectories: TrajectoryServiceClient,
        inference: InferenceServiceClient,
        plots: PlotServiceClient
    }
}

impl From<Endpoint> for Endpoints {
    fn from(all: Endpoint) -> Self {
        Self { all, trainer: None, renderer: None }
    }
}

impl Server {
    fn new(endpoint: Endpoint, flag: &'static str) -> anyhow::Result<Self> {
        let channel = relief_rpc::connect(&endpoint)?;
        Ok(Self { endpoint, flag, channel })
    }

    /// Says what `status` means.
    pub(crate) fn refused(&self, status: Status) -> CommandError {
        let (endpoint, flag) = (self.endpoint.clone(), self.flag);
        // What a server says has no source here; what became of the connection has.
        let is_local = status.source().is_some();
        match status.code() {
            Code::Unavailable if is_local => CommandError::Unreachable { endpoint, flag },
            Code::Unimplemented => CommandError::Unimplemented { endpoint },
            _ if is_local => CommandError::Disconnected { endpoint, reason: status.message().to_owned() },
            _ => CommandError::Refused(ApiError::from_status(&status)),
        }
    }

    /// Returns the `part` of an answer that must be there.
    pub(crate) fn required<T>(&self, part: &'static str, value: Option<T>) -> Result<T, CommandError> {
        value.ok_or_else(|| CommandError::Incomplete { endpoint: self.endpoint.clone(), part })
    }
}

/// Calls `$call` of `$service` for every page and returns all `$items`.
macro_rules! list_all {
    ($client:expr, $service:ident . $call:ident, $request:ident, $items:ident) => {{
        let client: &$crate::client::Client = $client;
        let mut service = client.$service();
        let mut items = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = $request { page_size: $crate::client::PAGE_SIZE, page_token };
            let page = service.$call(request).await.map_err(|status| client.$service.refused(status))?.into_inner();
            items.extend(page.$items);
            if page.next_page_token.is_empty() {
                break items;
            }
            page_token = page.next_page_token;
        }
    }};
}
pub(crate) use list_all;

#[cfg(test)]
mod tests {
    use relief_api::plot::v1::RenderSurfaceRequest;
    use relief_api::surface::v1::GetSurfaceRequest;
    use relief_api::training::v1::GetRunRequest;

    use super::*;

    /// An endpoint that nobody listens on.
    fn nowhere() -> Endpoint {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an endpoint")
    }

    #[tokio::test]
    async fn an_absent_server_is_an_error_that_says_how_to_start_one() {
        let endpoint = nowhere();
        let client = Client::new(endpoint.clone().into()).expect("a client");
        let request = GetSurfaceRequest { name: "surfaces/s".to_owned() };
        let status = client.surfaces().get_surface(request).await.expect_err("nobody listens");
        let text = client.surfaces.refused(status).to_string();
        assert!(text.contains(&endpoint.to_string()) && text.contains("`relief up`"), "{text}");
        assert!(text.ends_with("with --endpoint"), "{text}");
    }

    #[tokio::test]
    async fn every_service_is_asked_where_it_is() {
        let endpoints = Endpoints { all: nowhere(), trainer: Some(nowhere()), renderer: Some(nowhere()) };
        let client = Client::new(endpoints.clone()).expect("a client");
        let request = GetRunRequest { name: "runs/r".to_owned() };
        let status = client.training().get_run(request).await.expect_err("nobody listens");
        let text = client.training.refused(status).to_string();
        assert!(text.contains(&endpoints.trainer.expect("one").to_string()), "{text}");
        assert!(text.ends_with("with --trainer-endpoint"), "{text}");
        let status = client.plots().render_surface(RenderSurfaceRequest::default()).await.expect_err("nobody listens");
        let text = client.plots.refused(status).to_string();
        assert!(text.contains(&endpoints.renderer.expect("one").to_string()), "{text}");
        assert!(text.ends_with("with --renderer-endpoint"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_refuses_for_now_is_not_taken_for_absent() {
        let client = Client::new(nowhere().into()).expect("a client");
        let error = client.catalog.refused(Status::unavailable("the store cannot be reached"));
        assert_eq!(error.to_string(), "the store cannot be reached");
    }
}
