//! Stochastic gradient descent.

use burn::tensor::Tensor;

/// How gradients become steps: stochastic gradient descent with momentum as PyTorch defines it, dampening 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdRecipe {
    /// The share of the last velocity that is kept, mu.
    pub momentum: f64,
    /// The share of each weight that is added to its gradient, lambda.
    pub weight_decay: f64,
    /// Whether the step looks ahead along the new velocity (Nesterov's form).
    pub nesterov: bool,
}

impl SgdRecipe {
    /// Returns theta and the velocity v after a step at `rate`.
    ///
    /// g <- g + lambda theta; v <- mu v + g, or g at the first step; theta <- theta - rate (g + mu v), or rate v without
    /// Nesterov's form. With mu = 0 there is no velocity, and theta <- theta - rate g.
    pub(crate) fn step(
        &self,
        theta: Tensor<1>,
        gradient: Tensor<1>,
        velocity: Option<Tensor<1>>,
        rate: f64,
    ) -> (Tensor<1>, Option<Tensor<1>>) {
        let gradient =
            if self.weight_decay == 0.0 { gradient } else { gradient + theta.clone().mul_scalar(self.weight_decay) };
        if self.momentum == 0.0 {
            return (theta - gradient.mul_scalar(rate), None);
        }
        let velocity = match velocity {
            Some(velocity) => velocity.mul_scalar(self.momentum) + gradient.clone(),
            None => gradient.clone(),
        };
        let step = if self.nesterov { gradient + velocity.clone().mul_scalar(self.momentum) } else { velocity.clone() };
        (theta - step.mul_scalar(rate), Some(velocity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::evaluation::host_values;
    use crate::plane::vector;

    const RECIPE: SgdRecipe = SgdRecipe { momentum: 0.5, weight_decay: 0.5, nesterov: true };

    /// theta and the velocity after a step at rate 1/4; every number here is exact in binary.
    fn step(recipe: SgdRecipe, theta: f32, gradient: f32, velocity: Option<f32>) -> (f32, Option<f32>) {
        let device = Device::cpu();
        let tensor = |value| vector(vec![value], &device);
        let (theta, velocity) = recipe.step(tensor(theta), tensor(gradient), velocity.map(tensor), 0.25);
        let scalar = |tensor| host_values(tensor).expect("a value")[0];
        (scalar(theta), velocity.map(scalar))
    }

    #[test]
    fn steps_are_those_of_hand() {
        assert_eq!(step(RECIPE, 1.0, 0.5, None), (0.625, Some(1.0)));
        assert_eq!(step(RECIPE, 0.625, -0.25, Some(1.0)), (0.5390625, Some(0.5625)));
    }

    #[test]
    fn plain_momentum_steps_along_the_velocity() {
        let recipe = SgdRecipe { nesterov: false, ..RECIPE };
        assert_eq!(step(recipe, 0.625, -0.25, Some(1.0)), (0.484375, Some(0.5625)));
    }

    #[test]
    fn without_momentum_there_is_no_velocity() {
        let recipe = SgdRecipe { momentum: 0.0, weight_decay: 0.0, nesterov: true };
        assert_eq!(step(recipe, 1.0, 0.5, None), (0.875, None));
    }
}
