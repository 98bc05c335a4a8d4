//! What makes a graph valid, and the shapes of its values.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::graph::Node;
use crate::op::{Op, ParameterSlot};
use crate::parameter::{Parameter, ParameterKind};
use crate::shape::InputShape;

/// More scalars than this in one value of a sample, or in all parameters together, are refused: no such network could
/// be run, and a small file must not ask for unbounded memory.
const MAX_SCALARS: usize = 1 << 31;

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
        operator: &'static str,
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

/// Returns the shape of every value per sample, when all is valid.
pub(crate) fn shapes(
    input_name: &str,
    input_shape: InputShape,
    nodes: &[Node],
    parameters: &[Parameter],
) -> Result<BTreeMap<String, Vec<usize>>, GraphError> {
    if input_name.is_empty() {
        return Err(GraphError::Unnamed("the input".to_owned()));
    }
    let mut known: HashMap<&str, &Parameter> = HashMap::new();
    let mut n_scalars = 0_usize;
    for parameter in parameters {
        if parameter.name.is_empty() {
            return Err(GraphError::Unnamed("a parameter".to_owned()));
        }
        if parameter.name == input_name || known.insert(&parameter.name, parameter).is_some() {
            return Err(GraphError::DuplicateName(parameter.name.clone()));
        }
        n_scalars = bounded(&parameter.shape)
            .and_then(|n| n.checked_add(n_scalars))
            .filter(|n| *n <= MAX_SCALARS)
            .ok_or_else(|| GraphError::TooLarge { what: "the network's parameters".to_owned() })?;
    }
    let mut shapes = BTreeMap::from([(input_name.to_owned(), input_shape.dims().to_vec())]);
    let mut unread: BTreeSet<&str> = known.keys().copied().chain([input_name]).collect();
    for node in nodes {
        let site = Site { node, parameters: &known, values: &shapes };
        let shape = site.output_shape()?;
        if bounded(&shape).is_none() {
            return Err(GraphError::TooLarge { what: format!("the output of node `{}`", node.name) });
        }
        if node.output.is_empty() {
            return Err(GraphError::Unnamed(format!("the output of node `{}`", node.name)));
        }
        if known.contains_key(node.output.as_str()) || shapes.insert(node.output.clone(), shape).is_some() {
            return Err(GraphError::DuplicateName(node.output.clone()));
        }
        for input in &node.inputs {
            unread.remove(input.as_str());
        }
        unread.insert(&node.output);
    }
    let last = nodes.last().ok_or(GraphError::Empty)?;
    match unread.into_iter().find(|name| *name != last.output) {
        Some(name) => Err(GraphError::Unread(name.to_owned())),
        None => Ok(shapes),
    }
}

/// Returns the number of classes: the length of the last node's output.
pub(crate) fn n_classes(nodes: &[Node], shapes: &BTreeMap<String, Vec<usize>>) -> Result<usize, GraphError> {
    let last = nodes.last().ok_or(GraphError::Empty)?;
    let found = shapes.get(&last.output).cloned().unwrap_or_default();
    match found[..] {
        [n_classes] => Ok(n_classes),
        _ => Err(GraphError::Output { node: last.name.clone(), found }),
    }
}

fn bounded(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim)).filter(|n| *n <= MAX_SCALARS)
}

/// A node with what is known before it.
struct Site<'a> {
    node: &'a Node,
    parameters: &'a HashMap<&'a str, &'a Parameter>,
    values: &'a BTreeMap<String, Vec<usize>>,
}

