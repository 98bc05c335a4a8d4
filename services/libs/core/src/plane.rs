//! Planes through parameter space: the parameters at a point, and how the axes lie to the weights and to each other.

use serde::{Deserialize, Deserializer, Serialize};

use crate::tensor::{Tensor, TensorMap};

/// What batch normalisations go by at a displaced point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormMode {
    /// The running statistics of the origin, whatever the directions hold.
    #[default]
    Frozen,
    /// Running statistics that move along the directions like every other tensor, so that an interpolation ends at the
    /// statistics of the other checkpoint.
    Interpolated,
    /// Running statistics that are estimated again at each point, from the training inputs: forward in training mode in
    /// batches of 128 in stored order; the mean and the unbiased variance are averages over the batches, weighted by
    /// their samples.
    Recomputed,
}

impl BatchNormMode {
    /// The word in flags and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Interpolated => "interpolated",
            Self::Recomputed => "recomputed",
        }
    }
}

/// One axis of a plane.
#[derive(Debug, Clone, PartialEq)]
pub enum Direction {
    /// A difference of parameters: theta moves by the coefficient times this. A tensor that it does not name stays.
    Step(TensorMap),
    /// Another checkpoint, which lies at coefficient 1.
    Towards(TensorMap),
}

impl Direction {
    /// The tensors, of a difference or of a checkpoint.
    #[must_use]
    pub fn tensors(&self) -> &TensorMap {
        match self {
            Self::Step(tensors) | Self::Towards(tensors) => tensors,
        }
    }

    /// The direction as a difference from `origin`, in float32, of the tensors that both have.
    #[must_use]
    pub fn difference(&self, origin: &TensorMap) -> TensorMap {
        match self {
            Self::Step(step) => step.clone(),
            Self::Towards(target) => {
                let subtract = |(name, tensor): (&String, &Tensor)| {
                    let mut difference = tensor.clone();
                    for (value, origin) in difference.data_mut().iter_mut().zip(origin.get(name)?.data()) {
                        *value -= origin;
                    }
                    Some((name.clone(), difference))
                };
                target.iter().filter_map(subtract).collect()
            }
        }
    }
}

/// Returns the parameters at a point of the plane through `origin`, in float32, the coefficients rounded to float32
/// first.
///
/// With steps d and coefficients a, b: (theta* + a d_x) + b d_y. Towards a checkpoint theta_1: (1 - a) theta* +
/// a theta_1, which is exactly theta* at 0 and exactly theta_1 at 1; towards two: ((1 - a - b) theta* + a theta_1) +
/// b theta_2. Towards a checkpoint and along a step: the former first. What has the coefficient 0 is left out, so that a
/// NaN elsewhere does not reach the point.
///
/// `origin` is not changed; a tensor that a direction does not name stays where it is. Each direction's tensors must
/// have the shapes of the origin's, which is checked when a plane is opened.
#[must_use]
pub fn displace(origin: &TensorMap, steps: &[(f64, &Direction)]) -> TensorMap {
    origin.iter().map(|(name, tensor)| (name.clone(), displace_tensor(name, tensor, steps))).collect()
}

/// What [`displace`] makes of the tensor `name` of the origin.
#[must_use]
pub fn displace_tensor(name: &str, origin: &Tensor, steps: &[(f64, &Direction)]) -> Tensor {
    let tensor_of = |term: Term| match term {
        Term::Origin => Some(origin),
        Term::Direction(idx) => steps[idx].1.tensors().get(name),
    };
    let terms = displacement(name, steps);
    let mut terms = terms.iter().filter_map(|(weight, term)| Some((*weight, tensor_of(*term)?)));
    let mut theta = match terms.next() {
        Some((1.0, tensor)) => tensor.clone(),
        Some((weight, tensor)) => {
            let mut theta = tensor.clone();
            theta.data_mut().iter_mut().for_each(|value| *value *= weight);
            theta
        }
        None => Tensor::filled(origin.shape(), 0.0),
    };
    for (weight, tensor) in terms {
        for (value, step) in theta.data_mut().iter_mut().zip(tensor.data()) {
            *value += weight * step;
        }
    }
    theta
}

/// A tensor that a displaced one is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// The origin's.
    Origin,
    /// That of the direction with this index.
    Direction(usize),
}

/// What [`displace`] makes the tensor `name` of, for who computes elsewhere: the first term times its weight, where that
/// is not 1, then weight times term added for each other in this order, every product and every sum rounded to float32.
/// Nothing at all is 0.
#[must_use]
pub fn displacement(name: &str, steps: &[(f64, &Direction)]) -> Vec<(f32, Term)> {
    let (mut weighted, mut added) = (Vec::new(), Vec::new());
    let mut origin_weight = 1.0_f64;
    for (idx, (coefficient, direction)) in steps.iter().enumerate() {
        let coefficient = *coefficient as f32;
        if !direction.tensors().contains_key(name) {
            continue;
        }
        match direction {
            Direction::Step(_) => added.push((coefficient, Term::Direction(idx))),
            Direction::Towards(_) => {
                origin_weight -= f64::from(coefficient);
                weighted.push((coefficient, Term::Direction(idx)));
            }
        }
    }
    // Weights add up to 1, so that one of them is left, but for a rounding to nothing.
    let terms = std::iter::once((origin_weight as f32, Term::Origin)).chain(weighted).chain(added);
    terms.filter(|(weight, _)| *weight != 0.0).collect()
}

