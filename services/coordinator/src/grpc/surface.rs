//! `relief.surface.v1.SurfaceService`.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use relief_api::ApiError;
use relief_api::convert::job::state_to_wire;
use relief_api::convert::surface::{geometry_to_wire, request_digest, spec_from_wire, spec_to_wire, split_to_wire};
use relief_api::convert::time::{duration, timestamp_from_text};
use relief_api::surface::v1 as wire;
use relief_api::surface::v1::surface_service_server::SurfaceService;
use relief_core::{Digest, DirectionAxis, NameError, SplitValues, SurfaceId, SurfaceValues};
use relief_store::{RequestMark, SampleSource, SurfaceRecord};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::app::{SurfacePlan, Surfaces, describe_stored};
use crate::grpc::to_the_end;
use crate::grpc::watch::{Look, Progress, Work, watch};
use crate::job::{Job, Status as JobStatus};

/// Points per message of a read, or those of one row where it has more: 50 bytes each, so that messages stay under a
/// megabyte, and under the usual limit of 4 for rows of up to 80,000 points.
const VALUES_PER_MESSAGE: usize = 16_384;

/// Serves surfaces.
#[derive(Debug)]
pub(crate) struct SurfaceHandler {
    pub(crate) surfaces: Arc<Surfaces>,
    pub(crate) shutdown: CancellationToken,
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn name(text: &str) -> Result<SurfaceId, ApiError> {
    text.parse().map_err(|error: NameError| ApiError::field("name", error.to_string()))
}

fn surface_to_wire(record: &SurfaceRecord, status: &JobStatus) -> wire::Surface {
    let provenance = &record.provenance;
    let digest = |source: Option<SampleSource>| source.map(|source| source.digest.to_string()).unwrap_or_default();
    let reuse = record.reuse.clone().unwrap_or_default();
    wire::Surface {
        name: record.id.to_string(),
        spec: Some(spec_to_wire(&record.spec)),
        status: Some(status_to_wire(status)),
        provenance: Some(wire::Provenance {
            network_digest: provenance.network_digest.to_string(),
            checkpoint_digest: provenance.checkpoint_digest.to_string(),
            dataset_digest: provenance.samples.digest.to_string(),
            numeric_class: provenance.numeric_class.clone(),
            relief_version: provenance.relief_version.clone(),
            create_time: timestamp_from_text(&provenance.created),
            direction_digests: provenance.directions.iter().map(|source| source.digest().to_string()).collect(),
            also_digest: digest(provenance.also),
            statistics_digest: digest(provenance.statistics),
            reused_from: reuse.surfaces.iter().map(ToString::to_string).collect(),
        }),
        geometry: None,
    }
}

/// The most bytes of a request's id.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// By what a request is known when it comes again; none where its sender gave it no id.
pub(super) fn request_mark(id: &str, digest: impl FnOnce() -> Digest) -> Result<Option<RequestMark>, ApiError> {
    match id.len() {
        0 => Ok(None),
        1..=MAX_REQUEST_ID_BYTES => Ok(Some(RequestMark { id: id.to_owned(), digest: digest() })),
        n_bytes => {
            let message = format!("{n_bytes} bytes; an id has at most {MAX_REQUEST_ID_BYTES}");
            Err(ApiError::field("request_id", message))
        }
    }
}

/// A surface with how its axes lie, which takes some room.
fn whole_surface_to_wire(record: &SurfaceRecord, status: &JobStatus) -> wire::Surface {
    wire::Surface { geometry: Some(geometry_to_wire(&record.geometry)), ..surface_to_wire(record, status) }
}

fn status_to_wire(status: &JobStatus) -> wire::SurfaceStatus {
    let tally = status.tally;
    let remaining = tally.points_total.saturating_sub(tally.points_done) as f64;
    let is_at_work = !status.state.is_final() && status.points_per_second > 0.0;
    wire::SurfaceStatus {
        state: state_to_wire(status.state).into(),
        points_total: tally.points_total,
        points_done: tally.points_done,
        points_reused: tally.points_reused,
        points_non_finite: tally.points_non_finite,
        tiles_total: tally.tiles_total,
        tiles_done: tally.tiles_done,
        tiles_running: tally.tiles_running,
        tiles_retried: tally.tiles_retried,
        tiles_hedged: tally.tiles_hedged,
        points_disputed: tally.points_disputed,
        points_per_second: status.points_per_second,
        eta: is_at_work.then(|| duration(remaining / status.points_per_second)).flatten(),
        revision: status.revision,
        error: status.error.as_ref().map(|(reason, message)| relief_api::job::v1::JobError {
            reason: reason.clone(),
            message: message.clone(),
        }),
        waiting_reason: status.waiting_reason.clone(),
    }
}

fn job_to_wire(job: &Job, status: &JobStatus) -> wire::Surface {
    surface_to_wire(&job.record(), status)
}

/// What would be accepted, and what it would take.
fn plan_to_wire(plan: &SurfacePlan, is_named: bool) -> wire::CreateSurfaceResponse {
    let (record, status) = describe_stored(plan.record.clone());
    let mut surface = whole_surface_to_wire(&record, &status);
    if !is_named {
        surface.name.clear();
    }
    let plan = wire::SurfacePlan {
        points: status.tally.points_total,
        points_reused: plan.n_reused,
        tiles: status.tally.tiles_total,
        samples: plan.n_samples,
        result_bytes: plan.result_bytes,
        input_bytes: plan.input_bytes,
        evaluator_time: plan.evaluator_time.and_then(|time| duration(time.as_secs_f64())),
    };
    wire::CreateSurfaceResponse { surface: Some(surface), plan: Some(plan) }
}

#[tonic::async_trait]
impl SurfaceService for SurfaceHandler {
    type WatchSurfaceStream = BoxStream<wire::WatchSurfaceResponse>;
    type ReadSurfaceStream = BoxStream<wire::ReadSurfaceResponse>;
    type ReadDirectionsStream = BoxStream<wire::ReadDirectionsResponse>;

