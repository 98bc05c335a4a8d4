//! From the first signal handler to the exit status.

use std::future::Future;
use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

/// Runs a service until it returns: telemetry first, then `service` with a token that SIGTERM or SIGINT cancels, then
/// the flush of all spans. Returns success, or failure after the error was logged with all its sources.
pub async fn run<F, E>(service_name: &'static str, service: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let telemetry = match Telemetry::install(service_name) {
        Ok(telemetry) => telemetry,
        Err(error) => return report_without_telemetry(service_name, &error),
    };
    let outcome = match shutdown_on_signal() {
        Ok(shutdown) => service(shutdown).await.map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&*error), "{service_name} failed");
            ExitCode::FAILURE
        }
    };
    telemetry.flush().await;
    code
}

#[allow(clippy::print_stderr, reason = "there is no log to write to")]
fn report_without_telemetry(service_name: &str, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{service_name}: {}", chain(error));
    ExitCode::FAILURE
}

/// Returns a token that the first SIGTERM or SIGINT cancels; a second one ends the process at once.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown_on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        token.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("second signal, ending at once");
        std::process::exit(130);
    });
    Ok(shutdown)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
