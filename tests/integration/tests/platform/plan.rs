//! What a surface would take, and who may have one.

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_api::surface::v1::{CreateSurfaceRequest, CreateSurfaceResponse, Scheduling, SurfaceSpec};
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Program, Refusal, Reservation, Sandbox, axis, contents, surface_spec, within,
};

fn spec() -> SurfaceSpec {
    let axes = (axis(-1.0, 1.0, 7), axis(-1.0, 1.0, 5));
    surface_spec(CHECKPOINT, DATASET, axes, Some(40), (2, 3))
}

async fn validate(client: &Client, request: CreateSurfaceRequest) -> anyhow::Result<CreateSurfaceResponse> {
    let request = CreateSurfaceRequest { validate_only: true, ..request };
    Ok(within("it is checked", client.surfaces().create_surface(request)).await??.into_inner())
}

fn of(spec: SurfaceSpec) -> CreateSurfaceRequest {
    CreateSurfaceRequest { spec: Some(spec), ..CreateSurfaceRequest::default() }
}

#[tokio::test]
async fn a_surface_that_is_only_checked_is_told_what_it_takes_and_leaves_nothing() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let before = contents(&sandbox.store())?;
    let answer = validate(&client, of(spec())).await?;
    assert_eq!(contents(&sandbox.store())?, before);
    let (surface, plan) = (answer.surface.context("no surface")?, answer.plan.context("no plan")?);
    assert_eq!(surface.name, "");
    assert!(
        surface.geometry.is_some() && surface.spec.context("no specification")?.network.starts_with("networks/lenet5-")
    );
    assert_eq!((plan.points, plan.points_reused, plan.tiles), (35, 0, 9));
    assert_eq!(plan.samples, 35 * 40);
    assert_eq!(plan.result_bytes, 35 * 25 + 8 * (7 + 5));
    // 61,706 parameters and two directions of as many numbers, and a network without values.
    assert!((3 * 4 * 61_706..3 * 4 * 61_706 + 20_000).contains(&plan.input_bytes), "{plan:?}");
    assert_eq!(plan.evaluator_time, None, "nothing was measured yet");

    client.computed("made", spec()).await?;
    let plan = validate(&client, of(spec())).await?.plan.context("no plan")?;
    assert_eq!((plan.points_reused, plan.samples), (35, 0));
    let fresh = SurfaceSpec { fresh: true, ..spec() };
    let plan = validate(&client, of(fresh)).await?.plan.context("no plan")?;
    assert_eq!((plan.points_reused, plan.samples), (0, 35 * 40));
    let time = plan.evaluator_time.context("it was measured")?;
    assert!(time.seconds < 60 && (time.seconds > 0 || time.nanos > 0), "{time:?}");

    let wrong = CreateSurfaceRequest { validate_only: true, surface_id: "made".to_owned(), ..of(spec()) };
    let refused = Refusal::of("a taken name", client.surfaces().create_surface(wrong).await)?;
    assert_eq!(refused.reason, ErrorReason::AlreadyExists);
    let mut wrong = spec();
    wrong.scheduling = Some(Scheduling { client: "N O".to_owned(), priority: 1000, weight: 5000 });
    let wrong = CreateSurfaceRequest { validate_only: true, ..of(wrong) };
    let refused = Refusal::of("wrong scheduling", client.surfaces().create_surface(wrong).await)?;
    assert_eq!(refused.fields, ["spec.scheduling.client", "spec.scheduling.priority", "spec.scheduling.weight"]);
    Ok(())
}

#[tokio::test]
async fn a_client_has_no_more_surfaces_at_work_than_it_may() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let absent = Reservation::new()?;
    let launch = sandbox.launch_coordinator(&[&absent.endpoint()]).arg("--max-jobs-per-client").arg("2");
    let coordinator = launch.start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let by = |name: &str| {
        let scheduling = Scheduling { client: name.to_owned(), ..Scheduling::default() };
        of(SurfaceSpec { scheduling: Some(scheduling), ..spec() })
    };
    for _ in 0..2 {
        client.surfaces().create_surface(by("alice")).await?;
    }
    let refused = Refusal::of("a third one", client.surfaces().create_surface(by("alice")).await)?;
    assert_eq!(refused.reason, ErrorReason::QuotaExceeded);
    assert!(refused.message.contains("`alice` has 2 surfaces"), "{}", refused.message);
    client.surfaces().create_surface(by("bob")).await?;
    Ok(())
}