/// How the axes of a plane lie to the weights and to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaneGeometry {
    /// The cosine of the angle between the axes; none for a line, and where an axis has no length or none that is finite.
    pub cosine: Option<f64>,
    /// An entry per axis.
    pub axes: Vec<AxisGeometry>,
}

/// How long an axis is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AxisGeometry {
    /// The Euclidean norm of the direction over all trainable tensors: how far a coefficient of 1 goes. NaN where it is no
    /// finite number, as beside a checkpoint that has diverged.
    #[serde(deserialize_with = "null_as_nan")]
    pub norm: f64,
    /// The same for each trainable tensor, in the network's order.
    pub tensors: Vec<TensorNorms>,
}

/// How long a direction and the weights are at one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorNorms {
    /// The tensor's name.
    pub name: String,
    /// The Frobenius norm of the direction; 0 where it does not move the tensor.
    #[serde(deserialize_with = "null_as_nan")]
    pub direction: f64,
    /// The Frobenius norm of the origin's tensor.
    #[serde(deserialize_with = "null_as_nan")]
    pub weights: f64,
}

/// JSON has no NaN; what is not finite is written as null.
fn null_as_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl PlaneGeometry {
    /// Measures `axes`, as [`Direction::difference`] gives them, over the `trainable` tensors of the origin, in float64.
    /// Axes are never made orthogonal: for independent Gaussian draws in n dimensions |cos| is about sqrt(2 / (pi n)).
    #[must_use]
    pub fn of<'a>(trainable: impl Iterator<Item = (&'a str, &'a Tensor)> + Clone, axes: &[&TensorMap]) -> Self {
        let geometry = |direction: &&TensorMap| {
            let norms = |(name, weights): (&str, &Tensor)| TensorNorms {
                name: name.to_owned(),
                direction: direction.get(name).map_or(0.0, Tensor::norm),
                weights: weights.norm(),
            };
            let tensors: Vec<TensorNorms> = trainable.clone().map(norms).collect();
            let norm = tensors.iter().map(|norms| norms.direction * norms.direction).sum::<f64>().sqrt();
            AxisGeometry { norm, tensors }
        };
        let geometries: Vec<AxisGeometry> = axes.iter().map(geometry).collect();
        let cosine = match (axes, &geometries[..]) {
            ([x, y], [x_geometry, y_geometry]) => {
                let dot: f64 = trainable.filter_map(|(name, _)| Some(dot(x.get(name)?, y.get(name)?))).sum();
                Some(dot / (x_geometry.norm * y_geometry.norm)).filter(|cosine| cosine.is_finite())
            }
            _ => None,
        };
        Self { cosine, axes: geometries }
    }
}

