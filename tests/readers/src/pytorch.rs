//! Checkpoints as `torch.save` writes them: archives, and the older stream of pickles.

use bytes::Bytes;
use relief_core::Philox;
use relief_store::read_checkpoint;

use crate::archive::{Part, damage_zip, zip};
use crate::damage::{below, damage_bytes, once_in};
use crate::format::Outcome;
use crate::pickle::{self, Pickler, TensorSeed};
use crate::safetensors::check_checkpoint;

/// The pickles of an older file: magic number, version, machine, object, keys.
const N_PICKLES: usize = 5;

struct Storage {
    key: &'static str,
    n_values: i64,
    data: Vec<u8>,
}

fn storages() -> [Storage; 4] {
    let floats = (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect();
    let doubles = [0.5_f64, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    [
        Storage { key: "0", n_values: 6, data: floats },
        Storage { key: "1", n_values: 4, data: vec![0x3c; 8] },
        Storage { key: "2", n_values: 1, data: vec![9, 0, 0, 0, 0, 0, 0, 0] },
        Storage { key: "3", n_values: 2, data: doubles },
    ]
}

/// A state dict: a transposed matrix, a part of a half-precision vector, a counter, doubles that are tied, metadata.
fn state_dict(pickler: Pickler) -> Pickler {
    let matrix =
        TensorSeed { class: "FloatStorage", key: "0", n_stored: 6, offset: 0, shape: &[3, 2], strides: &[1, 3] };
    let part = TensorSeed { class: "HalfStorage", key: "1", n_stored: 4, offset: 1, shape: &[2], strides: &[1] };
    let counter = TensorSeed { class: "LongStorage", key: "2", n_stored: 1, offset: 0, shape: &[], strides: &[] };
    let doubles =
        TensorSeed { class: "DoubleStorage", key: "3", n_stored: 2, offset: 0, shape: &[1, 2], strides: &[2, 1] };
    pickler
        .raw(b"ccollections\nOrderedDict\nq\x00)Rq\x01(")
        .text("layer.weight")
        .tensor(&matrix)
        .text("layer.bias")
        .tensor(&part)
        .text("norm.steps")
        .tensor(&counter)
        .text("norm.weight")
        .tensor(&doubles)
        .raw(b"q\x02")
        .text("head.weight")
        .raw(b"h\x02u}")
        .text("_metadata")
        .raw(b"h\x00)Rsb")
}

/// A checkpoint of a training, with its state dict under a key, numbers, and an object of a class of its own.
fn training() -> Vec<u8> {
    let start = Pickler::default().raw(b"\x80\x02}q\x05(").text("epoch").int(300).text("arguments");
    let start = start.raw(b"cargparse\nNamespace\n)\x81}").text("lr").raw(b"G?\xb9\x99\x99\x99\x99\x99\x9asb");
    state_dict(start.text("state_dict")).raw(b"u.").0
}

fn bare() -> Vec<u8> {
    state_dict(Pickler::default().raw(b"\x80\x02")).raw(b".").0
}

fn archive(pickle: Vec<u8>, is_packed: bool) -> Vec<u8> {
    let own = [
        Part::new("net/data.pkl", pickle, is_packed),
        Part::new("net/byteorder", b"little".to_vec(), false),
        Part::new("net/version", b"3\n".to_vec(), false),
    ];
    let data = storages().map(|storage| Part::new(&format!("net/data/{}", storage.key), storage.data, is_packed));
    zip(&own.into_iter().chain(data).collect::<Vec<_>>())
}

fn stream(pickle: &[u8]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(
        Pickler::default()
            .raw(b"\x80\x02}(")
            .text("little_endian")
            .raw(b"\x88")
            .text("protocol_version")
            .int(1001)
            .raw(b"u.")
            .0,
    );
    file.extend(pickle);
    let keys =
        storages().iter().fold(Pickler::default().raw(b"\x80\x02]("), |pickler, storage| pickler.text(storage.key));
    file.extend(keys.raw(b"e.").0);
    for storage in storages() {
        file.extend(storage.n_values.to_le_bytes());
        file.extend(storage.data);
    }
    file
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        archive(bare(), false),
        archive(training(), false),
        archive(bare(), true),
        stream(&bare()),
        stream(&training()),
    ]
}

pub(crate) fn damage(file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
    if file.starts_with(b"PK") {
        return damage_zip(file, random, |name| name.ends_with("data.pkl"), pickle::damage);
    }
    let mut parts = Vec::new();
    let mut rest = file;
    for len in pickle::lengths(file, N_PICKLES) {
        let (part, after) = rest.split_at(len);
        parts.push(part.to_vec());
        rest = after;
    }
    let mut rest = rest.to_vec();
    match below(random, 8) {
        0 => damage_bytes(&mut rest, random),
        // The object, and at times another.
        _ => {
            let idx = if once_in(random, 4) { below(random, N_PICKLES) } else { 3 };
            parts.get_mut(idx).map(|part| pickle::damage(part, random))?;
        }
    }
    parts.push(rest);
    Some(parts.concat())
}

/// Reads a checkpoint. What is read is written as safetensors and read again.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    let Ok(decoded) = read_checkpoint(&Bytes::copy_from_slice(bytes)) else { return Outcome::Refused };
    check_checkpoint(&decoded, bytes);
    Outcome::Taken
}
