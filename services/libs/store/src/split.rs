//! One split of a dataset, read from the files of any format and found whole.

use std::borrow::Cow;

use bytes::Bytes;
use relief_core::{Digest, Split};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::cifar::{self, CIFAR_10, CIFAR_100, Cifar};
use crate::dataset::{DatasetRecord, SplitFiles, SplitRecord};
use crate::error::StoreError;
use crate::half;
use crate::idx::Idx;
use crate::npy::NpyArray;

/// How the files of a dataset are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatasetFormat {
    /// Two IDX files, as of MNIST: images of bytes, and labels. Either may be compressed with gzip.
    #[default]
    Idx,
    /// The binary version of CIFAR-10, several files one after the other.
    Cifar10,
    /// The binary version of CIFAR-100, of which the fine labels are read.
    Cifar100,
    /// A safetensors file with `inputs`, F32 of shape (n, channels, height, width), taken as they are, and `targets`,
    /// integers of shape (n).
    Safetensors,
    /// A NumPy archive with `inputs` or `x`, bytes (images) or floats (taken as they are), and `targets` or `y`.
    Npz,
}

/// How the samples of a dataset are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleStorage {
    /// Images of bytes, normalised when they are loaded.
    #[default]
    Pixels,
    /// Numbers that networks take as they are.
    Values,
}

impl SampleStorage {
    pub(crate) fn is_pixels(&self) -> bool {
        *self == Self::Pixels
    }
}

impl DatasetFormat {
    /// The mean and the standard deviation that the format's data are normalised with everywhere, per channel.
    pub(crate) fn constants(self) -> Option<([f64; 3], [f64; 3])> {
        let of_pixels = |pixels: [f64; 3]| pixels.map(|pixel| pixel / 255.0);
        match self {
            Self::Cifar10 => Some((of_pixels([125.3, 123.0, 113.9]), of_pixels([63.0, 62.1, 66.7]))),
            _ => None,
        }
    }

    fn cifar(self) -> Option<Cifar> {
        match self {
            Self::Cifar10 => Some(CIFAR_10),
            Self::Cifar100 => Some(CIFAR_100),
            _ => None,
        }
    }

    /// The number of classes that every dataset of the format has.
    pub(crate) fn n_classes(self) -> Option<u32> {
        self.cifar().map(Cifar::n_classes)
    }
}

/// The most classes of a dataset.
const MAX_CLASSES: u32 = 1 << 20;
/// The most bytes of an array.
const MAX_BYTES: u64 = 1 << 32;

