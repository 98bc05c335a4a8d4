//! From the digests of a request to a plane and samples on the device.

use std::sync::Arc;

use relief_api::convert::evaluation::{AxisRef, BlobRef, LogitsRequest, SamplesRef, TileRequest};
use relief_api::{ApiError, ErrorReason};
use relief_core::{BatchNormMode, Direction, TensorMap};
use relief_graph::{Graph, InputShape};
use relief_nn::{Device, PlaneError, PlaneSession, ResidentPlane, ResidentSamples, Samples, SessionError};
use relief_store::{BlobPath, BlobPathError, Store};

use crate::cache::Cache;

/// Planes that are kept: several surfaces of a few checkpoints.
const N_PLANES: usize = 4;
/// Slices of splits that are kept: the two of one surface, and those of another.
const N_SAMPLES: usize = 4;
/// Networks and checkpoints that are kept.
const N_MODELS: usize = 4;

/// Loads what tiles need, and keeps what was needed last.
#[derive(Debug)]
pub(crate) struct Loader {
    store: Store,
    device: Device,
    batch_size: usize,
    models: Cache<(BlobRef, BlobRef), Model>,
    planes: Cache<PlaneKey, ResidentPlane>,
    samples: Cache<(SamplesRef, [usize; 3]), ResidentSamples>,
}

#[derive(Debug)]
struct Model {
    graph: Arc<Graph>,
    checkpoint: TensorMap,
}

#[derive(Debug, Clone, PartialEq)]
struct PlaneKey {
    network: BlobRef,
    checkpoint: BlobRef,
    axes: Vec<AxisRef>,
    batch_norm: BatchNormMode,
}

/// What is evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    plane: PlaneKey,
    samples: SamplesRef,
    also: Option<SamplesRef>,
    statistics: Option<SamplesRef>,
}

impl Subject {
    /// The plane and the samples of a tile.
    pub(crate) fn of_tile(request: &TileRequest) -> Self {
        let plane = PlaneKey {
            network: request.network.clone(),
            checkpoint: request.checkpoint.clone(),
            axes: request.axes.clone(),
            batch_norm: request.batch_norm,
        };
        Self {
            plane,
            samples: request.samples.clone(),
            also: request.also.clone(),
            statistics: request.statistics.clone(),
        }
    }

    /// A checkpoint, as a plane without directions, and samples.
    pub(crate) fn of_logits(request: LogitsRequest) -> Self {
        let LogitsRequest { network, checkpoint, samples } = request;
        let plane = PlaneKey { network, checkpoint, axes: Vec::new(), batch_norm: BatchNormMode::Frozen };
        Self { plane, samples, also: None, statistics: None }
    }
}

impl Loader {
    pub(crate) fn new(store: Store, device: Device, batch_size: usize) -> Self {
        Self {
            store,
            device,
            batch_size,
            models: Cache::new(N_MODELS),
            planes: Cache::new(N_PLANES),
            samples: Cache::new(N_SAMPLES),
        }
    }

    /// Returns what evaluates the points of `subject`.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when an object does not have its digest, `NOT_FOUND` when it is gone, `INVALID_FIELD` when the
    /// parts do not fit together.
    pub(crate) async fn open(&self, subject: &Subject) -> Result<PlaneSession, ApiError> {
        let Subject { plane, samples, also, statistics } = subject;
        let plane = self.planes.get_or_load(plane, || self.load_plane(plane)).await?;
        let shape = plane.graph().input_shape();
        let load = async |samples: &SamplesRef| {
            let key = (samples.clone(), shape.dims());
            self.samples.get_or_load(&key, || self.load_samples(samples, shape)).await
        };
        let at = |field: &'static str| move |error: SessionError| ApiError::field(field, error.to_string());
        let mut session = PlaneSession::open(plane, load(samples).await?, self.batch_size).map_err(at("dataset"))?;
        if let Some(also) = also {
            session = session.with_also(load(also).await?).map_err(at("also"))?;
        }
        if let Some(statistics) = statistics {
            session = session.with_statistics(load(statistics).await?).map_err(at("statistics"))?;
        }
        Ok(session)
    }

