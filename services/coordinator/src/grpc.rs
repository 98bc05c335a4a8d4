//! The wire: convert, call, convert.

mod catalog;
mod inference;
mod surface;
mod trajectory;
mod watch;

pub(crate) use catalog::CatalogHandler;
pub(crate) use inference::InferenceHandler;
pub(crate) use surface::SurfaceHandler;
pub(crate) use trajectory::TrajectoryHandler;

use std::future::Future;

use relief_api::{ApiError, ErrorReason};
use tracing::Instrument as _;

/// Does `work` to its end, even when the caller hangs up: what takes several writes is to be stored wholly or not at all.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or_else(|error| Err(ApiError::new(ErrorReason::Internal, error.to_string())))
}
