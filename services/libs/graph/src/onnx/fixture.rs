//! Files as exporters write them, for tests.

use prost::Message;

use super::wire::attribute_proto::AttributeType;
use super::wire::tensor_proto::DataType;
use super::wire::tensor_shape_proto::{Dimension, dimension};
use super::wire::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// A file being written.
pub(super) struct File {
    pub(super) graph: GraphProto,
    pub(super) opset: i64,
}

/// An attribute's value.
pub(super) enum Value<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Word(&'a str),
}

impl File {
    /// A file with the input `x`, whose batch is open where it is given as 0, and the output `y`.
    pub(super) fn new(dims: &[i64]) -> Self {
        let size = |dim: &i64| match dim {
            0 => dimension::Value::DimParam("n".to_owned()),
            dim => dimension::Value::DimValue(*dim),
        };
        let dim = dims.iter().map(|dim| Dimension { value: Some(size(dim)), ..Default::default() }).collect();
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
        let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        let input = ValueInfoProto { name: "x".to_owned(), r#type: Some(r#type), ..Default::default() };
        let output = ValueInfoProto { name: "y".to_owned(), ..Default::default() };
        let graph = GraphProto { input: vec![input], output: vec![output], ..Default::default() };
        Self { graph, opset: 20 }
    }

    /// Adds a float initializer.
    pub(super) fn weight(mut self, name: &str, dims: &[i64]) -> Self {
        let n_values = dims.iter().product::<i64>();
        let values: Vec<f32> = (0..n_values).map(|idx| (idx % 7) as f32 / 8.0 + 0.25).collect();
        self.graph.initializer.push(floats(name, dims, &values));
        self
    }

    /// Adds a Constant node of integers.
    pub(super) fn ints(self, name: &str, values: &[i64]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(
            name,
            TensorProto {
                dims: vec![values.len() as i64],
                data_type: DataType::Int64 as i32,
                raw_data: data,
                ..Default::default()
            },
        )
    }

    /// Adds a Constant node of numbers.
    pub(super) fn floats(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.constant(name, floats("", dims, values))
    }

    fn constant(mut self, name: &str, value: TensorProto) -> Self {
        let attribute = AttributeProto {
            name: "value".to_owned(),
            t: Some(Box::new(value)),
            r#type: AttributeType::Tensor as i32,
            ..Default::default()
        };
        let (output, op_type) = (vec![name.to_owned()], "Constant".to_owned());
        self.graph.node.push(NodeProto { output, op_type, attribute: vec![attribute], ..Default::default() });
        self
    }

    /// Adds a node.
    pub(super) fn node(self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.with(operator, inputs, output, &[])
    }

    /// Adds a node with attributes.
    pub(super) fn with(
        mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Value<'_>)],
    ) -> Self {
        let attribute = attributes.iter().map(|(name, value)| {
            let attribute = AttributeProto { name: (*name).to_owned(), ..Default::default() };
            match value {
                Value::Int(i) => AttributeProto { i: *i, r#type: AttributeType::Int as i32, ..attribute },
                Value::Ints(ints) => {
                    AttributeProto { ints: ints.to_vec(), r#type: AttributeType::Ints as i32, ..attribute }
                }
                Value::Float(f) => AttributeProto { f: *f, r#type: AttributeType::Float as i32, ..attribute },
                Value::Word(word) => {
                    AttributeProto { s: word.as_bytes().to_vec(), r#type: AttributeType::String as i32, ..attribute }
                }
            }
        });
        self.graph.node.push(NodeProto {
            name: format!("node_{output}"),
            op_type: operator.to_owned(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            attribute: attribute.collect(),
            ..Default::default()
        });
        self
    }

    pub(super) fn model(self) -> ModelProto {
        let opset = OperatorSetIdProto { version: self.opset, ..Default::default() };
        ModelProto { graph: Some(self.graph), opset_import: vec![opset], ..Default::default() }
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.model().encode_to_vec()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// A convolution with a bias of zeros that is computed from shapes, a batch normalisation, an average pool and a reshape
/// by the size of the batch: what PyTorch's present exporter makes of a small network.
pub(super) fn dynamo() -> File {
    File::new(&[0, 3, 8, 8])
        .weight("conv.weight", &[4, 3, 3, 3])
        .weight("bn.weight", &[4])
        .weight("bn.bias", &[4])
        .weight("bn.running_mean", &[4])
        .weight("bn.running_var", &[4])
        .weight("linear.weight", &[5, 4])
        .weight("linear.bias", &[5])
        .with("Shape", &["x"], "batch_list", &[("start", Value::Int(0)), ("end", Value::Int(1))])
        .node("Squeeze", &["batch_list"], "batch")
        .with("Shape", &["conv.weight"], "n_out", &[("start", Value::Int(0)), ("end", Value::Int(1))])
        .ints("one", &[1])
        .node("Expand", &["n_out", "one"], "bias_shape")
        .floats("zero", &[], &[0.0])
        .node("CastLike", &["zero", "x"], "zero_like")
        .node("Expand", &["zero_like", "bias_shape"], "no_bias")
        .with("Conv", &["x", "conv.weight", "no_bias"], "conv", &[("pads", Value::Ints(&[1, 1, 1, 1]))])
        .node("BatchNormalization", &["conv", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"], "bn")
        .node("Relu", &["bn"], "relu")
        .with(
            "AveragePool",
            &["relu"],
            "pooled",
            &[("kernel_shape", Value::Ints(&[8, 8])), ("count_include_pad", Value::Int(1))],
        )
        .ints("minus_one", &[-1])
        .node("Reshape", &["batch", "minus_one"], "batch_again")
        .ints("four", &[4])
        .with("Concat", &["batch_again", "four"], "flat_shape", &[("axis", Value::Int(0))])
        .with("Reshape", &["pooled", "flat_shape"], "flat", &[("allowzero", Value::Int(1))])
        .with("Gemm", &["flat", "linear.weight", "linear.bias"], "y", &[("transB", Value::Int(1))])
}

/// A network with most operators, in one chain.
pub(super) fn many_operators() -> File {
    File::new(&[0, 4, 9, 9])
        .weight("dw", &[4, 1, 3, 3])
        .weight("dw.bias", &[4])
        .weight("pw", &[8, 4, 1, 1])
        .weight("scale", &[8, 1, 1])
        .weight("norm.weight", &[8])
        .weight("norm.bias", &[8])
        .weight("w1", &[8, 6])
        .weight("w2", &[6, 4])
        .weight("b2", &[4])
        .floats("zero", &[], &[0.0])
        .floats("six", &[], &[6.0])
        .floats("sqrt2", &[], &[std::f32::consts::SQRT_2])
        .floats("mean", &[1, 4, 1, 1], &[0.5, 0.25, 0.125, 1.0])
        .ints("pads", &[0, 0, 1, 0, 0, 0, 0, 1])
        .ints("shuffle", &[0, 2, 4, 5, 5])
        .ints("back", &[0, 8, 5, 5])
        .ints("starts", &[0])
        .ints("ends", &[i64::MAX])
        .ints("axes", &[2])
        .ints("steps", &[2])
        .ints("spatial", &[1, 2])
        .node("Sub", &["x", "mean"], "x0")
        .node("Pad", &["x0", "pads"], "x1")
        .with(
            "Conv",
            &["x1", "dw", "dw.bias"],
            "x2",
            &[("group", Value::Int(4)), ("auto_pad", Value::Word("SAME_UPPER"))],
        )
        .node("Clip", &["x2", "zero", "six"], "x3")
        .with("Conv", &["x3", "pw"], "x4", &[("kernel_shape", Value::Ints(&[1, 1]))])
        .with(
            "MaxPool",
            &["x4"],
            "x5",
            &[("kernel_shape", Value::Ints(&[2, 2])), ("strides", Value::Ints(&[2, 2])), ("ceil_mode", Value::Int(0))],
        )
        .node("Mul", &["x5", "scale"], "x6")
        .node("Div", &["x6", "sqrt2"], "x7")
        .node("Erf", &["x7"], "x8")
        .node("Reshape", &["x8", "shuffle"], "x9")
        .with("Transpose", &["x9"], "x10", &[("perm", Value::Ints(&[0, 2, 1, 3, 4]))])
        .node("Reshape", &["x10", "back"], "x11")
        .with("LeakyRelu", &["x11"], "x12", &[("alpha", Value::Float(0.125))])
        .with("Transpose", &["x12"], "x13", &[("perm", Value::Ints(&[0, 2, 3, 1]))])
        .node("LayerNormalization", &["x13", "norm.weight", "norm.bias"], "x14")
        .with("Gelu", &["x14"], "x15", &[("approximate", Value::Word("tanh"))])
        .node("Slice", &["x15", "starts", "ends", "axes", "steps"], "x16")
        .with("Concat", &["x16", "x16"], "x17", &[("axis", Value::Int(2))])
        .with("ReduceMean", &["x17", "spatial"], "x18", &[("keepdims", Value::Int(0))])
        .node("MatMul", &["x18", "w1"], "x19")
        .node("HardSwish", &["x19"], "x20")
        .node("Dropout", &["x20"], "x21")
        .with("Gemm", &["x21", "w2", "b2"], "x22", &[("alpha", Value::Float(0.5))])
        .with("LogSoftmax", &["x22"], "y", &[("axis", Value::Int(-1))])
}
