//! Winograd's convolutions against their definition, in each form and with tiles cut off in all ways.

use relief_core::Philox;

use super::network::spread;
use crate::cpu::Path;
use crate::cpu::kernel::direct::Operands;
use crate::cpu::kernel::winograd::{Form, Winograd};
use crate::cpu::layout::{Border, Place, clear_border};

const FORMS: [Form; 2] = [Form::Two, Form::Four];
const N_IMAGES: usize = 2;
/// What may be lost, as a part of the largest sum that values of this size can have.
const TOLERANCE: f64 = 1e-6;

/// A convolution: of outputs of this size, with zeros above and to the left of inputs.
#[derive(Debug, Clone, Copy)]
struct Case {
    path: Path,
    form: Form,
    channels: [usize; 2],
    size: [usize; 2],
    padding: [usize; 2],
    has_residual: bool,
    bounds: [f32; 2],
}

fn drawn(draws: &mut Philox, n_values: usize) -> Vec<f32> {
    (0..n_values).map(|_| spread(draws)).collect()
}

/// Where a channel of a pixel lies.
fn offset(place: &Place, [image, channel, row, column]: [usize; 4]) -> usize {
    place.at(image, row as isize, column as isize) + channel / place.lanes * place.block + channel % place.lanes
}

/// Memory of a place with drawn values; what is neither a value nor border is NaN.
fn filled(draws: &mut Philox, place: &Place) -> Vec<f32> {
    let mut values = vec![f32::NAN; N_IMAGES * place.image];
    clear_border(place, &mut values, N_IMAGES);
    let [channels, height, width] = place.dims;
    for image in 0..N_IMAGES {
        for channel in 0..channels {
            for row in 0..height {
                for column in 0..width {
                    values[offset(place, [image, channel, row, column])] = spread(draws);
                }
            }
        }
    }
    values
}

/// Computes a convolution of drawn values and checks each output.
fn check(case: Case, seed: u64) {
    let Case { path, form, channels: [n_inputs, n_outputs], size: [height, width], padding, has_residual, bounds } =
        case;
    let mut draws = Philox::new([seed, 31]);
    // The same zeros below and to the right as above and to the left, and what tiles reach beyond.
    let dims = [n_inputs, (height + 2).saturating_sub(2 * padding[0]), (width + 2).saturating_sub(2 * padding[1])];
    let behind =
        |axis: usize, size: usize| size.next_multiple_of(form.n_outputs()) + 2 - padding[axis] - dims[1 + axis];
    let border = Border { top: padding[0], left: padding[1], bottom: behind(0, height), right: behind(1, width) };
    let input = Place::blocked(dims, border, path);
    let output = Place::blocked([n_outputs, height, width], Border::default(), path);
    let conv = Winograd::new(path, form, padding, [input, output], has_residual.then_some(output), N_IMAGES);
    let x = filled(&mut draws, &input);
    let residual = has_residual.then(|| filled(&mut draws, &output));
    let weights = drawn(&mut draws, n_outputs * n_inputs * 9);
    // From 2^-12 to 2^12, of both signs.
    let mut scale_of = |_| f64::from(spread(&mut draws)) * f64::powi(2.0, draws.next_below(25) as i32 - 12);
    let scales: Vec<f64> = (0..n_outputs).map(&mut scale_of).collect();
    let bias = drawn(&mut draws, output.n_blocks() * path.lanes());
    let mut packed = vec![0.0; conv.n_weights()];
    conv.pack(&weights, &scales, &mut packed);
    let mut y = vec![f32::NAN; N_IMAGES * output.image];
    let operands = Operands { weights: &packed, bias: &bias, residual: residual.as_deref(), bounds };
    conv.run(N_IMAGES, &x, operands, &mut vec![f32::NAN; conv.n_scratch()], &mut y);
    // All values of a tile take part in its transforms, and none is larger than the root of 3.
    let magnitude = |(filters, scale): (&[f32], &f64)| {
        let sum: f64 = filters.iter().map(|weight| f64::from(weight.abs())).sum();
        2.0 + 3.0_f64.sqrt() * scale.abs() * sum
    };
    let magnitudes: Vec<f64> = weights.chunks(n_inputs * 9).zip(&scales).map(magnitude).collect();
    for image in 0..N_IMAGES {
        for channel in 0..n_outputs {
            for row in 0..height {
                for column in 0..width {
                    let at = offset(&output, [image, channel, row, column]);
                    let terms = [Some(bias[channel]), residual.as_ref().map(|residual| residual[at])];
                    let terms = terms.into_iter().flatten().map(f64::from);
                    let products = (0..n_inputs * 9).filter_map(|idx| {
                        let (from, tap) = (idx / 9, [row + idx % 9 / 3, column + idx % 3]);
                        let [r, c] = [0, 1].map(|axis| tap[axis].checked_sub(padding[axis]));
                        let (r, c) = (r.filter(|r| *r < dims[1])?, c.filter(|c| *c < dims[2])?);
                        let weight = f64::from(weights[channel * n_inputs * 9 + idx]) * scales[channel];
                        Some(weight * f64::from(x[offset(&input, [image, from, r, c])]))
                    });
                    let expected = terms.chain(products).sum::<f64>().clamp(f64::from(bounds[0]), f64::from(bounds[1]));
                    let magnitude = magnitudes[channel] + residual.as_ref().map_or(0.0, |r| f64::from(r[at].abs()));
                    let error = (f64::from(y[at]) - expected).abs();
                    let place = [image, channel, row, column];
                    assert!(error <= TOLERANCE * magnitude, "{case:?} at {place:?}: {}, not {expected}", y[at]);
                }
            }
        }
    }
}

#[test]
fn outputs_of_all_sizes_are_those_of_the_definition() {
    const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
    let mut seed = 0;
    for path in Path::all() {
        for form in FORMS {
            for height in 1..=13 {
                for width in 1..=13 {
                    let channels = [[1, 1], [8, 5], [17, 33], [16, 16], [3, 50]][seed as usize % 5];
                    let padding = [[1, 1], [0, 0], [1, 0]][seed as usize % 3];
                    let bounds = if seed % 4 == 0 { [-1.0, 2.0] } else { UNBOUNDED };
                    let has_residual = seed % 2 == 0;
                    let size = [height, width];
                    check(Case { path, form, channels, size, padding, has_residual, bounds }, seed);
                    seed += 1;
                }
            }
        }
    }
}

#[test]
fn sums_over_many_channels_are_those_of_the_definition() {
    for path in Path::all() {
        for form in FORMS {
            // The last has more tiles than are transformed together.
            for (channels, size) in [([64, 64], [6, 8]), ([65, 16], [6, 8]), ([130, 72], [6, 8]), ([72, 72], [26, 26])]
            {
                let bounds = [0.0, f32::INFINITY];
                check(Case { path, form, channels, size, padding: [1, 1], has_residual: true, bounds }, 7);
            }
        }
    }
}

#[test]
fn an_image_has_the_tiles_that_take_the_fewest_products() {
    for (size, form) in [
        ([32, 32], Form::Four),
        ([8, 8], Form::Four),
        ([7, 7], Form::Four),
        ([3, 3], Form::Four),
        ([6, 6], Form::Two),
        ([5, 5], Form::Two),
        ([2, 32], Form::Two),
        ([1, 1], Form::Two),
    ] {
        assert_eq!(Form::of(size[0], size[1]), form, "{size:?}");
    }
}
