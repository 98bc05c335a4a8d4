//! What is measured.

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::bail;
use relief_core::{BatchNormMode, Engine, Numerics, Precision};
use relief_nn::{
    CpuPath, Device, Evaluation, PlaneSession, ResidentPlane, ResidentSamples, Stage, exercise_matrix_unit,
};

use super::landscape::{Landscape, POINT};
use super::peers::{Peers, Run};
use super::report::{ONE_THREAD, Stages};

/// Samples per forward pass, where there is a choice.
pub(crate) const BATCH_SIZE: usize = 128;

/// What an engine of this build computes in, and on what.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) word: String,
    pub(crate) numerics: Numerics,
    pub(crate) device: Device,
    /// Those of the device.
    pub(crate) threads: NonZeroUsize,
    pub(crate) is_slow: bool,
}

impl Setup {
    /// All that this build has on this processor, the fastest path of float32 first.
    pub(crate) fn all(threads: NonZeroUsize) -> Vec<Self> {
        let f32 = Numerics { engine: Engine::Cpu, precision: Precision::F32 };
        let device = Device::cpu_with_threads(threads);
        let mut setups = Vec::new();
        for path in CpuPath::all() {
            let device = device.clone().with_path(path);
            let is_slow = path.as_str() == "portable" && path != CpuPath::best();
            setups.push(Self { word: format!("cpu/f32/{path}"), numerics: f32, device, threads, is_slow });
        }
        for numerics in device.offers().into_iter().filter(|numerics| *numerics != f32) {
            let (word, is_slow) = match numerics.engine {
                Engine::Cpu => (format!("cpu/{}", numerics.precision), false),
                Engine::Burn => ("burn".to_owned(), true),
            };
            setups.push(Self { word, numerics, device: device.clone(), threads, is_slow });
        }
        let single = Device::cpu_with_threads(NonZeroUsize::MIN);
        let and_single = |(idx, setup): (usize, Self)| {
            let is_main = idx == 0 || setup.numerics.precision == Precision::SplitBf16;
            let single = (is_main && threads > NonZeroUsize::MIN).then(|| Self {
                word: format!("{}{ONE_THREAD}", setup.word),
                device: single.clone(),
                threads: NonZeroUsize::MIN,
                ..setup.clone()
            });
            [Some(setup), single].into_iter().flatten()
        };
        setups.into_iter().enumerate().flat_map(and_single).collect()
    }

    /// Of `n_samples` those that it sees: the slow ones see fewer.
    pub(crate) fn n_samples(&self, n_samples: usize) -> usize {
        if self.is_slow { n_samples.div_ceil(4) } else { n_samples }
    }

    /// The name of what its values depend on.
    pub(crate) fn numeric_class(&self) -> String {
        self.device.numeric_class(self.numerics, BATCH_SIZE)
    }

    /// The speed of the processor's matrix unit right now in TFLOP/s, of as many threads together as it has; none where
    /// it does not compute with one.
    pub(crate) fn matrix_speed(&self) -> Option<f64> {
        if self.numerics.precision == Precision::F32 {
            return None;
        }
        let start = Instant::now();
        let operations: Option<f64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.get()).map(|_| scope.spawn(exercise_matrix_unit)).collect();
            threads.into_iter().map(|thread| thread.join().ok().flatten()).sum()
        });
        Some(operations? / start.elapsed().as_secs_f64() / 1e12)
    }
}

/// A program on a landscape.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// An engine of this build.
    Own(Arc<PlaneSession>),
    /// What a peer knows by this number.
    Peer(u64),
}

impl Subject {
    /// An engine of this build on as many of the first `n_samples` samples as it sees.
    pub(crate) fn own(setup: &Setup, landscape: &Landscape, n_samples: usize) -> anyhow::Result<Self> {
        let Landscape { graph, origin, directions, samples } = landscape;
        let (device, numerics, mode) = (&setup.device, setup.numerics, BatchNormMode::Frozen);
        let plane = ResidentPlane::upload(device, numerics, Arc::clone(graph), origin, directions, mode)?;
        let n_samples = Some(setup.n_samples(n_samples));
        let samples = ResidentSamples::upload(device, numerics.engine, samples, n_samples)?;
        Ok(Self::Own(Arc::new(PlaneSession::open(Arc::new(plane), Arc::new(samples), BATCH_SIZE)?)))
    }

    /// The bytes that an engine of this build counts for itself; none for a peer.
    pub(crate) fn n_bytes(&self) -> Option<usize> {
        match self {
            Self::Own(session) => Some(session.n_bytes()),
            Self::Peer(_) => None,
        }
    }

    /// Computes the loss at [`POINT`] once: from the parameters to the mean.
    pub(crate) fn run(&self, peers: &mut Peers) -> anyhow::Result<Run> {
        match self {
            Self::Peer(id) => peers.run(*id),
            Self::Own(_) => {
                let start = Instant::now();
                let loss = self.point(&POINT)?;
                Ok(Run { seconds: start.elapsed().as_secs_f64(), loss })
            }
        }
    }

    /// Computes the loss at a point by an engine of this build.
    pub(crate) fn point(&self, coefficients: &[f64]) -> anyhow::Result<f64> {
        let Self::Own(session) = self else { bail!("a peer is at one point only") };
        match session.evaluate(coefficients, &mut |_| ControlFlow::Continue(()))? {
            Evaluation::Done(values) => Ok(values.main.loss),
            Evaluation::Cancelled => bail!("nobody cancelled"),
        }
    }

    /// Where the time of a point goes, by an engine of this build: packing on all threads, all else on this one.
    pub(crate) fn stages(&self) -> anyhow::Result<Stages> {
        let Self::Own(session) = self else { bail!("a peer does not tell its stages") };
        let mut stages = Stages::default();
        let mut last = Instant::now();
        session.walk(&POINT, &mut |stage| {
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
        Ok(stages)
    }
}
