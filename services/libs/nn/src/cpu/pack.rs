//! Parameters as kernels read them: everything that is done channel by channel folded in, in the kernels' order.

use super::draft::{DraftConv, Source, Tuning, WeightOrder};
use super::kernel::amx::Weights;
use super::kernel::direct::Group;
use super::kernel::memory::Buffer;
use super::kernel::winograd::Winograd;

/// What the packed parameters of a step are made from.
#[derive(Debug)]
pub(crate) struct Recipe {
    target: Target,
    weight: Option<Weight>,
    tunings: Vec<Tuning>,
    n_channels: usize,
    n_weights: usize,
    n_lanes: usize,
}

#[derive(Debug)]
struct Weight {
    source: Source,
    order: WeightOrder,
    alpha: f32,
    /// (output, input of a group, row, column).
    shape: [usize; 4],
}

/// Whom parameters are packed for.
#[derive(Debug)]
pub(crate) enum Target {
    Direct { groups: Vec<Group>, lanes: usize, n_groups: usize },
    Winograd,
    Amx(Weights),
    Depthwise { lanes: usize },
    Affine,
}

/// The parameters of a step: weights or factors, and biases or summands.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) weights: Buffer,
    pub(crate) bias: Buffer,
}

/// The tensors of a network, in the order of the graph's parameters and of its constants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tensors<'a> {
    pub(crate) parameters: &'a [&'a [f32]],
    pub(crate) constants: &'a [&'a [f32]],
}

impl<'a> Tensors<'a> {
    fn get(self, source: Source) -> &'a [f32] {
        match source {
            Source::Parameter(place) => self.parameters[place],
            Source::Constant(place) => self.constants[place],
        }
    }

    /// The entry of a channel, of a tensor that has one for each or one for all.
    fn at(self, source: Source, channel: usize) -> f64 {
        let values = self.get(source);
        f64::from(if values.len() == 1 { values[0] } else { values[channel] })
    }
}

impl Recipe {
    pub(crate) fn conv(conv: &DraftConv, shape: [usize; 4], target: Target, n_weights: usize, n_lanes: usize) -> Self {
        let weight = Weight { source: conv.weight, order: conv.order, alpha: conv.alpha, shape };
        Self { target, weight: Some(weight), tunings: conv.tunings.clone(), n_channels: shape[0], n_weights, n_lanes }
    }

    pub(crate) fn affine(target: Target, n_channels: usize, n_lanes: usize, tunings: Vec<Tuning>) -> Self {
        Self { target, weight: None, tunings, n_channels, n_weights: n_lanes, n_lanes }
    }

    /// Memory for what is packed.
    pub(crate) fn allocate(&self) -> Packed {
        Packed { weights: Buffer::new(self.n_weights), bias: Buffer::new(self.n_lanes) }
    }

    /// The bytes of that memory.
    pub(crate) fn n_bytes(&self) -> usize {
        (self.n_weights + self.n_lanes) * size_of::<f32>()
    }

    /// Packs the parameters of `tensors`; `winograd` is the step's kernel where that is the target. Every packed value is
    /// computed in float64 and rounded once.
    pub(crate) fn pack(&self, tensors: Tensors<'_>, winograd: Option<&Winograd>, packed: &mut Packed) {
        let (mut scales, mut shifts) = (vec![1.0; self.n_channels], vec![0.0; self.n_channels]);
        for tuning in &self.tunings {
            for (channel, (scale, shift)) in scales.iter_mut().zip(&mut shifts).enumerate() {
                apply(*tuning, tensors, channel, scale, shift);
            }
        }
        for (bias, shift) in packed.bias.iter_mut().zip(&shifts) {
            *bias = *shift as f32;
        }
        let Some(weight) = &self.weight else {
            for (factor, scale) in packed.weights.iter_mut().zip(&scales) {
                *factor = *scale as f32;
            }
            return;
        };
        scales.iter_mut().for_each(|scale| *scale *= f64::from(weight.alpha));
        let values = tensors.get(weight.source);
        let transposed;
        let values = match weight.order {
            WeightOrder::OutputFirst => values,
            WeightOrder::OutputLast => {
                transposed = transpose(values, weight.shape[0]);
                &transposed
            }
        };
        match (&self.target, winograd) {
            (Target::Winograd, Some(winograd)) => winograd.pack(values, &scales, &mut packed.weights),
            (Target::Amx(weights), _) => weights.pack(values, &scales, &mut packed.weights),
            (Target::Direct { groups, lanes, n_groups }, _) => {
                for group in groups {
                    pack_direct(group, *lanes, *n_groups, weight.shape, values, &scales, &mut packed.weights);
                }
            }
            (Target::Depthwise { lanes }, _) => pack_depthwise(*lanes, weight.shape, values, &scales, packed),
            (Target::Winograd | Target::Affine, _) => {}
        }
    }
}

