#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use relief_test_readers::Format;

fuzz_target!(|file: &[u8]| {
    Format::Idx.read(file);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    relief_fuzz::mutate(Format::Idx, data, size, max_size, seed)
});
