//! The files of a split, format by format.

use bytes::Bytes;
use relief_core::Split;
use safetensors::tensor::{Dtype, SafeTensors};

use super::{SampleStorage, Samples};
use crate::archive::Archive;
use crate::cifar::{self, Cifar};
use crate::dataset::SplitFiles;
use crate::error::StoreError;
use crate::half;
use crate::header::repeated_name;
use crate::idx::Idx;
use crate::npy::NpyArray;

/// The most bytes of an array.
const MAX_BYTES: u64 = 1 << 32;

/// Reads files, and names the field that a file was given as when it is not what it should be.
pub(super) struct Reader<'a> {
    pub(super) inputs: &'a str,
    pub(super) targets: &'a str,
}

impl Reader<'_> {
    fn bad_inputs(&self, reason: impl ToString) -> StoreError {
        StoreError::invalid(self.inputs, reason)
    }

    fn bad_targets(&self, reason: impl ToString) -> StoreError {
        StoreError::invalid(self.targets, reason)
    }

    fn counted(&self, samples: Samples, n_inputs: u64) -> Result<Samples, StoreError> {
        let n_targets = samples.targets.len();
        if n_targets as u64 != n_inputs {
            let reason = format!("{n_targets} targets for {n_inputs} inputs; there must be one for each");
            return Err(self.bad_targets(reason));
        }
        Ok(samples)
    }

    pub(super) fn idx(&self, files: &SplitFiles) -> Result<Samples, StoreError> {
        let inputs = Idx::parse(&files.inputs, &[3, 4], "3 (n, height, width) or 4 (n, channels, height, width)");
        let inputs = inputs.map_err(|error| self.bad_inputs(error))?;
        let targets = Idx::parse_labels(&files.targets).map_err(|error| self.bad_targets(error))?;
        let shape = match inputs.shape[1..] {
            [channels, height, width] => [channels, height, width],
            [height, width] => [1, height, width],
            _ => return Err(self.bad_inputs("the file has no sample shape")),
        };
        let (n_inputs, is_flat) = (u64::from(inputs.shape[0]), inputs.shape.len() == 3);
        let samples = Samples { shape, is_flat, storage: SampleStorage::Pixels, data: inputs.data, targets };
        self.counted(samples, n_inputs)
    }

    pub(super) fn cifar(&self, file: &[u8], cifar: Cifar) -> Result<Samples, StoreError> {
        let (data, targets) = cifar.read(file).map_err(|error| self.bad_inputs(error))?;
        Ok(Samples { shape: cifar::SHAPE, is_flat: false, storage: SampleStorage::Pixels, data, targets })
    }

    pub(super) fn safetensors(&self, file: &Bytes) -> Result<Samples, StoreError> {
        if let Some(name) = repeated_name(file) {
            return Err(self.bad_inputs(format!("the file has the tensor `{name}` twice")));
        }
        let tensors = SafeTensors::deserialize(file)
            .map_err(|error| self.bad_inputs(format!("the file is not a whole safetensors file: {error}")))?;
        let names = || listed(tensors.names().into_iter());
        let missing = |name: &str| format!("the file has no tensor `{name}`; it has {}", names());
        let inputs = tensors.tensor("inputs").map_err(|_| self.bad_inputs(missing("inputs")))?;
        let targets = tensors.tensor("targets").map_err(|_| self.bad_targets(missing("targets")))?;
        if inputs.dtype() != Dtype::F32 {
            let reason = format!("`inputs` has the type {}; F32 is taken as it is", inputs.dtype());
            return Err(self.bad_inputs(reason));
        }
        let Some(kind) = integer_of_safetensors(targets.dtype()) else {
            let reason = format!("`targets` has the type {}; it should be integers, as I64", targets.dtype());
            return Err(self.bad_targets(reason));
        };
        let dims = |shape: &[usize]| shape.iter().map(|dim| *dim as u64).collect::<Vec<u64>>();
        let (n_inputs, shape) = self.sample_shape("inputs", &dims(inputs.shape()))?;
        let targets = self.integers("targets", kind, &dims(targets.shape()), targets.data())?;
        let data = file.slice_ref(inputs.data());
        self.counted(Samples { shape, is_flat: false, storage: SampleStorage::Values, data, targets }, n_inputs)
    }

    pub(super) fn npz(&self, file: &Bytes, split: Split) -> Result<Samples, StoreError> {
        let archive = Archive::open(file)
            .map_err(|error| self.bad_inputs(format!("the file is not a whole npz archive: {error}")))?;
        let names = || listed(archive.names().map(|name| name.trim_end_matches(".npy")));
        let find = |words: [&str; 2]| {
            let candidates = [words[0].to_owned(), words[1].to_owned(), format!("{}_{}", words[1], split.as_str())];
            let found = candidates.iter().find(|name| archive.names().any(|entry| entry == format!("{name}.npy")));
            found
                .cloned()
                .ok_or_else(|| format!("the archive has none of `{}`; it has {}", candidates.join("`, `"), names()))
        };
        let read = |name: &str| {
            let bytes = archive.read(&format!("{name}.npy"), MAX_BYTES).map_err(|error| error.to_string())?;
            NpyArray::parse(&bytes).map_err(|error| format!("`{name}`: {error}"))
        };
        let inputs_name = find(["inputs", "x"]).map_err(|reason| self.bad_inputs(reason))?;
        let targets_name = find(["targets", "y"]).map_err(|reason| self.bad_targets(reason))?;
        let targets = read(&targets_name).map_err(|reason| self.bad_targets(reason))?;
        let Some(kind) = integer_of_numpy(&targets.dtype) else {
            let reason = format!("`{targets_name}` has the type {}; it should be integers, as <i8", targets.dtype);
            return Err(self.bad_targets(reason));
        };
        let targets = self.integers(&targets_name, kind, &targets.shape, &targets.data)?;
        let inputs = read(&inputs_name).map_err(|reason| self.bad_inputs(reason))?;
        let (n_inputs, shape) = self.sample_shape(&inputs_name, &inputs.shape)?;
        let (storage, data) = match inputs.dtype.as_str() {
            "|u1" => (SampleStorage::Pixels, inputs.data),
            "<f4" => (SampleStorage::Values, inputs.data),
            "<f8" => (SampleStorage::Values, self.narrowed(&inputs_name, &inputs.data)?),
            "<f2" => {
                let mut values = Vec::with_capacity(2 * inputs.data.len());
                for bytes in inputs.data.as_chunks().0 {
                    values.extend(half::from_f16(u16::from_le_bytes(*bytes)).to_le_bytes());
                }
                (SampleStorage::Values, values.into())
            }
            dtype => {
                let reason = format!(
                    "`{inputs_name}` has the type {dtype}; it should be |u1 (images) or a float (taken as it is), as <f4"
                );
                return Err(self.bad_inputs(reason));
            }
        };
        self.counted(Samples { shape, is_flat: false, storage, data, targets }, n_inputs)
    }

    fn narrowed(&self, name: &str, data: &[u8]) -> Result<Bytes, StoreError> {
        let mut narrowed = Vec::with_capacity(data.len() / 2);
        for bytes in data.as_chunks().0 {
            let value = f64::from_le_bytes(*bytes);
            let narrow = value as f32;
            if value.is_finite() && !narrow.is_finite() {
                return Err(self.bad_inputs(format!("`{name}` holds {value:e}, which is beyond the range of float32")));
            }
            narrowed.extend(narrow.to_le_bytes());
        }
        Ok(narrowed.into())
    }

    /// The number of samples, and the shape of one.
    fn sample_shape(&self, name: &str, shape: &[u64]) -> Result<(u64, [u32; 3]), StoreError> {
        let expected = "(n, channels, height, width), or (n, height, width) for one channel";
        let (n, dims) = match *shape {
            [n, channels, height, width] => (n, [channels, height, width]),
            [n, height, width] => (n, [1, height, width]),
            _ => return Err(self.bad_inputs(format!("`{name}` has the shape {shape:?}, expected {expected}"))),
        };
        let is_image = |channels: u64| matches!(channels, 1 | 3);
        if is_image(dims[2]) && !is_image(dims[0]) && dims[0] > 4 {
            let reason = format!(
                "`{name}` has the shape {shape:?}, which looks like (n, height, width, channels); transpose it to \
                 (n, channels, height, width)"
            );
            return Err(self.bad_inputs(reason));
        }
        if n == 0 || dims.contains(&0) {
            return Err(self.bad_inputs(format!("`{name}` has the shape {shape:?}, which holds nothing")));
        }
        let narrow = dims.map(|dim| u32::try_from(dim).unwrap_or(u32::MAX));
        let n_values = dims.iter().try_fold(n, |product, dim| product.checked_mul(*dim));
        if n_values.is_none_or(|n_values| n_values > MAX_BYTES) || u32::try_from(n).is_err() {
            return Err(self.bad_inputs(format!("`{name}` has the shape {shape:?}, which is larger than can be read")));
        }
        Ok((n, narrow))
    }

    fn integers(
        &self,
        name: &str,
        (width, is_signed): (usize, bool),
        shape: &[u64],
        data: &[u8],
    ) -> Result<Vec<u32>, StoreError> {
        if shape.len() != 1 {
            return Err(self.bad_targets(format!("`{name}` has the shape {shape:?}, expected (n)")));
        }
        let target = |(idx, bytes): (usize, &[u8])| {
            let fill = if is_signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [fill; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            let value = i128::from_le_bytes(wide);
            u32::try_from(value).map_err(|_| {
                self.bad_targets(format!("`{name}` has the class {value} at sample {idx}; classes are counted from 0"))
            })
        };
        data.chunks_exact(width).enumerate().map(target).collect()
    }
}

/// The most names that a message lists.
const N_NAMED: usize = 8;

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    match names.len() {
        0 => "nothing".to_owned(),
        n if n > N_NAMED => format!("{} and {} more", names[..N_NAMED].join(", "), n - N_NAMED),
        _ => names.join(", "),
    }
}

/// The width of an integer type, and whether it is signed.
fn integer_of_safetensors(dtype: Dtype) -> Option<(usize, bool)> {
    Some(match dtype {
        Dtype::U8 => (1, false),
        Dtype::I8 => (1, true),
        Dtype::U16 => (2, false),
        Dtype::I16 => (2, true),
        Dtype::U32 => (4, false),
        Dtype::I32 => (4, true),
        Dtype::U64 => (8, false),
        Dtype::I64 => (8, true),
        _ => return None,
    })
}

fn integer_of_numpy(dtype: &str) -> Option<(usize, bool)> {
    Some(match dtype {
        "|u1" => (1, false),
        "|i1" => (1, true),
        "<u2" => (2, false),
        "<i2" => (2, true),
        "<u4" => (4, false),
        "<i4" => (4, true),
        "<u8" => (8, false),
        "<i8" => (8, true),
        _ => return None,
    })
}
