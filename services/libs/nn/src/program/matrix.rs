//! Matrix products.

use burn::tensor::Tensor;
use relief_graph::{Gemm, ValueShape};

use super::layout::{N_AXES, Value};

pub(super) fn matmul(x: Value, y: Value, y_shape: &ValueShape, output: [usize; N_AXES]) -> Value {
    // One matrix for all samples: their rows go through it together.
    if y_shape.rank() == 2 {
        let y = matrix(y);
        let n_terms = y.dims()[0];
        let n_rows = x.dims().iter().product::<usize>() / n_terms;
        return x.reshape([n_rows, n_terms]).matmul(y).reshape(output);
    }
    x.matmul(y)
}

pub(super) fn gemm(gemm: &Gemm, a: Value, b: Value, c: Option<Value>) -> Value {
    let transposed = |x: Tensor<2>, is_transposed| if is_transposed { x.transpose() } else { x };
    let scaled = |x: Tensor<2>, factor: f32| if factor == 1.0 { x } else { x.mul_scalar(factor) };
    let product = transposed(matrix(a), gemm.transposes_a).matmul(transposed(matrix(b), gemm.transposes_b));
    let product = scaled(product, gemm.alpha);
    let sum = match c {
        Some(c) => product + scaled(matrix(c), gemm.beta),
        None => product,
    };
    let [n_rows, n_columns] = sum.dims();
    sum.reshape([1, 1, 1, 1, n_rows, n_columns])
}

fn matrix(x: Value) -> Tensor<2> {
    let [.., n_rows, n_columns] = x.dims();
    x.reshape([n_rows, n_columns])
}
