//! From a graph to an ONNX file.

use prost::Message;
use relief_core::TensorMap;

use super::wire::attribute_proto::AttributeType;
use super::wire::tensor_proto::{DataLocation, DataType};
use super::wire::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use super::write_node::NodeWriter;
use crate::checkpoint::CheckpointMismatch;
use crate::graph::Graph;
use crate::op::Op;
use crate::parameter::Parameter;

const PRODUCER: &str = "relief";
/// The file that initializers without values point to.
const EXTERNAL_FILE: &str = "checkpoint.safetensors";
const BATCH: &str = "batch";

impl Graph {
    /// Returns the network as the bytes of an ONNX file; the same bytes for the same network and weights.
    ///
    /// With `weights` the file is complete and any ONNX runtime loads it. Without, its initializers have names, types
    /// and shapes, and point to the external file `checkpoint.safetensors`, where they lie under the same names.
    /// Constants of the network are written as Constant nodes.
    ///
    /// # Errors
    /// When `weights` does not fit the network.
    pub fn to_onnx(&self, weights: Option<&TensorMap>) -> Result<Vec<u8>, CheckpointMismatch> {
        if let Some(weights) = weights {
            self.check(weights)?;
        }
        let constants = self.constants().iter().map(|(name, value)| {
            let dims = value.shape().iter().map(|dim| *dim as i64).collect();
            let data = value.data().iter().flat_map(|value| value.to_le_bytes()).collect();
            constant(name, dims, DataType::Float, data)
        });
        let mut writer = NodeWriter::of(self);
        for node in self.nodes() {
            writer.write(node);
        }
        let graph = GraphProto {
            node: constants.chain(writer.nodes).collect(),
            name: self.name().to_owned(),
            initializer: self.parameters().iter().map(|parameter| write_initializer(parameter, weights)).collect(),
            input: vec![value_info(self.input_name(), &self.input_shape().dims())],
            output: vec![value_info(self.output_name(), &[self.n_classes()])],
        };
        let (ir_version, version) = versions(self);
        let model = ModelProto {
            ir_version,
            producer_name: PRODUCER.to_owned(),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version }],
            ..ModelProto::default()
        };
        Ok(model.encode_to_vec())
    }
}

/// The oldest versions of the format and of the operators that have all of the network's.
pub(super) fn versions(graph: &Graph) -> (i64, i64) {
    let has_gelu = graph.nodes().iter().any(|node| matches!(node.op, Op::Gelu(_)));
    if has_gelu { (9, 20) } else { (8, 17) }
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

/// A node that makes a tensor.
pub(super) fn constant(name: &str, dims: Vec<i64>, data_type: DataType, raw_data: Vec<u8>) -> NodeProto {
    let value = TensorProto { dims, data_type: data_type as i32, raw_data, ..TensorProto::default() };
    NodeProto {
        output: vec![name.to_owned()],
        op_type: "Constant".to_owned(),
        attribute: vec![AttributeProto {
            name: "value".to_owned(),
            t: Some(Box::new(value)),
            r#type: AttributeType::Tensor as i32,
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    }
}
