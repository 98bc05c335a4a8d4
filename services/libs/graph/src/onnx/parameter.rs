//! Which parameters a network has, and of which kinds.

use std::collections::{HashMap, HashSet};

use relief_core::TensorMap;

use super::OnnxError;
use super::read::read_initializer;
use super::reader::Reader;
use crate::graph::Node;
use crate::op::Op;
use crate::parameter::{Parameter, ParameterKind};

/// Nodes whose parameters each have one kind.
pub(super) struct Named {
    pub(super) nodes: Vec<Node>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) initializers: TensorMap,
    pub(super) notes: Vec<String>,
}

/// Gives the parameters that `nodes` read their kinds, in the order of their first readers.
///
/// An initializer that is read as two kinds is two parameters that happened to be equal when the file was written; all
/// but the first are named after their kind too.
pub(super) fn name_parameters(reader: &Reader<'_>, mut nodes: Vec<Node>) -> Result<Named, OnnxError> {
    let mut kinds = Kinds::of(&nodes);
    let uses: Vec<(usize, usize, String, Option<ParameterKind>)> = nodes
        .iter()
        .enumerate()
        .flat_map(|(node, Node { inputs, op, .. })| {
            inputs.iter().enumerate().map(move |(idx, name)| (node, idx, name.clone(), op.slot_kind(idx)))
        })
        .filter(|(_, _, name, _)| reader.weights.contains_key(name))
        .collect();
    let mut taken: HashSet<String> =
        nodes.iter().flat_map(|node| node.inputs.iter().chain([&node.output])).cloned().collect();
    let mut named: HashMap<(String, ParameterKind), String> = HashMap::new();
    let mut first_kinds: HashMap<String, ParameterKind> = HashMap::new();
    let (mut parameters, mut initializers, mut split) = (Vec::new(), TensorMap::new(), Vec::new());
    for (node, idx, name, slot) in uses {
        let first = first_kinds.get(&name).copied();
        let kind = match (slot, first) {
            (Some(kind), _) | (None, Some(kind)) => kind,
            (None, None) => kinds.at(&nodes, node, idx),
        };
        let own = match named.get(&(name.clone(), kind)) {
            Some(own) => own.clone(),
            None => {
                let own = match first {
                    None => name.clone(),
                    Some(_) => fresh(&mut taken, &name, kind),
                };
                let source = reader.weights.get(&name).and_then(|source| reader.initializers.get(source.as_str()));
                let Some(proto) = source else { continue };
                let (shape, value) = read_initializer(proto)?;
                parameters.push(Parameter { name: own.clone(), shape, kind });
                initializers.extend(value.map(|value| (own.clone(), value)));
                if first.is_some() {
                    split.push(format!("{own} ({kind})"));
                }
                first_kinds.entry(name.clone()).or_insert(kind);
                named.insert((name.clone(), kind), own.clone());
                own
            }
        };
        nodes[node].inputs[idx] = own;
    }
    let notes = match split.is_empty() {
        true => Vec::new(),
        false => vec![format!(
            "initializers that the file shares between different roles became parameters of their own: {}",
            split.join(", ")
        )],
    };
    Ok(Named { nodes, parameters, initializers, notes })
}

fn fresh(taken: &mut HashSet<String>, name: &str, kind: ParameterKind) -> String {
    let mut own = format!("{name}.{}", kind.to_string().replace(' ', "_"));
    let mut n_tries = 0;
    while !taken.insert(own.clone()) {
        n_tries += 1;
        own = format!("{name}.{}_{n_tries}", kind.to_string().replace(' ', "_"));
    }
    own
}

/// The first readers of everything, to see what a parameter comes to be used as.
struct Kinds {
    first_readers: HashMap<String, (usize, usize)>,
    /// What was found for nodes that only give a parameter another form.
    through: HashMap<usize, ParameterKind>,
}

impl Kinds {
    fn of(nodes: &[Node]) -> Self {
        let mut first_readers = HashMap::new();
        for (node, Node { inputs, .. }) in nodes.iter().enumerate() {
            for (idx, name) in inputs.iter().enumerate() {
                first_readers.entry(name.clone()).or_insert((node, idx));
            }
        }
        Self { first_readers, through: HashMap::new() }
    }

    /// What a parameter is that stands in the place `idx` of a node's inputs; through nodes that only give it another
    /// form, what it is to the first node that computes with it.
    fn at(&mut self, nodes: &[Node], mut node: usize, mut idx: usize) -> ParameterKind {
        let mut passed = Vec::new();
        let kind = loop {
            let Node { op, output, .. } = &nodes[node];
            match op {
                Op::Add | Op::Sub => break ParameterKind::Bias,
                Op::Mul | Op::Div => break ParameterKind::NormScale,
                Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Concat { .. } => {}
                _ => break op.slot_kind(idx).unwrap_or(ParameterKind::Weight),
            }
            if let Some(kind) = self.through.get(&node) {
                break *kind;
            }
            passed.push(node);
            match self.first_readers.get(output) {
                Some(reader) => (node, idx) = *reader,
                None => break ParameterKind::Weight,
            }
        };
        self.through.extend(passed.into_iter().map(|node| (node, kind)));
        kind
    }
}
