//! Steps with places: what a network's forward pass does to memory, worked out once.

mod storage;

use relief_graph::Graph;

use super::activation::Activation;
use super::draft::{Draft, DraftConv, DraftOp, DraftStep, Unsupported};
use super::encoding::Encoding;
use super::kernel::amx::{Amx, Precision, Weights};
use super::kernel::direct::{self, Direct, Group, Window};
use super::kernel::memory::Buffer;
use super::kernel::path::Path;
use super::kernel::pointwise::Joint;
use super::kernel::window::{Depthwise, Windows};
use super::kernel::winograd::{Form, Winograd};
use super::layout::{Border, Place, is_vector};
use super::pack::{Recipe, Target};
use storage::Storage;

/// How convolutions are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// By what is fastest.
    Fastest,
    /// As they are defined: infinities arise only where they are due.
    Direct,
    /// As products of matrices, with values and weights that are sums of two bfloat16, by the instructions of
    /// [`Path::amx`]; values of one pixel are float32. What is not finite does not become finite, but an infinity may
    /// become NaN.
    SplitBf16,
    /// As [`Self::SplitBf16`], but with weights that are rounded to one bfloat16; values are sums of two all the same.
    Bf16,
}

/// Values of all images of a micro-batch that should fit into the processor's second cache, beside the weights.
const CACHE_VALUES: usize = 1 << 18;
/// Parameters that do not fit into that cache.
const LARGE_NETWORK: usize = 1 << 20;
/// With more parameters than this, Winograd's larger tiles are not worth what they cost: their weights take four times
/// the memory of a filter's, and logits of such networks lost more than 1e-5 of the largest to rounding.
const MOST_PARAMETERS_OF_LARGE_TILES: usize = 1 << 21;
/// Images that share each reading of such parameters.
const LARGE_NETWORK_IMAGES: usize = 16;
/// The most images that go through the network together.
const MAX_IMAGES: usize = 16;
/// The largest offset in a buffer: kernels keep offsets in 32 bits.
pub(super) const MAX_OFFSET: usize = u32::MAX as usize;
/// Fewer input channels are not worth Winograd's transforms.
const MIN_WINOGRAD_CHANNELS: usize = 8;

/// A planned forward pass. It computes micro-batches of images, depth first: all steps for a few images, whose values stay
/// in the processor's cache, before the next images.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) path: Path,
    pub(super) steps: Vec<Step>,
    /// What the steps' packed parameters are made from.
    pub(super) recipes: Vec<Recipe>,
    pub(super) input: Located,
    pub(super) output: Located,
    /// The number of values of each buffer.
    slots: Vec<usize>,
    n_scratch: usize,
    /// The images of a micro-batch.
    n_images: usize,
}

/// A place in one of the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) slot: usize,
    pub(crate) place: Place,
}

/// A step: it reads buffers, and writes one that it does not read.
#[derive(Debug)]
pub(crate) struct Step {
    pub(super) op: StepOp,
    pub(super) inputs: Vec<Located>,
    pub(super) output: Located,
    pub(super) bounds: [f32; 2],
}

/// What a step computes. Numbers are places among the recipes.
#[derive(Debug)]
pub(crate) enum StepOp {
    Direct(Direct, usize),
    Winograd(Winograd, usize),
    Amx(Amx, usize),
    Depthwise(Depthwise, usize),
    Affine(usize),
    Activate(Activation),
    Join(Joint),
    Windows(Windows),
    GlobalMean,
    /// Channels of an input, put behind those of others: the first channel.
    Concat(Vec<usize>),
}

/// The memory that one thread computes in.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(super) slots: Vec<Buffer>,
    pub(super) scratch: Buffer,
    /// The place in each buffer that was written last, for how many images: its border is clear.
    pub(super) written: Vec<Option<(Place, usize)>>,
}

/// The kernel of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Direct,
    Winograd(Form),
    Depthwise,
    Amx(Precision),
}

impl Workspace {
    /// All of the memory, for tests to fill.
    #[cfg(test)]
    pub(crate) fn poison(&mut self) -> Vec<&mut [f32]> {
        self.written.fill(None);
        self.slots.iter_mut().chain([&mut self.scratch]).map(|buffer| &mut buffer[..]).collect()
    }
}

impl Plan {
    /// Plans the forward pass of `graph`.
    ///
    /// # Errors
    /// When it has an operator that the engine lacks, or one in a form that it lacks, or values of more than 16 GiB.
    pub(crate) fn new(graph: &Graph, path: Path, algorithm: Algorithm) -> Result<Self, Unsupported> {
        let draft = Draft::of(graph)?;
        let path = path_of(path, algorithm);
        let storage = Storage::of(&draft, path, |step| border_of(&draft, step, algorithm));
        let per_image: usize = storage.slots.iter().sum();
        let least = if draft.n_parameters > LARGE_NETWORK { LARGE_NETWORK_IMAGES } else { 1 };
        let most = MAX_OFFSET / storage.slots.iter().copied().max().unwrap_or(0).max(1);
        let n_images = (CACHE_VALUES / per_image.max(1)).clamp(least, MAX_IMAGES).min(most.max(1));
        Self::with_images(&draft, storage, path, algorithm, n_images)
    }

