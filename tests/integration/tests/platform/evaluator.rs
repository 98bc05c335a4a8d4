//! The evaluator alone, as a coordinator sees it, or somebody who is none.

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_api::catalog::v1::Split;
use relief_api::evaluator::v1::evaluate_tile_response::Event;
use relief_api::evaluator::v1::{
    Blob, Coordinate, DatasetBlob, DescribeEvaluatorRequest, EvaluateTileRequest, EvaluateTileResponse, PointResult,
    TileSummary,
};
use relief_api::surface::v1::BatchNormMode;
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Process, Program, Refusal, Sandbox, axis, network_id, plane_axes, surface_spec, within,
};
use tonic::{Code, Status, Streaming};

/// More than anybody waits for.
const ENDLESS: usize = 65_536;

struct Evaluator {
    _sandbox: Sandbox,
    process: Process,
    client: Client,
    request: EvaluateTileRequest,
}

/// An evaluator with one place in its queue, and a good request for one point.
async fn evaluator() -> anyhow::Result<Evaluator> {
    let sandbox = Sandbox::new()?;
    let coordinator = sandbox.launch_coordinator(&[]).start().await?;
    Sandbox::furnish(&coordinator.client()?).await?;
    let spec = surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), None, (2, 2));
    let surface = coordinator.client()?.create_surface("model", spec).await?;
    let provenance = surface.provenance.context("no provenance")?;

    let process = sandbox.launch(Program::Evaluator).arg("--queue").arg("1").start().await?;
    let client = process.client()?;
    let described =
        within("the evaluator", client.evaluator().describe_evaluator(DescribeEvaluatorRequest {})).await??;
    let described = described.into_inner();
    assert_eq!(described.protocol_version, 5);
    let blob = |path: String, digest: String| Some(Blob { path, digest });
    let request = EvaluateTileRequest {
        protocol_version: 5,
        surface: "surfaces/model".to_owned(),
        tile_index: 0,
        attempt: 1,
        network: blob(format!("networks/{}/network.onnx", network_id()), provenance.network_digest),
        checkpoint: blob(format!("checkpoints/{CHECKPOINT}/checkpoint.safetensors"), provenance.checkpoint_digest),
        axes: plane_axes(&provenance.direction_digests),
        dataset: Some(DatasetBlob {
            name: format!("datasets/{DATASET}"),
            digest: provenance.dataset_digest,
            split: Split::Train.into(),
            limit: 0,
        }),
        points: vec![Coordinate { x: 0.5, y: -0.5 }],
        batch_norm: BatchNormMode::Frozen.into(),
        numeric_class: described.numeric_classes.into_iter().next().context("no numeric class")?,
        ..EvaluateTileRequest::default()
    };
    Ok(Evaluator { _sandbox: sandbox, process, client, request })
}

fn endless(request: &EvaluateTileRequest) -> EvaluateTileRequest {
    EvaluateTileRequest { points: vec![Coordinate { x: 0.5, y: -0.5 }; ENDLESS], ..request.clone() }
}

impl Evaluator {
    async fn open(&self, request: EvaluateTileRequest) -> anyhow::Result<Streaming<EvaluateTileResponse>> {
        Ok(within("the tile", self.client.evaluator().evaluate_tile(request)).await??.into_inner())
    }

    /// All of a tile, or why there is no more.
    async fn evaluate(
        &self,
        request: EvaluateTileRequest,
    ) -> anyhow::Result<Result<(Vec<PointResult>, TileSummary), Status>> {
        let all = async {
            let mut stream = self.client.evaluator().evaluate_tile(request).await?.into_inner();
            let mut points = Vec::new();
            loop {
                match next(&mut stream).await? {
                    Event::Point(point) => points.push(point),
                    Event::Summary(summary) => return Ok((points, summary)),
                    Event::Heartbeat(_) => {}
                }
            }
        };
        within("the tile", all).await
    }

    async fn refused(&self, what: &str, request: EvaluateTileRequest) -> anyhow::Result<Refusal> {
        Refusal::of(what, self.evaluate(request).await?)
    }
}

