//! Checkpoints as `torch.save` writes them: zip archives (PyTorch 1.6 and later) and the older stream of pickles. Found
//! by content, read without executing anything, and no tensor is made that the file does not hold the values of.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use relief_core::Tensor;

use crate::archive::{Archive, ArchiveError};
use crate::checkpoint_file::{CheckpointError, CheckpointFormat, DecodedCheckpoint, SkippedTensor, narrow};
use crate::half;
use crate::pickle::{self, Heap, PickleError, StorageRef, TensorRef, Value};

/// What is wrong with a PyTorch file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PytorchError(#[from] Fault);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("the archive has no `data.pkl`, which torch.save writes")]
    NoPickle,
    #[error("the file is of a big-endian machine; only little-endian ones are read")]
    Endian,
    #[error(
        "the file holds {found}, not tensors by name: save `model.state_dict()`, or a dict with it under one of \
         {WRAPPERS:?}"
    )]
    NoTensors { found: String },
    #[error("the list of storages is not what it should be")]
    Storages,
    #[error("storage `{key}` has {found} bytes, {expected} are spoken of; the file is truncated or damaged")]
    Storage { key: String, expected: u64, found: u64 },
    #[error("the storages are of the unknown type {0}")]
    UnknownStorage(String),
    #[error("tensor `{name}` has the shape {shape:?}, which lies outside the {n_values} values of its storage")]
    Outside { name: String, shape: Vec<u64>, n_values: u64 },
    #[error("tensor `{0}` repeats its values beyond what the file holds; save a contiguous copy")]
    Repeated(String),
    #[error("the file has the tensor `{0}` twice")]
    Duplicate(String),
}

/// The keys that a state dict may lie under.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// 0x1950a86a20f9469cfc6c, little-endian: the first pickle of an older file.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Every encoding of that pickle has the number within so many bytes.
const MAGIC_SPAN: usize = 64;
/// The most bytes of an archive's pickle, which holds names and shapes only.
const MAX_PICKLE_BYTES: u64 = 256 << 20;

pub(crate) fn is_archive(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06")
}

pub(crate) fn is_legacy(file: &[u8]) -> bool {
    let start = &file[..file.len().min(MAGIC_SPAN)];
    start.first() == Some(&0x80) && start.windows(LEGACY_MAGIC.len()).any(|bytes| bytes == LEGACY_MAGIC)
}

/// Reads an archive.
pub(crate) fn decode_archive(file: &Bytes) -> Result<DecodedCheckpoint, CheckpointError> {
    let fault = |fault: Fault| CheckpointError::Pytorch(fault.into());
    let open = || {
        let archive = Archive::open(file)?;
        let name = archive.names().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
        let root = name.and_then(|name| name.strip_suffix("data.pkl")).ok_or(Fault::NoPickle)?.to_owned();
        let order = format!("{root}byteorder");
        if archive.names().any(|name| name == order) && archive.read(&order, 16)? != "little" {
            return Err(Fault::Endian);
        }
        let pickle = archive.read(&format!("{root}data.pkl"), MAX_PICKLE_BYTES)?;
        let (value, heap, _) = pickle::load(&pickle)?;
        Ok((archive, root, value, heap))
    };
    let (archive, root, value, heap) = open().map_err(fault)?;
    let mut read = BTreeMap::<Rc<str>, Bytes>::new();
    decode(&value, &heap, file.len(), CheckpointFormat::PytorchZip, |storage| {
        if let Some(bytes) = read.get(&storage.key) {
            return Ok(bytes.clone());
        }
        // torch.save stores without packing, so that what is read is part of the file.
        let bytes = archive.read(&format!("{root}data/{}", storage.key), file.len() as u64)?;
        read.insert(storage.key.clone(), bytes.clone());
        Ok(bytes)
    })
}

/// Reads a stream of pickles: the magic number, the version, the machine, the object, the keys of the storages, then
/// each storage as its number of elements and their bytes.
pub(crate) fn decode_legacy(file: &Bytes) -> Result<DecodedCheckpoint, CheckpointError> {
    let fault = |fault: Fault| CheckpointError::Pytorch(fault.into());
    let (value, heap, storages) = legacy_parts(file).map_err(fault)?;
    decode(&value, &heap, file.len(), CheckpointFormat::PytorchLegacy, |storage| {
        storages.get(&*storage.key).cloned().ok_or(Fault::Storages)
    })
}

type LegacyParts = (Value, Heap, BTreeMap<String, Bytes>);

