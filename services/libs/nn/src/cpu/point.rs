//! The logits of a network at points of its parameters.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefMutIterator as _, ParallelIterator as _};
use relief_core::BatchNormMode;
use relief_graph::Graph;

use super::draft::{Draft, Unsupported};
use super::kernel::path::Path;
use super::pack::{Packed, Tensors};
use super::plan::{Algorithm, Plan, Workspace};

/// A logit beyond this was perhaps infinite on its way, where a sum of the fastest algorithm was and its definition is not.
const SUSPICIOUS: f32 = 1e30;

/// Why the engine cannot compute a network, if it cannot.
pub(crate) fn obstacle(graph: &Graph, batch_norm: BatchNormMode) -> Option<String> {
    let has_statistics = graph.parameters().iter().any(|parameter| !parameter.kind.is_trainable());
    if batch_norm == BatchNormMode::Recomputed && has_statistics {
        return Some("the cpu engine does not recompute running statistics, which burn does".to_owned());
    }
    Draft::of(graph).err().map(|error| error.to_string())
}

/// A planned network, and memory that its points share.
#[derive(Debug)]
pub(crate) struct Network {
    path: Path,
    algorithm: Algorithm,
    fastest: Plan,
    /// What computes images again whose logits are not finite, one at a time.
    direct: Plan,
    constants: Vec<Vec<f32>>,
    n_classes: usize,
    n_input_values: usize,
    workspaces: Mutex<Vec<Workspace>>,
    direct_workspaces: Mutex<Vec<Workspace>>,
    /// Parameters of points that are done with.
    spare: Mutex<Vec<Vec<Packed>>>,
}

/// The parameters of one point.
#[derive(Debug)]
pub(crate) struct Point {
    network: Arc<Network>,
    packed: Vec<Packed>,
    direct: OnceLock<Vec<Packed>>,
    /// In the graph's order.
    parameters: Vec<Arc<Vec<f32>>>,
}

impl Network {
    /// Plans `graph` for the instructions of `path`, to be computed by `algorithm`.
    ///
    /// # Errors
    /// When it has an operator that the engine lacks, or one in a form that it lacks.
    pub(crate) fn new(graph: &Graph, path: Path, algorithm: Algorithm) -> Result<Self, Unsupported> {
        Self::with_plan(graph, path, algorithm, Plan::new(graph, path, algorithm)?)
    }

    fn with_plan(graph: &Graph, path: Path, algorithm: Algorithm, fastest: Plan) -> Result<Self, Unsupported> {
        Ok(Self {
            path,
            algorithm,
            fastest,
            direct: Plan::with_micro_batch(graph, path.f32(), Algorithm::Direct, 1)?,
            constants: graph.constants().values().map(|constant| constant.data().to_vec()).collect(),
            n_classes: graph.n_classes(),
            n_input_values: graph.input_shape().n_values(),
            workspaces: Mutex::default(),
            direct_workspaces: Mutex::default(),
            spare: Mutex::default(),
        })
    }

    /// Returns the network, which is that of `graph`, with half as many images in its micro-batches: it takes less
    /// memory, and computes the same bits. None when they have one image only.
    pub(crate) fn halved(&self, graph: &Graph) -> Option<Self> {
        let n_images = self.fastest.n_images() / 2;
        if n_images == 0 {
            return None;
        }
        let fastest = Plan::with_micro_batch(graph, self.path, self.algorithm, n_images).ok()?;
        Self::with_plan(graph, self.path, self.algorithm, fastest).ok()
    }

    /// The bytes that the network takes beside its parameters and samples: packed parameters of one point, and the
    /// workspaces of `n_threads`.
    pub(crate) fn n_bytes(&self, n_threads: usize) -> usize {
        let of = |plan: &Plan| plan.n_parameter_bytes() + n_threads * plan.n_workspace_bytes();
        of(&self.fastest) + of(&self.direct)
    }

    /// Packs the parameters of a point, which stand in the graph's order, with the threads of the pool that it runs in.
    pub(crate) fn point(self: Arc<Self>, parameters: Vec<Arc<Vec<f32>>>) -> Point {
        let mut packed = take(&self.spare).unwrap_or_else(|| self.fastest.allocate());
        self.with_tensors(&parameters, |tensors| {
            packed.par_iter_mut().enumerate().for_each(|(idx, packed)| self.fastest.pack(idx, tensors, packed));
        });
        Point { network: self, packed, direct: OnceLock::new(), parameters }
    }

    fn with_tensors(&self, parameters: &[Arc<Vec<f32>>], work: impl FnOnce(Tensors<'_>)) {
        let parameters: Vec<&[f32]> = parameters.iter().map(|values| values.as_slice()).collect();
        let constants: Vec<&[f32]> = self.constants.iter().map(Vec::as_slice).collect();
        work(Tensors { parameters: &parameters, constants: &constants });
    }
}

impl Point {
    /// The logits, row-major (image, class), of `images`, each row-major (channel, row, column).
    pub(crate) fn logits(&self, images: &[f32]) -> Vec<f32> {
        let network = &self.network;
        let mut logits = vec![0.0; images.len() / network.n_input_values * network.n_classes];
        let mut workspace = take(&network.workspaces).unwrap_or_else(|| network.fastest.workspace());
        network.fastest.forward(&self.packed, images, &mut workspace, &mut logits);
        give_back(&network.workspaces, workspace);
        for (image, logits) in
            images.chunks_exact(network.n_input_values).zip(logits.chunks_exact_mut(network.n_classes))
        {
            // NaN is not below anything.
            if !logits.iter().all(|logit| logit.abs() < SUSPICIOUS) {
                self.compute_directly(image, logits);
            }
        }
        logits
    }

    fn compute_directly(&self, image: &[f32], logits: &mut [f32]) {
        let network = &self.network;
        let packed = self.direct.get_or_init(|| {
            let mut packed = network.direct.allocate();
            // On this thread alone: others of its pool may wait here for the same.
            network.with_tensors(&self.parameters, |tensors| {
                packed.iter_mut().enumerate().for_each(|(idx, packed)| network.direct.pack(idx, tensors, packed));
            });
            packed
        });
        let mut workspace = take(&network.direct_workspaces).unwrap_or_else(|| network.direct.workspace());
        network.direct.forward(packed, image, &mut workspace, logits);
        give_back(&network.direct_workspaces, workspace);
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        give_back(&self.network.spare, std::mem::take(&mut self.packed));
    }
}

fn take<T>(pool: &Mutex<Vec<T>>) -> Option<T> {
    // What lies in a pool is overwritten before it is read.
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn give_back<T>(pool: &Mutex<Vec<T>>, item: T) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}
