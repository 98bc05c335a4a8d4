//! The differences between checkpoints: parts of their Gram matrix, and directions made of them.
//!
//! One request at a time, of whose checkpoints few are in memory at once: a part of a Gram matrix holds the values that it
//! is asked about, a combination the sums.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use relief_api::convert::difference::{CombinationRequest, GramRequest, RowRef, TensorSlice};
use relief_api::convert::evaluation::BlobRef;
use relief_api::{ApiError, ErrorReason};
use relief_core::{GramBand, GramRow, GramTile, Tensor, TensorMap, gram_tile};
use relief_store::{Store, encode_checkpoint};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::loader::{blocking, path_of};

/// Files that are read at the same time.
const N_READING: usize = 4;

/// Computes with differences between checkpoints.
#[derive(Debug)]
pub(crate) struct Differences {
    store: Store,
    turn: Semaphore,
}

impl Differences {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, turn: Semaphore::new(1) }
    }

    /// The products of all rows with all columns, row-major.
    ///
    /// # Errors
    /// `DATA_CORRUPT` when an object does not have its digest, `NOT_FOUND` when it is gone, `INVALID_FIELD` when a
    /// checkpoint has other tensors than it is asked about.
    #[tracing::instrument(name = "evaluator.gram", skip_all,
        fields(trajectory = request.trajectory, tile = request.tile_idx), err)]
    pub(crate) async fn gram(&self, request: &GramRequest) -> Result<Vec<f64>, ApiError> {
        let _turn = self.turn().await?;
        let origin = Arc::new(self.values_of("origin", &RowRef::Point(request.origin.clone()), &request.slices).await?);
        let mut wanted: Vec<&RowRef> = Vec::new();
        for row in request.rows.iter().chain(&request.columns) {
            if !wanted.contains(&row) {
                wanted.push(row);
            }
        }
        let load =
            async |row: &RowRef| Ok::<_, ApiError>((row.clone(), self.values_of("rows", row, &request.slices).await?));
        let reading = wanted.into_iter().map(load);
        let values: HashMap<RowRef, Vec<f32>> =
            futures::stream::iter(reading).buffered(N_READING).try_collect().await?;
        let (rows, columns) = (request.rows.clone(), request.columns.clone());
        blocking(move || products(&origin, &values, &rows, &columns)).await
    }

    /// The safetensors file of a direction.
    ///
    /// # Errors
    /// Those of [`Self::gram`].
    #[tracing::instrument(name = "evaluator.combine", skip_all, fields(trajectory = request.trajectory), err)]
    pub(crate) async fn combine(&self, request: &CombinationRequest) -> Result<Bytes, ApiError> {
        let _turn = self.turn().await?;
        let origin = self.load_checkpoint(&request.origin).await?;
        let mut sums = BTreeMap::<&str, Vec<f64>>::new();
        for name in &request.tensors {
            sums.insert(name, vec![0.0; tensor_of("origin", &origin, name)?.data().len()]);
        }
        let load = async |(blob, coefficient): &(BlobRef, f64)| {
            Ok::<_, ApiError>((self.load_checkpoint(blob).await?, *coefficient))
        };
        let mut checkpoints = futures::stream::iter(request.terms.iter().map(load)).buffered(N_READING);
        while let Some((checkpoint, coefficient)) = checkpoints.try_next().await? {
            for (name, sums) in &mut sums {
                let (tensor, origin) = (tensor_of("terms", &checkpoint, name)?, tensor_of("origin", &origin, name)?);
                if tensor.shape() != origin.shape() {
                    let message =
                        format!("`{name}` has shape {:?}, that of the origin {:?}", tensor.shape(), origin.shape());
                    return Err(ApiError::field("terms", message));
                }
                for ((sum, value), origin) in sums.iter_mut().zip(tensor.data()).zip(origin.data()) {
                    *sum += coefficient * (f64::from(*value) - f64::from(*origin));
                }
            }
        }
        let mut direction = TensorMap::new();
        for (name, sums) in sums {
            let shape = tensor_of("origin", &origin, name)?.shape().to_vec();
            let values = sums.into_iter().map(|sum| sum as f32).collect();
            let tensor = Tensor::new(shape, values).map_err(|error| ApiError::field("tensors", error.to_string()))?;
            direction.insert(name.to_owned(), tensor);
        }
        encode_checkpoint(&direction).map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        let closed = |_| ApiError::new(ErrorReason::ShuttingDown, "the evaluator is stopping");
        self.turn.acquire().await.map_err(closed)
    }

    async fn load_checkpoint(&self, blob: &BlobRef) -> Result<TensorMap, ApiError> {
        Ok(self.store.load_checkpoint(&path_of("checkpoint.path", blob)?, blob.digest).await?)
    }

    /// The values of a row that `slices` name, one after the other.
    async fn values_of(&self, field: &str, row: &RowRef, slices: &[TensorSlice]) -> Result<Vec<f32>, ApiError> {
        let (tensors, is_whole) = match row {
            RowRef::Point(blob) => (self.load_checkpoint(blob).await?, true),
            RowRef::Step(blob) => (self.store.load_direction(blob.digest).await?, false),
        };
        let mut values = Vec::new();
        for TensorSlice { tensor: name, first, count } in slices {
            let span = usize::try_from(*first).ok().zip(usize::try_from(first.saturating_add(*count)).ok());
            match (tensors.get(name), span) {
                (None, Some((first, end))) if !is_whole => values.resize(values.len() + (end - first), 0.0),
                (Some(tensor), Some((first, end))) if end <= tensor.data().len() => {
                    values.extend_from_slice(&tensor.data()[first..end]);
                }
                (found, _) => {
                    let found = found.map_or(0, |tensor| tensor.data().len());
                    let path = &row.blob().path;
                    let message = format!("`{name}` of {path} has {found} values; {count} from {first} were asked for");
                    return Err(ApiError::field(field, message));
                }
            }
        }
        Ok(values)
    }
}

