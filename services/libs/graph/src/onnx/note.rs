//! What a user should know about a network that was read.

use std::collections::HashSet;

use super::wire::GraphProto;
use crate::graph::Graph;
use crate::op::{Gemm, Op};

/// What stands in the file but not in the network.
pub(super) fn of_file(graph: &GraphProto) -> Vec<String> {
    let n_dropouts = graph.node.iter().filter(|node| node.op_type == "Dropout").count();
    let initializers: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let is_shared = |inputs: &[String]| inputs.first().is_some_and(|name| initializers.contains(name.as_str()));
    let shared = graph.node.iter().filter(|node| node.op_type == "Identity" && is_shared(&node.input));
    let shared: Vec<&str> = shared.filter_map(|node| node.output.first()).map(String::as_str).collect();
    let mut notes = Vec::new();
    if n_dropouts > 0 {
        notes.push(format!("{n_dropouts} Dropout nodes are left out, in training too"));
    }
    if !shared.is_empty() {
        notes.push(format!(
            "{} parameters share the values of others in the file through Identity; each is a parameter of its own: {}",
            shared.len(),
            listed(&shared)
        ));
    }
    notes
}

/// What is remarkable about the network itself.
pub(super) fn of_network(graph: &Graph) -> Vec<String> {
    folded_normalization(graph)
        .into_iter()
        .chain(transposed_weights(graph))
        .chain(probabilities(graph))
        .chain(constants(graph))
        .collect()
}

/// A network whose batch normalisations the exporter may have folded into its convolutions.
fn folded_normalization(graph: &Graph) -> Option<String> {
    let convs: Vec<_> = graph.nodes().iter().filter(|node| matches!(node.op, Op::Conv(_))).collect();
    let has_norm = graph.nodes().iter().any(|node| matches!(node.op, Op::BatchNormalization(_)));
    if convs.is_empty() || has_norm || convs.iter().any(|node| node.inputs.len() < 3) {
        return None;
    }
    Some(format!(
        "there is no BatchNormalization, and all {} convolutions have a bias: if the network was trained with batch \
         normalisation, the exporter folded it into them, and directions are drawn for the folded weights; to keep it, \
         export again without folding (torch.onnx.export with training=TrainingMode.PRESERVE and \
         do_constant_folding=False)",
        convs.len()
    ))
}

/// Weights whose dimension 0 is not that of the neurons.
fn transposed_weights(graph: &Graph) -> Option<String> {
    let parameters: HashSet<&str> = graph.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let weights = graph.nodes().iter().filter_map(|node| match node.op {
        Op::MatMul | Op::Gemm(Gemm { transposes_b: false, .. }) => node.inputs.get(1),
        _ => None,
    });
    let weights: Vec<&str> = weights.map(String::as_str).filter(|name| parameters.contains(name)).collect();
    (!weights.is_empty()).then(|| {
        format!(
            "the file holds these weights as (in, out), so that filter normalisation goes by inputs instead of neurons \
             there: {}",
            listed(&weights)
        )
    })
}

fn probabilities(graph: &Graph) -> Option<String> {
    let last = graph.nodes().last()?;
    let text = "the network ends in Softmax; cross entropy takes its outputs as logits and applies softmax once more";
    matches!(last.op, Op::Softmax { .. }).then(|| text.to_owned())
}

fn constants(graph: &Graph) -> Option<String> {
    let tensors = graph.constants().iter().filter(|(_, tensor)| !tensor.shape().is_empty());
    let names: Vec<&str> = tensors.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| format!("constants of the network, which no direction moves: {}", listed(&names)))
}

/// The first names of a list that may be long.
fn listed(names: &[&str]) -> String {
    const N_NAMED: usize = 8;
    let shown = names.iter().take(N_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(N_NAMED) {
        0 => shown,
        n_more => format!("{shown} and {n_more} more"),
    }
}
