//! Logs on standard error, traces over OTLP.

use std::env;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _};

/// Telemetry of one process. It must be [flushed](Telemetry::flush), or the last spans are lost.
#[derive(Debug)]
#[must_use]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Why telemetry cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The OTLP exporter refuses its configuration.
    #[error("cannot export traces to OTEL_EXPORTER_OTLP_ENDPOINT")]
    Exporter(#[source] ExporterBuildError),
    /// A subscriber is there already.
    #[error("cannot install the log subscriber")]
    Subscriber(#[source] TryInitError),
    /// `RUST_LOG` is malformed.
    #[error("cannot read the log filter RUST_LOG")]
    Filter(#[source] tracing_subscriber::filter::FromEnvError),
}

impl Telemetry {
    /// Installs logs for the process: one line per event on standard error, as JSON when `RELIEF_LOG_FORMAT` is
    /// `json`, filtered by `RUST_LOG` (default `info`). When `OTEL_EXPORTER_OTLP_ENDPOINT` is set, spans are exported
    /// there over OTLP/gRPC under `service_name`, and the W3C trace context is carried on every call.
    ///
    /// # Errors
    /// When the exporter or the filter refuses its configuration, or a subscriber is installed already.
    pub fn install(service_name: &'static str) -> Result<Self, TelemetryError> {
        Self::install_with_filter(service_name, "info")
    }

    /// The same, with another log filter for when `RUST_LOG` is not set, as of a tool that is silent when all is well.
    ///
    /// # Errors
    /// See [`Telemetry::install`].
    pub fn install_with_filter(service_name: &'static str, default_filter: &str) -> Result<Self, TelemetryError> {
        let filter = if env::var_os("RUST_LOG").is_some() {
            EnvFilter::try_from_default_env().map_err(TelemetryError::Filter)?
        } else {
            EnvFilter::new(default_filter)
        };
        let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
        let logs = match env::var("RELIEF_LOG_FORMAT").as_deref() {
            Ok("json") => logs.json().boxed(),
            _ => logs.boxed(),
        };
        let provider = tracer_provider(service_name)?;
        // Spans are exported whatever the log filter: a quiet log must not blind the traces.
        let traces = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("relief"))
                .with_filter(EnvFilter::new("info,h2=off,hyper=off,tonic=off,tower=off"))
        });
        tracing_subscriber::registry()
            .with(traces)
            .with(logs.with_filter(filter))
            .try_init()
            .map_err(TelemetryError::Subscriber)?;
        Ok(Self { provider })
    }

    /// Sends every finished span, bounded by the exporter's own time-out.
    pub async fn flush(self) {
        let Some(provider) = self.provider else { return };
        // The exporter blocks on its connection, which needs this runtime's threads.
        let shutdown = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if !matches!(shutdown, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be exported");
        }
    }
}

fn tracer_provider(service_name: &'static str) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let is_set = |key| env::var_os(key).is_some_and(|value| !value.is_empty());
    if !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") && !is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Ok(None);
    }
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = SpanExporter::builder().with_tonic().build().map_err(TelemetryError::Exporter)?;
    let resource = Resource::builder().with_service_name(service_name).build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}
