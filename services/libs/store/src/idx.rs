//! IDX, the format of MNIST: two zero bytes, the type of an entry, the rank, the dimensions as big-endian 32-bit
//! numbers, then the entries row-major (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"). Only
//! unsigned bytes are read here, and labels of 32 bits; a file may be compressed with gzip.

use std::io::Read;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;

/// An array of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Idx {
    pub(crate) shape: Vec<u32>,
    pub(crate) data: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdxError {
    #[error("the file cannot be unpacked as gzip: {0}")]
    Gzip(std::io::Error),
    #[error("the file ends within its header: expected at least {expected} bytes, found {found}")]
    Header { expected: usize, found: usize },
    #[error("the file is not IDX: it starts with the bytes {0:02x?}, IDX of unsigned bytes with [00, 00, 08, rank]")]
    Magic([u8; 4]),
    #[error(
        "the entries have the IDX type {0:#04x}; only unsigned bytes (0x08) are read, and labels of 32 bits (0x0c)"
    )]
    Type(u8),
    #[error("label {idx} is {value}; labels are counted from 0")]
    Negative { idx: usize, value: i32 },
    #[error("the file has {found} dimensions, expected {expected}")]
    Rank { expected: &'static str, found: u8 },
    #[error("the shape {0:?} holds nothing")]
    Empty(Vec<u32>),
    #[error("the shape {0:?} is larger than the 4 GiB that are read")]
    Large(Vec<u32>),
    #[error("the file is truncated: expected {expected} bytes for the shape {shape:?}, found {found}")]
    Truncated { shape: Vec<u32>, expected: u64, found: u64 },
    #[error("the file goes on after its {expected} bytes for the shape {shape:?}")]
    Trailing { shape: Vec<u32>, expected: u64 },
}

const MAX_BYTES: u64 = 1 << 32;
const MAGIC_BYTES: usize = 4;
const UNSIGNED_BYTE: u8 = 0x08;
const SIGNED_WORD: u8 = 0x0c;

impl Idx {
    /// Reads a file with one of the ranks in `ranks`, which `expected` puts into words.
    pub(crate) fn parse(file: &Bytes, ranks: &[u8], expected: &'static str) -> Result<Self, IdxError> {
        Self::parse_kinds(file, ranks, expected, &[UNSIGNED_BYTE]).map(|(idx, _)| idx)
    }

    /// Reads a file whose entries are of one of `kinds`, and which one.
    fn parse_kinds(file: &Bytes, ranks: &[u8], expected: &'static str, kinds: &[u8]) -> Result<(Self, u8), IdxError> {
        let is_gzip = file.starts_with(&[0x1f, 0x8b]);
        let mut unpacked = MultiGzDecoder::new(&file[..]);
        // A compressed header is unpacked alone at first, so that a small file that unpacks to a huge one is refused
        // by the size that it states.
        let mut header = BytesMut::new();
        let mut read_header = |n_bytes: usize| {
            if is_gzip {
                fill(&mut unpacked, &mut header, n_bytes as u64).map_err(IdxError::Gzip)?;
            } else {
                header = BytesMut::from(&file[..n_bytes.min(file.len())]);
            }
            if header.len() < n_bytes {
                return Err(IdxError::Header { expected: n_bytes, found: header.len() });
            }
            Ok(header.clone())
        };
        let magic = read_header(MAGIC_BYTES)?;
        let (kind, rank) = match magic[..] {
            [0, 0, kind, rank] if kinds.contains(&kind) => (kind, rank),
            [0, 0, kind @ (0x08 | 0x09 | 0x0b..=0x0e), _] => return Err(IdxError::Type(kind)),
            _ => return Err(IdxError::Magic([magic[0], magic[1], magic[2], magic[3]])),
        };
        if !ranks.contains(&rank) {
            return Err(IdxError::Rank { expected, found: rank });
        }
        let start = MAGIC_BYTES + 4 * usize::from(rank);
        let dims = read_header(start)?;
        let shape: Vec<u32> = dims[MAGIC_BYTES..].as_chunks().0.iter().map(|dim| u32::from_be_bytes(*dim)).collect();
        let n_entries = shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(u64::from(*dim)));
        let n_entries = n_entries.filter(|n| *n <= MAX_BYTES);
        let Some(n_entries) = n_entries else { return Err(IdxError::Large(shape)) };
        if n_entries == 0 {
            return Err(IdxError::Empty(shape));
        }
        let n_bytes = if kind == SIGNED_WORD { 4 * n_entries } else { n_entries };
        let data = if is_gzip {
            let mut data = BytesMut::new();
            fill(&mut unpacked, &mut data, n_bytes + 1).map_err(IdxError::Gzip)?;
            data.freeze()
        } else {
            file.slice(start..)
        };
        let expected = start as u64 + n_bytes;
        match (data.len() as u64).cmp(&n_bytes) {
            std::cmp::Ordering::Equal => Ok((Self { shape, data }, kind)),
            std::cmp::Ordering::Less => {
                Err(IdxError::Truncated { shape, expected, found: (start + data.len()) as u64 })
            }
            std::cmp::Ordering::Greater => Err(IdxError::Trailing { shape, expected }),
        }
    }

    /// Reads the labels of a file: unsigned bytes, or words of 32 bits.
    pub(crate) fn parse_labels(file: &Bytes) -> Result<Vec<u32>, IdxError> {
        let (labels, kind) = Self::parse_kinds(file, &[1], "1 (n)", &[UNSIGNED_BYTE, SIGNED_WORD])?;
        if kind == UNSIGNED_BYTE {
            return Ok(labels.data.iter().map(|label| u32::from(*label)).collect());
        }
        let words = labels.data.as_chunks().0.iter().map(|bytes| i32::from_be_bytes(*bytes));
        let label = |(idx, value)| u32::try_from(value).map_err(|_| IdxError::Negative { idx, value });
        words.enumerate().map(label).collect()
    }

    /// The uncompressed file of labels, in bytes where they fit.
    pub(crate) fn labels_to_bytes(labels: &[u32]) -> Bytes {
        let n_labels = labels.len() as u32;
        let narrow: Result<Vec<u8>, _> = labels.iter().map(|label| u8::try_from(*label)).collect();
        if let Ok(narrow) = narrow {
            return Self { shape: vec![n_labels], data: narrow.into() }.to_bytes();
        }
        let mut file = BytesMut::with_capacity(MAGIC_BYTES + 4 + 4 * labels.len());
        file.put_slice(&[0, 0, SIGNED_WORD, 1]);
        file.put_u32(n_labels);
        labels.iter().for_each(|label| file.put_u32(*label));
        file.freeze()
    }

    /// The uncompressed file.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut file = BytesMut::with_capacity(MAGIC_BYTES + 4 * self.shape.len() + self.data.len());
        file.put_slice(&[0, 0, 0x08, self.shape.len() as u8]);
        self.shape.iter().for_each(|dim| file.put_u32(*dim));
        file.put_slice(&self.data);
        file.freeze()
    }
}

