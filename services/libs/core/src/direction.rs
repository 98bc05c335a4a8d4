//! Random directions and their normalisation.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::philox::Philox;
use crate::tensor::{Tensor, TensorMap, norm};

/// Which axis of a plane a direction spans; part of the key that its numbers are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionAxis {
    /// The first axis.
    X,
    /// The second axis.
    Y,
}

impl DirectionAxis {
    /// The word in keys, flags and files: `x` or `y`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
        }
    }
}

/// How a random direction is scaled against the weights, for tensors of rank >= 2 (Li et al. 2018, section 4).
///
/// With d the draw, w the weight, and f a slice of dimension 0 (a filter, or a neuron's row); all norms Frobenius.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// d_f <- d_f * ||w_f|| / (||d_f|| + 1e-10).
    #[default]
    Filter,
    /// d <- d * ||w|| / ||d||.
    Layer,
    /// d <- d * w, entry by entry.
    Weight,
    /// d_f <- d_f / (||d_f|| + 1e-10): filters of length 1, whatever the weights.
    Dfilter,
    /// d <- d / ||d||: tensors of length 1, whatever the weights.
    Dlayer,
    /// d stays as drawn.
    None,
}

/// What a random direction does with vector-like tensors (rank <= 1: biases, normalisation scales and shifts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignore {
    /// They do not move. Every published figure of Li et al. used this.
    #[default]
    BiasBn,
    /// The direction there is a copy of the weights, whatever the normalisation.
    None,
}

/// Returns the random direction along `axis` for the trainable tensors of a network.
///
/// Each tensor is drawn from N(0, 1) by a [`Philox`] generator of its own, keyed by (seed, axis, tensor name), so the
/// numbers depend on nothing else: not on the other tensors, their order, a thread or a device. The key is the first
/// 16 bytes (two little-endian words) of the SHA-256 of `relief direction v1`, a zero byte, the seed as 8
/// little-endian bytes, the axis letter, and the tensor's name in UTF-8.
///
/// A tensor that does not move is absent from the result.
#[must_use]
pub fn random_direction<'a>(
    trainable: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    seed: u64,
    axis: DirectionAxis,
    normalization: Normalization,
    ignore: Ignore,
) -> TensorMap {
    trainable
        .into_iter()
        .filter_map(|(name, weights)| {
            let direction = match (weights.is_vector_like(), ignore) {
                (true, Ignore::BiasBn) => return None,
                (true, Ignore::None) => weights.clone(),
                (false, _) => {
                    let mut draw = Tensor::filled(weights.shape(), 0.0);
                    Philox::new(key(seed, axis, name)).fill_normal(draw.data_mut());
                    normalize(&mut draw, weights, normalization);
                    draw
                }
            };
            Some((name.to_owned(), direction))
        })
        .collect()
}

fn key(seed: u64, axis: DirectionAxis, name: &str) -> [u64; 2] {
    let mut hash = Sha256::new();
    hash.update(b"relief direction v1\0");
    hash.update(seed.to_le_bytes());
    hash.update(axis.as_str().as_bytes());
    hash.update(name.as_bytes());
    let bytes = hash.finalize();
    let word =
        |start: usize| bytes[start..start + 8].iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    [word(0), word(8)]
}

fn normalize(draw: &mut Tensor, weights: &Tensor, normalization: Normalization) {
    const EPSILON: f64 = 1e-10;
    match normalization {
        Normalization::Filter => {
            let len = draw.filter_len();
            for (draw, weights) in draw.data_mut().chunks_mut(len).zip(weights.data().chunks(len)) {
                let scale = norm(weights) / (norm(draw) + EPSILON);
                rescale(draw, scale);
            }
        }
        Normalization::Layer => {
            let scale = weights.norm() / draw.norm();
            rescale(draw.data_mut(), scale);
        }
        Normalization::Dfilter => {
            let len = draw.filter_len();
            for draw in draw.data_mut().chunks_mut(len) {
                let scale = 1.0 / (norm(draw) + EPSILON);
                rescale(draw, scale);
            }
        }
        Normalization::Dlayer => {
            let scale = 1.0 / draw.norm();
            rescale(draw.data_mut(), scale);
        }
        Normalization::Weight => {
            for (draw, weight) in draw.data_mut().iter_mut().zip(weights.data()) {
                *draw *= weight;
            }
        }
        Normalization::None => {}
    }
}

