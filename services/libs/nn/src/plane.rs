//! Planes through parameter space, ready to be displaced.

use std::sync::{Arc, PoisonError, RwLock};

use burn::tensor::{Tensor, TensorData};
use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};
use relief_core::{BatchNormMode, Direction, Engine, Numerics, TensorMap, Term, displace_tensor, displacement};
use relief_graph::{CheckpointMismatch, Graph, Parameter, ParameterKind};

use crate::cpu;
use crate::device::Device;
use crate::program::Program;
use crate::transfer;

/// A checkpoint and up to two directions, of which all that does not move lies on a device.
#[derive(Debug)]
pub struct ResidentPlane {
    device: Device,
    graph: Arc<Graph>,
    runner: Runner,
    directions: Vec<Arc<Direction>>,
    batch_norm: BatchNormMode,
}

/// What runs the network, and its tensors.
#[expect(clippy::large_enum_variant, reason = "there is one for each plane")]
#[derive(Debug)]
enum Runner {
    /// All on the device, in the graph's order.
    Burn { program: Program, tensors: Vec<DeviceTensor> },
    /// Those that stay, in the graph's order, none where a direction moves one; and those.
    Cpu { network: RwLock<Arc<cpu::Network>>, resident: Vec<Option<Arc<Vec<f32>>>>, moving: TensorMap },
}

/// A tensor on a device.
#[derive(Debug)]
struct DeviceTensor {
    origin: Tensor<1>,
    /// That of each direction, where the tensor moves along it.
    directions: Vec<Option<Tensor<1>>>,
}

/// The parameters at a point, running statistics included, as an engine reads them.
#[derive(Debug)]
pub(crate) enum Theta {
    /// In the graph's order.
    Burn(Vec<Tensor<1>>),
    Cpu(cpu::Point),
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
    /// The engine lacks what the network needs.
    #[error("{0}")]
    Engine(String),
}

impl ResidentPlane {
    /// Puts the plane of `graph` through `origin` along `directions` on `device`, to be computed in `numerics`, which
    /// the device chose for this network.
    ///
    /// # Errors
    /// When `origin`, or a checkpoint that a direction leads to, does not fit the network, there are more than 2
    /// directions, or a step has a tensor that the network has not, or has in another shape.
    pub fn upload(
        device: &Device,
        numerics: Numerics,
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
        let is_moving = |parameter: &Parameter| {
            moves(parameter.kind, batch_norm)
                && directions.iter().any(|direction| direction.tensors().contains_key(&parameter.name))
        };
        let parameters = graph.parameters().iter();
        let of_origin = parameters.filter_map(|parameter| Some((parameter, origin.get(&parameter.name)?)));
        let runner = match numerics.engine {
            Engine::Burn => {
                let on_device = |tensor: &relief_core::Tensor| vector(tensor.data().to_vec(), device);
                let step = |parameter: &Parameter, direction: &Direction| {
                    direction.tensors().get(&parameter.name).filter(|_| is_moving(parameter)).map(on_device)
                };
                let tensors = of_origin.map(|(parameter, tensor)| DeviceTensor {
                    origin: on_device(tensor),
                    directions: directions.iter().map(|direction| step(parameter, direction)).collect(),
                });
                Runner::Burn { program: Program::new(&graph), tensors: tensors.collect() }
            }
            Engine::Cpu => {
                if let Some(obstacle) = cpu::obstacle(&graph, batch_norm) {
                    return Err(PlaneError::Engine(obstacle));
                }
                let (path, algorithm) = device.plan(numerics.precision);
                let network = cpu::Network::new(&graph, path, algorithm);
                let network = network.map_err(|error| PlaneError::Engine(error.to_string()))?;
                let network = RwLock::new(Arc::new(network));
                let (mut moving, mut resident) = (TensorMap::new(), Vec::new());
                for (parameter, tensor) in of_origin {
                    if is_moving(parameter) {
                        moving.insert(parameter.name.clone(), tensor.clone());
                        resident.push(None);
                    } else {
                        resident.push(Some(Arc::new(tensor.data().to_vec())));
                    }
                }
                Runner::Cpu { network, resident, moving }
            }
        };
        let (device, directions) = (device.clone(), directions.to_vec());
        Ok(Self { device, graph, runner, directions, batch_norm })
    }

