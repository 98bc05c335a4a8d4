//! Tests of convolutions by matrix products against their definition in float64. On processors without AMX there is
//! nothing to test.

use relief_core::Philox;

use super::*;
use crate::cpu::encoding::Halves;
use crate::cpu::kernel::pointwise::{self, Affine};
use crate::cpu::layout::Border;

const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// A convolution with random inputs and weights.
struct Case {
    window: Window,
    n_images: usize,
    /// (channels, height, width).
    input: [usize; 3],
    output: [usize; 3],
    has_residual: bool,
    bounds: [f32; 2],
    images: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(n_images: usize, input: [usize; 3], n_outputs: usize, window: Window) -> Self {
        let Window { kernel, stride, padding, dilation } = window;
        let [height, width] = [0, 1].map(|axis| {
            (input[1 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1
        });
        let output = [n_outputs, height, width];
        let normal = |key: u64, len: usize| {
            let mut values = vec![0.0; len];
            Philox::new([key, 5]).fill_normal(&mut values);
            values
        };
        Self {
            window,
            n_images,
            input,
            output,
            has_residual: false,
            bounds: UNBOUNDED,
            images: normal(1, n_images * input.iter().product::<usize>()),
            weights: normal(2, n_outputs * input[0] * kernel[0] * kernel[1]),
            bias: normal(3, n_outputs),
            residual: normal(4, n_images * output.iter().product::<usize>()),
        }
    }

    /// The result, and the sum of the absolute values of its summands.
    fn expected(&self) -> Vec<(f64, f64)> {
        let Window { kernel, stride, padding, dilation } = self.window;
        let ([n_inputs, height, width], [n_outputs, n_rows, n_columns]) = (self.input, self.output);
        let mut results = Vec::new();
        for idx in 0..self.n_images * n_outputs * n_rows * n_columns {
            let (row, column) = (idx / n_columns % n_rows, idx % n_columns);
            let (output, image) = (idx / n_columns / n_rows % n_outputs, idx / n_columns / n_rows / n_outputs);
            let mut summands = vec![f64::from(self.bias[output])];
            if self.has_residual {
                summands.push(f64::from(self.residual[idx]));
            }
            for entry in 0..n_inputs * kernel[0] * kernel[1] {
                let (down, across) = (entry / kernel[1] % kernel[0], entry % kernel[1]);
                let input = entry / kernel[1] / kernel[0];
                let y = (row * stride[0] + down * dilation[0]).wrapping_sub(padding[0]);
                let x = (column * stride[1] + across * dilation[1]).wrapping_sub(padding[1]);
                if y < height && x < width {
                    let value = self.images[((image * n_inputs + input) * height + y) * width + x];
                    let weight = self.weights[output * n_inputs * kernel[0] * kernel[1] + entry];
                    summands.push(f64::from(value) * f64::from(weight));
                }
            }
            let [low, high] = self.bounds.map(f64::from);
            let sum: f64 = summands.iter().sum();
            results.push((sum.max(low).min(high), summands.iter().map(|summand| summand.abs()).sum()));
        }
        results
    }

    /// Computes the images in micro-batches of `n_together`.
    fn computed(&self, path: Path, precision: Precision, n_together: usize, encoding: Encoding) -> Vec<f32> {
        let Window { kernel, stride, padding, dilation } = self.window;
        let beyond = |axis: usize| {
            let end = (self.output[1 + axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
            end.saturating_sub(padding[axis] + self.input[1 + axis])
        };
        // One more column than is needed, as another reader might need it.
        let border = Border { top: padding[0], left: padding[1], bottom: beyond(0), right: beyond(1) + 1 };
        let from = Place { encoding: Encoding::SplitBf16, ..Place::blocked(self.input, border, path) };
        let around = Border { top: 1, left: 2, bottom: 3, right: 4 };
        let to = Place { encoding, ..Place::blocked(self.output, around, path) };
        let other = Place { encoding: Encoding::SplitBf16, ..Place::blocked(self.output, Border::default(), path) };
        let residual_place = self.has_residual.then_some(other);

        let weights = Weights::new(precision, [self.output[0], self.input[0], kernel[0] * kernel[1]]);
        let mut packed = vec![0.0; weights.len()];
        weights.pack(&self.weights, &vec![1.0; self.output[0]], &mut packed);
        let mut bias = vec![0.0; to.n_blocks() * TILE];
        bias[..self.output[0]].copy_from_slice(&self.bias);
        let conv = Amx::new(path, &self.window, weights, [from, to], residual_place, n_together);

        let (per_image, per_result) = (self.input.iter().product::<usize>(), self.output.iter().product::<usize>());
        let mut results = Vec::new();
        for (images, residuals) in
            self.images.chunks(per_image * n_together).zip(self.residual.chunks(per_result * n_together))
        {
            let n_images = images.len() / per_image;
            let input = placed(&from, images, n_together);
            let residual = placed(&other, residuals, n_together);
            let mut output = vec![f32::NAN; n_together * to.image];
            let operands = Operands {
                weights: &packed,
                bias: &bias,
                residual: self.has_residual.then_some(&residual[..]),
                bounds: self.bounds,
            };
            conv.run(n_images, &input, operands, &mut output);
            let mut is_written = vec![false; output.len()];
            for idx in 0..n_images * per_result {
                let at = offset(&to, idx);
                let halves = halves(&to, idx);
                is_written[at] = true;
                match halves {
                    Halves::None | Halves::Own => {}
                    Halves::Lower(distance) => is_written[at + distance] = true,
                    Halves::Upper(distance) => is_written[at - distance] = true,
                }
                results.push(encoding.decode(halves.get(&output, at)));
            }
            // What lies around the result is as it was, or the lane of a channel that there is not.
            for (at, value) in output.iter().enumerate().filter(|(at, _)| !is_written[*at]) {
                assert!(
                    value.is_nan() || at / to.image >= n_images || encoding.decode(*value) == 0.0,
                    "{value} at {at}"
                );
            }
        }
        results
    }
}

/// The offset of an entry of images, counted as (image, channel, row, column).
fn offset(place: &Place, idx: usize) -> usize {
    let [channels, height, width] = place.dims;
    let (row, column) = (idx / width % height, idx % width);
    let (channel, image) = (idx / width / height % channels, idx / width / height / channels);
    place.at(image, row as isize, column as isize) + channel / place.lanes * place.block + channel % place.lanes
}

/// Where the halves of that entry lie.
fn halves(place: &Place, idx: usize) -> Halves {
    let [channels, height, width] = place.dims;
    place.halves(idx / width / height % channels / place.lanes)
}

/// Images in their place, with zeros around them; what is left of `n_together` is NaN.
fn placed(place: &Place, images: &[f32], n_together: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; n_together * place.image];
    let n_images = images.len() / place.dims.iter().product::<usize>();
    values[..n_images * place.image].fill(0.0);
    for (idx, value) in images.iter().enumerate() {
        halves(place, idx).set(&mut values, offset(place, idx), place.encoding.encode(*value));
    }
    values
}

fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2]) -> Window {
    Window { kernel, stride, padding, dilation }
}

/// Convolutions that put pixels into tiles in all ways, with and without incomplete blocks.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(3, [16, 32, 32], 16, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(5, [32, 8, 8], 48, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(4, [20, 8, 8], 33, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(2, [7, 17, 33], 10, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(3, [16, 9, 40], 16, window([1, 1], [2, 2], [0, 0], [1, 1])),
        Case::new(3, [48, 16, 16], 32, window([3, 3], [2, 2], [1, 1], [1, 1])),
        Case::new(2, [5, 23, 19], 18, window([5, 2], [1, 3], [2, 0], [2, 3])),
        Case::new(2, [17, 40, 3], 4, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(2, [16, 40, 3], 16, window([7, 1], [2, 1], [3, 0], [1, 2])),
        Case::new(19, [12, 4, 4], 16, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(19, [64, 1, 1], 10, window([1, 1], [1, 1], [0, 0], [1, 1])),
        Case::new(37, [6, 5, 5], 21, window([5, 5], [1, 1], [0, 0], [1, 1])),
        Case::new(1, [40, 7, 7], 16, window([1, 1], [1, 1], [0, 0], [1, 1])),
        Case::new(3, [48, 9, 9], 80, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(1, [33, 5, 5], 32, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(1, [32, 3, 3], 16, window([3, 3], [1, 1], [1, 1], [1, 1])),
        Case::new(3, [64, 3, 15], 31, window([3, 3], [1, 1], [1, 1], [1, 1])),
    ];
    for (idx, case) in cases.iter_mut().enumerate() {
        case.has_residual = idx % 2 == 0 || idx > 13;
        case.bounds = [UNBOUNDED, [0.0, f32::INFINITY], [0.0, 6.0]][idx % 3];
    }
    cases
}

#[test]
fn convolutions_are_what_their_definition_says() {
    let Some(path) = Path::amx() else { return };
    for case in cases() {
        let expected = case.expected();
        // Both factors, the residual and the result are rounded.
        for (precision, tolerance) in [(Precision::SplitBf16, 4.0 / 65536.0), (Precision::Bf16, 1.0 / 256.0)] {
            for encoding in [Encoding::SplitBf16, Encoding::F32] {
                let computed = case.computed(path, precision, case.n_images.min(16), encoding);
                assert_eq!(computed.len(), expected.len());
                for (idx, (computed, (expected, scale))) in computed.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*computed) - expected).abs();
                    assert!(error <= tolerance * scale, "{:?}, {idx}: {computed}, not {expected}", case.window);
                }
            }
        }
    }
}

