//! What is known of a file's tensors while its nodes are read in order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use relief_core::{Tensor, TensorMap};

use super::attribute::{Attributes, NodeProblem, node_name};
use super::constant::{Constant, Entries};
use super::fold::product;
use super::tensor;
use super::wire::tensor_proto::DataType;
use super::wire::{NodeProto, TensorProto};
use super::{OnnxError, UnsupportedNode};
use crate::graph::Node;
use crate::inference::{GraphError, Scope};
use crate::op::Op;
use crate::value_shape::ValueShape;

/// The most bytes of constants that are made or looked at while a file is read, each as often as a node does so. It
/// bounds the time as well as the memory: any number of nodes may read the same large constant. Biases of zeros that are
/// computed from shapes take the most, some megabytes in networks of hundreds of layers.
const MAX_FOLDED_BYTES: usize = 16 << 20;

/// A tensor of the file by what it is.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// The value of this name that a node of the graph makes, or the input.
    Value(String),
    /// An initializer that the graph reads as a parameter.
    Weight {
        /// Its name as a parameter.
        name: String,
        /// The initializer with its values.
        source: String,
    },
    /// A tensor whose entries are known, under the name that it has as a constant of the graph.
    Constant(String, Arc<Constant>),
    /// What an unsupported node would make.
    Unknown,
}

