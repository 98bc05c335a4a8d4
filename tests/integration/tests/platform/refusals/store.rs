//! Stores that cannot be used: at the start of a service, and while it is at work.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use relief_api::ErrorReason;
use relief_api::catalog::v1::{GetDatasetRequest, ListNetworksRequest, Split};
use relief_api::evaluator::v1::{Blob, Coordinate, DatasetBlob, EvaluateTileRequest};
use relief_api::plot::v1::RenderSurfaceRequest;
use relief_api::surface::v1::{BatchNormMode, CreateSurfaceRequest, ReadSurfaceRequest, SurfaceSpec};
use relief_api::training::v1::{CreateRunRequest, GetRunRequest, RunSpec};
use relief_store::encode_checkpoint;
use relief_test_s3::{ACCESS_KEY, Conduct, S3Server, SECRET_KEY};
use relief_test_support::{
    CHECKPOINT, CommandLine, DATASET, Launch, Process, Program, Refusal, Sandbox, axis, initial_tensors, network_id,
    plane_axes, surface_spec, within,
};
use tokio::net::TcpListener;
use tonic::Status;

use super::upload::{FileUpload, Kind};

const SECRETS: [&str; 3] = [ACCESS_KEY, SECRET_KEY, "sesame"];

const SERVICES: [Program; 4] = [Program::Coordinator, Program::Evaluator, Program::Renderer, Program::Trainer];

fn launch(program: Program, url: &str, variables: &[(String, String)]) -> Launch {
    let launch = Launch::new(program).arg("--listen").arg("127.0.0.1:0").arg("--store").arg(url);
    let launch = launch.variable("RUST_LOG", "trace");
    variables.iter().fold(launch, |launch, (name, value)| launch.variable(name, value))
}

fn with(mut variables: Vec<(String, String)>, changes: &[(&str, &str)]) -> Vec<(String, String)> {
    for (name, value) in changes {
        variables.retain(|(there, _)| there != name);
        variables.push(((*name).to_owned(), (*value).to_owned()));
    }
    variables
}

/// Starts `program`, which must fail, and returns the reason that its log gives.
async fn failure(program: Program, url: &str, variables: &[(String, String)]) -> anyhow::Result<String> {
    let (status, log) = launch(program, url, variables).ended().await?;
    ensure!(status.code() == Some(1), "{}: {status}", program.name());
    let secret = SECRETS.iter().find(|secret| log.contains(**secret));
    ensure!(secret.is_none(), "{secret:?} is told: {log}");
    let failed = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = event.get("fields")?;
        let message = fields.get("message")?.as_str()?;
        message.ends_with(" failed").then(|| fields.get("error")?.as_str().map(str::to_owned)).flatten()
    };
    log.lines().find_map(failed).with_context(|| format!("no reason is logged: {log}"))
}

