//! The stream to a caller, which is never silent for long.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relief_api::evaluator::v1::Heartbeat;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Status;

/// The longest silence of a stream that is at work.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// The sending end of a stream of `M`.
#[derive(Debug)]
pub(crate) struct Outlet<M> {
    sender: mpsc::Sender<Result<M, Status>>,
    heartbeat: Interval,
    beat: fn(Heartbeat) -> M,
}

impl<M> Outlet<M> {
    /// Returns the outlet into `sender`, whose proofs of life are made by `beat`.
    pub(crate) fn new(sender: mpsc::Sender<Result<M, Status>>, beat: fn(Heartbeat) -> M) -> Self {
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { sender, heartbeat, beat }
    }

    /// Waits for `work` and proves meanwhile that there is life, with the samples done so far. None when the caller has
    /// gone, who needs no more.
    pub(crate) async fn wait<T>(&mut self, samples_done: &AtomicU64, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                _ = self.heartbeat.tick() => {
                    let beat = (self.beat)(Heartbeat { samples_done: samples_done.load(Ordering::Relaxed) });
                    // A full channel holds proof of life enough.
                    let _ = self.sender.try_send(Ok(beat));
                }
                () = self.sender.closed() => return None,
            }
        }
    }

    /// Sends a message. None when the caller has gone.
    pub(crate) async fn send(&self, message: M) -> Option<()> {
        self.sender.send(Ok(message)).await.ok()
    }

    /// Ends the stream with a refusal.
    pub(crate) async fn refuse(&self, status: Status) {
        // A caller that has gone needs no reason.
        let _ = self.sender.send(Err(status)).await;
    }
}
