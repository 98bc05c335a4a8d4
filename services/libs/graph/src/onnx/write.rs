//! From a graph to an ONNX file.

use prost::Message;
use relief_core::TensorMap;

use super::wire::attribute_proto::AttributeType;
use super::wire::tensor_proto::{DataLocation, DataType};
use super::wire::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use crate::checkpoint::CheckpointMismatch;
use crate::graph::{Graph, Node};
use crate::op::Op;
use crate::parameter::Parameter;

const IR_VERSION: i64 = 8;
const OPSET_VERSION: i64 = 17;
const PRODUCER: &str = "relief";
/// The file that initializers without values point to.
const EXTERNAL_FILE: &str = "checkpoint.safetensors";
const BATCH: &str = "batch";

impl Graph {
    /// Returns the network as the bytes of an ONNX file; the same bytes for the same network and weights.
    ///
    /// With `weights` the file is complete and any ONNX runtime loads it. Without, its initializers have names, types
    /// and shapes, and point to the external file `checkpoint.safetensors`, where they lie under the same names.
    ///
    /// # Errors
    /// When `weights` does not fit the network.
    pub fn to_onnx(&self, weights: Option<&TensorMap>) -> Result<Vec<u8>, CheckpointMismatch> {
        if let Some(weights) = weights {
            self.check(weights)?;
        }
        let graph = GraphProto {
            node: self.nodes().iter().map(|node| self.write_node(node)).collect(),
            name: self.name().to_owned(),
            initializer: self.parameters().iter().map(|parameter| write_initializer(parameter, weights)).collect(),
            input: vec![value_info(self.input_name(), &self.input_shape().dims())],
            output: vec![value_info(self.output_name(), &[self.n_classes()])],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: PRODUCER.to_owned(),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET_VERSION }],
            ..ModelProto::default()
        };
        Ok(model.encode_to_vec())
    }

    fn write_node(&self, node: &Node) -> NodeProto {
        let attribute = match &node.op {
            Op::Conv(conv) => {
                let weight = self.parameters().iter().find(|parameter| node.inputs.get(1) == Some(&parameter.name));
                let kernel = weight.map(|weight| ints("kernel_shape", weight.shape.iter().skip(2).copied()));
                let others = [
                    ints("strides", conv.stride),
                    ints("pads", conv.padding.into_iter().chain(conv.padding)),
                    ints("dilations", conv.dilation),
                    int("group", conv.groups as i64),
                ];
                kernel.into_iter().chain(others).collect()
            }
            Op::BatchNormalization(norm) => vec![float("epsilon", norm.epsilon), float("momentum", norm.momentum)],
            Op::MaxPool(pool) => vec![
                ints("kernel_shape", pool.kernel),
                ints("strides", pool.stride),
                ints("pads", pool.padding.into_iter().chain(pool.padding)),
            ],
            Op::Flatten => vec![int("axis", 1)],
            Op::Gemm => vec![int("transB", 1)],
            Op::Relu | Op::Add | Op::GlobalAveragePool => Vec::new(),
        };
        NodeProto {
            input: node.inputs.clone(),
            output: vec![node.output.clone()],
            name: node.name.clone(),
            op_type: node.op.name().to_owned(),
            attribute,
            ..NodeProto::default()
        }
    }
}

fn write_initializer(parameter: &Parameter, weights: Option<&TensorMap>) -> TensorProto {
    let tensor = TensorProto {
        dims: parameter.shape.iter().map(|dim| *dim as i64).collect(),
        data_type: DataType::Float as i32,
        name: parameter.name.clone(),
        ..TensorProto::default()
    };
    match weights.and_then(|weights| weights.get(&parameter.name)) {
        Some(value) => {
            TensorProto { raw_data: value.data().iter().flat_map(|value| value.to_le_bytes()).collect(), ..tensor }
        }
        None => TensorProto {
            external_data: vec![StringStringEntryProto { key: "location".to_owned(), value: EXTERNAL_FILE.to_owned() }],
            data_location: DataLocation::External as i32,
            ..tensor
        },
    }
}

/// A float tensor of `shape` for each sample of the batch.
fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};

    let batch = Value::DimParam(BATCH.to_owned());
    let dims = [batch].into_iter().chain(shape.iter().map(|dim| Value::DimValue(*dim as i64)));
    let dim = dims.map(|value| Dimension { value: Some(value), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.into_iter().map(|value| value as i64).collect(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: value, r#type: AttributeType::Int as i32, ..AttributeProto::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: value, r#type: AttributeType::Float as i32, ..AttributeProto::default() }
}
