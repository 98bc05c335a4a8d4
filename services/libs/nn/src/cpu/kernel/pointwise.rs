//! Operations on each value by itself.

use super::path::{Path, dispatch};
use super::vector::Vector;
use crate::cpu::layout::Place;

/// A factor and a summand for each channel, and bounds of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) scales: &'a [f32],
    pub(crate) shifts: &'a [f32],
    pub(crate) bounds: [f32; 2],
}

/// What two values are joined by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    Add,
    Sub,
    Mul,
    Div,
}

/// Writes x scale + shift, channel by channel.
pub(crate) fn affine(
    path: Path,
    [from, to]: [&Place; 2],
    n_images: usize,
    input: &[f32],
    affine: Affine<'_>,
    output: &mut [f32],
) {
    assert_eq!(from.dims, to.dims, "a result of the same shape");
    assert!(from.is_blocked(path) && to.is_blocked(path), "places in blocks of the path's lanes");
    assert!(input.len() >= from.end(n_images), "an input that ends early");
    assert!(output.len() >= to.end(n_images), "an output that ends early");
    let n_lanes = to.n_blocks() * path.lanes();
    assert!(affine.scales.len() >= n_lanes && affine.shifts.len() >= n_lanes, "factors that end early");
    let (affine, input, output) = (&affine, input.as_ptr(), output.as_mut_ptr());
    // SAFETY: the processor has the instructions of the path. All that is read and written are pixels inside the images,
    // which the slices hold. The output is borrowed uniquely.
    unsafe {
        dispatch!(
            path,
            affine_body,
            (from: &Place, to: &Place, n_images: usize, input: *const f32, affine: &Affine<'_>, output: *mut f32)
        );
    }
}

/// # Safety
/// Input and output hold `n_images` of their places; the processor has the instructions of `V`.
#[inline(always)]
unsafe fn affine_body<V: Vector>(
    from: &Place,
    to: &Place,
    n_images: usize,
    input: *const f32,
    affine: &Affine<'_>,
    output: *mut f32,
) {
    let [_, height, width] = to.dims;
    for image in 0..n_images {
        for block in 0..to.n_blocks() {
            // SAFETY: as for this function.
            unsafe {
                let [low, high] = affine.bounds.map(|bound| V::splat(bound));
                let halves = [from, to].map(|place| place.halves(block));
                let scale = V::load(affine.scales.as_ptr().add(block * V::LANES));
                let shift = V::load(affine.shifts.as_ptr().add(block * V::LANES));
                for row in 0..height {
                    let x = input.add(from.at(image, row as isize, 0) + block * from.block);
                    let y = output.add(to.at(image, row as isize, 0) + block * to.block);
                    for column in 0..width {
                        let value = V::load_values(x.add(column * from.pixel), halves[0]).mul_add(scale, shift);
                        value.at_least(low).at_most(high).store_values(y.add(column * to.pixel), halves[1]);
                    }
                }
            }
        }
    }
}

/// Writes the two inputs joined, within the bounds. The second may have height and width 1, which are repeated.
pub(crate) fn join(
    path: Path,
    joint: Joint,
    [first, second, to]: [&Place; 3],
    n_images: usize,
    inputs: [&[f32]; 2],
    bounds: [f32; 2],
    output: &mut [f32],
) {
    assert_eq!(first.dims, to.dims, "a result of the same shape");
    assert!([first, second, to].iter().all(|place| place.is_blocked(path)), "places in blocks of the path's lanes");
    let [channels, ..] = to.dims;
    assert!(second.dims == to.dims || second.dims == [channels, 1, 1], "a second input of the same shape, or 1 x 1");
    assert!(inputs[0].len() >= first.end(n_images), "an input that ends early");
    assert!(inputs[1].len() >= second.end(n_images), "an input that ends early");
    assert!(output.len() >= to.end(n_images), "an output that ends early");
    let (places, inputs, bounds) = (&[first, second, to], &inputs.map(<[f32]>::as_ptr), &bounds);
    let output = output.as_mut_ptr();
    // SAFETY: the processor has the instructions of the path. All that is read and written are pixels inside the images,
    // which the slices hold. The output is borrowed uniquely.
    unsafe {
        dispatch!(
            path,
            join_body,
            (
                joint: Joint,
                places: &[&Place; 3],
                n_images: usize,
                inputs: &[*const f32; 2],
                bounds: &[f32; 2],
                output: *mut f32,
            )
        );
    }
}

/// # Safety
/// Inputs and output hold `n_images` of their places; the processor has the instructions of `V`.
#[inline(always)]
unsafe fn join_body<V: Vector>(
    joint: Joint,
    [first, second, to]: &[&Place; 3],
    n_images: usize,
    inputs: &[*const f32; 2],
    bounds: &[f32; 2],
    output: *mut f32,
) {
    let [_, height, width] = to.dims;
    // A second input of 1 x 1 does not move on.
    let repeats = second.dims != to.dims;
    let (second_row, second_pixel) = if repeats { (0, 0) } else { (second.row, second.pixel) };
    for image in 0..n_images {
        for block in 0..to.n_blocks() {
            // SAFETY: as for this function.
            unsafe {
                let [low, high] = bounds.map(|bound| V::splat(bound));
                let halves = [first, second, to].map(|place| place.halves(block));
                for row in 0..height {
                    let a = inputs[0].add(first.at(image, row as isize, 0) + block * first.block);
                    let b = inputs[1].add(second.at(image, 0, 0) + row * second_row + block * second.block);
                    let y = output.add(to.at(image, row as isize, 0) + block * to.block);
                    for column in 0..width {
                        let a = V::load_values(a.add(column * first.pixel), halves[0]);
                        let b = V::load_values(b.add(column * second_pixel), halves[1]);
                        let value = match joint {
                            Joint::Add => a.add(b),
                            Joint::Sub => a.sub(b),
                            Joint::Mul => a.mul(b),
                            Joint::Div => a.div(b),
                        };
                        value.at_least(low).at_most(high).store_values(y.add(column * to.pixel), halves[2]);
                    }
                }
            }
        }
    }
}
