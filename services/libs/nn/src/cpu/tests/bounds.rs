//! Kernels panic before they touch anything that a slice does not hold, and take slices that hold all that they touch.

use std::panic::{AssertUnwindSafe, catch_unwind};

use relief_graph::Gemm;

use super::call::{Call, N_IMAGES, few};
use super::network::{PLAIN, Sketch};
use crate::cpu::encoding::Encoding;
use crate::cpu::kernel::amx::{Amx, Precision, Weights};
use crate::cpu::kernel::direct::{Direct, Group, Operands, Window, dense_groups};
use crate::cpu::kernel::pointwise::{self, Affine, Joint};
use crate::cpu::kernel::window::{self, Depthwise, Summary, Windows};
use crate::cpu::kernel::winograd::{Form, Winograd};
use crate::cpu::layout::{Border, Place};
use crate::cpu::{Algorithm, Path, Plan};

const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
/// One that most networks have.
const WINDOW: Window = Window { kernel: [3, 3], stride: [1, 1], padding: [1, 1], dilation: [1, 1] };
/// Wide enough for all windows here.
const BORDER: Border = Border { top: 1, left: 2, bottom: 3, right: 4 };

/// All instructions, with those that keep values encoded.
fn paths() -> impl Iterator<Item = Path> {
    Path::all().into_iter().chain(Path::amx())
}

/// One more than the last offset of the vectors at a pixel of the last image.
fn end_at(place: &Place, row: isize, column: isize) -> usize {
    place.at(N_IMAGES - 1, row, column) + (place.n_blocks() - 1) * place.block + place.lanes
}

fn last_end(place: &Place) -> usize {
    let [_, height, width] = place.dims;
    end_at(place, height as isize - 1, width as isize - 1)
}

/// The row and column of the last entry of the last window.
fn last_entry(window: &Window, output: &Place) -> [isize; 2] {
    [0, 1].map(|axis| {
        let last =
            (output.dims[1 + axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis];
        last as isize - window.padding[axis] as isize
    })
}

/// Windows, and the size of the result of an image of 5 x 6.
fn windows() -> impl Iterator<Item = (Window, [usize; 2])> {
    let all = [
        (WINDOW, [5, 6]),
        (Window { stride: [2, 2], ..WINDOW }, [3, 3]),
        (Window { kernel: [1, 1], stride: [3, 3], padding: [0, 0], ..WINDOW }, [2, 2]),
        (Window { kernel: [2, 3], dilation: [2, 2], padding: [0, 2], ..WINDOW }, [3, 5]),
        (Window { kernel: [5, 6], padding: [0, 0], ..WINDOW }, [1, 1]),
    ];
    few(all, &[1, 3])
}

fn operands<'a>(inputs: &[&'a [f32]]) -> Operands<'a> {
    Operands { weights: inputs[1], bias: inputs[2], residual: inputs.get(3).copied(), bounds: UNBOUNDED }
}

/// The lengths of weights, bias and, if it has one, the residual of a convolution behind that of its input.
fn conv_lens(input: usize, n_weights: usize, n_lanes: usize, residual: Option<&Place>) -> Vec<usize> {
    [input, n_weights, n_lanes].into_iter().chain(residual.map(last_end)).collect()
}

#[test]
fn direct_convolutions_need_exactly_what_they_touch() {
    for path in paths() {
        for (window, [height, width]) in windows() {
            let channels = [(3, 5, true, false), (1, 17, true, true), (9, 16, false, true), (17, 49, false, false)];
            for (n_inputs, n_outputs, is_planar, has_residual) in few(channels, &[0]) {
                let dims = [n_inputs, 5, 6];
                let input = if is_planar { Place::planar(dims, BORDER) } else { Place::blocked(dims, BORDER, path) };
                let output = Place::blocked([n_outputs, height, width], Border::default(), path);
                let residual = has_residual.then(|| Place::blocked(output.dims, BORDER, path));
                let n_taps = window.kernel[0] * window.kernel[1];
                let (groups, n_weights) = dense_groups(output.n_blocks(), n_inputs, n_taps, path);
                let conv = Direct::new(path, &window, groups, [input, output], residual, N_IMAGES);
                let [row, column] = last_entry(&window, &output);
                let channel = |channel: usize| match is_planar {
                    true => channel * input.channel,
                    false => {
                        let block = channel / path.lanes();
                        block * input.block + channel % path.lanes() + input.halves(block).reach()
                    }
                };
                let channels = (0..n_inputs).map(channel).max().unwrap_or(0);
                let input_len = input.at(N_IMAGES - 1, row, column) + channels + 1;
                let n_lanes = output.n_blocks() * path.lanes();
                let call = Call {
                    inputs: conv_lens(input_len, n_weights, n_lanes, residual.as_ref()),
                    output: last_end(&output),
                    scratch: 0,
                    place: output,
                    run: &|inputs, output, _| conv.run(N_IMAGES, inputs[0], operands(inputs), output),
                };
                call.check(&format!("{} {window:?} {n_inputs} {n_outputs}", path.as_str()));
            }
        }
    }
}

