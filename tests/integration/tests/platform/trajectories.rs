//! Paths of optimisers in planes.

use std::collections::BTreeMap;

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::read_directions_response::Part;
use relief_api::surface::v1::{DatasetSlice, NumericRequest, Precision, ReadDirectionsRequest};
use relief_api::trajectory::v1::{
    Axes, CancelTrajectoryRequest, DeleteTrajectoryRequest, DrawnAxes, ListTrajectoriesRequest, Path, PcaAxes, Stop,
    Trajectory, TrajectoryResult, TrajectorySpec, axes::Kind,
};
use relief_core::{Tensor, TensorMap};
use relief_store::{decode_checkpoint, encode_checkpoint};
use relief_test_support::{Client, CommandLine, DATASET, Program, Refusal, Sandbox, network_id, tensors_of_seed};
use tonic::Code;

/// Checkpoints of a path that bends, c0 to c5, and their tensors.
async fn import_path(client: &Client) -> anyhow::Result<Vec<TensorMap>> {
    let (from, to, aside) = (tensors_of_seed(1)?, tensors_of_seed(2)?, tensors_of_seed(3)?);
    let mut path = Vec::new();
    for idx in 0..6 {
        let t = idx as f32 / 5.0;
        let weights = [1.0 - t, t, 0.4 * t * (1.0 - t)];
        let mixed = mix([&from, &to, &aside], weights)?;
        client.import_checkpoint(&format!("c{idx}"), network_id(), &encode_checkpoint(&mixed)?).await?;
        path.push(mixed);
    }
    Ok(path)
}

fn mix(tensors: [&TensorMap; 3], weights: [f32; 3]) -> anyhow::Result<TensorMap> {
    let mut mixed = TensorMap::new();
    for (name, first) in tensors[0] {
        let mut values = vec![0.0; first.data().len()];
        for (tensors, weight) in tensors.iter().zip(weights) {
            for (value, of) in values.iter_mut().zip(tensors[name].data()) {
                *value += weight * of;
            }
        }
        mixed.insert(name.clone(), Tensor::new(first.shape().to_vec(), values)?);
    }
    Ok(mixed)
}

fn spec(names: &[&str]) -> TrajectorySpec {
    TrajectorySpec {
        paths: vec![path(names)],
        data: Some(DatasetSlice { dataset: DATASET.to_owned(), limit: Some(60), ..DatasetSlice::default() }),
        numerics: Some(NumericRequest { engine: 0, precision: Precision::F32.into() }),
        columns: 5,
        rows: 4,
        ..TrajectorySpec::default()
    }
}

fn path(names: &[&str]) -> Path {
    Path { checkpoints: names.iter().map(|name| (*name).to_owned()).collect(), ..Path::default() }
}

fn whole_path() -> TrajectorySpec {
    spec(&["c0", "c1", "c2", "c3", "c4", "c5"])
}

fn result(trajectory: &Trajectory) -> anyhow::Result<TrajectoryResult> {
    trajectory.result.clone().context("no result")
}

async fn directions(client: &Client, surface: &str) -> anyhow::Result<BTreeMap<String, TensorMap>> {
    let request = ReadDirectionsRequest { name: surface.to_owned() };
    let mut parts = client.surfaces().read_directions(request).await?.into_inner();
    let mut files = BTreeMap::<String, Vec<u8>>::new();
    let mut axis = String::new();
    while let Some(part) = parts.message().await? {
        match part.part.context("no part")? {
            Part::Header(header) => axis = header.axis,
            Part::Chunk(chunk) => files.entry(axis.clone()).or_default().extend_from_slice(&chunk),
        }
    }
    let decode = |(axis, file): (String, Vec<u8>)| anyhow::Ok((axis, decode_checkpoint(&file)?.tensors));
    files.into_iter().map(decode).collect()
}

