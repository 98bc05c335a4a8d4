//! Zip archives, as PyTorch and NumPy write them, read from memory (PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3).
//! Entries are stored or deflated; nothing is unpacked before it is asked for, and never more than its header states.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use flate2::Crc;
use flate2::read::DeflateDecoder;

/// Where the entries of an archive lie.
#[derive(Debug)]
pub(crate) struct Archive {
    file: Bytes,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    method: u16,
    checksum: u32,
    n_packed: u64,
    n_bytes: u64,
    header: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("the archive has no end: it is truncated, or no zip archive")]
    NoEnd,
    #[error("the archive's {part} lies outside its {n_bytes} bytes; the file is truncated or damaged")]
    Outside { part: &'static str, n_bytes: usize },
    #[error("the archive's {0} is damaged")]
    Damaged(&'static str),
    #[error("the archive has the entry `{0}` twice")]
    Duplicate(String),
    #[error("the archive has no entry `{0}`")]
    Missing(String),
    #[error("the entry `{0}` is encrypted")]
    Encrypted(String),
    #[error("the entry `{name}` is packed with method {method}; only stored (0) and deflated (8) ones are read")]
    Method { name: String, method: u16 },
    #[error("the entry `{name}` unpacks to {n_bytes} bytes, more than the {max} that are read")]
    Large { name: String, n_bytes: u64, max: u64 },
    #[error("the entry `{name}` unpacks to {found} bytes, its header states {expected}")]
    Length { name: String, expected: u64, found: u64 },
    #[error("the entry `{0}` is damaged: its checksum does not match")]
    Checksum(String),
    #[error("the entry `{name}` cannot be unpacked: {source}")]
    Inflate { name: String, source: std::io::Error },
}

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: usize = 20;
const WIDE_END: &[u8] = b"PK\x06\x06";
const CENTRAL: &[u8] = b"PK\x01\x02";
const CENTRAL_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const WIDE_EXTRA: u16 = 1;

impl Archive {
    /// Reads the directory of an archive.
    pub(crate) fn open(file: &Bytes) -> Result<Self, ArchiveError> {
        let (mut n_left, start) = directory(file)?;
        let mut entries = BTreeMap::new();
        let mut at = start;
        while n_left > 0 {
            let header = span(file, at, CENTRAL_BYTES, "directory")?;
            if !header.starts_with(CENTRAL) {
                return Err(ArchiveError::Damaged("directory"));
            }
            let [name_len, extra_len, comment_len] = [28, 30, 32].map(|place| usize::from(u16_at(header, place)));
            let rest = span(file, at + CENTRAL_BYTES as u64, name_len + extra_len, "directory")?;
            let (name, extra) = rest.split_at(name_len);
            let name = std::str::from_utf8(name).map_err(|_| ArchiveError::Damaged("directory"))?.to_owned();
            let mut wide = wide_values(extra);
            let mut value = |place: usize| match u32_at(header, place) {
                u32::MAX => wide.next().ok_or(ArchiveError::Damaged("directory")),
                narrow => Ok(u64::from(narrow)),
            };
            // The order in which the wide values are written.
            let (n_bytes, n_packed, header_at) = (value(24)?, value(20)?, value(42)?);
            if u16_at(header, 8) & 1 == 1 {
                return Err(ArchiveError::Encrypted(name));
            }
            let checksum = u32_at(header, 16);
            let entry = Entry { method: u16_at(header, 10), checksum, n_packed, n_bytes, header: header_at };
            if entries.insert(name.clone(), entry).is_some() {
                return Err(ArchiveError::Duplicate(name));
            }
            at += (CENTRAL_BYTES + name_len + extra_len + comment_len) as u64;
            n_left -= 1;
        }
        Ok(Self { file: file.clone(), entries })
    }

    /// The names of all entries, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The bytes of an entry, at most `max` of them. Those of a stored entry are not copied.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Bytes, ArchiveError> {
        let entry = *self.entries.get(name).ok_or_else(|| ArchiveError::Missing(name.to_owned()))?;
        let name = || name.to_owned();
        if entry.n_bytes > max {
            return Err(ArchiveError::Large { name: name(), n_bytes: entry.n_bytes, max });
        }
        let header = span(&self.file, entry.header, LOCAL_BYTES, "entry")?;
        if !header.starts_with(LOCAL) {
            return Err(ArchiveError::Damaged("entry"));
        }
        let head_len = LOCAL_BYTES + usize::from(u16_at(header, 26)) + usize::from(u16_at(header, 28));
        let start = entry.header + head_len as u64;
        let packed = usize::try_from(entry.n_packed).map_err(|_| ArchiveError::Damaged("entry"))?;
        let packed = self.file.slice_ref(span(&self.file, start, packed, "entry")?);
        let bytes = match entry.method {
            0 => packed,
            8 => {
                let mut bytes = Vec::new();
                let inflated = DeflateDecoder::new(&packed[..]).take(entry.n_bytes + 1).read_to_end(&mut bytes);
                inflated.map_err(|source| ArchiveError::Inflate { name: name(), source })?;
                bytes.into()
            }
            method => return Err(ArchiveError::Method { name: name(), method }),
        };
        if bytes.len() as u64 != entry.n_bytes {
            return Err(ArchiveError::Length { name: name(), expected: entry.n_bytes, found: bytes.len() as u64 });
        }
        let mut checksum = Crc::new();
        checksum.update(&bytes);
        if checksum.sum() != entry.checksum {
            return Err(ArchiveError::Checksum(name()));
        }
        Ok(bytes)
    }
}