#[tokio::test]
async fn a_service_whose_bucket_cannot_be_used_ends_and_says_what_to_check() -> anyhow::Result<()> {
    let server = S3Server::start().await?;
    let endpoint = |address: SocketAddr| format!("http://{address}");
    let nowhere = endpoint(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let mute = endpoint(silent.local_addr()?);
    let changed = |changes: &[(&str, &str)]| with(server.variables(), changes);
    let (url, absent) = (server.url("a"), "s3://elsewhere/a");
    for (url, variables, parts) in [
        (url.as_str(), changed(&[("AWS_ENDPOINT", &nowhere)]), ["cannot be reached", "check AWS_ENDPOINT"]),
        (
            &url,
            changed(&[("AWS_ENDPOINT", &mute), ("AWS_READ_TIMEOUT", "200ms"), ("AWS_TIMEOUT", "1s")]),
            ["does not answer in time", "check AWS_ENDPOINT"],
        ),
        (
            &url,
            changed(&[("AWS_SECRET_ACCESS_KEY", "wrong/sesame/0123456789")]),
            ["refuses the credentials (403 Forbidden", "check AWS_ACCESS_KEY_ID"],
        ),
        (absent, server.variables(), ["is not there (404", "check the name"]),
        ("s3://keyholder:open/sesame@bucket/a", server.variables(), ["`s3://***@bucket/a`", "AWS_"]),
        ("ftp://bucket/a", server.variables(), ["`ftp://bucket/a`", "s3://bucket/prefix"]),
    ] {
        let [a, b, c, d] = SERVICES.map(|program| failure(program, url, &variables));
        let (a, b, c, d) = tokio::join!(a, b, c, d);
        for (program, reason) in SERVICES.iter().zip([a?, b?, c?, d?]) {
            let is_told = parts.iter().all(|part| reason.contains(part));
            assert!(is_told, "{}: {reason}", program.name());
            assert!(url.contains('@') || reason.contains(url), "{}: {reason}", program.name());
        }
    }
    Ok(())
}

/// Services apart over one bucket.
struct Services {
    coordinator: Process,
    evaluator: Process,
    renderer: Process,
    trainer: Process,
}

impl Services {
    async fn start(server: &S3Server) -> anyhow::Result<Self> {
        let variables = with(server.variables(), &[("AWS_READ_TIMEOUT", "300ms")]);
        let url = server.url("landscapes");
        let launch = |program| launch(program, &url, &variables);
        let evaluator = launch(Program::Evaluator).start().await?;
        let coordinator = launch(Program::Coordinator).arg("--evaluator").arg(evaluator.endpoint()).start().await?;
        let (renderer, trainer) = (launch(Program::Renderer).start().await?, launch(Program::Trainer).start().await?);
        Ok(Self { coordinator, evaluator, renderer, trainer })
    }

    /// Calls of every service that need the store, and what becomes of each.
    async fn calls(&self, tile: &EvaluateTileRequest) -> anyhow::Result<Vec<(&'static str, Result<(), Status>)>> {
        let client = self.coordinator.client()?;
        let (trainer, renderer) = (self.trainer.client()?, self.renderer.client()?);
        let (mut catalog, mut other_catalog, mut surfaces) = (client.catalog(), client.catalog(), client.surfaces());
        let (mut other_surfaces, mut runs, mut other_runs) = (client.surfaces(), trainer.runs(), trainer.runs());
        let (mut plots, mut evaluator) = (renderer.plots(), self.evaluator.client()?.evaluator());
        let name = || "undisturbed".to_owned();
        let new = CreateSurfaceRequest {
            spec: Some(spec()),
            surface_id: "new".to_owned(),
            ..CreateSurfaceRequest::default()
        };
        let run = RunSpec { network: "lenet5".into(), dataset: DATASET.into(), epochs: 1, ..RunSpec::default() };
        let weights = encode_checkpoint(&initial_tensors()?)?;
        let import = FileUpload { name: "new", ..FileUpload::of(Kind::Checkpoint, &weights) };
        let picture = RenderSurfaceRequest { surface: name(), ..RenderSurfaceRequest::default() };
        let all = async {
            tokio::join!(
                async { catalog.get_dataset(GetDatasetRequest { name: DATASET.to_owned() }).await.map(drop) },
                async { other_catalog.list_networks(ListNetworksRequest::default()).await.map(drop) },
                import.send(&client),
                async { surfaces.create_surface(new).await.map(drop) },
                async { other_surfaces.read_surface(ReadSurfaceRequest { name: name() }).await.map(drop) },
                async {
                    runs.create_run(CreateRunRequest { spec: Some(run), run_id: "new".to_owned() }).await.map(drop)
                },
                async { other_runs.get_run(GetRunRequest { name: "new".to_owned() }).await.map(drop) },
                async { plots.render_surface(picture).await.map(drop) },
                async {
                    let mut events = evaluator.evaluate_tile(tile.clone()).await?.into_inner();
                    while events.message().await?.is_some() {}
                    Ok(())
                },
            )
        };
        let answers = within("answers", all).await?;
        Ok(vec![
            ("a dataset", answers.0),
            ("the networks", answers.1),
            ("an import", answers.2),
            ("a new surface", answers.3),
            ("the values", answers.4),
            ("a new run", answers.5),
            ("a run", answers.6),
            ("a picture", answers.7),
            ("a tile", answers.8),
        ])
    }

    /// A tile on samples that no evaluator has loaded yet.
    async fn unseen_tile(&self) -> anyhow::Result<EvaluateTileRequest> {
        let surface = self.coordinator.client()?.surface("undisturbed").await?;
        let provenance = surface.provenance.context("no provenance")?;
        let blob = |path: String, digest: String| Some(Blob { path, digest });
        Ok(EvaluateTileRequest {
            protocol_version: 5,
            surface: surface.name,
            tile_index: 0,
            attempt: 1,
            network: blob(format!("networks/{}/network.onnx", network_id()), provenance.network_digest),
            checkpoint: blob(format!("checkpoints/{CHECKPOINT}/checkpoint.safetensors"), provenance.checkpoint_digest),
            axes: plane_axes(&provenance.direction_digests),
            dataset: Some(DatasetBlob {
                name: format!("datasets/{DATASET}"),
                digest: provenance.dataset_digest,
                split: Split::Train.into(),
                limit: 17,
            }),
            points: vec![Coordinate { x: 0.5, y: -0.5 }],
            batch_norm: BatchNormMode::Frozen.into(),
            numeric_class: provenance.numeric_class,
            ..EvaluateTileRequest::default()
        })
    }

    /// Commands that need the store, and what each says.
    async fn commands(&self) -> anyhow::Result<Vec<String>> {
        let relief = CommandLine::with([
            ("RELIEF_ENDPOINT", self.coordinator.endpoint()),
            ("RELIEF_TRAINER_ENDPOINT", self.trainer.endpoint()),
            ("RELIEF_RENDERER_ENDPOINT", self.renderer.endpoint()),
        ]);
        let create =
            ["surface", "create", "--network=lenet5", "--checkpoint=initial", "--dataset=fashion", "--x=0:1:3"];
        let (datasets, surface, run, plot) = tokio::join!(
            relief.said(&["dataset", "list"]),
            relief.said(&create),
            relief.said(&["train", "--network=lenet5", "--dataset=fashion", "--epochs=1"]),
            relief.said(&["plot", "surface", "undisturbed", "--out=/absent/picture.svg"]),
        );
        let mut texts = Vec::new();
        for said in [datasets?, surface?, run?, plot?] {
            ensure!(said.status.code() == Some(1) && said.stdout.is_empty(), "not refused: {said:?}");
            texts.push(said.stderr);
        }
        Ok(texts)
    }

    /// Fails unless every call and command is refused, to be made again, for `trouble`, and nothing else is told.
    async fn are_refused(&self, tile: &EvaluateTileRequest, trouble: &str) -> anyhow::Result<()> {
        let (texts, answers) = tokio::join!(self.commands(), self.calls(tile));
        let mut texts = texts?;
        for (what, answer) in answers? {
            let refusal = Refusal::of(what, answer)?;
            ensure!(refusal.reason == ErrorReason::StoreUnavailable, "{what}: {refusal:?}");
            texts.push(refusal.message);
        }
        for text in texts {
            ensure!(text.contains(trouble) && text.contains("try again later"), "`{trouble}` is not said: {text}");
            let told = SECRETS.iter().chain(&["AWS_", "s3://", "127.0.0.1"]).find(|word| text.contains(**word));
            ensure!(told.is_none(), "{told:?} is told: {text}");
        }
        Ok(())
    }
}

fn spec() -> SurfaceSpec {
    let axes = (axis(-1.0, 1.0, 12), axis(-1.0, 1.0, 12));
    SurfaceSpec { fresh: true, ..surface_spec(CHECKPOINT, DATASET, axes, None, (2, 2)) }
}

#[tokio::test]
async fn a_store_that_is_lost_is_told_and_everything_goes_on_when_it_is_back() -> anyhow::Result<()> {
    let mut server = S3Server::start().await?;
    let services = Services::start(&server).await?;
    let client = services.coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let undisturbed = client.computed("undisturbed", spec()).await?;
    let tile = services.unseen_tile().await?;

    client.create_surface("interrupted", spec()).await?;
    client.watch("interrupted").await?.until("the first tiles are done", |status| status.tiles_done > 0).await?;
    server.stop().await;
    let at_stop = client.surface("interrupted").await?.status.context("no status")?;
    assert!(at_stop.tiles_done < at_stop.tiles_total, "the stop came too late: {at_stop:?}");
    services.are_refused(&tile, "the store cannot be reached").await?;
    server.resume()?;
    client.succeeded("interrupted").await?;
    assert_eq!(client.values("interrupted").await?, undisturbed);

    for (conduct, trouble) in [
        (Conduct::Refuse, "the store refuses the service's credentials"),
        (Conduct::Silent, "the store does not answer in time"),
    ] {
        server.set_conduct(conduct);
        services.are_refused(&tile, trouble).await?;
    }
    server.set_conduct(Conduct::Serve);
    for (what, answer) in services.calls(&tile).await? {
        // Whether the new run is there when it is asked for depends on which call comes first.
        assert!(answer.is_ok() || what == "a run", "{what}: {answer:?}");
    }
    let Services { coordinator, evaluator, renderer, trainer, .. } = services;
    for mut process in [coordinator, evaluator, renderer, trainer] {
        process.terminate()?;
        process.ended().await?;
        let told = |line: &str| SECRETS.iter().any(|secret| line.contains(secret)).then(|| line.to_owned());
        // It fails when no line has one.
        if let Ok(line) = process.logged("a secret", told).await {
            anyhow::bail!("a log has a secret: {line}");
        }
    }
    Ok(())
}
