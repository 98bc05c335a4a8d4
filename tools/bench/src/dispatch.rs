//! How fast a coordinator gives out tiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use relief_api::evaluator::v1::evaluator_service_server::EvaluatorServiceServer;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{CreateSurfaceRequest, GetSurfaceRequest, SurfaceSpec};
use relief_coordinator::{App, EvaluatorPort, Options};
use relief_rpc::{Endpoint, ServiceHost};
use relief_store::Store;
use relief_test_support::{CHECKPOINT, Client, DATASET, Sandbox, axis, surface_spec};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::evaluator::Simulated;
use crate::usage::{cpu_time, resident_mib};

/// What is measured with what.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Simulated evaluators, each with two slots
    #[arg(long, default_value_t = 1000)]
    evaluators: usize,

    /// Surfaces at work at once; one for each thousand tiles unless given
    #[arg(long)]
    jobs: Option<u64>,

    /// Tiles in all; several, separated by commas, are measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    tiles: Vec<u64>,

    /// Points of a tile, in a row
    #[arg(long, default_value_t = 4)]
    points: u32,

    /// From a request to its answer, in milliseconds, on average: it varies from half of that to one and a half. What it
    /// leaves of the evaluators' slots is the most tiles that they could do
    #[arg(long, default_value_t = 300)]
    latency: u64,

    /// How tiles come to the evaluators
    #[arg(long, value_enum, default_value_t = Transport::Memory)]
    transport: Transport,

    /// Where values go
    #[arg(long, value_enum, default_value_t = Sink::Nowhere)]
    store: Sink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// Within this process
    Memory,
    /// Over gRPC, on loopback, a connection for each evaluator
    Grpc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sink {
    /// They are counted, and forgotten
    Nowhere,
    /// Into a temporary directory
    Directory,
}

impl Arguments {
    /// The surfaces that the tiles belong to.
    fn n_jobs(&self, n_tiles: u64) -> u64 {
        self.jobs.unwrap_or(n_tiles / 1000).clamp(1, n_tiles)
    }
}

