//! Tiles to evaluators, and their values into the store.

use std::sync::Arc;
use std::time::Duration;

use relief_api::convert::evaluation::{AxisRef, BlobRef, SamplesRef, TileRequest, point_from_wire, tile_to_wire};
use relief_api::evaluator::v1::EvaluateTileResponse;
use relief_api::evaluator::v1::evaluate_tile_response::Event;
use relief_api::{ApiError, ErrorReason, Retry};
use relief_core::{DirectionSpec, JobState, Split};
use relief_store::{BlobPath, DirectionSource, SampleSource, Store, StoreErrorKind};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::Instrument as _;

use crate::fleet::{Description, Fleet, Link};
use crate::job::Job;
use crate::ledger::{Assignment, Setback, Verdict};
use crate::registry::{Registry, chain};
use crate::reply::{next_message, of_later_version, read_refusal, stalled};

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that the workers share.
#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    pub(crate) fleet: Arc<Fleet>,
    /// A stream without a message for so long is a failure.
    pub(crate) stall_timeout: Duration,
    pub(crate) shutdown: CancellationToken,
}

/// How an attempt at a tile ended.
enum Attempt {
    /// Its values are stored.
    Stored,
    /// The job needs no more work.
    Obsolete,
    /// It is to be made again, perhaps.
    Setback(Setback, ApiError),
    /// It would end the same way everywhere.
    Fatal(ApiError),
}

impl Dispatcher {
    /// Keeps one evaluator at work until the shutdown: describes it, gives it as many tiles at once as it has slots,
    /// and when it is lost asks again, at growing intervals.
    pub(crate) async fn supervise(self, idx: usize) {
        let Some(link) = self.fleet.links().get(idx) else { return };
        let mut pause = MIN_PAUSE;
        while !self.shutdown.is_cancelled() {
            match link.describe().await {
                Ok(description) => {
                    tracing::info!(evaluator = %link.endpoint, class = description.numeric_class, "evaluator answers");
                    pause = MIN_PAUSE;
                    self.registry.wake();
                    self.keep_busy(link, &description).await;
                    // Jobs that only this evaluator could take are somebody else's now.
                    self.registry.wake();
                }
                Err(reason) => tracing::debug!(evaluator = %link.endpoint, reason, "evaluator does not answer"),
            }
            self.registry.explain_waiting(&self.fleet);
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    async fn keep_busy(&self, link: &Link, description: &Description) {
        let lost = self.shutdown.child_token();
        let workers = (0..description.slots).map(|_| self.work(link, &description.numeric_class, &lost));
        let probe = async {
            while !lost.is_cancelled() {
                tokio::select! {
                    () = tokio::time::sleep(PROBE_INTERVAL) => {}
                    () = lost.cancelled() => return,
                }
                match link.describe().await {
                    Ok(now) if now == *description => {
                        self.registry.explain_waiting(&self.fleet);
                        // A surface that waits for the store may have it back.
                        self.registry.wake();
                    }
                    Ok(_) => lost.cancel(),
                    Err(reason) => {
                        tracing::warn!(evaluator = %link.endpoint, reason, "evaluator lost");
                        lost.cancel();
                    }
                }
            }
        };
        tokio::join!(futures::future::join_all(workers), probe);
    }

    async fn work(&self, link: &Link, class: &str, lost: &CancellationToken) {
        let mut news = self.registry.subscribe();
        while !lost.is_cancelled() {
            news.mark_unchanged();
            let Some((job, assignment)) = self.registry.next_for(link.idx, class, &self.fleet) else {
                tokio::select! {
                    _ = news.changed() => {}
                    () = lost.cancelled() => {}
                }
                continue;
            };
            let span = tracing::info_span!(
                "coordinator.tile",
                surface = %job.id(),
                tile = assignment.tile.idx,
                attempt = assignment.attempt,
                evaluator = %link.endpoint,
            );
            let attempt = self.attempt(link, class, &job, &assignment, lost).instrument(span).await;
            self.settle(link, &job, &assignment, attempt, lost).await;
        }
    }

    async fn attempt(
        &self,
        link: &Link,
        class: &str,
        job: &Job,
        assignment: &Assignment,
        lost: &CancellationToken,
    ) -> Attempt {
        if assignment.missing.is_empty() {
            // All is known: from other surfaces, or by an attempt whose values the store did not take.
            return self.store_tile(job, assignment).await;
        }
        let request = tonic::Request::new(tile_to_wire(&tile_request(job, class, assignment)));
        let mut client = link.client();
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.stall_timeout, client.evaluate_tile(request)) => opened,
            () = job.stop.cancelled() => return Attempt::Obsolete,
            () = lost.cancelled() => return Attempt::Setback(Setback::Declined, stopping()),
        };
        let mut stream = match opened {
            Ok(Ok(stream)) => stream.into_inner(),
            Ok(Err(status)) => return refused(read_refusal(&status), Setback::Declined),
            Err(_) => return Attempt::Setback(Setback::Lost, stalled(self.stall_timeout)),
        };
        loop {
            let event = tokio::select! {
                event = next_event(&mut stream, self.stall_timeout) => event,
                () = job.stop.cancelled() => return Attempt::Obsolete,
                () = lost.cancelled() => return Attempt::Setback(Setback::Lost, stopping()),
            };
            match event {
                Ok(Some(Event::Point(point))) => {
                    let has_also = job.record().spec.also.is_some();
                    match point_from_wire(&point, assignment.missing.len(), has_also) {
                        Ok((idx, values)) => {
                            job.update(|ledger| ledger.note(assignment.tile.idx, assignment.missing[idx], values));
                        }
                        Err(error) => return Attempt::Setback(Setback::Failed, error),
                    }
                }
                Ok(Some(Event::Heartbeat(_))) => {}
                Ok(Some(Event::Summary(_))) => return self.store_tile(job, assignment).await,
                Ok(None) => {
                    let message = "the evaluator ended the tile without a summary";
                    return Attempt::Setback(Setback::Lost, ApiError::new(ErrorReason::EvaluationFailed, message));
                }
                Err(error) => return refused(error, Setback::Lost),
            }
        }
    }

