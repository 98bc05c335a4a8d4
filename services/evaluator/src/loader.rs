//! From the digests of a request to a plane and samples on the device.

use std::sync::Arc;

use relief_api::convert::evaluation::{BlobRef, LogitsRequest, SamplesRef, TileRequest};
use relief_api::{ApiError, ErrorReason};
use relief_core::{DirectionAxis, DirectionSpec, Ignore, Normalization, TensorMap, random_direction};
use relief_graph::{Graph, InputShape};
use relief_nn::{BatchNormMode, Device, PlaneSession, ResidentPlane, ResidentSamples, Samples};
use relief_store::{BlobPath, BlobPathError, Store};

use crate::cache::Cache;

/// Planes that are kept: several surfaces of a few checkpoints.
const N_PLANES: usize = 4;
/// Splits that are kept.
const N_SAMPLES: usize = 2;
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
    directions: Vec<DirectionSpec>,
}

/// What is evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    plane: PlaneKey,
    samples: SamplesRef,
}

impl Subject {
    /// The plane and the samples of a tile.
    pub(crate) fn of_tile(request: &TileRequest) -> Self {
        let plane = PlaneKey {
            network: request.network.clone(),
            checkpoint: request.checkpoint.clone(),
            directions: request.directions.clone(),
        };
        Self { plane, samples: request.samples.clone() }
    }

    /// A checkpoint, as a plane without directions, and samples.
    pub(crate) fn of_logits(request: LogitsRequest) -> Self {
        let LogitsRequest { network, checkpoint, samples } = request;
        Self { plane: PlaneKey { network, checkpoint, directions: Vec::new() }, samples }
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
        let Subject { plane, samples } = subject;
        let plane = self.planes.get_or_load(plane, || self.load_plane(plane)).await?;
        let shape = plane.graph().input_shape();
        let samples_key = (samples.clone(), shape.dims());
        let samples = self.samples.get_or_load(&samples_key, || self.load_samples(samples, shape)).await?;
        PlaneSession::open(plane, samples, self.batch_size)
            .map_err(|error| ApiError::field("dataset", error.to_string()))
    }

    #[tracing::instrument(name = "evaluator.load_model", skip_all, err)]
    async fn load_model(&self, network: &BlobRef, checkpoint: &BlobRef) -> Result<Model, ApiError> {
        let path = |field: &'static str, blob: &BlobRef| {
            blob.path.parse::<BlobPath>().map_err(|error: BlobPathError| ApiError::field(field, error.to_string()))
        };
        let network_path = path("network.path", network)?;
        let checkpoint_path = path("checkpoint.path", checkpoint)?;
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
        let mut sources = Vec::new();
        for (direction, axis) in key.directions.iter().zip([DirectionAxis::X, DirectionAxis::Y]) {
            sources.push((axis, self.load_direction(direction).await?));
        }
        let device = self.device.clone();
        let plane = blocking(move || {
            let directions: Vec<Arc<TensorMap>> =
                sources.into_iter().map(|(axis, source)| Arc::new(source.make(&model, axis))).collect();
            let graph = Arc::clone(&model.graph);
            ResidentPlane::upload(&device, graph, &model.checkpoint, &directions, BatchNormMode::Frozen)
        });
        plane.await?.map_err(|error| ApiError::field("checkpoint", error.to_string()))
    }

    async fn load_direction(&self, direction: &DirectionSpec) -> Result<DirectionSource, ApiError> {
        Ok(match *direction {
            DirectionSpec::Random { seed, normalization, ignore } => {
                DirectionSource::Random { seed, normalization, ignore }
            }
            DirectionSpec::Stored { digest } => DirectionSource::Given(self.store.load_direction(digest).await?),
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

/// All that a direction takes beside the model.
enum DirectionSource {
    Random { seed: u64, normalization: Normalization, ignore: Ignore },
    Given(TensorMap),
}

impl DirectionSource {
    fn make(self, model: &Model, axis: DirectionAxis) -> TensorMap {
        match self {
            Self::Random { seed, normalization, ignore } => {
                random_direction(model.graph.trainable(&model.checkpoint), seed, axis, normalization, ignore)
            }
            Self::Given(tensors) => tensors,
        }
    }
}

/// Runs what takes the processor for long away from the threads that answer calls.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))
}
