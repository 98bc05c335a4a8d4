//! A collector of traces inside the test.

use std::net::{Ipv4Addr, SocketAddr};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::bound::within;

/// A span that a process exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedSpan {
    /// `service.name` of the process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Whether it is the calling or the called side of a call, or neither.
    pub kind: SpanKind,
    /// The trace that it belongs to.
    pub trace: Vec<u8>,
    /// Its own id.
    pub id: Vec<u8>,
    /// The id of its parent, empty at the root.
    pub parent: Vec<u8>,
}

/// An OTLP/gRPC collector that keeps every span. It ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: watch::Receiver<Vec<ExportedSpan>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

#[derive(Debug)]
struct Handler {
    spans: watch::Sender<Vec<ExportedSpan>>,
}

#[tonic::async_trait]
impl TraceService for Handler {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = resource.resource.as_ref().and_then(service_name).unwrap_or_default();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.send_modify(|all| all.extend(spans.map(|span| exported(&service, span))));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(resource: &Resource) -> Option<String> {
    let attribute = resource.attributes.iter().find(|attribute| attribute.key == "service.name")?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(name) => Some(name.clone()),
        _ => None,
    }
}

fn exported(service: &str, span: Span) -> ExportedSpan {
    ExportedSpan {
        service: service.to_owned(),
        kind: span.kind(),
        name: span.name,
        trace: span.trace_id,
        id: span.span_id,
        parent: span.parent_span_id,
    }
}

impl Collector {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let (sender, spans) = watch::channel(Vec::new());
        let service = TraceServiceServer::new(Handler { spans: sender });
        let server = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
        Ok(Self { address, spans, server: tokio::spawn(server) })
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` must be.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the spans are there that `find` looks for, and returns what it found.
    ///
    /// # Errors
    /// When they are not there in time; the error lists those that are.
    pub async fn until<T>(&self, what: &str, find: impl Fn(&[ExportedSpan]) -> Option<T>) -> anyhow::Result<T> {
        let mut spans = self.spans.clone();
        let found = within(what, async {
            loop {
                if let Some(found) = find(&spans.borrow_and_update()) {
                    return Ok(found);
                }
                spans.changed().await?;
            }
        });
        found.await.unwrap_or_else(|late| Err(late.context(format!("{:#?}", self.spans.borrow().as_slice()))))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}
