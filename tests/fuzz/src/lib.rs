//! What all fuzz targets have in common: a format's reader, and damage that knows the format.
//!
//! libFuzzer's own mutations are used as well: it sees which branches a file took and which bytes were compared.

use relief_core::Philox;
use relief_test_readers::Format;

/// Damages the file of `size` bytes at the start of `data`, within `max_size` bytes, or begins with a good one, so that
/// fuzzing needs no files to start from. Returns the new size.
pub fn mutate(format: Format, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    // What libFuzzer starts with where it has no files.
    const NOTHING: usize = 1;
    let mut random = Philox::new([u64::from(seed), 0]);
    let file = match (seed % 64, size) {
        (0, _) | (_, ..=NOTHING) => format.damage(&[], &mut random),
        (1..=16, _) => return libfuzzer_sys::fuzzer_mutate(data, size, max_size),
        _ => format.damage(&data[..size], &mut random),
    };
    match data.get_mut(..file.len()).filter(|_| file.len() <= max_size) {
        Some(place) => {
            place.copy_from_slice(&file);
            file.len()
        }
        None => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
}
