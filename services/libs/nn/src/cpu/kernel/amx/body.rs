//! Sums of products, by tiles: sums are tiles 0 to 3, first factors 4 and 5, second ones 6 and 7.

use super::epilogue::{Epilogue, Finished, N_SUMS};
use super::{Amx, TILE, TILE_LEN};
use crate::cpu::kernel::direct::Operands;
use crate::cpu::kernel::tile::{self, Tiles};

/// Memory for sums: those that become results, and those that are computed meanwhile.
#[repr(C, align(64))]
struct Sums([[f32; TILE_LEN]; 2 * N_SUMS]);

/// What of the operands belongs to `N_BLOCKS` blocks of outputs.
#[derive(Clone, Copy)]
struct Blocks {
    weights: *const f32,
    bias: *const f32,
    output: *mut f32,
    /// Null if there is none.
    residual: *const f32,
}

/// # Safety
/// The slices of `operands`, `input` and `output` have the extents of `conv`; the process may use tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
pub(super) unsafe fn body(conv: &Amx, n_images: usize, input: *const f32, operands: &Operands<'_>, output: *mut f32) {
    // SAFETY: as for this function.
    unsafe {
        let _tiles = Tiles::new(conv.lines.n_rows);
        match conv.weights.n_parts() {
            1 => parts::<1>(conv, n_images, input, operands, output),
            _ => parts::<2>(conv, n_images, input, operands, output),
        }
    }
}

/// # Safety
/// As for [`body`]; tiles are configured for the rows of `conv`, and weights have `PARTS` parts.
#[inline(always)]
unsafe fn parts<const PARTS: usize>(
    conv: &Amx,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    let n_blocks = conv.output.n_blocks();
    let residual = operands.residual.zip(conv.residual.as_ref());
    // SAFETY: offsets are those of the blocks that the extents were computed from.
    unsafe {
        let at = |block: usize| Blocks {
            weights: operands.weights.as_ptr().add(block * conv.weights.block_len()),
            bias: operands.bias.as_ptr().add(block * TILE),
            output: output.add(block * conv.output.block),
            residual: residual.map_or(std::ptr::null(), |(values, place)| values.as_ptr().add(block * place.block)),
        };
        if n_blocks > 1 {
            blocks::<PARTS, 2>(conv, n_images, input, operands, n_blocks / 2, at);
        }
        if n_blocks % 2 == 1 {
            blocks::<PARTS, 1>(conv, n_images, input, operands, 1, |_| at(n_blocks - 1));
        }
    }
}

/// Computes `n_groups` times `N_BLOCKS` blocks of outputs.
///
/// # Safety
/// As for [`parts`]; `at` has what belongs to blocks from that number on.
#[inline(always)]
unsafe fn blocks<const PARTS: usize, const N_BLOCKS: usize>(
    conv: &Amx,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    n_groups: usize,
    at: impl Fn(usize) -> Blocks,
) {
    let mut sums = Sums([[0.0; TILE_LEN]; 2 * N_SUMS]);
    let lines = &conv.lines;
    let n_runs = n_images.div_ceil(lines.n_images) * lines.runs.len();
    let n_together = N_SUMS / N_BLOCKS;
    let residual_image = conv.residual.map_or(0, |place| place.image);
    let n_turns = (conv.pairs.len() * (PARTS + 1) + conv.singles.len() * PARTS) * (3 - N_BLOCKS);
    // SAFETY: offsets are those of the runs, chunks, segments and blocks that the extents were computed from, and the
    // runs' images end with the last that was planned.
    unsafe {
        let sums = sums.0.as_mut_ptr().cast::<f32>();
        let mut half = 0;
        let mut epilogue = Epilogue::<N_BLOCKS>::new(conv, operands);
        for group in 0..n_groups {
            let blocks = at(group * N_BLOCKS);
            let (mut image, mut runs) = (0, lines.runs.iter());
            let mut n_left = n_runs;
            while n_left > 0 {
                let to = sums.add(half * N_SUMS * TILE_LEN);
                let mut next = [Finished::NOTHING; N_SUMS];
                let mut from = [input; N_SUMS];
                let n_wanted = n_left.min(n_together);
                for idx in 0..n_wanted {
                    let run = match runs.next() {
                        Some(run) => run,
                        None => {
                            image += lines.n_images;
                            runs = lines.runs.iter();
                            runs.next().unwrap_or_else(|| unreachable!("lines have runs"))
                        }
                    };
                    from[idx] = input.add(image * conv.input.image + run.input);
                    next[idx] = Finished {
                        segments: &lines.segments[run.first_segment..run.first_segment + run.n_segments],
                        n_pixels: run.n_pixels,
                        sums: to.add(idx * N_BLOCKS * TILE_LEN),
                        output: blocks.output.add(image * conv.output.image),
                        residual: blocks.residual.wrapping_add(image * residual_image),
                    };
                }
                // Where there are 1 or 3 of 4, the last is computed twice.
                let last = from[n_wanted - 1];
                from[n_wanted..].fill(last);
                match n_wanted.div_ceil(3 - N_BLOCKS) {
                    1 => multiply::<PARTS, N_BLOCKS, 1>(conv, from, blocks, to, &mut epilogue),
                    _ => multiply::<PARTS, N_BLOCKS, 2>(conv, from, blocks, to, &mut epilogue),
                }
                epilogue.finish();
                epilogue.start(next, n_wanted, n_turns);
                half = 1 - half;
                n_left -= n_wanted;
            }
        }
        epilogue.finish();
    }
}

