//! Checkpoints without a training.

use anyhow::Context as _;
use relief_api::catalog::v1::import_checkpoint_request::Part;
use relief_api::catalog::v1::{ImportCheckpointHeader, ImportCheckpointRequest};
use relief_core::{Digest, TensorMap};
use relief_graph::{builtin, initialize};

/// Bytes per message of an import.
const CHUNK: usize = 1 << 20;

/// The network of every test.
const NETWORK: &str = "lenet5";

/// The full id of that network for the images of every test.
#[must_use]
pub fn network_id() -> &'static str {
    "lenet5-1x28x28-10"
}

/// Its tensors before training.
///
/// # Errors
/// Never: it is a built-in one.
pub fn initial_tensors() -> anyhow::Result<TensorMap> {
    tensors_of_seed(1)
}

/// Its tensors before training, from a seed.
///
/// # Errors
/// Never: it is a built-in one.
pub fn tensors_of_seed(seed: u64) -> anyhow::Result<TensorMap> {
    let graph = builtin::build_default(NETWORK).with_context(|| format!("{NETWORK} is not built in"))?;
    Ok(initialize(&graph, seed))
}

/// The messages that import a safetensors file as the checkpoint `name` of `network`.
#[must_use]
pub fn checkpoint_messages(name: &str, network: &str, content: &[u8]) -> Vec<ImportCheckpointRequest> {
    let header = ImportCheckpointHeader {
        name: name.to_owned(),
        network: network.to_owned(),
        digest: Digest::of(content).to_string(),
    };
    let chunks = content.chunks(CHUNK).map(|chunk| Part::Chunk(chunk.to_vec().into()));
    std::iter::once(Part::Header(header))
        .chain(chunks)
        .map(|part| ImportCheckpointRequest { part: Some(part) })
        .collect()
}