/// The product of theta - origin with a direction, over the tensors that the direction has.
fn product(theta: &TensorMap, origin: &TensorMap, direction: &TensorMap) -> f64 {
    let of_tensor = |(name, direction): (&String, &Tensor)| {
        let values = theta[name].data().iter().zip(origin[name].data()).zip(direction.data());
        values.map(|((theta, origin), d)| (f64::from(*theta) - f64::from(*origin)) * f64::from(*d)).sum::<f64>()
    };
    direction.iter().map(of_tensor).sum()
}

fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
}

/// The losses of a stop are those that a surface has at its origin when that is the stop.
async fn assert_true_losses(client: &Client, stops: &[Stop]) -> anyhow::Result<()> {
    for (idx, stop) in stops.iter().enumerate() {
        let axes = (relief_test_support::axis(0.0, 1.0, 2), relief_test_support::axis(0.0, 1.0, 2));
        let surface = relief_test_support::surface_spec(&stop.checkpoint, DATASET, axes, Some(60), (2, 2));
        let values = client.computed(&format!("stop-{idx}"), relief_test_support::in_float32(surface)).await?;
        let (loss, accuracy) = values.at(0.0, 0.0)?;
        assert_eq!((stop.loss, stop.accuracy), (Some(loss), Some(accuracy)), "{}", stop.checkpoint);
    }
    Ok(())
}

#[tokio::test]
async fn a_path_is_projected_and_its_surface_and_true_losses_computed() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let tensors = import_path(&client).await?;
    let trajectory = client.computed_trajectory("bend", whole_path()).await?;
    let result = result(&trajectory)?;

    // Two directions hold all of a path that is a combination of two.
    assert_close(result.explained_plane, 1.0, "the plane's share");
    assert_close(result.explained.iter().sum(), 1.0, "the axes' share");
    assert_eq!((result.stops.len(), result.singular_values.len()), (6, 5));
    let (first, last) = (&result.stops[0], &result.stops[5]);
    assert!(first.x > 0.0 && first.y > 0.0);
    assert_eq!((last.x, last.y, last.distance), (0.0, 0.0, 0.0));

    let axes = directions(&client, &trajectory.surface).await?;
    let zero: TensorMap = axes["x"].iter().map(|(name, d)| (name.clone(), Tensor::filled(d.shape(), 0.0))).collect();
    for (axis, other, cosine) in [("x", "x", 1.0), ("y", "y", 1.0), ("x", "y", 0.0)] {
        assert_close(product(&axes[axis], &zero, &axes[other]), cosine, "the axes are orthonormal");
    }
    assert!(axes["x"].values().all(|tensor| tensor.shape().len() > 1), "vectors are left out");
    for (stop, theta) in result.stops.iter().zip(&tensors) {
        assert_close(product(theta, &tensors[5], &axes["x"]), stop.x, &stop.checkpoint);
        assert_close(product(theta, &tensors[5], &axes["y"]), stop.y, &stop.checkpoint);
    }
    // The surface holds the path, with room around it.
    let (x, y) = (result.x.context("no x")?, result.y.context("no y")?);
    assert_eq!((x.count, y.count), (5, 4));
    assert!(result.stops.iter().all(|stop| x.min < stop.x && stop.x < x.max && y.min < stop.y && stop.y < y.max));
    assert_eq!(client.values(&trajectory.surface).await?.n_known(), 20);
    assert_true_losses(&client, &result.stops).await
}

