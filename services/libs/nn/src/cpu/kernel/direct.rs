//! Convolution as it is defined: for each pixel, a sum over the window and the channels.
//!
//! A tile of the result is some runs of consecutive pixels by 1 to 3 vectors of output channels, all of it in registers.
//! Each input value is broadcast once for all vectors. An output's sum runs over rows and columns of the window, then
//! over channels, from the bias on, whatever tile it is in.

use super::path::{Path, dispatch};
use super::vector::Vector;
use crate::cpu::layout::{Border, Place};

/// The pixels of a long run; images that are too narrow for it, and wide steps, have runs of one pixel.
const LONG_RUN: usize = 4;
/// The most pixels of a tile, and the most runs.
const MAX_PIXELS: usize = 16;
const MAX_RUNS: usize = 8;
/// The runs of any tile divide this.
const ALL_RUNS: usize = 24;
/// Values of the input that should stay in the processor's second cache while all groups read them, beside the weights.
const CHUNK_VALUES: usize = 1 << 15;

/// The window of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The height and width.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// The zeros above and to the left.
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl Window {
    /// Whether all windows of `output` lie within `input` and its border.
    pub(crate) fn lies_within(&self, input: &Place, output: &Place) -> bool {
        let Border { top, left, bottom, right } = input.border;
        let lies_within = |axis: usize, before: usize, after: usize| {
            let reach = (output.dims[1 + axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis];
            self.padding[axis] <= before && reach < self.padding[axis] + input.dims[1 + axis] + after
        };
        lies_within(0, top, bottom) && lies_within(1, left, right)
    }
}

/// Output channels that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// The first block of output channels, and the number of blocks, 1 to 3.
    pub(crate) block: usize,
    pub(crate) n_blocks: usize,
    /// The first block of input channels that they read, and the number of channels.
    pub(crate) input_block: usize,
    pub(crate) n_inputs: usize,
    /// Where their weights begin: (window, input channel, output channel).
    pub(crate) weights: usize,
}

/// A convolution, planned for a number of images.
#[derive(Debug)]
pub(crate) struct Direct {
    path: Path,
    groups: Vec<Group>,
    /// The offsets of the window's entries.
    taps: Vec<usize>,
    runs: Vec<Run>,
    n_runs_per_image: usize,
    /// The runs that one group after the other computes, before the next runs.
    chunk: usize,
    run_len: usize,
    input: Place,
    output: Place,
    residual: Option<Place>,
    input_step: usize,
    n_images: usize,
    /// The values that are touched: of input, weights, bias, residual and output.
    extents: Extents,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    input: u32,
    output: u32,
    residual: u32,
}

#[derive(Debug, Clone, Copy)]
struct Extents {
    input: usize,
    weights: usize,
    bias: usize,
    residual: usize,
    output: usize,
}

/// What a convolution reads besides its input, and the bounds that its results are brought within.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) bounds: [f32; 2],
}

/// The groups of `n_blocks` blocks of output channels, all of which read all `n_inputs` channels, and the number of their
/// weights.
pub(crate) fn dense_groups(n_blocks: usize, n_inputs: usize, n_taps: usize, path: Path) -> (Vec<Group>, usize) {
    let (mut groups, mut block, mut weights) = (Vec::new(), 0, 0);
    while block < n_blocks {
        let n = path.blocks_together(n_blocks - block);
        groups.push(Group { block, n_blocks: n, input_block: 0, n_inputs, weights });
        weights += n_taps * n_inputs * n * path.lanes();
        block += n;
    }
    (groups, weights)
}

