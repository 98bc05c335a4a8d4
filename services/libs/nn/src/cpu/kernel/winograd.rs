//! Convolution with windows of 3 x 3 and stride 1 by Winograd's minimal filtering F(2 x 2, 3 x 3): four outputs with 16
//! products for each pair of channels instead of 36 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2016).
//!
//! A tile is 2 x 2 outputs and the 4 x 4 inputs that they depend on. Inputs are transformed by B^T d B, multiplied by the
//! weights G g G^T, frequency by frequency, summed over channels, and transformed back by A^T m A. All factors of the
//! transforms are 0, 1, -1 and 1/2.

use super::direct::Operands;
use super::path::{Path, dispatch};
use super::vector::Vector;
use crate::cpu::layout::Place;

/// The inputs of a tile, and so its frequencies.
pub(crate) const N_FREQUENCIES: usize = 16;
/// Frequencies lie this much further apart than their values, so that they do not share their places in the cache.
const SKEW: usize = 16;
/// A chunk has a multiple of so many tiles.
const GRAIN: usize = 16;

/// Blocks of output channels that are multiplied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    block: usize,
    n_blocks: usize,
    /// Where their weights begin within a frequency: (input channel, output channel).
    weights: usize,
}

/// A convolution, planned for a number of images.
#[derive(Debug)]
pub(crate) struct Winograd {
    path: Path,
    groups: Vec<Group>,
    tiles: Vec<Tile>,
    n_tiles_per_image: usize,
    /// The tiles that are transformed together.
    chunk: usize,
    input: Place,
    output: Place,
    residual: Option<Place>,
    n_images: usize,
    input_extent: usize,
    output_extent: usize,
    residual_extent: usize,
}

/// Offsets of the first input and of the first output, and the rows and columns of outputs that there are.
#[derive(Debug, Clone, Copy)]
struct Tile {
    input: u32,
    output: u32,
    residual: u32,
    n_rows: u8,
    n_columns: u8,
}

impl Winograd {
    /// Plans the convolution of up to `n_images` from `input` to `output`, to which `residual` is added, with `padding`
    /// zeros above and to the left.
    pub(crate) fn new(
        path: Path,
        padding: [usize; 2],
        [input, output]: [Place; 2],
        residual: Option<Place>,
        n_images: usize,
    ) -> Self {
        let [_, height, width] = output.dims;
        let mut tiles = Vec::new();
        for image in 0..n_images {
            for row in (0..height).step_by(2) {
                for column in (0..width).step_by(2) {
                    let (top, left) = (row as isize - padding[0] as isize, column as isize - padding[1] as isize);
                    let place = |place: &Place| place.at(image, row as isize, column as isize) as u32;
                    tiles.push(Tile {
                        input: input.at(image, top, left) as u32,
                        output: place(&output),
                        residual: residual.as_ref().map_or(0, place),
                        n_rows: (height - row).min(2) as u8,
                        n_columns: (width - column).min(2) as u8,
                    });
                }
            }
        }
        let n_tiles_per_image = tiles.len() / n_images.max(1);
        // The more channels, the more weights go by for each chunk, and the more tiles should share them.
        let wanted = if input.dims[0].max(output.dims[0]) <= 64 { GRAIN } else { 4 * GRAIN };
        let chunk = wanted.min(tiles.len().next_multiple_of(GRAIN));
        if let Some(last) = tiles.last().copied() {
            tiles.resize(tiles.len().next_multiple_of(chunk), last);
        }
        let lanes = path.lanes();
        let mut groups = Vec::new();
        let (mut block, mut weights) = (0, 0);
        while block < output.n_blocks() {
            let n_blocks = match output.n_blocks() - block {
                rest @ (2 | 4) => rest.min(2),
                rest => rest.min(3),
            };
            groups.push(Group { block, n_blocks, weights });
            weights += input.dims[0] * n_blocks * lanes;
            block += n_blocks;
        }
        let last = |offset: fn(&Tile) -> u32| tiles.iter().map(offset).max().unwrap_or(0) as usize;
        let reach = |place: &Place, size: usize| {
            (size - 1) * (place.row + place.pixel) + (place.n_blocks() - 1) * place.block + lanes
        };
        Self {
            path,
            n_tiles_per_image,
            chunk,
            input_extent: last(|tile| tile.input) + reach(&input, 4),
            output_extent: tiles
                .iter()
                .map(|tile| {
                    let (row, column) = (usize::from(tile.n_rows) - 1, usize::from(tile.n_columns) - 1);
                    tile.output as usize + row * output.row + column * output.pixel
                })
                .max()
                .unwrap_or(0)
                + reach(&output, 1),
            residual_extent: residual.map_or(0, |place| {
                let end = |tile: &Tile| {
                    let (row, column) = (usize::from(tile.n_rows) - 1, usize::from(tile.n_columns) - 1);
                    tile.residual as usize + row * place.row + column * place.pixel
                };
                tiles.iter().map(end).max().unwrap_or(0) + reach(&place, 1)
            }),
            groups,
            tiles,
            input,
            output,
            residual,
            n_images,
        }
    }