    /// The engine that computes it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.runner {
            Runner::Burn { .. } => Engine::Burn,
            Runner::Cpu { .. } => Engine::Cpu,
        }
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

    /// The bytes that evaluations take beside samples: the tensors in float32, those that move also along each direction
    /// and at a point; with the cpu engine, what it packs at one point and what each thread computes in. What burn allocates
    /// on the way is not counted.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let of_map = |tensors: &TensorMap| tensors.values().map(|tensor| size_of_val(tensor.data())).sum::<usize>();
        let directions: usize = self.directions.iter().map(|direction| of_map(direction.tensors())).sum();
        let all: usize = self.graph.parameters().iter().map(|parameter| parameter.n_values() * size_of::<f32>()).sum();
        match &self.runner {
            // The directions are on the host and on the device.
            Runner::Burn { .. } => 2 * all + 2 * directions,
            Runner::Cpu { network, moving, .. } => {
                all + of_map(moving) + directions + current(network).n_bytes(self.device.n_threads())
            }
        }
    }

    /// Lets evaluations take at most `n_bytes` (see [`Self::n_bytes`]), if fewer images at a time are enough for that, and
    /// returns whether anything changed: values keep their bits, but are computed more slowly. Evaluations that are at work
    /// go on as they are. Planes that the cpu engine does not compute stay as they are.
    pub fn shrink(&self, n_bytes: usize) -> bool {
        let Runner::Cpu { network, .. } = &self.runner else { return false };
        let mut has_changed = false;
        while self.n_bytes() > n_bytes {
            let Some(halved) = current(network).halved(&self.graph) else { break };
            *network.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(halved);
            has_changed = true;
        }
        has_changed
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What runs the network, on planes of burn.
    pub(crate) fn program(&self) -> &Program {
        match &self.runner {
            Runner::Burn { program, .. } => program,
            Runner::Cpu { .. } => unreachable!("the cpu engine has no program"),
        }
    }

    /// The parameters at `coefficients`, one per direction, with the bits of [`relief_core::displace`] in every engine; `on_displaced`
    /// is called when they are there, before the engine makes its own of them. On a device nothing is read from the host.
    pub(crate) fn theta(&self, coefficients: &[f64], on_displaced: impl FnOnce()) -> Theta {
        let steps: Vec<(f64, &Direction)> =
            coefficients.iter().copied().zip(self.directions.iter().map(AsRef::as_ref)).collect();
        let names = self.graph.parameters().iter().map(|parameter| &parameter.name);
        match &self.runner {
            Runner::Burn { tensors, .. } => {
                let tensors = names.zip(tensors).map(|(name, tensor)| tensor.displaced(name, &steps)).collect();
                on_displaced();
                Theta::Burn(tensors)
            }
            Runner::Cpu { network, resident, moving } => {
                let names: Vec<&String> = names.collect();
                let tensors = self.device.run(|| {
                    let tensor = |(name, resident): (&&String, &Option<Arc<Vec<f32>>>)| match resident {
                        Some(values) => Some(Arc::clone(values)),
                        None => Some(Arc::new(displace_tensor(name, moving.get(*name)?, &steps).into_data())),
                    };
                    names.par_iter().zip(resident).filter_map(tensor).collect()
                });
                on_displaced();
                let network = current(network);
                Theta::Cpu(self.device.run(|| network.point(tensors)))
            }
        }
    }
}

fn current(network: &RwLock<Arc<cpu::Network>>) -> Arc<cpu::Network> {
    Arc::clone(&network.read().unwrap_or_else(PoisonError::into_inner))
}

impl DeviceTensor {
    fn displaced(&self, name: &str, steps: &[(f64, &Direction)]) -> Tensor<1> {
        if self.directions.iter().all(Option::is_none) {
            return self.origin.clone();
        }
        let terms = displacement(name, steps).into_iter().filter_map(|(weight, term)| match term {
            Term::Origin => Some((weight, &self.origin)),
            Term::Direction(idx) => Some((weight, self.directions[idx].as_ref()?)),
        });
        let sum = terms.fold(None, |sum: Option<Tensor<1>>, (weight, tensor)| {
            let term = if weight == 1.0 { tensor.clone() } else { tensor.clone().mul_scalar(weight) };
            Some(match sum {
                Some(sum) => sum + term,
                None => term,
            })
        });
        sum.unwrap_or_else(|| self.origin.zeros_like())
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
    transfer::uploaded();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device.tensors())
}
