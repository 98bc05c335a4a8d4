//! Forward passes.

use super::activation::Activation;
use super::encoding::Encoding;
use super::kernel::direct::Operands;
use super::kernel::pointwise::{self, Affine};
use super::kernel::window;
use super::layout::{Place, clear_absent_lanes, clear_border};
use super::pack::{Packed, Tensors};
use super::plan::{Located, Plan, Step, StepOp, Workspace};

impl Plan {
    /// Memory for the parameters.
    pub(crate) fn allocate(&self) -> Vec<Packed> {
        self.recipes.iter().map(|recipe| recipe.allocate()).collect()
    }

    /// The bytes of the parameters.
    pub(crate) fn n_parameter_bytes(&self) -> usize {
        self.recipes.iter().map(|recipe| recipe.n_bytes()).sum()
    }

    /// Packs the parameters of the step whose recipe is `idx`.
    pub(crate) fn pack(&self, idx: usize, tensors: Tensors<'_>, packed: &mut Packed) {
        let winograd = self.steps.iter().find_map(|step| match &step.op {
            StepOp::Winograd(winograd, recipe) if *recipe == idx => Some(winograd),
            _ => None,
        });
        self.recipes[idx].pack(tensors, winograd, packed);
    }

    /// Writes the logits, row-major (image, class), of `images`, each row-major (channel, row, column).
    pub(crate) fn forward(&self, packed: &[Packed], images: &[f32], workspace: &mut Workspace, logits: &mut [f32]) {
        let n_values: usize = self.input.place.dims.iter().product();
        let n_classes: usize = self.output.place.dims.iter().product();
        let batches = images.chunks(n_values * self.n_images()).zip(logits.chunks_mut(n_classes * self.n_images()));
        for (images, logits) in batches {
            let n_images = images.len() / n_values;
            let Located { slot, place } = &self.input;
            workspace.prepare(*slot, place, n_images);
            load(place, images, &mut workspace.slots[*slot]);
            clear_absent_lanes(place, &mut workspace.slots[*slot], n_images);
            for step in &self.steps {
                self.run(step, packed, n_images, workspace);
            }
            unload(&self.output.place, &workspace.slots[self.output.slot], logits);
        }
    }

    fn run(&self, step: &Step, packed: &[Packed], n_images: usize, workspace: &mut Workspace) {
        let Step { op, inputs, output: Located { slot, place: to }, bounds } = step;
        workspace.prepare(*slot, to, n_images);
        // A step does not read what it writes, so that its output may leave the workspace meanwhile.
        let mut output = std::mem::take(&mut workspace.slots[*slot]);
        let values = |located: &Located| &workspace.slots[located.slot][..];
        let from = &inputs[0].place;
        let operands = |recipe: usize| Operands {
            weights: &packed[recipe].weights,
            bias: &packed[recipe].bias,
            residual: inputs.get(1).map(values),
            bounds: *bounds,
        };
        match op {
            StepOp::Direct(conv, recipe) => conv.run(n_images, values(&inputs[0]), operands(*recipe), &mut output),
            StepOp::Winograd(conv, recipe) => {
                let mut scratch = std::mem::take(&mut workspace.scratch);
                let values = |located: &Located| &workspace.slots[located.slot][..];
                let operands = Operands { residual: inputs.get(1).map(values), ..operands(*recipe) };
                conv.run(n_images, values(&inputs[0]), operands, &mut scratch, &mut output);
                workspace.scratch = scratch;
            }
            StepOp::Amx(conv, recipe) => conv.run(n_images, values(&inputs[0]), operands(*recipe), &mut output),
            StepOp::Depthwise(conv, recipe) => conv.run(n_images, values(&inputs[0]), operands(*recipe), &mut output),
            StepOp::Affine(recipe) => {
                let Packed { weights, bias } = &packed[*recipe];
                let affine = Affine { scales: weights, shifts: bias, bounds: *bounds };
                pointwise::affine(self.path, [from, to], n_images, values(&inputs[0]), affine, &mut output);
            }
            StepOp::Activate(activation) => {
                activate(*activation, [from, to], n_images, values(&inputs[0]), &mut output);
            }
            StepOp::Join(joint) => {
                let (places, values) = ([from, &inputs[1].place, to], [values(&inputs[0]), values(&inputs[1])]);
                pointwise::join(self.path, *joint, places, n_images, values, *bounds, &mut output);
            }
            StepOp::Windows(windows) => windows.run(n_images, values(&inputs[0]), &mut output),
            StepOp::GlobalMean => {
                window::global_mean(self.path, [from, to], n_images, values(&inputs[0]), &mut output);
            }
            StepOp::Concat(channels) => {
                for (input, first) in inputs.iter().zip(channels) {
                    copy([&input.place, to], *first, n_images, values(input), &mut output);
                }
            }
        }
        // Other steps make 0 or another finite number of the absent lanes of their inputs.
        if to.encoding != Encoding::F32 && matches!(op, StepOp::Activate(_) | StepOp::Join(_) | StepOp::Concat(_)) {
            clear_absent_lanes(to, &mut output, n_images);
        }
        workspace.slots[*slot] = output;
    }
}

