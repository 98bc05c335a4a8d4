//! Named float32 tensors.

use std::collections::BTreeMap;

/// Named tensors in the order of their names: a checkpoint, a direction, or a point of parameter space.
///
/// In a direction a tensor that is absent does not move.
pub type TensorMap = BTreeMap<String, Tensor>;

/// A dense float32 tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

/// Why a tensor cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of values is not the product of the dimensions.
    #[error("shape {shape:?} does not hold {n_values} values")]
    Length {
        /// The dimensions asked for.
        shape: Vec<usize>,
        /// The number of values given.
        n_values: usize,
    },
}

impl Tensor {
    /// Returns the tensor of `shape` over `data`, row-major. A rank-0 tensor has the empty shape and one value.
    ///
    /// # Errors
    /// When `data` does not hold exactly the product of the dimensions.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
        if expected == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(TensorError::Length { shape, n_values: data.len() })
        }
    }

    /// Returns a tensor of `shape` with every entry equal to `value`.
    #[must_use]
    pub fn filled(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        let shape = shape.into();
        let data = vec![value; shape.iter().product()];
        Self { shape, data }
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, row-major.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, row-major, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, row-major, without a copy.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Whether the rank is at most 1, as of a bias, a normalisation's scale or a running statistic.
    #[must_use]
    pub fn is_vector_like(&self) -> bool {
        self.shape.len() <= 1
    }

    /// The Frobenius norm, accumulated in float64 in index order.
    #[must_use]
    pub fn norm(&self) -> f64 {
        norm(&self.data)
    }

    /// The slices along dimension 0 (a convolution's filters, a linear layer's neurons), in order.
    pub(crate) fn filter_len(&self) -> usize {
        let n_filters = self.shape.first().copied().unwrap_or(1).max(1);
        (self.data.len() / n_filters).max(1)
    }
}

/// The Euclidean norm of `values`, accumulated in float64 in index order.
pub(crate) fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_refuses_values_that_do_not_fill_its_shape() {
        assert_eq!(Tensor::new([2, 3], vec![0.0; 5]), Err(TensorError::Length { shape: vec![2, 3], n_values: 5 }));
        assert!(Tensor::new([usize::MAX, 2], vec![]).is_err());
    }

    #[test]
    fn a_scalar_has_the_empty_shape() {
        let scalar = Tensor::new([], vec![3.0]).expect("one value");
        assert!(scalar.is_vector_like());
        assert!((scalar.norm() - 3.0).abs() < f64::EPSILON);
    }
}
