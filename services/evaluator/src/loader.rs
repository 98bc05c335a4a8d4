//! From the digests of a request to a plane and samples on the device.

use std::sync::Arc;

use relief_api::convert::evaluation::{AxisRef, BlobRef, LogitsRequest, PlaneRef, SamplesRef};
use relief_api::{ApiError, ErrorReason};
use relief_core::{BatchNormMode, Direction, Engine, NumericRequest, Numerics, TensorMap};
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
    memory_limit: Option<u64>,
    graphs: Cache<BlobRef, Graph>,
    models: Cache<(BlobRef, BlobRef), Model>,
    planes: Cache<PlaneKey, ResidentPlane>,
    samples: Cache<(SamplesRef, Engine, [usize; 3]), ResidentSamples>,
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
    numerics: Numerics,
}

/// What is evaluated, and in what.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    plane: PlaneKey,
    samples: SamplesRef,
    also: Option<SamplesRef>,
    statistics: Option<SamplesRef>,
}

impl Subject {
    /// A plane and its samples.
    pub(crate) fn of_plane(plane: &PlaneRef, numerics: Numerics) -> Self {
        let PlaneRef { network, checkpoint, axes, batch_norm, samples, also, statistics } = plane.clone();
        Self { plane: PlaneKey { network, checkpoint, axes, batch_norm, numerics }, samples, also, statistics }
    }

    /// The same with at most the first `limit` samples of each split.
    pub(crate) fn limited(self, limit: u64) -> Self {
        let limited = |samples: SamplesRef| {
            let limit = samples.limit.map_or(limit, |given| given.min(limit));
            SamplesRef { limit: Some(limit), ..samples }
        };
        let Self { plane, samples, also, statistics } = self;
        Self { plane, samples: limited(samples), also: also.map(limited), statistics: statistics.map(limited) }
    }

    /// A checkpoint, as a plane without directions, and samples.
    pub(crate) fn of_logits(request: LogitsRequest, numerics: Numerics) -> Self {
        let LogitsRequest { network, checkpoint, samples, numerics: _ } = request;
        let plane = PlaneKey { network, checkpoint, axes: Vec::new(), batch_norm: BatchNormMode::Frozen, numerics };
        Self { plane, samples, also: None, statistics: None }
    }
}

impl Loader {
    pub(crate) fn new(store: Store, device: Device, batch_size: usize, memory_limit: Option<u64>) -> Self {
        Self {
            store,
            device,
            batch_size,
            memory_limit,
            graphs: Cache::new(N_MODELS),
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
        let engine = plane.numerics.engine;
        let plane = self.planes.get_or_load(plane, || self.load_plane(plane)).await?;
        let shape = plane.graph().input_shape();
        self.admit(&plane, 0)?;
        let load = async |samples: &SamplesRef| {
            let key = (samples.clone(), engine, shape.dims());
            self.samples.get_or_load(&key, || self.load_samples(samples, engine, shape, &plane)).await
        };
        let at = |field: &'static str| move |error: SessionError| ApiError::field(field, error.to_string());
        let main = load(samples).await?;
        let mut session = PlaneSession::open(Arc::clone(&plane), main, self.batch_size).map_err(at("dataset"))?;
        if let Some(also) = also {
            session = session.with_also(load(also).await?).map_err(at("also"))?;
        }
        if let Some(statistics) = statistics {
            session = session.with_statistics(load(statistics).await?).map_err(at("statistics"))?;
        }
        self.admit(&plane, session.n_bytes() - plane.n_bytes())?;
        Ok(session)
    }

    /// Makes a plane and `sample_bytes` fit into the memory that they may take, by fewer images at a time.
    fn admit(&self, plane: &ResidentPlane, sample_bytes: usize) -> Result<(), ApiError> {
        let Some(limit) = self.memory_limit else { return Ok(()) };
        let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
        if plane.shrink(limit_bytes.saturating_sub(sample_bytes)) {
            tracing::info!(
                plane_bytes = plane.n_bytes(),
                sample_bytes,
                limit,
                "smaller micro-batches, to fit into memory"
            );
        }
        let n_bytes = plane.n_bytes().saturating_add(sample_bytes);
        if n_bytes <= limit_bytes {
            return Ok(());
        }
        let mebibytes = |n_bytes: usize| n_bytes.div_ceil(1 << 20);
        let message = format!(
            "plane and samples take {} MiB; this evaluator gives them {} MiB (--memory-limit): fewer samples, or an \
             evaluator with more memory",
            mebibytes(n_bytes),
            mebibytes(limit_bytes)
        );
        Err(ApiError::new(ErrorReason::OutOfMemory, message))
    }

    /// Returns the network alone.
    ///
    /// # Errors
    /// Those of [`Loader::open`].
    pub(crate) async fn graph(&self, network: &BlobRef) -> Result<Arc<Graph>, ApiError> {
        let load = || async {
            let path = path_of("network.path", network)?;
            let onnx = self.store.load_network(&path, network.digest).await?;
            let model = blocking(move || Graph::from_onnx(&onnx)).await?;
            let model = model.map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
            Ok(model.graph)
        };
        self.graphs.get_or_load(network, load).await
    }

    #[tracing::instrument(name = "evaluator.load_model", skip_all, err)]
    async fn load_model(&self, network: &BlobRef, checkpoint: &BlobRef) -> Result<Model, ApiError> {
        let path = path_of("checkpoint.path", checkpoint)?;
        let checkpoint = async { Ok(self.store.load_checkpoint(&path, checkpoint.digest).await?) };
        let (graph, checkpoint) = tokio::try_join!(self.graph(network), checkpoint)?;
        Ok(Model { graph, checkpoint })
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
        let (device, numerics, batch_norm) = (self.device.clone(), key.numerics, key.batch_norm);
        let request = NumericRequest { engine: Some(numerics.engine), precision: Some(numerics.precision) };
        let choice = device.choose(&model.graph, batch_norm, request);
        choice.map_err(|error| ApiError::field("numeric_class", error.to_string()))?;
        let plane = blocking(move || {
            let graph = Arc::clone(&model.graph);
            ResidentPlane::upload(&device, numerics, graph, &model.checkpoint, &directions, batch_norm)
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
    async fn load_samples(
        &self,
        samples: &SamplesRef,
        engine: Engine,
        shape: InputShape,
        plane: &ResidentPlane,
    ) -> Result<ResidentSamples, ApiError> {
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
        let n_samples = record.splits.get(&samples.split).map_or(0, |split| split.n_samples);
        let n_samples = samples.limit.map_or(n_samples, |limit| limit.min(n_samples));
        let sample_bytes = n_samples.saturating_mul((shape.n_values() * size_of::<f32>()) as u64);
        self.admit(plane, usize::try_from(sample_bytes).unwrap_or(usize::MAX))?;
        let dims = shape.dims().map(|dim| u32::try_from(dim).unwrap_or(u32::MAX));
        let loaded = self.store.load_samples(&record, samples.split, samples.limit, dims).await?;
        let device = self.device.clone();
        let resident = blocking(move || {
            let samples = Samples::new(loaded.inputs, loaded.targets, shape)?;
            ResidentSamples::upload(&device, engine, &samples, None)
        });
        resident.await?.map_err(|error| ApiError::field("dataset", error.to_string()))
    }
}

pub(crate) fn path_of(field: &'static str, blob: &BlobRef) -> Result<BlobPath, ApiError> {
    blob.path.parse().map_err(|error: BlobPathError| ApiError::field(field, error.to_string()))
}

/// Runs what takes the processor for long away from the threads that answer calls.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))
}
