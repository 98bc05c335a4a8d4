//! What a surface is asked to be.

use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::axis::Grid;
use crate::digest::Digest;
use crate::direction::{Ignore, Normalization};
use crate::name::{CheckpointName, ClientId, DatasetId, NetworkId};
use crate::numerics::{Engine, NumericRequest, OrAuto, Precision};
use crate::plane::BatchNormMode;
use crate::tile::TileShape;

/// Everything that a surface's values depend on, every default filled in; stored with the surface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SurfaceSpec {
    /// The network that is evaluated.
    pub network: NetworkId,
    /// Where in parameter space.
    pub plane: Plane,
    /// At which points.
    pub grid: Grid,
    /// On which samples.
    pub data: DatasetSlice,
    /// A second split of the dataset, evaluated in the same pass with the same limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<Split>,
    /// In pieces of which shape; has no effect on any value.
    pub tile: TileShape,
    /// Whether every point is computed, even those that other surfaces have; has no effect on any value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// Whose it is and how urgent; has no effect on any value.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// What it is to be computed in; the class that was chosen stands beside the specification.
    #[serde(default, skip_serializing_if = "NumericRequest::is_open")]
    pub numerics: NumericRequest,
}

/// Whose a job is, and how it shares the evaluators with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// Who asks: clients share the evaluators, whatever the number of their jobs.
    pub client: ClientId,
    /// Higher comes first among the jobs of the same client, within [`Scheduling::PRIORITIES`].
    pub priority: i32,
    /// The part among the jobs of the same client and priority, within [`Scheduling::WEIGHTS`].
    pub weight: u32,
}

impl Scheduling {
    /// The priorities that there are.
    pub const PRIORITIES: RangeInclusive<i32> = -100..=100;
    /// The weights that there are.
    pub const WEIGHTS: RangeInclusive<u32> = 1..=1000;
}

impl Default for Scheduling {
    /// That of a job about which nothing was said: of the client `default`, with priority 0 and weight 1.
    fn default() -> Self {
        Self { client: ClientId::default(), priority: 0, weight: 1 }
    }
}

/// An origin and the one or two directions that span a line or a plane from there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plane {
    /// The parameters at coefficients (0, 0).
    pub origin: CheckpointName,
    /// The direction of the first axis.
    pub x: DirectionSpec,
    /// The direction of the second axis; none for a curve.
    pub y: Option<DirectionSpec>,
    /// What batch normalisations go by.
    #[serde(default)]
    pub batch_norm: BatchNormMode,
}

impl Plane {
    /// The directions, x first.
    pub fn directions(&self) -> impl Iterator<Item = &DirectionSpec> {
        std::iter::once(&self.x).chain(&self.y)
    }
}

/// Where a direction comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionSpec {
    /// Drawn from a seed (see [`crate::random_direction`]).
    Random {
        /// The seed; the two axes of a plane draw different numbers from the same one.
        seed: u64,
        /// How it is scaled against the weights.
        normalization: Normalization,
        /// What it does with vector-like tensors.
        ignore: Ignore,
    },
    /// Given as a file, and used as it is: nothing is scaled, nothing ignored, and a tensor that it does not name does
    /// not move.
    Stored {
        /// The digest of the safetensors file, by which it is known.
        digest: Digest,
    },
    /// To another checkpoint, which lies at coefficient 1: nothing is scaled, nothing ignored.
    Towards {
        /// The other checkpoint.
        checkpoint: CheckpointName,
    },
}

/// The samples that a loss is a mean over, in stored order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSlice {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its training or its test samples.
    pub split: Split,
    /// Only the first so many samples; none for all.
    pub limit: Option<u64>,
}

/// What logits are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceSpec {
    /// The network; none for the one that the checkpoint belongs to.
    pub network: Option<NetworkId>,
    /// The parameters.
    pub checkpoint: CheckpointName,
    /// On which samples.
    pub data: DatasetSlice,
    /// What they are to be computed in.
    pub numerics: NumericRequest,
}

/// A part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The samples that networks are trained on.
    #[default]
    Train,
    /// The samples held out.
    Test,
}

impl Split {
    /// The word in flags, files and paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Why a surface's specification contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SurfaceSpecError {
    /// An axis without a direction, or a direction without an axis.
    #[error("an axis and a direction must come together on y: give both for a surface, neither for a curve")]
    UnmatchedAxis,
    /// No samples.
    #[error("a sample limit of 0 leaves nothing to evaluate; leave it out for all samples")]
    NoSamples,
    /// One split twice.
    #[error("the {} split is evaluated already; name the other one, or none", .0.as_str())]
    SameSplit(Split),
}

impl SurfaceSpec {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// When the grid and the plane have different numbers of axes, the sample limit is 0, or one split is named twice.
    pub fn validate(&self) -> Result<(), SurfaceSpecError> {
        if self.grid.y.is_some() != self.plane.y.is_some() {
            return Err(SurfaceSpecError::UnmatchedAxis);
        }
        if self.data.limit == Some(0) {
            return Err(SurfaceSpecError::NoSamples);
        }
        match self.also {
            Some(split) if split == self.data.split => Err(SurfaceSpecError::SameSplit(split)),
            _ => Ok(()),
        }
    }
}

/// A word that is not one of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of {expected}")]
pub struct UnknownWord {
    word: String,
    expected: &'static str,
}

macro_rules! words {
    ($type:ty, $expected:literal, $($word:literal => $value:expr),+) => {
        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok($value),)+
                    _ => Err(UnknownWord { word: word.to_owned(), expected: $expected }),
                }
            }
        }
    };
}

words!(Split, "train, test", "train" => Self::Train, "test" => Self::Test);
words!(Ignore, "bias_bn, none", "bias_bn" => Self::BiasBn, "none" => Self::None);
words!(Normalization, "filter, layer, weight, dfilter, dlayer, none",
    "filter" => Self::Filter, "layer" => Self::Layer, "weight" => Self::Weight,
    "dfilter" => Self::Dfilter, "dlayer" => Self::Dlayer, "none" => Self::None);
words!(Engine, "cpu, burn", "cpu" => Self::Cpu, "burn" => Self::Burn);
words!(Precision, "f32, split-bf16, bf16",
    "f32" => Self::F32, "split-bf16" => Self::SplitBf16, "bf16" => Self::Bf16);
words!(OrAuto<Engine>, "auto, cpu, burn",
    "auto" => Self(None), "cpu" => Self(Some(Engine::Cpu)), "burn" => Self(Some(Engine::Burn)));
words!(OrAuto<Precision>, "auto, f32, split-bf16, bf16",
    "auto" => Self(None), "f32" => Self(Some(Precision::F32)), "split-bf16" => Self(Some(Precision::SplitBf16)),
    "bf16" => Self(Some(Precision::Bf16)));
words!(BatchNormMode, "frozen, interpolated, recomputed",
    "frozen" => Self::Frozen, "interpolated" => Self::Interpolated, "recomputed" => Self::Recomputed);