impl Site<'_> {
    fn output_shape(&self) -> Result<Vec<usize>, GraphError> {
        self.check_input_count()?;
        let value = self.value(0)?;
        match &self.node.op {
            Op::Conv(conv) => {
                let image = self.image(value)?;
                self.positive("stride", conv.stride)?;
                self.positive("dilation", conv.dilation)?;
                self.positive("groups", [conv.groups; 2])?;
                let expected = || format!("(out, {} / {}, height, width), no dimension 0", image[0], conv.groups);
                let weight = self.parameter(0)?;
                let [out, per_group, height, width] = weight.shape[..] else {
                    return Err(self.misshapen(weight, expected()));
                };
                let fits = per_group.checked_mul(conv.groups) == Some(image[0]) && out % conv.groups == 0;
                if !fits || out == 0 || height == 0 || width == 0 {
                    return Err(self.misshapen(weight, expected()));
                }
                self.vector(1, out)?;
                let size = self.windows(image, [height, width], conv.stride, conv.padding, conv.dilation)?;
                Ok(vec![out, size[0], size[1]])
            }
            Op::BatchNormalization(norm) => {
                for (attribute, found, is_good) in [
                    ("epsilon", norm.epsilon, norm.epsilon.is_finite() && norm.epsilon >= 0.0),
                    ("momentum", norm.momentum, (0.0..=1.0).contains(&norm.momentum)),
                ] {
                    if !is_good {
                        let expected = if attribute == "epsilon" { "finite and not negative" } else { "from 0 to 1" };
                        return Err(self.attribute(attribute, expected, found.to_string()));
                    }
                }
                for slot in 0..4 {
                    self.vector(slot, value[0])?;
                }
                Ok(value.to_vec())
            }
            Op::Relu => Ok(value.to_vec()),
            Op::Add => {
                let second = self.value(1)?;
                if value == second {
                    Ok(value.to_vec())
                } else {
                    Err(self.misfit(second, format!("two values of one shape, the first is {value:?}")))
                }
            }
            Op::MaxPool(pool) => {
                let image = self.image(value)?;
                self.positive("kernel", pool.kernel)?;
                self.positive("stride", pool.stride)?;
                if (0..2).any(|i| pool.padding[i] >= pool.kernel[i]) {
                    return Err(self.attribute("padding", "below the kernel's size", format!("{:?}", pool.padding)));
                }
                let size = self.windows(image, pool.kernel, pool.stride, pool.padding, [1, 1])?;
                Ok(vec![image[0], size[0], size[1]])
            }
            Op::GlobalAveragePool => Ok(vec![self.image(value)?[0], 1, 1]),
            Op::Flatten => Ok(vec![value.iter().product()]),
            Op::Gemm => {
                let [len] = value[..] else {
                    return Err(self.misfit(value, "one vector per sample".to_owned()));
                };
                let weight = self.parameter(0)?;
                match weight.shape[..] {
                    [out, found] if found == len && out > 0 => {
                        self.vector(1, out)?;
                        Ok(vec![out])
                    }
                    _ => Err(self.misshapen(weight, format!("(out, {len}), no dimension 0"))),
                }
            }
        }
    }

    fn check_input_count(&self) -> Result<(), GraphError> {
        let slots = self.node.op.parameter_slots();
        let n_optional = slots.iter().filter(|slot| slot.is_optional).count();
        let most = self.node.op.n_values() + slots.len();
        let least = most - n_optional;
        let found = self.node.inputs.len();
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let expected = if least == most { most.to_string() } else { format!("{least} to {most}") };
        Err(GraphError::InputCount { node: self.node.name.clone(), operator: self.node.op.name(), expected, found })
    }

    fn value(&self, idx: usize) -> Result<&[usize], GraphError> {
        let name = self.node.inputs.get(idx).map_or("", String::as_str);
        self.values.get(name).map(Vec::as_slice).ok_or_else(|| GraphError::UnknownValue {
            node: self.node.name.clone(),
            operator: self.node.op.name(),
            input: name.to_owned(),
        })
    }

    fn image(&self, value: &[usize]) -> Result<[usize; 3], GraphError> {
        value.try_into().map_err(|_| self.misfit(value, "an image (channels, height, width)".to_owned()))
    }

    /// The parameter in `slot`, of the right kind; the slot must have an input.
    fn parameter(&self, slot: usize) -> Result<&Parameter, GraphError> {
        let (node, operator) = (self.node.name.clone(), self.node.op.name());
        let input = self.node.inputs.get(self.node.op.n_values() + slot).cloned().unwrap_or_default();
        let expected =
            self.node.op.parameter_slots().get(slot).map_or(ParameterKind::Weight, |slot: &ParameterSlot| slot.kind);
        match self.parameters.get(input.as_str()) {
            None => Err(GraphError::UnknownParameter { node, operator, input, kind: expected }),
            Some(found) if found.kind != expected => {
                Err(GraphError::ParameterKind { node, operator, input, expected, found: found.kind })
            }
            Some(parameter) => Ok(parameter),
        }
    }

    /// Checks that the parameter in `slot`, if the node has one there, is a vector of `len`.
    fn vector(&self, slot: usize, len: usize) -> Result<(), GraphError> {
        if self.node.inputs.len() <= self.node.op.n_values() + slot {
            return Ok(());
        }
        let parameter = self.parameter(slot)?;
        if parameter.shape == [len] { Ok(()) } else { Err(self.misshapen(parameter, format!("[{len}]"))) }
    }

    fn positive(&self, attribute: &'static str, values: [usize; 2]) -> Result<(), GraphError> {
        if values.contains(&0) {
            return Err(self.attribute(attribute, "at least 1", format!("{values:?}")));
        }
        Ok(())
    }

    /// The number of windows down and across: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.
    fn windows(
        &self,
        image: [usize; 3],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
    ) -> Result<[usize; 2], GraphError> {
        let mut size = [0; 2];
        for i in 0..2 {
            let reach = dilation[i].checked_mul(kernel[i] - 1).and_then(|reach| reach.checked_add(1));
            let padded = padding[i].checked_mul(2).and_then(|padding| padding.checked_add(image[i + 1]));
            let room = reach.zip(padded).and_then(|(reach, padded)| padded.checked_sub(reach));
            size[i] = room.map(|room| room / stride[i] + 1).ok_or_else(|| {
                self.misfit(&image, format!("an image that a window of {kernel:?} with padding {padding:?} fits into"))
            })?;
        }
        Ok(size)
    }

    fn misfit(&self, found: &[usize], expected: String) -> GraphError {
        GraphError::ValueShape {
            node: self.node.name.clone(),
            operator: self.node.op.name(),
            expected,
            found: found.to_vec(),
        }
    }

    fn misshapen(&self, parameter: &Parameter, expected: String) -> GraphError {
        GraphError::ParameterShape {
            node: self.node.name.clone(),
            operator: self.node.op.name(),
            parameter: parameter.name.clone(),
            expected,
            found: parameter.shape.clone(),
        }
    }

    fn attribute(&self, attribute: &'static str, expected: &'static str, found: String) -> GraphError {
        let (node, operator) = (self.node.name.clone(), self.node.op.name());
        GraphError::Attribute { node, operator, attribute, expected, found }
    }
}