#[tokio::test]
async fn other_planes_hold_less_of_a_path() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    import_path(&client).await?;
    let with = |kind| TrajectorySpec { axes: Some(Axes { kind: Some(kind) }), ..whole_path() };
    let drawn = DrawnAxes { seed: 4, normalization: 0 };

    let random = result(&client.computed_trajectory("random", with(Kind::Random(drawn))).await?)?;
    assert!(random.explained_plane < 0.01, "{}", random.explained_plane);
    assert!(random.stops[..5].iter().all(|stop| stop.off_plane > 0.99));

    let trajectory = client.computed_trajectory("start-end", with(Kind::StartEnd(drawn))).await?;
    let start_end = result(&trajectory)?;
    assert!(start_end.explained[0] > 0.5 && start_end.explained[1] < 0.01, "{:?}", start_end.explained);
    assert_close(start_end.stops[0].x, start_end.stops[0].distance, "the start lies on the first axis");

    let centered = PcaAxes { centered: true, of_all: false };
    let centered = result(&client.computed_trajectory("centered", with(Kind::Pca(centered))).await?)?;
    assert!(centered.explained[0] < 1.0);

    // Another path in the plane of the first.
    let both = TrajectorySpec { paths: vec![path(&["c0", "c2", "c4", "c5"]), path(&["c1", "c3"])], ..whole_path() };
    let both = result(&client.computed_trajectory("both", both).await?)?;
    assert_eq!(both.stops.iter().map(|stop| stop.path).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
    assert!(both.stops.iter().all(|stop| stop.off_plane < 1e-3));
    Ok(())
}

#[tokio::test]
async fn a_trajectory_survives_the_loss_of_everybody() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let mut evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let mut coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let mut client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    import_path(&client).await?;
    let long = || TrajectorySpec { columns: 16, rows: 16, ..whole_path() };
    let undisturbed = result(&client.computed_trajectory("undisturbed", long()).await?)?;

    for (id, n_points) in [("early", 0), ("late", 20)] {
        client.create_trajectory(id, long()).await?;
        loop {
            let status = client.trajectory(id).await?.status.context("no status")?;
            if status.points_done >= n_points {
                break;
            }
        }
        coordinator.kill().await?;
        evaluator.kill().await?;
        evaluator = sandbox.launch(Program::Evaluator).start().await?;
        coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
        client = coordinator.client()?;
        let ended = client.ended_trajectory(id).await?;
        let status = ended.status.clone().context("no status")?;
        assert_eq!(status.state(), JobState::Succeeded, "{id}: {status:?}");
        assert_eq!(result(&ended)?, undisturbed, "{id}");
        assert_eq!(status.points_done, 256);
        let (values, expected) = (
            client.values(&ended.surface).await?,
            client.values(&client.trajectory("undisturbed").await?.surface).await?,
        );
        assert_eq!(values, expected);
    }
    Ok(())
}

#[tokio::test]
async fn trajectories_are_listed_stopped_and_deleted() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let coordinator = sandbox.launch_coordinator(&[]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    import_path(&client).await?;
    // Nobody computes it.
    client.create_trajectory("idle", whole_path()).await?;
    let waiting = relief_test_support::within("a reason to wait", async {
        loop {
            let status = client.trajectory("idle").await?.status.context("no status")?;
            if !status.waiting_reason.is_empty() {
                return anyhow::Ok(status);
            }
        }
    });
    let waiting = waiting.await??;
    assert!(waiting.waiting_reason.contains("no evaluator"), "{}", waiting.waiting_reason);
    let list = client.trajectories().list_trajectories(ListTrajectoriesRequest::default()).await?.into_inner();
    assert_eq!(list.trajectories.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["trajectories/idle"]);

    let cancel = || CancelTrajectoryRequest { name: "idle".to_owned() };
    let cancelled = client.trajectories().cancel_trajectory(cancel()).await?.into_inner().trajectory;
    let state = cancelled.and_then(|trajectory| trajectory.status).context("no status")?.state();
    assert_eq!(state, JobState::Cancelled);
    let refusal = Refusal::of("a second cancel", client.trajectories().cancel_trajectory(cancel()).await)?;
    assert_eq!(refusal.reason, ErrorReason::WrongState);

    let delete = DeleteTrajectoryRequest { name: "idle".to_owned() };
    client.trajectories().delete_trajectory(delete.clone()).await?;
    let refusal = Refusal::of("a second deletion", client.trajectories().delete_trajectory(delete).await)?;
    assert_eq!((refusal.reason, refusal.code), (ErrorReason::NotFound, Code::NotFound));
    for rest in ["idle.job", "idle.zarr"] {
        assert!(!sandbox.store().join("trajectories").join(rest).exists(), "{rest}");
    }
    Ok(())
}

