//! Where tensors live and who computes.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use burn::tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A device to evaluate and train on.
#[derive(Debug, Clone)]
pub struct Device {
    tensors: tensor::Device,
    engine: Engine,
}

#[derive(Debug, Clone)]
enum Engine {
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
        Self { tensors: tensor::Device::flex(), engine: Engine::Cpu(Arc::new(threads)) }
    }

    /// The CUDA device with number `index`.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn cuda(index: usize) -> Self {
        Self { tensors: tensor::Device::cuda(index), engine: Engine::Cuda }
    }

    /// The name of all that a value's last bits depend on besides its request: engine, precision, kernel path, batch
    /// size and build, as in `burn-flex/f32/avx512f/batch128/0.1.0+45c1e0a7d2b3f698`. Within one class values are
    /// bit-identical. Two builds are the same when the compiler and the sources are, of this engine and of all that it
    /// stands on.
    #[must_use]
    pub fn numeric_class(&self, batch_size: usize) -> String {
        let (engine, path) = match &self.engine {
            Engine::Cpu(_) => ("burn-flex", cpu_kernel_path().to_owned()),
            #[cfg(feature = "cuda")]
            Engine::Cuda => {
                let gpu = self.tensors.identity().map_or_else(|| "unknown".to_owned(), |identity| identity.name);
                ("burn-cuda", gpu.replace([' ', '/'], "-").to_lowercase())
            }
        };
        let (version, build) = (env!("CARGO_PKG_VERSION"), env!("RELIEF_NN_BUILD"));
        format!("{engine}/f32/{path}/batch{batch_size}/{version}+{build}")
    }

    pub(crate) fn tensors(&self) -> &tensor::Device {
        &self.tensors
    }

    /// Runs `work` where its operations may use all threads.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.engine {
            Engine::Cpu(threads) => match &threads.shared {
                Some(pool) => pool.install(work),
                None => work(),
            },
            #[cfg(feature = "cuda")]
            Engine::Cuda => work(),
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
        match &self.engine {
            Engine::Cpu(threads) if !threads.single.is_empty() => map_on(&threads.single, n, &work, &mut on_done),
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
    thread::scope(|scope| {
        for pool in pools.iter().take(n) {
            let (next, stopped, results) = (&next, &stopped, results.clone());
            scope.spawn(move || {
                pool.install(|| {
                    while !stopped.load(Ordering::Relaxed) {
                        let idx = next.fetch_add(1, Ordering::Relaxed);
                        if idx >= n || results.send((idx, work(idx))).is_err() {
                            break;
                        }
                    }
                });
            });
        }
        drop(results);
        let mut collected: Vec<Option<T>> = (0..n).map(|_| None).collect();
        for (idx, result) in finished {
            if on_done(&result).is_break() {
                stopped.store(true, Ordering::Relaxed);
                return None;
            }
            collected[idx] = Some(result);
        }
        collected.into_iter().collect()
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
    fn the_class_names_engine_precision_path_batch_and_build() {
        let class = Device::cpu().numeric_class(128);
        let parts: Vec<&str> = class.split('/').collect();
        assert_eq!((parts[0], parts[1], parts[3]), ("burn-flex", "f32", "batch128"));
        let (version, build) = parts[4].split_once('+').expect("a version and a build");
        assert_eq!((version, build.len()), (env!("CARGO_PKG_VERSION"), 16));
    }
}