fn legacy_parts(file: &Bytes) -> Result<LegacyParts, Fault> {
    let mut at = 0;
    let mut next = || {
        let (value, heap, len) = pickle::load(&file[at..])?;
        at += len;
        Ok::<_, Fault>((value, heap, at))
    };
    next()?;
    next()?;
    let (machine, heap, _) = next()?;
    let is_little = heap.dict(&machine).unwrap_or_default().iter().find_map(|(key, value)| match (key, value) {
        (Value::Text(key), Value::Bool(is_little)) if &**key == "little_endian" => Some(*is_little),
        _ => None,
    });
    if is_little != Some(true) {
        return Err(Fault::Endian);
    }
    let (value, heap, _) = next()?;
    let (keys, key_heap, mut at) = next()?;
    let keys = key_heap.sequence(&keys).ok_or(Fault::Storages)?;
    let sizes = sizes(&heap)?;
    let mut storages = BTreeMap::new();
    for key in keys {
        let key = key.as_text().ok_or(Fault::Storages)?;
        let size = sizes.get(key).ok_or(Fault::Storages)?;
        let count = file.get(at..at + 8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes));
        let left = file.len().saturating_sub(at + 8) as u64;
        let expected = size.n_stored.checked_mul(size.n_bytes);
        let (Some(count), Some(expected)) = (count, expected) else {
            return Err(Fault::Storage { key: key.to_owned(), expected: size.n_stored, found: 0 });
        };
        if count != size.n_stored || expected > left {
            let found = count.saturating_mul(size.n_bytes).min(left);
            return Err(Fault::Storage { key: key.to_owned(), expected, found });
        }
        let start = at + 8;
        at = start + expected as usize;
        if storages.insert(key.to_owned(), file.slice(start..at)).is_some() {
            return Err(Fault::Storages);
        }
    }
    Ok((value, heap, storages))
}

struct StorageSize {
    n_stored: u64,
    n_bytes: u64,
}

/// The sizes of all storages: without that of one, the next cannot be found.
fn sizes(heap: &Heap) -> Result<BTreeMap<String, StorageSize>, Fault> {
    let mut sizes = BTreeMap::new();
    for storage in heap.storages() {
        let n_bytes = element_bytes(&storage.dtype).ok_or_else(|| Fault::UnknownStorage(storage.dtype.to_string()))?;
        sizes.insert(storage.key.to_string(), StorageSize { n_stored: storage.n_stored, n_bytes });
    }
    Ok(sizes)
}

/// The size of one element of a type, or none of an unknown one.
fn element_bytes(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "complex128" => 16,
        "float64" | "int64" | "uint64" | "complex64" => 8,
        "float32" | "int32" | "uint32" => 4,
        "float16" | "bfloat16" | "int16" | "uint16" => 2,
        "int8" | "uint8" | "bool" | "bytes" => 1,
        _ if dtype.starts_with("float8") => 1,
        _ => return None,
    })
}

/// The tensors of the state dict that `value` is or holds.
fn decode(
    value: &Value,
    heap: &Heap,
    n_file_bytes: usize,
    format: CheckpointFormat,
    mut storage: impl FnMut(&StorageRef) -> Result<Bytes, Fault>,
) -> Result<DecodedCheckpoint, CheckpointError> {
    let fault = |fault: Fault| CheckpointError::Pytorch(fault.into());
    let (key, entries) = state_dict(value, heap).map_err(fault)?;
    let mut decoded = DecodedCheckpoint::new(format);
    decoded.key = key.map(str::to_owned);
    // Tensors may share a storage, as tied weights do, and may be narrower in the file.
    let mut n_values_left = n_file_bytes as u64;
    for (name, value) in entries {
        let Some(name) = name.as_text() else { continue };
        let Value::Tensor(tensor) = value else {
            decoded.skipped.push(SkippedTensor { name: name.to_owned(), dtype: value.type_name().to_owned() });
            continue;
        };
        let shape = tensor.shape.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<Vec<usize>>>();
        let outside = || {
            let n_values = tensor.storage.n_values;
            fault(Fault::Outside { name: name.to_owned(), shape: tensor.shape.clone(), n_values })
        };
        let shape = shape.ok_or_else(outside)?;
        match &*tensor.dtype {
            "float64" | "float32" | "float16" | "bfloat16" => {}
            "int64" | "int32" | "int16" | "int8" | "uint64" | "uint32" | "uint16" | "uint8" | "bool" => {
                decoded.skipped.push(SkippedTensor { name: name.to_owned(), dtype: tensor.dtype.to_string() });
                continue;
            }
            dtype => return Err(CheckpointError::Type { name: name.to_owned(), dtype: dtype.to_owned() }),
        }
        let n_values = n_values(tensor).ok_or_else(outside)?;
        if n_values > tensor.storage.n_values.max(1) || n_values > n_values_left {
            return Err(fault(Fault::Repeated(name.to_owned())));
        }
        n_values_left -= n_values;
        let bytes = storage(&tensor.storage).map_err(fault)?;
        let data = gather(name, tensor, &bytes)?;
        let tensor = Tensor::new(shape, data);
        let tensor = tensor.map_err(|source| CheckpointError::Shape { name: name.to_owned(), source })?;
        if decoded.tensors.insert(name.to_owned(), tensor).is_some() {
            return Err(fault(Fault::Duplicate(name.to_owned())));
        }
        decoded.order.push(name.to_owned());
    }
    Ok(decoded)
}