#[tokio::test]
async fn paths_that_span_no_plane_are_refused_or_fail_with_the_reason() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    import_path(&client).await?;
    let refused = async |spec: TrajectorySpec| {
        let request = relief_api::trajectory::v1::CreateTrajectoryRequest { spec: Some(spec), ..Default::default() };
        Refusal::of("a bad trajectory", client.trajectories().create_trajectory(request).await)
    };
    for (names, word) in
        [(&["c0"][..], "at least"), (&["c0", "c1"], "at least"), (&["c0", "c0", "c0"], "the same checkpoint")]
    {
        let refusal = refused(spec(names)).await?;
        assert!(refusal.names("spec.paths") && refusal.message.contains(word), "{}", refusal.message);
    }
    let refusal = refused(spec(&["c0", "nowhere", "c2", "nobody"])).await?;
    assert!(refusal.message.contains("nowhere") && refusal.message.contains("nobody"), "{}", refusal.message);
    let run = Path { run: "runs/none".to_owned(), ..Path::default() };
    let refusal = refused(TrajectorySpec { paths: vec![run], ..whole_path() }).await?;
    assert_eq!(refusal.code, Code::NotFound);

    // On a line, which only shows when the products are known.
    let (from, to) = (tensors_of_seed(1)?, tensors_of_seed(2)?);
    for (idx, t) in [0.0, 0.25, 0.5, 1.0].into_iter().enumerate() {
        let on_line: TensorMap = from
            .iter()
            .map(|(name, tensor)| {
                let values = tensor.data().iter().zip(to[name].data()).map(|(from, to)| {
                    // Of few bits, so that no rounding leads off the line.
                    let (from, to) = ((from * 64.0).round() / 64.0, (to * 64.0).round() / 64.0);
                    from + t * (to - from)
                });
                Ok((name.clone(), Tensor::new(tensor.shape().to_vec(), values.collect())?))
            })
            .collect::<anyhow::Result<_>>()?;
        client.import_checkpoint(&format!("l{idx}"), network_id(), &encode_checkpoint(&on_line)?).await?;
    }
    client.create_trajectory("line", spec(&["l0", "l1", "l2", "l3"])).await?;
    let ended = client.ended_trajectory("line").await?.status.context("no status")?;
    assert_eq!(ended.state(), JobState::Failed);
    let message = ended.error.context("no error")?.message;
    assert!(message.contains("straight line"), "{message}");
    Ok(())
}

#[tokio::test]
async fn the_command_line_makes_shows_and_exports_trajectories() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    import_path(&client).await?;
    let command_line = CommandLine::at(&coordinator);
    let create = "trajectory create --checkpoints c0,c1,c2,c3,c4,c5 --grid 4x3 --limit 50 --watch --dataset";
    let create: Vec<&str> = create.split(' ').chain([DATASET]).collect();
    let name = command_line.run(&create).await?;
    let name = name.trim();
    assert!(name.starts_with("trajectories/t"), "{name}");

    let shown = command_line.run(&["trajectory", "get", name]).await?;
    assert!(shown.contains("principal components") && shown.contains("OFF PLANE"), "{shown}");
    assert_eq!(shown.matches("checkpoints/c").count(), 6, "{shown}");
    assert!(command_line.run(&["trajectory", "list"]).await?.contains(name));
    let json = command_line.run(&["trajectory", "export", name, "--format", "json", "--out", "-"]).await?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["result"]["stops"].as_array().map(Vec::len), Some(6));
    assert!(json["result"]["stops"][0]["loss"].is_number(), "{json}");
    let csv = command_line.run(&["trajectory", "export", name, "--format", "csv", "--out", "-"]).await?;
    assert_eq!(csv.lines().count(), 7, "{csv}");
    let said = command_line.said(&["trajectory", "create", "--checkpoints", "c0", "--dataset", DATASET]).await?;
    assert!(!said.status.success() && said.stderr.contains("at least"), "{}", said.stderr);
    Ok(())
}
