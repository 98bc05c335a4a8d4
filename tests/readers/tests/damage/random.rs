//! Files that are damaged at random.

#![allow(clippy::print_stdout, reason = "the runner keeps it, and shows it with a failure")]

use relief_test_readers::{Format, Outcome};

use super::measure::check;

/// Of each format; all formats together make three times the ten thousand that are asked for at least.
const N_FILES: u64 = 5000;

/// The file that is called `{format:?} {number}` here is `format.damaged(number)`.
fn damaged_files_are_read_or_refused(format: Format) {
    for seed in format.seeds() {
        assert_eq!(check(format, &format!("{format:?}, a good file"), &seed).0, Outcome::Taken);
    }
    let (mut n_taken, mut n_refused, mut largest, mut peaks) = (0, 0, 0, 0);
    for number in 0..N_FILES {
        let file = format.damaged(number);
        let (outcome, peak) = check(format, &format!("{format:?} {number}"), &file);
        match outcome {
            Outcome::Taken => n_taken += 1,
            Outcome::Refused => n_refused += 1,
        }
        largest = largest.max(file.len());
        peaks = peaks.max(peak);
    }
    println!("{format:?}: {n_taken} taken, {n_refused} refused, of up to {largest} bytes with up to {peaks} of memory");
    // Damage that is found at once, or never, tests nothing.
    assert_eq!(n_taken + n_refused, N_FILES);
    assert!(n_taken >= N_FILES / 20, "only {n_taken} of {N_FILES} files were taken");
    assert!(n_refused >= N_FILES / 4, "only {n_refused} of {N_FILES} files were refused");
}

#[test]
fn damaged_networks_are_read_or_refused() {
    damaged_files_are_read_or_refused(Format::Onnx);
}

#[test]
fn damaged_safetensors_are_read_or_refused() {
    damaged_files_are_read_or_refused(Format::Safetensors);
}

#[test]
fn damaged_pickles_are_read_or_refused() {
    damaged_files_are_read_or_refused(Format::Pickle);
}

#[test]
fn damaged_idx_files_are_read_or_refused() {
    damaged_files_are_read_or_refused(Format::Idx);
}

#[test]
fn damaged_cifar_files_are_read_or_refused() {
    damaged_files_are_read_or_refused(Format::Cifar);
}

#[test]
fn damaged_npz_archives_are_read_or_refused() {
    damaged_files_are_read_or_refused(Format::Npz);
}