    #[tracing::instrument(name = "evaluator.load_model", skip_all, err)]
    async fn load_model(&self, network: &BlobRef, checkpoint: &BlobRef) -> Result<Model, ApiError> {
        let network_path = path_of("network.path", network)?;
        let checkpoint_path = path_of("checkpoint.path", checkpoint)?;
        let (onnx, checkpoint) = tokio::try_join!(
            self.store.load_network(&network_path, network.digest),
            self.store.load_checkpoint(&checkpoint_path, checkpoint.digest),
        )?;
        let model = blocking(move || Graph::from_onnx(&onnx)).await?;
        let model = model.map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
        Ok(Model { graph: Arc::new(model.graph), checkpoint })
    }

    #[tracing::instrument(name = "evaluator.load_plane", skip_all, err)]
    async fn load_plane(&self, key: &PlaneKey) -> Result<ResidentPlane, ApiError> {
        let model_key = (key.network.clone(), key.checkpoint.clone());
        let load = || self.load_model(&key.network, &key.checkpoint);
        let model = self.models.get_or_load(&model_key, load).await?;
        let mut directions = Vec::new();
        for axis in &key.axes {
            directions.push(Arc::new(self.load_direction(axis).await?));
        }
        let (device, batch_norm) = (self.device.clone(), key.batch_norm);
        let plane = blocking(move || {
            let graph = Arc::clone(&model.graph);
            ResidentPlane::upload(&device, graph, &model.checkpoint, &directions, batch_norm)
        });
        plane.await?.map_err(|error| {
            let field = if matches!(error, PlaneError::Origin(_)) { "checkpoint" } else { "axes" };
            ApiError::field(field, error.to_string())
        })
    }

    async fn load_direction(&self, axis: &AxisRef) -> Result<Direction, ApiError> {
        Ok(match axis {
            AxisRef::Step(blob) => {
                let path = path_of("axes.step.path", blob)?;
                if path != BlobPath::direction(blob.digest) {
                    let message = format!("`{path}` is not where the direction {} lies", blob.digest);
                    return Err(ApiError::field("axes.step.path", message));
                }
                Direction::Step(self.store.load_direction(blob.digest).await?)
            }
            AxisRef::Towards(blob) => {
                let path = path_of("axes.towards.path", blob)?;
                Direction::Towards(self.store.load_checkpoint(&path, blob.digest).await?)
            }
        })
    }

    #[tracing::instrument(name = "evaluator.load_samples", skip_all, fields(dataset = %samples.dataset), err)]
    async fn load_samples(&self, samples: &SamplesRef, shape: InputShape) -> Result<ResidentSamples, ApiError> {
        let record = self.store.get_dataset(&samples.dataset).await?;
        if record.split_digest(samples.split) != Some(samples.digest) {
            let message = format!(
                "the {} split of {} is not the one that was named by its digest {}",
                samples.split.as_str(),
                samples.dataset,
                samples.digest
            );
            return Err(ApiError::new(ErrorReason::DataCorrupt, message));
        }
        let dims = shape.dims().map(|dim| u32::try_from(dim).unwrap_or(u32::MAX));
        let loaded = self.store.load_samples(&record, samples.split, samples.limit, dims).await?;
        let device = self.device.clone();
        let resident = blocking(move || {
            let samples = Samples::new(loaded.inputs, loaded.targets, shape)?;
            ResidentSamples::upload(&device, &samples, None)
        });
        resident.await?.map_err(|error| ApiError::field("dataset", error.to_string()))
    }
}

fn path_of(field: &'static str, blob: &BlobRef) -> Result<BlobPath, ApiError> {
    blob.path.parse().map_err(|error: BlobPathError| ApiError::field(field, error.to_string()))
}

/// Runs what takes the processor for long away from the threads that answer calls.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))
}
