//! Coordinators, evaluators and an S3 server, each a process that can be killed and comes back at its address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{CreateSurfaceRequest, GetSurfaceRequest, Surface, SurfaceSpec, SurfaceStatus};
use relief_api::{ApiError, Retry};
use relief_test_s3::{url, variables};
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Launch, Process, Program, Proxy, Reservation, Sandbox, Values, axis, surface_spec,
};
use tokio::time::Instant;

/// A part of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Coordinator(usize),
    Evaluator(usize),
    Store,
}

/// A process, which may be down, at an address of its own.
struct Place {
    reservation: Reservation,
    process: Option<Process>,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { reservation: Reservation::new()?, process: None })
    }
}

/// What a cluster is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub n_coordinators: usize,
    pub n_evaluators: usize,
    /// Whether proxies stand in front of the evaluators and of the store.
    pub has_proxies: bool,
    pub lease_seconds: u64,
    pub stall_seconds: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { n_coordinators: 2, n_evaluators: 3, has_proxies: false, lease_seconds: 3, stall_seconds: 10 }
    }
}

/// A cluster over one bucket.
pub struct Cluster {
    shape: Shape,
    // Ended before their directory is removed.
    coordinators: Vec<Place>,
    evaluators: Vec<Place>,
    store: Place,
    pub evaluator_proxies: Vec<Proxy>,
    pub store_proxy: Option<Proxy>,
    sandbox: Sandbox,
}

impl Cluster {
    /// Starts a cluster, with a dataset and a checkpoint in its store.
    pub async fn start(shape: Shape) -> anyhow::Result<Self> {
        let places = |n| (0..n).map(|_| Place::new()).collect::<anyhow::Result<Vec<_>>>();
        let mut cluster = Self {
            shape,
            coordinators: places(shape.n_coordinators)?,
            evaluators: places(shape.n_evaluators)?,
            store: Place::new()?,
            evaluator_proxies: Vec::new(),
            store_proxy: None,
            sandbox: Sandbox::new()?,
        };
        if shape.has_proxies {
            for evaluator in &cluster.evaluators {
                cluster.evaluator_proxies.push(Proxy::start(evaluator.reservation.address()).await?);
            }
            cluster.store_proxy = Some(Proxy::start(cluster.store.reservation.address()).await?);
        }
        for part in cluster.parts() {
            cluster.revive(part).await?;
        }
        Sandbox::furnish(&cluster.client(0)?).await?;
        Ok(cluster)
    }

    /// All parts, those that others need first.
    pub fn parts(&self) -> Vec<Part> {
        let evaluators = (0..self.shape.n_evaluators).map(Part::Evaluator);
        let coordinators = (0..self.shape.n_coordinators).map(Part::Coordinator);
        std::iter::once(Part::Store).chain(evaluators).chain(coordinators).collect()
    }

    fn place(&mut self, part: Part) -> &mut Place {
        match part {
            Part::Coordinator(idx) => &mut self.coordinators[idx],
            Part::Evaluator(idx) => &mut self.evaluators[idx],
            Part::Store => &mut self.store,
        }
    }

    fn launch(&self, part: Part) -> Launch {
        let here = self.store.reservation.address();
        let there = self.store_proxy.as_ref().map_or(here, Proxy::address);
        let service = |program, address: SocketAddr| {
            let launch = Launch::new(program).arg("--store").arg(url("chaos")).arg("--listen").arg(address.to_string());
            let times = [
                ("AWS_CONNECT_TIMEOUT", "1 seconds"),
                ("AWS_READ_TIMEOUT", "3 seconds"),
                ("AWS_TIMEOUT", "10 seconds"),
            ];
            let times = times.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let all = variables(there).into_iter().chain(times);
            all.fold(launch, |launch, (name, value)| launch.variable(&name, &value))
        };
        match part {
            Part::Store => Launch::new(Program::S3).arg(self.bucket()).arg(here.to_string()),
            Part::Evaluator(idx) => service(Program::Evaluator, self.evaluators[idx].reservation.address()),
            Part::Coordinator(idx) => {
                let launch = service(Program::Coordinator, self.coordinators[idx].reservation.address());
                let launch = launch.arg("--lease").arg(self.shape.lease_seconds.to_string());
                let launch = launch.arg("--stall-timeout").arg(self.shape.stall_seconds.to_string());
                (0..self.evaluators.len()).fold(launch, |launch, idx| {
                    let direct = self.evaluators[idx].reservation.endpoint();
                    launch.arg("--evaluator").arg(self.evaluator_proxies.get(idx).map_or(direct, Proxy::endpoint))
                })
            }
        }
    }

    /// The directory in which the bucket's objects lie, each a file.
    pub fn bucket(&self) -> PathBuf {
        self.sandbox.path().join("s3")
    }

    /// Starts a part that is down; one that is up stays as it is.
    pub async fn revive(&mut self, part: Part) -> anyhow::Result<()> {
        if self.place(part).process.is_none() {
            let launch = self.launch(part);
            let started = match part {
                // Without its store it is not ready, and comes to be when that is back.
                Part::Coordinator(_) | Part::Evaluator(_) => launch.listening().await?,
                Part::Store => launch.start().await?,
            };
            self.place(part).process = Some(started);
        }
        Ok(())
    }

