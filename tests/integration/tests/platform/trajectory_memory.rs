//! What processes hold while a long path is projected.
//!
//! `RELIEF_TRAJECTORY_STOPS` says how many checkpoints the path has (24 unless given), `RELIEF_TRAJECTORY_NETWORK` of which
//! network (resnet20 unless given); docs/benchmarks.md has the figures of 300 of resnet56.

use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, ensure};
use relief_api::job::v1::JobState;
use relief_api::surface::v1::DatasetSlice;
use relief_api::trajectory::v1::{Path, TrajectorySpec, TrajectoryStage};
use relief_core::{Tensor, TensorMap};
use relief_graph::{builtin, initialize};
use relief_store::encode_checkpoint;
use relief_test_support::{DATASET, Process, Program, Sandbox};

const MIB: f64 = 1024.0;

/// The most memory that a process has held so far, in MiB.
fn peak(process: &Process) -> anyhow::Result<f64> {
    let id = process.id().context("it has ended")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / MIB)
}

/// A stop of a path that bends and never repeats.
fn stop(corners: &[TensorMap; 3], t: f32) -> anyhow::Result<TensorMap> {
    let weights = [1.0 - t, t, (9.0 * t).sin() * 0.3];
    let mut mixed = TensorMap::new();
    for (name, first) in &corners[0] {
        let mut values = vec![0.0; first.data().len()];
        for (corner, weight) in corners.iter().zip(weights) {
            for (value, of) in values.iter_mut().zip(corner[name].data()) {
                *value += weight * of;
            }
        }
        mixed.insert(name.clone(), Tensor::new(first.shape().to_vec(), values)?);
    }
    Ok(mixed)
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "who measures is told the figures")]
async fn a_path_of_many_checkpoints_takes_little_memory() -> anyhow::Result<()> {
    let n_stops: usize = env::var("RELIEF_TRAJECTORY_STOPS").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let network = env::var("RELIEF_TRAJECTORY_NETWORK").unwrap_or_else(|_| "resnet20".to_owned());
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    // Of its own, so that what imports take is not counted.
    let importer = sandbox.launch_coordinator(&[]).start().await?;
    let client = importer.client()?;
    Sandbox::furnish(&client).await?;
    let graph = builtin::build(&network, "1x28x28".parse()?, 10)?;
    let corners = [1, 2, 3].map(|seed| initialize(&graph, seed));
    let mut checkpoints = Vec::new();
    for idx in 0..n_stops {
        let name = format!("c{idx:03}");
        let file = encode_checkpoint(&stop(&corners, idx as f32 / n_stops as f32)?)?;
        client.import_checkpoint(&name, &format!("{network}-1x28x28-10"), &file).await?;
        checkpoints.push(name);
    }
    drop(importer);

    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    let spec = TrajectorySpec {
        paths: vec![Path { checkpoints, ..Path::default() }],
        data: Some(DatasetSlice { dataset: DATASET.to_owned(), limit: Some(16), ..DatasetSlice::default() }),
        columns: 3,
        rows: 3,
        ..TrajectorySpec::default()
    };
    let start = Instant::now();
    client.create_trajectory("long", spec).await?;
    let mut stages = Vec::<(TrajectoryStage, f64)>::new();
    loop {
        let status = client.trajectory("long").await?.status.context("no status")?;
        if stages.last().is_none_or(|(last, _)| *last != status.stage()) {
            stages.push((status.stage(), start.elapsed().as_secs_f64()));
        }
        match status.state() {
            JobState::Succeeded => break,
            JobState::Pending | JobState::Running => tokio::time::sleep(Duration::from_millis(100)).await,
            _ => anyhow::bail!("the trajectory did not succeed: {status:?}"),
        }
    }
    let (of_coordinator, of_evaluator) = (peak(&coordinator)?, peak(&evaluator)?);
    println!(
        "{n_stops} checkpoints of {network} in {:.1} s: coordinator {of_coordinator:.0} MiB, evaluator {of_evaluator:.0} \
         MiB at most; stages began at {stages:?} s",
        start.elapsed().as_secs_f64()
    );
    ensure!(of_coordinator < 200.0, "the coordinator held {of_coordinator:.0} MiB");
    ensure!(of_evaluator < 1024.0, "the evaluator held {of_evaluator:.0} MiB");
    Ok(())
}
