//! Watches of jobs of any kind: every change until the end, or until another coordinator leads.

use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Between two messages of a watch.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// How far a job is, as far as a watch must know.
pub(super) trait Progress: Clone + Send + Sync + 'static {
    fn is_final(&self) -> bool;
    /// A number that grows with every change.
    fn revision(&self) -> u64;
}

/// What is known of a job when somebody begins to watch it.
pub(super) enum Look<S, M, F> {
    /// It has ended, which every coordinator can tell.
    Ended(M),
    /// It is being worked on by this coordinator, for as long as it leads.
    AtWork(Work<S, F>),
    /// It was at work, and is no more: another look will find how it ended.
    Between,
}

/// A job that is worked on.
pub(super) struct Work<S, F> {
    pub(super) changes: watch::Receiver<S>,
    /// Makes a message of what has changed.
    pub(super) message: F,
    /// The end of this coordinator's term.
    pub(super) over: CancellationToken,
}

/// Watches the job that `look` looks at, from the first change after `after_revision` on.
///
/// # Errors
/// Those of `look`.
pub(super) async fn watch<S, M, F, L>(
    after_revision: u64,
    shutdown: &CancellationToken,
    look: impl Fn() -> L + Send,
) -> Result<ReceiverStream<Result<M, Status>>, ApiError>
where
    L: Future<Output = Result<Look<S, M, F>, ApiError>> + Send,
    S: Progress,
    M: Send + 'static,
    F: Fn(&S) -> M + Send + Sync + 'static,
{
    // One message of room: a slow watcher skips changes, it never holds up the work.
    let (sender, receiver) = mpsc::channel(1);
    loop {
        match look().await? {
            Look::Ended(message) => {
                // The receiver is here and the channel has room.
                let _ = sender.try_send(Ok(message));
                break;
            }
            Look::AtWork(work) => {
                tokio::spawn(send_changes(work, after_revision, sender, shutdown.clone()));
                break;
            }
            Look::Between => tokio::time::sleep(WATCH_INTERVAL).await,
        }
    }
    Ok(ReceiverStream::new(receiver))
}

async fn send_changes<S: Progress, M: Send>(
    work: Work<S, impl Fn(&S) -> M>,
    after_revision: u64,
    sender: mpsc::Sender<Result<M, Status>>,
    shutdown: CancellationToken,
) {
    let Work { mut changes, message, over } = work;
    loop {
        let progress = changes.borrow_and_update().clone();
        if progress.revision() > after_revision {
            let message = message(&progress);
            if sender.send(Ok(message)).await.is_err() || progress.is_final() {
                return;
            }
        } else if progress.is_final() {
            return;
        }
        let next = async {
            tokio::time::sleep(WATCH_INTERVAL).await;
            changes.changed().await
        };
        tokio::select! {
            changed = next => if changed.is_err() { return },
            () = sender.closed() => return,
            // The shutdown is the end of every term.
            () = over.cancelled() => {
                let farewell = match shutdown.is_cancelled() {
                    true => ApiError::new(ErrorReason::ShuttingDown, "the coordinator is stopping; watch again"),
                    false => ApiError::not_leader(None),
                };
                // A watcher that has gone needs no farewell.
                let _ = sender.try_send(Err(farewell.into()));
                return;
            }
        }
    }
}
