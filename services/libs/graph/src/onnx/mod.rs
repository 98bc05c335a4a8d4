//! Networks as ONNX files.

mod attribute;
mod census;
mod constant;
mod fold;
mod lower;
mod note;
mod parameter;
mod read;
mod reader;
mod tensor;
mod write;
mod write_node;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod tests;

use std::fmt;

use relief_core::TensorMap;

use crate::graph::Graph;
use crate::inference::GraphError;
use crate::op::SUPPORTED;

/// The wire format, generated from `proto/onnx/onnx.proto`.
#[allow(missing_docs, clippy::all)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

/// A network read from an ONNX file.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    /// The network.
    pub graph: Graph,
    /// The values of those parameters that the file itself holds: none of them for a file that names external data.
    pub initializers: TensorMap,
    /// What a user should know about the file, a sentence each.
    pub notes: Vec<String>,
}

/// A node beyond what is supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// The node's name, or that of its output.
    pub name: String,
    /// Its operator, with its domain unless that is ONNX's own.
    pub operator: String,
    /// What about it is not supported; none when it is the operator itself.
    pub detail: Option<String>,
}

impl fmt::Display for UnsupportedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            None => write!(f, "`{}` ({})", self.name, self.operator),
            Some(detail) => write!(f, "`{}` ({}: {detail})", self.name, self.operator),
        }
    }
}

/// Why an ONNX file is refused.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are not a model.
    #[error("the bytes are not an ONNX model")]
    Decode(#[from] prost::DecodeError),
    /// More parts than any network has.
    #[error("the ONNX model has more than {0} nodes, attributes, tensors and other parts")]
    Parts(usize),
    /// A name that is longer than names are.
    #[error("the ONNX model has a name of {n_bytes} bytes, `{start}...`; at most {max} are read")]
    Name {
        /// Its first characters.
        start: String,
        /// Its length.
        n_bytes: usize,
        /// The most that is read.
        max: usize,
    },
    /// The model has no graph.
    #[error("the ONNX model has no graph")]
    NoGraph,
    /// The operators have an older meaning.
    #[error("the ONNX model uses version {0} of the operators; it must be at least 9")]
    Opset(i64),
    /// Not one input.
    #[error("the ONNX graph has the inputs [{}]; it must have exactly one besides its initializers", .0.join(", "))]
    Inputs(Vec<String>),
    /// Not one output.
    #[error("the ONNX graph has the outputs [{}]; it must have exactly one", .0.join(", "))]
    Outputs(Vec<String>),
    /// An input that is no batch of images or vectors.
    #[error(
        "the ONNX input `{name}` is {found}; it must be a float tensor (batch, channels, height, width), (batch, \
             height, width) or (batch, features) with all dimensions but the batch fixed, from 1 to 65536"
    )]
    InputType {
        /// The input.
        name: String,
        /// What it is.
        found: String,
    },
    /// An initializer that is no float32 tensor, or contradicts itself.
    #[error("the ONNX initializer `{name}` {problem}")]
    Initializer {
        /// The initializer.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A node whose attribute has a value that the operator does not have.
    #[error("the ONNX node `{node}` ({operator}) has {attribute} {found}; it must be {expected}")]
    Attribute {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// The attribute.
        attribute: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Nodes beyond what is supported: all of them.
    #[error("{} of the ONNX graph's nodes are not supported: {}; supported are {SUPPORTED}", .0.len(), list(.0))]
    Unsupported(Vec<UnsupportedNode>),
    /// The nodes do not make a network.
    #[error("the ONNX graph is not a valid network")]
    Graph(#[from] GraphError),
}

fn list(nodes: &[UnsupportedNode]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
