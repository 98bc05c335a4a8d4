//! The bound of every wait.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;

/// Longer than anything takes that does not hang.
pub const BOUND: Duration = Duration::from_secs(60);

/// Waits for `future`, which stands for `what`.
///
/// # Errors
/// When it takes longer than [`BOUND`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(BOUND, future).await.with_context(|| format!("{what}: not within {} s", BOUND.as_secs()))
}
