//! The logits of a checkpoint, and what they are worth.

use relief_api::ErrorReason;
use relief_api::catalog::v1::Split;
use relief_api::inference::v1::ComputeLogitsRequest;
use relief_api::inference::v1::compute_logits_response::Part;
use relief_api::surface::v1::DatasetSlice;
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Program, Refusal, Reservation, Sandbox, axis, in_float32, surface_spec, within,
};

fn request() -> ComputeLogitsRequest {
    ComputeLogitsRequest {
        network: String::new(),
        checkpoint: CHECKPOINT.to_owned(),
        data: Some(DatasetSlice { dataset: DATASET.to_owned(), split: Split::Train.into(), limit: Some(200) }),
        numerics: None,
    }
}

async fn parts(client: &Client, request: ComputeLogitsRequest) -> Result<Vec<Part>, tonic::Status> {
    let mut stream = client.inference().compute_logits(request).await?.into_inner();
    let mut parts = Vec::new();
    while let Some(message) = stream.message().await? {
        parts.extend(message.part);
    }
    Ok(parts)
}

#[tokio::test]
async fn logits_are_worth_what_the_centre_of_a_surface_is_and_survive_a_dead_evaluator() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let nobody = Reservation::new()?;
    let evaluators =
        [sandbox.launch(Program::Evaluator).start().await?, sandbox.launch(Program::Evaluator).start().await?];
    let endpoints = [nobody.endpoint(), evaluators[0].endpoint(), evaluators[1].endpoint()];
    let coordinator = sandbox.launch_coordinator(&endpoints.each_ref().map(String::as_str)).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(200), (3, 3));
    // As logits are unless something else is asked for.
    let spec = in_float32(spec);
    let centre = client.computed("around", spec).await?.at(0.0, 0.0)?;

    let [mut first, _second] = evaluators;
    for is_first_alive in [true, false] {
        if !is_first_alive {
            first.kill().await?;
        }
        let parts = within("the logits", parts(&client, request())).await??;
        let [Part::Header(header), rows @ .., Part::Summary(summary)] = &parts[..] else {
            anyhow::bail!("a header, rows and a summary are expected, not {parts:?}")
        };
        assert_eq!((header.n_samples, header.n_classes), (200, 10));
        assert!(header.network.starts_with("networks/lenet5-"), "{}", header.network);
        let (mut n_samples, mut n_logits) = (0, 0);
        for rows in rows {
            let Part::Rows(rows) = rows else { anyhow::bail!("{rows:?} among the rows") };
            assert_eq!(rows.first_sample, n_samples);
            assert!(rows.logits.iter().all(|logit| logit.is_finite()));
            n_samples += rows.targets.len() as u64;
            n_logits += rows.logits.len();
        }
        assert_eq!((n_samples, n_logits), (200, 2000));
        assert_eq!((summary.loss.to_bits(), summary.accuracy.to_bits()), (centre.0.to_bits(), centre.1.to_bits()));
    }
    Ok(())
}

#[tokio::test]
async fn logits_that_cannot_be_computed_are_refused() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let coordinator = sandbox.launch_coordinator(&[]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let refuse = async |what: &str, request| Refusal::of(what, within(what, parts(&client, request)).await?);

    let refusal = refuse("no evaluator", request()).await?;
    assert_eq!(refusal.reason, ErrorReason::NoEvaluator, "{refusal:?}");
    let absent = ComputeLogitsRequest { checkpoint: "checkpoints/absent".to_owned(), ..request() };
    let refusal = refuse("no checkpoint", absent).await?;
    assert!(refusal.reason == ErrorReason::NotFound && refusal.names("checkpoint"), "{refusal:?}");
    let data = DatasetSlice { dataset: "absent".to_owned(), split: 0, limit: None };
    let refusal = refuse("no dataset", ComputeLogitsRequest { data: Some(data), ..request() }).await?;
    assert!(refusal.reason == ErrorReason::NotFound && refusal.names("data.dataset"), "{refusal:?}");
    let other = ComputeLogitsRequest { network: "resnet20".to_owned(), ..request() };
    let refusal = refuse("a network of other tensors", other).await?;
    assert!(refusal.reason == ErrorReason::InvalidField && refusal.names("checkpoint"), "{refusal:?}");
    let refusal = refuse("no data", ComputeLogitsRequest { data: None, ..request() }).await?;
    assert!(refusal.reason == ErrorReason::InvalidField && refusal.names("data"), "{refusal:?}");
    Ok(())
}
