//! safetensors: checkpoints, and datasets of values.

use bytes::Bytes;
use relief_core::Philox;
use relief_store::{DatasetFormat, DecodedCheckpoint, decode_checkpoint, encode_checkpoint, read_checkpoint};

use crate::damage::{MAX_BYTES, below, damage_bytes, damage_text, once_in};
use crate::format::{Outcome, read_split};

const WORDS: &[&str] = &[
    "\"F64\"",
    "\"F32\"",
    "\"F16\"",
    "\"BF16\"",
    "\"F8_E4M3\"",
    "\"F4\"",
    "\"I64\"",
    "\"I32\"",
    "\"U8\"",
    "\"BOOL\"",
    "\"C64\"",
    "inputs",
    "targets",
    "__metadata__",
    "dtype",
    "shape",
    "data_offsets",
    "[",
    "]",
    "{",
    "}",
    ",",
    "null",
];

/// The file of tensors: name, type, shape as JSON, data.
pub(crate) fn file(tensors: &[(&str, &str, &str, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let end = data.len();
        header.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#));
    }
    framed(format!("{{{}}}", header.join(",")).as_bytes(), &data)
}

fn framed(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Checkpoints of all types that are read and one that is left out, and a dataset.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let floats = |n: usize| (0..n).flat_map(|value| (value as f32 / 4.0).to_le_bytes()).collect::<Vec<u8>>();
    let checkpoint = file(&[
        ("layer.weight", "F32", "[3,2]", floats(6)),
        ("layer.bias", "F16", "[3]", vec![0x3c; 6]),
        ("norm.weight", "BF16", "[2,1]", vec![0x40; 4]),
        ("norm.bias", "F64", "[2]", [0.1_f64, -7.0].iter().flat_map(|value| value.to_le_bytes()).collect()),
        ("steps", "I64", "[]", vec![1, 0, 0, 0, 0, 0, 0, 0]),
        ("none", "F32", "[0,4]", Vec::new()),
    ]);
    let described =
        framed(br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]);
    let dataset = |dtype: &str, targets: Vec<u8>| {
        file(&[("inputs", "F32", "[2,1,2,2]", floats(8)), ("targets", dtype, "[2]", targets)])
    };
    vec![checkpoint, described, dataset("I64", vec![0; 16]), dataset("U16", vec![1, 0, 44, 1])]
}

pub(crate) fn damage(file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
    let len = usize::try_from(u64::from_le_bytes(*file.first_chunk()?)).ok()?;
    let (header, data) = file[8..].split_at_checked(len)?;
    let (mut header, mut data) = (header.to_vec(), data.to_vec());
    match below(random, 8) {
        0 => damage_bytes(&mut data, random),
        1 | 2 => {
            let place = below(random, data.len());
            *data.get_mut(place)? = random.next_u64() as u8;
        }
        3 if once_in(random, 4) => {
            let place = below(random, header.len());
            let n = below(random, MAX_BYTES / 4);
            let opening = if once_in(random, 2) { "[" } else { "{\"a\":" };
            header.splice(place..place, opening.repeat(n.min(MAX_BYTES / opening.len())).into_bytes());
        }
        _ => damage_text(&mut header, WORDS, random),
    }
    Some(framed(&header, &data))
}

/// Reads a checkpoint, and the inputs and targets of a dataset. A checkpoint that was read is written and read again.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    let found = read_checkpoint(&Bytes::copy_from_slice(bytes)).is_ok();
    let decoded = decode_checkpoint(bytes);
    // What is found by its content has a header that begins where headers begin.
    assert!(!found || decoded.is_ok(), "a checkpoint is read by its content alone");
    if let Ok(decoded) = &decoded {
        check_checkpoint(decoded, bytes);
    }
    let dataset = read_split(DatasetFormat::Safetensors, bytes, &[], bytes.len());
    if decoded.is_ok() { Outcome::Taken } else { dataset }
}

/// A checkpoint holds no more values than its file has bytes, and is written and read again bit for bit.
pub(crate) fn check_checkpoint(decoded: &DecodedCheckpoint, file: &[u8]) {
    let n_values: usize = decoded.tensors.values().map(|tensor| tensor.data().len()).sum();
    assert!(n_values <= file.len(), "{n_values} values of a file of {} bytes", file.len());
    let again = encode_checkpoint(&decoded.tensors).map(|file| decode_checkpoint(&file));
    // A file may use a name that the format keeps for itself; that is no checkpoint to write.
    let Ok(again) = again else { return };
    let again = again.map(|again| again.tensors);
    let bits = |tensors: &relief_core::TensorMap| {
        let bits =
            |tensor: &relief_core::Tensor| -> Vec<u32> { tensor.data().iter().map(|value| value.to_bits()).collect() };
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec(), bits(tensor))).collect::<Vec<_>>()
    };
    assert_eq!(
        again.as_ref().map(bits).ok(),
        Some(bits(&decoded.tensors)),
        "a checkpoint changed when it was read again"
    );
}
