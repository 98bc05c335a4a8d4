//! A trace crosses from process to process.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use relief_test_support::{CHECKPOINT, Collector, DATASET, ExportedSpan, Launch, Program, Sandbox, axis, surface_spec};

/// The call of one process and the span of another that answered it.
fn crossing(spans: &[ExportedSpan]) -> Option<(ExportedSpan, ExportedSpan)> {
    let of = |service: &'static str, kind| {
        spans
            .iter()
            .filter(move |span| span.service == service && span.kind == kind && span.name.ends_with("/EvaluateTile"))
    };
    of("relief-evaluator", SpanKind::Server).find_map(|called| {
        let caller = of("relief-coordinator", SpanKind::Client).find(|caller| caller.id == called.parent)?;
        Some((caller.clone(), called.clone()))
    })
}

#[tokio::test]
async fn the_evaluators_span_is_a_child_of_the_coordinators_call() -> anyhow::Result<()> {
    let (sandbox, collector) = (Sandbox::new()?, Collector::start().await?);
    let traced = |launch: Launch| launch.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint());
    let mut evaluator = traced(sandbox.launch(Program::Evaluator)).start().await?;
    let mut coordinator = traced(sandbox.launch_coordinator(&[&evaluator.endpoint()])).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(10), (3, 3));
    client.computed("traced", spec).await?;

    // Both flush what they have left when they end.
    for process in [&mut coordinator, &mut evaluator] {
        process.terminate()?;
        assert!(process.ended().await?.success());
    }
    let (caller, called) = collector.until("a span of each process for one call", crossing).await?;
    assert_eq!(called.trace, caller.trace);
    assert_eq!((called.trace.len(), called.parent.len()), (16, 8));

    // The computation, on its own thread, belongs to the same trace, and so does what the coordinator did around it.
    let is_in_trace = |service: &str, name: &str| {
        let service = service.to_owned();
        let name = name.to_owned();
        let trace = caller.trace.clone();
        move |spans: &[ExportedSpan]| {
            let found = spans.iter().any(|span| span.service == service && span.name == name && span.trace == trace);
            found.then_some(())
        }
    };
    collector.until("the computation", is_in_trace("relief-evaluator", "evaluator.compute")).await?;
    collector.until("the tile", is_in_trace("relief-coordinator", "coordinator.tile")).await?;
    Ok(())
}
