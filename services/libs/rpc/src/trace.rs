//! Tower services that open a span per call and carry the trace context.

use std::task::{Context, Poll};

use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};
use tracing::instrument::{Instrument as _, Instrumented};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::propagation;

/// Opens a server span per call, under the caller's when the call carries one. Health checks and reflection are left
/// out: they would drown the rest.
#[derive(Debug, Clone, Default)]
pub struct ServerTraceLayer;

impl<S> Layer<S> for ServerTraceLayer {
    type Service = ServerTrace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerTrace { inner }
    }
}

/// See [`ServerTraceLayer`].
#[derive(Debug, Clone)]
pub struct ServerTrace<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ServerTrace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = server_span(request.uri().path(), request.headers());
        span.in_scope(|| self.inner.call(request)).instrument(span)
    }
}

fn server_span(path: &str, headers: &HeaderMap) -> Span {
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return Span::none() };
    if service.starts_with("grpc.") {
        return Span::none();
    }
    let span = tracing::info_span!(
        "grpc.server",
        otel.name = %format_args!("{service}/{method}"),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
    );
    // Fails only when no exporter is installed, and then there is nothing to link.
    let _ = span.set_parent(propagation::extract(headers));
    span
}

/// Opens a client span per call and sends its context along.
#[derive(Debug, Clone)]
pub struct ClientTrace<S> {
    inner: S,
}

impl<S> ClientTrace<S> {
    /// Returns `inner` with spans.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for ClientTrace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let span = tracing::info_span!(
            "grpc.client",
            otel.name = path,
            otel.kind = "client",
            rpc.system = "grpc",
            server.address = request.uri().authority().map(field::display),
        );
        propagation::inject(&span.context(), request.headers_mut());
        span.in_scope(|| self.inner.call(request)).instrument(span)
    }
}