/// Reads until `bytes` holds `n_bytes`, or there is nothing more to read.
fn fill(reader: &mut impl Read, bytes: &mut BytesMut, n_bytes: u64) -> std::io::Result<()> {
    let missing = n_bytes.saturating_sub(bytes.len() as u64);
    std::io::copy(&mut reader.take(missing), &mut bytes.writer()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn file(shape: &[u32], n_bytes: usize) -> Bytes {
        let data = (0..n_bytes).map(|byte| byte as u8).collect();
        Idx { shape: shape.to_vec(), data }.to_bytes()
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory").into()
    }

    fn parse(file: &Bytes) -> Result<Idx, IdxError> {
        Idx::parse(file, &[1, 3], "1 or 3")
    }

    #[test]
    fn plain_and_compressed_files_hold_the_same() {
        let plain = file(&[2, 3, 4], 24);
        let idx = parse(&plain).expect("whole");
        assert_eq!((&idx.shape[..], idx.data.len(), idx.data[23]), (&[2, 3, 4][..], 24, 23));
        assert_eq!(parse(&gzip(&plain)).expect("whole"), idx);
        assert_eq!(idx.to_bytes(), plain);
    }

    #[test]
    fn a_truncated_file_says_how_much_is_missing() {
        for file in [file(&[2, 3, 4], 23), gzip(&file(&[2, 3, 4], 23))] {
            let error = parse(&file).expect_err("truncated");
            assert!(matches!(error, IdxError::Truncated { expected: 40, found: 39, .. }));
            assert_eq!(error.to_string(), "the file is truncated: expected 40 bytes for the shape [2, 3, 4], found 39");
        }
        let whole = file(&[2, 3, 4], 24);
        for n_bytes in 0..whole.len() {
            assert!(parse(&whole.slice(..n_bytes)).is_err(), "{n_bytes}");
        }
        let packed = gzip(&whole);
        for n_bytes in 0..packed.len() - 8 {
            assert!(parse(&packed.slice(..n_bytes)).is_err(), "{n_bytes}");
        }
    }

    #[test]
    fn other_files_are_refused_with_their_reason() {
        let error = |bytes: &[u8]| parse(&Bytes::copy_from_slice(bytes)).expect_err("no IDX of bytes");
        assert!(matches!(error(b"\x89PNG\r\n"), IdxError::Magic(_)));
        assert!(matches!(error(&[0, 0, 0x0d, 1, 0, 0, 0, 1]), IdxError::Type(0x0d)));
        assert!(matches!(error(&[0, 0, 8, 2, 0, 0, 0, 1]), IdxError::Rank { found: 2, .. }));
        assert!(matches!(error(&[0, 0, 8, 1, 0, 0, 0, 0]), IdxError::Empty(_)));
        assert!(matches!(error(&[0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff]), IdxError::Truncated { .. }));
        assert!(matches!(error(&[[0, 0, 8, 3].as_slice(), &[0xff; 12]].concat()), IdxError::Large(_)));
        assert!(matches!(error(&file(&[3], 4)), IdxError::Trailing { expected: 11, .. }));
        assert!(matches!(error(&gzip(&file(&[3], 4))), IdxError::Trailing { expected: 11, .. }));
        assert!(matches!(error(&[0x1f, 0x8b, 0, 1, 2]), IdxError::Gzip(_)));
    }

    #[test]
    fn labels_beyond_a_byte_take_words() {
        for labels in [vec![0, 255], vec![0, 256, 999]] {
            let file = Idx::labels_to_bytes(&labels);
            assert_eq!(file[2] == UNSIGNED_BYTE, labels.len() == 2);
            assert_eq!(Idx::parse_labels(&file).expect("labels"), labels);
            assert!(Idx::parse_labels(&file.slice(..file.len() - 1)).is_err());
        }
        let negative = Bytes::from_static(&[0, 0, 12, 1, 0, 0, 0, 1, 255, 255, 255, 255]);
        assert!(matches!(Idx::parse_labels(&negative), Err(IdxError::Negative { idx: 0, value: -1 })));
    }
}