impl Workspace {
    /// Clears the border of `place`, unless it is clear still: steps write no borders, so that it is where the same place
    /// was the last that was written.
    fn prepare(&mut self, slot: usize, place: &Place, n_images: usize) {
        let is_clear =
            self.written[slot].is_some_and(|(written, n_written)| written == *place && n_written >= n_images);
        if !is_clear {
            clear_border(place, &mut self.slots[slot], n_images);
            self.written[slot] = Some((*place, n_images));
        }
    }
}

/// Puts images, each row-major (channel, row, column), where the network reads them.
fn load(place: &Place, images: &[f32], values: &mut [f32]) {
    let [channels, height, width] = place.dims;
    for (image, pixels) in images.chunks_exact(channels * height * width).enumerate() {
        for (channel, plane) in pixels.chunks_exact(height * width).enumerate() {
            let (offset, halves) = (offset_of(place, channel), place.halves(channel / place.lanes));
            for (row, pixels) in plane.chunks_exact(width).enumerate() {
                let first = place.at(image, row as isize, 0) + offset;
                if place.pixel == 1 {
                    values[first..first + width].copy_from_slice(pixels);
                } else {
                    for (column, pixel) in pixels.iter().enumerate() {
                        halves.set(values, first + column * place.pixel, place.encoding.encode(*pixel));
                    }
                }
            }
        }
    }
}

/// Writes the values of images, each row-major (channel, row, column).
fn unload(place: &Place, values: &[f32], images: &mut [f32]) {
    let [channels, height, width] = place.dims;
    for (image, pixels) in images.chunks_exact_mut(channels * height * width).enumerate() {
        for (channel, plane) in pixels.chunks_exact_mut(height * width).enumerate() {
            let (offset, halves) = (offset_of(place, channel), place.halves(channel / place.lanes));
            for (row, pixels) in plane.chunks_exact_mut(width).enumerate() {
                let first = place.at(image, row as isize, 0) + offset;
                for (column, pixel) in pixels.iter_mut().enumerate() {
                    *pixel = place.encoding.decode(halves.get(values, first + column * place.pixel));
                }
            }
        }
    }
}

/// How far a channel lies behind the first.
fn offset_of(place: &Place, channel: usize) -> usize {
    channel / place.lanes * place.block + channel % place.lanes * place.channel
}

/// Applies `activation` to every value.
fn activate(activation: Activation, [from, to]: [&Place; 2], n_images: usize, input: &[f32], output: &mut [f32]) {
    let [_, height, width] = to.dims;
    for image in 0..n_images {
        for block in 0..to.n_blocks() {
            for row in 0..height {
                let at = |place: &Place| place.at(image, row as isize, 0) + block * place.block;
                let len = width * to.pixel;
                if to.encoding == Encoding::F32 {
                    activation.apply(&input[at(from)..at(from) + len], &mut output[at(to)..at(to) + len]);
                } else {
                    for idx in 0..len {
                        let value = from.encoding.decode(from.halves(block).get(input, at(from) + idx));
                        let mut result = [0.0];
                        activation.apply(&[value], &mut result);
                        to.halves(block).set(output, at(to) + idx, to.encoding.encode(result[0]));
                    }
                }
            }
        }
    }
}

/// Puts the channels of `input` behind the first `first` channels of `output`.
fn copy([from, to]: [&Place; 2], first: usize, n_images: usize, input: &[f32], output: &mut [f32]) {
    let [channels, height, width] = from.dims;
    for image in 0..n_images {
        for channel in 0..channels {
            let (source, target) = (offset_of(from, channel), offset_of(to, first + channel));
            let halves = [from.halves(channel / from.lanes), to.halves((first + channel) / to.lanes)];
            for row in 0..height {
                let from_row = from.at(image, row as isize, 0) + source;
                let to_row = to.at(image, row as isize, 0) + target;
                for column in 0..width {
                    let word = halves[0].get(input, from_row + column * from.pixel);
                    halves[1].set(output, to_row + column * to.pixel, word);
                }
            }
        }
    }
}