/// The number of entries, and where their directory starts.
fn directory(file: &[u8]) -> Result<(u64, u64), ArchiveError> {
    // A comment of at most 65,535 bytes may follow.
    let first = file.len().saturating_sub(END_BYTES + usize::from(u16::MAX));
    let last = file.len().checked_sub(END_BYTES).ok_or(ArchiveError::NoEnd)?;
    let end = (first..=last).rev().find(|at| file[*at..].starts_with(END)).ok_or(ArchiveError::NoEnd)?;
    let narrow = (u64::from(u16_at(file, end + 10)), u64::from(u32_at(file, end + 16)));
    let locator = end.checked_sub(LOCATOR_BYTES).map(|at| &file[at..end]);
    match locator.filter(|locator| locator.starts_with(LOCATOR)) {
        None => Ok(narrow),
        Some(locator) => {
            let wide = span(file, u64_at(locator, 8), 56, "end")?;
            if !wide.starts_with(WIDE_END) {
                return Err(ArchiveError::Damaged("end"));
            }
            Ok((u64_at(wide, 32), u64_at(wide, 48)))
        }
    }
}

/// The 64-bit values of an entry that do not fit into its header.
fn wide_values(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut values: &[u8] = &[];
    while extra.len() >= 4 {
        let (kind, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(data) = extra[4..].get(..len) else { break };
        if kind == WIDE_EXTRA {
            values = data;
            break;
        }
        extra = &extra[4 + len..];
    }
    values.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

fn span<'a>(file: &'a [u8], start: u64, len: usize, part: &'static str) -> Result<&'a [u8], ArchiveError> {
    let range = usize::try_from(start).ok().and_then(|start| Some(start..start.checked_add(len)?));
    let bytes = range.and_then(|range| file.get(range));
    bytes.ok_or(ArchiveError::Outside { part, n_bytes: file.len() })
}

// The callers have checked that the bytes are there.

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    /// The archive of `entries`: name, content, and whether it is deflated.
    pub(crate) fn archive(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, content, is_deflated) in entries {
            let packed = if *is_deflated {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(content).expect("a buffer");
                encoder.finish().expect("a buffer")
            } else {
                content.to_vec()
            };
            let mut checksum = Crc::new();
            checksum.update(content);
            let mut common = vec![20, 0, 0, 0, if *is_deflated { 8 } else { 0 }, 0, 0, 0, 0, 0];
            common.extend(checksum.sum().to_le_bytes());
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((content.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0, 0]);
            let header = file.len() as u32;
            file.extend([LOCAL, &common, name.as_bytes(), &packed].concat());
            directory.extend([CENTRAL, &[20, 0], &common, &[0; 10]].concat());
            directory.extend(header.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (n_entries, start) = ((entries.len() as u16).to_le_bytes(), (file.len() as u32).to_le_bytes());
        let len = (directory.len() as u32).to_le_bytes();
        [&file[..], &directory, END, &[0; 4], &n_entries, &n_entries, &len, &start, &[0, 0]].concat()
    }

    fn open(file: &[u8]) -> Result<Archive, ArchiveError> {
        Archive::open(&Bytes::copy_from_slice(file))
    }

    fn sample() -> Vec<u8> {
        archive(&[("a/one", b"first", false), ("a/two", &[7; 1000], true)])
    }

    #[test]
    fn entries_come_back_stored_or_deflated() {
        let archive = open(&sample()).expect("an archive");
        assert_eq!(archive.names().collect::<Vec<_>>(), ["a/one", "a/two"]);
        assert_eq!(archive.read("a/one", 5).expect("an entry"), "first");
        assert_eq!(archive.read("a/two", 1000).expect("an entry"), &[7; 1000][..]);
        assert!(matches!(archive.read("a/two", 999), Err(ArchiveError::Large { n_bytes: 1000, .. })));
        assert!(matches!(archive.read("absent", 9), Err(ArchiveError::Missing(_))));
    }

    #[test]
    fn damage_is_an_error() {
        let whole = sample();
        for end in 0..whole.len() {
            assert!(open(&whole[..end]).is_err(), "{end}");
        }
        let mut damaged = whole.clone();
        damaged[30 + 5] ^= 1;
        assert!(matches!(open(&damaged).expect("a directory").read("a/one", 9), Err(ArchiveError::Checksum(_))));
        let twice = archive(&[("a", b"", false), ("a", b"", false)]);
        assert!(matches!(open(&twice), Err(ArchiveError::Duplicate(_))));
    }
}
