//! The system's allocator, with the allocations of each thread counted: those of tests beside each other do not mix.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counter = Counter;

thread_local! {
    // Made without an allocation, and never dropped.
    static N_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counter;

/// The number of times that `work` asks for memory on this thread.
pub(in crate::cpu::tests) fn n_allocations(work: impl FnOnce()) -> usize {
    let before = N_ALLOCATIONS.get();
    work();
    N_ALLOCATIONS.get() - before
}

fn count() {
    N_ALLOCATIONS.set(N_ALLOCATIONS.get() + 1);
}

// SAFETY: all methods pass on what they are given to the system's allocator, and what they get of it.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, n_bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise; the memory is the system's.
        unsafe { System.realloc(memory, layout, n_bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}