/// Computes the sums of `N_HALVES` halves of the tiles: of 1 or 2 runs and two blocks, or of 2 or 4 runs and one block.
///
/// # Safety
/// As for [`blocks`]; `from` are inputs of runs, and `to` has room for the sums.
#[inline(always)]
unsafe fn multiply<const PARTS: usize, const N_BLOCKS: usize, const N_HALVES: usize>(
    conv: &Amx,
    from: [*const f32; N_SUMS],
    blocks: Blocks,
    to: *mut f32,
    epilogue: &mut Epilogue<'_, N_BLOCKS>,
) {
    let (stride, lower) = (conv.lines.stride, conv.input.block);
    let mut weights = blocks.weights;
    // SAFETY: as for this function.
    unsafe {
        // Every row of a sum begins as the bias.
        let second = blocks.bias.wrapping_add((N_BLOCKS - 1) * TILE);
        tile::load::<0>(blocks.bias, 0);
        tile::load::<1>(second, 0);
        if N_HALVES == 2 {
            tile::load::<2>(blocks.bias, 0);
            tile::load::<3>(second, 0);
        }
        for offset in &conv.pairs {
            let from = from.map(|run| run.add(*offset));
            if N_BLOCKS == 2 {
                load_runs::<N_HALVES>(from, stride);
                if PARTS == 2 {
                    multiply_blocks::<N_HALVES, N_BLOCKS>(weights, epilogue);
                    weights = weights.add(2 * TILE_LEN);
                }
                multiply_blocks::<N_HALVES, N_BLOCKS>(weights, epilogue);
                load_runs::<N_HALVES>(from.map(|run| run.add(lower)), stride);
                multiply_loaded::<N_HALVES, N_BLOCKS>(epilogue);
                weights = weights.add(2 * TILE_LEN);
            } else {
                load_weights::<PARTS>(weights);
                multiply_runs::<PARTS, 0, 1, N_BLOCKS>([from[0], from[1]], stride, epilogue);
                multiply_runs::<1, 0, 1, N_BLOCKS>([from[0].add(lower), from[1].add(lower)], stride, epilogue);
                if N_HALVES == 2 {
                    multiply_runs::<PARTS, 2, 3, N_BLOCKS>([from[2], from[3]], stride, epilogue);
                    multiply_runs::<1, 2, 3, N_BLOCKS>([from[2].add(lower), from[3].add(lower)], stride, epilogue);
                }
                weights = weights.add(PARTS * TILE_LEN);
            }
        }
        for offset in &conv.singles {
            let from = from.map(|run| run.add(*offset));
            if N_BLOCKS == 2 {
                load_runs::<N_HALVES>(from, stride);
                for _ in 0..PARTS {
                    multiply_blocks::<N_HALVES, N_BLOCKS>(weights, epilogue);
                    weights = weights.add(2 * TILE_LEN);
                }
            } else {
                load_weights::<PARTS>(weights);
                multiply_runs::<PARTS, 0, 1, N_BLOCKS>([from[0], from[1]], stride, epilogue);
                if N_HALVES == 2 {
                    multiply_runs::<PARTS, 2, 3, N_BLOCKS>([from[2], from[3]], stride, epilogue);
                }
                weights = weights.add(PARTS * TILE_LEN);
            }
        }
        tile::store::<0>(to);
        tile::store::<1>(to.add(TILE_LEN));
        if N_HALVES == 2 {
            tile::store::<2>(to.add(2 * TILE_LEN));
            tile::store::<3>(to.add(3 * TILE_LEN));
        }
    }
}

