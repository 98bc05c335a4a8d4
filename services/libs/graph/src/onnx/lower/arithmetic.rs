//! Sums, products and means.

use std::sync::Arc;

use super::super::attribute::{Attributes, NodeProblem};
use super::super::constant::{Constant, Entries};
use super::super::fold::places;
use super::super::reader::{Known, Reader};
use super::super::wire::NodeProto;
use crate::op::{Gemm, Op};

impl Reader<'_> {
    pub(super) fn lower_arithmetic(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let op = match node.op_type.as_str() {
            "Add" => Op::Add,
            "Sub" => Op::Sub,
            "Mul" => Op::Mul,
            _ => Op::Div,
        };
        let known = [self.required(node, 0)?, self.required(node, 1)?];
        let is_prepared = |known: &Known| matches!(known, Known::Value(name) if self.prepared.contains(name));
        let is_preparation = match (is_prepared(&known[0]), is_prepared(&known[1])) {
            (true, false) => self.settle(&known[1])?,
            (false, true) => self.settle(&known[0])?,
            _ => false,
        };
        let inputs = self.operands(node)?;
        self.emit(node, op, inputs)?;
        if is_preparation {
            self.prepared.extend(node.output.first().cloned());
        }
        Ok(())
    }

    /// Makes an initializer that the input itself is shifted or scaled by a constant: it belongs to the data. Returns
    /// whether `known` is a constant now.
    fn settle(&mut self, known: &Known) -> Result<bool, NodeProblem> {
        match known {
            Known::Constant(..) => Ok(true),
            Known::Weight { name, source } if !self.weights.contains_key(name) => {
                let Some(constant) = self.initializer(source)? else { return Ok(false) };
                self.redefine(name, Known::Constant(name.clone(), constant));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn lower_power(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let exponent = self.number(node, 1)?;
        let base = self.operand(node, 0)?;
        match exponent {
            Some(2.0) => self.emit(node, Op::Mul, base.iter().chain(&base).cloned().collect()),
            Some(0.5) => self.emit(node, Op::Sqrt, base.into_iter().collect()),
            found => Err(attributes.unsupported(format!("exponent {}, only 2 and 0.5 are", found.unwrap_or(f32::NAN)))),
        }
    }

    pub(super) fn lower_matmul(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let inputs = self.operands(node)?;
        self.emit(node, Op::MatMul, inputs)
    }

    pub(super) fn lower_gemm(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let gemm = Gemm {
            alpha: attributes.float("alpha")?.unwrap_or(1.0),
            beta: attributes.float("beta")?.unwrap_or(1.0),
            transposes_a: attributes.flag("transA", false)?,
            transposes_b: attributes.flag("transB", false)?,
        };
        let inputs = self.operands_without_zero_bias(node)?;
        self.emit(node, Op::Gemm(gemm), inputs)
    }

    /// The inputs, less a third one that is zeros: exporters write a bias that a layer does not have like that.
    pub(super) fn operands_without_zero_bias(&mut self, node: &NodeProto) -> Result<Vec<String>, NodeProblem> {
        if let Some(Known::Constant(_, bias)) = self.input(node, 2)?
            && is_zero(&bias)
        {
            return Ok(self.operand(node, 0)?.into_iter().chain(self.operand(node, 1)?).collect());
        }
        self.operands(node)
    }

    pub(super) fn lower_reduce(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let keeps_axes = attributes.flag("keepdims", true)?;
        let listed = match self.integers(node, 1)? {
            Some(axes) => axes,
            None => attributes.ints("axes")?.unwrap_or_default().to_vec(),
        };
        if listed.is_empty() && attributes.flag("noop_with_empty_axes", false)? {
            let known = self.required(node, 0)?;
            return self.alias(node, known);
        }
        let all = || (0..shape.rank()).collect();
        let axes = if listed.is_empty() { Some(all()) } else { places(&listed, shape.rank()) };
        let Some(mut axes) = axes else {
            return Err(attributes.invalid("axes", format!("{listed:?}"), &format!("below {}", shape.rank())));
        };
        axes.sort_unstable();
        axes.dedup();
        if shape.is_batched && axes.first() == Some(&0) {
            return Err(attributes.unsupported("the batch among its axes"));
        }
        let input = self.operand(node, 0)?;
        self.emit(node, Op::ReduceMean { axes, keeps_axes }, input.into_iter().collect())
    }
}

fn is_zero(constant: &Arc<Constant>) -> bool {
    matches!(&constant.entries, Entries::Floats(values) if values.iter().all(|value| *value == 0.0))
}
