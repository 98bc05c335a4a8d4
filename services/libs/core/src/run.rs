//! What a training run is asked to be.

use serde::{Deserialize, Serialize};

use crate::name::{DatasetId, NetworkId};

/// A network, a dataset and a recipe, every default filled in; stored with the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The network that is trained.
    pub network: NetworkId,
    /// The dataset; its training split is trained on.
    pub dataset: DatasetId,
    /// How.
    pub recipe: Recipe,
}

/// Stochastic gradient descent with Nesterov momentum and a rate that falls at milestones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the training split.
    pub epochs: u32,
    /// Samples per step.
    pub batch_size: u32,
    /// The initial learning rate.
    pub rate: f64,
    /// Nesterov momentum, without dampening.
    pub momentum: f64,
    /// Times the tensor, added to the gradient of every trainable tensor.
    pub weight_decay: f64,
    /// The rate is multiplied by [`Recipe::DECAY`] after each of these epochs.
    pub milestones: Vec<u32>,
    /// Seeds initialisation and shuffling.
    pub seed: u64,
}

/// A number of a recipe that is out of bounds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{value} is out of bounds; {bounds}")]
pub struct RecipeViolation {
    /// The field, as in [`Recipe`].
    pub field: &'static str,
    /// The value given.
    pub value: String,
    /// What would be right.
    pub bounds: &'static str,
}

impl Recipe {
    /// The factor on the rate at a milestone.
    pub const DECAY: f64 = 0.1;

    /// The recipe of Li et al. (2018): batch 128, rate 0.1, momentum 0.9, weight decay 5e-4, no milestones.
    #[must_use]
    pub fn of_the_paper(epochs: u32, seed: u64) -> Self {
        Self { epochs, batch_size: 128, rate: 0.1, momentum: 0.9, weight_decay: 5e-4, milestones: Vec::new(), seed }
    }

    /// The learning rate during `epoch`, counted from 1: a milestone m makes epoch m + 1 the first at the new rate.
    #[must_use]
    pub fn rate_in_epoch(&self, epoch: u32) -> f64 {
        let n_drops = self.milestones.iter().filter(|milestone| **milestone < epoch).count();
        (0..n_drops).fold(self.rate, |rate, _| rate * Self::DECAY)
    }

    /// Returns every number that is out of bounds.
    #[must_use]
    pub fn violations(&self) -> Vec<RecipeViolation> {
        let rising = self.milestones.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = self.milestones.iter().all(|milestone| (1..self.epochs.max(1)).contains(milestone));
        let checks = [
            ("epochs", (1..=10_000).contains(&self.epochs), self.epochs.to_string(), "it must be 1 to 10000"),
            (
                "batch_size",
                (1..=65_536).contains(&self.batch_size),
                self.batch_size.to_string(),
                "it must be 1 to 65536",
            ),
            (
                "rate",
                self.rate.is_finite() && self.rate > 0.0,
                self.rate.to_string(),
                "it must be a finite number above 0",
            ),
            (
                "momentum",
                (0.0..1.0).contains(&self.momentum),
                self.momentum.to_string(),
                "it must be at least 0 and below 1",
            ),
            (
                "weight_decay",
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
                self.weight_decay.to_string(),
                "it must be a finite number, at least 0",
            ),
            (
                "milestones",
                rising && inside,
                format!("{:?}", self.milestones),
                "they must rise, from 1 to below the number of epochs",
            ),
        ];
        checks
            .into_iter()
            .filter(|(_, good, _, _)| !good)
            .map(|(field, _, value, bounds)| RecipeViolation { field, value, bounds })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_after_its_milestones() {
        let recipe = Recipe { milestones: vec![150, 225, 275], ..Recipe::of_the_paper(300, 0) };
        let rates = [1, 150, 151, 225, 226, 276, 300].map(|epoch| recipe.rate_in_epoch(epoch));
        let expected = [0.1, 0.1, 0.01, 0.01, 0.001, 0.0001, 0.0001];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn every_number_out_of_bounds_is_named() {
        let recipe = Recipe {
            epochs: 0,
            batch_size: 0,
            rate: f64::NAN,
            momentum: 1.0,
            weight_decay: -1.0,
            milestones: vec![3, 2],
            seed: 0,
        };
        let fields: Vec<&str> = recipe.violations().iter().map(|v| v.field).collect();
        assert_eq!(fields, ["epochs", "batch_size", "rate", "momentum", "weight_decay", "milestones"]);
        assert!(Recipe::of_the_paper(1, 0).violations().is_empty());
    }
}
