//! What becomes of sums.

use super::lines::Segment;
use super::{Amx, TILE, TILE_LEN};
use crate::cpu::encoding::{Encoding, Halves};
use crate::cpu::kernel::direct::Operands;
use crate::cpu::kernel::split::SplitBf16;
use crate::cpu::kernel::vector::Vector;

/// The tiles of sums that are computed together.
pub(super) const N_SUMS: usize = 4;

/// Sums of `N_BLOCKS` blocks of outputs that have yet to become results, which is done between products: it needs other
/// parts of the processor.
pub(super) struct Epilogue<'a, const N_BLOCKS: usize> {
    runs: [Finished<'a>; N_SUMS],
    n_runs: usize,
    /// The next run.
    run: usize,
    /// What is left of it.
    segments: &'a [Segment],
    /// What is left of a segment.
    n_left: usize,
    sums: *const f32,
    output: *mut f32,
    residual: *const f32,
    /// The pixels of a turn.
    n_pixels: usize,
    output_stride: usize,
    residual_stride: usize,
    /// The distances of the blocks.
    output_block: usize,
    residual_block: usize,
    low: SplitBf16,
    high: SplitBf16,
    has_high: bool,
    has_residual: bool,
    is_encoded: bool,
}

/// The sums of a run, a tile for each block, and what they belong to.
#[derive(Clone, Copy)]
pub(super) struct Finished<'a> {
    pub(super) segments: &'a [Segment],
    pub(super) n_pixels: usize,
    pub(super) sums: *const f32,
    pub(super) output: *mut f32,
    pub(super) residual: *const f32,
}

impl Finished<'_> {
    /// No sums.
    pub(super) const NOTHING: Self = Self {
        segments: &[],
        n_pixels: 0,
        sums: std::ptr::null(),
        output: std::ptr::null_mut(),
        residual: std::ptr::null(),
    };
}

impl<'a, const N_BLOCKS: usize> Epilogue<'a, N_BLOCKS> {
    /// Nothing to do.
    ///
    /// # Safety
    /// The processor has AVX-512.
    #[inline(always)]
    pub(super) unsafe fn new(conv: &'a Amx, operands: &Operands<'_>) -> Self {
        // SAFETY: as for this function.
        let [low, high] = unsafe { [SplitBf16::splat(operands.bounds[0]), SplitBf16::splat(operands.bounds[1])] };
        Self {
            runs: [Finished::NOTHING; N_SUMS],
            n_runs: 0,
            run: 0,
            segments: &[],
            n_left: 0,
            sums: std::ptr::null(),
            output: std::ptr::null_mut(),
            residual: std::ptr::null(),
            n_pixels: 0,
            output_stride: conv.lines.output_stride,
            residual_stride: conv.lines.residual_stride,
            output_block: conv.output.block,
            residual_block: conv.residual.map_or(0, |place| place.block),
            low,
            high,
            has_high: operands.bounds[1] < f32::INFINITY,
            has_residual: conv.residual.is_some(),
            is_encoded: conv.output.encoding == Encoding::SplitBf16,
        }
    }

    /// Begins with the first `n_runs` of `runs`, to be done in `n_turns` turns.
    #[inline(always)]
    pub(super) fn start(&mut self, runs: [Finished<'a>; N_SUMS], n_runs: usize, n_turns: usize) {
        let n_pixels: usize = runs[..n_runs].iter().map(|run| run.n_pixels).sum();
        (self.runs, self.n_runs, self.run, self.n_pixels) = (runs, n_runs, 0, n_pixels.div_ceil(n_turns));
        (self.segments, self.n_left) = (runs[0].segments, 0);
    }

    /// Does a part of what is to be done.
    ///
    /// # Safety
    /// The runs that are left have sums; outputs and residuals of their pixels may be written and read.
    #[inline(always)]
    pub(super) unsafe fn turn(&mut self) {
        // SAFETY: as for this function.
        unsafe { self.advance(self.n_pixels) }
    }

    /// Does what is left.
    ///
    /// # Safety
    /// As for [`Self::turn`].
    #[inline(always)]
    pub(super) unsafe fn finish(&mut self) {
        // SAFETY: as for this function.
        unsafe { self.advance(usize::MAX) }
    }

    /// # Safety
    /// As for [`Self::turn`].
    #[inline(always)]
    unsafe fn advance(&mut self, mut n_pixels: usize) {
        while n_pixels > 0 {
            // SAFETY: as for this function.
            if self.n_left == 0 && !unsafe { self.enter() } {
                return;
            }
            let n_now = self.n_left.min(n_pixels);
            for _ in 0..n_now {
                // SAFETY: as for this function; a segment's rows are those of a tile.
                unsafe {
                    self.pixel();
                    self.sums = self.sums.add(TILE);
                    self.output = self.output.wrapping_add(self.output_stride);
                    self.residual = self.residual.wrapping_add(self.residual_stride);
                }
            }
            self.n_left -= n_now;
            n_pixels -= n_now;
        }
    }

    /// Goes on to the next segment, if there is one.
    ///
    /// # Safety
    /// As for [`Self::turn`].
    #[inline(always)]
    unsafe fn enter(&mut self) -> bool {
        if self.run == self.n_runs {
            return false;
        }
        if self.segments.is_empty() {
            self.run += 1;
            if self.run == self.n_runs {
                return false;
            }
            self.segments = self.runs[self.run].segments;
        }
        let run = &self.runs[self.run];
        let [segment, rest @ ..] = self.segments else { return true };
        self.segments = rest;
        self.n_left = segment.n_rows as usize;
        // SAFETY: as for this function; a segment's first row is one of its tile.
        self.sums = unsafe { run.sums.add(segment.row as usize * TILE) };
        self.output = run.output.wrapping_add(segment.output as usize);
        self.residual = run.residual.wrapping_add(segment.residual as usize);
        true
    }

    /// Makes the results of a pixel.
    ///
    /// # Safety
    /// As for [`Self::turn`]; there is a pixel left.
    #[inline(always)]
    unsafe fn pixel(&self) {
        // SAFETY: as for this function.
        unsafe {
            let mut values = [SplitBf16::load(self.sums); N_BLOCKS];
            if N_BLOCKS == 2 {
                values[1] = SplitBf16::load(self.sums.add(TILE_LEN));
            }
            if self.has_residual {
                values = self.with_residual(values);
            }
            for value in &mut values {
                *value = value.at_least(self.low);
                // Most results have no upper bound, and the products wait for each of these instructions.
                if self.has_high {
                    *value = value.at_most(self.high);
                }
            }
            match values[..] {
                [first, second] if self.is_encoded => {
                    SplitBf16::store_pair([first, second], self.output, self.output_block);
                }
                [value] if self.is_encoded => value.store_values(self.output, Halves::Own),
                _ => {
                    for (block, value) in values.into_iter().enumerate() {
                        value.store(self.output.add(block * self.output_block));
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::pixel`]; there are residuals.
    #[inline(always)]
    unsafe fn with_residual(&self, values: [SplitBf16; N_BLOCKS]) -> [SplitBf16; N_BLOCKS] {
        let mut sums = values;
        // SAFETY: as for this function.
        unsafe {
            match &mut sums[..] {
                [first, second] => {
                    [*first, *second] = SplitBf16::add_pair([*first, *second], self.residual, self.residual_block);
                }
                rest => {
                    for value in rest {
                        *value = value.add(SplitBf16::load_values(self.residual, Halves::Own));
                    }
                }
            }
        }
        sums
    }
}
