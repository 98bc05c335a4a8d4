//! One split of a dataset, read from the files of any format and found whole.

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod values;

use bytes::Bytes;
use relief_core::{Digest, Split};
use relief_graph::InputShape;

use crate::cifar::{CIFAR_10, CIFAR_100};
use crate::dataset::{DatasetRecord, SplitFiles, SplitRecord};
use crate::error::StoreError;
use crate::idx::Idx;
pub use format::{DatasetFormat, SampleStorage};
use reader::Reader;
pub(crate) use values::decode_values;
use values::encode_values;

/// The most classes of a dataset.
const MAX_CLASSES: u32 = 1 << 20;

/// A split that was read and found whole.
#[derive(Debug)]
pub struct ParsedSplit {
    pub(crate) split: Split,
    /// The shape of one sample: channels, height, width.
    pub(crate) shape: [u32; 3],
    pub(crate) storage: SampleStorage,
    pub(crate) targets: Vec<u32>,
    pub(crate) record: SplitRecord,
    /// The inputs and the targets as they are stored.
    pub(crate) files: [Bytes; 2],
}

/// The samples of a split, row-major with shape (n, channels, height, width).
struct Samples {
    shape: [u32; 3],
    /// Whether the file had no dimension for the one channel; an IDX file is stored as it is.
    is_flat: bool,
    storage: SampleStorage,
    /// Bytes, or little-endian float32.
    data: Bytes,
    targets: Vec<u32>,
}

impl ParsedSplit {
    /// Reads the files of a split. At most 4 GiB are taken of an array, packed or not, and never more than its header
    /// states.
    ///
    /// # Errors
    /// `Invalid`, naming the part, when a file is damaged or of another format, or the two do not fit together.
    pub fn parse(files: &SplitFiles, format: DatasetFormat) -> Result<Self, StoreError> {
        let word = files.split.as_str();
        let fields = [format!("{word} inputs"), format!("{word} targets")];
        let reader = Reader { inputs: &fields[0], targets: &fields[1] };
        let samples = match format {
            DatasetFormat::Idx => reader.idx(files)?,
            _ if !files.targets.is_empty() => {
                return Err(StoreError::invalid(&fields[1], "this format has inputs and targets in the same file"));
            }
            DatasetFormat::Cifar10 => reader.cifar(&files.inputs, CIFAR_10)?,
            DatasetFormat::Cifar100 => reader.cifar(&files.inputs, CIFAR_100)?,
            DatasetFormat::Safetensors => reader.safetensors(&files.inputs)?,
            DatasetFormat::Npz => reader.npz(&files.inputs, files.split)?,
        };
        let Samples { shape, is_flat, storage, data, targets } = samples;
        if let Some(idx) = targets.iter().position(|target| *target >= MAX_CLASSES) {
            let reason =
                format!("target {} of sample {idx} is beyond the {MAX_CLASSES} classes there may be", targets[idx]);
            return Err(StoreError::invalid(&fields[1], reason));
        }
        let n_samples = targets.len() as u32;
        let [channels, height, width] = shape;
        if let Err(error) = InputShape::new(channels as usize, height as usize, width as usize) {
            let reason = format!("a sample's shape cannot be that of a network's input: {error}");
            return Err(StoreError::invalid(&fields[0], reason));
        }
        let inputs = match storage {
            SampleStorage::Pixels => {
                let mut shape = vec![n_samples, channels, height, width];
                if is_flat {
                    shape.remove(1);
                }
                Idx { shape, data }.to_bytes()
            }
            SampleStorage::Values => {
                encode_values(data, n_samples, shape).map_err(|reason| StoreError::invalid(&fields[0], reason))?
            }
        };
        let targets_file = Idx::labels_to_bytes(&targets);
        let record = SplitRecord {
            n_samples: u64::from(n_samples),
            inputs_digest: Digest::of(&inputs),
            targets_digest: Digest::of(&targets_file),
        };
        Ok(Self { split: files.split, shape, storage, targets, record, files: [inputs, targets_file] })
    }

    /// What is stored of the split beside its files.
    #[must_use]
    pub fn record(&self) -> &SplitRecord {
        &self.record
    }

    /// The shape of one sample: channels, height, width.
    #[must_use]
    pub fn shape(&self) -> [u32; 3] {
        self.shape
    }

    pub(crate) fn n_classes(&self) -> u32 {
        self.targets.iter().max().map_or(0, |target| target + 1)
    }

    pub(crate) fn check(&self, record: &DatasetRecord) -> Result<(), StoreError> {
        let word = self.split.as_str();
        if self.storage != record.storage {
            let words = |storage| match storage {
                SampleStorage::Pixels => "images of bytes",
                SampleStorage::Values => "numbers that are taken as they are",
            };
            let reason = format!("samples are {}, the dataset's are {}", words(self.storage), words(record.storage));
            return Err(StoreError::invalid(format!("{word} inputs"), reason));
        }
        if self.shape != record.shape {
            let reason = format!("samples have the shape {:?}, the dataset's have {:?}", self.shape, record.shape);
            return Err(StoreError::invalid(format!("{word} inputs"), reason));
        }
        if let Some(idx) = self.targets.iter().position(|target| *target >= record.n_classes) {
            let (target, n_classes) = (self.targets[idx], record.n_classes);
            let reason = format!("target {target} of sample {idx} is not below the {n_classes} classes");
            return Err(StoreError::invalid(format!("{word} targets"), reason));
        }
        Ok(())
    }

    /// The mean and the population standard deviation of pixel / 255 per channel, in float64 from exact counts; nothing
    /// where the samples are no images.
    #[must_use]
    pub fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        if self.storage != SampleStorage::Pixels {
            return (Vec::new(), Vec::new());
        }
        let [n_channels, height, width] = self.shape.map(|dim| dim as usize);
        let n_pixels = self.targets.len() * n_channels * height * width;
        let pixels = &self.files[0][self.files[0].len() - n_pixels..];
        // A channel after the other, as there may be many: their counts together would be larger than the file.
        let moments = (0..n_channels).map(|channel| {
            let mut counts = [0_u64; 256];
            for plane in pixels.chunks_exact(height * width).skip(channel).step_by(n_channels) {
                plane.iter().for_each(|pixel| counts[usize::from(*pixel)] += 1);
            }
            let average = |value: &dyn Fn(f64) -> f64| {
                let total: f64 = (0..256).map(|pixel| counts[pixel] as f64 * value(pixel as f64 / 255.0)).sum();
                total / counts.iter().sum::<u64>() as f64
            };
            let mean = average(&|value| value);
            (mean, average(&|value| (value - mean) * (value - mean)).sqrt())
        });
        moments.unzip()
    }
}