    async fn store_tile(&self, job: &Job, assignment: &Assignment) -> Attempt {
        const TRIES: u32 = 4;
        let Some(values) = job.update(|ledger| ledger.values(assignment.tile.idx)) else {
            let message = "the evaluator left out points of the tile";
            return Attempt::Setback(Setback::Failed, ApiError::new(ErrorReason::EvaluationFailed, message));
        };
        let Some(_leave) = job.write().await else { return Attempt::Obsolete };
        let mut pause = MIN_PAUSE;
        for n_tries in 1.. {
            match self.store.write_tile(job.record(), &assignment.tile, &values).await {
                Ok(_) => {
                    job.update(|ledger| ledger.commit(assignment.tile.idx));
                    return Attempt::Stored;
                }
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(surface = %job.id(), error = %chain(&error), n_tries, "cannot store a tile");
                    if n_tries == TRIES {
                        return Attempt::Setback(Setback::Declined, error.into());
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) if error.kind() == StoreErrorKind::NotFound => return Attempt::Obsolete,
                Err(error) => {
                    // Two evaluators of one numeric class disagree, or the store is damaged: somebody must look.
                    tracing::error!(surface = %job.id(), tile = assignment.tile.idx, %error, "a tile cannot be stored");
                    return Attempt::Fatal(error.into());
                }
            }
        }
        Attempt::Obsolete
    }

    async fn settle(
        &self,
        link: &Link,
        job: &Arc<Job>,
        assignment: &Assignment,
        attempt: Attempt,
        lost: &CancellationToken,
    ) {
        match attempt {
            Attempt::Obsolete => {}
            Attempt::Stored => {
                if job.update(|ledger| ledger.is_complete()) {
                    // Failures are logged where they happen; a cancelled or deleted job has another end.
                    let _ = self.registry.finish(job, JobState::Succeeded, None, &self.shutdown).await;
                }
            }
            Attempt::Fatal(error) => self.fail(job, error).await,
            Attempt::Setback(setback, error) => {
                tracing::info!(
                    surface = %job.id(), tile = assignment.tile.idx, evaluator = %link.endpoint, %error,
                    reason = error.reason.as_str(), "a tile comes back"
                );
                let verdict = job.update(|ledger| ledger.set_back(assignment.tile.idx, link.idx, setback));
                if verdict == Verdict::GiveUp {
                    let message = format!(
                        "tile {} failed {} times, last at {}: {error}",
                        assignment.tile.idx, assignment.attempt, link.endpoint
                    );
                    self.fail(job, ApiError::new(ErrorReason::EvaluationFailed, message)).await;
                }
                let is_gone = matches!(setback, Setback::Lost | Setback::Declined)
                    && !matches!(error.reason, ErrorReason::QueueFull | ErrorReason::StoreUnavailable);
                if is_gone {
                    link.mark_lost(&error.message);
                    lost.cancel();
                }
                if error.reason == ErrorReason::StoreUnavailable {
                    job.wait_for(&error.message);
                }
                self.registry.wake();
                tokio::select! {
                    () = tokio::time::sleep(MIN_PAUSE) => {}
                    () = lost.cancelled() => {}
                }
            }
        }
    }

