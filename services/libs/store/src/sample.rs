//! Samples as networks take them.

use bytes::Bytes;
use relief_core::Split;

use crate::dataset::DatasetRecord;
use crate::error::StoreError;
use crate::idx::Idx;
use crate::layout;
use crate::object::offload;
use crate::split::{SampleStorage, decode_values};
use crate::store::Store;

/// Normalised samples in stored order.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetSamples {
    /// Row-major with shape (n, channels, height, width): (pixel / 255 - mean) / std in float64 per channel, rounded
    /// to float32 once; of a dataset of values, those.
    pub inputs: Vec<f32>,
    /// The class of each sample.
    pub targets: Vec<u32>,
    /// The shape of one sample: channels, height, width.
    pub shape: [u32; 3],
}

impl DatasetSamples {
    /// The number of samples.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.targets.len()
    }
}

impl Store {
    /// The samples of a split, the first `limit` of them where there are more, for a network with inputs of
    /// `shape` (channels, height, width). Smaller images are centred among pixels of value 0, as torchvision's `Pad`
    /// does before its `Normalize`, with the odd row or column at the bottom or right; values must have the shape.
    ///
    /// # Errors
    /// `Invalid` when the dataset has no such split or its images do not fit into `shape`; `NotFound` when a
    /// stored file is gone, as after a deletion; `Corrupt` when one has another digest.
    pub async fn load_samples(
        &self,
        record: &DatasetRecord,
        split: Split,
        limit: Option<u64>,
        shape: [u32; 3],
    ) -> Result<DatasetSamples, StoreError> {
        let Some(stored) = record.splits.get(&split) else {
            let reason = format!("{} has no {} split", record.id, split.as_str());
            return Err(StoreError::invalid("split", reason));
        };
        if record.shape[0] != shape[0] || record.shape[1] > shape[1] || record.shape[2] > shape[2] {
            let reason = format!(
                "{} has samples of shape {:?}, which do not fit into the network's input {shape:?}: the channels must \
                 be equal, height and width at most those of the network",
                record.id, record.shape
            );
            return Err(StoreError::invalid("dataset", reason));
        }
        if record.storage == SampleStorage::Values && record.shape != shape {
            let reason = format!(
                "{} has samples of shape {:?}, the network's input is {shape:?}: values are taken as they are and not \
                 padded",
                record.id, record.shape
            );
            return Err(StoreError::invalid("dataset", reason));
        }
        let inputs_path = layout::dataset_inputs(&record.id, split, record.storage);
        let targets_path = layout::dataset_targets(&record.id, split);
        let inputs = self.objects.get_verified(&inputs_path, stored.inputs_digest).await?;
        let targets = self.objects.get_verified(&targets_path, stored.targets_digest).await?;
        let (record, n_stored) = (record.clone(), stored.n_samples);
        offload(move || {
            let corrupt = |path, what: &dyn ToString| StoreError::corrupt(path, what.to_string());
            let data = match record.storage {
                SampleStorage::Pixels => {
                    Idx::parse(&inputs, &[3, 4], "3 or 4").map(|idx| idx.data).map_err(|error| error.to_string())
                }
                SampleStorage::Values => decode_values(&inputs).map(|(_, data)| data),
            };
            let data = data.map_err(|error| corrupt(&inputs_path, &error))?;
            let mut targets = Idx::parse_labels(&targets).map_err(|error| corrupt(&targets_path, &error))?;
            let sample_len = record.shape.iter().map(|dim| *dim as usize).product::<usize>();
            let width = if record.storage == SampleStorage::Values { size_of::<f32>() } else { 1 };
            let n_bytes = (n_stored as usize).checked_mul(sample_len).and_then(|n| n.checked_mul(width));
            if Some(data.len()) != n_bytes || targets.len() as u64 != n_stored {
                return Err(corrupt(&inputs_path, &"the number of samples is not the record's"));
            }
            let n_samples = limit.map_or(n_stored, |limit| limit.min(n_stored)) as usize;
            targets.truncate(n_samples);
            let inputs = match record.storage {
                SampleStorage::Pixels => normalised(&record, &data, n_samples, shape)?,
                SampleStorage::Values => {
                    let values = data.as_chunks().0.iter().take(n_samples * sample_len);
                    values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
                }
            };
            Ok(DatasetSamples { inputs, targets, shape })
        })
        .await?
    }
}