/// A split that was read and found whole.
#[derive(Debug)]
pub(crate) struct ParsedSplit {
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
    pub(crate) fn parse(files: &SplitFiles, format: DatasetFormat) -> Result<Self, StoreError> {
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

    /// The mean and the population standard deviation of pixel / 255 per channel, in float64 from exact counts.
    pub(crate) fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let [n_channels, height, width] = self.shape.map(|dim| dim as usize);
        let n_pixels = self.targets.len() * n_channels * height * width;
        let pixels = &self.files[0][self.files[0].len() - n_pixels..];
        let mut counts = vec![[0_u64; 256]; n_channels];
        for (idx, plane) in pixels.chunks_exact(height * width).enumerate() {
            let counts = &mut counts[idx % n_channels];
            plane.iter().for_each(|pixel| counts[usize::from(*pixel)] += 1);
        }
        let moments = counts.iter().map(|counts| {
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

/// Reads files, and names the field that a file was given as when it is not what it should be.
struct Reader<'a> {
    inputs: &'a str,
    targets: &'a str,
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

    fn idx(&self, files: &SplitFiles) -> Result<Samples, StoreError> {
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

    fn cifar(&self, file: &[u8], cifar: Cifar) -> Result<Samples, StoreError> {
        let (data, targets) = cifar.read(file).map_err(|error| self.bad_inputs(error))?;
        Ok(Samples { shape: cifar::SHAPE, is_flat: false, storage: SampleStorage::Pixels, data, targets })
    }

    fn safetensors(&self, file: &Bytes) -> Result<Samples, StoreError> {
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

    fn npz(&self, file: &Bytes, split: Split) -> Result<Samples, StoreError> {
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
                let halves = inputs.data.as_chunks().0.iter();
                let values = halves.flat_map(|bytes| half::from_f16(u16::from_le_bytes(*bytes)).to_le_bytes());
                (SampleStorage::Values, values.collect())
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
                return Err(self.bad_inputs(format!("`{name}` holds {value}, which is beyond the range of float32")));
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

struct Float32 {
    shape: [usize; 4],
    data: Bytes,
}

impl View for &Float32 {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

fn encode_values(data: Bytes, n_samples: u32, shape: [u32; 3]) -> Result<Bytes, String> {
    let [channels, height, width] = shape.map(|dim| dim as usize);
    let inputs = Float32 { shape: [n_samples as usize, channels, height, width], data };
    safetensors::serialize([("inputs", &inputs)], None).map(Bytes::from).map_err(|error| error.to_string())
}

/// Reads the inputs that were stored as values: the shape, and little-endian float32.
pub(crate) fn decode_values(file: &Bytes) -> Result<(Vec<usize>, Bytes), String> {
    let tensors = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
    let inputs = tensors.tensor("inputs").map_err(|error| error.to_string())?;
    if inputs.dtype() != Dtype::F32 {
        return Err(format!("the inputs have the type {}, not F32", inputs.dtype()));
    }
    Ok((inputs.shape().to_vec(), file.slice_ref(inputs.data())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::tests::archive;
    use crate::npy::tests::npy;

    fn parse(format: DatasetFormat, inputs: &[u8]) -> Result<ParsedSplit, StoreError> {
        let inputs = Bytes::copy_from_slice(inputs);
        ParsedSplit::parse(&SplitFiles { split: Split::Test, inputs, targets: Bytes::new() }, format)
    }

    fn refusal(format: DatasetFormat, inputs: &[u8]) -> String {
        parse(format, inputs).expect_err("bad data").to_string()
    }

    /// A safetensors file of the tensors: name, type, shape, data.
    fn safetensors(tensors: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
        let (mut header, mut data) = (Vec::new(), Vec::new());
        for (name, dtype, shape, bytes) in tensors {
            let start = data.len();
            data.extend_from_slice(bytes);
            let end = data.len();
            header.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#));
        }
        let header = format!("{{{}}}", header.join(","));
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    const TARGETS: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];

    fn values_file() -> Vec<u8> {
        let inputs = floats(&[0.5, f32::NAN, -1.0, 4.0]);
        safetensors(&[("inputs", "F32", "[2,1,1,2]", &inputs), ("targets", "I64", "[2]", TARGETS)])
    }

    fn npz_file(is_packed: bool) -> Vec<u8> {
        let inputs = npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4]);
        let targets = npy("<i8", "(2,)", TARGETS);
        archive(&[("x.npy", &inputs, is_packed), ("y.npy", &targets, is_packed)])
    }

    #[test]
    fn values_are_kept_bit_for_bit() {
        let split = parse(DatasetFormat::Safetensors, &values_file()).expect("a split");
        assert_eq!((split.shape, split.storage, &split.targets[..]), ([1, 1, 2], SampleStorage::Values, &[1, 2][..]));
        let (shape, data) = decode_values(&split.files[0]).expect("stored");
        assert_eq!((shape, data.to_vec()), (vec![2, 1, 1, 2], floats(&[0.5, f32::NAN, -1.0, 4.0])));
    }

    #[test]
    fn npz_holds_images_or_values() {
        for is_packed in [false, true] {
            let split = parse(DatasetFormat::Npz, &npz_file(is_packed)).expect("a split");
            assert_eq!((split.shape, split.storage, split.n_classes()), ([1, 1, 2], SampleStorage::Pixels, 3));
        }
        let values: Vec<u8> = [0.5_f64, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let file = |inputs: &[u8]| {
            let targets = npy("|u1", "(1,)", &[0]);
            archive(&[("x_test.npy", &npy("<f8", "(1, 1, 1, 2)", inputs), true), ("y_test.npy", &targets, false)])
        };
        let split = parse(DatasetFormat::Npz, &file(&values)).expect("a split");
        assert_eq!(decode_values(&split.files[0]).expect("stored").1, floats(&[0.5, 2.0]));
        let huge: Vec<u8> = [1e300_f64, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(refusal(DatasetFormat::Npz, &file(&huge)).contains("beyond the range"));
    }

    #[test]
    fn bad_safetensors_are_refused_by_field_and_value() {
        let inputs = floats(&[0.0; 4]);
        let with = |inputs: (&str, &str, &[u8]), targets: (&str, &str, &[u8])| {
            let file =
                safetensors(&[("inputs", inputs.0, inputs.1, inputs.2), ("targets", targets.0, targets.1, targets.2)]);
            refusal(DatasetFormat::Safetensors, &file)
        };
        let good = ("F32", "[2,1,1,2]", &inputs[..]);
        for (text, parts) in [
            (with(("U8", "[2,1,1,2]", &[0; 4]), ("U8", "[2]", &[0, 0])), ["test inputs: ", "type U8", "F32"]),
            (with(good, ("F32", "[2]", &[0; 8])), ["test targets: ", "type F32", "integers"]),
            (with(good, ("U8", "[3]", &[0; 3])), ["test targets: ", "3 targets for 2 inputs", "one for each"]),
            (with(good, ("U8", "[2,1]", &[0; 2])), ["test targets: ", "[2, 1]", "(n)"]),
            (with(good, ("I8", "[2]", &[0, 255])), ["test targets: ", "class -1 at sample 1", "from 0"]),
            (with(good, ("U32", "[2]", &[255; 8])), ["test targets: ", "4294967295 of sample 0", "classes"]),
            (with(("F32", "[4]", &inputs), ("U8", "[2]", &[0; 2])), ["test inputs: ", "[4]", "(n, channels"]),
            (with(("F32", "[0,1,1,2]", &[]), ("U8", "[0]", &[])), ["test inputs: ", "[0, 1, 1, 2]", "nothing"]),
            (refusal(DatasetFormat::Safetensors, b"PK\x03\x04"), ["test inputs: ", "safetensors", ""]),
            (
                refusal(DatasetFormat::Safetensors, &safetensors(&[("x", "F32", "[1]", &[0; 4])])),
                ["test inputs: ", "no tensor `inputs`", "`x`"],
            ),
        ] {
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn bad_archives_are_refused_by_field_and_value() {
        let one =
            |name: &str, file: &[u8]| archive(&[(name, file, false), ("y.npy", &npy("|u1", "(1,)", &[0]), false)]);
        for (file, parts) in [
            (one("z.npy", &[]), ["test inputs: ", "`inputs`, `x`, `x_test`", "`z`"]),
            (one("x.npy", b"text"), ["test inputs: ", "`x`", "NUMPY"]),
            (one("x.npy", &npy("<i4", "(1, 1, 1)", &[0; 4])), ["test inputs: ", "<i4", "|u1"]),
            (one("x.npy", &npy("|u1", "(1, 8, 8, 3)", &[0; 192])), ["test inputs: ", "[1, 8, 8, 3]", "transpose"]),
            (one("x.npy", &npy("|u1", "(1, 5)", &[0; 5])), ["test inputs: ", "[1, 5]", "expected (n, channels"]),
            (b"\x93NUMPY".to_vec(), ["test inputs: ", "npz", "end"]),
        ] {
            let text = refusal(DatasetFormat::Npz, &file);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn one_file_is_enough_where_the_format_has_one() {
        let inputs = Bytes::from(values_file());
        let files = SplitFiles { split: Split::Train, inputs, targets: Bytes::from_static(b"x") };
        let error = ParsedSplit::parse(&files, DatasetFormat::Safetensors).expect_err("a file too many");
        assert!(error.to_string().starts_with("train targets: "), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6000))]

        #[test]
        fn damage_never_panics(
            kind in 0..5_usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let image = [&[1, 2][..], &[9; 3072]].concat();
            let (format, mut file) = match kind {
                0 => (DatasetFormat::Safetensors, values_file()),
                1 => (DatasetFormat::Npz, npz_file(false)),
                2 => (DatasetFormat::Npz, npz_file(true)),
                3 => (DatasetFormat::Cifar10, image[1..].to_vec()),
                _ => (DatasetFormat::Cifar100, image),
            };
            for (place, byte) in changes {
                let place = place.index(file.len());
                file[place] = byte;
            }
            if let Ok(split) = parse(format, &file) {
                prop_assert!(split.targets.len() <= file.len());
            }
        }
    }
}