    async fn create_surface(
        &self,
        request: Request<wire::CreateSurfaceRequest>,
    ) -> Result<Response<wire::CreateSurfaceResponse>, Status> {
        let request = request.into_inner();
        let id = match request.surface_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|error: NameError| ApiError::field("surface_id", error.to_string()))?),
        };
        let mark = request_mark(&request.request_id, || request_digest(&request))?;
        let is_only_checked = request.validate_only;
        let (surfaces, request) = (Arc::clone(&self.surfaces), spec_from_wire(request.spec)?);
        if is_only_checked {
            let is_named = id.is_some();
            let plan = surfaces.validate(id, mark, request).await?;
            return Ok(Response::new(plan_to_wire(&plan, is_named)));
        }
        let (record, status) = to_the_end(async move { surfaces.create(id, mark, request).await }).await?;
        let surface = whole_surface_to_wire(&record, &status);
        Ok(Response::new(wire::CreateSurfaceResponse { surface: Some(surface), plan: None }))
    }

    async fn get_surface(
        &self,
        request: Request<wire::GetSurfaceRequest>,
    ) -> Result<Response<wire::GetSurfaceResponse>, Status> {
        let (record, status) = self.surfaces.get(&name(&request.get_ref().name)?).await?;
        let surface = whole_surface_to_wire(&record, &status);
        Ok(Response::new(wire::GetSurfaceResponse { surface: Some(surface) }))
    }

    async fn list_surfaces(
        &self,
        request: Request<wire::ListSurfacesRequest>,
    ) -> Result<Response<wire::ListSurfacesResponse>, Status> {
        let request = request.into_inner();
        let (surfaces, next_page_token) = self.surfaces.list(request.page_size, &request.page_token).await?;
        let surfaces = surfaces.iter().map(|(record, status)| surface_to_wire(record, status)).collect();
        Ok(Response::new(wire::ListSurfacesResponse { surfaces, next_page_token }))
    }

    async fn watch_surface(
        &self,
        request: Request<wire::WatchSurfaceRequest>,
    ) -> Result<Response<Self::WatchSurfaceStream>, Status> {
        let request = request.into_inner();
        let id = name(&request.name)?;
        let surfaces = Arc::clone(&self.surfaces);
        let look = move || {
            let (surfaces, id) = (Arc::clone(&surfaces), id.clone());
            async move {
                let (record, status) = surfaces.get(&id).await?;
                if status.state.is_final() {
                    let surface = Some(surface_to_wire(&record, &status));
                    return Ok(Look::Ended(wire::WatchSurfaceResponse { surface }));
                }
                let Some((term, job)) = surfaces.job(&id).await? else { return Ok(Look::Between) };
                let (changes, over) = (job.watch(), term.over().clone());
                let message =
                    move |status: &JobStatus| wire::WatchSurfaceResponse { surface: Some(job_to_wire(&job, status)) };
                Ok(Look::AtWork(Work { changes, message, over }))
            }
        };
        let changes = watch(request.after_revision, &self.shutdown, look).await?;
        Ok(Response::new(Box::pin(changes)))
    }

    async fn read_surface(
        &self,
        request: Request<wire::ReadSurfaceRequest>,
    ) -> Result<Response<Self::ReadSurfaceStream>, Status> {
        let values = self.surfaces.read(&name(&request.get_ref().name)?).await?;
        Ok(Response::new(Box::pin(tokio_stream::iter(value_messages(values).map(Ok)))))
    }

    async fn read_directions(
        &self,
        request: Request<wire::ReadDirectionsRequest>,
    ) -> Result<Response<Self::ReadDirectionsStream>, Status> {
        let files = self.surfaces.directions(&name(&request.get_ref().name)?).await?;
        Ok(Response::new(Box::pin(tokio_stream::iter(files.into_iter().flat_map(direction_messages).map(Ok)))))
    }

    async fn cancel_surface(
        &self,
        request: Request<wire::CancelSurfaceRequest>,
    ) -> Result<Response<wire::CancelSurfaceResponse>, Status> {
        let (surfaces, id) = (Arc::clone(&self.surfaces), name(&request.get_ref().name)?);
        let job = to_the_end(async move { surfaces.cancel(&id).await }).await?;
        let surface = Some(job_to_wire(&job, &job.status()));
        Ok(Response::new(wire::CancelSurfaceResponse { surface }))
    }

    async fn delete_surface(
        &self,
        request: Request<wire::DeleteSurfaceRequest>,
    ) -> Result<Response<wire::DeleteSurfaceResponse>, Status> {
        let (surfaces, id) = (Arc::clone(&self.surfaces), name(&request.get_ref().name)?);
        to_the_end(async move { surfaces.delete(&id).await }).await?;
        Ok(Response::new(wire::DeleteSurfaceResponse {}))
    }
}

