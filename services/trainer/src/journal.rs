//! What a run writes, tried again where that may help.

use std::future::Future;
use std::time::Duration;

use relief_core::{NetworkId, RunId, TensorMap};
use relief_store::{SnapshotMetrics, SnapshotRecord, StepMetrics, Store, StoreError, StoreErrorKind};
use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::record::RunStatus;

const N_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The store as runs write to it. A write that the backend refuses is tried six times within about six seconds; once the
/// service is stopping, not again.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    store: Store,
    stopping: CancellationToken,
    first_pause: Duration,
}

impl Journal {
    pub(crate) fn new(store: Store, stopping: CancellationToken) -> Self {
        Self { store, stopping, first_pause: FIRST_PAUSE }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) async fn put_status(&self, run: &RunId, status: &RunStatus) -> Result<(), StoreError> {
        self.persist(|_| self.store.put_run_status(run, status)).await
    }

    pub(crate) async fn put_metrics(&self, run: &RunId, epoch: u32, steps: &[StepMetrics]) -> Result<(), StoreError> {
        self.persist(|_| self.store.put_run_metrics(run, epoch, steps)).await
    }

    pub(crate) async fn put_snapshot(
        &self,
        run: &RunId,
        epoch: u32,
        network: &NetworkId,
        tensors: &TensorMap,
        metrics: SnapshotMetrics,
    ) -> Result<SnapshotRecord, StoreError> {
        let put = |n_tries| async move {
            match self.store.put_snapshot(run, epoch, network, tensors.clone(), metrics).await {
                // Nobody else writes to this run: the try before arrived, and only its answer was lost.
                Err(error) if n_tries > 1 && error.kind() == StoreErrorKind::AlreadyExists => {
                    self.store.get_snapshot_record(run, epoch).await
                }
                put => put,
            }
        };
        self.persist(put).await
    }

    async fn persist<T, F>(&self, attempt: impl Fn(u32) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = self.first_pause;
        let mut n_tries = 1;
        loop {
            let error = match attempt(n_tries).await {
                Err(error) if error.kind() == StoreErrorKind::Unavailable && n_tries < N_TRIES => error,
                outcome => return outcome,
            };
            if self.stopping.is_cancelled() {
                return Err(error);
            }
            tracing::warn!(error = %chain(&error), n_tries, "the store refuses a write, trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopping.cancelled() => {}
            }
            pause *= 2;
            n_tries += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn journal() -> Journal {
        let store = Store::open("memory://").expect("a store");
        Journal { first_pause: Duration::ZERO, ..Journal::new(store, CancellationToken::new()) }
    }

    fn unavailable() -> StoreError {
        StoreError::Write { path: "a".to_owned(), source: "full".into() }
    }

    #[tokio::test]
    async fn a_write_that_fails_is_tried_again_a_bounded_number_of_times() {
        let n_calls = Cell::new(0);
        let never = |_| {
            n_calls.set(n_calls.get() + 1);
            async { Err::<(), _>(unavailable()) }
        };
        assert!(journal().persist(never).await.is_err());
        assert_eq!(n_calls.get(), N_TRIES);
        let third = |n_tries| async move { if n_tries < 3 { Err(unavailable()) } else { Ok(n_tries) } };
        assert_eq!(journal().persist(third).await.expect("the third try"), 3);
    }

    #[tokio::test]
    async fn a_service_that_stops_tries_once_and_what_cannot_pass_is_not_repeated() {
        let n_calls = Cell::new(0);
        let count = |error: fn() -> StoreError| {
            n_calls.set(n_calls.get() + 1);
            async move { Err::<(), _>(error()) }
        };
        let stopping = journal();
        stopping.stopping.cancel();
        assert!(stopping.persist(|_| count(unavailable)).await.is_err());
        assert_eq!(n_calls.get(), 1);
        let exists = || StoreError::AlreadyExists { name: "a".to_owned() };
        assert!(journal().persist(|_| count(exists)).await.is_err());
        assert_eq!(n_calls.get(), 2);
    }
}
