//! What every server has besides its services, and how it ends.

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_test_support::{CHECKPOINT, DATASET, Process, Program, Refusal, Sandbox, axis, surface_spec, within};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

macro_rules! services_listed {
    ($process:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let symbol = MessageRequest::FileContainingSymbol($process.1.services()[0].to_owned());
        let requests = tokio_stream::iter([ask(MessageRequest::ListServices(String::new())), ask(symbol)]);
        let mut client = ServerReflectionClient::new($process.0.client()?.channel());
        let mut answers = within("reflection", client.server_reflection_info(requests)).await??.into_inner();
        let answer = within("the services", answers.message()).await??.context("no answer")?;
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            anyhow::bail!("not a list of services: {answer:?}");
        };
        let answer = within("the file", answers.message()).await??.context("no answer")?;
        let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response else {
            anyhow::bail!("not a file: {answer:?}");
        };
        assert!(!files.file_descriptor_proto.is_empty());
        let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        names.sort_unstable();
        names
    }};
}

async fn check(process: &Process, service: &str) -> anyhow::Result<Result<ServingStatus, tonic::Status>> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = within("the health", process.client()?.health().check(request)).await?;
    Ok(answer.map(|answer| answer.into_inner().status()))
}

#[tokio::test]
async fn every_server_tells_its_health_and_its_services_and_ends_in_order() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    for program in Program::ALL.into_iter().filter(|program| !program.services().is_empty()) {
        let mut process = sandbox.launch(program).start().await?;
        for service in program.services().iter().copied().chain([""]) {
            assert_eq!(check(&process, service).await??, ServingStatus::Serving, "{program:?} {service}");
        }
        let unknown = check(&process, "relief.unknown.v1.UnknownService").await?.err().context("an unknown service")?;
        assert_eq!(unknown.code(), Code::NotFound);

        let mut expected = [program.services(), &["grpc.health.v1.Health"]].concat();
        expected.sort_unstable();
        let listed = |names: Vec<String>| {
            names.into_iter().filter(|name| !name.starts_with("grpc.reflection.")).collect::<Vec<_>>()
        };
        assert_eq!(listed(services_listed!((&process, program), v1)), expected);
        assert_eq!(listed(services_listed!((&process, program), v1alpha)), expected);

        process.terminate()?;
        assert_eq!(process.ended().await?.code(), Some(0), "{program:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_stops_tells_its_watchers() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let mut coordinator = sandbox.launch_coordinator(&[]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(10), (2, 2));
    client.create_surface("watched", spec).await?;
    let mut watch = client.watch("watched").await?;
    watch.until("the watch has begun", |_| true).await?;

    coordinator.terminate()?;
    let farewell = Refusal::of("the watch", watch.end().await?.map_or(Ok(()), Err))?;
    assert_eq!((farewell.reason, farewell.code), (ErrorReason::ShuttingDown, Code::Unavailable));
    assert!(farewell.message.contains("stopping"), "{}", farewell.message);
    assert_eq!(coordinator.ended().await?.code(), Some(0));
    Ok(())
}
