//! What reading a file takes.

use std::alloc::System;
use std::sync::{Mutex, PoisonError};
use std::thread;

use peakmem_alloc::{PeakMemAlloc, PeakMemAllocTrait};
use relief_test_readers::{Format, Outcome};

#[global_allocator]
static ALLOCATOR: PeakMemAlloc<System> = PeakMemAlloc::system();

/// Far less than the 2 MiB that a thread of a service has: nesting must not decide how much of the stack is taken.
const STACK_BYTES: usize = 256 << 10;

/// What is measured is measured for the whole process, so that one file is read at a time.
static MEASURING: Mutex<()> = Mutex::new(());

/// Reads a file. Returns what became of it, and the most bytes that were allocated at any time meanwhile.
///
/// An overflow of the stack ends the process with the name of the thread, which is `name`.
pub fn read(format: Format, name: String, file: &[u8]) -> thread::Result<(Outcome, usize)> {
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let reader = thread::Builder::new().name(name.clone()).stack_size(STACK_BYTES).spawn_scoped(scope, || {
            ALLOCATOR.reset_peak_memory();
            let outcome = format.read(file);
            (outcome, ALLOCATOR.get_peak_memory())
        });
        reader.map_or_else(|error| panic!("no thread for {name}: {error}"), thread::ScopedJoinHandle::join)
    })
}

/// Reads a file, which is told of when reading panics or takes too much.
pub fn check(format: Format, name: &str, file: &[u8]) -> (Outcome, usize) {
    let text = || match file.len() {
        0..=8192 => format!("b\"{}\"", file.escape_ascii()),
        n_bytes => format!("too long to show, {n_bytes} bytes"),
    };
    match read(format, name.to_owned(), file) {
        Err(_) => panic!("{name}: reading panicked, with the message above; the file is {}", text()),
        Ok((_, peak)) if peak > format.max_bytes(file) => {
            let (n_bytes, most) = (file.len(), format.max_bytes(file));
            panic!("{name}: reading {n_bytes} bytes took {peak}, more than {most}; the file is {}", text())
        }
        Ok(read) => read,
    }
}