#[test]
fn results_are_the_same_for_any_number_of_images() {
    let Some(path) = Path::amx() else { return };
    for case in cases() {
        let bits = |n_together: usize| -> Vec<u32> {
            let computed = case.computed(path, Precision::SplitBf16, n_together, Encoding::SplitBf16);
            computed.into_iter().map(f32::to_bits).collect()
        };
        let expected = bits(1);
        for n_together in [2, 3, 16, 20] {
            assert!(bits(n_together) == expected, "{:?}, {n_together} images", case.window);
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_and_where_it_is() {
    let Some(path) = Path::amx() else { return };
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::from_bits(0xffff_ffff)] {
        for (n_inputs, channel, n_outputs, has_residual) in
            [(16, 0, 16, false), (32, 5, 32, false), (32, 20, 48, true), (48, 17, 16, true), (48, 47, 33, false)]
        {
            let mut case = Case::new(3, [n_inputs, 8, 8], n_outputs, window([3, 3], [1, 1], [1, 1], [1, 1]));
            case.has_residual = has_residual;
            // The middle of the second image.
            case.images[(n_inputs + channel) * 64 + 3 * 8 + 4] = value;
            for precision in [Precision::SplitBf16, Precision::Bf16] {
                let computed = case.computed(path, precision, 3, Encoding::SplitBf16);
                for (idx, computed) in computed.iter().enumerate() {
                    let (image, row, column) = (idx / 64 / n_outputs, idx / 8 % 8, idx % 8);
                    let is_near = image == 1 && (2..=4).contains(&row) && (3..=5).contains(&column);
                    assert_eq!(computed.is_finite(), !is_near, "{value} of {n_inputs}: {computed} at {idx}");
                }
            }
        }
    }
}

#[test]
fn vectors_encode_as_single_values_do() {
    let Some(path) = Path::amx() else { return };
    let mut philox = Philox::new([6, 5]);
    let mut values: Vec<f32> = (0..48 * 1000).map(|_| f32::from_bits(philox.next_u64() as u32)).collect();
    values[..5].copy_from_slice(&[0.0, f32::NAN, f32::INFINITY, f32::MAX, f32::from_bits(0xffff_ffff)]);
    // Two blocks that exchange halves, and one that does not.
    let place = Place::blocked([48, 1, 1000], Border::default(), path);
    let words = placed(&place, &values, 1);
    let mut output = vec![0.0; words.len()];
    let affine = Affine { scales: &[1.0; 48], shifts: &[0.0; 48], bounds: UNBOUNDED };
    pointwise::affine(path, [&place, &place], 1, &words, affine, &mut output);
    for (idx, value) in values.iter().enumerate() {
        let of = |words: &[f32]| place.encoding.decode(halves(&place, idx).get(words, offset(&place, idx)));
        let (once, twice) = (of(&words), of(&output));
        if value.abs() < f32::from_bits(0x7f7f_8000) {
            // Of subnormal rests there are not as many digits.
            let error = (value - once).abs();
            assert!(error <= value.abs() / 131_072.0 + f32::MIN_POSITIVE, "{value}: {once}");
            assert_eq!(once.to_bits(), twice.to_bits(), "{value}");
        } else {
            assert!(!once.is_finite() && !twice.is_finite(), "{value}: {once}, {twice}");
        }
    }
}

#[test]
fn results_and_residuals_are_encoded_as_single_values_are() {
    let Some(path) = Path::amx() else { return };
    for n_channels in [16, 32, 48] {
        // A residual alone.
        let mut case = Case::new(1, [16, 8, 8], n_channels, window([1, 1], [1, 1], [0, 0], [1, 1]));
        case.has_residual = true;
        case.weights.fill(0.0);
        case.bias.fill(0.0);
        let mut draws = Philox::new([7, 5]);
        for value in &mut case.residual {
            *value = f32::from_bits(draws.next_u64() as u32);
        }
        case.residual[..3].copy_from_slice(&[f32::from_bits(0xffff_ffff), f32::INFINITY, f32::from_bits(0x7fff_ffff)]);
        let computed = case.computed(path, Precision::SplitBf16, 1, Encoding::SplitBf16);
        for (computed, value) in computed.iter().zip(&case.residual) {
            let expected = Encoding::SplitBf16.decode(Encoding::SplitBf16.encode(*value));
            match expected.is_finite() {
                true => assert_eq!(*computed, expected, "{value}"),
                false => assert!(!computed.is_finite(), "{value}: {computed}"),
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so_whatever_its_bits() {
    let Some(path) = Path::amx() else { return };
    // Those that a carry would make another number of among them.
    for bits in [0x7fff_ffff, 0xffff_ffff, 0x7fff_8000, 0xffff_8000, 0x7fc0_0000, 0xffc0_0001] {
        // Two blocks that exchange halves, and one that does not.
        let place = Place::blocked([48, 1, 2], Border::default(), path);
        let words = vec![0.0; place.image];
        let mut output = vec![0.0; place.image];
        let shifts = [f32::from_bits(bits); 48];
        let affine = Affine { scales: &[1.0; 48], shifts: &shifts, bounds: UNBOUNDED };
        pointwise::affine(path, [&place, &place], 1, &words, affine, &mut output);
        for idx in 0..2 * 48 {
            let word = halves(&place, idx).get(&output, offset(&place, idx));
            assert!(place.encoding.decode(word).is_nan(), "{bits:x} at {idx}");
        }
    }
}
