//! Connections to the server, and what its refusals mean.

use std::error::Error as _;

use relief_api::ApiError;
use relief_api::catalog::v1::catalog_service_client::CatalogServiceClient;
use relief_api::plot::v1::plot_service_client::PlotServiceClient;
use relief_api::surface::v1::surface_service_client::SurfaceServiceClient;
use relief_api::training::v1::training_service_client::TrainingServiceClient;
use relief_rpc::{ClientChannel, Endpoint, MAX_MESSAGE_BYTES};
use tonic::{Code, Status};

use crate::error::CommandError;

/// The most that a page of a list may hold.
pub(crate) const PAGE_SIZE: u32 = 1000;

/// All services behind one address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
    channel: ClientChannel,
}

macro_rules! services {
    ($($name:ident: $client:ident),+) => {
        $(pub(crate) fn $name(&self) -> $client<ClientChannel> {
            $client::new(self.channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        })+
    };
}

impl Client {
    /// Returns a client of the server at `endpoint`; it connects with the first call.
    pub(crate) fn new(endpoint: Endpoint) -> anyhow::Result<Self> {
        let channel = relief_rpc::connect(&endpoint)?;
        Ok(Self { endpoint, channel })
    }

    services! {
        catalog: CatalogServiceClient,
        training: TrainingServiceClient,
        surfaces: SurfaceServiceClient,
        plots: PlotServiceClient
    }

    /// Says what `status` means.
    pub(crate) fn refused(&self, status: Status) -> CommandError {
        let endpoint = self.endpoint.clone();
        // What a server says has no source here; what became of the connection has.
        let is_local = status.source().is_some();
        match status.code() {
            Code::Unavailable if is_local => CommandError::Unreachable { endpoint },
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
            let page = service.$call(request).await.map_err(|status| client.refused(status))?.into_inner();
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
    use relief_api::surface::v1::GetSurfaceRequest;

    use super::*;

    #[tokio::test]
    async fn an_absent_server_is_an_error_that_says_how_to_start_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let client = Client::new(format!("http://{address}").parse().expect("an endpoint")).expect("a client");
        let request = GetSurfaceRequest { name: "surfaces/s".to_owned() };
        let status = client.surfaces().get_surface(request).await.expect_err("nobody listens");
        let text = client.refused(status).to_string();
        assert!(text.contains(&address.to_string()) && text.contains("`relief up`"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_refuses_for_now_is_not_taken_for_absent() {
        let client = Client::new("http://127.0.0.1:1".parse().expect("an endpoint")).expect("a client");
        let error = client.refused(Status::unavailable("the store cannot be reached"));
        assert_eq!(error.to_string(), "the store cannot be reached");
    }
}
