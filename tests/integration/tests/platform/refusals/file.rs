//! Small files of many formats, made by hand: what is wrong with them no writer would write.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};

/// The beginning of a PNG picture.
pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

/// Plain words.
pub(super) const TEXT: &[u8] = b"# Shopping\n\nBread, butter, and a loss landscape.\n";

/// Compressed with gzip.
pub(super) fn gzip(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// A zip archive whose entries are not packed.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let mut checksum = Crc::new();
        checksum.update(content);
        let (n_bytes, name_len) = ((content.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        // From the version that is needed to the length of the extra field; the same in both places.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend([checksum.sum().to_le_bytes(), n_bytes, n_bytes].concat());
        common.extend(name_len);
        common.extend([0, 0]);
        let start = (file.len() as u32).to_le_bytes();
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &start, name.as_bytes()].concat());
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), content].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (start, len) = ((file.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &len, &start, &[0, 0]].concat();
    [file, directory, end].concat()
}

/// An array as NumPy writes it; `shape` as in `(2, 3)`.
pub(super) fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A tensor of a safetensors file.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: &'a str,
    pub(super) shape: &'a [usize],
    pub(super) data: Vec<u8>,
}

/// A safetensors file.
pub(super) fn safetensors(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for Entry { name, dtype, shape, data: bytes } in entries {
        let start = data.len();
        data.extend(bytes);
        let offsets = [start, data.len()];
        header.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{offsets:?}}}"#));
    }
    let header = format!("{{{}}}", header.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// A safetensors dataset of `n` samples of class 0.
pub(super) fn values(shape: [usize; 4]) -> Vec<u8> {
    let inputs =
        Entry { name: "inputs", dtype: "F32", shape: &shape, data: vec![0; 4 * shape.iter().product::<usize>()] };
    let targets = Entry { name: "targets", dtype: "U8", shape: &shape[..1], data: vec![0; shape[0]] };
    safetensors(&[inputs, targets])
}

/// An IDX file of bytes.
pub(super) fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let shape_bytes: Vec<u8> = shape.iter().flat_map(|dim| dim.to_be_bytes()).collect();
    [&[0, 0, 8, shape.len() as u8], &shape_bytes[..], data].concat()
}

/// A file of PyTorch's with a float tensor of one value under each of `names`.
pub(super) fn pytorch(names: &[&str]) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let storage =
        [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x01tQ"].concat();
    let tensor = [
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &storage[..],
        b"K\0K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat();
    let items: Vec<u8> = names.iter().flat_map(|name| [text(name), tensor.clone()].concat()).collect();
    let pickle = [b"\x80\x02}(", &items[..], b"u."].concat();
    zip(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 4]), ("a/version", b"3\n")])
}

/// A field of a protobuf message that holds bytes, a text or a message.
pub(super) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3], &varint(value)[..]].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// ONNX files, field by field (onnx.proto3 of ONNX 1.17).
pub(super) mod onnx {
    use super::{field, number};

    pub(in super::super) const FLOAT: u64 = 1;
    pub(in super::super) const INT64: u64 = 7;
    pub(in super::super) const DOUBLE: u64 = 11;

    /// An input `x` of four numbers.
    pub(in super::super) fn input(elem_type: u64) -> Vec<u8> {
        let dims = [field(1, &field(2, b"N")), field(1, &number(1, 4))].concat();
        let r#type = field(1, &[number(1, elem_type), field(2, &dims)].concat());
        field(11, &[field(1, b"x"), field(2, &r#type)].concat())
    }

    /// An initializer of four by four zeros.
    pub(in super::super) fn weight(name: &str, data_type: u64) -> Vec<u8> {
        let width = if data_type == FLOAT { 4 } else { 8 };
        let data = field(9, &vec![0; 16 * width]);
        field(5, &[number(1, 4), number(1, 4), number(2, data_type), field(8, name.as_bytes()), data].concat())
    }

    pub(in super::super) fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        field(1, &[inputs, field(2, output.as_bytes()), field(4, operator.as_bytes())].concat())
    }

    /// A model of those parts whose output is `y`.
    pub(in super::super) fn model(parts: &[Vec<u8>]) -> Vec<u8> {
        let graph = [parts.concat(), field(12, &field(1, b"y"))].concat();
        [number(1, 8), field(8, &number(2, 17)), field(7, &graph)].concat()
    }
}