/// The first `n_samples` samples, padded to `shape` and normalised.
fn normalised(
    record: &DatasetRecord,
    pixels: &Bytes,
    n_samples: usize,
    shape: [u32; 3],
) -> Result<Vec<f32>, StoreError> {
    let tables: Vec<[f32; 256]> = record
        .mean
        .iter()
        .zip(&record.std)
        .map(|(mean, std)| std::array::from_fn(|pixel| ((pixel as f64 / 255.0 - mean) / std) as f32))
        .collect();
    let [n_channels, height, width] = shape.map(|dim| dim as usize);
    let [_, image_height, image_width] = record.shape.map(|dim| dim as usize);
    let (top, left) = ((height - image_height) / 2, (width - image_width) / 2);
    let too_large =
        || StoreError::invalid("dataset", format!("{n_samples} samples of shape {shape:?} need too much memory"));
    let n_values = [n_channels, height, width].iter().try_fold(n_samples, |n, dim| n.checked_mul(*dim));
    let n_values = n_values.ok_or_else(too_large)?;
    let mut inputs = Vec::new();
    inputs.try_reserve_exact(n_values).map_err(|_| too_large())?;
    let planes = pixels.chunks_exact(image_height * image_width).zip(tables.iter().cycle());
    for (plane, table) in planes.take(n_samples * n_channels) {
        let start = inputs.len();
        inputs.resize(start + height * width, table[0]);
        let rows = inputs[start..].chunks_exact_mut(width).skip(top);
        for (row, pixels) in rows.zip(plane.chunks_exact(image_width)) {
            for (value, pixel) in row[left..].iter_mut().zip(pixels) {
                *value = table[usize::from(*pixel)];
            }
        }
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use relief_core::DatasetId;

    use super::*;
    use crate::conformance::on_every_store;
    use crate::dataset::{DatasetImport, SplitFiles};
    use crate::error::StoreErrorKind;

    fn idx(shape: &[u32], data: &[u8]) -> Bytes {
        Idx { shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }.to_bytes()
    }

    async fn dataset(store: &Store) -> DatasetRecord {
        let id: DatasetId = "data".parse().expect("an id");
        let import = DatasetImport {
            splits: vec![SplitFiles {
                split: Split::Train,
                inputs: idx(&[2, 2, 1, 2], &[0, 255, 51, 102, 255, 0, 102, 51]),
                targets: idx(&[2], &[1, 0]),
            }],
            mean: Some(vec![0.5, 0.2]),
            std: Some(vec![0.25, 0.1]),
            ..DatasetImport::default()
        };
        store.import_dataset(&id, import).await.expect("an import")
    }

    #[tokio::test]
    async fn pixels_are_normalised_per_channel() {
        on_every_store(async |store| {
            let record = dataset(store).await;
            let samples = store.load_samples(&record, Split::Train, None, [2, 1, 2]).await.expect("samples");
            let value = |pixel: f64, mean: f64, std: f64| ((pixel / 255.0 - mean) / std) as f32;
            let (first, second) = (|pixel| value(pixel, 0.5, 0.25), |pixel| value(pixel, 0.2, 0.1));
            let expected = [
                [first(0.0), first(255.0), second(51.0), second(102.0)],
                [first(255.0), first(0.0), second(102.0), second(51.0)],
            ];
            assert_eq!(samples.inputs, expected.concat());
            assert_eq!((samples.targets, samples.shape), (vec![1, 0], [2, 1, 2]));
        })
        .await;
    }

    #[tokio::test]
    async fn smaller_images_are_centred_among_black_pixels() {
        let store = Store::open("memory://").expect("a store");
        let record = dataset(&store).await;
        let samples = store.load_samples(&record, Split::Train, Some(1), [2, 2, 5]).await.expect("samples");
        let (o, x) = (-2.0, 2.0);
        let (black, a, b) = (-2.0, ((0.2_f64 - 0.2) / 0.1) as f32, ((102.0 / 255.0 - 0.2) / 0.1) as f32);
        #[rustfmt::skip]
        let expected = [
            o, o, x, o, o,
            o, o, o, o, o,
            black, a, b, black, black,
            black, black, black, black, black,
        ];
        assert_eq!(samples.inputs, expected);
        assert_eq!(samples.n_samples(), 1);
    }

    #[tokio::test]
    async fn a_limit_beyond_the_split_means_all_of_it() {
        let store = Store::open("memory://").expect("a store");
        let record = dataset(&store).await;
        let samples = store.load_samples(&record, Split::Train, Some(u64::MAX), [2, 1, 2]).await.expect("samples");
        assert_eq!(samples.n_samples(), 2);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        let store = Store::open("memory://").expect("a store");
        let record = dataset(&store).await;
        for shape in [[1, 1, 2], [3, 1, 2], [2, 0, 2], [2, 1, 1], [2, u32::MAX, u32::MAX]] {
            let error = store.load_samples(&record, Split::Train, None, shape).await.expect_err("no fit");
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{shape:?}");
        }
        let error = store.load_samples(&record, Split::Test, None, [2, 1, 2]).await.expect_err("no split");
        assert_eq!(error.to_string(), "split: datasets/data has no test split");
    }

    #[tokio::test]
    async fn damaged_files_are_found_by_their_digest() {
        on_every_store(async |store| {
            let record = dataset(store).await;
            let path = layout::dataset_targets(&record.id, Split::Train);
            store.objects.put(&path, idx(&[2], &[0, 0])).await.expect("a put");
            let error = store.load_samples(&record, Split::Train, None, [2, 1, 2]).await.expect_err("damaged");
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        })
        .await;
    }

    #[tokio::test]
    async fn values_come_back_bit_for_bit_and_are_not_padded() {
        on_every_store(async |store| {
            let values = [0.1_f32, f32::NAN, -0.0, 3e38, 5.0, 6.0];
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let header = r#"{"inputs":{"dtype":"F32","shape":[3,1,1,2],"data_offsets":[0,24]},"targets":{"dtype":"U16","shape":[3],"data_offsets":[24,30]}}"#;
            let inputs = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data, &[0, 0, 44, 1, 7, 0]].concat();
            let files = SplitFiles { split: Split::Train, inputs: inputs.into(), targets: Bytes::new() };
            let import = DatasetImport {
                splits: vec![files],
                format: crate::split::DatasetFormat::Safetensors,
                ..DatasetImport::default()
            };
            let id: DatasetId = "values".parse().expect("an id");
            let record = store.import_dataset(&id, import.clone()).await.expect("an import");
            assert_eq!((record.n_classes, &record.mean[..], &record.std[..]), (301, &[0.0][..], &[1.0][..]));
            let samples = store.load_samples(&record, Split::Train, Some(2), [1, 1, 2]).await.expect("samples");
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!((bits(&samples.inputs), samples.targets), (bits(&values[..4]), vec![0, 300]));
            let error = store.load_samples(&record, Split::Train, None, [1, 2, 2]).await.expect_err("no padding");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);

            let import = DatasetImport { mean: Some(vec![0.5]), ..import };
            let error = store.import_dataset(&"other".parse().expect("an id"), import).await.expect_err("a mean");
            assert!(error.to_string().starts_with("mean: "), "{error}");
        })
        .await;
    }
}
