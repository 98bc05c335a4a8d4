//! `relief network`: the built-in networks, which are made here, and the stored ones.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use relief_api::catalog::v1::import_network_request::Part;
use relief_api::catalog::v1::{
    GetNetworkRequest, ImportNetworkHeader, ImportNetworkRequest, ListNetworksRequest, Network,
};
use relief_core::{Digest, NetworkId};
use relief_graph::{Graph, InputShape, Parameter, builtin, initialize};
use serde_json::{Value, json};

use crate::cli::{NetworkArguments, NetworkCommand};
use crate::client::{Client, list_all};
use crate::error::CommandError;
use crate::output::{self, Output};
use crate::{file, import};

pub(crate) async fn run(command: NetworkCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        NetworkCommand::List => list(client, output).await,
        NetworkCommand::Show(network) => show(&network, client, output).await,
        NetworkCommand::Import { name, file } => import(&name, &file, client, output).await,
        NetworkCommand::Export { network, out, checkpoint } => export(&network, &out, checkpoint.as_deref()),
    }
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let built_in = builtin::names().map(BuiltIn::new).collect::<anyhow::Result<Vec<_>>>()?;
    let stored = match stored(client).await.map_err(|error| error.downcast::<CommandError>()) {
        Ok(stored) => Some(stored),
        Err(Ok(error @ (CommandError::Unreachable { .. } | CommandError::Unimplemented { .. }))) => {
            output::note(&format!("only built-in networks are listed: {error}"));
            None
        }
        Err(Ok(error)) => return Err(error.into()),
        Err(Err(error)) => return Err(error),
    };
    let json = || {
        json!({
            "built_in": built_in.iter().map(BuiltIn::to_json).collect::<Vec<_>>(),
            "networks": stored.as_ref().map(|stored| stored.iter().map(to_json).collect::<Vec<_>>()),
        })
    };
    let text = || {
        let rows: Vec<_> = built_in.iter().map(BuiltIn::row).collect();
        let mut text = output::table(&["BUILT-IN", "INPUT", "CLASSES", "PARAMETERS", "DESCRIPTION"], &rows);
        if let Some(stored) = stored.as_deref().filter(|stored| !stored.is_empty()) {
            text.push('\n');
            text.push_str(&table(stored));
        }
        text
    };
    output.print(json, text)
}

async fn stored(client: &Client) -> anyhow::Result<Vec<Network>> {
    Ok(list_all!(client, catalog.list_networks, ListNetworksRequest, networks))
}

struct BuiltIn {
    description: builtin::Description,
    n_parameters: usize,
}

impl BuiltIn {
    fn new(name: &str) -> anyhow::Result<Self> {
        let n_parameters = builtin::build_default(name)?.n_parameters();
        Ok(Self { description: builtin::describe(name)?, n_parameters })
    }

    fn to_json(&self) -> Value {
        let builtin::Description { name, family, input: [channels, height, width], n_classes, .. } = self.description;
        json!({
            "name": name,
            "family": family,
            "input": {"channels": channels, "height": height, "width": width},
            "n_classes": n_classes,
            "n_parameters": self.n_parameters,
            "description": self.description.text(),
        })
    }

    fn row(&self) -> Vec<String> {
        let builtin::Description { name, family, input, n_classes, .. } = self.description;
        let text = format!("{family}: {}", self.description.text());
        vec![name.to_owned(), dims(&input), n_classes.to_string(), self.n_parameters.to_string(), text]
    }
}

async fn show(network: &NetworkArguments, client: &Client, output: Output) -> anyhow::Result<()> {
    if let Some(graph) = built_in(network)? {
        return output.print(|| graph_json(&graph), || graph_table(&graph));
    }
    if network.input.is_some() || network.classes.is_some() {
        return Err(not_built_in(&network.name).into());
    }
    let request = GetNetworkRequest { name: network.name.to_string() };
    let response = client.catalog().get_network(request).await.map_err(|status| client.catalog.refused(status));
    let response = response.with_context(|| format!("`{}` is no built-in network", network.name.as_str()))?;
    let network = client.catalog.required("network", response.into_inner().network)?;
    output.print(|| to_json(&network), || table(std::slice::from_ref(&network)))
}

