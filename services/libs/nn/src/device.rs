//! Where tensors live and who computes.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use burn::tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};
use relief_core::{BatchNormMode, Engine, NumericRequest, Numerics, Precision};
use relief_graph::Graph;

use crate::cpu::{self, Algorithm, Path as CpuPath};

/// A device to evaluate and train on.
#[derive(Debug, Clone)]
pub struct Device {
    tensors: tensor::Device,
    backend: Backend,
    path: CpuPath,
    /// The instructions for products of matrices of bfloat16, if there are any and no others were asked for.
    matrix_path: Option<CpuPath>,
}

#[derive(Debug, Clone)]
enum Backend {
    Cpu(Arc<CpuThreads>),
    #[cfg(feature = "cuda")]
    Cuda,
}

/// The threads of a CPU device.
#[derive(Debug)]
struct CpuThreads {
    /// Pools of one thread each: every batch of an evaluation runs on one of them alone, so that nothing in a batch is
    /// divided by the number of threads.
    single: Vec<ThreadPool>,
    /// One pool of all threads, which share the work inside a training step.
    shared: Option<ThreadPool>,
}

/// What a network is to be computed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumericChoice {
    /// Engine and precision.
    pub numerics: Numerics,
    /// Why a faster engine that was allowed was passed over, if one was.
    pub passed_over: Option<String>,
}

/// Why there is nothing to compute a network in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumericsError {
    /// What was asked for.
    pub request: NumericRequest,
    /// What the device offers.
    pub offers: Vec<Numerics>,
    /// Why the engine that was asked for cannot compute the network, if that is why.
    pub passed_over: Option<String>,
}

impl fmt::Display for NumericsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.passed_over {
            return f.write_str(reason);
        }
        let asked = [self.request.engine.map(|engine| engine.as_str()), self.request.precision.map(|p| p.as_str())];
        let asked: Vec<&str> = asked.into_iter().flatten().collect();
        let offers: Vec<String> = self.offers.iter().map(ToString::to_string).collect();
        write!(f, "nothing here computes in {}; there is {}", asked.join(" "), offers.join(", "))
    }
}

impl std::error::Error for NumericsError {}

