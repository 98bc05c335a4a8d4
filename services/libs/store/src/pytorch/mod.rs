//! Checkpoints as `torch.save` writes them: zip archives (PyTorch 1.6 and later) and the older stream of pickles. Found
//! by content, read without executing anything, and no tensor is made that the file does not hold the values of. The
//! types float32, float16, bfloat16 and float64 are read, the last rounded to float32.

mod state_dict;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::archive::{Archive, ArchiveError};
use crate::checkpoint_file::{CheckpointError, CheckpointFormat, DecodedCheckpoint};
use crate::pickle::{self, Heap, PickleError, Value};
use state_dict::{WRAPPERS, decode};

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

/// 0x1950a86a20f9469cfc6c, little-endian: the first pickle of an older file.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Every encoding of that pickle has the number within so many bytes.
const MAGIC_SPAN: usize = 64;
/// The most bytes that all storages of an archive unpack to, in lengths of the file. torch.save packs nothing, which makes
/// it 1; what other programs have packed is read, but nothing that is made to fill the memory.
const MAX_UNPACKED: u64 = 4;

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
        let pickle = archive.read(&format!("{root}data.pkl"), file.len() as u64)?;
        let (value, heap, _) = pickle::load(&pickle)?;
        Ok((archive, root, value, heap))
    };
    let (archive, root, value, heap) = open().map_err(fault)?;
    let mut read = BTreeMap::<Rc<str>, Bytes>::new();
    // Over all storages: entries of an archive may lie over each other.
    let mut n_bytes_left = file.len() as u64 * MAX_UNPACKED;
    decode(&value, &heap, file.len(), CheckpointFormat::PytorchZip, |storage| {
        if let Some(bytes) = read.get(&storage.key) {
            return Ok(bytes.clone());
        }
        let bytes = archive.read(&format!("{root}data/{}", storage.key), n_bytes_left)?;
        n_bytes_left -= bytes.len() as u64;
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
fn sizes(heap: &Heap) -> Result<BTreeMap<Rc<str>, StorageSize>, Fault> {
    let mut sizes = BTreeMap::new();
    for storage in heap.storages() {
        let unknown = || Fault::UnknownStorage(storage.element.name().to_owned());
        let n_bytes = storage.element.n_bytes().ok_or_else(unknown)?;
        sizes.insert(storage.key.clone(), StorageSize { n_stored: storage.n_stored, n_bytes });
    }
    Ok(sizes)
}