async fn import(name: &NetworkId, path: &Path, client: &Client, output: Output) -> anyhow::Result<()> {
    let content = Bytes::from(file::read(path)?);
    let header = ImportNetworkHeader { name: name.to_string(), digest: Digest::of(&content).to_string() };
    let parts = std::iter::once(Part::Header(header)).chain(import::chunks(content).map(Part::Chunk));
    let messages = tokio_stream::iter(parts.map(|part| ImportNetworkRequest { part: Some(part) }));
    let imported = client.catalog().import_network(messages).await.map_err(|status| client.catalog.refused(status));
    let response = imported.with_context(|| format!("cannot import {}", path.display()))?.into_inner();
    let network = client.catalog.required("network", response.network)?;
    for note in &response.notes {
        output::note(&format!("note: {note}"));
    }
    match &response.checkpoint {
        Some(checkpoint) => output::note(&format!("its weights are {}", checkpoint.name)),
        None => output::note("the file holds no weights, or not all of them: import a checkpoint"),
    }
    let json = || {
        let mut value = to_json(&network);
        value["checkpoint"] = json!(response.checkpoint.as_ref().map(|checkpoint| &checkpoint.name));
        value["notes"] = json!(response.notes);
        value
    };
    output.print(json, || table(std::slice::from_ref(&network)))
}

fn export(network: &NetworkArguments, out: &Path, checkpoint: Option<&Path>) -> anyhow::Result<()> {
    let graph = built_in(network)?.ok_or_else(|| not_built_in(&network.name))?;
    let weights = match checkpoint {
        None => initialize(&graph, 0),
        Some(path) => {
            let decoded = relief_store::read_checkpoint(&file::read(path)?.into());
            decoded.with_context(|| format!("cannot read {}", path.display()))?.tensors
        }
    };
    file::write(out, &graph.to_onnx(Some(&weights))?)
}

fn not_built_in(name: &NetworkId) -> CommandError {
    let text = format!("`{}` is not a built-in network; there are {}", name.as_str(), builtin::summary());
    CommandError::WrongUse(text)
}

/// Returns the built-in network asked for, or none when no built-in network has that name.
fn built_in(NetworkArguments { name, input, classes }: &NetworkArguments) -> anyhow::Result<Option<Graph>> {
    let (kind, named) = match kind_and_sample(name.as_str()) {
        Some((kind, input, n_classes)) => (kind, Some((input, n_classes))),
        None => (name.as_str(), None),
    };
    let Ok(description) = builtin::describe(kind) else { return Ok(None) };
    let [channels, height, width] = description.input;
    let (default_input, default_classes) =
        named.unwrap_or((InputShape::new(channels, height, width)?, description.n_classes));
    let graph = builtin::build(kind, input.unwrap_or(default_input), classes.unwrap_or(default_classes));
    graph.map(Some).map_err(|error| CommandError::WrongUse(format!("{:#}", anyhow::Error::from(error))).into())
}

/// Reads the full id of a generated network, as in `resnet20-1x32x32-10`.
fn kind_and_sample(id: &str) -> Option<(&str, InputShape, usize)> {
    let (rest, n_classes) = id.rsplit_once('-')?;
    let (kind, input) = rest.rsplit_once('-')?;
    Some((kind, input.parse().ok()?, n_classes.parse().ok()?))
}

