//! IDX: images and labels, packed or not.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use relief_core::Philox;
use relief_store::DatasetFormat;

use crate::damage::{MAX_BYTES, below, damage_bytes, odd_number, once_in};
use crate::format::{MAX_INFLATION, Outcome, read_split};

/// Whether a file is compressed with gzip.
pub(crate) fn is_packed(file: &[u8]) -> bool {
    file.starts_with(&[0x1f, 0x8b])
}

/// The file of bytes, or of words of 32 bits, with these dimensions.
pub(crate) fn file(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_be_bytes()).collect();
    [&[0, 0, kind, dims.len() as u8], &dims_bytes[..], data].concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let pixels: Vec<u8> = (0..24).collect();
    let images = file(8, &[2, 3, 4], &pixels);
    let words = file(0x0c, &[2], &[0, 0, 0, 1, 0, 0, 3, 7]);
    vec![
        gzip(&images),
        gzip(&file(8, &[2], &[1, 0])),
        images,
        file(8, &[2, 3, 2, 2], &pixels),
        file(8, &[2], &[1, 0]),
        words,
    ]
}

pub(crate) fn damage(file: &[u8], random: &mut Philox) -> Option<Vec<u8>> {
    let is_packed = is_packed(file);
    let mut plain = Vec::new();
    if is_packed {
        // What is damaged is taken as far as it goes.
        let _ = MultiGzDecoder::new(file).take(MAX_BYTES as u64).read_to_end(&mut plain);
    } else {
        plain.extend(file);
    }
    let rank = usize::from(*plain.get(3)?);
    match below(random, 4) {
        0 => damage_bytes(&mut plain, random),
        1 => {
            let place = 2 + below(random, 2);
            plain[place] = odd_number(random) as u8;
        }
        _ => {
            let place = 4 + 4 * below(random, rank);
            let dim = if once_in(random, 2) { odd_number(random) } else { below(random, 8) as u64 };
            plain.get_mut(place..place + 4)?.copy_from_slice(&(dim as u32).to_be_bytes());
            // Half of the time the data is what the dimensions say.
            let dims = plain.get(4..4 + 4 * rank)?.as_chunks().0.iter().map(|dim| u64::from(u32::from_be_bytes(*dim)));
            let n_entries = dims.fold(1_u64, u64::saturating_mul);
            if once_in(random, 2) && n_entries <= MAX_BYTES as u64 {
                plain.resize(4 + 4 * rank + n_entries as usize, 1);
            }
        }
    }
    let stays = !once_in(random, 8);
    Some(if is_packed == stays { gzip(&plain) } else { plain })
}

/// Reads the file as images with labels that fit as far as can be seen, and as labels of two images.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    const MOST_LABELS: u32 = 4096;
    let stated = bytes.get(4..8).and_then(|dim| dim.first_chunk()).map(|dim| u32::from_be_bytes(*dim));
    let n = stated.filter(|n| !is_packed(bytes) && *n <= MOST_LABELS).unwrap_or(2);
    let labels = file(8, &[n], &vec![0; n as usize]);
    let images = file(8, &[n, 1, 1], &vec![0; n as usize]);
    let most = bytes.len().saturating_mul(MAX_INFLATION);
    let as_images = read_split(DatasetFormat::Idx, bytes, &labels, most);
    let as_labels = read_split(DatasetFormat::Idx, &images, bytes, most);
    if as_images == Outcome::Taken { as_images } else { as_labels }
}
