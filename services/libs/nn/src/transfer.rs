//! Counts what goes between host and device, for tests: each is a wait where the device is not the processor.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static UPLOADS: Cell<usize> = const { Cell::new(0) };
    static READS: Cell<usize> = const { Cell::new(0) };
}

/// A tensor was put on the device.
pub(crate) fn uploaded() {
    #[cfg(test)]
    UPLOADS.set(UPLOADS.get() + 1);
}

/// A tensor was read from the device.
pub(crate) fn read() {
    #[cfg(test)]
    READS.set(READS.get() + 1);
}

/// The uploads and the reads of this thread while `work` runs.
#[cfg(test)]
pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (T, [usize; 2]) {
    let before = [UPLOADS.get(), READS.get()];
    let result = work();
    (result, [UPLOADS.get() - before[0], READS.get() - before[1]])
}