#[test]
fn groups_of_direct_convolutions_read_no_channels_behind_their_own() {
    for path in paths() {
        let lanes = path.lanes();
        for (window, [height, width]) in windows() {
            let input = Place::blocked([2 * lanes + 3, 5, 6], BORDER, path);
            let output = Place::blocked([lanes, height, width], BORDER, path);
            // From the second block of channels on, and two of the third.
            let group = Group { block: 0, n_blocks: 1, input_block: 1, n_inputs: lanes + 2, weights: 0 };
            let conv = Direct::new(path, &window, vec![group], [input, output], None, N_IMAGES);
            let [row, column] = last_entry(&window, &output);
            let n_weights = window.kernel[0] * window.kernel[1] * (lanes + 2) * lanes;
            let call = Call {
                inputs: vec![input.at(N_IMAGES - 1, row, column) + 2 * input.block + 2, n_weights, lanes],
                output: last_end(&output),
                scratch: 0,
                place: output,
                run: &|inputs, output, _| conv.run(N_IMAGES, inputs[0], operands(inputs), output),
            };
            call.check(&format!("{} {window:?}", path.as_str()));
        }
    }
}

#[test]
fn winograd_convolutions_need_exactly_what_they_touch() {
    for path in Path::all() {
        for form in [Form::Two, Form::Four] {
            let sizes = [([5, 6], true), ([2, 2], false), ([1, 7], true), ([4, 3], false), ([8, 9], true)];
            for (dims, has_residual) in few(sizes, &[2, 3]) {
                for (n_inputs, n_outputs) in few([(8, 5), (17, 49), (65, 16)], &[0]) {
                    check_winograd(path, form, dims, has_residual, [n_inputs, n_outputs]);
                }
            }
        }
    }
}

fn check_winograd(
    path: Path,
    form: Form,
    [height, width]: [usize; 2],
    has_residual: bool,
    [n_inputs, n_outputs]: [usize; 2],
) {
    // Asymmetric: a zero less at the bottom than at the top.
    let input = Place::blocked([n_inputs, height + 1, width + 1], BORDER, path);
    let output = Place::blocked([n_outputs, height, width], BORDER, path);
    let residual = has_residual.then(|| Place::blocked(output.dims, Border::default(), path));
    let conv = Winograd::new(path, form, [1, 1], [input, output], residual, N_IMAGES);
    let side = form.n_outputs();
    // The last input of the last tile, which begins in front of the image.
    let [row, column] = [height, width].map(|size| size.next_multiple_of(side) as isize);
    let n_lanes = output.n_blocks() * path.lanes();
    let n_weights = (side + 2) * (side + 2) * n_inputs * n_lanes;
    let call = Call {
        inputs: conv_lens(end_at(&input, row, column), n_weights, n_lanes, residual.as_ref()),
        output: last_end(&output),
        scratch: conv.n_scratch(),
        place: output,
        run: &|inputs, output, scratch| {
            conv.run(N_IMAGES, inputs[0], operands(inputs), scratch, output);
        },
    };
    call.check(&format!("{} {form:?} {height} x {width}, {n_inputs} {n_outputs}", path.as_str()));
}

/// Images, numbers of outputs and windows of convolutions by matrix products, whose pixels are put into tiles along
/// rows, columns and whole images, and from image to image. Pairs of blocks and blocks without another, incomplete or
/// not, are among their inputs and outputs.
fn products() -> Vec<([usize; 3], usize, Window)> {
    vec![
        ([16, 8, 33], 16, WINDOW),
        ([20, 8, 8], 33, WINDOW),
        ([48, 3, 15], 80, WINDOW),
        ([17, 40, 3], 32, WINDOW),
        ([32, 9, 20], 48, Window { kernel: [1, 1], stride: [2, 2], padding: [0, 0], ..WINDOW }),
        ([5, 23, 19], 18, Window { kernel: [5, 2], stride: [1, 3], padding: [2, 0], dilation: [2, 3] }),
        ([40, 5, 5], 21, Window { kernel: [5, 5], padding: [0, 0], ..WINDOW }),
        ([64, 1, 1], 10, Window { kernel: [1, 1], padding: [0, 0], ..WINDOW }),
    ]
}