impl Direct {
    /// Plans the convolution of up to `n_images` from `input` to `output`, to which `residual` is added.
    pub(crate) fn new(
        path: Path,
        window: &Window,
        groups: Vec<Group>,
        [input, output]: [Place; 2],
        residual: Option<Place>,
        n_images: usize,
    ) -> Self {
        assert!(window.lies_within(&input, &output), "a border as wide as the window");
        assert!(input.pixel == 1 || input.is_blocked(path), "an input in planes or in blocks of the path's lanes");
        assert!([Some(output), residual].iter().flatten().all(|place| place.is_blocked(path)), "results in blocks");
        assert!(residual.is_none_or(|residual| residual.dims == output.dims), "a residual of the result's shape");
        let [_, height, width] = output.dims;
        let run_len = if width >= LONG_RUN && window.stride[1] <= 2 { LONG_RUN } else { 1 };
        let mut runs = Vec::new();
        for image in 0..n_images {
            for row in 0..height {
                for start in (0..width).step_by(run_len) {
                    // The last run of a row begins earlier where it would reach beyond: some pixels are computed twice.
                    let column = start.min(width - run_len);
                    let top = (row * window.stride[0]) as isize - window.padding[0] as isize;
                    let left = (column * window.stride[1]) as isize - window.padding[1] as isize;
                    let place = |place: &Place| place.at(image, row as isize, column as isize) as u32;
                    runs.push(Run {
                        input: input.at(image, top, left) as u32,
                        output: place(&output),
                        residual: residual.as_ref().map_or(0, place),
                    });
                }
            }
        }
        let n_runs_per_image = runs.len() / n_images.max(1);
        // A tile is always full.
        if let Some(last) = runs.last().copied() {
            runs.extend([last; MAX_RUNS]);
        }
        let taps: Vec<usize> = (0..window.kernel[0])
            .flat_map(|row| (0..window.kernel[1]).map(move |column| (row, column)))
            .map(|(row, column)| row * window.dilation[0] * input.row + column * window.dilation[1] * input.pixel)
            .collect();
        let input_step = window.stride[1] * input.pixel;
        let lanes = path.lanes();
        let last = |offset: fn(&Run) -> u32| runs.iter().map(offset).max().unwrap_or(0) as usize;
        let last_channel = groups.iter().map(|group| last_channel(group, &input)).max().unwrap_or(0);
        let n_blocks = groups.iter().map(|group| group.block + group.n_blocks).max().unwrap_or(0);
        let n_weights = |group: &Group| group.weights + taps.len() * group.n_inputs * group.n_blocks * lanes;
        let reach = |place: &Place| {
            let last_block = (n_blocks - 1) * place.block + place.halves(n_blocks - 1).reach();
            (run_len - 1) * place.pixel + last_block + lanes
        };
        let extents = Extents {
            input: last(|run| run.input)
                + (run_len - 1) * input_step
                + taps.iter().max().copied().unwrap_or(0)
                + last_channel
                + 1,
            weights: groups.iter().map(n_weights).max().unwrap_or(0),
            bias: n_blocks * lanes,
            residual: residual.map_or(0, |place| last(|run| run.residual) + reach(&place)),
            output: last(|run| run.output) + reach(&output),
        };
        let values_of_run = run_len * window.stride[0] * window.stride[1] * input.dims[0];
        Self {
            path,
            groups,
            taps,
            runs,
            n_runs_per_image,
            chunk: (CHUNK_VALUES / values_of_run.max(1)).next_multiple_of(ALL_RUNS).max(ALL_RUNS),
            run_len,
            input,
            output,
            residual,
            input_step,
            n_images,
            extents,
        }
    }