    /// The number of transformed weights.
    pub(crate) fn n_weights(&self) -> usize {
        N_FREQUENCIES * self.weights_of_frequency()
    }

    fn weights_of_frequency(&self) -> usize {
        self.input.dims[0] * self.output.n_blocks() * self.path.lanes()
    }

    /// The number of values of scratch memory that a run needs.
    pub(crate) fn n_scratch(&self) -> usize {
        N_FREQUENCIES * (self.input_stride() + self.output_stride())
    }

    fn input_stride(&self) -> usize {
        self.input.n_blocks() * self.chunk * self.path.lanes() + SKEW
    }

    fn output_stride(&self) -> usize {
        self.output.n_blocks() * self.chunk * self.path.lanes() + SKEW
    }

    /// Transforms the weights (output channel, input channel, 3, 3), each output channel scaled by its `scales`, and puts
    /// them where [`Self::run`] reads them. Channels of `output` that there are not keep what they have.
    pub(crate) fn pack(&self, weights: &[f32], scales: &[f64], packed: &mut [f32]) {
        let lanes = self.path.lanes();
        let (n_inputs, stride) = (self.input.dims[0], self.weights_of_frequency());
        for group in &self.groups {
            let width = group.n_blocks * lanes;
            let first = group.block * lanes;
            for lane in 0..width.min(self.output.dims[0] - first) {
                let (output, scale) = (first + lane, scales[first + lane]);
                let filters = weights[output * n_inputs * 9..(output + 1) * n_inputs * 9].chunks_exact(9);
                for (input, filter) in filters.enumerate() {
                    let transformed = transform(filter, scale);
                    let place = group.weights + input * width + lane;
                    for (frequency, value) in transformed.into_iter().enumerate() {
                        packed[frequency * stride + place] = value;
                    }
                }
            }
        }
    }

    /// Computes the first `n_images`.
    pub(crate) fn run(
        &self,
        n_images: usize,
        input: &[f32],
        operands: Operands<'_>,
        scratch: &mut [f32],
        output: &mut [f32],
    ) {
        let Operands { weights, bias, residual, .. } = operands;
        assert!(n_images <= self.n_images, "{n_images} images of at most {}", self.n_images);
        assert!(input.len() >= self.input_extent, "an input that ends early");
        assert!(weights.len() >= self.n_weights(), "weights that end early");
        assert!(bias.len() >= self.output.n_blocks() * self.path.lanes(), "a bias that ends early");
        assert!(output.len() >= self.output_extent, "an output that ends early");
        assert!(scratch.len() >= self.n_scratch(), "scratch memory that ends early");
        assert_eq!(residual.is_some(), self.residual.is_some(), "a residual that was not planned");
        assert!(residual.is_none_or(|residual| residual.len() >= self.residual_extent), "a residual that ends early");
        let (conv, operands, input) = (self, &operands, input.as_ptr());
        let (scratch, output) = (scratch.as_mut_ptr(), output.as_mut_ptr());
        // SAFETY: the processor has the instructions of the path. Everything that is read and written lies within the
        // extents that were just checked. Output and scratch are borrowed uniquely.
        unsafe {
            dispatch!(
                self.path,
                body,
                (
                    conv: &Winograd,
                    n_images: usize,
                    input: *const f32,
                    operands: &Operands<'_>,
                    scratch: *mut f32,
                    output: *mut f32,
                )
            );
        }
    }
}