#[test]
fn matrix_products_need_exactly_what_they_touch() {
    let Some(path) = Path::amx() else { return };
    for (dims, n_outputs, window) in products() {
        for precision in [Precision::SplitBf16, Precision::Bf16] {
            for encoding in [Encoding::SplitBf16, Encoding::F32] {
                for has_residual in [true, false] {
                    check_products(path, (dims, n_outputs, window), precision, encoding, has_residual);
                }
            }
        }
    }
}

fn check_products(
    path: Path,
    (dims, n_outputs, window): ([usize; 3], usize, Window),
    precision: Precision,
    encoding: Encoding,
    has_residual: bool,
) {
    let Window { kernel, stride, padding, dilation } = window;
    let [height, width] = [0, 1].map(|axis| {
        let reach = (kernel[axis] - 1) * dilation[axis];
        (dims[1 + axis] + 2 * padding[axis] - reach - 1) / stride[axis] + 1
    });
    // As narrow as can be, so that whole images are worth their borders.
    let around = Border { top: padding[0], left: padding[1], bottom: padding[0], right: padding[1] };
    let place = |dims, border, encoding| Place { encoding, ..Place::blocked(dims, border, path) };
    let input = place(dims, around, Encoding::SplitBf16);
    let output = place([n_outputs, height, width], BORDER, encoding);
    let residual = has_residual.then(|| place(output.dims, Border { left: 3, ..around }, Encoding::SplitBf16));
    let n_taps = kernel[0] * kernel[1];
    let weights = Weights::new(precision, [n_outputs, dims[0], n_taps]);
    let conv = Amx::new(path, &window, weights, [input, output], residual, N_IMAGES);
    let [row, column] = last_entry(&window, &output);
    // A tile of 256 words has weights of two blocks of inputs, or those of one block twice.
    let n_parts = if precision == Precision::SplitBf16 { 2 } else { 1 };
    let n_tiles = output.n_blocks() * n_taps * dims[0].div_ceil(32) * n_parts;
    let n_lanes = output.n_blocks() * path.lanes();
    let call = Call {
        inputs: conv_lens(end_at(&input, row, column), n_tiles * 256, n_lanes, residual.as_ref()),
        output: last_end(&output),
        scratch: 0,
        place: output,
        run: &|inputs, output, _| conv.run(N_IMAGES, inputs[0], operands(inputs), output),
    };
    call.check(&format!("{precision:?} {encoding:?} {dims:?} {n_outputs} {window:?}, residual: {has_residual}"));
}

#[test]
fn depthwise_convolutions_need_exactly_what_their_images_take() {
    for path in paths() {
        for (window, [height, width]) in windows() {
            for (n_channels, has_residual) in few([(3, true), (17, false)], &[0]) {
                let input = Place::blocked([n_channels, 5, 6], BORDER, path);
                let output = Place::blocked([n_channels, height, width], Border::default(), path);
                let residual = has_residual.then(|| Place::blocked(output.dims, Border::default(), path));
                let conv = Depthwise::new(path, window, [input, output], residual);
                let n_lanes = output.n_blocks() * path.lanes();
                let n_weights = n_lanes * window.kernel[0] * window.kernel[1];
                let call = Call {
                    inputs: conv_lens(N_IMAGES * input.image, n_weights, n_lanes, residual.as_ref()),
                    output: last_end(&output),
                    scratch: 0,
                    place: output,
                    run: &|inputs, output, _| conv.run(N_IMAGES, inputs[0], operands(inputs), output),
                };
                call.check(&format!("{} {window:?} {n_channels}", path.as_str()));
            }
        }
    }
}

