//! What makes nodes and parameters no network.

use super::MAX_SCALARS;
use crate::parameter::ParameterKind;

/// Why nodes and parameters do not make a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// No nodes.
    #[error("the network has no nodes")]
    Empty,
    /// A value or parameter without a name.
    #[error("{0} has an empty name")]
    Unnamed(String),
    /// Two inputs, outputs or parameters of one name.
    #[error("the name `{0}` is given twice; every input, output and parameter needs its own")]
    DuplicateName(String),
    /// A node reads too little or too much.
    #[error("node `{node}` ({operator}) has {found} inputs; it takes {expected}")]
    InputCount {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// The number of inputs it may have.
        expected: String,
        /// The number it has.
        found: usize,
    },
    /// A value is read before it is made, or never made. Cycles are found like this too.
    #[error("node `{node}` ({operator}) reads the value `{input}`, which no earlier node makes")]
    UnknownValue {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// The name it reads.
        input: String,
    },
    /// A parameter is read that is not given.
    #[error("node `{node}` ({operator}) reads `{input}` as its {kind}, but there is no such parameter")]
    UnknownParameter {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// The name it reads.
        input: String,
        /// What it would be.
        kind: ParameterKind,
    },
    /// A parameter is of one kind and read as another.
    #[error("node `{node}` ({operator}) reads `{input}` as its {expected}, but it is a {found}")]
    ParameterKind {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// The parameter.
        input: String,
        /// What the node takes there.
        expected: ParameterKind,
        /// What the parameter is.
        found: ParameterKind,
    },
    /// A parameter has dimensions that its node cannot use.
    #[error("parameter `{parameter}` of node `{node}` ({operator}) has shape {found:?}; it must be {expected}")]
    ParameterShape {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// The parameter.
        parameter: String,
        /// The dimensions that would be right.
        expected: String,
        /// The dimensions it has.
        found: Vec<usize>,
    },
    /// A value has dimensions that its node cannot use.
    #[error("node `{node}` ({operator}) gets {found:?}; it needs {expected}")]
    ValueShape {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// What would be right.
        expected: String,
        /// The dimensions per sample it gets.
        found: Vec<usize>,
    },
    /// An attribute has a value that the operator does not have.
    #[error("node `{node}` ({operator}) has {attribute} {found}; it must be {expected}")]
    Attribute {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// The attribute.
        attribute: &'static str,
        /// What would be right.
        expected: &'static str,
        /// The value it has.
        found: String,
    },
    /// A value or parameter leads nowhere.
    #[error("`{0}` is never read; only the last node's output may be")]
    Unread(String),
    /// More scalars than any machine has room for.
    #[error("{what} holds more than {MAX_SCALARS} scalars")]
    TooLarge {
        /// The value, or the parameters.
        what: String,
    },
    /// The last node does not end in one vector.
    #[error("the last node `{node}` makes {found:?} per sample; it must make one vector, the logits of the classes")]
    Output {
        /// The last node.
        node: String,
        /// The dimensions per sample it makes.
        found: Vec<usize>,
    },
}
