//! Tiles to evaluators, and their points back.

use std::sync::Arc;
use std::time::Duration;

use relief_api::convert::evaluation::{
    AxisRef, BlobRef, PlaneRef, SamplesRef, TileRequest, point_from_wire, tile_to_wire,
};
use relief_api::evaluator::v1::evaluate_tile_response::Event;
use relief_api::{ApiError, ErrorReason};
use relief_core::{DirectionSpec, PointValues, Split, Tile};
use relief_store::{BlobPath, DirectionSource, SampleSource, StoreErrorKind, SurfaceRecord};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{End, StoreTrouble, Term};
use crate::fleet::Link;
use crate::job::{Job, chain};
use crate::reply::{Refused, next_message, of_later_version, read_refusal, setback_of, stalled};
use crate::schedule::AttemptId;

/// An attempt to be made.
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) job: Arc<Job>,
    pub(super) evaluator: usize,
    pub(super) tile: Tile,
    pub(super) places: Vec<u32>,
    pub(super) n_attempts: u32,
    pub(super) stop: CancellationToken,
}

/// How a conversation with an evaluator failed.
struct Failure {
    refused: Refused,
    has_begun: bool,
}

impl Term {
    /// Has an evaluator compute points of a tile.
    pub(super) async fn attempt(self: Arc<Self>, attempt: Attempt) {
        let Some(link) = self.fleet.links().get(attempt.evaluator) else { return };
        let span = tracing::info_span!(
            "coordinator.tile",
            surface = %attempt.job.id(),
            tile = attempt.tile.idx,
            attempt = attempt.n_attempts,
            evaluator = link.name,
        );
        let conversation = self.converse(link, &attempt).instrument(span);
        let outcome = tokio::select! {
            outcome = conversation => outcome,
            // Dropping the conversation tells the evaluator.
            () = attempt.stop.cancelled() => return,
        };
        self.lock().attempts.remove(&attempt.id);
        match outcome {
            Ok(compute) => self.tell(|state, now| state.scheduler.finished(now, attempt.id, compute)),
            Err(failure) => self.break_off(link, &attempt, failure),
        }
    }

    fn break_off(self: &Arc<Self>, link: &Link, attempt: &Attempt, failure: Failure) {
        let Failure { refused, has_begun } = failure;
        let setback = setback_of(&refused, has_begun);
        let error = refused.error;
        tracing::info!(
            surface = %attempt.job.id(), tile = attempt.tile.idx, evaluator = link.name, %error,
            reason = error.reason.as_str(), "a tile comes back"
        );
        self.tell(|state, now| match setback {
            Some(setback) => state.scheduler.broken(now, attempt.id, setback, error),
            None => drop(state.scheduler.end_job(now, attempt.job.key, End::Failed(error))),
        });
    }

    /// Returns how long the evaluator computed.
    async fn converse(self: &Arc<Self>, link: &Link, attempt: &Attempt) -> Result<Duration, Failure> {
        // The scheduler ends what stalls; this only keeps a conversation from outliving that for ever.
        let stall_timeout = self.options.settings.stall_timeout * 2;
        let has_also = attempt.job.record().spec.also.is_some();
        let before = |refused: Refused| Failure { refused, has_begun: false };
        let after = |refused: Refused| Failure { refused, has_begun: true };
        let request = tile_to_wire(&tile_request(attempt));
        let opened = tokio::time::timeout(stall_timeout, link.port.evaluate_tile(request)).await;
        let opened = opened.map_err(|_| before(stalled(stall_timeout)))?;
        let mut answers = opened.map_err(|status| before(read_refusal(&status)))?;
        loop {
            let message = next_message(&mut answers, stall_timeout).await.map_err(after)?;
            match message.map(|message| message.event) {
                Some(Some(Event::Point(point))) => {
                    let (idx, values) = point_from_wire(&point, has_also).map_err(|error| after(error.into()))?;
                    self.tell(|state, now| state.scheduler.point(now, attempt.id, point.ticket, idx, values));
                }
                Some(Some(Event::Heartbeat(_))) => {
                    self.tell(|state, now| state.scheduler.heartbeat(now, attempt.id));
                }
                Some(Some(Event::Summary(summary))) if summary.ticket == attempt.id.0 => {
                    return Ok(Duration::try_from_secs_f64(summary.compute_seconds).unwrap_or_default());
                }
                Some(Some(Event::Summary(summary))) => {
                    let message = format!("the evaluator summed up request {}, which was not asked", summary.ticket);
                    return Err(after(ApiError::new(ErrorReason::EvaluationFailed, message).into()));
                }
                Some(None) => return Err(after(of_later_version().into())),
                None => {
                    let error = ApiError::new(ErrorReason::EvaluationFailed, "the evaluator ended without a summary");
                    return Err(after(Refused { error, is_broken: true }));
                }
            }
        }
    }

    /// Stores a tile. It is only tried once: the scheduler says when again.
    pub(super) async fn store_tile(self: Arc<Self>, job: Arc<Job>, tile: Tile, values: Vec<PointValues>) {
        if self.mandate.hold().await.is_err() {
            return;
        }
        let stored = self.store.write_tile(&job.record(), &tile, &values).await;
        let (key, idx) = (job.key, tile.idx);
        self.tell(|state, now| match stored {
            Ok(_) => state.scheduler.stored(now, key, idx),
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                tracing::warn!(surface = %job.id(), error = %chain(&error), "cannot store a tile yet");
                state.scheduler.not_stored(now, key, idx, StoreTrouble::Unavailable(error.into()));
            }
            Err(error) => {
                // Two evaluators of one numeric class disagree, or the store is damaged: somebody must look.
                tracing::error!(surface = %job.id(), tile = idx, %error, "a tile cannot be stored");
                state.scheduler.not_stored(now, key, idx, StoreTrouble::Refused(error.into()));
            }
        });
    }
}

fn tile_request(attempt: &Attempt) -> TileRequest {
    let record = attempt.job.record();
    let (spec, provenance) = (&record.spec, &record.provenance);
    let points: Vec<(u32, u32)> = attempt.tile.points().collect();
    let coefficients =
        |place: &u32| points.get(*place as usize).map(|(row, column)| spec.grid.coefficients(*row, *column));
    TileRequest {
        surface: attempt.job.id().to_string(),
        tile_idx: attempt.tile.idx,
        attempt: attempt.n_attempts,
        plane: plane_of(&record),
        points: attempt.places.iter().filter_map(coefficients).collect(),
        numeric_class: provenance.numeric_class.clone(),
        ticket: attempt.id.0,
    }
}

/// What the points of a surface are computed from.
pub(super) fn plane_of(record: &SurfaceRecord) -> PlaneRef {
    let (spec, provenance) = (&record.spec, &record.provenance);
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
    PlaneRef {
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
    }
}