impl Device {
    /// The processor, with as many threads as it runs at once.
    #[must_use]
    pub fn cpu() -> Self {
        Self::cpu_with_threads(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// The processor, with `n_threads` threads. A thread that the system refuses to start is done without.
    #[must_use]
    pub fn cpu_with_threads(n_threads: NonZeroUsize) -> Self {
        let pool = |n_threads| {
            let name = |idx| format!("relief-nn-{idx}");
            ThreadPoolBuilder::new().num_threads(n_threads).thread_name(name).build().ok()
        };
        let threads = CpuThreads {
            single: (0..n_threads.get()).filter_map(|_| pool(1)).collect(),
            shared: pool(n_threads.get()),
        };
        Self::of(tensor::Device::flex(), Backend::Cpu(Arc::new(threads)))
    }

    fn of(tensors: tensor::Device, backend: Backend) -> Self {
        Self { tensors, backend, path: CpuPath::best(), matrix_path: CpuPath::amx() }
    }

    /// The CUDA device with number `index`.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn cuda(index: usize) -> Self {
        Self::of(tensor::Device::cuda(index), Backend::Cuda)
    }

    /// Lets the cpu engine compute with the instructions of `path` and no others, so that machines of several kinds share
    /// a numeric class.
    #[must_use]
    pub fn with_path(self, path: CpuPath) -> Self {
        Self { path, matrix_path: None, ..self }
    }

    /// What the cpu engine computes `precision` by.
    pub(crate) fn plan(&self, precision: Precision) -> (CpuPath, Algorithm) {
        match (precision, self.matrix_path) {
            (Precision::SplitBf16, Some(path)) => (path, Algorithm::SplitBf16),
            (Precision::Bf16, Some(path)) => (path, Algorithm::Bf16),
            // Without the instructions the shorter ones are not offered.
            _ => (self.path, Algorithm::Fastest),
        }
    }

    /// What this device computes in, the best first: that of fewer digits comes after all of more.
    #[must_use]
    pub fn offers(&self) -> Vec<Numerics> {
        let burn = Numerics { engine: Engine::Burn, precision: Precision::F32 };
        match &self.backend {
            Backend::Cpu(_) => {
                let cpu = |precision| Numerics { engine: Engine::Cpu, precision };
                let short = [cpu(Precision::SplitBf16), cpu(Precision::Bf16)];
                let has_short = self.matrix_path.is_some();
                [cpu(Precision::F32), burn].into_iter().chain(short.into_iter().filter(|_| has_short)).collect()
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda => vec![burn],
        }
    }

    /// The name of all that a value's last bits depend on besides its request: engine, precision, kernel path and build,
    /// as in `cpu/f32/avx512/0.1.0+45c1e0a7d2b3f698`; with burn the batch size too, as in
    /// `burn-flex/f32/avx512f/batch128/0.1.0+45c1e0a7d2b3f698`. Within one class values are bit-identical. Two builds are
    /// the same when the compiler and the sources are, of this engine and of all that it stands on.
    #[must_use]
    pub fn numeric_class(&self, numerics: Numerics, batch_size: usize) -> String {
        let build = concat!(env!("CARGO_PKG_VERSION"), "+", env!("RELIEF_NN_BUILD"));
        let precision = numerics.precision;
        if numerics.engine == Engine::Cpu {
            return format!("cpu/{precision}/{}/{build}", self.plan(precision).0);
        }
        let (engine, path) = match &self.backend {
            Backend::Cpu(_) => ("burn-flex", cpu_kernel_path().to_owned()),
            #[cfg(feature = "cuda")]
            Backend::Cuda => {
                let gpu = self.tensors.identity().map_or_else(|| "unknown".to_owned(), |identity| identity.name);
                ("burn-cuda", gpu.replace([' ', '/'], "-").to_lowercase())
            }
        };
        format!("{engine}/{precision}/{path}/batch{batch_size}/{build}")
    }

    /// Chooses what a network is computed in: the best of what this device offers and `request` allows that has all of
    /// the network's operators.
    ///
    /// # Errors
    /// When nothing that it offers is allowed and can compute the network.
    pub fn choose(
        &self,
        graph: &Graph,
        batch_norm: BatchNormMode,
        request: NumericRequest,
    ) -> Result<NumericChoice, NumericsError> {
        let mut passed_over = None;
        for numerics in self.offers().into_iter().filter(|offer| request.allows(*offer)) {
            let obstacle = match numerics.engine {
                Engine::Cpu => cpu::obstacle(graph, batch_norm),
                Engine::Burn => None,
            };
            match obstacle {
                Some(_) => passed_over = obstacle,
                None => return Ok(NumericChoice { numerics, passed_over }),
            }
        }
        Err(NumericsError { request, offers: self.offers(), passed_over })
    }

    /// The number of threads that compute batches at once.
    pub(crate) fn n_threads(&self) -> usize {
        match &self.backend {
            Backend::Cpu(threads) => threads.single.len().max(1),
            #[cfg(feature = "cuda")]
            Backend::Cuda => 1,
        }
    }

    /// Whether its work is done elsewhere, in the order in which it is told, while the host goes on until it asks for a value.
    pub(crate) fn is_remote(&self) -> bool {
        match &self.backend {
            // A device without threads of its own, which tests make, stands for one.
            Backend::Cpu(threads) => threads.single.is_empty(),
            #[cfg(feature = "cuda")]
            Backend::Cuda => true,
        }
    }

    /// A processor that behaves as a device elsewhere would.
    #[cfg(test)]
    pub(crate) fn remote() -> Self {
        let threads = CpuThreads { single: Vec::new(), shared: None };
        Self::of(tensor::Device::flex(), Backend::Cpu(Arc::new(threads)))
    }

    pub(crate) fn tensors(&self) -> &tensor::Device {
        &self.tensors
    }

    /// Runs `work` where its operations may use all threads.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.backend {
            Backend::Cpu(threads) => match &threads.shared {
                Some(pool) => pool.install(work),
                None => work(),
            },
            #[cfg(feature = "cuda")]
            Backend::Cuda => work(),
        }
    }

    /// Returns the results of `work` for 0..n in order, or none when `on_done` breaks off. `on_done` is called on this
    /// thread after each, in any order; results do not depend on the number of threads.
    pub(crate) fn map<T: Send>(
        &self,
        n: usize,
        work: impl Fn(usize) -> T + Sync,
        mut on_done: impl FnMut(&T) -> ControlFlow<()>,
    ) -> Option<Vec<T>> {
        match &self.backend {
            Backend::Cpu(threads) if !threads.single.is_empty() => map_on(&threads.single, n, &work, &mut on_done),
            _ => {
                let mut results = Vec::with_capacity(n);
                for idx in 0..n {
                    let result = work(idx);
                    let flow = on_done(&result);
                    results.push(result);
                    if flow.is_break() {
                        return None;
                    }
                }
                Some(results)
            }
        }
    }
}

