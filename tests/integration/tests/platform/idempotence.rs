//! Requests that are repeated, because their sender does not know what became of them.

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{CreateSurfaceRequest, ListSurfacesRequest, Surface};
use relief_test_support::{CHECKPOINT, Client, DATASET, Program, Refusal, Sandbox, axis, surface_spec, within};
use tonic::Status;

fn request(request_id: &str, side: u32) -> CreateSurfaceRequest {
    let axes = (axis(-1.0, 1.0, side), axis(-1.0, 1.0, side));
    let spec = Some(surface_spec(CHECKPOINT, DATASET, axes, Some(20), (2, 2)));
    CreateSurfaceRequest { spec, request_id: request_id.to_owned(), ..CreateSurfaceRequest::default() }
}

async fn create(client: &Client, request: CreateSurfaceRequest) -> anyhow::Result<Result<Surface, Status>> {
    let answer = within("an answer", client.surfaces().create_surface(request)).await?;
    Ok(match answer {
        Ok(response) => Ok(response.into_inner().surface.context("no surface in the answer")?),
        Err(status) => Err(status),
    })
}

async fn n_surfaces(client: &Client) -> anyhow::Result<usize> {
    let request = ListSurfacesRequest::default();
    Ok(within("the list", client.surfaces().list_surfaces(request)).await??.into_inner().surfaces.len())
}

#[tokio::test]
async fn a_request_with_an_id_makes_one_surface_however_often_it_comes() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let mut coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;

    let repeated = || create(&client, request("a", 3));
    let (first, second, third, fourth) = tokio::join!(repeated(), repeated(), repeated(), repeated());
    let name = first??.name;
    for again in [second, third, fourth] {
        assert_eq!(again??.name, name);
    }
    assert_eq!(n_surfaces(&client).await?, 1);
    client.succeeded(&name).await?;
    let values = client.values(&name).await?;

    coordinator.kill().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    let again = create(&client, request("a", 3)).await??;
    assert_eq!((&again.name, again.status.context("no status")?.state()), (&name, JobState::Succeeded));
    assert_eq!(client.values(&name).await?, values);

    // Another request has another id.
    let other = Refusal::of("another content", create(&client, request("a", 4)).await?)?;
    assert_eq!(other.reason, ErrorReason::AlreadyExists);
    assert!(other.names("request_id") && other.message.contains(&name), "{other:?}");
    let named = CreateSurfaceRequest { surface_id: "mine".to_owned(), ..request("b", 3) };
    assert_eq!(create(&client, named.clone()).await??.name, "surfaces/mine");
    assert_eq!(create(&client, named.clone()).await??.name, "surfaces/mine");
    let taken =
        Refusal::of("a taken name", create(&client, CreateSurfaceRequest { request_id: "c".into(), ..named }).await?)?;
    assert_eq!(taken.reason, ErrorReason::AlreadyExists);
    assert!(taken.names("surface_id"), "{taken:?}");
    let long = Refusal::of("a long id", create(&client, request(&"x".repeat(129), 3)).await?)?;
    assert!(long.names("request_id") && long.message.contains("129"), "{long:?}");
    assert_eq!(n_surfaces(&client).await?, 2);

    // One that was deleted is made anew.
    client.delete_surface(&name).await?;
    assert_eq!(create(&client, request("a", 3)).await??.name, name);
    Ok(())
}