type Entries<'a> = &'a [(Value, Value)];

/// The dictionary that holds tensors, and the key that it lies under.
fn state_dict<'a>(value: &Value, heap: &'a Heap) -> Result<(Option<&'static str>, Entries<'a>), Fault> {
    let has_tensors = |entries: Entries<'_>| entries.iter().any(|(_, value)| matches!(value, Value::Tensor(_)));
    let Some(entries) = heap.dict(value) else {
        let found = match value {
            Value::Object(name) => format!("an object of the class {name}"),
            value => format!("a value of the type {}", value.type_name()),
        };
        return Err(Fault::NoTensors { found });
    };
    for wrapper in WRAPPERS {
        let inner = entries.iter().find(|(key, _)| key.as_text() == Some(wrapper)).map(|(_, value)| value);
        if let Some(inner) = inner.and_then(|value| heap.dict(value)).filter(|inner| has_tensors(inner)) {
            return Ok((Some(wrapper), inner));
        }
    }
    if has_tensors(entries) {
        return Ok((None, entries));
    }
    const N_NAMED: usize = 8;
    let named = entries
        .iter()
        .take(N_NAMED)
        .map(|(key, value)| format!("`{}`: {}", key.as_text().unwrap_or(key.type_name()), value.type_name()));
    let more = if entries.len() > N_NAMED { ", ..." } else { "" };
    Err(Fault::NoTensors { found: format!("a dict {{{}{more}}}", named.collect::<Vec<_>>().join(", ")) })
}

/// The number of values of a tensor that lies within its storage.
fn n_values(tensor: &TensorRef) -> Option<u64> {
    let n_values = tensor.shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))?;
    if n_values == 0 {
        return Some(0);
    }
    let steps = tensor.shape.iter().zip(&tensor.strides).map(|(dim, stride)| (dim - 1).checked_mul(*stride));
    let last = steps.into_iter().try_fold(tensor.offset, |last, step| last.checked_add(step?))?;
    let width = element_bytes(&tensor.dtype)?;
    let n_stored = match &*tensor.storage.dtype {
        "bytes" => tensor.storage.n_values / width,
        _ => tensor.storage.n_values,
    };
    (last < n_stored).then_some(n_values)
}

/// The values of a tensor, row-major, of a storage that was found to hold them by its own account.
fn gather(name: &str, tensor: &TensorRef, bytes: &[u8]) -> Result<Vec<f32>, CheckpointError> {
    let storage = &tensor.storage;
    let width = element_bytes(&tensor.dtype).unwrap_or(1);
    let unit = element_bytes(&storage.dtype).unwrap_or(width);
    let expected = storage.first.checked_add(storage.n_values).and_then(|n| n.checked_mul(unit)).unwrap_or(u64::MAX);
    if expected > bytes.len() as u64 || (unit != width && &*storage.dtype != "bytes") {
        let (key, found) = (storage.key.to_string(), bytes.len() as u64);
        return Err(CheckpointError::Pytorch(Fault::Storage { key, expected, found }.into()));
    }
    let seen = &bytes[(storage.first * unit) as usize..expected as usize];
    match &*tensor.dtype {
        "float64" => collect(tensor, seen, |bytes| narrow(name, f64::from_le_bytes(*bytes))),
        "float16" => collect(tensor, seen, |bytes| Ok(half::from_f16(u16::from_le_bytes(*bytes)))),
        "bfloat16" => collect(tensor, seen, |bytes| Ok(half::from_bf16(u16::from_le_bytes(*bytes)))),
        _ => collect(tensor, seen, |bytes| Ok(f32::from_le_bytes(*bytes))),
    }
}