/// G g G^T of a filter of 3 x 3, in float64, rounded once.
fn transform(filter: &[f32], scale: f64) -> [f32; N_FREQUENCIES] {
    let line = |[a, b, c]: [f64; 3]| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    let at = |idx: usize| f64::from(filter[idx]) * scale;
    let columns = [0, 1, 2].map(|column| line([at(column), at(3 + column), at(6 + column)]));
    let mut transformed = [0.0; N_FREQUENCIES];
    for row in 0..4 {
        let values = line([columns[0][row], columns[1][row], columns[2][row]]);
        for (column, value) in values.into_iter().enumerate() {
            transformed[4 * row + column] = value as f32;
        }
    }
    transformed
}

/// # Safety
/// Input, scratch, output and the slices of `operands` have the extents of `conv`; the processor has the instructions of
/// `V`.
#[inline(always)]
unsafe fn body<V: Vector>(
    conv: &Winograd,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    scratch: *mut f32,
    output: *mut f32,
) {
    // SAFETY: the number of tiles is rounded up to whole chunks in `new`, with copies of the last tile; scratch has room
    // for both transforms of one chunk.
    unsafe {
        let spectra = scratch;
        let products = scratch.add(N_FREQUENCIES * conv.input_stride());
        let n_tiles = n_images * conv.n_tiles_per_image;
        let mut first = 0;
        while first < n_tiles {
            let tiles = conv.tiles.get_unchecked(first..first + conv.chunk);
            transform_inputs::<V>(conv, tiles, input, spectra);
            for frequency in 0..N_FREQUENCIES {
                let spectrum = spectra.add(frequency * conv.input_stride()).cast_const();
                let weights = operands.weights.as_ptr().add(frequency * conv.weights_of_frequency());
                let product = products.add(frequency * conv.output_stride());
                for group in &conv.groups {
                    match group.n_blocks {
                        1 => multiply::<V, 1>(conv, group, spectrum, weights, product),
                        2 => multiply::<V, 2>(conv, group, spectrum, weights, product),
                        _ => multiply::<V, 3>(conv, group, spectrum, weights, product),
                    }
                }
            }
            transform_outputs::<V>(conv, tiles, products, operands, output);
            first += conv.chunk;
        }
    }
}

/// Writes B^T d B of each tile and block of channels: (frequency, block, tile, channel).
///
/// # Safety
/// As for [`body`].
#[inline(always)]
unsafe fn transform_inputs<V: Vector>(conv: &Winograd, tiles: &[Tile], input: *const f32, spectra: *mut f32) {
    // SAFETY: a tile's 4 x 4 inputs of every block lie within the input's extent; (block, tile) are those of a chunk.
    unsafe {
        let (row, pixel, stride) = (conv.input.row, V::LANES, conv.input_stride());
        for block in 0..conv.input.n_blocks() {
            for (idx, tile) in tiles.iter().enumerate() {
                let from = input.add(tile.input as usize + block * conv.input.block);
                let to = spectra.add((block * conv.chunk + idx) * V::LANES);
                let mut rows = [[V::splat(0.0); 4]; 4];
                for column in 0..4 {
                    let at = |row_idx: usize| V::load_values(from.add(row_idx * row + column * pixel));
                    let (a, b, c, d) = (at(0), at(1), at(2), at(3));
                    rows[0][column] = a.sub(c);
                    rows[1][column] = b.add(c);
                    rows[2][column] = c.sub(b);
                    rows[3][column] = b.sub(d);
                }
                for (row_idx, [a, b, c, d]) in rows.into_iter().enumerate() {
                    a.sub(c).store(to.add((4 * row_idx) * stride));
                    b.add(c).store(to.add((4 * row_idx + 1) * stride));
                    c.sub(b).store(to.add((4 * row_idx + 2) * stride));
                    b.sub(d).store(to.add((4 * row_idx + 3) * stride));
                }
            }
        }
    }
}