fn rescale(values: &mut [f32], scale: f64) {
    for value in values {
        *value = (f64::from(*value) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> TensorMap {
        let ramp = |n: usize| (0..n).map(|i| i as f32 / 7.0 - 1.0).collect::<Vec<_>>();
        TensorMap::from([
            ("conv.weight".to_owned(), Tensor::new([4, 3, 3, 3], ramp(108)).expect("108 values")),
            ("conv.bias".to_owned(), Tensor::new([4], ramp(4)).expect("4 values")),
            ("fc.weight".to_owned(), Tensor::new([10, 64], ramp(640)).expect("640 values")),
        ])
    }

    fn draw(weights: &TensorMap, normalization: Normalization, ignore: Ignore) -> TensorMap {
        let trainable = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
        random_direction(trainable, 42, DirectionAxis::X, normalization, ignore)
    }

    #[test]
    fn filters_of_a_filter_normalised_direction_have_the_norms_of_the_weights() {
        let weights = weights();
        let direction = draw(&weights, Normalization::Filter, Ignore::BiasBn);
        for name in ["conv.weight", "fc.weight"] {
            let len = weights[name].filter_len();
            for (d, w) in direction[name].data().chunks(len).zip(weights[name].data().chunks(len)) {
                assert!((norm(d) - norm(w)).abs() <= 1e-6 * norm(w), "{name}: {} against {}", norm(d), norm(w));
            }
        }
    }

    #[test]
    fn layers_of_a_layer_normalised_direction_have_the_norms_of_the_weights() {
        let weights = weights();
        let direction = draw(&weights, Normalization::Layer, Ignore::BiasBn);
        let (d, w) = (direction["fc.weight"].norm(), weights["fc.weight"].norm());
        assert!((d - w).abs() <= 1e-6 * w);
        let len = weights["fc.weight"].filter_len();
        let first_filter = norm(&direction["fc.weight"].data()[..len]);
        assert!((first_filter - norm(&weights["fc.weight"].data()[..len])).abs() > 1e-3);
    }

    #[test]
    fn unit_filters_and_unit_tensors_have_length_1() {
        let weights = weights();
        let filters = draw(&weights, Normalization::Dfilter, Ignore::BiasBn);
        let tensors = draw(&weights, Normalization::Dlayer, Ignore::BiasBn);
        for name in ["conv.weight", "fc.weight"] {
            for filter in filters[name].data().chunks(weights[name].filter_len()) {
                assert!((norm(filter) - 1.0).abs() <= 1e-6, "{name}: {}", norm(filter));
            }
            assert!((tensors[name].norm() - 1.0).abs() <= 1e-6, "{name}: {}", tensors[name].norm());
        }
        assert!(!filters.contains_key("conv.bias") && !tensors.contains_key("conv.bias"));
    }

    #[test]
    fn weight_normalisation_multiplies_the_draw_entry_by_entry() {
        let weights = weights();
        let plain = draw(&weights, Normalization::None, Ignore::BiasBn);
        let scaled = draw(&weights, Normalization::Weight, Ignore::BiasBn);
        for (i, value) in scaled["fc.weight"].data().iter().enumerate() {
            assert_eq!(*value, plain["fc.weight"].data()[i] * weights["fc.weight"].data()[i]);
        }
    }

    #[test]
    fn biases_stay_or_move_along_themselves() {
        let weights = weights();
        assert!(!draw(&weights, Normalization::Filter, Ignore::BiasBn).contains_key("conv.bias"));
        for normalization in [Normalization::Filter, Normalization::None] {
            assert_eq!(draw(&weights, normalization, Ignore::None)["conv.bias"], weights["conv.bias"]);
        }
    }

    #[test]
    fn a_tensors_draw_does_not_depend_on_the_other_tensors() {
        let all = draw(&weights(), Normalization::Filter, Ignore::BiasBn);
        let mut fewer = weights();
        fewer.remove("conv.weight");
        assert_eq!(draw(&fewer, Normalization::Filter, Ignore::BiasBn)["fc.weight"], all["fc.weight"]);
    }

    #[test]
    fn seeds_axes_and_names_draw_different_numbers() {
        let keys = [
            key(1, DirectionAxis::X, "a"),
            key(2, DirectionAxis::X, "a"),
            key(1, DirectionAxis::Y, "a"),
            key(1, DirectionAxis::X, "b"),
        ];
        for (i, first) in keys.iter().enumerate() {
            for second in &keys[i + 1..] {
                assert_ne!(first, second);
            }
        }
    }
}
