//! Nodes that become nodes of the graph.

mod activation;
mod arithmetic;
mod layout;
mod window;

use super::attribute::{Attributes, NodeProblem};
use super::reader::{Known, Reader};
use super::wire::NodeProto;
use super::wire::tensor_proto::DataType;

/// The attributes that nodes of this operator may have; none when they are not read at all.
pub(super) fn known_attributes(operator: &str) -> Option<&'static [&'static str]> {
    Some(match operator {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Equal" | "Where" | "MatMul" | "Relu" | "Sigmoid" | "HardSwish"
        | "Erf" | "Tanh" | "Sqrt" | "GlobalAveragePool" | "Identity" | "Expand" => &[],
        "AveragePool" => {
            &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"]
        }
        "BatchNormalization" => &["epsilon", "momentum", "training_mode", "spatial"],
        "Cast" => &["to", "saturate", "round_mode"],
        "CastLike" => &["saturate", "round_mode"],
        "Clip" => &["min", "max"],
        "Concat" | "Gather" | "Flatten" | "Softmax" | "LogSoftmax" => &["axis"],
        "Constant" => &["value", "value_float", "value_floats", "value_int", "value_ints"],
        "ConstantOfShape" => &["value"],
        "Conv" => &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"],
        "Dropout" => &["ratio", "seed"],
        "Gelu" => &["approximate"],
        "Gemm" => &["alpha", "beta", "transA", "transB"],
        "HardSigmoid" => &["alpha", "beta"],
        "LayerNormalization" => &["axis", "epsilon", "stash_type"],
        "LeakyRelu" => &["alpha"],
        "MaxPool" => &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"],
        "Pad" => &["mode", "pads", "value"],
        "ReduceMean" => &["axes", "keepdims", "noop_with_empty_axes"],
        "Reshape" => &["allowzero"],
        "Shape" => &["start", "end"],
        "Slice" => &["starts", "ends", "axes"],
        "Split" => &["axis", "split", "num_outputs"],
        "Squeeze" | "Unsqueeze" => &["axes"],
        "Transpose" => &["perm"],
        _ => return None,
    })
}

impl Reader<'_> {
    /// Adds to the graph what `node` computes.
    pub(super) fn lower(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        match node.op_type.as_str() {
            "Conv" => self.lower_conv(node),
            "MaxPool" | "AveragePool" => self.lower_pool(node),
            "GlobalAveragePool" | "Relu" | "Sigmoid" | "HardSwish" | "Erf" | "Tanh" | "Sqrt" => self.lower_plain(node),
            "LeakyRelu" | "HardSigmoid" | "Gelu" => self.lower_parametrized(node),
            "Clip" => self.lower_clip(node),
            "Softmax" | "LogSoftmax" => self.lower_softmax(node),
            "BatchNormalization" => self.lower_batch_normalization(node),
            "LayerNormalization" => self.lower_layer_normalization(node),
            "Add" | "Sub" | "Mul" | "Div" => self.lower_arithmetic(node),
            "Pow" => self.lower_power(node),
            "MatMul" => self.lower_matmul(node),
            "Gemm" => self.lower_gemm(node),
            "ReduceMean" => self.lower_reduce(node),
            "Flatten" => self.lower_flatten(node),
            "Reshape" => self.lower_reshape(node),
            "Squeeze" | "Unsqueeze" => self.lower_unit_axes(node),
            "Transpose" => self.lower_transpose(node),
            "Concat" => self.lower_concat(node),
            "Split" => self.lower_split(node),
            "Slice" => self.lower_slice(node),
            "Gather" => self.lower_gather(node),
            "Pad" => self.lower_pad(node),
            "Expand" => self.lower_expand(node),
            "Dropout" => self.lower_dropout(node),
            "Identity" => self.lower_identity(node),
            "Cast" | "CastLike" => self.lower_cast(node),
            _ => Err(Attributes { node }.unsupported("of what is not constant")),
        }
    }

    fn lower_identity(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let known = match self.required(node, 0)? {
            // An exporter that stores equal initializers once gives the others their names back by Identity: they are
            // parameters of their own, which a checkpoint holds under those names.
            Known::Weight { source, .. } => {
                Known::Weight { name: node.output.first().cloned().unwrap_or_default(), source }
            }
            known => known,
        };
        self.alias(node, known)
    }

    fn lower_dropout(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let is_training = self.constant(node, 2)?.and_then(|constant| constant.integer()).is_some_and(|flag| flag != 0);
        if is_training {
            return Err(Attributes { node }.unsupported("training_mode 1, only 0 is"));
        }
        let known = self.required(node, 0)?;
        self.alias(node, known)
    }

    fn lower_cast(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        if node.op_type == "Cast" {
            let to = attributes.int("to", 0)?;
            if to != DataType::Float as i64 {
                return Err(attributes.unsupported(format!("to {to}, only 1 (FLOAT) is")));
            }
        } else if matches!(self.required(node, 1)?, Known::Constant(..)) {
            return Err(attributes.unsupported("to the type of a constant"));
        }
        self.lower_identity(node)
    }
}
