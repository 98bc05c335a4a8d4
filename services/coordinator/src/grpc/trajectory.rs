//! `relief.trajectory.v1.TrajectoryService`.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use relief_api::ApiError;
use relief_api::convert::job::state_to_wire;
use relief_api::convert::surface::axis_to_wire;
use relief_api::convert::time::{duration, timestamp_from_text};
use relief_api::convert::trajectory::{request_digest, spec_from_wire, spec_to_wire};
use relief_api::trajectory::v1 as wire;
use relief_api::trajectory::v1::trajectory_service_server::TrajectoryService;
use relief_core::{DirectionName, NameError, PointValues, TrajectoryId};
use relief_store::{RequestMark, TrajectoryAxesRecord, TrajectoryRecord};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::surface::request_mark;
use crate::grpc::to_the_end;
use crate::grpc::watch::{Look, Progress, Work, watch};
use crate::trajectory::{Described, Stage, Trajectories, TrajectoryStatus};

/// Serves trajectories.
#[derive(Debug)]
pub(crate) struct TrajectoryHandler {
    pub(crate) trajectories: Arc<Trajectories>,
    pub(crate) shutdown: CancellationToken,
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn name(text: &str) -> Result<TrajectoryId, ApiError> {
    text.parse().map_err(|error: NameError| ApiError::field("name", error.to_string()))
}

fn trajectory_to_wire(record: &TrajectoryRecord, status: &TrajectoryStatus) -> wire::Trajectory {
    wire::Trajectory {
        name: record.id.to_string(),
        spec: Some(spec_to_wire(&record.spec)),
        status: Some(status_to_wire(status)),
        surface: record.provenance.surface.to_string(),
        create_time: timestamp_from_text(&record.provenance.created),
        result: None,
    }
}

fn described_to_wire(described: &Described) -> wire::Trajectory {
    let Described { record, status, axes, values } = described;
    let result = axes.as_ref().map(|axes| result_to_wire(record, axes, values));
    wire::Trajectory { result, ..trajectory_to_wire(record, status) }
}

fn status_to_wire(status: &TrajectoryStatus) -> wire::TrajectoryStatus {
    let stage = match status.stage {
        Stage::Idle => wire::TrajectoryStage::Unspecified,
        Stage::Gram => wire::TrajectoryStage::Gram,
        Stage::Directions => wire::TrajectoryStage::Directions,
        Stage::Losses => wire::TrajectoryStage::Losses,
    };
    let remaining = status.points_total.saturating_sub(status.points_done) as f64;
    let is_at_work = !status.state.is_final() && status.points_per_second > 0.0;
    wire::TrajectoryStatus {
        state: state_to_wire(status.state).into(),
        stage: stage.into(),
        gram_tiles_total: status.gram_tiles_total,
        gram_tiles_done: status.gram_tiles_done,
        points_total: status.points_total,
        points_done: status.points_done,
        stops_total: status.stops_total,
        stops_done: status.stops_done,
        points_per_second: status.points_per_second,
        eta: is_at_work.then(|| duration(remaining / status.points_per_second)).flatten(),
        revision: status.revision,
        error: status.error.as_ref().map(|(reason, message)| relief_api::job::v1::JobError {
            reason: reason.clone(),
            message: message.clone(),
        }),
        waiting_reason: status.waiting_reason.clone(),
        retries: status.n_retries,
    }
}

fn result_to_wire(
    record: &TrajectoryRecord,
    axes: &TrajectoryAxesRecord,
    values: &[Option<PointValues>],
) -> wire::TrajectoryResult {
    let TrajectoryAxesRecord { projection, directions: [x, y], grid } = axes;
    let stops = record.spec.stops().zip(&projection.stops).enumerate();
    let stops = stops.map(|(idx, ((path, stop), projected))| {
        let values = values.get(idx).copied().flatten();
        let also = values.and_then(|values| values.also);
        wire::Stop {
            path: path as u32,
            checkpoint: stop.checkpoint.to_string(),
            epoch: stop.epoch,
            learning_rate: stop.rate,
            is_drop: projected.is_drop,
            x: projected.x,
            y: projected.y,
            off_plane: projected.off_plane,
            distance: projected.distance,
            step_norm: projected.step_norm,
            step_cosine: projected.step_cosine,
            loss: values.map(|values| values.main.loss),
            accuracy: values.map(|values| values.main.accuracy),
            also_loss: also.map(|also| also.loss),
            also_accuracy: also.map(|also| also.accuracy),
        }
    });
    wire::TrajectoryResult {
        explained: projection.explained.to_vec(),
        explained_plane: projection.explained_plane,
        singular_values: projection.singular_values.clone(),
        x_direction: DirectionName(*x).to_string(),
        y_direction: DirectionName(*y).to_string(),
        x: Some(axis_to_wire(grid.x)),
        y: grid.y.map(axis_to_wire),
        stops: stops.collect(),
    }
}

#[tonic::async_trait]
impl TrajectoryService for TrajectoryHandler {
    type WatchTrajectoryStream = BoxStream<wire::WatchTrajectoryResponse>;