    /// Starts what is down, in the order in which parts need each other. A service that finds its store too slow ends, as it
    /// is to, and is started the next time.
    pub async fn revive_all(&mut self) -> anyhow::Result<()> {
        for part in self.parts() {
            match self.revive(part).await {
                Err(error) if part == Part::Store => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Kills a part that is up with SIGKILL; whether it was.
    pub async fn kill(&mut self, part: Part) -> anyhow::Result<bool> {
        match self.place(part).process.take() {
            Some(mut process) => {
                process.kill().await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// A part that is up.
    pub fn process(&mut self, part: Part) -> anyhow::Result<&mut Process> {
        self.place(part).process.as_mut().with_context(|| format!("{part:?} is down"))
    }

    /// A client of a coordinator.
    pub fn client(&self, idx: usize) -> anyhow::Result<Client> {
        Client::new(&self.coordinators[idx].reservation.endpoint())
    }

    /// Clients of all coordinators.
    pub fn clients(&self) -> anyhow::Result<Vec<Client>> {
        (0..self.coordinators.len()).map(|idx| self.client(idx)).collect()
    }
}

/// A surface that takes some seconds, another one for each `seed`.
pub fn spec(side: u32, seed: u64) -> SurfaceSpec {
    let axes = (axis(-1.0, 1.0, side), axis(-1.0, 0.5, side));
    let mut spec = surface_spec(CHECKPOINT, DATASET, axes, Some(200), (2, 3));
    if let Some(plane) = &mut spec.plane {
        plane.x = Some(relief_test_support::random(seed));
        plane.y = Some(relief_test_support::random(seed));
    }
    SurfaceSpec { fresh: true, ..spec }
}

/// What every surface of `specs` is when nothing disturbs it.
pub async fn undisturbed(specs: &[SurfaceSpec]) -> anyhow::Result<Vec<Values>> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let mut values = Vec::new();
    for (idx, spec) in specs.iter().enumerate() {
        values.push(client.computed(&format!("calm-{idx}"), spec.clone()).await?);
    }
    Ok(values)
}

/// Longer than a disturbed surface takes.
const PATIENCE: Duration = Duration::from_secs(240);

/// Makes a call of one coordinator after the other until one answers; what would be refused by all is an error.
pub async fn insist<T, F>(clients: &[Client], what: &str, call: impl Fn(Client) -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, tonic::Status>>,
{
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < PATIENCE {
        for client in clients {
            match tokio::time::timeout(Duration::from_secs(15), call(client.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => {
                    let error = ApiError::from_status(&status);
                    // A connection that breaks has no reason of its own.
                    let is_broken = std::error::Error::source(&status).is_some();
                    if error.reason.retry() == Retry::Never && !is_broken && status.code() != tonic::Code::Cancelled {
                        bail!("{what}: {error}");
                    }
                    last = Some(error.message);
                }
                Err(_) => last = Some("no answer".to_owned()),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{what}: not within {} s; last: {last:?}", PATIENCE.as_secs())
}

/// Creates a surface; a call whose answer is lost is made again.
pub async fn create(clients: &[Client], id: &str, spec: &SurfaceSpec) -> anyhow::Result<Surface> {
    let request = CreateSurfaceRequest {
        spec: Some(spec.clone()),
        surface_id: id.to_owned(),
        request_id: format!("request {id}"),
        ..CreateSurfaceRequest::default()
    };
    let call = |client: Client| {
        let request = request.clone();
        async move { client.surfaces().create_surface(request).await }
    };
    let answer = insist(clients, &format!("{id} is created"), call).await?;
    answer.into_inner().surface.context("no surface in the answer")
}

/// Waits until a surface has succeeded.
pub async fn succeeded(clients: &[Client], id: &str) -> anyhow::Result<SurfaceStatus> {
    let start = Instant::now();
    loop {
        let request = GetSurfaceRequest { name: id.to_owned() };
        let call = |client: Client| {
            let request = request.clone();
            async move { client.surfaces().get_surface(request).await }
        };
        let answer = insist(clients, &format!("{id} is shown"), call).await?;
        let status = answer.into_inner().surface.and_then(|surface| surface.status).context("no status")?;
        match status.state() {
            JobState::Succeeded => return Ok(status),
            JobState::Failed | JobState::Cancelled => bail!("{id} did not succeed: {status:?}"),
            _ => {}
        }
        ensure!(start.elapsed() < PATIENCE, "{id} did not end within {} s: {status:?}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The values of a surface, from whichever coordinator answers.
pub async fn values(clients: &[Client], id: &str) -> anyhow::Result<Values> {
    let start = Instant::now();
    loop {
        for client in clients {
            match client.values(id).await {
                Ok(values) => return Ok(values),
                Err(error) => ensure!(start.elapsed() < PATIENCE, "the values of {id}: {error:#}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
