//! Windows over each channel by itself: pooling, and convolution where every channel has its own filter.

use super::direct::{Operands, Window};
use super::path::{Path, dispatch};
use super::vector::Vector;
use crate::cpu::layout::Place;

/// What is taken of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summary {
    /// The largest entry inside the image; NaN counts as largest.
    Max,
    /// The mean of the entries inside the image.
    Mean,
    /// The sum of the entries inside the image, divided by the number of entries that lie in the image or its padding.
    PaddedMean {
        /// The padding below and to the right.
        end: [usize; 2],
    },
}

/// Planned windows of one image; all images are alike.
#[derive(Debug)]
pub(crate) struct Windows {
    path: Path,
    window: Window,
    summary: Summary,
    input: Place,
    output: Place,
}

/// The entries of a window along one axis that lie inside the image: first, one more than the last, and how many count.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: usize,
    end: usize,
    /// The position of the first entry in the image.
    start: usize,
    n_counted: usize,
}

impl Windows {
    pub(crate) fn new(path: Path, window: Window, summary: Summary, [input, output]: [Place; 2]) -> Self {
        assert_eq!(input.dims[0], output.dims[0], "every channel by itself");
        assert!(input.is_blocked(path) && output.is_blocked(path), "places in blocks of the path's lanes");
        Self { path, window, summary, input, output }
    }

    /// Computes the first `n_images`.
    pub(crate) fn run(&self, n_images: usize, input: &[f32], output: &mut [f32]) {
        assert!(input.len() >= self.input.end(n_images), "an input that ends early");
        assert!(output.len() >= self.output.end(n_images), "an output that ends early");
        let (windows, input, output) = (self, input.as_ptr(), output.as_mut_ptr());
        // SAFETY: the processor has the instructions of the path. Only entries inside the images are read and written,
        // and the slices were found to have all of those. The output is borrowed uniquely.
        unsafe {
            dispatch!(
                self.path,
                pool,
                (windows: &Windows, n_images: usize, input: *const f32, output: *mut f32)
            );
        }
    }

    /// The entries inside the image of the window at `position` along `axis`, 0 for rows.
    fn span(&self, axis: usize, position: usize) -> Span {
        let Window { kernel, stride, padding, dilation } = self.window;
        let (kernel, dilation, size) = (kernel[axis], dilation[axis], self.input.dims[1 + axis]);
        let origin = (position * stride[axis]) as isize - padding[axis] as isize;
        let first = (-origin).max(0).unsigned_abs().div_ceil(dilation).min(kernel);
        let end = (size as isize - origin).max(0).unsigned_abs().div_ceil(dilation).clamp(first, kernel);
        let n_counted = match self.summary {
            Summary::Max | Summary::Mean => end - first,
            Summary::PaddedMean { end: padding } => {
                let reach = (size + padding[axis]) as isize - origin;
                reach.max(0).unsigned_abs().div_ceil(dilation).min(kernel)
            }
        };
        Span { first, end, start: origin.wrapping_add_unsigned(first * dilation).max(0).unsigned_abs(), n_counted }
    }
}

/// # Safety
/// Input and output hold `n_images` of the places of `windows`; the processor has the instructions of `V`.
#[inline(always)]
unsafe fn pool<V: Vector>(windows: &Windows, n_images: usize, input: *const f32, output: *mut f32) {
    let (from, to) = (&windows.input, &windows.output);
    let [down, across] = windows.window.dilation;
    for row in 0..to.dims[1] {
        let rows = windows.span(0, row);
        for column in 0..to.dims[2] {
            let columns = windows.span(1, column);
            let count = (rows.n_counted * columns.n_counted) as f32;
            for image in 0..n_images {
                let first = from.at(image, rows.start as isize, columns.start as isize);
                let result = to.at(image, row as isize, column as isize);
                for block in 0..to.n_blocks() {
                    // SAFETY: spans lie inside the image, and blocks are those of the places.
                    unsafe {
                        let is_max = windows.summary == Summary::Max;
                        let halves = from.halves(block);
                        let mut value = V::splat(if is_max { f32::NEG_INFINITY } else { 0.0 });
                        for row in 0..rows.end - rows.first {
                            let at = first + block * from.block + row * down * from.row;
                            for column in 0..columns.end - columns.first {
                                let entry = V::load_values(input.add(at + column * across * from.pixel), halves);
                                value = if is_max { value.max_or_nan(entry) } else { value.add(entry) };
                            }
                        }
                        if !is_max {
                            value = value.div(V::splat(count));
                        }
                        value.store_values(output.add(result + block * to.block), to.halves(block));
                    }
                }
            }
        }
    }
}

/// A convolution in which every channel has its own filter.
#[derive(Debug)]
pub(crate) struct Depthwise {
    path: Path,
    window: Window,
    input: Place,
    output: Place,
    residual: Option<Place>,
}

impl Depthwise {
    pub(crate) fn new(path: Path, window: Window, [input, output]: [Place; 2], residual: Option<Place>) -> Self {
        assert_eq!(input.dims[0], output.dims[0], "every channel by itself");
        let all = [Some(input), Some(output), residual];
        assert!(all.iter().flatten().all(|place| place.is_blocked(path)), "places in blocks of the path's lanes");
        assert!(residual.is_none_or(|residual| residual.dims == output.dims), "a residual of the result's shape");
        assert!(window.lies_within(&input, &output), "a border as wide as the window");
        Self { path, window, input, output, residual }
    }

