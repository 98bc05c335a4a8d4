//! The work on a trajectory, step by step. Each step finds what is stored of it and does the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::{StreamExt as _, TryStreamExt as _};
use relief_api::convert::difference::{
    CombinationRequest, GramRequest, RowRef, TensorSlice, combination_to_wire, gram_to_wire,
};
use relief_api::convert::evaluation::{BlobRef, PlaneRef, SamplesRef, TileRequest, point_from_wire, tile_to_wire};
use relief_api::convert::surface::SurfaceRequest;
use relief_api::evaluator::v1::combine_checkpoints_response::Event as CombinationEvent;
use relief_api::evaluator::v1::compute_gram_response::Event as GramEvent;
use relief_api::evaluator::v1::evaluate_tile_response::Event as TileEvent;
use relief_api::{ApiError, ErrorReason};
use relief_core::{
    AxisSource, BatchNormMode, Digest, DirectionSpec, Gram, GramTile, JobState, Plane, PointValues, Split, Stop,
    TileShape, fitted_grid, project,
};
use relief_store::{BlobPath, GramTensor, RequestMark, SampleSource, TrajectoryAxesRecord, TrajectoryRecord};
use tonic::Status;

use super::Trajectories;
use super::errand::Errand;
use super::job::{Stage, TrajectoryJob};
use crate::fleet::Link;
use crate::reply::{Refused, next_message, of_later_version, read_refusal, stalled};
use crate::term::Term;

/// Between two looks at the surface.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

impl Trajectories {
    /// Does what is left to do, in order.
    pub(super) async fn steps(self: &Arc<Self>, term: &Arc<Term>, job: &Arc<TrajectoryJob>) -> Result<(), ApiError> {
        let record = job.record();
        job.update(|status| {
            status.state = JobState::Running;
            status.waiting_reason.clear();
        });
        let axes = self.find_axes(term, job, &record).await?;
        job.update(|status| {
            status.stage = Stage::Losses;
            status.gram_tiles_done = status.gram_tiles_total;
        });
        let surface = async {
            self.create_surface(&record, &axes).await?;
            self.follow_surface(job, &record).await
        };
        let ((), values) = tokio::try_join!(surface, self.evaluate_stops(term, job, &record))?;
        term.mandate.hold().await?;
        self.surfaces.store().put_trajectory_result(&record, &axes, &values).await?;
        Ok(())
    }