/// The next event that is more than a sign of life.
async fn next(stream: &mut Streaming<EvaluateTileResponse>) -> Result<Event, Status> {
    loop {
        let message = stream.message().await?.ok_or_else(|| Status::unknown("the stream has ended"))?;
        match message.event {
            Some(Event::Heartbeat(_)) => {}
            Some(event) => return Ok(event),
            None => return Err(Status::unknown("an empty message")),
        }
    }
}

async fn first_point(stream: &mut Streaming<EvaluateTileResponse>) -> anyhow::Result<PointResult> {
    match within("a point", next(stream)).await?? {
        Event::Point(point) => Ok(point),
        event => anyhow::bail!("not a point: {event:?}"),
    }
}

#[tokio::test]
async fn points_come_in_order_and_depend_on_their_coefficients_only() -> anyhow::Result<()> {
    let evaluator = evaluator().await?;
    let points = vec![Coordinate { x: 0.0, y: 0.0 }, Coordinate { x: 0.5, y: -0.5 }, Coordinate { x: 0.0, y: 0.0 }];
    let request = EvaluateTileRequest { points, ..evaluator.request.clone() };
    let (points, summary) = evaluator.evaluate(request).await??;
    assert_eq!(points.iter().map(|point| point.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(summary.points, 3);
    assert_eq!(points[0].loss.to_bits(), points[2].loss.to_bits());
    assert_ne!(points[0].loss.to_bits(), points[1].loss.to_bits());
    assert!(points.iter().all(|point| point.loss.is_finite() && (0.0..=100.0).contains(&point.accuracy)));
    let (alone, _) = evaluator.evaluate(evaluator.request.clone()).await??;
    assert_eq!(alone[0].loss.to_bits(), points[1].loss.to_bits());
    Ok(())
}

#[tokio::test]
async fn requests_that_are_not_for_this_evaluator_are_refused() -> anyhow::Result<()> {
    let evaluator = evaluator().await?;
    let good = &evaluator.request;
    for protocol_version in [0, 4, 6] {
        let request = EvaluateTileRequest { protocol_version, ..good.clone() };
        let refusal = evaluator.refused("another protocol version", request).await?;
        assert_eq!((refusal.reason, refusal.code), (ErrorReason::VersionMismatch, Code::FailedPrecondition));
        assert!(refusal.names("protocol_version") && refusal.message.contains(&protocol_version.to_string()));
    }
    let request = EvaluateTileRequest { numeric_class: "abacus/f8".to_owned(), ..good.clone() };
    let refusal = evaluator.refused("another numeric class", request).await?;
    assert_eq!(refusal.reason, ErrorReason::VersionMismatch);
    assert!(refusal.names("numeric_class") && refusal.message.contains("abacus/f8"), "{}", refusal.message);
    assert!(refusal.message.contains(&good.numeric_class), "{}", refusal.message);

    let points = vec![Coordinate { x: f64::NAN, y: 0.0 }];
    let refusal = evaluator.refused("NaN", EvaluateTileRequest { points, ..good.clone() }).await?;
    assert!(refusal.code == Code::InvalidArgument && refusal.names("points"), "{refusal:?}");
    for (what, request) in [
        ("no points", EvaluateTileRequest { points: Vec::new(), ..good.clone() }),
        ("too many points", EvaluateTileRequest { points: vec![Coordinate::default(); ENDLESS + 1], ..good.clone() }),
    ] {
        let refusal = evaluator.refused(what, request).await?;
        assert!(refusal.code == Code::InvalidArgument && refusal.names("points"), "{refusal:?}");
    }
    evaluator.evaluate(good.clone()).await??;
    Ok(())
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_not_evaluated() -> anyhow::Result<()> {
    let evaluator = evaluator().await?;
    let good = &evaluator.request;
    let other = "0".repeat(64);
    let blob = |blob: &Option<Blob>| blob.clone().map(|blob| Blob { digest: other.clone(), ..blob });
    let dataset = good.dataset.clone().map(|dataset| DatasetBlob { digest: other.clone(), ..dataset });
    for (what, request) in [
        ("the network", EvaluateTileRequest { network: blob(&good.network), ..good.clone() }),
        ("the checkpoint", EvaluateTileRequest { checkpoint: blob(&good.checkpoint), ..good.clone() }),
        ("the dataset", EvaluateTileRequest { dataset, ..good.clone() }),
    ] {
        let refusal = evaluator.refused(what, request).await?;
        assert_eq!((refusal.reason, refusal.code), (ErrorReason::DataCorrupt, Code::DataLoss), "{what}");
        assert!(refusal.message.contains(&other), "{what}: {}", refusal.message);
    }
    // What was refused is not remembered.
    evaluator.evaluate(good.clone()).await??;
    Ok(())
}

#[tokio::test]
async fn a_path_that_leaves_the_store_or_its_collections_is_refused() -> anyhow::Result<()> {
    let evaluator = evaluator().await?;
    let good = &evaluator.request;
    for path in
        ["../../etc/passwd", "/etc/passwd", "checkpoints/../checkpoints/initial/checkpoint.safetensors", "a//b", ""]
    {
        let checkpoint = good.checkpoint.clone().map(|blob| Blob { path: path.to_owned(), ..blob });
        let refusal = evaluator.refused(path, EvaluateTileRequest { checkpoint, ..good.clone() }).await?;
        assert_eq!(refusal.code, Code::InvalidArgument, "{path}");
        assert!(refusal.names("checkpoint.path"), "{path}: {refusal:?}");
        let network = good.network.clone().map(|blob| Blob { path: path.to_owned(), ..blob });
        let refusal = evaluator.refused(path, EvaluateTileRequest { network, ..good.clone() }).await?;
        assert!(refusal.names("network.path"), "{path}: {refusal:?}");
    }
    // Inside the store, but not what it is said to be.
    let path = format!("datasets/{DATASET}/dataset.json");
    let checkpoint = good.checkpoint.clone().map(|blob| Blob { path, ..blob });
    let refusal = evaluator.refused("another object", EvaluateTileRequest { checkpoint, ..good.clone() }).await?;
    assert!(refusal.names("checkpoint.path"), "{refusal:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_caller_that_goes_away_makes_room() -> anyhow::Result<()> {
    let evaluator = evaluator().await?;
    let mut computing = evaluator.open(endless(&evaluator.request)).await?;
    first_point(&mut computing).await?;

    // One place is left, for one of two.
    let mut waiting = evaluator.open(endless(&evaluator.request)).await?;
    let mut refused = evaluator.open(endless(&evaluator.request)).await?;
    let answer = within("one of two tiles is refused", async {
        tokio::select! {
            answer = next(&mut waiting) => {
                std::mem::swap(&mut waiting, &mut refused);
                answer
            }
            answer = next(&mut refused) => answer,
        }
    });
    let refusal = Refusal::of("a tile too many", answer.await?)?;
    assert_eq!((refusal.reason, refusal.code), (ErrorReason::QueueFull, Code::ResourceExhausted));

    // Nobody waits for the first tile any more: the second one begins.
    drop(computing);
    first_point(&mut waiting).await?;
    drop((waiting, refused));
    let (points, _) = within("the evaluator is free again", async {
        loop {
            // The place of a tile that was left is free once the computing thread has seen it.
            match evaluator.evaluate(evaluator.request.clone()).await? {
                Err(status) if status.code() == Code::ResourceExhausted => {}
                done => return Ok::<_, anyhow::Error>(done?),
            }
        }
    })
    .await??;
    assert_eq!(points.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_evaluator_that_stops_hands_its_tile_back() -> anyhow::Result<()> {
    let mut evaluator = evaluator().await?;
    let mut stream = evaluator.open(endless(&evaluator.request)).await?;
    first_point(&mut stream).await?;
    evaluator.process.terminate()?;
    let end = within("the tile comes back", async {
        loop {
            if let Err(status) = next(&mut stream).await {
                return status;
            }
        }
    });
    let refusal = Refusal::of("the tile", Err::<(), _>(end.await?))?;
    assert_eq!((refusal.reason, refusal.code), (ErrorReason::ShuttingDown, Code::Unavailable));
    assert_eq!(evaluator.process.ended().await?.code(), Some(0));
    Ok(())
}