fn map_on<T: Send>(
    pools: &[ThreadPool],
    n: usize,
    work: &(impl Fn(usize) -> T + Sync),
    on_done: &mut impl FnMut(&T) -> ControlFlow<()>,
) -> Option<Vec<T>> {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let (results, finished) = mpsc::channel();
    let work = |results: mpsc::Sender<(usize, T)>| {
        while !stopped.load(Ordering::Relaxed) {
            let idx = next.fetch_add(1, Ordering::Relaxed);
            if idx >= n || results.send((idx, work(idx))).is_err() {
                break;
            }
        }
    };
    let collect = || {
        let mut collected: Vec<Option<T>> = (0..n).map(|_| None).collect();
        for (idx, result) in finished {
            if on_done(&result).is_break() {
                stopped.store(true, Ordering::Relaxed);
                return None;
            }
            collected[idx] = Some(result);
        }
        collected.into_iter().collect()
    };
    with_each(&pools[..pools.len().min(n)], results, &work, collect)
}

/// Runs `work` once on each of `pools` and `meanwhile` on this thread, each with an end of the channel but for `meanwhile`,
/// which may wait for its end.
fn with_each<M: Send, T>(
    pools: &[ThreadPool],
    sender: mpsc::Sender<M>,
    work: &(impl Fn(mpsc::Sender<M>) + Sync),
    meanwhile: impl FnOnce() -> T,
) -> T {
    let Some((pool, others)) = pools.split_first() else {
        drop(sender);
        return meanwhile();
    };
    pool.in_place_scope(|scope| {
        let own = sender.clone();
        scope.spawn(move |_| work(own));
        with_each(others, sender, work, meanwhile)
    })
}

/// The path that flex's matrix product takes on this machine, from the widest it knows.
#[cfg(target_arch = "x86_64")]
fn cpu_kernel_path() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "avx512f"
    } else if std::arch::is_x86_feature_detected!("fma") {
        "fma"
    } else {
        "scalar"
    }
}

/// The path that flex's matrix product takes on this machine.
#[cfg(not(target_arch = "x86_64"))]
fn cpu_kernel_path() -> &'static str {
    if cfg!(target_arch = "aarch64") { "neon" } else { "scalar" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n_threads: usize) -> Device {
        Device::cpu_with_threads(NonZeroUsize::new(n_threads).expect("at least one thread"))
    }

    #[test]
    fn results_keep_their_order_and_every_one_is_announced() {
        for n_threads in [1, 3] {
            let mut n_done = 0;
            let results = device(n_threads).map(
                20,
                |idx| idx * idx,
                |_| {
                    n_done += 1;
                    ControlFlow::Continue(())
                },
            );
            assert_eq!(results, Some((0..20).map(|idx| idx * idx).collect()));
            assert_eq!(n_done, 20);
        }
    }

    #[test]
    fn breaking_off_leaves_no_result() {
        assert_eq!(device(2).map(100, |idx| idx, |_| ControlFlow::Break(())), None);
    }

    #[test]
    fn a_path_that_was_asked_for_computes_in_float32_alone() {
        for path in CpuPath::all() {
            let device = Device::cpu().with_path(path);
            assert!(device.numeric_class(device.offers()[0], 1).starts_with(&format!("cpu/f32/{path}/")));
            assert!(device.offers().iter().all(|offer| offer.precision == Precision::F32), "{path}");
        }
        let error = "mmx".parse::<CpuPath>().expect_err("no path").to_string();
        assert!(error.contains("`mmx`") && error.contains("portable"), "{error}");
    }

    #[test]
    fn classes_name_all_that_bits_depend_on() {
        let device = Device::cpu();
        let classes: Vec<String> =
            device.offers().into_iter().map(|numerics| device.numeric_class(numerics, 128)).collect();
        let parts: Vec<Vec<&str>> = classes.iter().map(|class| class.split('/').collect()).collect();
        assert_eq!((&parts[0][..2], parts[0].len()), (&["cpu", "f32"][..], 4));
        assert_eq!((&parts[1][..2], parts[1][3]), (&["burn-flex", "f32"][..], "batch128"));
        for parts in &parts[2..] {
            assert_eq!((parts[0], parts[2]), ("cpu", "amx"));
        }
        for parts in parts {
            let (version, build) = parts.last().expect("parts").split_once('+').expect("a version and a build");
            assert_eq!((version, build.len()), (env!("CARGO_PKG_VERSION"), 16));
        }
    }
}