    async fn create_trajectory(
        &self,
        request: Request<wire::CreateTrajectoryRequest>,
    ) -> Result<Response<wire::CreateTrajectoryResponse>, Status> {
        let request = request.into_inner();
        let id = match request.trajectory_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|error: NameError| ApiError::field("trajectory_id", error.to_string()))?),
        };
        let mark: Option<RequestMark> = request_mark(&request.request_id, || request_digest(&request))?;
        let is_only_checked = request.validate_only;
        let (trajectories, request) = (Arc::clone(&self.trajectories), spec_from_wire(request.spec)?);
        let create = async move { trajectories.create(id, mark, request, is_only_checked).await };
        let trajectory = Some(described_to_wire(&to_the_end(create).await?));
        Ok(Response::new(wire::CreateTrajectoryResponse { trajectory }))
    }

    async fn get_trajectory(
        &self,
        request: Request<wire::GetTrajectoryRequest>,
    ) -> Result<Response<wire::GetTrajectoryResponse>, Status> {
        let described = self.trajectories.get(&name(&request.get_ref().name)?).await?;
        Ok(Response::new(wire::GetTrajectoryResponse { trajectory: Some(described_to_wire(&described)) }))
    }

    async fn list_trajectories(
        &self,
        request: Request<wire::ListTrajectoriesRequest>,
    ) -> Result<Response<wire::ListTrajectoriesResponse>, Status> {
        let request = request.into_inner();
        let (trajectories, next_page_token) = self.trajectories.list(request.page_size, &request.page_token).await?;
        let trajectories = trajectories.iter().map(|(record, status)| trajectory_to_wire(record, status)).collect();
        Ok(Response::new(wire::ListTrajectoriesResponse { trajectories, next_page_token }))
    }

    async fn watch_trajectory(
        &self,
        request: Request<wire::WatchTrajectoryRequest>,
    ) -> Result<Response<Self::WatchTrajectoryStream>, Status> {
        let request = request.into_inner();
        let id = name(&request.name)?;
        let trajectories = Arc::clone(&self.trajectories);
        let look = move || {
            let (trajectories, id) = (Arc::clone(&trajectories), id.clone());
            async move {
                let described = trajectories.get(&id).await?;
                if described.status.state.is_final() {
                    let trajectory = Some(trajectory_to_wire(&described.record, &described.status));
                    return Ok(Look::Ended(wire::WatchTrajectoryResponse { trajectory }));
                }
                let Some((term, job)) = trajectories.job_of_term(&id).await? else { return Ok(Look::Between) };
                let (changes, over) = (job.watch(), term.over().clone());
                let message = move |status: &TrajectoryStatus| wire::WatchTrajectoryResponse {
                    trajectory: Some(trajectory_to_wire(&job.record(), status)),
                };
                Ok(Look::AtWork(Work { changes, message, over }))
            }
        };
        let changes = watch(request.after_revision, &self.shutdown, look).await?;
        Ok(Response::new(Box::pin(changes)))
    }

    async fn cancel_trajectory(
        &self,
        request: Request<wire::CancelTrajectoryRequest>,
    ) -> Result<Response<wire::CancelTrajectoryResponse>, Status> {
        let (trajectories, id) = (Arc::clone(&self.trajectories), name(&request.get_ref().name)?);
        let job = to_the_end(async move { trajectories.cancel(&id).await }).await?;
        let trajectory = Some(trajectory_to_wire(&job.record(), &job.status()));
        Ok(Response::new(wire::CancelTrajectoryResponse { trajectory }))
    }

    async fn delete_trajectory(
        &self,
        request: Request<wire::DeleteTrajectoryRequest>,
    ) -> Result<Response<wire::DeleteTrajectoryResponse>, Status> {
        let (trajectories, id) = (Arc::clone(&self.trajectories), name(&request.get_ref().name)?);
        to_the_end(async move { trajectories.delete(&id).await }).await?;
        Ok(Response::new(wire::DeleteTrajectoryResponse {}))
    }
}

impl Progress for TrajectoryStatus {
    fn is_final(&self) -> bool {
        self.state.is_final()
    }

    fn revision(&self) -> u64 {
        self.revision
    }
}
