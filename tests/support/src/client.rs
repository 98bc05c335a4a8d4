//! A client of everything.

use anyhow::{Context as _, ensure};
use relief_api::catalog::v1::catalog_service_client::CatalogServiceClient;
use relief_api::catalog::v1::{Dataset, DeleteCheckpointRequest};
use relief_api::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use relief_api::inference::v1::inference_service_client::InferenceServiceClient;
use relief_api::job::v1::JobState;
use relief_api::plot::v1::plot_service_client::PlotServiceClient;
use relief_api::surface::v1::surface_service_client::SurfaceServiceClient;
use relief_api::surface::v1::{
    CreateSurfaceRequest, DeleteSurfaceRequest, GetSurfaceRequest, ReadSurfaceRequest, Surface, SurfaceSpec,
    SurfaceStatus, WatchSurfaceRequest, WatchSurfaceResponse,
};
use relief_api::training::v1::training_service_client::TrainingServiceClient;
use relief_api::training::v1::{CreateRunRequest, GetRunRequest, Run, RunSpec, WatchRunRequest};
use relief_api::trajectory::v1::trajectory_service_client::TrajectoryServiceClient;
use relief_api::trajectory::v1::{
    CreateTrajectoryRequest, GetTrajectoryRequest, Trajectory, TrajectorySpec, WatchTrajectoryRequest,
};
use relief_rpc::{ClientChannel, MAX_MESSAGE_BYTES, connect};
use tonic::{Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::bound::within;
use crate::checkpoint::checkpoint_messages;
use crate::dataset::{SplitImages, dataset_messages};
use crate::surface::Values;

/// A client of one server, of whatever services that has.
#[derive(Debug, Clone)]
pub struct Client {
    channel: ClientChannel,
}

/// The changes of a surface.
#[derive(Debug)]
pub struct Watch {
    changes: Streaming<WatchSurfaceResponse>,
}

impl Client {
    /// Returns a client of the server at `endpoint`, `http://HOST:PORT`.
    ///
    /// # Errors
    /// When it is no endpoint.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        Ok(Self { channel: connect(&endpoint.parse()?)? })
    }

    /// The connection.
    #[must_use]
    pub fn channel(&self) -> ClientChannel {
        self.channel.clone()
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> CatalogServiceClient<ClientChannel> {
        CatalogServiceClient::new(self.channel())
    }

    /// The surfaces.
    #[must_use]
    pub fn surfaces(&self) -> SurfaceServiceClient<ClientChannel> {
        SurfaceServiceClient::new(self.channel())
    }

    /// The runs.
    #[must_use]
    pub fn runs(&self) -> TrainingServiceClient<ClientChannel> {
        TrainingServiceClient::new(self.channel())
    }

    /// The plots.
    #[must_use]
    pub fn plots(&self) -> PlotServiceClient<ClientChannel> {
        PlotServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The logits.
    #[must_use]
    pub fn inference(&self) -> InferenceServiceClient<ClientChannel> {
        InferenceServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The evaluator.
    #[must_use]
    pub fn evaluator(&self) -> EvaluatorServiceClient<ClientChannel> {
        EvaluatorServiceClient::new(self.channel())
    }

    /// The health of the server.
    #[must_use]
    pub fn health(&self) -> HealthClient<ClientChannel> {
        HealthClient::new(self.channel())
    }

    /// Waits until `service` says SERVING.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn until_serving(&self, service: &str) -> anyhow::Result<()> {
        let request = HealthCheckRequest { service: service.to_owned() };
        within(&format!("{service} is serving"), async {
            let mut changes = self.health().watch(request).await?.into_inner();
            while let Some(change) = changes.message().await? {
                if change.status() == ServingStatus::Serving {
                    return Ok(());
                }
            }
            anyhow::bail!("the health of {service} is no longer told");
        })
        .await?
    }

    /// Imports `images` as a split of `name`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn import_dataset(&self, name: &str, images: &SplitImages) -> anyhow::Result<Dataset> {
        let messages = tokio_stream::iter(dataset_messages(name, images));
        let response = within("the dataset is imported", self.catalog().import_dataset(messages)).await??;
        response.into_inner().dataset.context("no dataset in the answer")
    }

    /// Imports a safetensors file as the checkpoint `name` of `network`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn import_checkpoint(&self, name: &str, network: &str, content: &[u8]) -> anyhow::Result<()> {
        let messages = tokio_stream::iter(checkpoint_messages(name, network, content));
        within("the checkpoint is imported", self.catalog().import_checkpoint(messages)).await??;
        Ok(())
    }

    /// Deletes an imported checkpoint.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_checkpoint(&self, name: &str) -> anyhow::Result<()> {
        let request = DeleteCheckpointRequest { name: name.to_owned() };
        within("the checkpoint is deleted", self.catalog().delete_checkpoint(request)).await??;
        Ok(())
    }

    /// Deletes a surface.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_surface(&self, id: &str) -> anyhow::Result<()> {
        let request = DeleteSurfaceRequest { name: id.to_owned() };
        within("the surface is deleted", self.surfaces().delete_surface(request)).await??;
        Ok(())
    }

    /// Trains a network and returns the run with its snapshots.
    ///
    /// # Errors
    /// When it does not succeed in time.
    pub async fn train(&self, id: &str, spec: RunSpec) -> anyhow::Result<Run> {
        let request = CreateRunRequest { spec: Some(spec), run_id: id.to_owned() };
        let mut runs = self.runs();
        within(&format!("run {id} ends"), async {
            runs.create_run(request).await?;
            let request = WatchRunRequest { name: id.to_owned(), after_revision: 0 };
            let mut changes = runs.watch_run(request).await?.into_inner();
            while changes.message().await?.is_some() {}
            let request = GetRunRequest { name: id.to_owned() };
            let run = runs.get_run(request).await?.into_inner().run.context("no run in the answer")?;
            let status = run.status.clone().unwrap_or_default();
            ensure!(status.state() == JobState::Succeeded, "the run did not succeed: {status:?}");
            Ok(run)
        })
        .await?
    }

    /// The trajectories.
    #[must_use]
    pub fn trajectories(&self) -> TrajectoryServiceClient<ClientChannel> {
        TrajectoryServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Creates a trajectory.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_trajectory(&self, id: &str, spec: TrajectorySpec) -> anyhow::Result<Trajectory> {
        let request = CreateTrajectoryRequest {
            spec: Some(spec),
            trajectory_id: id.to_owned(),
            ..CreateTrajectoryRequest::default()
        };
        let response = within("the trajectory is created", self.trajectories().create_trajectory(request)).await??;
        response.into_inner().trajectory.context("no trajectory in the answer")
    }

    /// Returns a trajectory.
    ///
    /// # Errors
    /// When there is none.
    pub async fn trajectory(&self, id: &str) -> anyhow::Result<Trajectory> {
        let request = GetTrajectoryRequest { name: id.to_owned() };
        let response = within("the trajectory is shown", self.trajectories().get_trajectory(request)).await??;
        response.into_inner().trajectory.context("no trajectory in the answer")
    }

    /// Waits until a trajectory has ended, and returns it with its result.
    ///
    /// # Errors
    /// When it does not end in time, or the server goes away.
    pub async fn ended_trajectory(&self, id: &str) -> anyhow::Result<Trajectory> {
        let request = WatchTrajectoryRequest { name: id.to_owned(), after_revision: 0 };
        within(&format!("trajectory {id} ends"), async {
            let mut changes = self.trajectories().watch_trajectory(request).await?.into_inner();
            while changes.message().await?.is_some() {}
            anyhow::Ok(())
        })
        .await??;
        self.trajectory(id).await
    }

    /// Creates a trajectory, waits until it has succeeded, and returns it with its result.
    ///
    /// # Errors
    /// When it is refused or does not succeed in time.
    pub async fn computed_trajectory(&self, id: &str, spec: TrajectorySpec) -> anyhow::Result<Trajectory> {
        self.create_trajectory(id, spec).await?;
        let ended = self.ended_trajectory(id).await?;
        let status = ended.status.clone().unwrap_or_default();
        ensure!(status.state() == JobState::Succeeded, "trajectory {id} did not succeed: {status:?}");
        Ok(ended)
    }

    /// Creates a surface.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_surface(&self, id: &str, spec: SurfaceSpec) -> anyhow::Result<Surface> {
        let request =
            CreateSurfaceRequest { spec: Some(spec), surface_id: id.to_owned(), ..CreateSurfaceRequest::default() };
        let response = within("the surface is created", self.surfaces().create_surface(request)).await??;
        response.into_inner().surface.context("no surface in the answer")
    }

    /// Returns a surface.
    ///
    /// # Errors
    /// When there is none.
    pub async fn surface(&self, id: &str) -> anyhow::Result<Surface> {
        let request = GetSurfaceRequest { name: id.to_owned() };
        let response = within("the surface is shown", self.surfaces().get_surface(request)).await??;
        response.into_inner().surface.context("no surface in the answer")
    }

    /// Watches a surface from its present state on.
    ///
    /// # Errors
    /// When there is none.
    pub async fn watch(&self, id: &str) -> anyhow::Result<Watch> {
        let request = WatchSurfaceRequest { name: id.to_owned(), after_revision: 0 };
        let response = within("the surface is watched", self.surfaces().watch_surface(request)).await??;
        Ok(Watch { changes: response.into_inner() })
    }

    /// Waits until a surface has succeeded, and returns how.
    ///
    /// # Errors
    /// When it ends otherwise, or not in time.
    pub async fn succeeded(&self, id: &str) -> anyhow::Result<SurfaceStatus> {
        let is_final = |status: &SurfaceStatus| !matches!(status.state(), JobState::Pending | JobState::Running);
        let status = self.watch(id).await?.until(&format!("surface {id} ends"), is_final).await?;
        ensure!(status.state() == JobState::Succeeded, "surface {id} did not succeed: {status:?}");
        Ok(status)
    }

    /// Creates a surface, waits until it has succeeded, and returns its values.
    ///
    /// # Errors
    /// When it is refused or does not succeed in time.
    pub async fn computed(&self, id: &str, spec: SurfaceSpec) -> anyhow::Result<Values> {
        self.create_surface(id, spec).await?;
        self.succeeded(id).await?;
        self.values(id).await
    }

    /// Returns the values of a surface.
    ///
    /// # Errors
    /// When there is no surface, or its rows do not come in order.
    pub async fn values(&self, id: &str) -> anyhow::Result<Values> {
        let request = ReadSurfaceRequest { name: id.to_owned() };
        within(&format!("the values of {id}"), async {
            let mut parts = self.surfaces().read_surface(request).await?.into_inner();
            let mut values = Values::default();
            while let Some(message) = parts.message().await? {
                values.add(message)?;
            }
            Ok(values)
        })
        .await?
    }
}

impl Watch {
    /// Waits for a status that `is_awaited`, and returns it.
    ///
    /// # Errors
    /// When the watch ends first, or there is none in time.
    pub async fn until(
        &mut self,
        what: &str,
        is_awaited: impl Fn(&SurfaceStatus) -> bool,
    ) -> anyhow::Result<SurfaceStatus> {
        within(what, async {
            let mut last = None;
            while let Some(change) = self.changes.message().await? {
                let status = change.surface.and_then(|surface| surface.status).context("no status in the change")?;
                if is_awaited(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            anyhow::bail!("the watch has ended ({what}); last seen: {last:?}")
        })
        .await?
    }

    /// Waits for the end of the watch: none when it ends in order, else the reason.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(&mut self) -> anyhow::Result<Option<Status>> {
        within("the watch ends", async {
            loop {
                match self.changes.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        })
        .await
    }
}