    /// As [`Self::new`], with micro-batches of `n_images`: the logits have the same bits with any number.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub(crate) fn with_micro_batch(
        graph: &Graph,
        path: Path,
        algorithm: Algorithm,
        n_images: usize,
    ) -> Result<Self, Unsupported> {
        let draft = Draft::of(graph)?;
        let path = path_of(path, algorithm);
        let storage = Storage::of(&draft, path, |step| border_of(&draft, step, algorithm));
        Self::with_images(&draft, storage, path, algorithm, n_images)
    }

    fn with_images(
        draft: &Draft,
        storage: Storage,
        path: Path,
        algorithm: Algorithm,
        n_images: usize,
    ) -> Result<Self, Unsupported> {
        let n_values = storage.slots.iter().max().map_or(0, |values| values * n_images);
        if n_values > MAX_OFFSET {
            return Err(Unsupported::Values { n_values });
        }
        let mut plan = Self {
            path,
            steps: Vec::new(),
            recipes: Vec::new(),
            input: storage.located(0),
            output: storage.located(draft.output),
            slots: storage.slots.iter().map(|values| values * n_images).collect(),
            n_scratch: 0,
            n_images,
        };
        for step in &draft.steps {
            let inputs: Vec<Located> = step.inputs.iter().map(|value| storage.located(*value)).collect();
            let output = storage.located(step.output);
            if let Some(op) = plan.op(draft, step, &inputs, output, &storage, algorithm) {
                plan.steps.push(Step { op, inputs, output, bounds: step.bounds });
            }
        }
        Ok(plan)
    }

    /// The images of a micro-batch.
    pub(crate) fn n_images(&self) -> usize {
        self.n_images
    }

    /// Returns memory to compute in.
    pub(crate) fn workspace(&self) -> Workspace {
        Workspace {
            slots: self.slots.iter().map(|len| Buffer::new(*len)).collect(),
            scratch: Buffer::new(self.n_scratch),
            written: vec![None; self.slots.len()],
        }
    }

    /// The bytes of a workspace.
    pub(crate) fn n_workspace_bytes(&self) -> usize {
        (self.slots.iter().sum::<usize>() + self.n_scratch) * size_of::<f32>()
    }

    fn op(
        &mut self,
        draft: &Draft,
        step: &DraftStep,
        inputs: &[Located],
        output: Located,
        storage: &Storage,
        algorithm: Algorithm,
    ) -> Option<StepOp> {
        let places = [inputs[0].place, output.place];
        Some(match &step.op {
            DraftOp::Conv(conv) => {
                let residual = inputs.get(1).map(|located| located.place);
                self.conv(conv, kernel_of(draft, step, algorithm), places, residual)
            }
            DraftOp::Affine(tunings) => {
                let n_lanes = places[1].n_blocks() * self.path.lanes();
                let target = Target::Affine;
                StepOp::Affine(self.recipe(Recipe::affine(target, places[1].dims[0], n_lanes, tunings.clone())))
            }
            DraftOp::Activate(activation) => StepOp::Activate(*activation),
            DraftOp::Join(joint) => StepOp::Join(*joint),
            DraftOp::Window(window, summary) => StepOp::Windows(Windows::new(self.path, *window, *summary, places)),
            DraftOp::GlobalMean => StepOp::GlobalMean,
            DraftOp::Concat => {
                if storage.is_in_place(step) {
                    return None;
                }
                let mut first = 0;
                StepOp::Concat(
                    inputs
                        .iter()
                        .map(|input| {
                            let channel = first;
                            first += input.place.dims[0];
                            channel
                        })
                        .collect(),
                )
            }
        })
    }

    fn conv(&mut self, conv: &DraftConv, kernel: Kernel, places: [Place; 2], residual: Option<Place>) -> StepOp {
        let [input, output] = places;
        let (path, window, n_images) = (self.path, conv.window, self.n_images);
        let lanes = path.lanes();
        let n_taps = window.kernel[0] * window.kernel[1];
        let shape = [output.dims[0], input.dims[0] / conv.groups, window.kernel[0], window.kernel[1]];
        let n_lanes = output.n_blocks() * lanes;
        match kernel {
            Kernel::Winograd(form) => {
                let planned = Winograd::new(path, form, window.padding, places, residual, n_images);
                self.n_scratch = self.n_scratch.max(planned.n_scratch());
                let recipe = Recipe::conv(conv, shape, Target::Winograd, planned.n_weights(), n_lanes);
                StepOp::Winograd(planned, self.recipe(recipe))
            }
            Kernel::Depthwise => {
                let planned = Depthwise::new(path, window, places, residual);
                let recipe = Recipe::conv(conv, shape, Target::Depthwise { lanes }, planned.n_weights(), n_lanes);
                StepOp::Depthwise(planned, self.recipe(recipe))
            }
            Kernel::Amx(precision) => {
                let weights = Weights::new(precision, [shape[0], shape[1], n_taps]);
                let planned = Amx::new(path, &window, weights, places, residual, n_images);
                let recipe = Recipe::conv(conv, shape, Target::Amx(weights), weights.len(), n_lanes);
                StepOp::Amx(planned, self.recipe(recipe))
            }
            Kernel::Direct => {
                let (groups, n_weights) = match conv.groups {
                    1 => direct::dense_groups(output.n_blocks(), input.dims[0], n_taps, path),
                    n_groups => split_groups(n_groups, &input, &output, n_taps, lanes),
                };
                let target = Target::Direct { groups: groups.clone(), lanes, n_groups: conv.groups };
                let planned = Direct::new(path, &window, groups, places, residual, n_images);
                let recipe = Recipe::conv(conv, shape, target, n_weights, n_lanes);
                StepOp::Direct(planned, self.recipe(recipe))
            }
        }
    }

    fn recipe(&mut self, recipe: Recipe) -> usize {
        self.recipes.push(recipe);
        self.recipes.len() - 1
    }
}