/// Loads one or two runs as first factors.
///
/// # Safety
/// Tiles are configured, and the rows may be read.
#[inline(always)]
unsafe fn load_runs<const N_RUNS: usize>(from: [*const f32; N_SUMS], stride: usize) {
    // SAFETY: as for this function.
    unsafe {
        tile::load::<4>(from[0], stride);
        if N_RUNS == 2 {
            tile::load::<5>(from[1], stride);
        }
    }
}

/// Loads the weights of one block as second factors: w_lo as tile 6, where there is one, and w_hi as tile 7.
///
/// # Safety
/// Tiles are configured, and there are weights.
#[inline(always)]
unsafe fn load_weights<const PARTS: usize>(weights: *const f32) {
    // SAFETY: as for this function.
    unsafe {
        if PARTS == 2 {
            tile::load::<6>(weights, TILE);
        }
        tile::load::<7>(weights.add((PARTS - 1) * TILE_LEN), TILE);
    }
}

/// Loads the weights of two blocks as second factors, and adds their products with the runs that are loaded.
///
/// # Safety
/// Tiles are configured, and there are weights.
#[inline(always)]
unsafe fn multiply_blocks<const N_RUNS: usize, const N_BLOCKS: usize>(
    weights: *const f32,
    epilogue: &mut Epilogue<'_, N_BLOCKS>,
) {
    // SAFETY: as for this function.
    unsafe {
        tile::load::<6>(weights, TILE);
        tile::load::<7>(weights.add(TILE_LEN), TILE);
        multiply_loaded::<N_RUNS, N_BLOCKS>(epilogue);
    }
}

/// Adds the products of the runs and of the weights of two blocks that are loaded.
///
/// # Safety
/// Tiles are configured.
#[inline(always)]
unsafe fn multiply_loaded<const N_RUNS: usize, const N_BLOCKS: usize>(epilogue: &mut Epilogue<'_, N_BLOCKS>) {
    // SAFETY: as for this function.
    unsafe {
        tile::multiply_add::<0, 4, 6>();
        tile::multiply_add::<1, 4, 7>();
        if N_RUNS == 2 {
            tile::multiply_add::<2, 5, 6>();
            tile::multiply_add::<3, 5, 7>();
        }
        epilogue.turn();
    }
}

/// Adds products of two runs with the weights of a block, or with the last of their parts alone. Products with the same
/// weights follow each other, so that these are loaded into the multiplier only once.
///
/// # Safety
/// Tiles are configured, and the rows of `from` may be read.
#[inline(always)]
unsafe fn multiply_runs<const PARTS: usize, const FIRST: usize, const SECOND: usize, const N_BLOCKS: usize>(
    from: [*const f32; 2],
    stride: usize,
    epilogue: &mut Epilogue<'_, N_BLOCKS>,
) {
    // SAFETY: as for this function.
    unsafe {
        tile::load::<4>(from[0], stride);
        tile::load::<5>(from[1], stride);
        if PARTS == 2 {
            tile::multiply_add::<FIRST, 4, 6>();
            tile::multiply_add::<SECOND, 5, 6>();
            epilogue.turn();
        }
        tile::multiply_add::<FIRST, 4, 7>();
        tile::multiply_add::<SECOND, 5, 7>();
        epilogue.turn();
    }
}
