//! The tensors of a state dict.

use std::collections::HashSet;

use bytes::Bytes;
use relief_core::Tensor;

use super::Fault;
use super::tensor::{gather, n_values};
use crate::checkpoint_file::{CheckpointError, CheckpointFormat, DecodedCheckpoint, SkippedTensor};
use crate::pickle::{Heap, StorageRef, Value};

/// The keys that a state dict may lie under.
pub(super) const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// The most that is told of the name of a class, which any number of entries may share.
const MAX_TYPE_CHARS: usize = 200;

/// The tensors of the state dict that `value` is or holds.
pub(super) fn decode(
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
    let mut names = HashSet::with_capacity(entries.len());
    for (name, value) in entries {
        let Some(name) = name.as_text() else { continue };
        if !names.insert(name) {
            return Err(fault(Fault::Duplicate(name.to_owned())));
        }
        let Value::Tensor(tensor) = value else {
            let dtype = value.type_name().chars().take(MAX_TYPE_CHARS).collect();
            decoded.skipped.push(SkippedTensor { name: name.to_owned(), dtype });
            continue;
        };
        let shape = tensor.shape.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<Vec<usize>>>();
        let outside = || {
            let n_values = tensor.storage.n_values;
            fault(Fault::Outside { name: name.to_owned(), shape: tensor.shape.clone(), n_values })
        };
        let shape = shape.ok_or_else(outside)?;
        match tensor.element.name() {
            "float64" | "float32" | "float16" | "bfloat16" => {}
            "int64" | "int32" | "int16" | "int8" | "uint64" | "uint32" | "uint16" | "uint8" | "bool" => {
                decoded.skipped.push(SkippedTensor { name: name.to_owned(), dtype: tensor.element.name().to_owned() });
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
        decoded.tensors.insert(name.to_owned(), tensor);
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