    /// The number of weights: (block, window, lane).
    pub(crate) fn n_weights(&self) -> usize {
        self.output.n_blocks() * self.window.kernel[0] * self.window.kernel[1] * self.path.lanes()
    }

    /// Computes the first `n_images`.
    pub(crate) fn run(&self, n_images: usize, input: &[f32], operands: Operands<'_>, output: &mut [f32]) {
        let Operands { weights, bias, residual, .. } = operands;
        assert!(input.len() >= self.input.end(n_images), "an input that ends early");
        assert!(output.len() >= self.output.end(n_images), "an output that ends early");
        assert!(weights.len() >= self.n_weights(), "weights that end early");
        assert!(bias.len() >= self.output.n_blocks() * self.path.lanes(), "a bias that ends early");
        assert_eq!(residual.is_some(), self.residual.is_some(), "a residual that was not planned");
        let is_long_enough =
            residual.zip(self.residual).is_none_or(|(values, place)| values.len() >= place.end(n_images));
        assert!(is_long_enough, "a residual that ends early");
        let (conv, operands, input, output) = (self, &operands, input.as_ptr(), output.as_mut_ptr());
        // SAFETY: the processor has the instructions of the path. A window reaches no further than the input's border,
        // which the input's length includes. The output is borrowed uniquely.
        unsafe {
            dispatch!(
                self.path,
                depthwise,
                (conv: &Depthwise, n_images: usize, input: *const f32, operands: &Operands<'_>, output: *mut f32)
            );
        }
    }
}

/// # Safety
/// Input, output and the slices of `operands` are those of `conv` for `n_images`; the processor has the instructions of
/// `V`.
#[inline(always)]
unsafe fn depthwise<V: Vector>(
    conv: &Depthwise,
    n_images: usize,
    input: *const f32,
    operands: &Operands<'_>,
    output: *mut f32,
) {
    let (from, to) = (&conv.input, &conv.output);
    let Window { kernel, stride, padding, dilation } = conv.window;
    for block in 0..to.n_blocks() {
        let halves = [from.halves(block), to.halves(block)];
        for image in 0..n_images {
            for row in 0..to.dims[1] {
                for column in 0..to.dims[2] {
                    let top = (row * stride[0]) as isize - padding[0] as isize;
                    let left = (column * stride[1]) as isize - padding[1] as isize;
                    let first = from.at(image, top, left) + block * from.block;
                    let at = |place: &Place| place.at(image, row as isize, column as isize) + block * place.block;
                    // SAFETY: as for this function.
                    unsafe {
                        let [low, high] = operands.bounds.map(|bound| V::splat(bound));
                        let mut weight = operands.weights.as_ptr().add(block * kernel[0] * kernel[1] * V::LANES);
                        let mut value = V::load(operands.bias.as_ptr().add(block * V::LANES));
                        for row in 0..kernel[0] {
                            for column in 0..kernel[1] {
                                let offset = first + row * dilation[0] * from.row + column * dilation[1] * from.pixel;
                                value = V::load_values(input.add(offset), halves[0]).mul_add(V::load(weight), value);
                                weight = weight.add(V::LANES);
                            }
                        }
                        if let (Some(residual), Some(place)) = (operands.residual, &conv.residual) {
                            value = value.add(V::load_values(residual.as_ptr().add(at(place)), place.halves(block)));
                        }
                        value.at_least(low).at_most(high).store_values(output.add(at(to)), halves[1]);
                    }
                }
            }
        }
    }
}

/// Writes the mean of each channel: the rows' sums are added up, and divided.
pub(crate) fn global_mean(path: Path, [from, to]: [&Place; 2], n_images: usize, input: &[f32], output: &mut [f32]) {
    assert!(input.len() >= from.end(n_images), "an input that ends early");
    assert!(output.len() >= to.end(n_images), "an output that ends early");
    assert_eq!(from.dims[0], to.dims[0], "every channel by itself");
    assert!(from.is_blocked(path) && to.is_blocked(path), "places in blocks of the path's lanes");
    let (input, output) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: the processor has the instructions of the path. All that is read and written are pixels inside the images,
    // which the slices hold. The output is borrowed uniquely.
    unsafe {
        dispatch!(
            path,
            mean,
            (from: &Place, to: &Place, n_images: usize, input: *const f32, output: *mut f32)
        );
    }
}

/// # Safety
/// Input and output hold `n_images` of their places; the processor has the instructions of `V`.
#[inline(always)]
unsafe fn mean<V: Vector>(from: &Place, to: &Place, n_images: usize, input: *const f32, output: *mut f32) {
    let [_, height, width] = from.dims;
    for image in 0..n_images {
        for block in 0..to.n_blocks() {
            // SAFETY: as for this function.
            unsafe {
                let halves = from.halves(block);
                let mut total = V::splat(0.0);
                for row in 0..height {
                    let at = from.at(image, row as isize, 0) + block * from.block;
                    let mut sum = V::splat(0.0);
                    for column in 0..width {
                        sum = sum.add(V::load_values(input.add(at + column * from.pixel), halves));
                    }
                    total = total.add(sum);
                }
                let result = total.div(V::splat((height * width) as f32));
                result.store_values(output.add(to.at(image, 0, 0) + block * to.block), to.halves(block));
            }
        }
    }
}