/// Sums products over the channels of one frequency.
///
/// # Safety
/// As for [`body`]; `group` is of `conv` and has `N` blocks; the pointers are those of one frequency.
#[inline(always)]
unsafe fn multiply<V: Vector, const N: usize>(
    conv: &Winograd,
    group: &Group,
    spectrum: *const f32,
    weights: *const f32,
    product: *mut f32,
) {
    // The tiles whose sums fit into the registers; all of them divide the grain of a chunk.
    let n_together = const {
        match V::RUNS[N - 1] {
            3 | 2 => 8,
            1 => 4,
            _ => 16,
        }
    };
    // SAFETY: offsets are (block, tile, channel) of a chunk, and (channel, output channel) of the group's weights.
    unsafe {
        let (n_full, n_rest) = (conv.input.dims[0] / V::LANES, conv.input.dims[0] % V::LANES);
        let mut first = 0;
        while first < conv.chunk {
            let mut sums = [[V::splat(0.0); GRAIN]; N];
            let mut weight = weights.add(group.weights);
            let mut values = spectrum.add(first * V::LANES);
            for _ in 0..n_full {
                for channel in 0..V::LANES {
                    accumulate::<V, N>(n_together, values.add(channel), weight, &mut sums);
                    weight = weight.add(N * V::LANES);
                }
                values = values.add(conv.chunk * V::LANES);
            }
            for channel in 0..n_rest {
                accumulate::<V, N>(n_together, values.add(channel), weight, &mut sums);
                weight = weight.add(N * V::LANES);
            }
            for n in 0..N {
                let to = product.add(((group.block + n) * conv.chunk + first) * V::LANES);
                for idx in 0..n_together {
                    sums[n][idx].store(to.add(idx * V::LANES));
                }
            }
            first += n_together;
        }
    }
}

/// # Safety
/// `values` is followed by those of `n_together` tiles, `weight` by `N` vectors.
#[inline(always)]
unsafe fn accumulate<V: Vector, const N: usize>(
    n_together: usize,
    values: *const f32,
    weight: *const f32,
    sums: &mut [[V; GRAIN]; N],
) {
    // SAFETY: as for this function.
    unsafe {
        let mut factors = [V::splat(0.0); N];
        for n in 0..N {
            factors[n] = V::load(weight.add(n * V::LANES));
        }
        for idx in 0..n_together {
            let value = V::splat(*values.add(idx * V::LANES));
            for n in 0..N {
                sums[n][idx] = value.mul_add(factors[n], sums[n][idx]);
            }
        }
    }
}

/// Writes A^T m A of each tile with bias and residual, within the bounds.
///
/// # Safety
/// As for [`body`].
#[inline(always)]
unsafe fn transform_outputs<V: Vector>(
    conv: &Winograd,
    tiles: &[Tile],
    products: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    // SAFETY: products are those of a chunk; a tile's outputs, as many as there are, lie within the output's extent and
    // within the residual's.
    unsafe {
        let stride = conv.output_stride();
        let [low, high] = operands.bounds.map(|bound| V::splat(bound));
        for block in 0..conv.output.n_blocks() {
            let bias = V::load(operands.bias.as_ptr().add(block * V::LANES));
            for (idx, tile) in tiles.iter().enumerate() {
                let from = products.add((block * conv.chunk + idx) * V::LANES);
                let mut rows = [[V::splat(0.0); 4]; 2];
                for column in 0..4 {
                    let at = |row: usize| V::load(from.add((4 * row + column) * stride));
                    let (a, b, c, d) = (at(0), at(1), at(2), at(3));
                    rows[0][column] = a.add(b.add(c));
                    rows[1][column] = b.sub(c).sub(d);
                }
                for (row, [a, b, c, d]) in rows.into_iter().enumerate() {
                    if row >= usize::from(tile.n_rows) {
                        break;
                    }
                    let pair = [a.add(b.add(c)).add(bias), b.sub(c).sub(d).add(bias)];
                    for (column, mut value) in pair.into_iter().enumerate() {
                        if column >= usize::from(tile.n_columns) {
                            break;
                        }
                        if let (Some(residual), Some(place)) = (operands.residual, &conv.residual) {
                            let offset =
                                tile.residual as usize + block * place.block + row * place.row + column * place.pixel;
                            value = value.add(V::load_values(residual.as_ptr().add(offset)));
                        }
                        let offset = tile.output as usize
                            + block * conv.output.block
                            + row * conv.output.row
                            + column * conv.output.pixel;
                        value.at_least(low).at_most(high).store_values(output.add(offset));
                    }
                }
            }
        }
    }
}