fn tensor_of<'a>(field: &str, tensors: &'a TensorMap, name: &str) -> Result<&'a Tensor, ApiError> {
    tensors.get(name).ok_or_else(|| ApiError::field(field, format!("a checkpoint has no tensor `{name}`")))
}

/// The products, computed by as many threads as there are processors: each has rows of its own.
fn products(origin: &[f32], values: &HashMap<RowRef, Vec<f32>>, rows: &[RowRef], columns: &[RowRef]) -> Vec<f64> {
    let row = |row: &RowRef| {
        let values = values.get(row).map(Vec::as_slice).unwrap_or_default();
        match row {
            RowRef::Point(_) => GramRow::Point(values),
            RowRef::Step(_) => GramRow::Step(values),
        }
    };
    let is_diagonal = rows == columns;
    let rows: Vec<GramRow<'_>> = rows.iter().map(row).collect();
    let columns: Vec<GramRow<'_>> = columns.iter().map(row).collect();
    let shape = GramTile {
        idx: 0,
        rows: 0..rows.len(),
        columns: if is_diagonal { 0..columns.len() } else { rows.len()..rows.len() + columns.len() },
        values: 0..origin.len() as u64,
    };
    let n_threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut sums = vec![0.0; shape.n_entries()];
    std::thread::scope(|scope| {
        let work = |band: GramBand| {
            let (rows, columns) = (&rows[band.rows.clone()], &columns[band.columns.clone()]);
            scope.spawn(move || (gram_tile(origin, rows, columns), band))
        };
        let threads: Vec<_> = shape.bands(n_threads).into_iter().map(work).collect();
        for thread in threads {
            match thread.join() {
                Ok((of_band, band)) => shape.place(&band, &of_band, &mut sums),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use relief_core::Digest;

    use super::*;

    fn row(name: &str) -> RowRef {
        RowRef::Point(BlobRef { path: name.to_owned(), digest: Digest::of(name.as_bytes()) })
    }

    #[test]
    fn products_do_not_depend_on_who_computes_them() {
        let origin: Vec<f32> = (0..5000).map(|idx| (idx as f32 * 0.37).sin()).collect();
        let rows: Vec<RowRef> = (0..7).map(|idx| row(&format!("c{idx}"))).collect();
        let of = |seed: usize| (0..5000).map(|idx| ((idx * (seed + 3)) as f32 * 0.11).cos()).collect::<Vec<f32>>();
        let values: HashMap<RowRef, Vec<f32>> =
            rows.iter().cloned().enumerate().map(|(idx, row)| (row, of(idx))).collect();
        let all = products(&origin, &values, &rows, &rows);
        let each: Vec<f64> =
            rows.iter().flat_map(|row| products(&origin, &values, std::slice::from_ref(row), &rows)).collect();
        assert_eq!(all, each);
        let expected: f64 = values[&rows[1]]
            .iter()
            .zip(&values[&rows[2]])
            .zip(&origin)
            .map(|((a, b), o)| (f64::from(*a) - f64::from(*o)) * (f64::from(*b) - f64::from(*o)))
            .sum();
        assert!((all[7 + 2] - expected).abs() < 1e-9 * expected.abs().max(1.0));
    }
}
