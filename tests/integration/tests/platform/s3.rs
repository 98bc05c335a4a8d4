//! Four services over a bucket, each a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use relief_test_s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use relief_test_support::{CommandLine, Launch, Process, Program, Sandbox, contents};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const SECRETS: [&str; 3] = [ACCESS_KEY, SECRET_KEY, "sesame"];

/// Returns the start of `program` on the bucket of `server`.
fn launch(program: Program, server: &S3Server) -> Launch {
    let launch = Launch::new(program).arg("--store").arg(server.url("landscapes")).arg("--listen").arg("127.0.0.1:0");
    let variables = server.variables();
    variables.iter().fold(launch, |launch, (name, value)| launch.variable(name, value))
}

/// The command line of services apart.
fn command_line(coordinator: &Process, trainer: &Process, renderer: &Process) -> CommandLine {
    let named = [
        ("RELIEF_ENDPOINT", coordinator),
        ("RELIEF_TRAINER_ENDPOINT", trainer),
        ("RELIEF_RENDERER_ENDPOINT", renderer),
    ];
    CommandLine::with(named.map(|(name, process)| (name, process.endpoint())))
}

/// Trains a network on real images, computes a surface around it and draws it. Returns the names of the run and of
/// the surface.
async fn main_job(relief: &CommandLine, out: &Path) -> anyhow::Result<(String, String)> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist-6k");
    let file = |name: &str| format!("{data}/{name}.gz");
    let (inputs, targets) = (file("t10k-images-idx3-ubyte"), file("t10k-labels-idx1-ubyte"));
    relief.run(&["dataset", "import", "small", "--format", "idx", &inputs, &targets]).await?;
    let run = ["train", "--network", "lenet5", "--dataset", "small", "--epochs", "1", "--seed", "3", "--watch"];
    let run = relief.run(&run).await?;
    let origin = format!("{run}/snapshots/1");
    // On the dataset of the run.
    let surface = ["surface", "create", "--network", "lenet5", "--limit", "300", "--watch"];
    let plane = ["--checkpoint", &origin, "--seed", "5", "--x=-1:1:7", "--y=-0.5:1:5", "--tile", "2x3"];
    let surface = relief.run(&[&surface[..], &plane].concat()).await?;
    let path = |name: &str| out.join(name).display().to_string();
    relief.run(&["surface", "export", &surface, "--format", "csv", "--out", &path("surface.csv")]).await?;
    relief.run(&["plot", "surface", &surface, "--out", &path("surface.png")]).await?;
    Ok((run, surface))
}

/// The bytes of everything below the folder of `name`, apart from what tells when and by whom it was made.
fn stored(folder: &Path, part: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let all = contents(&folder.join(part)).with_context(|| format!("{part} is not stored"))?;
    let files = all.into_iter().filter_map(|(path, content)| Some((path.display().to_string(), content?)));
    Ok(files.collect())
}

#[tokio::test]
async fn services_apart_over_a_bucket_make_what_one_process_makes_in_a_directory() -> anyhow::Result<()> {
    let (sandbox, out) = (Sandbox::new()?, Sandbox::new()?);
    let platform = sandbox.launch(Program::Relief).start().await?;
    let here = out.path().join("here");
    std::fs::create_dir(&here)?;
    let (run, surface) = main_job(&CommandLine::at(&platform), &here).await?;
    drop(platform);

    let server = S3Server::start().await?;
    let collector = Collector::start().await?;
    let start = async |launch: Launch| {
        launch.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint).variable("RUST_LOG", "trace").start().await
    };
    let trainer = start(launch(Program::Trainer, &server)).await?;
    let renderer = start(launch(Program::Renderer, &server)).await?;
    let evaluators =
        [start(launch(Program::Evaluator, &server)).await?, start(launch(Program::Evaluator, &server)).await?];
    let coordinator = evaluators.iter().fold(launch(Program::Coordinator, &server), |launch, evaluator| {
        launch.arg("--evaluator").arg(evaluator.endpoint())
    });
    let coordinator = start(coordinator).await?;
    let there = out.path().join("there");
    std::fs::create_dir(&there)?;
    let relief = command_line(&coordinator, &trainer, &renderer);
    let (run_there, surface_there) = main_job(&relief, &there).await?;

    let values = std::fs::read(here.join("surface.csv"))?;
    assert_eq!(values.iter().filter(|byte| **byte == b'\n').count(), 1 + 7 * 5);
    assert!(values == std::fs::read(there.join("surface.csv"))?, "the surfaces differ");
    for folder in [&here, &there] {
        assert!(std::fs::read(folder.join("surface.png"))?.starts_with(b"\x89PNG\r\n\x1a\n"));
    }
    let (directory, bucket) = (sandbox.store(), server.bucket().join("landscapes"));
    let same = async |part: &str, part_there: &str| -> anyhow::Result<()> {
        let (ours, theirs) = (stored(&directory, part)?, stored(&bucket, part_there)?);
        ensure!(!ours.is_empty() && ours == theirs, "{part} in the directory and {part_there} in the bucket differ");
        Ok(())
    };
    for array in ["loss", "accuracy", "flags", "x", "y"] {
        same(&format!("{surface}.zarr/{array}"), &format!("{surface_there}.zarr/{array}")).await?;
    }
    let snapshot = |folder: &Path, run: &str| std::fs::read(folder.join(format!("{run}/snapshots/1.safetensors")));
    assert!(snapshot(&directory, &run)? == snapshot(&bucket, &run_there)?, "the snapshots differ");

    let mut processes = vec![coordinator, trainer, renderer];
    processes.extend(evaluators);
    let mut n_lines = 0;
    for process in &mut processes {
        process.terminate()?;
        assert_eq!(process.ended().await?.code(), Some(0));
        let told = |line: &str| SECRETS.iter().any(|secret| line.contains(secret)).then(|| line.to_owned());
        // It fails when no line has one.
        if let Ok(line) = process.logged("a secret", told).await {
            anyhow::bail!("a log has a secret: {line}");
        }
        n_lines += process.logged("the first line", |line| (!line.is_empty()).then_some(1)).await?;
    }
    assert_eq!(n_lines, processes.len());
    let traces = collector.requests.borrow().clone();
    assert!(traces.iter().any(|request| request.contains("relief-coordinator")), "no trace was exported");
    for request in &traces {
        assert!(SECRETS.iter().all(|secret| !request.contains(secret)), "a trace has a secret: {request}");
    }
    Ok(())
}

/// A collector that keeps whole requests as text.
struct Collector {
    endpoint: String,
    requests: watch::Receiver<Vec<String>>,
}

struct Handler(watch::Sender<Vec<String>>);

impl Collector {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (sender, requests) = watch::channel(Vec::new());
        let server = Server::builder().add_service(TraceServiceServer::new(Handler(sender)));
        // It ends with the test.
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok(Self { endpoint, requests })
    }
}

#[tonic::async_trait]
impl TraceService for Handler {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|requests| requests.push(format!("{:?}", request.into_inner())));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
