//! What evaluators answer, and what their answers mean for the work.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use relief_api::{ApiError, ErrorReason};
use tonic::Status;

use crate::schedule::{Objection, Setback};

/// A refusal, and whether it was the connection that broke.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: ApiError,
    pub(crate) is_broken: bool,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, is_broken: false }
    }
}

/// A refusal of an evaluator. One of the transport is none of its own: it says that the evaluator cannot be reached.
pub(crate) fn read_refusal(status: &Status) -> Refused {
    let error = ApiError::from_status(status);
    match std::error::Error::source(status) {
        Some(_) => Refused { error: ApiError { reason: ErrorReason::ShuttingDown, ..error }, is_broken: true },
        None => Refused { error, is_broken: false },
    }
}

/// The next message of a stream, none after the last one.
///
/// # Errors
/// When the stream breaks, or is silent for `stall_timeout`.
pub(crate) async fn next_message<M>(
    stream: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
    stall_timeout: Duration,
) -> Result<Option<M>, Refused> {
    let message = tokio::time::timeout(stall_timeout, stream.next()).await.map_err(|_| stalled(stall_timeout))?;
    message.transpose().map_err(|status| read_refusal(&status))
}

/// What a refusal means for a tile, of which some points may have come: the whole of what is done about failures. None
/// for what would be the same everywhere, which fails the surface.
pub(crate) fn setback_of(refused: &Refused, has_begun: bool) -> Option<Setback> {
    if refused.is_broken {
        return Some(if has_begun { Setback::Lost } else { Setback::Declined });
    }
    match refused.error.reason {
        // The tile is asked of others first; where three fail on it, its surface fails.
        ErrorReason::VersionMismatch
        | ErrorReason::DataCorrupt
        | ErrorReason::EvaluationFailed
        | ErrorReason::Internal => Some(Setback::Failed),
        // The request is cut in halves; at a single point it is a failure.
        ErrorReason::OutOfMemory => Some(Setback::Memory),
        // The evaluator gets less at once.
        ErrorReason::QueueFull | ErrorReason::QuotaExceeded => Some(Setback::Full),
        // The surface waits for the store.
        ErrorReason::StoreUnavailable => Some(Setback::Storeless),
        // The evaluator hands back what it has not done, and is asked what it is.
        ErrorReason::ShuttingDown
        | ErrorReason::NotLeader
        | ErrorReason::NoEvaluator
        | ErrorReason::NumericsUnavailable
        | ErrorReason::Cancelled => Some(Setback::Declined),
        ErrorReason::InvalidField
        | ErrorReason::InvalidContent
        | ErrorReason::NotFound
        | ErrorReason::AlreadyExists
        | ErrorReason::WrongState => None,
    }
}

/// What a refusal to choose numerics means. None for what would be the same everywhere, which fails the surface.
pub(crate) fn objection_of(refused: &Refused) -> Option<Objection> {
    match refused.error.reason {
        ErrorReason::NumericsUnavailable if !refused.is_broken => Some(Objection::Unfit),
        _ => setback_of(refused, false).map(Objection::Setback),
    }
}

/// What is known of one who says nothing: as little as when the connection breaks.
pub(crate) fn stalled(after: Duration) -> Refused {
    let message = format!("the evaluator was silent for {} s", after.as_secs());
    Refused { error: ApiError::new(ErrorReason::EvaluationFailed, message), is_broken: true }
}

pub(crate) fn of_later_version() -> ApiError {
    ApiError::new(ErrorReason::VersionMismatch, "the evaluator sent an event of a later version")
}

pub(crate) fn stopping() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the coordinator is stopping")
}

#[cfg(test)]
mod tests {
    use relief_api::Retry;

    use super::*;

    #[test]
    fn a_broken_connection_is_a_loss_and_what_an_evaluator_reports_is_its_own() {
        let broken = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        assert_eq!(setback_of(&read_refusal(&broken), true), Some(Setback::Lost));
        assert_eq!(setback_of(&read_refusal(&broken), false), Some(Setback::Declined));
        for (reason, setback) in [
            (ErrorReason::StoreUnavailable, Setback::Storeless),
            (ErrorReason::Internal, Setback::Failed),
            (ErrorReason::ShuttingDown, Setback::Declined),
            (ErrorReason::OutOfMemory, Setback::Memory),
        ] {
            let reported = Status::from(ApiError::new(reason, "because"));
            assert_eq!(setback_of(&read_refusal(&reported), true), Some(setback), "{reason}");
        }
    }

    #[test]
    fn an_evaluator_without_what_is_asked_for_is_told_from_one_that_fails() {
        let objection = |reason| objection_of(&ApiError::new(reason, "because").into());
        assert_eq!(objection(ErrorReason::NumericsUnavailable), Some(Objection::Unfit));
        assert_eq!(objection(ErrorReason::QueueFull), Some(Objection::Setback(Setback::Full)));
        assert_eq!(objection(ErrorReason::DataCorrupt), Some(Objection::Setback(Setback::Failed)));
        assert_eq!(objection(ErrorReason::InvalidField), None);
    }

    #[test]
    fn every_reason_has_a_consequence_that_agrees_with_whether_it_may_be_tried_again() {
        for reason in ErrorReason::ALL {
            let setback = setback_of(&ApiError::new(reason, "because").into(), true);
            match reason.retry() {
                // That somebody asked for an end is no failure of the work.
                Retry::Never if reason == ErrorReason::Cancelled => assert_eq!(setback, Some(Setback::Declined)),
                Retry::Never => assert_eq!(setback, None, "{reason}"),
                Retry::Elsewhere => assert!(matches!(setback, Some(Setback::Failed | Setback::Memory)), "{reason}"),
                Retry::Later => {
                    assert!(matches!(setback, Some(Setback::Declined | Setback::Full | Setback::Storeless)), "{reason}")
                }
            }
        }
    }
}