fn collect<const N: usize>(
    tensor: &TensorRef,
    bytes: &[u8],
    value: impl Fn(&[u8; N]) -> Result<f32, CheckpointError>,
) -> Result<Vec<f32>, CheckpointError> {
    let elements = bytes.as_chunks::<N>().0;
    let n_values = tensor.shape.iter().product::<u64>() as usize;
    let mut values = Vec::with_capacity(n_values);
    let mut index = vec![0_u64; tensor.shape.len()];
    let mut place = tensor.offset;
    for _ in 0..n_values {
        values.push(value(&elements[place as usize])?);
        for (axis, (dim, stride)) in tensor.shape.iter().zip(&tensor.strides).enumerate().rev() {
            index[axis] += 1;
            place += stride;
            if index[axis] < *dim {
                break;
            }
            place -= stride * dim;
            index[axis] = 0;
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::tests::archive;
    use crate::checkpoint_file::read_checkpoint;

    /// Writes pickles by hand, as `torch.save` with protocol 2 does.
    #[derive(Default)]
    struct Pickler(Vec<u8>);

    impl Pickler {
        fn raw(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }

        fn text(self, text: &str) -> Self {
            self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
        }

        fn int(self, value: i32) -> Self {
            self.raw(b"J").raw(&value.to_le_bytes())
        }

        fn ints(self, values: &[i32]) -> Self {
            values.iter().fold(self.raw(b"("), |pickler, value| pickler.int(*value)).raw(b"t")
        }

        fn tensor(self, class: &str, key: &str, n: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Self {
            self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
                .text("storage")
                .raw(format!("ctorch\n{class}\n").as_bytes())
                .text(key)
                .text("cpu")
                .int(n)
                .raw(b"NtQ")
                .int(offset)
                .ints(shape)
                .ints(strides)
                .raw(b"\x89ccollections\nOrderedDict\n)RtR")
        }
    }

    /// A state dict of a transposed float32 matrix, a float16 vector within a larger storage, and an int64 counter.
    fn entries(pickler: Pickler) -> Pickler {
        pickler
            .raw(b"ccollections\nOrderedDict\n)R(")
            .text("z.weight")
            .tensor("FloatStorage", "0", 6, 0, &[3, 2], &[1, 3])
            .text("a.bias")
            .tensor("HalfStorage", "1", 4, 1, &[2], &[1])
            .text("a.steps")
            .tensor("LongStorage", "2", 1, 0, &[], &[])
            .raw(b"u}")
            .text("_metadata")
            .raw(b"}sb")
    }

    fn storages() -> [(&'static str, i64, Vec<u8>); 3] {
        let floats = (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect();
        let halves = [0x3c00_u16, 0xc000, 0x3800, 0x0000].iter().flat_map(|bits| bits.to_le_bytes()).collect();
        [("0", 6, floats), ("1", 4, halves), ("2", 1, 9_i64.to_le_bytes().to_vec())]
    }

    fn zip(pickle: &[u8]) -> Bytes {
        let storages = storages();
        let names = storages.each_ref().map(|(key, ..)| format!("net/data/{key}"));
        let mut parts = vec![("net/data.pkl", pickle, false), ("net/byteorder", &b"little"[..], false)];
        parts.extend(names.iter().zip(&storages).map(|(name, (_, _, bytes))| (name.as_str(), &bytes[..], false)));
        archive(&parts).into()
    }

    fn legacy(pickle: &[u8]) -> Bytes {
        let mut file = [&b"\x80\x02\x8a\x0a"[..], &LEGACY_MAGIC, b".\x80\x02M\xe9\x03."].concat();
        file.extend(Pickler::default().raw(b"\x80\x02}").text("little_endian").raw(b"\x88s.").0);
        file.extend(pickle);
        let storages = storages();
        let keys = storages.iter().fold(Pickler::default().raw(b"\x80\x02]("), |pickler, (key, ..)| pickler.text(key));
        file.extend(keys.raw(b"e.").0);
        for (_, count, bytes) in &storages {
            file.extend(count.to_le_bytes());
            file.extend(bytes);
        }
        file.into()
    }

    fn bare() -> Vec<u8> {
        entries(Pickler::default().raw(b"\x80\x02")).raw(b".").0
    }

    fn check(decoded: &DecodedCheckpoint) {
        assert_eq!(decoded.order, ["z.weight", "a.bias"]);
        let tensor = |name: &str| (decoded.tensors[name].shape().to_vec(), decoded.tensors[name].data().to_vec());
        assert_eq!(tensor("z.weight"), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(tensor("a.bias"), (vec![2], vec![-2.0, 0.5]));
        assert_eq!(decoded.skipped, [SkippedTensor { name: "a.steps".to_owned(), dtype: "int64".to_owned() }]);
    }

    #[test]
    fn a_state_dict_is_read_from_either_form() {
        let decoded = read_checkpoint(&zip(&bare())).expect("a checkpoint");
        check(&decoded);
        assert_eq!((decoded.format, decoded.key), (CheckpointFormat::PytorchZip, None));
        let decoded = read_checkpoint(&legacy(&bare())).expect("a checkpoint");
        check(&decoded);
        assert_eq!((decoded.format, decoded.key), (CheckpointFormat::PytorchLegacy, None));
    }

    #[test]
    fn a_state_dict_is_found_under_the_usual_keys() {
        for key in WRAPPERS {
            let start = Pickler::default().raw(b"\x80\x02}(").text("epoch").int(3).text(key);
            let pickle = entries(start).raw(b"u.").0;
            for file in [zip(&pickle), legacy(&pickle)] {
                let decoded = read_checkpoint(&file).expect("a checkpoint");
                check(&decoded);
                assert_eq!(decoded.key.as_deref(), Some(key));
            }
        }
    }

    #[test]
    fn what_holds_no_tensors_by_name_is_refused_with_what_it_holds() {
        let text = |pickle: &[u8]| {
            let error = read_checkpoint(&zip(pickle)).expect_err("no state dict");
            crate::error::chain(&error)
        };
        let whole = text(b"\x80\x02cmodels\nResNet\n)\x81}b.");
        assert!(whole.contains("models.ResNet") && whole.contains("model.state_dict()"), "{whole}");
        let other = text(&Pickler::default().raw(b"}").text("weights").int(1).raw(b"s.").0);
        assert!(other.contains("`weights`: int") && other.contains("state_dict"), "{other}");
        assert!(text(b"cos\nsystem\n)R.").contains("os.system"));
    }

    #[test]
    fn tensors_beyond_their_storage_are_refused() {
        for (offset, shape, strides) in [
            (0, &[7][..], &[1][..]),
            (1, &[6], &[1]),
            (0, &[2, 2], &[5, 1]),
            (0, &[1 << 30, 1 << 30, 1 << 30], &[0, 0, 0]),
            (0, &[1 << 20], &[0]),
        ] {
            let pickle = Pickler::default().raw(b"}").text("w").tensor("FloatStorage", "0", 6, offset, shape, strides);
            let pickle = pickle.raw(b"s.").0;
            for file in [zip(&pickle), legacy(&pickle)] {
                assert!(matches!(read_checkpoint(&file), Err(CheckpointError::Pytorch(_))), "{shape:?}");
            }
        }
        let pickle = Pickler::default().raw(b"}").text("w").tensor("FloatStorage", "0", 9, 0, &[9], &[1]).raw(b"s.").0;
        assert!(matches!(read_checkpoint(&zip(&pickle)), Err(CheckpointError::Pytorch(_))));
    }

    #[test]
    fn a_truncated_file_is_an_error_wherever_it_ends() {
        for whole in [zip(&bare()), legacy(&bare())] {
            for end in 0..whole.len() {
                assert!(read_checkpoint(&whole.slice(..end)).is_err(), "{end}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn damage_never_panics(
            is_zip in any::<bool>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut file = if is_zip { zip(&bare()) } else { legacy(&bare()) }.to_vec();
            for (place, byte) in changes {
                let place = place.index(file.len());
                file[place] = byte;
            }
            let n_bytes = file.len();
            if let Ok(decoded) = read_checkpoint(&file.into()) {
                let n_values: usize = decoded.tensors.values().map(|tensor| tensor.data().len()).sum();
                prop_assert!(n_values <= n_bytes);
            }
        }

        #[test]
        fn damaged_pickles_never_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut pickle = bare();
            for (place, byte) in changes {
                let place = place.index(pickle.len());
                pickle[place] = byte;
            }
            // Within a sound archive, past its checksum.
            let _ = read_checkpoint(&zip(&pickle));
        }
    }
}
