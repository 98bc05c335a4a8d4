//! Shapes of matrix products.

use super::GraphError;
use super::site::Site;
use crate::op::Gemm;
use crate::value_shape::{ValueShape, broadcast_axes};

impl Site<'_> {
    /// (..., m, k) by (..., k, n) gives (..., m, n).
    pub(super) fn matmul(&self) -> Result<ValueShape, GraphError> {
        let (first, second) = (self.input(0).axes(), self.input(1).axes());
        let refuse = || {
            let expected = format!("matrices that the first input, {}, can be multiplied with", self.input(0));
            self.misfit(self.input(1), expected)
        };
        let ([first_before @ .., m, k], [second_before @ .., k2, n]) = (&first[..], &second[..]) else {
            return Err(refuse());
        };
        if k.is_none() || k != k2 {
            return Err(refuse());
        }
        let mut axes = broadcast_axes(first_before, second_before).ok_or_else(refuse)?;
        axes.extend([*m, *n]);
        ValueShape::from_axes(&axes).ok_or_else(refuse)
    }

    pub(super) fn gemm(&self, gemm: &Gemm) -> Result<ValueShape, GraphError> {
        for (attribute, factor) in [("alpha", gemm.alpha), ("beta", gemm.beta)] {
            if !factor.is_finite() {
                return Err(self.attribute(attribute, "finite", factor.to_string()));
            }
        }
        let value = self.input(0);
        let mut axes = value.axes();
        if gemm.transposes_a {
            axes.reverse();
        }
        let [rows, Some(len)] = axes[..] else {
            return Err(self.misfit(value, "one vector per sample".to_owned()));
        };
        let misshapen = || {
            let shape = if gemm.transposes_b { format!("(out, {len})") } else { format!("({len}, out)") };
            self.misshapen(1, format!("{shape}, no dimension 0"))
        };
        let ValueShape { is_batched: false, dims } = self.input(1) else { return Err(misshapen()) };
        let out = match (&dims[..], gemm.transposes_b) {
            (&[out, found], true) | (&[found, out], false) if found == len => out,
            _ => return Err(misshapen()),
        };
        let product = ValueShape::from_axes(&[rows, Some(out)]).ok_or_else(misshapen)?;
        if self.n_inputs() == 3 && self.input(2).broadcast(&product).as_ref() != Some(&product) {
            return Err(self.misshapen(2, format!("[{out}]")));
        }
        Ok(product)
    }
}
