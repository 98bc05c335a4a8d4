//! The directions of a surface as files: made again from their seed, or the file that was given.

use bytes::Bytes;
use relief_api::{ApiError, ErrorReason};
use relief_core::{DirectionAxis, DirectionSpec, Tensor, TensorMap, random_direction};
use relief_graph::Graph;
use relief_store::{BlobPath, Store, SurfaceRecord, encode_checkpoint};

/// Returns the directions of a surface as safetensors files, x first. Those of a seed hold every trainable tensor, 0
/// where it does not move.
///
/// # Errors
/// `NOT_FOUND` or `DATA_CORRUPT` when what the surface was computed from is gone or has become something else.
pub(crate) async fn directions_of(
    store: &Store,
    record: &SurfaceRecord,
) -> Result<Vec<(DirectionAxis, Bytes)>, ApiError> {
    let plane = &record.spec.plane;
    let axes = [(DirectionAxis::X, Some(&plane.x)), (DirectionAxis::Y, plane.y.as_ref())];
    let mut files = Vec::new();
    let mut model = None;
    for (axis, direction) in axes.into_iter().filter_map(|(axis, direction)| Some((axis, direction?))) {
        let file = match *direction {
            DirectionSpec::Stored { digest } => store.read_direction(digest).await?,
            DirectionSpec::Random { seed, normalization, ignore } => {
                if model.is_none() {
                    model = Some(std::sync::Arc::new(load_model(store, record).await?));
                }
                let Some(model) = model.clone() else { continue };
                let drawn = tokio::task::spawn_blocking(move || {
                    let (graph, checkpoint) = &*model;
                    let direction = random_direction(graph.trainable(checkpoint), seed, axis, normalization, ignore);
                    encode_checkpoint(&whole(graph, checkpoint, direction))
                });
                let file = drawn.await.map_err(|error| internal(&error))?;
                file.map_err(|error| internal(&error))?
            }
        };
        files.push((axis, file));
    }
    Ok(files)
}

async fn load_model(store: &Store, record: &SurfaceRecord) -> Result<(Graph, TensorMap), ApiError> {
    let (spec, provenance) = (&record.spec, &record.provenance);
    let onnx = store.load_network(&BlobPath::network(&spec.network), provenance.network_digest).await?;
    let origin = BlobPath::checkpoint(&spec.plane.origin);
    let checkpoint = store.load_checkpoint(&origin, provenance.checkpoint_digest).await?;
    let model = Graph::from_onnx(&onnx).map_err(|error| ApiError::new(ErrorReason::DataCorrupt, error.to_string()))?;
    Ok((model.graph, checkpoint))
}

/// A direction with a tensor for every trainable one.
fn whole(graph: &Graph, checkpoint: &TensorMap, mut direction: TensorMap) -> TensorMap {
    for (name, tensor) in graph.trainable(checkpoint) {
        if !direction.contains_key(name) {
            direction.insert(name.to_owned(), Tensor::filled(tensor.shape(), 0.0));
        }
    }
    direction
}

fn internal(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(ErrorReason::Internal, error.to_string())
}
