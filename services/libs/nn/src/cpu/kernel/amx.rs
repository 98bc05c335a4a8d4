//! Convolution as products of matrices of bfloat16.
//!
//! A value x is written as two bfloat16, x_hi + x_lo, and so is a weight w. A row of the first factor is 64 bytes of a
//! pixel as they lie in memory: 32 bfloat16, as many as an instruction multiplies. Two blocks of 16 channels exchange
//! halves (see [`Halves`](crate::cpu::encoding::Halves)), so that these are x_hi, or x_lo, of 32 channels. Three
//! products, x_hi w_lo + x_hi w_hi + x_lo w_hi, are summed in float32; the fourth is about what the halves round off. A
//! block that has nothing to exchange with is x_hi and x_lo of 16 channels, and two products are all four. Of weights
//! that are rounded to w_hi, those with w_lo fall away.
//!
//! Rows are pixels at equal distances, see [`lines`]. Pixels do not depend on each other, and each sum runs from the
//! bias on over rows and columns of the window and pairs of blocks, then over those of a block without another, in
//! whatever tile it is.

#[cfg(target_arch = "x86_64")]
mod body;
#[cfg(target_arch = "x86_64")]
mod epilogue;
#[cfg(target_arch = "x86_64")]
mod exercise;
mod lines;
#[cfg(test)]
mod tests;
mod weights;

use super::direct::{Operands, Window};
use super::path::{Isa, Path};
use crate::cpu::encoding::Encoding;
use crate::cpu::layout::Place;
use lines::Lines;
pub(crate) use weights::{Precision, Weights};

/// The rows of a tile, which are as many as the lanes of a block.
const TILE: usize = 16;
/// The float32, or pairs of bfloat16, of a tile.
const TILE_LEN: usize = TILE * TILE;

/// A convolution, planned for a number of images.
#[derive(Debug)]
pub(crate) struct Amx {
    weights: Weights,
    /// The offsets of the window's entries in each pair of blocks of inputs, and in the last block if it is alone.
    pairs: Vec<usize>,
    singles: Vec<usize>,
    lines: Lines,
    input: Place,
    output: Place,
    residual: Option<Place>,
    n_images: usize,
    extents: Extents,
}

/// The values that are touched.
#[derive(Debug, Clone, Copy)]
struct Extents {
    input: usize,
    residual: usize,
    output: usize,
}

/// Keeps the matrix unit busy for some milliseconds with products of tiles as convolutions have them, on this thread, and
/// returns the number of floating-point operations. There is nothing to do where this process has no such unit.
///
/// A benchmark that times it knows how fast the unit is by itself: on a processor that is shared with others, half as
/// fast at one time as at another.
#[must_use]
pub fn exercise_matrix_unit() -> Option<f64> {
    match Path::amx()?.isa() {
        // SAFETY: the path has tiles, which therefore may be used.
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => Some(unsafe { exercise::exercise() }),
        _ => None,
    }
}

impl Amx {
    /// Plans the convolution of up to `n_images` from `input` to `output`, to which `residual` is added. All of them lie
    /// in blocks; all but the output are encoded.
    pub(crate) fn new(
        path: Path,
        window: &Window,
        weights: Weights,
        [input, output]: [Place; 2],
        residual: Option<Place>,
        n_images: usize,
    ) -> Self {
        assert_eq!(path.encoding(), Encoding::SplitBf16, "instructions for bfloat16");
        let is_encoded = |place: &Place| place.encoding == Encoding::SplitBf16;
        assert!(is_encoded(&input) && residual.as_ref().is_none_or(is_encoded), "encoded inputs");
        let is_blocked = |place: &Place| place.lanes == TILE && place.pixel == TILE && place.channel == 1;
        assert!([Some(input), Some(output), residual].iter().flatten().all(is_blocked), "blocks of 16 channels");
        assert!(residual.is_none_or(|place| place.dims == output.dims), "a residual of the result's shape");
        let n_taps = window.kernel[0] * window.kernel[1];
        assert_eq!(weights.shape(), [output.dims[0], input.dims[0], n_taps], "weights of the convolution");
        assert!(window.lies_within(&input, &output), "a border as wide as the window");
        let taps: Vec<usize> = (0..window.kernel[0])
            .flat_map(|row| (0..window.kernel[1]).map(move |column| (row, column)))
            .map(|(row, column)| row * window.dilation[0] * input.row + column * window.dilation[1] * input.pixel)
            .collect();
        let n_pairs = input.n_blocks() / 2;
        let pairs: Vec<usize> =
            taps.iter().flat_map(|tap| (0..n_pairs).map(move |pair| tap + 2 * pair * input.block)).collect();
        let is_alone = input.n_blocks() % 2 == 1;
        let singles: Vec<usize> = taps.iter().filter(|_| is_alone).map(|tap| tap + 2 * n_pairs * input.block).collect();
        let lines = Lines::fastest(window, [&input, &output], residual.as_ref(), n_images);
        // The last images that the runs are repeated for.
        let first_image = n_images - lines.n_images;
        let reach = |place: &Place| first_image * place.image + (output.n_blocks() - 1) * place.block + TILE;
        let last_pair = pairs.iter().max().map_or(0, |offset| offset + input.block);
        let last_single = singles.iter().max().copied().unwrap_or(0);
        let extents = Extents {
            input: first_image * input.image + lines.last_input() + last_pair.max(last_single) + TILE,
            residual: residual.map_or(0, |place| lines.last_residual() + reach(&place)),
            output: lines.last_output() + reach(&output),
        };
        Self { weights, pairs, singles, lines, input, output, residual, n_images, extents }
    }

    /// Computes the first `n_images`.
    pub(crate) fn run(&self, n_images: usize, input: &[f32], operands: Operands<'_>, output: &mut [f32]) {
        let Operands { weights, bias, residual, .. } = operands;
        assert!(n_images <= self.n_images, "{n_images} images of at most {}", self.n_images);
        assert!(input.len() >= self.extents.input, "an input that ends early");
        assert!(weights.len() >= self.weights.len(), "weights that end early");
        assert!(bias.len() >= self.output.n_blocks() * TILE, "a bias that ends early");
        assert!(output.len() >= self.extents.output, "an output that ends early");
        assert_eq!(residual.is_some(), self.residual.is_some(), "a residual that was not planned");
        assert!(residual.is_none_or(|residual| residual.len() >= self.extents.residual), "a residual that ends early");
        // SAFETY: `new` found the path to be one with tiles, which therefore may be used. Everything that is read and
        // written lies within the extents, which the slices were found to have. The output is borrowed uniquely.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            body::body(self, n_images, input.as_ptr(), &operands, output.as_mut_ptr());
        }
    }
}