fn dims(dims: &[usize]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// The parameters that each node reads, and how many of their scalars are trained.
fn layers(graph: &Graph) -> impl Iterator<Item = (&relief_graph::Node, Vec<&Parameter>, usize)> {
    graph.nodes().iter().map(|node| {
        let is_read = |parameter: &&Parameter| node.inputs.contains(&parameter.name);
        let parameters: Vec<&Parameter> = graph.parameters().iter().filter(is_read).collect();
        let trainable = parameters.iter().filter(|parameter| parameter.kind.is_trainable());
        let n_parameters = trainable.map(|parameter| parameter.n_values()).sum();
        (node, parameters, n_parameters)
    })
}

fn graph_table(graph: &Graph) -> String {
    let rows: Vec<Vec<String>> = layers(graph)
        .map(|(node, parameters, n_parameters)| {
            let shape = graph.shapes().get(&node.output).map(|shape| dims(&shape.dims)).unwrap_or_default();
            let tensors: Vec<String> = parameters.iter().map(|p| format!("{} {}", p.name, dims(&p.shape))).collect();
            let count = if n_parameters == 0 { "-".to_owned() } else { n_parameters.to_string() };
            vec![node.name.clone(), node.op.name().to_owned(), shape, count, tensors.join(", ")]
        })
        .collect();
    format!(
        "{}: input {}, {} classes, {} parameters\n\n{}",
        graph.name(),
        graph.input_shape(),
        graph.n_classes(),
        graph.n_parameters(),
        output::table(&["LAYER", "OPERATOR", "OUTPUT", "PARAMETERS", "TENSORS"], &rows),
    )
}

fn graph_json(graph: &Graph) -> Value {
    let layers = layers(graph).map(|(node, parameters, n_parameters)| {
        let tensors = parameters.iter().map(
            |parameter| json!({"name": parameter.name, "shape": parameter.shape, "kind": parameter.kind.to_string()}),
        );
        json!({
            "name": node.name,
            "operator": node.op.name(),
            "output_shape": graph.shapes().get(&node.output).map(|shape| &shape.dims),
            "n_parameters": n_parameters,
            "tensors": tensors.collect::<Vec<_>>(),
        })
    });
    let [channels, height, width] = graph.input_shape().dims();
    json!({
        "name": graph.name(),
        "input": {"channels": channels, "height": height, "width": width},
        "n_classes": graph.n_classes(),
        "n_parameters": graph.n_parameters(),
        "layers": layers.collect::<Vec<_>>(),
    })
}

fn to_json(network: &Network) -> Value {
    json!({
        "name": network.name,
        "digest": network.digest,
        "input": network.input.as_ref().map(|input| {
            json!({"channels": input.channels, "height": input.height, "width": input.width})
        }),
        "n_classes": network.n_classes,
        "n_parameters": network.n_parameters,
        "create_time": network.create_time.as_ref().map(ToString::to_string),
    })
}

fn table(networks: &[Network]) -> String {
    let row = |network: &Network| {
        let input = network.input.as_ref().map(|s| format!("{}x{}x{}", s.channels, s.height, s.width));
        vec![
            network.name.clone(),
            input.unwrap_or_default(),
            network.n_classes.to_string(),
            network.n_parameters.to_string(),
            network.create_time.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = networks.iter().map(row).collect();
    output::table(&["STORED", "INPUT", "CLASSES", "PARAMETERS", "CREATED"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, input: Option<&str>, classes: Option<usize>) -> anyhow::Result<Option<Graph>> {
        let input = input.map(|input| input.parse().expect("a good shape"));
        built_in(&NetworkArguments { name: name.parse().expect("a good name"), input, classes })
    }

    #[test]
    fn a_built_in_network_takes_what_is_given_and_defaults_to_its_design() {
        let graph = |name, input, classes| asked(name, input, classes).expect("possible").expect("built in");
        assert_eq!(graph("lenet5", None, None).input_shape().to_string(), "1x28x28");
        let asked = graph("resnet20", Some("1x16x16"), Some(3));
        assert_eq!((asked.input_shape().to_string().as_str(), asked.n_classes()), ("1x16x16", 3));
        let full = graph("resnet20_noshort-4x8x8-7", None, None);
        assert_eq!((full.input_shape().to_string().as_str(), full.n_classes()), ("4x8x8", 7));
    }

    #[test]
    fn impossible_networks_are_wrong_use_and_unknown_ones_are_none() {
        let error = asked("lenet5", Some("1x5x5"), None).expect_err("too small");
        assert!(matches!(error.downcast_ref(), Some(CommandError::WrongUse(text)) if text.contains("12 x 12")));
        assert!(asked("mine", None, None).expect("no failure").is_none());
        assert!(asked("mine-1x28x28-10", None, None).expect("no failure").is_none());
    }

    #[test]
    fn an_exported_network_reads_back_with_its_weights() {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("a.onnx");
        let network = NetworkArguments { name: "lenet5".parse().expect("a good name"), input: None, classes: None };
        export(&network, &out, None).expect("written");
        let model = Graph::from_onnx(&std::fs::read(&out).expect("a file")).expect("a model");
        assert_eq!(model.graph.n_parameters(), 61_706);
        assert_eq!(model.initializers, initialize(&model.graph, 0));
    }

    #[test]
    fn the_layers_hold_all_parameters() {
        let graph = asked("resnet20", None, None).expect("possible").expect("built in");
        assert_eq!(layers(&graph).map(|(_, _, n_parameters)| n_parameters).sum::<usize>(), graph.n_parameters());
        assert!(graph_table(&graph).starts_with("resnet20: input 3x32x32, 10 classes, 272474 parameters\n"));
    }
}