/// One block of output channels at a time, with the input channels that its groups read, from the beginning of a block on.
/// Weights between channels of different groups are 0.
fn split_groups(n_groups: usize, input: &Place, output: &Place, n_taps: usize, lanes: usize) -> (Vec<Group>, usize) {
    let (n_outputs, n_inputs) = (output.dims[0] / n_groups, input.dims[0] / n_groups);
    let (mut groups, mut weights) = (Vec::new(), 0);
    for block in 0..output.n_blocks() {
        let last_output = output.dims[0].min((block + 1) * lanes) - 1;
        let (first, last) = (block * lanes / n_outputs, last_output / n_outputs);
        let input_block = first * n_inputs / lanes;
        let n_inputs = (last + 1) * n_inputs - input_block * lanes;
        groups.push(Group { block, n_blocks: 1, input_block, n_inputs, weights });
        weights += n_taps * n_inputs * lanes;
    }
    (groups, weights)
}

/// The instructions that `algorithm` needs of `path`.
///
/// # Panics
/// When the path does not have them.
fn path_of(path: Path, algorithm: Algorithm) -> Path {
    match algorithm {
        Algorithm::Fastest | Algorithm::Direct => path.f32(),
        Algorithm::SplitBf16 | Algorithm::Bf16 => {
            assert_eq!(path.encoding(), Encoding::SplitBf16, "{algorithm:?} needs `Path::amx`");
            path
        }
    }
}

/// The kernel of the convolution that `step` is.
fn kernel_of(draft: &Draft, step: &DraftStep, algorithm: Algorithm) -> Kernel {
    let DraftOp::Conv(conv) = &step.op else { return Kernel::Direct };
    let (input, output) = (draft.values[step.inputs[0]], draft.values[step.output]);
    let Window { kernel, stride, dilation, .. } = conv.window;
    if conv.groups > 1 && conv.groups == input[0] && conv.groups == output[0] {
        return Kernel::Depthwise;
    }
    let is_small = kernel == [3, 3] && stride == [1, 1] && dilation == [1, 1] && conv.groups == 1;
    let is_large = input[0] >= MIN_WINOGRAD_CHANNELS && output[1].min(output[2]) > 1 && step.inputs[0] != 0;
    // The input of the network may lie channel by channel; vectors are not encoded.
    let is_encoded = step.inputs[0] != 0 && !is_vector(input) && (step.inputs.len() == 1 || !is_vector(output));
    let is_matrix = conv.groups == 1 && is_encoded;
    match algorithm {
        Algorithm::Fastest if is_small && is_large => Kernel::Winograd(form_of(draft, output)),
        Algorithm::SplitBf16 if is_matrix => Kernel::Amx(Precision::SplitBf16),
        Algorithm::Bf16 if is_matrix => Kernel::Amx(Precision::Bf16),
        _ => Kernel::Direct,
    }
}

/// The tiles of a convolution by Winograd's algorithm whose outputs have these dimensions.
fn form_of(draft: &Draft, [_, height, width]: [usize; 3]) -> Form {
    let is_large = draft.n_parameters > MOST_PARAMETERS_OF_LARGE_TILES;
    if is_large { Form::Two } else { Form::of(height, width) }
}

/// The border that `step` needs around its first input.
fn border_of(draft: &Draft, step: &DraftStep, algorithm: Algorithm) -> Border {
    let DraftOp::Conv(conv) = &step.op else { return Border::default() };
    let ([_, height, width], [_, n_rows, n_columns]) = (draft.values[step.inputs[0]], draft.values[step.output]);
    let Window { kernel, stride, padding, dilation } = conv.window;
    let kernel_choice = kernel_of(draft, step, algorithm);
    // How far the last window, or the last tile, reaches beyond the image.
    let beyond = |axis: usize, n_outputs: usize, size: usize| {
        let end = match kernel_choice {
            Kernel::Winograd(form) => n_outputs.next_multiple_of(form.n_outputs()) + kernel[axis] - 1,
            _ => (n_outputs - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1,
        };
        end.saturating_sub(padding[axis] + size)
    };
    Border { top: padding[0], left: padding[1], bottom: beyond(0, n_rows, height), right: beyond(1, n_columns, width) }
}