#[test]
fn windows_need_exactly_what_their_images_take() {
    for path in paths() {
        for (window, [height, width]) in windows() {
            for summary in [Summary::Max, Summary::Mean, Summary::PaddedMean { end: [2, 2] }] {
                let input = Place::blocked([17, 5, 6], Border::default(), path);
                let output = Place::blocked([17, height, width], Border::default(), path);
                let windows = Windows::new(path, window, summary, [input, output]);
                let call = Call {
                    inputs: vec![last_end(&input)],
                    output: last_end(&output),
                    scratch: 0,
                    place: output,
                    run: &|inputs, output, _| windows.run(N_IMAGES, inputs[0], output),
                };
                call.check(&format!("{} {window:?} {summary:?}", path.as_str()));
            }
        }
    }
}

#[test]
fn operations_on_single_values_need_exactly_what_their_images_take() {
    for path in paths() {
        for n_channels in few([3, 16, 17], &[2]) {
            let case = format!("{} {n_channels}", path.as_str());
            let whole = Place::blocked([n_channels, 3, 4], BORDER, path);
            // From the third block of a larger value on, as in a concatenation.
            let part = Place::blocked([3 * n_channels + 50, 3, 4], Border::default(), path).part(2, n_channels);
            let vector = Place::blocked([n_channels, 1, 1], Border::default(), path);
            let n_lanes = vector.n_blocks() * path.lanes();
            let lens = |place: &Place| if place.border == BORDER { N_IMAGES * place.image } else { last_end(place) };
            for (from, to) in [(&part, &whole), (&whole, &part)] {
                let run = |inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]| {
                    let affine = Affine { scales: inputs[1], shifts: inputs[2], bounds: UNBOUNDED };
                    pointwise::affine(path, [from, to], N_IMAGES, inputs[0], affine, output);
                };
                let inputs = vec![lens(from), n_lanes, n_lanes];
                Call { inputs, output: lens(to), scratch: 0, place: *to, run: &run }.check(&case);
                for second in [from, to, &vector] {
                    let run = |inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]| {
                        let inputs = [inputs[0], inputs[1]];
                        pointwise::join(path, Joint::Sub, [from, second, to], N_IMAGES, inputs, UNBOUNDED, output);
                    };
                    let inputs = vec![lens(from), lens(second)];
                    Call { inputs, output: lens(to), scratch: 0, place: *to, run: &run }.check(&case);
                }
                let run = |inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]| {
                    window::global_mean(path, [from, &vector], N_IMAGES, inputs[0], output);
                };
                let inputs = vec![lens(from)];
                Call { inputs, output: lens(&vector), scratch: 0, place: vector, run: &run }.check(&case);
            }
        }
    }
}

#[test]
fn more_images_than_planned_are_refused() {
    let path = Path::all()[0];
    let place = Place::blocked([8, 2, 2], BORDER, path);
    let (groups, n_weights) = dense_groups(place.n_blocks(), 8, 9, path);
    let direct = Direct::new(path, &WINDOW, groups, [place, place], None, 1);
    let winograd = Winograd::new(path, Form::Two, [1, 1], [place, place], None, 1);
    let (values, weights) = (vec![0.0; 4 * place.image], vec![0.0; n_weights * 2]);
    let operands = Operands { weights: &weights, bias: &weights, residual: None, bounds: UNBOUNDED };
    let run = |run: &mut dyn FnMut(&mut [f32])| catch_unwind(AssertUnwindSafe(|| run(&mut vec![0.0; 4 * place.image])));
    assert!(run(&mut |output| direct.run(1, &values, operands, output)).is_ok());
    assert!(run(&mut |output| direct.run(2, &values, operands, output)).is_err());
    let mut scratch = vec![0.0; winograd.n_scratch()];
    assert!(run(&mut |output| winograd.run(1, &values, operands, &mut scratch, output)).is_ok());
    assert!(run(&mut |output| winograd.run(2, &values, operands, &mut scratch, output)).is_err());
    let Some(path) = Path::amx() else { return };
    let place = Place::blocked([8, 2, 2], BORDER, path);
    let planned = Weights::new(Precision::SplitBf16, [8, 8, 9]);
    let (values, weights) = (vec![0.0; 4 * place.image], vec![0.0; planned.len()]);
    let operands = Operands { weights: &weights, bias: &weights, residual: None, bounds: UNBOUNDED };
    let products = Amx::new(path, &WINDOW, planned, [place, place], None, 1);
    assert!(run(&mut |output| products.run(1, &values, operands, output)).is_ok());
    assert!(run(&mut |output| products.run(2, &values, operands, output)).is_err());
}

