//! What losses are computed in: asked for, chosen, refused.

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_api::catalog::v1::Split;
use relief_api::evaluator::v1::choose_numerics_response::Event;
use relief_api::evaluator::v1::{
    Blob, ChooseNumericsRequest, Coordinate, DatasetBlob, DescribeEvaluatorRequest, NumericChoice,
};
use relief_api::inference::v1::ComputeLogitsRequest;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{BatchNormMode, DatasetSlice, Engine, NumericRequest, Precision, SurfaceSpec};
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Program, Refusal, Sandbox, axis, network_id, plane_axes, surface_spec, within,
};
use tonic::{Code, Status};

fn spec(engine: Engine, precision: Precision) -> SurfaceSpec {
    let numerics = Some(request(engine, precision));
    let axes = (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3));
    SurfaceSpec { numerics, ..surface_spec(CHECKPOINT, DATASET, axes, Some(40), (2, 2)) }
}

fn request(engine: Engine, precision: Precision) -> NumericRequest {
    NumericRequest { engine: engine.into(), precision: precision.into() }
}

async fn class_of(client: &Client, id: &str) -> anyhow::Result<String> {
    Ok(client.surface(id).await?.provenance.context("no provenance")?.numeric_class)
}

#[tokio::test]
async fn an_evaluator_without_anything_to_offer_does_not_start() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let launch = sandbox.launch(Program::Evaluator).arg("--engine=burn").arg("--precision=bf16");
    let (status, log) = launch.ended().await?;
    assert!(!status.success());
    assert!(log.contains("engine burn with precision bf16") && log.contains("burn/f32"), "{log}");
    Ok(())
}

#[tokio::test]
async fn the_class_of_a_surface_is_chosen_when_it_begins_and_stands_in_its_record() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).arg("--engine=burn").start().await?;
    let described = evaluator.client()?.evaluator().describe_evaluator(DescribeEvaluatorRequest {}).await?.into_inner();
    let [class] = &described.numeric_classes[..] else { anyhow::bail!("not one class: {described:?}") };
    assert!(class.starts_with("burn-") && class.contains("/f32/"), "{class}");

    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let created = client.create_surface("open", spec(Engine::Unspecified, Precision::Unspecified)).await?;
    assert_eq!(created.spec.context("no specification")?.numerics, None);
    assert_eq!(created.provenance.context("no provenance")?.numeric_class, "");
    client.succeeded("open").await?;
    let created = client.create_surface("asked", spec(Engine::Burn, Precision::F32)).await?;
    let asked = Some(request(Engine::Burn, Precision::F32));
    assert_eq!(created.spec.context("no specification")?.numerics, asked);
    let status = client.succeeded("asked").await?;
    for id in ["open", "asked"] {
        assert_eq!(&class_of(&client, id).await?, class);
    }
    // What was asked for tells nothing apart that was computed in one class.
    assert_eq!((status.points_done, status.points_reused), (9, 9));
    Ok(())
}

#[tokio::test]
async fn what_nobody_offers_is_waited_for_and_others_go_on() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).arg("--engine=burn").start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    for (id, spec, words) in [
        ("engine", spec(Engine::Cpu, Precision::Unspecified), ["spec.numerics.engine", "`cpu`", "burn/f32"]),
        ("precision", spec(Engine::Unspecified, Precision::Bf16), ["spec.numerics.precision", "`bf16`", "burn/f32"]),
    ] {
        client.create_surface(id, spec).await?;
        let mut watch = client.watch(id).await?;
        let status = watch.until("a reason to wait", |status| !status.waiting_reason.is_empty()).await?;
        assert_eq!((status.state(), status.tiles_running), (JobState::Pending, 0));
        assert!(words.iter().all(|word| status.waiting_reason.contains(word)), "{}", status.waiting_reason);
        assert_eq!(class_of(&client, id).await?, "");
    }
    client.computed("beside", spec(Engine::Burn, Precision::Unspecified)).await?;

    let data = DatasetSlice { dataset: DATASET.to_owned(), split: Split::Train.into(), limit: Some(10) };
    let logits = ComputeLogitsRequest {
        network: String::new(),
        checkpoint: CHECKPOINT.to_owned(),
        data: Some(data),
        numerics: Some(request(Engine::Cpu, Precision::F32)),
    };
    let refusal = Refusal::of("logits", client.inference().compute_logits(logits.clone()).await)?;
    assert_eq!((refusal.reason, refusal.code), (ErrorReason::NumericsUnavailable, Code::FailedPrecondition));
    assert!(refusal.message.contains("cpu") && refusal.message.contains("burn-"), "{}", refusal.message);
    let unknown = ComputeLogitsRequest { numerics: Some(NumericRequest { engine: 7, precision: -1 }), ..logits };
    let refusal = Refusal::of("numbers that nobody knows", client.inference().compute_logits(unknown).await)?;
    assert_eq!(refusal.fields, ["numerics.engine", "numerics.precision"]);
    Ok(())
}

