//! Specifications of training runs.

use relief_core::{Recipe, RunSpec};

use crate::error::{ApiError, Violations};
use crate::training::v1;

/// Returns the specification that a request asks for, every default filled in.
///
/// # Errors
/// With every field that is wrong, by its path below `spec`.
pub fn spec_from_wire(spec: Option<v1::RunSpec>) -> Result<RunSpec, ApiError> {
    let spec = spec.ok_or_else(|| ApiError::field("spec", "missing; say what to train"))?;
    let mut wrong = Violations::default();
    let network = wrong.check("spec.network", spec.network.parse());
    let dataset = wrong.check("spec.dataset", spec.dataset.parse());
    let default = Recipe::of_the_paper(spec.epochs, spec.seed);
    let recipe = Recipe {
        epochs: spec.epochs,
        batch_size: spec.batch_size.unwrap_or(default.batch_size),
        rate: spec.rate.unwrap_or(default.rate),
        momentum: spec.momentum.unwrap_or(default.momentum),
        weight_decay: spec.weight_decay.unwrap_or(default.weight_decay),
        milestones: spec.milestones,
        seed: spec.seed,
    };
    for violation in recipe.violations() {
        wrong.add(format!("spec.{}", violation.field), violation.to_string());
    }
    wrong.finish(network.zip(dataset).map(|(network, dataset)| RunSpec { network, dataset, recipe }))
}

/// Returns the specification as a message.
#[must_use]
pub fn spec_to_wire(spec: &RunSpec) -> v1::RunSpec {
    let recipe = &spec.recipe;
    v1::RunSpec {
        network: spec.network.to_string(),
        dataset: spec.dataset.to_string(),
        epochs: recipe.epochs,
        batch_size: Some(recipe.batch_size),
        rate: Some(recipe.rate),
        momentum: Some(recipe.momentum),
        weight_decay: Some(recipe.weight_decay),
        milestones: recipe.milestones.clone(),
        seed: recipe.seed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_survives_the_wire() {
        let spec = RunSpec {
            network: "lenet5".parse().expect("a good name"),
            dataset: "d".parse().expect("a good name"),
            recipe: Recipe { milestones: vec![2, 3], ..Recipe::of_the_paper(5, 9) },
        };
        assert_eq!(spec_from_wire(Some(spec_to_wire(&spec))), Ok(spec));
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let spec = v1::RunSpec { network: "..".to_owned(), rate: Some(-1.0), ..v1::RunSpec::default() };
        let error = spec_from_wire(Some(spec)).expect_err("four wrong fields");
        let fields: Vec<&str> = error.violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["spec.network", "spec.dataset", "spec.epochs", "spec.rate"]);
    }
}
