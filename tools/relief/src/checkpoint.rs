//! `relief checkpoint`: parameters from elsewhere.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use relief_api::catalog::v1::import_checkpoint_request::Part;
use relief_api::catalog::v1::{Checkpoint, ImportCheckpointHeader, ImportCheckpointRequest, ListCheckpointsRequest};
use relief_core::{CheckpointId, Digest, NetworkId};
use serde_json::{Value, json};

use crate::cli::CheckpointCommand;
use crate::client::{Client, list_all};
use crate::output::{self, Output};
use crate::{file, import};

pub(crate) async fn run(command: CheckpointCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        CheckpointCommand::Import { network, name, file } => import(client, output, &network, &name, &file).await,
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
    if !response.unused_tensors.is_empty() {
        output::note(&format!("left out, not part of the network: {}", response.unused_tensors.join(", ")));
    }
    output.print(|| to_json(&checkpoint), || table(std::slice::from_ref(&checkpoint)))
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
