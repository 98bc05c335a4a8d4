//! `relief checkpoint`: parameters from elsewhere.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use relief_api::catalog::v1::import_checkpoint_request::Part;
use relief_api::catalog::v1::{
    Checkpoint, CheckpointReport, ImportCheckpointHeader, ImportCheckpointRequest, ListCheckpointsRequest, TensorMatch,
};
use relief_core::{CheckpointId, Digest, NetworkId};
use serde_json::{Value, json};

use crate::cli::CheckpointCommand;
use crate::client::{Client, list_all};
use crate::output::{self, Output};
use crate::{file, import, inference};

pub(crate) async fn run(command: CheckpointCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        CheckpointCommand::Import { network, name, file } => import(client, output, &network, &name, &file).await,
        CheckpointCommand::Evaluate(arguments) => inference::run(&arguments, client, output).await,
        CheckpointCommand::List => list(client, output).await,
    }
}

async fn import(
    client: &Client,
    output: Output,
    network: &NetworkId,
    name: &CheckpointId,
    path: &Path,
) -> anyhow::Result<()> {
    let content = Bytes::from(file::read(path)?);
    let header = ImportCheckpointHeader {
        name: name.to_string(),
        network: network.to_string(),
        digest: Digest::of(&content).to_string(),
    };
    let parts = std::iter::once(Part::Header(header)).chain(import::chunks(content).map(Part::Chunk));
    let messages = tokio_stream::iter(parts.map(|part| ImportCheckpointRequest { part: Some(part) }));
    let imported = client.catalog().import_checkpoint(messages).await.map_err(|status| client.catalog.refused(status));
    let response = imported.with_context(|| format!("cannot import {}", path.display()))?.into_inner();
    let checkpoint = client.catalog.required("checkpoint", response.checkpoint)?;
    let report = response.report.unwrap_or_default();
    notes(&report).iter().for_each(|note| output::note(note));
    let json = || {
        let mut json = to_json(&checkpoint);
        json["report"] = report_json(&report);
        json
    };
    output.print(json, || table(std::slice::from_ref(&checkpoint)))
}

/// The most names that a note lists.
const N_NAMED: usize = 8;

/// What people should know of an import, a line each.
fn notes(report: &CheckpointReport) -> Vec<String> {
    let named = |names: Vec<String>| {
        let shown = names.iter().take(N_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let n_more = names.len().saturating_sub(N_NAMED);
        if n_more > 0 { format!("{shown} and {n_more} more") } else { shown }
    };
    let mapped = |by: TensorMatch| {
        let pairs = report.applied.iter().filter(|applied| applied.r#match() == by);
        pairs.map(|applied| format!("{} <- {}", applied.parameter, applied.tensor)).collect::<Vec<_>>()
    };
    let under = if report.key.is_empty() { String::new() } else { format!(", under `{}`", report.key) };
    let by_name = mapped(TensorMatch::Name).len();
    let mut notes =
        vec![format!("{}{under}: {} tensors applied, {by_name} of them by name", report.format, report.applied.len())];
    let skipped = report.skipped.iter().map(|skipped| format!("{} ({})", skipped.name, skipped.dtype)).collect();
    for (names, what) in [
        (mapped(TensorMatch::Prefix), "by name but for a prefix"),
        (mapped(TensorMatch::Shape), "by kind and shape alone; check that these are the same layers"),
        (report.unused.clone(), "left out, not part of the network"),
        (skipped, "left out, no floating-point tensors"),
    ] {
        if !names.is_empty() {
            notes.push(format!("{} {what}: {}", names.len(), named(names)));
        }
    }
    notes
}

fn report_json(report: &CheckpointReport) -> Value {
    let word = |by: TensorMatch| match by {
        TensorMatch::Unspecified => "unknown",
        TensorMatch::Name => "name",
        TensorMatch::Prefix => "prefix",
        TensorMatch::Shape => "shape",
    };
    let applied = report.applied.iter().map(
        |applied| json!({"parameter": applied.parameter, "tensor": applied.tensor, "match": word(applied.r#match())}),
    );
    let skipped = report.skipped.iter().map(|skipped| json!({"name": skipped.name, "dtype": skipped.dtype}));
    json!({
        "format": report.format,
        "key": report.key,
        "applied": applied.collect::<Vec<_>>(),
        "unused": report.unused,
        "skipped": skipped.collect::<Vec<_>>(),
    })
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let checkpoints = list_all!(client, catalog.list_checkpoints, ListCheckpointsRequest, checkpoints);
    output.print(|| json!({"checkpoints": checkpoints.iter().map(to_json).collect::<Vec<_>>()}), || table(&checkpoints))
}

fn to_json(checkpoint: &Checkpoint) -> Value {
    json!({
        "name": checkpoint.name,
        "network": checkpoint.network,
        "digest": checkpoint.digest,
        "n_bytes": checkpoint.n_bytes,
        "create_time": checkpoint.create_time.as_ref().map(ToString::to_string),
    })
}

fn table(checkpoints: &[Checkpoint]) -> String {
    let row = |checkpoint: &Checkpoint| {
        let created = checkpoint.create_time.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![checkpoint.name.clone(), checkpoint.network.clone(), checkpoint.n_bytes.to_string(), created]
    };
    output::table(&["NAME", "NETWORK", "BYTES", "CREATED"], &checkpoints.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use relief_api::catalog::v1::{AppliedTensor, SkippedTensor};

    use super::*;

    #[test]
    fn what_was_not_taken_by_name_is_told() {
        let applied = |tensor: &str, by: TensorMatch| AppliedTensor {
            parameter: "fc.bias".to_owned(),
            tensor: tensor.to_owned(),
            r#match: by.into(),
        };
        let report = CheckpointReport {
            format: "PyTorch (zip)".to_owned(),
            key: "state_dict".to_owned(),
            applied: vec![applied("fc.bias", TensorMatch::Name), applied("module.fc.bias", TensorMatch::Prefix)],
            unused: (0..10).map(|idx| format!("t{idx}")).collect(),
            skipped: vec![SkippedTensor { name: "steps".to_owned(), dtype: "int64".to_owned() }],
        };
        assert_eq!(
            notes(&report),
            [
                "PyTorch (zip), under `state_dict`: 2 tensors applied, 1 of them by name",
                "1 by name but for a prefix: fc.bias <- module.fc.bias",
                "10 left out, not part of the network: t0, t1, t2, t3, t4, t5, t6, t7 and 2 more",
                "1 left out, no floating-point tensors: steps (int64)",
            ]
        );
        assert_eq!(report_json(&report)["applied"][1]["match"], "prefix");
    }
}