async fn choice(client: &Client, request: ChooseNumericsRequest) -> Result<NumericChoice, Status> {
    let mut answers = client.evaluator().choose_numerics(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if let Some(Event::Choice(choice)) = answer.event {
            return Ok(choice);
        }
    }
    Err(Status::unknown("the answers have ended"))
}

#[tokio::test]
async fn an_evaluator_chooses_among_what_it_offers() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let coordinator = sandbox.launch_coordinator(&[]).start().await?;
    Sandbox::furnish(&coordinator.client()?).await?;
    let surface = spec(Engine::Unspecified, Precision::Unspecified);
    let surface = coordinator.client()?.create_surface("model", surface).await?;
    let provenance = surface.provenance.context("no provenance")?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let client = evaluator.client()?;
    let described = client.evaluator().describe_evaluator(DescribeEvaluatorRequest {}).await?.into_inner();
    let blob = |path: String, digest: String| Some(Blob { path, digest });
    let open = ChooseNumericsRequest {
        protocol_version: 5,
        surface: surface.name,
        network: blob(format!("networks/{}/network.onnx", network_id()), provenance.network_digest),
        checkpoint: blob(format!("checkpoints/{CHECKPOINT}/checkpoint.safetensors"), provenance.checkpoint_digest),
        axes: plane_axes(&provenance.direction_digests),
        batch_norm: BatchNormMode::Frozen.into(),
        dataset: Some(DatasetBlob {
            name: format!("datasets/{DATASET}"),
            digest: provenance.dataset_digest,
            split: Split::Train.into(),
            limit: 40,
        }),
        statistics: None,
        numerics: None,
        probes: vec![Coordinate { x: 0.0, y: 0.0 }, Coordinate { x: 1.0, y: -1.0 }],
        also: None,
    };
    let chosen = within("a choice", choice(&client, open.clone())).await??;
    assert!(described.numeric_classes.contains(&chosen.numeric_class), "{chosen:?}");
    assert!(!chosen.reason.is_empty());
    for (engine, precision) in [(Engine::Unspecified, Precision::F32), (Engine::Burn, Precision::Unspecified)] {
        let asked = ChooseNumericsRequest { numerics: Some(request(engine, precision)), ..open.clone() };
        let chosen = within("a choice", choice(&client, asked)).await??;
        assert!(described.numeric_classes.contains(&chosen.numeric_class), "{chosen:?}");
        assert!(chosen.numeric_class.contains("/f32/"), "{chosen:?}");
    }
    let short = Some(request(Engine::Burn, Precision::Bf16));
    let refused = choice(&client, ChooseNumericsRequest { numerics: short, ..open.clone() }).await;
    let refusal = Refusal::of("what it does not offer", refused)?;
    assert_eq!(
        (refusal.reason, refusal.fields),
        (ErrorReason::NumericsUnavailable, vec!["numerics.precision".to_owned()])
    );
    let refused = choice(&client, ChooseNumericsRequest { protocol_version: 3, ..open }).await;
    assert_eq!(Refusal::of("another protocol", refused)?.reason, ErrorReason::VersionMismatch);
    Ok(())
}

#[tokio::test]
async fn bfloat16_alone_is_computed_in_only_where_it_is_asked_for() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let unrestricted = sandbox.launch(Program::Evaluator).start().await?;
    let request_of_classes = DescribeEvaluatorRequest {};
    let described = unrestricted.client()?.evaluator().describe_evaluator(request_of_classes).await?.into_inner();
    if !described.numeric_classes.iter().any(|class| class.starts_with("cpu/bf16/")) {
        // This processor does not multiply bfloat16.
        return Ok(());
    }
    drop(unrestricted);
    let evaluator = sandbox.launch(Program::Evaluator).arg("--precision=bf16").start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    client.create_surface("open", spec(Engine::Unspecified, Precision::Unspecified)).await?;
    let mut watch = client.watch("open").await?;
    let status = watch.until("a reason to wait", |status| !status.waiting_reason.is_empty()).await?;
    let words = ["spec.numerics.precision", "cpu/bf16"];
    assert!(words.iter().all(|word| status.waiting_reason.contains(word)), "{}", status.waiting_reason);

    client.computed("asked", spec(Engine::Unspecified, Precision::Bf16)).await?;
    assert!(class_of(&client, "asked").await?.starts_with("cpu/bf16/"));

    let data = DatasetSlice { dataset: DATASET.to_owned(), split: Split::Train.into(), limit: Some(10) };
    let open = ComputeLogitsRequest {
        network: String::new(),
        checkpoint: CHECKPOINT.to_owned(),
        data: Some(data),
        numerics: None,
    };
    let refused = match client.inference().compute_logits(open).await {
        Ok(answers) => answers.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    let refusal = Refusal::of("logits in what nobody asked for", refused)?;
    assert_eq!((refusal.reason, refusal.code), (ErrorReason::NumericsUnavailable, Code::FailedPrecondition));
    Ok(())
}