    /// Computes the first `n_images`.
    pub(crate) fn run(&self, n_images: usize, input: &[f32], operands: Operands<'_>, output: &mut [f32]) {
        let Operands { weights, bias, residual, .. } = operands;
        assert!(n_images <= self.n_images, "{n_images} images of at most {}", self.n_images);
        assert!(input.len() >= self.extents.input, "an input that ends early");
        assert!(weights.len() >= self.extents.weights, "weights that end early");
        assert!(bias.len() >= self.extents.bias, "a bias that ends early");
        assert!(output.len() >= self.extents.output, "an output that ends early");
        assert_eq!(residual.is_some(), self.residual.is_some(), "a residual that was not planned");
        assert!(residual.is_none_or(|residual| residual.len() >= self.extents.residual), "a residual that ends early");
        let (conv, operands, input, output) = (self, &operands, input.as_ptr(), output.as_mut_ptr());
        // SAFETY: the processor has the instructions of the path. Everything that is read and written lies within the
        // extents, which were computed from the same runs, taps and groups as the body's offsets, and which the slices
        // were found to have. The output is borrowed uniquely.
        unsafe {
            dispatch!(
                self.path,
                body,
                (conv: &Direct, n_images: usize, input: *const f32, operands: &Operands<'_>, output: *mut f32)
            );
        }
    }
}

/// The greatest offset of a channel that a group reads, or of its other half: where the last block has few channels, it
/// may be in the block before.
fn last_channel(group: &Group, input: &Place) -> usize {
    let n_inputs = group.n_inputs.max(1);
    let reach = |idx: usize| {
        let block = group.input_block + idx;
        let last = (n_inputs - idx * input.lanes).min(input.lanes) - 1;
        block * input.block + input.halves(block).reach() + last * input.channel
    };
    (0..n_inputs.div_ceil(input.lanes)).map(reach).max().unwrap_or(0)
}

/// # Safety
/// The slices of `operands`, `input` and `output` have the extents of `conv`; the processor has the instructions of `V`.
#[inline(always)]
unsafe fn body<V: Vector>(
    conv: &Direct,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    let n_runs = n_images * conv.n_runs_per_image;
    let step = conv.input_step / conv.input.pixel;
    for first in (0..n_runs).step_by(conv.chunk) {
        let runs = [first, n_runs.min(first + conv.chunk)];
        for group in &conv.groups {
            // SAFETY: as for this function; the constants are those of the input and the runs.
            unsafe {
                match (conv.input.pixel, conv.run_len, step) {
                    (1, 1, _) => blocks::<V, 1, 1, true>(conv, group, runs, input, operands, output),
                    (1, _, 1) => blocks::<V, LONG_RUN, 1, true>(conv, group, runs, input, operands, output),
                    (1, _, _) => blocks::<V, LONG_RUN, 2, true>(conv, group, runs, input, operands, output),
                    (_, 1, _) => blocks::<V, 1, 1, false>(conv, group, runs, input, operands, output),
                    (_, _, 1) => blocks::<V, LONG_RUN, 1, false>(conv, group, runs, input, operands, output),
                    (_, _, _) => blocks::<V, LONG_RUN, 2, false>(conv, group, runs, input, operands, output),
                }
            }
        }
    }
}

/// # Safety
/// As for [`body`]; runs of the convolution have `R` pixels that lie `S` pixels of the input apart, and the input is
/// planar or not, as `PLANAR` says.
#[inline(always)]
unsafe fn blocks<V: Vector, const R: usize, const S: usize, const PLANAR: bool>(
    conv: &Direct,
    group: &Group,
    runs: [usize; 2],
    input: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    // SAFETY: as for this function.
    unsafe {
        match group.n_blocks {
            1 => tiles::<V, 1, R, S, PLANAR>(conv, group, runs, input, operands, output),
            2 => tiles::<V, 2, R, S, PLANAR>(conv, group, runs, input, operands, output),
            _ => tiles::<V, 3, R, S, PLANAR>(conv, group, runs, input, operands, output),
        }
    }
}

/// The number of runs in a tile of `n_blocks` vectors.
const fn runs_per_tile<V: Vector>(n_blocks: usize, run_len: usize) -> usize {
    let n_runs = V::RUNS[n_blocks - 1] * LONG_RUN / run_len;
    if n_runs > MAX_RUNS { MAX_RUNS } else { n_runs }
}

/// # Safety
/// As for [`blocks`]; `group` is of `conv` and has `N` blocks.
#[inline(always)]
unsafe fn tiles<V: Vector, const N: usize, const R: usize, const S: usize, const PLANAR: bool>(
    conv: &Direct,
    group: &Group,
    runs: [usize; 2],
    input: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    let per_tile = runs_per_tile::<V>(N, R);
    // SAFETY: offsets are those of the runs, taps and groups that the extents were computed from; the runs end in so many
    // copies of the last that every tile that begins before them is full.
    unsafe {
        let weights = operands.weights.as_ptr().add(group.weights);
        let bias = operands.bias.as_ptr().add(group.block * V::LANES);
        let first_input = input.add(group.input_block * conv.input.block);
        let (n_full, n_rest) = (group.n_inputs / conv.input.lanes, group.n_inputs % conv.input.lanes);
        // Known when this is compiled, so that the pixels of a run share a register of addresses.
        let step = if PLANAR { S } else { S * V::LANES };
        let channel = if PLANAR { conv.input.channel } else { 1 };
        let [low, high] = operands.bounds.map(|bound| V::splat(bound));
        let [mut idx, end] = runs;
        while idx < end {
            let runs = conv.runs.get_unchecked(idx..idx + per_tile);
            let mut sums = [[V::splat(0.0); MAX_PIXELS]; N];
            for n in 0..N {
                sums[n] = [V::load(bias.add(n * V::LANES)); MAX_PIXELS];
            }
            let mut weight = weights;
            for tap in &conv.taps {
                let mut block = 0;
                loop {
                    let n_channels = match block < n_full {
                        true => conv.input.lanes,
                        false => n_rest,
                    };
                    if n_channels == 0 {
                        break;
                    }
                    let mut x = [first_input; MAX_RUNS];
                    for q in 0..per_tile {
                        x[q] = first_input.add(runs.get_unchecked(q).input as usize + *tap + block * conv.input.block);
                    }
                    let halves = conv.input.halves(group.input_block + block);
                    for _ in 0..n_channels {
                        let mut factors = [V::splat(0.0); N];
                        for n in 0..N {
                            factors[n] = V::load(weight.add(n * V::LANES));
                        }
                        for q in 0..per_tile {
                            for r in 0..R {
                                let from = x[q].add(r * step);
                                // The network's input is as it comes.
                                let value = if PLANAR { V::splat(*from) } else { V::splat_value(from, halves) };
                                for n in 0..N {
                                    let sum = &mut sums[n][q * R + r];
                                    *sum = value.mul_add(factors[n], *sum);
                                }
                            }
                            x[q] = x[q].wrapping_add(channel);
                        }
                        weight = weight.add(N * V::LANES);
                    }
                    if block >= n_full {
                        break;
                    }
                    block += 1;
                }
            }
            // In memory from here on, lest loops over them that do not unroll keep the sums there all along.
            let results = sums;
            for n in 0..N {
                for q in 0..per_tile {
                    let run = runs.get_unchecked(q);
                    let to = output.add(run.output as usize + (group.block + n) * conv.output.block);
                    let halves = conv.output.halves(group.block + n);
                    for r in 0..R {
                        let mut value = results[n][q * R + r];
                        if let (Some(residual), Some(place)) = (operands.residual, &conv.residual) {
                            let offset = run.residual as usize + (group.block + n) * place.block + r * place.pixel;
                            let halves = place.halves(group.block + n);
                            value = value.add(V::load_values(residual.as_ptr().add(offset), halves));
                        }
                        value.at_least(low).at_most(high).store_values(to.add(r * conv.output.pixel), halves);
                    }
                }
            }
            idx += per_tile;
        }
    }
}