/// Whether `plan` panics.
fn is_refused<T>(plan: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(plan)).is_err()
}

#[test]
fn residuals_of_another_shape_are_refused() {
    for path in paths() {
        let place = |channels: usize, height: usize| Place::blocked([channels, height, 6], BORDER, path);
        let places = [place(17, 5), place(17, 5)];
        let (groups, _) = dense_groups(places[1].n_blocks(), 17, 9, path);
        for (residual, is_wrong) in [(place(17, 5), false), (place(17, 4), true), (place(16, 5), true)] {
            let case = format!("{} {:?}", path.as_str(), residual.dims);
            let residual = Some(residual);
            let direct = || Direct::new(path, &WINDOW, groups.clone(), places, residual, N_IMAGES);
            assert_eq!(is_refused(direct), is_wrong, "{case}");
            assert_eq!(is_refused(|| Depthwise::new(path, WINDOW, places, residual)), is_wrong, "{case}");
            if path.encoding() == Encoding::F32 {
                let winograd = || Winograd::new(path, Form::Two, [1, 1], places, residual, N_IMAGES);
                assert_eq!(is_refused(winograd), is_wrong, "{case}");
            } else {
                let weights = Weights::new(Precision::Bf16, [17, 17, 9]);
                let products = || Amx::new(path, &WINDOW, weights, places, residual, N_IMAGES);
                assert_eq!(is_refused(products), is_wrong, "{case}");
            }
        }
    }
}

#[test]
fn borders_that_windows_or_tiles_reach_beyond_are_refused() {
    // Of outputs of 5 x 6, tiles of 2 x 2 have inputs of 8 x 8, and tiles of 4 x 4 have inputs of 10 x 10.
    let of_window = Border { top: 1, left: 1, bottom: 1, right: 1 };
    let of_two = Border { bottom: 2, ..of_window };
    let of_four = Border { bottom: 4, right: 3, ..of_window };
    let narrower = |border: Border| {
        let Border { top, left, bottom, right } = border;
        [
            Border { top: top - 1, ..border },
            Border { left: left - 1, ..border },
            Border { bottom: bottom - 1, ..border },
            Border { right: right - 1, ..border },
        ]
    };
    let check = |case: &str, border: Border, plan: &dyn Fn(Border)| {
        assert!(!is_refused(|| plan(border)), "{case} {border:?}");
        for border in narrower(border) {
            assert!(is_refused(|| plan(border)), "{case} {border:?}");
        }
    };
    for path in paths() {
        let places = |border| [border, Border::default()].map(|border| Place::blocked([17, 5, 6], border, path));
        let (groups, _) = dense_groups(places(of_window)[1].n_blocks(), 17, 9, path);
        check(path.as_str(), of_window, &|border| {
            Direct::new(path, &WINDOW, groups.clone(), places(border), None, N_IMAGES);
        });
        check(path.as_str(), of_window, &|border| {
            Depthwise::new(path, WINDOW, places(border), None);
        });
        if path.encoding() == Encoding::F32 {
            for (form, border) in [(Form::Two, of_two), (Form::Four, of_four)] {
                check(path.as_str(), border, &|border| {
                    Winograd::new(path, form, [1, 1], places(border), None, N_IMAGES);
                });
            }
        } else {
            let weights = Weights::new(Precision::Bf16, [17, 17, 9]);
            check(path.as_str(), of_window, &|border| {
                Amx::new(path, &WINDOW, weights, places(border), None, N_IMAGES);
            });
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "plans of 2^31 values")]
fn values_that_offsets_do_not_reach_are_refused() {
    let mut sketch = Sketch::new(1, [1, 1 << 13, 1 << 13], true);
    let y = sketch.conv("x", 16, PLAIN, 1, false);
    let y = sketch.global_mean(&y);
    sketch.gemm(&y, 2, Gemm::LINEAR, true);
    let network = sketch.finish();
    let plan = |n_images: usize| Plan::with_micro_batch(&network.graph, Path::all()[0], Algorithm::Direct, n_images);
    assert!(plan(3).is_ok());
    let refusal = plan(4).expect_err("2^32 values").to_string();
    assert!(refusal.contains("4294967296 values") && refusal.contains("4294967295"), "{refusal}");
    let chosen = Plan::new(&network.graph, Path::all()[0], Algorithm::Direct).expect("a plan for few images");
    assert!(chosen.n_images() <= 3);
}