fn dot(x: &Tensor, y: &Tensor) -> f64 {
    x.data().iter().zip(y.data()).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::direction::{DirectionAxis, Ignore, Normalization, random_direction};

    fn tensors(entries: &[(&str, &[f32])]) -> TensorMap {
        let tensor = |values: &[f32]| Tensor::new([values.len()], values.to_vec()).expect("values that fill it");
        entries.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))).collect()
    }

    #[test]
    fn displacement_follows_both_axes_and_leaves_the_origin_alone() {
        let origin = tensors(&[("bias", &[0.3, -0.1, 7.0]), ("other", &[1.0])]);
        let before = origin.clone();
        let x = Direction::Step(tensors(&[("bias", &[2.0, 2.0, 2.0])]));
        let y = Direction::Step(tensors(&[("bias", &[-1.0, -1.0, -1.0])]));
        let theta = displace(&origin, &[(0.5, &x), (0.25, &y)]);
        for (value, start) in theta["bias"].data().iter().zip(origin["bias"].data()) {
            assert_eq!(*value, (start + 0.5 * 2.0) + -0.25);
        }
        assert_eq!(theta["other"], origin["other"]);
        assert_eq!(origin, before);
    }

    #[test]
    fn an_interpolation_is_exact_at_both_ends_even_where_the_other_is_not_finite() {
        let origin = tensors(&[("w", &[0.1, f32::NAN, 3e38])]);
        let target = Direction::Towards(tensors(&[("w", &[0.7, 0.5, f32::INFINITY])]));
        let bits = |theta: &TensorMap| theta["w"].data().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&displace(&origin, &[(0.0, &target)])), bits(&origin));
        assert_eq!(bits(&displace(&origin, &[(1.0, &target)])), bits(target.tensors()));
        assert!(displace(&origin, &[(0.5, &target)])["w"].data()[1].is_nan());
    }

    #[test]
    fn a_plane_through_three_checkpoints_has_them_at_its_corners() {
        let origin = tensors(&[("w", &[0.1, 0.9])]);
        let x = Direction::Towards(tensors(&[("w", &[0.7, -0.3])]));
        let y = Direction::Towards(tensors(&[("w", &[-0.2, 0.4])]));
        let at = |a, b| displace(&origin, &[(a, &x), (b, &y)]);
        assert_eq!((&at(0.0, 0.0), &at(1.0, 0.0), &at(0.0, 1.0)), (&origin, x.tensors(), y.tensors()));
        assert_eq!(at(0.25, 0.5)["w"].data()[0], (0.25 * 0.1_f32 + 0.25 * 0.7_f32) + 0.5 * -0.2_f32);
    }

    #[test]
    fn a_step_comes_after_the_way_to_a_checkpoint() {
        let origin = tensors(&[("w", &[0.1])]);
        let step = Direction::Step(tensors(&[("w", &[0.3])]));
        let target = Direction::Towards(tensors(&[("w", &[0.7])]));
        let expected = (0.75_f32 * 0.1 + 0.25 * 0.7) + 0.6 * 0.3;
        assert_eq!(displace(&origin, &[(0.25, &target), (0.6, &step)])["w"].data(), [expected]);
        assert_eq!(displace(&origin, &[(0.6, &step), (0.25, &target)])["w"].data(), [expected]);
    }

    #[test]
    fn geometry_measures_what_is_trained() {
        let origin = tensors(&[("w", &[3.0, 4.0]), ("mean", &[5.0])]);
        let target = tensors(&[("w", &[3.0, 7.0]), ("mean", &[9.0])]);
        let x = Direction::Towards(target).difference(&origin);
        let y = tensors(&[("w", &[2.0, 2.0])]);
        let trainable = origin.iter().filter(|(name, _)| *name == "w").map(|(name, tensor)| (name.as_str(), tensor));
        let geometry = PlaneGeometry::of(trainable, &[&x, &y]);
        let norms = TensorNorms { name: "w".to_owned(), direction: 3.0, weights: 5.0 };
        assert_eq!(geometry.axes[0], AxisGeometry { norm: 3.0, tensors: vec![norms] });
        assert!((geometry.cosine.expect("two axes") - 0.5_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn geometry_beside_a_diverged_checkpoint_is_written_and_read_again() {
        let origin = tensors(&[("w", &[3.0, f32::INFINITY])]);
        let x = tensors(&[("w", &[f32::NAN, 1.0])]);
        let trainable = origin.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let geometry = PlaneGeometry::of(trainable, &[&x, &x]);
        let json = serde_json::to_string(&geometry).expect("JSON");
        let read: PlaneGeometry = serde_json::from_str(&json).expect("the same");
        assert!(read.axes[0].norm.is_nan() && read.axes[0].tensors[0].weights.is_nan());
        assert_eq!(read.cosine, None);
    }

    #[test]
    fn random_directions_are_almost_orthogonal() {
        let weights = TensorMap::from([
            ("w".to_owned(), Tensor::filled([100, 60], 1.0)),
            ("v".to_owned(), Tensor::filled([40, 10, 10], -2.0)),
            ("bias".to_owned(), Tensor::filled([100], 50.0)),
        ]);
        let pair = |seed| {
            let along = |axis| {
                let trainable = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
                random_direction(trainable, seed, axis, Normalization::None, Ignore::BiasBn)
            };
            let trainable = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
            let (x, y) = (along(DirectionAxis::X), along(DirectionAxis::Y));
            PlaneGeometry::of(trainable, &[&x, &y]).cosine.expect("two axes").abs()
        };
        let mean = (0..200).map(pair).sum::<f64>() / 200.0;
        let expected = (2.0 / (std::f64::consts::PI * 10_000.0)).sqrt();
        assert!((mean / expected - 1.0).abs() < 0.15, "mean |cos| {mean}, expected {expected}");
    }

    proptest! {
        #[test]
        fn a_point_depends_on_its_coefficients_in_float32_only(a in -2.0..2.0_f64, b in -2.0..2.0_f64) {
            let origin = tensors(&[("w", &[0.1, -0.6])]);
            let x = Direction::Towards(tensors(&[("w", &[0.7, 0.2])]));
            let y = Direction::Step(tensors(&[("w", &[-0.3, 0.8])]));
            let rounded = |value: f64| f64::from(value as f32);
            let exact = displace(&origin, &[(a, &x), (b, &y)]);
            prop_assert_eq!(exact, displace(&origin, &[(rounded(a), &x), (rounded(b), &y)]));
        }
    }
}
