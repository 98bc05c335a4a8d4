//! What is measured.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use relief_core::{
    BatchNormMode, Direction, DirectionAxis, Ignore, Normalization, Numerics, Philox, TensorMap, random_direction,
};
use relief_graph::{Graph, InputShape, ParameterKind, builtin, initialize};
use relief_nn::{Device, Evaluation, PlaneSession, ResidentPlane, ResidentSamples, Samples, Stage};

use super::peers::{Peers, Run};
use super::report::Stages;

/// A network, a plane through its parameters, and samples.
#[derive(Debug)]
pub(crate) struct Landscape {
    pub(crate) graph: Arc<Graph>,
    origin: TensorMap,
    directions: Vec<Arc<Direction>>,
    samples: Samples,
}

impl Landscape {
    /// The built-in network `name` for the samples that it was designed for.
    pub(crate) fn of_default(name: &str, n_samples: usize) -> anyhow::Result<Self> {
        let graph = builtin::build_default(name)?;
        Self::of(name, graph.input_shape(), graph.n_classes(), n_samples)
    }

    /// The built-in network `name` with parameters as they are after a training, and images of noise.
    pub(crate) fn of(name: &str, shape: InputShape, n_classes: usize, n_samples: usize) -> anyhow::Result<Self> {
        let graph = Arc::new(builtin::build(name, shape, n_classes)?);
        let origin = settled(&graph)?;
        let directions = [DirectionAxis::X, DirectionAxis::Y].map(|axis| {
            let trainable = graph.trainable(&origin);
            Arc::new(Direction::Step(random_direction(trainable, 7, axis, Normalization::Filter, Ignore::BiasBn)))
        });
        let mut inputs = vec![0.0; n_samples * graph.input_shape().n_values()];
        Philox::new([5, 17]).fill_normal(&mut inputs);
        let targets = (0..n_samples).map(|idx| (idx % graph.n_classes()) as u32).collect();
        let samples = Samples::new(inputs, targets, graph.input_shape())?;
        Ok(Self { graph, origin, directions: directions.to_vec(), samples })
    }

    /// The parameters at the centre.
    pub(crate) fn origin(&self) -> &TensorMap {
        &self.origin
    }

    /// Writes what peers read: `model.onnx`, `inputs.npy` and `targets.npy`.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("model.onnx"), self.graph.to_onnx(Some(&self.origin))?)?;
        let [channels, height, width] = self.samples.shape().dims();
        let n_samples = self.samples.n_samples();
        let inputs = self.samples.inputs().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let shape = format!("{n_samples}, {channels}, {height}, {width}");
        fs::write(folder.join("inputs.npy"), npy("<f4", &shape, &inputs))?;
        let targets =
            self.samples.targets().iter().flat_map(|target| i64::from(*target).to_le_bytes()).collect::<Vec<u8>>();
        fs::write(folder.join("targets.npy"), npy("<i8", &format!("{n_samples},"), &targets))?;
        Ok(())
    }
}

/// An array in NumPy's format, version 1.
fn npy(descr: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = length - 1);
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((length as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(bytes);
    file
}

/// First weights, with statistics and scales that keep most units open, as those of a trained network do.
fn settled(graph: &Graph) -> anyhow::Result<TensorMap> {
    let mut parameters = initialize(graph, 2);
    for (idx, parameter) in graph.parameters().iter().enumerate() {
        let (mean, deviation) = match parameter.kind {
            ParameterKind::NormScale => (0.6, 0.1),
            ParameterKind::NormShift => (0.3, 0.1),
            ParameterKind::RunningMean => (0.1, 0.1),
            ParameterKind::RunningVariance => (1.5, 0.2),
            ParameterKind::Weight | ParameterKind::Bias => continue,
        };
        let values = parameters.get_mut(&parameter.name).context("a parameter is missing")?.data_mut();
        Philox::new([11, idx as u64]).fill_normal(values);
        values.iter_mut().for_each(|value| *value = mean + deviation * *value);
    }
    Ok(parameters)
}

/// A program on a landscape.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    word: String,
    n_samples: usize,
    program: Program,
}

#[derive(Debug, Clone)]
enum Program {
    Own(Arc<PlaneSession>),
    Peer(u64),
}

impl Subject {
    /// An engine of this build on the first `n_samples` samples.
    pub(crate) fn own(
        word: &str,
        landscape: &Landscape,
        numerics: Numerics,
        device: &Device,
        n_samples: usize,
        batch_size: usize,
    ) -> anyhow::Result<Self> {
        let Landscape { graph, origin, directions, samples } = landscape;
        let (graph, mode) = (Arc::clone(graph), BatchNormMode::Frozen);
        let plane = ResidentPlane::upload(device, numerics, graph, origin, directions, mode)?;
        let samples = ResidentSamples::upload(device, numerics.engine, samples, Some(n_samples))?;
        let session = PlaneSession::open(Arc::new(plane), Arc::new(samples), batch_size)?;
        Ok(Self { word: word.to_owned(), n_samples, program: Program::Own(Arc::new(session)) })
    }

    /// What a peer knows as `id`.
    pub(crate) fn peer(word: &str, id: u64, n_samples: usize) -> Self {
        Self { word: word.to_owned(), n_samples, program: Program::Peer(id) }
    }

    pub(crate) fn word(&self) -> &str {
        &self.word
    }

    pub(crate) fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// The bytes that an engine of this build counts for itself.
    pub(crate) fn n_bytes(&self) -> usize {
        match &self.program {
            Program::Own(session) => session.n_bytes(),
            Program::Peer(_) => 0,
        }
    }

    /// Computes the loss at the centre once: from the parameters to the mean.
    pub(crate) fn run(&mut self, peers: &mut Peers) -> anyhow::Result<Run> {
        match &self.program {
            Program::Peer(id) => peers.run(*id),
            Program::Own(_) => {
                let start = Instant::now();
                let loss = self.point(&[0.0, 0.0])?;
                Ok(Run { seconds: start.elapsed().as_secs_f64(), loss })
            }
        }
    }

    /// Computes the loss at a point by an engine of this build.
    pub(crate) fn point(&self, coefficients: &[f64]) -> anyhow::Result<f64> {
        let Program::Own(session) = &self.program else { bail!("{} is a peer", self.word) };
        match session.evaluate(coefficients, &mut |_| ControlFlow::Continue(()))? {
            Evaluation::Done(values) => Ok(values.main.loss),
            Evaluation::Cancelled => bail!("nobody cancelled"),
        }
    }

    /// Where the time of a point goes on one thread, the medians of `rounds`; none for a peer.
    pub(crate) fn stages(&self, rounds: usize) -> anyhow::Result<Option<Stages>> {
        let Program::Own(session) = &self.program else { return Ok(None) };
        let mut all = Vec::new();
        for _ in 0..rounds.max(1) {
            let mut stages = Stages::default();
            let mut last = Instant::now();
            session.walk(&[0.1, -0.2], &mut |stage| {
                let now = Instant::now();
                let seconds = now.duration_since(last).as_secs_f64();
                last = now;
                match stage {
                    Stage::Displaced => stages.displace += seconds,
                    Stage::Packed => stages.pack += seconds,
                    Stage::Forwarded => stages.forward += seconds,
                    Stage::Reduced => stages.reduce += seconds,
                }
            })?;
            all.push(stages);
        }
        Ok(Some(Stages::median(&all)))
    }

    /// Lets a peer forget it.
    pub(crate) fn unload(&self, peers: &mut Peers) -> anyhow::Result<()> {
        match self.program {
            Program::Peer(id) => peers.unload(id),
            Program::Own(_) => Ok(()),
        }
    }
}
