//! Planes through parameter space, ready to be displaced.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use relief_core::{BatchNormMode, Direction, TensorMap, displace};
use relief_graph::{CheckpointMismatch, Graph, ParameterKind};

use crate::device::Device;
use crate::program::Program;

/// A checkpoint and up to two directions, of which all that does not move lies on a device.
#[derive(Debug)]
pub struct ResidentPlane {
    device: Device,
    graph: Arc<Graph>,
    program: Program,
    directions: Vec<Arc<Direction>>,
    batch_norm: BatchNormMode,
    /// The tensors of the origin that a direction moves.
    moving: TensorMap,
    /// The tensors that stay, in the graph's order; none where a direction moves one.
    resident: Vec<Option<Tensor<1>>>,
}

/// Why a checkpoint and directions do not make a plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaneError {
    /// The origin is no checkpoint of the network.
    #[error(transparent)]
    Origin(#[from] CheckpointMismatch),
    /// What a direction leads to is no checkpoint of the network.
    #[error("direction {idx} leads to a checkpoint of another network: {mismatch}")]
    Target {
        /// The direction's index.
        idx: usize,
        /// In what it does not fit.
        mismatch: CheckpointMismatch,
    },
    /// More directions than a plane has.
    #[error("a plane has at most 2 directions, got {0}")]
    TooManyDirections(usize),
    /// A direction moves what the network does not have.
    #[error("direction {idx} moves `{name}`, which the network does not have")]
    UnknownTensor {
        /// The direction's index.
        idx: usize,
        /// The tensor's name.
        name: String,
    },
    /// A direction's tensor has other dimensions than the network's.
    #[error("`{name}` of direction {idx} has shape {found:?}, expected {expected:?}")]
    MisshapenTensor {
        /// The direction's index.
        idx: usize,
        /// The tensor's name.
        name: String,
        /// The dimensions of the network's parameter.
        expected: Vec<usize>,
        /// The dimensions of the direction's tensor.
        found: Vec<usize>,
    },
}

impl ResidentPlane {
    /// Puts the plane of `graph` through `origin` along `directions` on `device`.
    ///
    /// # Errors
    /// When `origin`, or a checkpoint that a direction leads to, does not fit the network, there are more than 2
    /// directions, or a step has a tensor that the network has not, or has in another shape.
    pub fn upload(
        device: &Device,
        graph: Arc<Graph>,
        origin: &TensorMap,
        directions: &[Arc<Direction>],
        batch_norm: BatchNormMode,
    ) -> Result<Self, PlaneError> {
        graph.check(origin)?;
        if directions.len() > 2 {
            return Err(PlaneError::TooManyDirections(directions.len()));
        }
        for (idx, direction) in directions.iter().enumerate() {
            check_direction(&graph, idx, direction)?;
        }
        let mut moving = TensorMap::new();
        let mut resident = Vec::with_capacity(graph.parameters().len());
        for parameter in graph.parameters() {
            let Some(tensor) = origin.get(&parameter.name) else { continue };
            let is_named = directions.iter().any(|direction| direction.tensors().contains_key(&parameter.name));
            if is_named && moves(parameter.kind, batch_norm) {
                moving.insert(parameter.name.clone(), tensor.clone());
                resident.push(None);
            } else {
                resident.push(Some(vector(tensor.data().to_vec(), device)));
            }
        }
        let program = Program::new(&graph);
        let (device, directions) = (device.clone(), directions.to_vec());
        Ok(Self { device, graph, program, directions, batch_norm, moving, resident })
    }

    /// The number of directions: 0, 1 or 2.
    #[must_use]
    pub fn n_directions(&self) -> usize {
        self.directions.len()
    }

    /// The network.
    #[must_use]
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// What batch normalisations go by.
    #[must_use]
    pub fn batch_norm(&self) -> BatchNormMode {
        self.batch_norm
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// The parameters at `coefficients`, one per direction, in the graph's order. What moves is displaced on the host,
    /// so that theta has the bits of [`displace`] on every device.
    pub(crate) fn parameters(&self, coefficients: &[f64]) -> Vec<Tensor<1>> {
        let steps: Vec<(f64, &Direction)> =
            coefficients.iter().copied().zip(self.directions.iter().map(AsRef::as_ref)).collect();
        let mut displaced = displace(&self.moving, &steps);
        let parameters = self.graph.parameters().iter().zip(&self.resident);
        parameters
            .filter_map(|(parameter, resident)| match resident {
                Some(tensor) => Some(tensor.clone()),
                None => displaced.remove(&parameter.name).map(|tensor| vector(tensor.into_data(), &self.device)),
            })
            .collect()
    }
}

fn check_direction(graph: &Graph, idx: usize, direction: &Direction) -> Result<(), PlaneError> {
    let step = match direction {
        Direction::Towards(target) => {
            return graph.check(target).map_err(|mismatch| PlaneError::Target { idx, mismatch });
        }
        Direction::Step(step) => step,
    };
    for (name, tensor) in step {
        let parameter = graph.parameters().iter().find(|parameter| parameter.name == *name);
        let parameter = parameter.ok_or_else(|| PlaneError::UnknownTensor { idx, name: name.clone() })?;
        if parameter.shape != tensor.shape() {
            let (expected, found) = (parameter.shape.clone(), tensor.shape().to_vec());
            return Err(PlaneError::MisshapenTensor { idx, name: name.clone(), expected, found });
        }
    }
    Ok(())
}

fn moves(kind: ParameterKind, batch_norm: BatchNormMode) -> bool {
    match batch_norm {
        BatchNormMode::Frozen | BatchNormMode::Recomputed => kind.is_trainable(),
        BatchNormMode::Interpolated => true,
    }
}

/// The scalars of a parameter on a device.
pub(crate) fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device.tensors())
}
