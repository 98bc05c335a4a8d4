//! What an evaluator replies, and its silence.

use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use tonic::{Status, Streaming};

/// Reads a refusal. A status with a cause was not sent by the evaluator: the connection to it broke.
pub(crate) fn read_refusal(status: &Status) -> ApiError {
    let error = ApiError::from_status(status);
    match std::error::Error::source(status) {
        Some(_) => ApiError { reason: ErrorReason::ShuttingDown, ..error },
        None => error,
    }
}

/// The next message of a stream, none after the last one.
///
/// # Errors
/// When the stream breaks, or is silent for `stall_timeout`.
pub(crate) async fn next_message<M>(stream: &mut Streaming<M>, stall_timeout: Duration) -> Result<Option<M>, ApiError> {
    let message = tokio::time::timeout(stall_timeout, stream.message()).await.map_err(|_| stalled(stall_timeout))?;
    message.map_err(|status| read_refusal(&status))
}

pub(crate) fn stalled(after: Duration) -> ApiError {
    let message = format!("the evaluator was silent for {} s", after.as_secs());
    ApiError::new(ErrorReason::EvaluationFailed, message)
}

pub(crate) fn of_later_version() -> ApiError {
    ApiError::new(ErrorReason::VersionMismatch, "the evaluator sent an event of a later version")
}
