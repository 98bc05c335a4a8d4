//! What works on each entry by itself, and normalisations.

use super::super::attribute::{Attributes, NodeProblem};
use super::super::reader::Reader;
use super::super::wire::NodeProto;
use crate::op::{BatchNormalization, GeluForm, LayerNormalization, Op};

impl Reader<'_> {
    pub(super) fn lower_plain(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let op = match node.op_type.as_str() {
            "GlobalAveragePool" => Op::GlobalAveragePool,
            "Relu" => Op::Relu,
            "Sigmoid" => Op::Sigmoid,
            "HardSwish" => Op::HardSwish,
            "Erf" => Op::Erf,
            "Tanh" => Op::Tanh,
            _ => Op::Sqrt,
        };
        let inputs = self.operands(node)?;
        self.emit(node, op, inputs)
    }

    pub(super) fn lower_parametrized(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let op = match node.op_type.as_str() {
            "LeakyRelu" => {
                let attributes = Attributes { node };
                Op::LeakyRelu { alpha: attributes.float("alpha")?.unwrap_or(0.01) }
            }
            "HardSigmoid" => {
                let attributes = Attributes { node };
                let alpha = attributes.float("alpha")?.unwrap_or(0.2);
                Op::HardSigmoid { alpha, beta: attributes.float("beta")?.unwrap_or(0.5) }
            }
            _ => {
                let attributes = Attributes { node };
                match attributes.word("approximate", "none")?.as_str() {
                    "none" => Op::Gelu(GeluForm::Exact),
                    "tanh" => Op::Gelu(GeluForm::Tanh),
                    word => return Err(attributes.invalid("approximate", word.to_owned(), "none or tanh")),
                }
            }
        };
        let inputs = self.operands(node)?;
        self.emit(node, op, inputs)
    }

    pub(super) fn lower_clip(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let (min, max) = match self.opset {
            ..11 => (attributes.float("min")?, attributes.float("max")?),
            _ => (self.number(node, 1)?, self.number(node, 2)?),
        };
        let input = self.operand(node, 0)?;
        self.emit(node, Op::Clip { min, max }, input.into_iter().collect())
    }

    pub(super) fn lower_softmax(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let default = if self.opset < 13 { 1 } else { -1 };
        let axis = attributes.axis("axis", attributes.int("axis", default)?, shape.rank())?;
        if self.opset < 13 && axis + 1 != shape.rank() {
            return Err(attributes.unsupported(format!("axis {axis} of {shape} in operators before version 13")));
        }
        if shape.size(axis).is_none() {
            return Err(attributes.unsupported("the batch as its axis"));
        }
        let op = if node.op_type == "Softmax" { Op::Softmax { axis } } else { Op::LogSoftmax { axis } };
        let inputs = self.operands(node)?;
        self.emit(node, op, inputs)
    }

    pub(super) fn lower_batch_normalization(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        attributes.expect_int("training_mode", 0)?;
        attributes.expect_int("spatial", 1)?;
        let op = Op::BatchNormalization(BatchNormalization {
            epsilon: attributes.float("epsilon")?.unwrap_or(1e-5),
            momentum: attributes.float("momentum")?.unwrap_or(0.9),
        });
        let inputs = self.operands(node)?;
        self.emit(node, op, inputs)
    }

    pub(super) fn lower_layer_normalization(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        attributes.expect_int("stash_type", 1)?;
        let shape = self.shape(node, 0)?;
        let axis = attributes.axis("axis", attributes.int("axis", -1)?, shape.rank())?;
        if shape.size(axis).is_none() {
            return Err(attributes.unsupported("the batch among its axes"));
        }
        let epsilon = attributes.float("epsilon")?.unwrap_or(1e-5);
        let inputs = self.operands(node)?;
        self.emit(node, Op::LayerNormalization(LayerNormalization { axis, epsilon }), inputs)
    }
}