/// Continues what is done to a channel, x scale + shift, with `tuning`.
fn apply(tuning: Tuning, tensors: Tensors<'_>, channel: usize, scale: &mut f64, shift: &mut f64) {
    let at = |source| tensors.at(source, channel);
    match tuning {
        Tuning::Normalize { scale: gamma, shift: beta, mean, variance, epsilon } => {
            let factor = at(gamma) / (at(variance) + f64::from(epsilon)).sqrt();
            *shift = (*shift - at(mean)) * factor + at(beta);
            *scale *= factor;
        }
        Tuning::Shift { summand, factor } => *shift += f64::from(factor) * at(summand),
        Tuning::Scale { factor } => {
            *scale *= at(factor);
            *shift *= at(factor);
        }
        Tuning::Divide { divisor } => {
            *scale /= at(divisor);
            *shift /= at(divisor);
        }
    }
}

fn transpose(values: &[f32], n_outputs: usize) -> Vec<f32> {
    let n_inputs = values.len() / n_outputs.max(1);
    let mut transposed = vec![0.0; values.len()];
    for (input, row) in values.chunks_exact(n_outputs.max(1)).enumerate() {
        for (output, value) in row.iter().enumerate() {
            transposed[output * n_inputs + input] = *value;
        }
    }
    transposed
}

/// Writes (window, input channel, output channel) of a group's blocks.
fn pack_direct(
    group: &Group,
    lanes: usize,
    n_groups: usize,
    [n_outputs, n_inputs, height, width]: [usize; 4],
    values: &[f32],
    scales: &[f64],
    packed: &mut [f32],
) {
    let n_taps = height * width;
    let stride = group.n_blocks * lanes;
    let per_group = n_outputs / n_groups;
    let first = group.block * lanes;
    for lane in 0..stride.min(n_outputs - first) {
        let output = first + lane;
        // The first input channel of the output's own group, counted from the first that the blocks read.
        let own = output / per_group * n_inputs - group.input_block * if n_groups > 1 { lanes } else { 0 };
        let filters = values[output * n_inputs * n_taps..(output + 1) * n_inputs * n_taps].chunks_exact(n_taps);
        for (input, filter) in filters.enumerate() {
            for (tap, value) in filter.iter().enumerate() {
                let place = group.weights + (tap * group.n_inputs + own + input) * stride + lane;
                packed[place] = (f64::from(*value) * scales[output]) as f32;
            }
        }
    }
}

/// Writes (block, window, lane).
fn pack_depthwise(
    lanes: usize,
    [n_outputs, _, height, width]: [usize; 4],
    values: &[f32],
    scales: &[f64],
    packed: &mut Packed,
) {
    let n_taps = height * width;
    for output in 0..n_outputs {
        for tap in 0..n_taps {
            let place = (output / lanes * n_taps + tap) * lanes + output % lanes;
            packed.weights[place] = (f64::from(values[output * n_taps + tap]) * scales[output]) as f32;
        }
    }
}
