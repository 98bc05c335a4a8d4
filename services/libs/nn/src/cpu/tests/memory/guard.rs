//! Memory beside a page that nobody may touch: who reads or writes beyond it ends the process.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// The end of a slice that lies at the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu::tests) enum Edge {
    First,
    Last,
}

/// Values of which the first, or the last, has such a page for its neighbour.
#[derive(Debug)]
pub(in crate::cpu::tests) struct Guarded {
    /// All pages: one that nobody may touch, those of the values, and another one like the first.
    pages: NonNull<u8>,
    n_bytes: usize,
    values: NonNull<f32>,
    len: usize,
}

impl Guarded {
    /// A copy of `values`.
    pub(in crate::cpu::tests) fn new(values: &[f32], edge: Edge) -> Self {
        // SAFETY: the call reads a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page has a size");
        let n_inner = size_of_val(values).next_multiple_of(page).max(page);
        let n_bytes = n_inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new pages, at an address of the system's choice, overlap nothing.
        let pages = unsafe { libc::mmap(ptr::null_mut(), n_bytes, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED, "{n_bytes} bytes of memory");
        let pages = NonNull::new(pages.cast::<u8>()).expect("pages that are not at 0");
        // SAFETY: the inner pages are among those that were just made, which nobody else knows of.
        let is_open = unsafe {
            libc::mprotect(pages.add(page).as_ptr().cast(), n_inner, libc::PROT_READ | libc::PROT_WRITE) == 0
        };
        assert!(is_open, "memory that may be read and written");
        let offset = match edge {
            Edge::First => page,
            Edge::Last => page + n_inner - size_of_val(values),
        };
        // SAFETY: the offset is one within the pages, or their end where there are no values.
        let mut guarded = Self { pages, n_bytes, values: unsafe { pages.add(offset) }.cast(), len: values.len() };
        guarded.copy_from_slice(values);
        guarded
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: so many values fit into the inner pages from there on, at a multiple of 4 bytes; pages begin as
        // zeros, and live as long as this.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.len) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow of `self` is unique.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the pages are this value's own, and all borrows of them have ended.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), self.n_bytes) };
    }
}
