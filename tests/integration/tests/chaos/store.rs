//! A store that fails.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use relief_api::job::v1::JobState;
use relief_test_s3::{Conduct, S3Server};
use relief_test_support::{Client, Launch, Process, Program, Proxy, Sandbox, Traffic};

use crate::cluster::{spec, undisturbed};

struct Platform {
    client: Client,
    server: S3Server,
    proxy: Proxy,
    processes: [Process; 2],
}

/// A coordinator and an evaluator on a bucket behind a proxy.
async fn platform() -> anyhow::Result<Platform> {
    let server = S3Server::start().await?;
    let proxy = Proxy::start(server.address()).await?;
    let start = async |program, evaluators: &[String]| {
        let launch = Launch::new(program).arg("--store").arg(server.url("faults")).arg("--listen").arg("127.0.0.1:0");
        let launch = evaluators.iter().fold(launch, |launch, evaluator| launch.arg("--evaluator").arg(evaluator));
        let times = [("AWS_READ_TIMEOUT", "2 seconds"), ("AWS_TIMEOUT", "6 seconds")];
        let launch = times.iter().fold(launch, |launch, (name, value)| launch.variable(name, value));
        let variables = relief_test_s3::variables(proxy.address());
        variables.iter().fold(launch, |launch, (name, value)| launch.variable(name, value)).start().await
    };
    let evaluator = start(Program::Evaluator, &[]).await?;
    let coordinator = start(Program::Coordinator, &[evaluator.endpoint()]).await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    Ok(Platform { client, server, proxy, processes: [coordinator, evaluator] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surfaces_come_out_the_same_over_a_store_that_refuses_stalls_and_truncates() -> anyhow::Result<()> {
    let spec = spec(12, 5);
    let expected = undisturbed(std::slice::from_ref(&spec)).await?.remove(0);
    let Platform { client, server, proxy, processes: _processes } = platform().await?;
    for (name, fault) in [
        ("unavailable", Fault::Conduct(Conduct::Unavailable)),
        ("silent", Fault::Conduct(Conduct::Silent)),
        ("slow", Fault::Traffic(Traffic::Slow(4_000))),
        ("truncated", Fault::Traffic(Traffic::Cut(200))),
        ("lost", Fault::Traffic(Traffic::Lost)),
    ] {
        client.create_surface(name, spec.clone()).await?;
        client.watch(name).await?.until("the first tiles are done", |status| status.tiles_done > 2).await?;
        fault.begin(&server, &proxy);
        tokio::time::sleep(Duration::from_secs(4)).await;
        fault.end(&server, &proxy);
        client.succeeded(name).await.with_context(|| format!("after the store was {name}"))?;
        ensure!(client.values(name).await? == expected, "the surface differs after the store was {name}");
    }
    ensure!(proxy.n_slowed() > 0 && proxy.n_cut() > 0 && proxy.n_lost_bytes() > 0, "a fault met nothing");
    Ok(())
}

enum Fault {
    Conduct(Conduct),
    Traffic(Traffic),
}

impl Fault {
    fn begin(&self, server: &S3Server, proxy: &Proxy) {
        match self {
            Self::Conduct(conduct) => server.set_conduct(*conduct),
            Self::Traffic(traffic) => {
                proxy.set_traffic(*traffic);
                // Of what is kept open nothing would be new.
                proxy.reset();
            }
        }
    }

    fn end(&self, server: &S3Server, proxy: &Proxy) {
        server.set_conduct(Conduct::Serve);
        proxy.set_traffic(Traffic::Flow);
        proxy.reset();
    }
}

#[tokio::test]
async fn a_surface_waits_for_room_on_a_full_disk_and_loses_nothing() -> anyhow::Result<()> {
    let spec = spec(12, 6);
    let expected = undisturbed(std::slice::from_ref(&spec)).await?.remove(0);
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let launch = sandbox.launch_coordinator(&[&evaluator.endpoint()]).surviving_full_disks();
    let coordinator = launch.start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    client.create_surface("squeezed", spec).await?;
    let mut watch = client.watch("squeezed").await?;
    watch.until("the first tiles are done", |status| status.tiles_done > 2).await?;

    coordinator.limit_files(Some(0))?;
    let waiting =
        watch.until("it waits for the store", |status| status.waiting_reason.contains("cannot write")).await?;
    ensure!(waiting.state() == JobState::Running, "{waiting:?}");
    // Nothing is accepted that cannot be stored.
    let refused =
        client.create_surface("refused", crate::cluster::spec(3, 1)).await.err().context("it was accepted")?;
    ensure!(refused.to_string().contains("store") || refused.to_string().contains("write"), "{refused:#}");

    coordinator.limit_files(None)?;
    client.succeeded("squeezed").await?;
    ensure!(client.values("squeezed").await? == expected, "the surface came out otherwise");
    Ok(())
}
