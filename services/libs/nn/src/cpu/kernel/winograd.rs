//! Convolution with windows of 3 x 3 and stride 1 by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2016): F(2 x 2, 3 x 3) has four outputs with 16 products for each pair of channels
//! instead of 36, F(4 x 4, 3 x 3) has 16 outputs with 36 products instead of 144.
//!
//! A tile is m x m outputs and the (m + 2) x (m + 2) inputs that they depend on. Inputs are transformed by B^T d B,
//! multiplied by the weights G g G^T, frequency by frequency, summed over channels, and transformed back by A^T m A.

mod body;
mod transform;

use super::direct::Operands;
use super::path::{Path, dispatch};
use crate::cpu::encoding::Encoding;
use crate::cpu::layout::{Border, Place};
use body::body;
use transform::{Four, N_TAPS, Transform, Two};

/// Frequencies lie this much further apart than their values, so that they do not share their places in the cache.
const SKEW: usize = 16;
/// The most output channels of a group.
const MAX_WIDTH: usize = 48;
/// A chunk has a multiple of so many tiles, and no more are multiplied together. Interpreters, for which 16 take too
/// long, have no vectors that multiply more than 4.
const GRAIN: usize = if cfg!(miri) { 4 } else { 16 };

/// The outputs of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 2 x 2.
    Two,
    /// 4 x 4.
    Four,
}

impl Form {
    /// The form that takes the fewest products for an image of outputs. It depends on nothing else, so that images have
    /// the same bits in any company.
    pub(crate) fn of(height: usize, width: usize) -> Self {
        let n_products = |form: Self| {
            let n_tiles = height.div_ceil(form.n_outputs()) * width.div_ceil(form.n_outputs());
            n_tiles * form.n_frequencies()
        };
        if n_products(Self::Four) < n_products(Self::Two) { Self::Four } else { Self::Two }
    }

    /// The outputs of a tile along one axis.
    pub(crate) fn n_outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// The inputs of a tile along one axis.
    pub(crate) fn n_inputs(self) -> usize {
        self.n_outputs() + N_TAPS - 1
    }

    /// Whether all tiles of `output` lie within `input` and its border, with `padding` zeros above and to the left.
    fn lies_within(self, padding: [usize; 2], input: &Place, output: &Place) -> bool {
        let Border { top, left, bottom, right } = input.border;
        let lies_within = |axis: usize, before: usize, after: usize| {
            let end = output.dims[1 + axis].next_multiple_of(self.n_outputs()) + N_TAPS - 1;
            padding[axis] <= before && end <= padding[axis] + input.dims[1 + axis] + after
        };
        lies_within(0, top, bottom) && lies_within(1, left, right)
    }

    /// The inputs of a tile, and so its frequencies.
    pub(crate) fn n_frequencies(self) -> usize {
        self.n_inputs() * self.n_inputs()
    }
}

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
    form: Form,
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
        form: Form,
        padding: [usize; 2],
        [input, output]: [Place; 2],
        residual: Option<Place>,
        n_images: usize,
    ) -> Self {
        let is_plain = |place: &Place| place.is_blocked(path) && place.encoding == Encoding::F32;
        assert!([input, output].iter().chain(&residual).all(is_plain), "values that are no vectors of float32");
        assert!(residual.is_none_or(|residual| residual.dims == output.dims), "a residual of the result's shape");
        assert!(form.lies_within(padding, &input, &output), "a border as wide as the tiles");
        let [_, height, width] = output.dims;
        let mut tiles = Vec::new();
        for image in 0..n_images {
            for row in (0..height).step_by(form.n_outputs()) {
                for column in (0..width).step_by(form.n_outputs()) {
                    let (top, left) = (row as isize - padding[0] as isize, column as isize - padding[1] as isize);
                    let place = |place: &Place| place.at(image, row as isize, column as isize) as u32;
                    tiles.push(Tile {
                        input: input.at(image, top, left) as u32,
                        output: place(&output),
                        residual: residual.as_ref().map_or(0, place),
                        n_rows: (height - row).min(form.n_outputs()) as u8,
                        n_columns: (width - column).min(form.n_outputs()) as u8,
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
            let n_blocks = path.blocks_together(output.n_blocks() - block);
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
            form,
            n_tiles_per_image,
            chunk,
            input_extent: last(|tile| tile.input) + reach(&input, form.n_inputs()),
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

    #[cfg(test)]
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The number of transformed weights.
    pub(crate) fn n_weights(&self) -> usize {
        self.form.n_frequencies() * self.weights_of_frequency()
    }

    fn weights_of_frequency(&self) -> usize {
        self.input.dims[0] * self.output.n_blocks() * self.path.lanes()
    }

    /// The number of values of scratch memory that a run needs: one place more than there are frequencies, see [`body`].
    pub(crate) fn n_scratch(&self) -> usize {
        (self.form.n_frequencies() + 1) * self.stride()
    }

    /// The distance of frequencies.
    fn stride(&self) -> usize {
        self.input.n_blocks().max(self.output.n_blocks()) * self.chunk * self.path.lanes() + SKEW
    }

    /// Transforms the weights (output channel, input channel, 3, 3), each output channel scaled by its `scales`, and puts
    /// them where [`Self::run`] reads them. Channels of `output` that there are not keep what they have.
    pub(crate) fn pack(&self, weights: &[f32], scales: &[f64], packed: &mut [f32]) {
        match self.form {
            Form::Two => self.pack_as::<Two, 4, 2>(weights, scales, packed),
            Form::Four => self.pack_as::<Four, 6, 4>(weights, scales, packed),
        }
    }

    fn pack_as<T: Transform<I, O>, const I: usize, const O: usize>(
        &self,
        weights: &[f32],
        scales: &[f64],
        packed: &mut [f32],
    ) {
        let lanes = self.path.lanes();
        let (n_inputs, stride) = (self.input.dims[0], self.weights_of_frequency());
        // Those of one input channel: memory is written a few lines at a time.
        let mut frequencies = [[[0.0; MAX_WIDTH]; I]; I];
        for group in &self.groups {
            let width = group.n_blocks * lanes;
            let first = group.block * lanes;
            let n_outputs = width.min(self.output.dims[0] - first);
            for input in 0..n_inputs {
                for (lane, scale) in scales[first..first + n_outputs].iter().enumerate() {
                    let from = ((first + lane) * n_inputs + input) * N_TAPS * N_TAPS;
                    let transformed = transform::filter::<T, I, O>(&weights[from..], *scale);
                    for (to, from) in frequencies.as_flattened_mut().iter_mut().zip(transformed.as_flattened()) {
                        to[lane] = *from as f32;
                    }
                }
                for (frequency, values) in frequencies.as_flattened().iter().enumerate() {
                    let to = frequency * stride + group.weights + input * width;
                    packed[to..to + n_outputs].copy_from_slice(&values[..n_outputs]);
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