    /// The axes of the plane, computed unless they are stored.
    async fn find_axes(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        record: &TrajectoryRecord,
    ) -> Result<TrajectoryAxesRecord, ApiError> {
        let store = self.surfaces.store();
        if let Some(axes) = store.find_trajectory_axes(record).await? {
            return Ok(axes);
        }
        let gram = self.compute_gram(term, job, record).await?;
        let spec = record.spec.clone();
        // A few hundred stops take a second, which is not for the threads that answer calls.
        let projected = tokio::task::spawn_blocking(move || {
            let projection = project(&spec, &gram).map_err(|error| unfit(&error))?;
            let grid = fitted_grid(&spec, &projection).map_err(|error| unfit(&error))?;
            Ok::<_, ApiError>((projection, grid))
        });
        let (projection, grid) =
            projected.await.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))??;
        job.update(|status| status.stage = Stage::Directions);
        // Nobody collects the directions before the axes name them.
        let _planning = term.planning.read().await;
        let [x, y] = &projection.axes;
        let (x, y) =
            tokio::try_join!(self.direction_of(term, job, record, x), self.direction_of(term, job, record, y))?;
        term.mandate.hold().await?;
        let axes = TrajectoryAxesRecord { projection, directions: [x, y], grid };
        Ok(store.put_trajectory_axes(record, &axes).await?)
    }

    /// The Gram matrix of all rows, of which evaluators compute the tiles that are not stored.
    async fn compute_gram(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        record: &TrajectoryRecord,
    ) -> Result<Gram, ApiError> {
        let store = self.surfaces.store();
        let plan = record.provenance.gram;
        let done = store.gram_tiles(record).await?;
        job.update(|status| {
            status.stage = Stage::Gram;
            status.gram_tiles_done = done.len() as u64;
        });
        let missing: Vec<GramTile> = plan.tiles().filter(|tile| !done.contains(&tile.idx)).collect();
        let computing = missing.into_iter().map(|tile| self.compute_tile(term, job, record, tile));
        let computing = futures::stream::iter(computing).buffer_unordered(self.errands.n_concurrent());
        computing.try_collect::<()>().await?;
        Ok(store.load_gram(record).await?)
    }

    async fn compute_tile(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        record: &TrajectoryRecord,
        tile: GramTile,
    ) -> Result<(), ApiError> {
        let errand = GramErrand { request: gram_request(record, &tile)?, n_products: tile.n_entries() };
        let products = self.errands.ask(job, None, &errand).await?;
        term.mandate.hold().await?;
        self.surfaces.store().put_gram_tile(record, tile.idx, &products).await?;
        job.update(|status| status.gram_tiles_done += 1);
        Ok(())
    }

    /// The digest of the direction that is an axis, made by an evaluator where there is none.
    async fn direction_of(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        record: &TrajectoryRecord,
        axis: &AxisSource,
    ) -> Result<Digest, ApiError> {
        let coefficients = match axis {
            AxisSource::Row(row) => {
                let direction = row.checked_sub(record.spec.n_stops());
                let digest = direction.and_then(|idx| record.provenance.directions.get(idx));
                let lost = || ApiError::new(ErrorReason::Internal, format!("row {row} is no direction"));
                return digest.copied().ok_or_else(lost);
            }
            AxisSource::Combination(coefficients) => coefficients,
        };
        let used = |((_, stop), coefficient): ((usize, &Stop), &f64)| {
            (*coefficient != 0.0).then(|| (blob_of(stop), *coefficient))
        };
        let request = CombinationRequest {
            trajectory: record.id.to_string(),
            origin: origin_of(record)?,
            terms: record.spec.stops().zip(coefficients).filter_map(used).collect(),
            tensors: record.provenance.tensors.iter().map(|tensor| tensor.name.clone()).collect(),
            ticket: 1,
        };
        let file = self.errands.ask(job, None, &request).await?;
        term.mandate.hold().await?;
        let digest = Digest::of(&file);
        self.surfaces.store().keep_direction(file.freeze()).await?;
        Ok(digest)
    }

    /// Has the surface computed that the path lies on.
    async fn create_surface(&self, record: &TrajectoryRecord, axes: &TrajectoryAxesRecord) -> Result<(), ApiError> {
        let spec = &record.spec;
        let [x, y] = axes.directions.map(|digest| DirectionSpec::Stored { digest });
        let plane = Plane { origin: spec.origin().clone(), x, y: Some(y), batch_norm: BatchNormMode::Frozen };
        let request = SurfaceRequest {
            network: Some(spec.network.clone()),
            plane,
            grid: axes.grid,
            data: spec.data.clone(),
            also: spec.also,
            tile: TileShape::default_for(&axes.grid).within(&axes.grid),
            fresh: false,
            scheduling: spec.scheduling.clone(),
            numerics: spec.numerics,
        };
        let id = format!("{} {}", record.id, record.incarnation);
        let mark = RequestMark { digest: Digest::of(id.as_bytes()), id };
        self.surfaces.create(Some(record.provenance.surface.clone()), Some(mark), request).await?;
        Ok(())
    }

    /// Waits for the end of the surface.
    async fn follow_surface(&self, job: &TrajectoryJob, record: &TrajectoryRecord) -> Result<(), ApiError> {
        let id = &record.provenance.surface;
        loop {
            let (_, status) = self.surfaces.get(id).await?;
            job.update(|job| {
                job.points_done = status.tally.points_done;
                job.points_per_second = status.points_per_second;
                job.waiting_reason.clone_from(&status.waiting_reason);
            });
            match status.state {
                JobState::Succeeded => return Ok(()),
                JobState::Failed => {
                    let reason = status.error.map(|(_, message)| message).unwrap_or_default();
                    let message = format!("{id} failed: {reason}");
                    return Err(ApiError::new(ErrorReason::EvaluationFailed, message));
                }
                JobState::Cancelled => {
                    return Err(ApiError::new(ErrorReason::Cancelled, format!("{id} was cancelled")));
                }
                JobState::Pending | JobState::Running => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    }

    /// The true losses at the stops, in the numeric class of the surface.
    async fn evaluate_stops(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        record: &TrajectoryRecord,
    ) -> Result<Vec<Option<PointValues>>, ApiError> {
        let store = self.surfaces.store();
        let mut values = store.stop_values(record).await?;
        job.update(|status| status.stops_done = values.iter().flatten().count() as u64);
        if values.iter().any(Option::is_none) {
            let class = self.class_of_surface(record).await?;
            let stops: Vec<(usize, Stop)> = record.spec.stops().map(|(_, stop)| stop.clone()).enumerate().collect();
            let missing: Vec<(usize, Stop)> = stops.into_iter().filter(|(idx, _)| values[*idx].is_none()).collect();
            let evaluating =
                missing.into_iter().map(|(idx, stop)| self.evaluate_stop(term, job, record, idx, stop, &class));
            let evaluating = futures::stream::iter(evaluating).buffer_unordered(self.errands.n_concurrent());
            let computed: Vec<(usize, PointValues)> = evaluating.try_collect().await?;
            for (idx, found) in computed {
                values[idx] = Some(found);
            }
        }
        Ok(values)
    }

    async fn evaluate_stop(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        record: &TrajectoryRecord,
        idx: usize,
        stop: Stop,
        class: &str,
    ) -> Result<(usize, PointValues), ApiError> {
        let request = stop_request(record, &stop, idx as u64, class);
        let errand = PointErrand { request, has_also: record.spec.also.is_some() };
        let values = self.errands.ask(job, Some(class), &errand).await?;
        term.mandate.hold().await?;
        self.surfaces.store().put_stop_values(record, idx, &values).await?;
        job.update(|status| status.stops_done += 1);
        Ok((idx, values))
    }

    /// What the surface is computed in, once that is chosen.
    async fn class_of_surface(&self, record: &TrajectoryRecord) -> Result<String, ApiError> {
        loop {
            match self.surfaces.get(&record.provenance.surface).await {
                Ok((surface, _)) if !surface.provenance.numeric_class.is_empty() => {
                    return Ok(surface.provenance.numeric_class);
                }
                // It is just being created.
                Ok(_) => {}
                Err(error) if error.reason == ErrorReason::NotFound => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// A path that spans no plane, or none that can be drawn.
fn unfit(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(ErrorReason::InvalidContent, error.to_string())
}

fn blob_of(stop: &Stop) -> BlobRef {
    BlobRef { path: BlobPath::checkpoint(&stop.checkpoint).to_string(), digest: stop.digest }
}

fn origin_of(record: &TrajectoryRecord) -> Result<BlobRef, ApiError> {
    let origin = record.spec.paths.first().and_then(|path| path.stops.last());
    origin.map(blob_of).ok_or_else(|| ApiError::new(ErrorReason::DataCorrupt, format!("{} has no origin", record.id)))
}

fn gram_request(record: &TrajectoryRecord, tile: &GramTile) -> Result<GramRequest, ApiError> {
    let points = record.spec.stops().map(|(_, stop)| RowRef::Point(blob_of(stop)));
    let step =
        |digest: &Digest| RowRef::Step(BlobRef { path: BlobPath::direction(*digest).to_string(), digest: *digest });
    let rows: Vec<RowRef> = points.chain(record.provenance.directions.iter().map(step)).collect();
    Ok(GramRequest {
        trajectory: record.id.to_string(),
        tile_idx: tile.idx,
        origin: origin_of(record)?,
        rows: rows[tile.rows.clone()].to_vec(),
        columns: rows[tile.columns.clone()].to_vec(),
        slices: slices_of(&record.provenance.tensors, tile),
        ticket: tile.idx + 1,
    })
}

/// The values of a tile, as parts of the tensors that make up a row.
fn slices_of(tensors: &[GramTensor], tile: &GramTile) -> Vec<TensorSlice> {
    let mut slices = Vec::new();
    let mut start = 0;
    for GramTensor { name, n_values } in tensors {
        let (first, end) = (tile.values.start.max(start), tile.values.end.min(start + n_values));
        if first < end {
            slices.push(TensorSlice { tensor: name.clone(), first: first - start, count: end - first });
        }
        start += n_values;
    }
    slices
}

fn stop_request(record: &TrajectoryRecord, stop: &Stop, idx: u64, class: &str) -> TileRequest {
    let spec = &record.spec;
    let samples = |split: Split, source: SampleSource| SamplesRef {
        dataset: spec.data.dataset.clone(),
        digest: source.digest,
        split,
        limit: spec.data.limit,
    };
    TileRequest {
        surface: record.id.to_string(),
        tile_idx: idx,
        attempt: 1,
        plane: PlaneRef {
            network: BlobRef {
                path: BlobPath::network(&spec.network).to_string(),
                digest: record.provenance.network_digest,
            },
            checkpoint: blob_of(stop),
            axes: Vec::new(),
            batch_norm: BatchNormMode::Frozen,
            samples: samples(spec.data.split, record.provenance.samples),
            also: spec.also.zip(record.provenance.also).map(|(split, source)| samples(split, source)),
            statistics: None,
        },
        points: vec![(0.0, 0.0)],
        numeric_class: class.to_owned(),
        ticket: idx + 1,
    }
}

fn unasked(what: &str) -> Refused {
    ApiError::new(ErrorReason::EvaluationFailed, format!("the evaluator sent {what} that was not asked for")).into()
}

fn unfinished() -> Refused {
    let error = ApiError::new(ErrorReason::EvaluationFailed, "the evaluator ended without a summary");
    Refused { error, is_broken: true }
}

/// A part of the Gram matrix.
struct GramErrand {
    request: GramRequest,
    n_products: usize,
}

/// The values at a checkpoint.
struct PointErrand {
    request: TileRequest,
    has_also: bool,
}

impl Errand for GramErrand {
    type Answer = Vec<f64>;

    async fn ask(&self, link: &Link, stall_timeout: Duration) -> Result<Vec<f64>, Refused> {
        let asking = link.port.compute_gram(gram_to_wire(&self.request));
        let mut answers = opened(asking, stall_timeout).await?;
        let mut products = Vec::with_capacity(self.n_products);
        loop {
            match next_message(&mut answers, stall_timeout).await?.map(|message| message.event) {
                Some(Some(GramEvent::Products(more))) => {
                    products.extend(more.products);
                    if products.len() > self.n_products {
                        return Err(unasked("products"));
                    }
                }
                Some(Some(GramEvent::Heartbeat(_))) => {}
                Some(Some(GramEvent::Summary(summary))) => {
                    return match summary.ticket == self.request.ticket && products.len() == self.n_products {
                        true => Ok(products),
                        false => Err(unasked("products")),
                    };
                }
                Some(None) => return Err(of_later_version().into()),
                None => return Err(unfinished()),
            }
        }
    }
}

impl Errand for CombinationRequest {
    type Answer = BytesMut;

    async fn ask(&self, link: &Link, stall_timeout: Duration) -> Result<BytesMut, Refused> {
        let asking = link.port.combine_checkpoints(combination_to_wire(self));
        let mut answers = opened(asking, stall_timeout).await?;
        let mut file = BytesMut::new();
        loop {
            match next_message(&mut answers, stall_timeout).await?.map(|message| message.event) {
                Some(Some(CombinationEvent::Chunk(chunk))) => file.extend_from_slice(&chunk),
                Some(Some(CombinationEvent::Heartbeat(_))) => {}
                Some(Some(CombinationEvent::Summary(summary))) => {
                    let is_whole = summary.digest == Digest::of(&file).to_string();
                    return match is_whole && summary.ticket == self.ticket {
                        true => Ok(file),
                        false => Err(unasked("a direction")),
                    };
                }
                Some(None) => return Err(of_later_version().into()),
                None => return Err(unfinished()),
            }
        }
    }
}

impl Errand for PointErrand {
    type Answer = PointValues;

    async fn ask(&self, link: &Link, stall_timeout: Duration) -> Result<PointValues, Refused> {
        let asking = link.port.evaluate_tile(tile_to_wire(&self.request));
        let mut answers = opened(asking, stall_timeout).await?;
        let mut found = None;
        loop {
            match next_message(&mut answers, stall_timeout).await?.map(|message| message.event) {
                Some(Some(TileEvent::Point(point))) if point.ticket == self.request.ticket && point.index == 0 => {
                    let (_, values) = point_from_wire(&point, self.has_also)?;
                    found = Some(values);
                }
                Some(Some(TileEvent::Point(_))) => return Err(unasked("a point")),
                Some(Some(TileEvent::Heartbeat(_))) => {}
                Some(Some(TileEvent::Summary(_))) => return found.ok_or_else(|| unasked("no point")),
                Some(None) => return Err(of_later_version().into()),
                None => return Err(unfinished()),
            }
        }
    }
}

/// The answers to a request that is being made.
async fn opened<T>(
    asking: impl Future<Output = Result<T, Status>> + Send,
    stall_timeout: Duration,
) -> Result<T, Refused> {
    let opened = tokio::time::timeout(stall_timeout, asking).await.map_err(|_| stalled(stall_timeout))?;
    opened.map_err(|status| read_refusal(&status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::testing::record;

    #[test]
    fn the_tiles_of_a_plan_ask_for_every_value_once() {
        let record = record();
        let plan = record.provenance.gram;
        let mut asked = Vec::new();
        for tile in plan.tiles().filter(|tile| tile.rows.start == 0 && tile.columns.start == 0) {
            let request = gram_request(&record, &tile).expect("a path with an origin");
            assert_eq!((request.rows.len(), request.columns.len()), (tile.rows.len(), tile.columns.len()));
            for slice in request.slices {
                asked.extend((slice.first..slice.first + slice.count).map(|value| (slice.tensor.clone(), value)));
            }
        }
        let all = record.provenance.tensors.iter();
        let all = all.flat_map(|tensor| (0..tensor.n_values).map(|value| (tensor.name.clone(), value)));
        assert_eq!(asked, all.collect::<Vec<_>>());
    }
}