    async fn fail(&self, job: &Job, error: ApiError) {
        tracing::warn!(surface = %job.id(), %error, "surface fails");
        // As above: logged where it happens.
        let _ = self.registry.finish(job, JobState::Failed, Some(error), &self.shutdown).await;
    }
}

/// What a refusal means for the tile: `otherwise` when the evaluator is full, stopping or gone.
fn refused(error: ApiError, otherwise: Setback) -> Attempt {
    match error.reason.retry() {
        Retry::Never if error.reason == ErrorReason::Cancelled => Attempt::Setback(otherwise, error),
        Retry::Never => Attempt::Fatal(error),
        Retry::Elsewhere => Attempt::Setback(Setback::Failed, error),
        // Neither says anything about the tile, or about the evaluator.
        Retry::Later if matches!(error.reason, ErrorReason::QueueFull | ErrorReason::StoreUnavailable) => {
            Attempt::Setback(Setback::Declined, error)
        }
        Retry::Later => Attempt::Setback(otherwise, error),
    }
}

fn stopping() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the connection to the evaluator was given up")
}

async fn next_event(
    stream: &mut Streaming<EvaluateTileResponse>,
    stall_timeout: Duration,
) -> Result<Option<Event>, ApiError> {
    match next_message(stream, stall_timeout).await? {
        Some(EvaluateTileResponse { event: Some(event) }) => Ok(Some(event)),
        Some(EvaluateTileResponse { event: None }) => Err(of_later_version()),
        None => Ok(None),
    }
}

fn tile_request(job: &Job, class: &str, assignment: &Assignment) -> TileRequest {
    let record = job.record();
    let (spec, provenance) = (&record.spec, &record.provenance);
    let points: Vec<(u32, u32)> = assignment.tile.points().collect();
    let coefficients = |place: &usize| points.get(*place).map(|(row, column)| spec.grid.coefficients(*row, *column));
    let samples = |split: Split, source: SampleSource| SamplesRef {
        dataset: spec.data.dataset.clone(),
        digest: source.digest,
        split,
        limit: spec.data.limit,
    };
    let axis = |(source, direction): (&DirectionSource, &DirectionSpec)| match (*source, direction) {
        (DirectionSource::Towards(digest), DirectionSpec::Towards { checkpoint }) => {
            AxisRef::Towards(BlobRef { path: BlobPath::checkpoint(checkpoint).to_string(), digest })
        }
        (source, _) => {
            let digest = source.digest();
            AxisRef::Step(BlobRef { path: BlobPath::direction(digest).to_string(), digest })
        }
    };
    TileRequest {
        surface: job.id().to_string(),
        tile_idx: assignment.tile.idx,
        attempt: assignment.attempt,
        network: BlobRef { path: BlobPath::network(&spec.network).to_string(), digest: provenance.network_digest },
        checkpoint: BlobRef {
            path: BlobPath::checkpoint(&spec.plane.origin).to_string(),
            digest: provenance.checkpoint_digest,
        },
        axes: provenance.directions.iter().zip(spec.plane.directions()).map(axis).collect(),
        batch_norm: spec.plane.batch_norm,
        samples: samples(spec.data.split, provenance.samples),
        also: spec.also.zip(provenance.also).map(|(split, source)| samples(split, source)),
        statistics: provenance.statistics.map(|source| samples(Split::Train, source)),
        points: assignment.missing.iter().filter_map(coefficients).collect(),
        numeric_class: class.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn a_broken_connection_is_a_loss_and_what_an_evaluator_reports_is_a_failure() {
        let broken = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        let attempt = refused(read_refusal(&broken), Setback::Lost);
        assert!(matches!(attempt, Attempt::Setback(Setback::Lost, _)));
        let storeless = Status::from(ApiError::new(ErrorReason::StoreUnavailable, "the store cannot be reached"));
        let attempt = refused(read_refusal(&storeless), Setback::Lost);
        assert!(matches!(attempt, Attempt::Setback(Setback::Declined, _)));
        let reported = Status::from(ApiError::new(ErrorReason::Internal, "the engine panicked"));
        let attempt = refused(read_refusal(&reported), Setback::Lost);
        assert!(matches!(attempt, Attempt::Setback(Setback::Failed, _)));
    }
}
