//! Zip archives, written and taken apart by a library that shares nothing with the reader.

use std::io::{Cursor, Read, Write};

use relief_core::Philox;
use zip::write::FileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::damage::{MAX_BYTES, below, damage_bytes, damage_list, once_in};

/// An entry of an archive.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: Vec<u8>,
    /// Whether it is deflated.
    pub is_packed: bool,
}

impl Part {
    pub(crate) fn new(name: &str, content: Vec<u8>, is_packed: bool) -> Self {
        Self { name: name.to_owned(), content, is_packed }
    }
}

/// The archive of these entries; empty where the library cannot write it.
#[must_use]
pub fn zip(parts: &[Part]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for part in parts {
        let method = if part.is_packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let options = FileOptions::default().compression_method(method);
        let written = writer.start_file(&part.name, options).map_err(Into::into);
        if written.and_then(|()| writer.write_all(&part.content)).is_err() {
            return Vec::new();
        }
    }
    writer.finish().map(Cursor::into_inner).unwrap_or_default()
}

/// The entries of an archive, none of one that cannot be opened.
pub(crate) fn unzip(file: &[u8]) -> Vec<Part> {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(file)) else { return Vec::new() };
    let mut parts = Vec::new();
    for idx in 0..archive.len() {
        let Ok(entry) = archive.by_index(idx) else { continue };
        let mut part = Part::new(entry.name(), Vec::new(), entry.compression() != CompressionMethod::Stored);
        // What is damaged is taken as far as it goes.
        let _ = entry.take(MAX_BYTES as u64).read_to_end(&mut part.content);
        parts.push(part);
    }
    parts
}

/// Damages an entry, by `change` where it is one of those that `is_special` names, else its bytes, its name or its
/// packing; or adds, removes or moves one. Lengths and checksums are right again afterwards.
pub(crate) fn damage_zip(
    file: &[u8],
    random: &mut Philox,
    is_special: impl Fn(&str) -> bool,
    change: impl FnOnce(&mut Vec<u8>, &mut Philox),
) -> Option<Vec<u8>> {
    let mut parts = unzip(file);
    let special: Vec<usize> = (0..parts.len()).filter(|idx| is_special(&parts[*idx].name)).collect();
    let chosen = special.get(below(random, special.len())).copied();
    match chosen.filter(|_| !once_in(random, 5)) {
        Some(idx) => change(&mut parts[idx].content, random),
        None => damage_list(&mut parts, random, |part, random| match below(random, 4) {
            0 => part.is_packed = !part.is_packed,
            1 => {
                let mut name = std::mem::take(&mut part.name).into_bytes();
                damage_bytes(&mut name, random);
                part.name = String::from_utf8_lossy(&name).into_owned();
            }
            _ => damage_bytes(&mut part.content, random),
        }),
    }
    (!parts.is_empty()).then(|| zip(&parts)).filter(|file| !file.is_empty())
}
