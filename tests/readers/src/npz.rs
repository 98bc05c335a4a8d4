//! NumPy archives.

use relief_core::Philox;
use relief_store::DatasetFormat;

use crate::archive::{Part, damage_zip, zip};
use crate::damage::{MAX_BYTES, damage_bytes, damage_text, once_in};
use crate::format::{MAX_INFLATION, Outcome, read_split};

const WORDS: &[&str] = &[
    "|u1",
    "|i1",
    "|b1",
    "<f2",
    "<f4",
    "<f8",
    "<i2",
    "<i4",
    "<i8",
    "<u2",
    "<u4",
    "<u8",
    ">f4",
    "|O",
    "False",
    "True",
    "descr",
    "shape",
    "fortran_order",
    "(",
    ")",
    ",",
    "'",
    "{",
    "}",
];

/// The start of every array's file, with the version.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// The file of an array, as NumPy writes it.
pub(crate) fn array(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    framed(header.as_bytes(), data)
}

fn framed(header: &[u8], data: &[u8]) -> Vec<u8> {
    [MAGIC, &(header.len() as u16).to_le_bytes(), header, data].concat()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let archive =
        |parts: [(&str, Vec<u8>); 2], is_packed| zip(&parts.map(|(name, file)| Part::new(name, file, is_packed)));
    let targets = || array("<i8", "(2,)", &[0; 16]);
    let images = || array("|u1", "(2, 1, 2, 3)", &[7; 12]);
    vec![
        archive([("inputs.npy", images()), ("targets.npy", targets())], false),
        archive([("x.npy", images()), ("y.npy", array("|u1", "(2,)", &[1, 0]))], true),
        archive([("x_test.npy", array("<f4", "(2, 1, 2)", &[0; 16])), ("y_test.npy", targets())], true),
        archive([("x.npy", array("<f8", "(2, 1, 2)", &[0; 32])), ("y.npy", array("<u2", "(2,)", &[0; 4]))], false),
        archive([("x.npy", array("<f2", "(2, 1, 2)", &[0; 8])), ("y.npy", array("<i4", "(2,)", &[0; 8]))], true),
    ]
}

pub(crate) fn damage(file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
    damage_zip(file, random, |name| name.ends_with(".npy"), damage_array)
}

fn damage_array(file: &mut Vec<u8>, random: &mut Philox) {
    let len = file.get(8..10).and_then(|len| len.first_chunk()).map(|len| usize::from(u16::from_le_bytes(*len)));
    let parts = len.and_then(|len| file.get(10..)?.split_at_checked(len));
    let Some((header, data)) = parts.filter(|_| !once_in(random, 8)) else { return damage_bytes(file, random) };
    let (mut header, mut data) = (header.to_vec(), data.to_vec());
    if once_in(random, 4) {
        damage_bytes(&mut data, random);
    } else {
        damage_text(&mut header, WORDS, random);
        header.truncate(usize::from(u16::MAX).min(MAX_BYTES));
    }
    *file = framed(&header, &data);
}

/// Reads the file as a split.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    read_split(DatasetFormat::Npz, bytes, &[], bytes.len().saturating_mul(MAX_INFLATION))
}
