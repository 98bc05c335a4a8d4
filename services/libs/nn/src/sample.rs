//! Inputs and targets, on the host and on the device.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use relief_core::Engine;
use relief_graph::InputShape;

use crate::device::Device;
use crate::transfer;

/// Normalised images and their classes, in stored order; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    inputs: Vec<f32>,
    targets: Vec<u32>,
    shape: InputShape,
}

/// Why inputs and targets do not make samples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// No samples, or a limit of 0.
    #[error("there are no samples")]
    Empty,
    /// Inputs and targets do not go together.
    #[error("{n_targets} targets with inputs of {shape} need {expected} input values, got {found}")]
    Length {
        /// The number of targets.
        n_targets: usize,
        /// The shape of one input.
        shape: InputShape,
        /// The number of input values that would be right.
        expected: usize,
        /// The number given.
        found: usize,
    },
}

impl Samples {
    /// Returns the samples with `targets` and `inputs`, the values of one image of `shape` after the other, each
    /// row-major (channels, height, width) and already normalised.
    ///
    /// # Errors
    /// When there are none, or the lengths contradict each other.
    pub fn new(inputs: Vec<f32>, targets: Vec<u32>, shape: InputShape) -> Result<Self, SampleError> {
        if targets.is_empty() {
            return Err(SampleError::Empty);
        }
        let (n_targets, expected, found) =
            (targets.len(), targets.len().saturating_mul(shape.n_values()), inputs.len());
        if found != expected {
            return Err(SampleError::Length { n_targets, shape, expected, found });
        }
        Ok(Self { inputs, targets, shape })
    }

    /// The input values, one sample after the other.
    #[must_use]
    pub fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// The classes.
    #[must_use]
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// The shape of one input.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        self.shape
    }

    /// The number of samples.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.targets.len()
    }
}

/// Samples that lie on a device, to be used for any number of planes.
#[derive(Debug, Clone)]
pub struct ResidentSamples {
    inputs: Inputs,
    targets: Vec<u32>,
    shape: InputShape,
}

/// Inputs as an engine reads them.
#[expect(clippy::large_enum_variant, reason = "there is one for each set of samples")]
#[derive(Debug, Clone)]
enum Inputs {
    /// (samples, channels, height, width).
    Burn(Tensor<4>),
    /// The same, row-major.
    Cpu(Arc<[f32]>),
}

/// Consecutive samples, as burn reads them.
pub(crate) struct SampleBatch<'a> {
    /// (samples, channels, height, width).
    pub(crate) inputs: Tensor<4>,
    pub(crate) targets: &'a [u32],
}

impl ResidentSamples {
    /// Puts the first `limit` samples on `device`, as `engine` reads them, or all where there is no limit or there are fewer.
    ///
    /// # Errors
    /// When the limit is 0.
    pub fn upload(
        device: &Device,
        engine: Engine,
        samples: &Samples,
        limit: Option<usize>,
    ) -> Result<Self, SampleError> {
        let n_samples = limit.map_or(samples.n_samples(), |limit| limit.min(samples.n_samples()));
        if n_samples == 0 {
            return Err(SampleError::Empty);
        }
        let inputs = &samples.inputs[..n_samples * samples.shape.n_values()];
        let inputs = match engine {
            Engine::Burn => Inputs::Burn(batch(inputs.to_vec(), n_samples, samples.shape, device.tensors())),
            Engine::Cpu => Inputs::Cpu(inputs.into()),
        };
        Ok(Self { inputs, targets: samples.targets[..n_samples].to_vec(), shape: samples.shape })
    }

    /// The engine that reads them.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.inputs {
            Inputs::Burn(_) => Engine::Burn,
            Inputs::Cpu(_) => Engine::Cpu,
        }
    }

    /// The shape of one input.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        self.shape
    }

    /// The number of samples.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.targets.len()
    }

    /// The bytes that the inputs take on the device.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.n_samples() * self.shape.n_values() * size_of::<f32>()
    }

    /// The number of batches of `batch_size`, the last one short.
    pub(crate) fn n_batches(&self, batch_size: usize) -> usize {
        self.n_samples().div_ceil(batch_size)
    }

    /// Batch `idx` of `batch_size`, of samples that burn reads.
    pub(crate) fn batch(&self, idx: usize, batch_size: usize) -> SampleBatch<'_> {
        let Inputs::Burn(inputs) = &self.inputs else { unreachable!("a session reads samples of its own engine") };
        let targets = self.batch_targets(idx, batch_size);
        SampleBatch { inputs: inputs.clone().narrow(0, idx * batch_size, targets.len()), targets }
    }

    /// The inputs of batch `idx` of `batch_size`, row-major, of samples that the cpu engine reads.
    pub(crate) fn batch_values(&self, idx: usize, batch_size: usize) -> &[f32] {
        let Inputs::Cpu(inputs) = &self.inputs else { unreachable!("a session reads samples of its own engine") };
        let (start, n_values) = (idx * batch_size, self.shape.n_values());
        &inputs[start * n_values..(start + batch_size).min(self.targets.len()) * n_values]
    }

    /// The targets of batch `idx` of `batch_size`.
    pub(crate) fn batch_targets(&self, idx: usize, batch_size: usize) -> &[u32] {
        let start = idx * batch_size;
        &self.targets[start..(start + batch_size).min(self.targets.len())]
    }

    pub(crate) fn targets(&self) -> &[u32] {
        &self.targets
    }
}

/// The tensor (samples, channels, height, width) over `inputs`.
pub(crate) fn batch(inputs: Vec<f32>, n_samples: usize, shape: InputShape, device: &burn::tensor::Device) -> Tensor<4> {
    transfer::uploaded();
    let [channels, height, width] = shape.dims();
    Tensor::from_data(TensorData::new(inputs, [n_samples, channels, height, width]), device)
}

/// The first sample whose target the network has no class for, and that target.
pub(crate) fn stray_target(targets: &[u32], n_classes: usize) -> Option<(usize, u32)> {
    targets.iter().copied().enumerate().find(|(_, target)| *target as usize >= n_classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_must_fill_their_shape() {
        let shape: InputShape = "1x2x2".parse().expect("a good shape");
        assert_eq!(Samples::new(vec![], vec![], shape), Err(SampleError::Empty));
        let error = Samples::new(vec![0.0; 7], vec![0, 1], shape).expect_err("a value short");
        assert_eq!(error.to_string(), "2 targets with inputs of 1x2x2 need 8 input values, got 7");
    }

    #[test]
    fn the_limit_takes_the_first_samples() {
        let shape: InputShape = "1x1x2".parse().expect("a good shape");
        let samples = Samples::new((0..6_u8).map(f32::from).collect(), vec![0, 1, 2], shape).expect("3 samples");
        let device = Device::cpu();
        let resident = |limit| ResidentSamples::upload(&device, Engine::Burn, &samples, limit);
        assert_eq!(resident(Some(2)).expect("some samples").n_samples(), 2);
        assert_eq!(resident(Some(9)).expect("some samples").n_samples(), 3);
        assert_eq!(resident(None).expect("some samples").n_bytes(), 24);
        assert_eq!(resident(Some(0)).expect_err("no samples"), SampleError::Empty);
    }
}