/// Reads nodes in order.
pub(super) struct Reader<'a> {
    /// The version of the operators.
    pub(super) opset: i64,
    /// The size of the batch, where the file fixes it.
    pub(super) fixed_batch: Option<i64>,
    /// The names that a node reads, or the file's output.
    pub(super) read: HashSet<&'a str>,
    /// The values that are the input after arithmetic with tensors that do not depend on it.
    pub(super) prepared: HashSet<String>,
    pub(super) initializers: HashMap<&'a str, &'a TensorProto>,
    pub(super) nodes: Vec<Node>,
    pub(super) constants: TensorMap,
    /// Parameters by name with the initializer that holds their values.
    pub(super) weights: HashMap<String, String>,
    pub(super) scope: Scope,
    tensors: HashMap<String, Known>,
    n_free_bytes: usize,
    /// Counts the names that were taken, so that none is tried twice.
    n_fresh: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        opset: i64,
        fixed_batch: Option<i64>,
        read: HashSet<&'a str>,
        initializers: HashMap<&'a str, &'a TensorProto>,
    ) -> Self {
        Self {
            opset,
            fixed_batch,
            read,
            prepared: HashSet::new(),
            initializers,
            nodes: Vec::new(),
            constants: TensorMap::new(),
            weights: HashMap::new(),
            scope: Scope::default(),
            tensors: HashMap::new(),
            n_free_bytes: MAX_FOLDED_BYTES,
            n_fresh: 0,
        }
    }

    /// Reads `nodes`; the problems of all of them are found before any is reported.
    pub(super) fn read_all(&mut self, nodes: &[&'a NodeProto]) -> Result<(), OnnxError> {
        let mut unsupported = Vec::new();
        let mut invalid = None;
        for node in nodes {
            match self.read_node(node) {
                Ok(()) => continue,
                Err(NodeProblem::Unsupported(node)) => unsupported.push(node),
                Err(NodeProblem::Invalid(error)) => invalid = invalid.or(Some(error)),
                Err(NodeProblem::Follows) => {}
            }
            for output in &node.output {
                self.tensors.insert(output.clone(), Known::Unknown);
            }
        }
        match invalid {
            _ if !unsupported.is_empty() => Err(OnnxError::Unsupported(unsupported)),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn read_node(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let unsupported = |operator| {
            let name = node_name(node);
            Err(NodeProblem::Unsupported(UnsupportedNode { name, operator, detail: None }))
        };
        if !super::read::is_onnx(&node.domain) {
            return unsupported(format!("{}.{}", node.domain, node.op_type));
        }
        let Some(known) = super::lower::known_attributes(&node.op_type) else {
            return unsupported(node.op_type.clone());
        };
        Attributes { node }.check_names(known)?;
        let others = node.output.iter().skip(1).filter(|_| node.op_type != "Split");
        if let Some(other) = others.into_iter().find(|name| !name.is_empty() && self.read.contains(name.as_str())) {
            return Err(Attributes { node }.unsupported(format!("its output `{other}`, only the first is")));
        }
        match self.fold(node)? {
            Some(constant) => self.define_constant(node, constant),
            None => self.lower(node),
        }
    }

    /// What the input in the place `idx` is; none where the node has none there.
    pub(super) fn input(&mut self, node: &NodeProto, idx: usize) -> Result<Option<Known>, NodeProblem> {
        let Some(name) = node.input.get(idx).filter(|name| !name.is_empty()) else { return Ok(None) };
        match self.known(name)? {
            Some(Known::Unknown) => Err(NodeProblem::Follows),
            Some(known) => Ok(Some(known)),
            None => {
                let (node, operator) = (node_name(node), node.op_type.clone());
                Err(GraphError::UnknownValue { node, operator, input: name.clone() }.into())
            }
        }
    }

    /// As `input`, for one that the operator cannot do without.
    pub(super) fn required(&mut self, node: &NodeProto, idx: usize) -> Result<Known, NodeProblem> {
        let absent = || Attributes { node }.invalid("input", format!("{} absent", idx + 1), "given");
        self.input(node, idx)?.ok_or_else(absent)
    }

    fn known(&mut self, name: &str) -> Result<Option<Known>, NodeProblem> {
        if let Some(known) = self.tensors.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(proto) = self.initializers.get(name) else { return Ok(None) };
        let refuse = |problem| NodeProblem::Invalid(OnnxError::Initializer { name: name.to_owned(), problem });
        let is_integer =
            matches!(DataType::try_from(proto.data_type), Ok(DataType::Int64 | DataType::Int32 | DataType::Bool));
        // What a file holds as a scalar is a number of the formula, not a weight: exporters write 0.5 x like that.
        let constant = match is_integer || proto.dims.is_empty() {
            true => Constant::read(proto).map_err(refuse)?,
            false => None,
        };
        let known = match constant {
            Some(constant) => Known::Constant(name.to_owned(), Arc::new(constant)),
            None => Known::Weight { name: name.to_owned(), source: name.to_owned() },
        };
        self.tensors.insert(name.to_owned(), known.clone());
        Ok(Some(known))
    }

    /// The shape of the input in the place `idx`.
    pub(super) fn shape(&mut self, node: &NodeProto, idx: usize) -> Result<ValueShape, NodeProblem> {
        match self.required(node, idx)? {
            Known::Value(name) => self.scope.shape(&name).cloned().ok_or(NodeProblem::Follows),
            Known::Weight { source, .. } => Ok(ValueShape::fixed(self.weight_dims(&source)?)),
            Known::Constant(_, constant) => Ok(ValueShape::fixed(constant.dims.as_slice())),
            Known::Unknown => Err(NodeProblem::Follows),
        }
    }

    fn weight_dims(&self, source: &str) -> Result<Vec<usize>, NodeProblem> {
        let dims = self.initializers.get(source).map_or(Ok(Vec::new()), |proto| tensor::dims(proto));
        let refuse = |problem| NodeProblem::Invalid(OnnxError::Initializer { name: source.to_owned(), problem });
        dims.map_err(refuse)
    }

    /// The entries of the input in the place `idx`, which must be known; none where the node has none there.
    pub(super) fn constant(&mut self, node: &NodeProto, idx: usize) -> Result<Option<Arc<Constant>>, NodeProblem> {
        let unsupported = || Attributes { node }.unsupported(format!("input {} that is not constant", idx + 1));
        match self.input(node, idx)? {
            None => Ok(None),
            Some(Known::Constant(_, constant)) => {
                self.reserve(node, Some(constant.len()), constant.entry_bytes())?;
                Ok(Some(constant))
            }
            Some(Known::Weight { source, .. }) => {
                let n_entries = product(&self.weight_dims(&source)?);
                self.reserve(node, n_entries, size_of::<f32>())?;
                self.initializer(&source)?.map(Some).ok_or_else(unsupported)
            }
            Some(_) => Err(unsupported()),
        }
    }

    /// The values of an initializer, where the file holds them.
    pub(super) fn initializer(&self, source: &str) -> Result<Option<Arc<Constant>>, NodeProblem> {
        let Some(proto) = self.initializers.get(source) else { return Ok(None) };
        let refuse = |problem| NodeProblem::Invalid(OnnxError::Initializer { name: source.to_owned(), problem });
        Ok(Constant::read(proto).map_err(refuse)?.map(Arc::new))
    }

    /// The number in the place `idx` of the inputs; none where the node has none there.
    pub(super) fn number(&mut self, node: &NodeProto, idx: usize) -> Result<Option<f32>, NodeProblem> {
        let Some(constant) = self.constant(node, idx)? else { return Ok(None) };
        let unsupported = || Attributes { node }.unsupported(format!("input {} that is no single number", idx + 1));
        constant.number().map(Some).ok_or_else(unsupported)
    }

    /// The integers in the place `idx` of the inputs; none where the node has none there.
    pub(super) fn integers(&mut self, node: &NodeProto, idx: usize) -> Result<Option<Vec<i64>>, NodeProblem> {
        let Some(constant) = self.constant(node, idx)? else { return Ok(None) };
        let unsupported = || Attributes { node }.unsupported(format!("input {} that is no list of integers", idx + 1));
        constant.integers().map(Some).ok_or_else(unsupported)
    }

    /// The name under which the graph reads the input in the place `idx`; none where the node has none there.
    pub(super) fn operand(&mut self, node: &NodeProto, idx: usize) -> Result<Option<String>, NodeProblem> {
        match self.input(node, idx)? {
            None | Some(Known::Unknown) => Ok(None),
            Some(Known::Value(name)) => Ok(Some(name)),
            Some(Known::Weight { name, source }) => {
                if !self.weights.contains_key(&name) {
                    let dims = self.weight_dims(&source)?;
                    self.scope.add_tensor(&name, &dims)?;
                    self.weights.insert(name.clone(), source);
                }
                Ok(Some(name))
            }
            Some(Known::Constant(name, constant)) => {
                let Entries::Floats(values) = &constant.entries else {
                    let detail = format!("input {} that holds integers; only shapes are computed with", idx + 1);
                    return Err(Attributes { node }.unsupported(detail));
                };
                if !self.constants.contains_key(&name) {
                    self.scope.add_tensor(&name, &constant.dims)?;
                    let tensor = Tensor::new(constant.dims.as_slice(), values.clone());
                    self.constants.insert(name.clone(), tensor.map_err(|_| NodeProblem::Follows)?);
                }
                Ok(Some(name))
            }
        }
    }

    /// The names under which the graph reads all inputs; those that are absent at the end are left out.
    pub(super) fn operands(&mut self, node: &NodeProto) -> Result<Vec<String>, NodeProblem> {
        let n_inputs = node.input.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        let mut names = Vec::with_capacity(n_inputs);
        for idx in 0..n_inputs {
            self.required(node, idx)?;
            names.extend(self.operand(node, idx)?);
        }
        Ok(names)
    }

    /// Adds a node to the graph that computes the first output of `node` from `inputs`.
    pub(super) fn emit(&mut self, node: &NodeProto, op: Op, inputs: Vec<String>) -> Result<(), NodeProblem> {
        let output = node.output.first().cloned().unwrap_or_default();
        self.emit_as(node_name(node), op, inputs, output)
    }

    pub(super) fn emit_as(
        &mut self,
        name: String,
        op: Op,
        inputs: Vec<String>,
        output: String,
    ) -> Result<(), NodeProblem> {
        let node = Node { name, op, inputs, output: output.clone() };
        self.scope.add_node(&node)?;
        self.nodes.push(node);
        self.define(&output, Known::Value(output.clone()))
    }

    /// Makes the first output of `node` another name of `known`.
    pub(super) fn alias(&mut self, node: &NodeProto, known: Known) -> Result<(), NodeProblem> {
        let output = node.output.first().cloned().unwrap_or_default();
        self.define(&output, known)
    }

    pub(super) fn define(&mut self, name: &str, known: Known) -> Result<(), NodeProblem> {
        if self.initializers.contains_key(name) || self.tensors.insert(name.to_owned(), known).is_some() {
            return Err(GraphError::DuplicateName(name.to_owned()).into());
        }
        Ok(())
    }

    /// Makes what is known of `name` something else.
    pub(super) fn redefine(&mut self, name: &str, known: Known) {
        self.tensors.insert(name.to_owned(), known);
    }

    /// What the file's tensor `name` is.
    pub(super) fn find(&self, name: &str) -> Option<&Known> {
        self.tensors.get(name)
    }

    fn define_constant(&mut self, node: &NodeProto, constant: Constant) -> Result<(), NodeProblem> {
        let name = node.output.first().cloned().unwrap_or_default();
        self.define(&name.clone(), Known::Constant(name, Arc::new(constant)))
    }

    /// Takes `n` entries of `width` bytes from what constants may have.
    pub(super) fn reserve(&mut self, node: &NodeProto, n: Option<usize>, width: usize) -> Result<(), NodeProblem> {
        let left = n.and_then(|n| self.n_free_bytes.checked_sub(n.checked_mul(width)?));
        let detail = || format!("constants of more than {MAX_FOLDED_BYTES} bytes together");
        self.n_free_bytes = left.ok_or_else(|| Attributes { node }.unsupported(detail()))?;
        Ok(())
    }

    /// A name that nothing in the file has.
    pub(super) fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        while self.scope.shape(&name).is_some() || self.tensors.contains_key(&name) || self.read.contains(name.as_str())
        {
            self.n_fresh += 1;
            name = format!("{base}_{}", self.n_fresh);
        }
        name
    }
}