/// The most bytes of a direction in one message.
const CHUNK_BYTES: usize = 1 << 20;

fn direction_messages((axis, mut file): (DirectionAxis, Bytes)) -> impl Iterator<Item = wire::ReadDirectionsResponse> {
    use wire::read_directions_response::Part;
    let header = Part::Header(wire::DirectionHeader {
        axis: axis.as_str().to_owned(),
        digest: Digest::of(&file).to_string(),
        n_bytes: file.len() as u64,
    });
    let chunks = std::iter::from_fn(move || {
        let n_bytes = file.len().min(CHUNK_BYTES);
        (n_bytes > 0).then(|| Part::Chunk(file.split_to(n_bytes)))
    });
    std::iter::once(header).chain(chunks).map(|part| wire::ReadDirectionsResponse { part: Some(part) })
}

impl Progress for JobStatus {
    fn is_final(&self) -> bool {
        self.state.is_final()
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}

fn value_messages(values: SurfaceValues) -> impl Iterator<Item = wire::ReadSurfaceResponse> {
    use wire::read_surface_response::Part;
    let (n_rows, n_columns) = (values.y.len(), values.x.len());
    let splits = values.splits().map(|split| split_to_wire(split.split).into()).collect();
    let header = Part::Header(wire::SurfaceHeader { x: values.x.clone(), y: values.y.clone(), splits });
    let rows_per_message = (VALUES_PER_MESSAGE / n_columns.max(1)).max(1);
    let flags = |split: &SplitValues, span: Range<usize>| -> Bytes {
        split.flags[span].iter().map(|flag| *flag as u8).collect::<Vec<u8>>().into()
    };
    let rows = (0..n_rows).step_by(rows_per_message).map(move |first| {
        let span = first * n_columns..(first + rows_per_message).min(n_rows) * n_columns;
        let (main, also) = (&values.main, values.also.as_ref());
        Part::Rows(wire::SurfaceRows {
            first_row: first as u32,
            loss: main.loss[span.clone()].to_vec(),
            accuracy: main.accuracy[span.clone()].to_vec(),
            flags: flags(main, span.clone()),
            squared_error: main.squared_error[span.clone()].to_vec(),
            also: also.map(|also| wire::AlsoRows {
                loss: also.loss[span.clone()].to_vec(),
                accuracy: also.accuracy[span.clone()].to_vec(),
                flags: flags(also, span.clone()),
                squared_error: also.squared_error[span].to_vec(),
            }),
        })
    });
    std::iter::once(header).chain(rows).map(|part| wire::ReadSurfaceResponse { part: Some(part) })
}