/// What was measured.
struct Figures {
    seconds: f64,
    cpu: Duration,
    peak_mib: f64,
    /// At a tenth, at half, and at the end.
    mib: [f64; 3],
    gets: Vec<Duration>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    println!(
        "{} evaluators of 2 slots, {} points per tile, {} ms per tile, {:?} transport, values to {:?}; {} processors\n",
        arguments.evaluators,
        arguments.points,
        arguments.latency,
        arguments.transport,
        arguments.store,
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    println!(
        "| tiles | surfaces | seconds | tiles/s | CPU per tile | MiB at 10 % | 50 % | 100 % | peak | Get p50 | p99 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for n_tiles in &arguments.tiles {
        let mut figures = measure(&arguments, *n_tiles).await?;
        figures.gets.sort_unstable();
        let at = |share: f64| {
            let place = ((figures.gets.len() as f64 * share) as usize).min(figures.gets.len().saturating_sub(1));
            figures.gets.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        println!(
            "| {n_tiles} | {} | {:.2} | {:.0} | {:.0} us | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} ms | {:.2} ms |",
            arguments.n_jobs(*n_tiles),
            figures.seconds,
            *n_tiles as f64 / figures.seconds,
            figures.cpu.as_secs_f64() * 1e6 / *n_tiles as f64,
            figures.mib[0],
            figures.mib[1],
            figures.mib[2],
            figures.peak_mib,
            at(0.5),
            at(0.99),
        );
    }
    Ok(())
}

async fn measure(arguments: &Arguments, n_tiles: u64) -> anyhow::Result<Figures> {
    let shutdown = CancellationToken::new();
    let is_open = Arc::new(AtomicBool::new(false));
    let latency = Duration::from_millis(arguments.latency);
    let simulated = |idx| Simulated { idx, is_open: Arc::clone(&is_open), latency };
    let dir = tempfile::tempdir()?;
    let (store, counter) = match arguments.store {
        Sink::Nowhere => {
            let (store, counter) = Store::discarding_values();
            (store, Some(counter))
        }
        Sink::Directory => (Store::open(&format!("file://{}", dir.path().display()))?, None),
    };
    let mut options = Options { max_jobs_per_client: usize::MAX, ..Options::default() };
    let mut ports: Vec<Arc<dyn EvaluatorPort>> = Vec::new();
    match arguments.transport {
        Transport::Memory => {
            ports.extend((0..arguments.evaluators).map(|idx| Arc::new(simulated(idx)) as Arc<dyn EvaluatorPort>));
        }
        Transport::Grpc => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let endpoint: Endpoint = format!("http://{}", listener.local_addr()?).parse()?;
            options.evaluators = vec![endpoint; arguments.evaluators];
            let mut host = ServiceHost::new();
            host.add(EvaluatorServiceServer::new(simulated(0)));
            tokio::spawn(host.serve(listener, std::future::ready(()), shutdown.clone(), Duration::ZERO));
        }
    }
    let app = App::with_evaluators(options, ports, store, shutdown.clone())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let mut host = ServiceHost::new();
    app.add_to(&mut host);
    let (serving, running) = (app.clone(), app.clone());
    let (stop, advertised) = (shutdown.clone(), endpoint.clone());
    let server = tokio::spawn(async move { host.serve(listener, serving.ready(), stop, Duration::ZERO).await });
    let work = tokio::spawn(async move { running.run(advertised).await });
    app.ready().await;

    let client = Client::new(&endpoint)?;
    Sandbox::furnish(&client).await?;
    let n_jobs = arguments.n_jobs(n_tiles);
    create(&client, n_jobs, u32::try_from(n_tiles / n_jobs)?, arguments.points).await?;

    let probe = Probe::start(&client, n_jobs);
    let (start, cpu) = (Instant::now(), cpu_time()?);
    is_open.store(true, Ordering::Relaxed);
    let mut figures = Figures { seconds: 0.0, cpu: Duration::ZERO, peak_mib: 0.0, mib: [0.0; 3], gets: Vec::new() };
    loop {
        let n_ended = probe.n_ended(&client).await?;
        let mib = resident_mib()?;
        figures.peak_mib = figures.peak_mib.max(mib);
        // Of surfaces that share alike, all end at the end; what is stored tells how far they are.
        let share = counter.as_ref().map_or(1.0, |counter| counter.n_chunks() as f64 / 4.0 / n_tiles as f64);
        for (place, due) in [0.1, 0.5, 1.0].into_iter().enumerate() {
            if figures.mib[place] == 0.0 && share >= due {
                figures.mib[place] = mib;
            }
        }
        if n_ended == n_jobs {
            break;
        }
        tokio::time::sleep(Duration::from_millis(if n_tiles < 100_000 { 5 } else { 200 })).await;
    }
    figures.seconds = start.elapsed().as_secs_f64();
    figures.cpu = cpu_time()? - cpu;
    figures.gets = probe.stop().await?;
    if let Some(counter) = counter {
        ensure!(counter.n_chunks() == 4 * n_tiles, "{} chunks of {n_tiles} tiles were put", counter.n_chunks());
    }
    shutdown.cancel();
    work.await?;
    server.await??;
    Ok(figures)
}

/// Creates the surfaces, none of which begins before the evaluators answer.
async fn create(client: &Client, n_jobs: u64, tiles_per_job: u32, points_per_tile: u32) -> anyhow::Result<()> {
    let turns = Arc::new(Semaphore::new(8));
    let mut created = JoinSet::new();
    for job in 0..n_jobs {
        let axes = (axis(-1.0, 1.0, tiles_per_job * points_per_tile), axis(0.0, 0.0, 1));
        let spec = surface_spec(CHECKPOINT, DATASET, axes, Some(10), (1, points_per_tile));
        let request = CreateSurfaceRequest {
            spec: Some(SurfaceSpec { fresh: true, ..spec }),
            surface_id: format!("bench-{job}"),
            ..CreateSurfaceRequest::default()
        };
        let (client, turns) = (client.clone(), Arc::clone(&turns));
        created.spawn(async move {
            let _turn = turns.acquire().await?;
            client.surfaces().create_surface(request).await?;
            anyhow::Ok(())
        });
    }
    while let Some(outcome) = created.join_next().await {
        outcome??;
    }
    Ok(())
}

/// Somebody who asks how far surfaces are, all the time.
struct Probe {
    stop: CancellationToken,
    asking: tokio::task::JoinHandle<anyhow::Result<Vec<Duration>>>,
    /// Those before are known to have ended.
    next: AtomicU64,
    n_jobs: u64,
}

impl Probe {
    fn start(client: &Client, n_jobs: u64) -> Self {
        let stop = CancellationToken::new();
        let (client, stopped) = (client.clone(), stop.clone());
        let asking = tokio::spawn(async move {
            let mut times = Vec::new();
            let mut job = 0;
            while !stopped.is_cancelled() {
                job = (job + 7919) % n_jobs;
                let request = GetSurfaceRequest { name: format!("bench-{job}") };
                let start = Instant::now();
                client.surfaces().get_surface(request).await?;
                times.push(start.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(times)
        });
        Self { stop, asking, next: AtomicU64::new(0), n_jobs }
    }

    /// The number of surfaces that are known to have ended, in order.
    async fn n_ended(&self, client: &Client) -> anyhow::Result<u64> {
        let mut next = self.next.load(Ordering::Relaxed);
        while next < self.n_jobs {
            let request = GetSurfaceRequest { name: format!("bench-{next}") };
            let answer = client.surfaces().get_surface(request).await?.into_inner();
            let status = answer.surface.and_then(|surface| surface.status).context("no status")?;
            match status.state() {
                JobState::Succeeded => next += 1,
                JobState::Failed | JobState::Cancelled => anyhow::bail!("bench-{next} did not succeed: {status:?}"),
                _ => break,
            }
        }
        self.next.store(next, Ordering::Relaxed);
        Ok(next)
    }

    async fn stop(self) -> anyhow::Result<Vec<Duration>> {
        self.stop.cancel();
        self.asking.await?
    }
}
