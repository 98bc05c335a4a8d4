//! NumPy's array files (`numpy.lib.format`, versions 1 to 3), as they lie in an npz archive.

use bytes::Bytes;

/// An array in row-major order, its entries as they lie in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NpyArray {
    /// The type of an entry in NumPy's words, as in `<f4`.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NpyError {
    #[error("it is no NumPy array: it does not start with `\\x93NUMPY`")]
    Magic,
    #[error("its header is damaged")]
    Header,
    #[error("it is in Fortran order; save it with `numpy.ascontiguousarray`")]
    Order,
    #[error("it has the type {0}; only little-endian numbers of 1 to 8 bytes are read")]
    Type(String),
    #[error("its shape {shape:?} and type {dtype} take {expected} bytes, it has {found}; it is truncated or damaged")]
    Length { shape: Vec<u64>, dtype: String, expected: u64, found: u64 },
    #[error("its shape {0:?} is larger than can be read")]
    Large(Vec<u64>),
}

/// Far more than the 128 bytes that NumPy writes.
const MAX_HEADER_BYTES: usize = 1 << 16;

impl NpyArray {
    pub(crate) fn parse(file: &Bytes) -> Result<Self, NpyError> {
        let version = match file.get(..8) {
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', major @ 1..=3, _]) => *major,
            _ => return Err(NpyError::Magic),
        };
        let (len, start) = match (version, file.get(8..12)) {
            (1, Some([low, high, ..])) => (usize::from(u16::from_le_bytes([*low, *high])), 10),
            (_, Some(len)) => (len.iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte)), 12),
            _ => return Err(NpyError::Header),
        };
        if len > MAX_HEADER_BYTES {
            return Err(NpyError::Header);
        }
        let header = file.get(start..start + len).and_then(|header| std::str::from_utf8(header).ok());
        let header = header.ok_or(NpyError::Header)?;
        let dtype = quoted(value(header, "descr")?).ok_or_else(|| NpyError::Type("of several fields".to_owned()))?;
        if !value(header, "fortran_order")?.starts_with("False") {
            return Err(NpyError::Order);
        }
        let shape = dims(value(header, "shape")?).ok_or(NpyError::Header)?;
        let width = width(dtype).ok_or_else(|| NpyError::Type(dtype.to_owned()))?;
        let expected = shape.iter().try_fold(width, |product, dim| product.checked_mul(*dim));
        let Some(expected) = expected else { return Err(NpyError::Large(shape)) };
        let (dtype, data) = (dtype.to_owned(), file.slice(start + len..));
        if data.len() as u64 != expected {
            return Err(NpyError::Length { shape, dtype, expected, found: data.len() as u64 });
        }
        Ok(Self { dtype, shape, data })
    }
}

/// The text after a key of the header, which is a Python dictionary of three literals.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, NpyError> {
    let start = header.find(&format!("'{key}':")).ok_or(NpyError::Header)?;
    Ok(header[start + key.len() + 3..].trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split('\'').next()
}

fn dims(text: &str) -> Option<Vec<u64>> {
    let (dims, _) = text.strip_prefix('(')?.split_once(')')?;
    let dims = dims.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    dims.map(|dim| dim.trim_end_matches('L').parse().ok()).collect()
}

/// The size of an entry, of the types that are read.
fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "|u1" | "|i1" | "|b1" => Some(1),
        "<u2" | "<i2" | "<f2" => Some(2),
        "<u4" | "<i4" | "<f4" => Some(4),
        "<u8" | "<i8" | "<f8" => Some(8),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The file of an array, as NumPy writes it.
    pub(crate) fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn parse(file: &[u8]) -> Result<NpyArray, NpyError> {
        NpyArray::parse(&Bytes::copy_from_slice(file))
    }

    #[test]
    fn arrays_have_their_shapes() {
        let array = parse(&npy("<f4", "(2, 3)", &[0; 24])).expect("an array");
        assert_eq!((array.dtype.as_str(), array.shape, array.data.len()), ("<f4", vec![2, 3], 24));
        assert_eq!(parse(&npy("|u1", "(3,)", &[1, 2, 3])).expect("an array").shape, [3]);
        assert_eq!(parse(&npy("<i8", "()", &[0; 8])).expect("a scalar").shape, [0_u64; 0]);
    }

    #[test]
    fn other_arrays_are_refused() {
        assert!(matches!(parse(b"PK"), Err(NpyError::Magic)));
        assert!(matches!(parse(&npy(">f4", "(1,)", &[0; 4])), Err(NpyError::Type(_))));
        assert!(matches!(parse(&npy("|O", "(1,)", &[0; 8])), Err(NpyError::Type(_))));
        assert!(matches!(parse(&npy("<f4", "(2,)", &[0; 7])), Err(NpyError::Length { .. })));
        assert!(matches!(parse(&npy("<f4", "(2,)", &[0; 9])), Err(NpyError::Length { .. })));
        assert!(matches!(parse(&npy("<f8", "(9999999999, 9999999999)", &[])), Err(NpyError::Large(_))));
        assert!(matches!(parse(&npy("<f4", "(-1,)", &[])), Err(NpyError::Header)));
        let mut fortran = npy("<f4", "(1,)", &[0; 4]);
        let place = fortran.windows(5).position(|bytes| bytes == b"False").expect("there");
        fortran[place..place + 5].copy_from_slice(b"True ");
        assert!(matches!(parse(&fortran), Err(NpyError::Order)));
    }
}
