//! What a trajectory is asked to be.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::direction::{Ignore, Normalization};
use crate::name::{CheckpointName, NetworkId};
use crate::numerics::NumericRequest;
use crate::spec::{DatasetSlice, Scheduling, Split};

/// Everything that a trajectory depends on, every default filled in; stored with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrajectorySpec {
    /// The network that all checkpoints belong to.
    pub network: NetworkId,
    /// The paths that are projected into one plane. The first is the main one: its last stop is the origin, theta_n.
    pub paths: Vec<PathSpec>,
    /// The plane.
    pub axes: TrajectoryAxes,
    /// Whether vector-like tensors (rank <= 1) are left out of every row, as if they never moved.
    pub ignore: Ignore,
    /// What the fitted surface has on each side of the paths, as a share of their extent along that axis; within
    /// [`TrajectorySpec::MARGINS`].
    pub margin: f64,
    /// The points of the fitted surface along its first axis, within [`TrajectorySpec::COUNTS`].
    pub n_columns: u32,
    /// The points of the fitted surface along its second axis, within [`TrajectorySpec::COUNTS`].
    pub n_rows: u32,
    /// The samples that losses are means over.
    pub data: DatasetSlice,
    /// A second split of the dataset, evaluated in the same pass with the same limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<Split>,
    /// What it is to be computed in.
    #[serde(default, skip_serializing_if = "NumericRequest::is_open")]
    pub numerics: NumericRequest,
    /// Whose it is and how urgent; has no effect on any value.
    #[serde(default)]
    pub scheduling: Scheduling,
}

/// The checkpoints that an optimiser came by, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathSpec {
    /// What it is called where it is drawn.
    pub name: String,
    /// Its checkpoints.
    pub stops: Vec<Stop>,
}

/// A checkpoint on a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Its name.
    pub checkpoint: CheckpointName,
    /// The digest of its safetensors file.
    pub digest: Digest,
    /// The number of epochs trained, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The learning rate of that epoch, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

/// Which plane a trajectory is projected into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrajectoryAxes {
    /// The two leading principal directions of the rows.
    Pca {
        /// Whether the mean row is subtracted first, the zero row of the origin included, as scikit-learn does; the
        /// paper's text does not.
        centered: bool,
        /// Whether the stops of all paths are the rows, or those of the main one.
        of_all: bool,
    },
    /// Two drawn directions.
    Random {
        /// The seed of both.
        seed: u64,
        /// How they are scaled against the weights of the origin.
        normalization: Normalization,
    },
    /// From the origin to the first stop of the main path, and one drawn direction.
    StartEnd {
        /// The seed of the drawn one, which is that of the axis `y`.
        seed: u64,
        /// How it is scaled against the weights of the origin.
        normalization: Normalization,
    },
    /// Two stored directions, as they are.
    Directions {
        /// The digest of the first one's safetensors file.
        x: Digest,
        /// The digest of the second one's.
        y: Digest,
    },
}

/// Why a trajectory's specification contradicts itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrajectorySpecError {
    /// No path.
    #[error("paths: there is none; a trajectory has at least one path")]
    NoPaths,
    /// A path without a stop.
    #[error("paths: path {idx}, `{name}`, has no stops; name at least one checkpoint")]
    NoStops {
        /// Its index.
        idx: usize,
        /// Its name.
        name: String,
    },
    /// A main path that spans no plane.
    #[error("paths: the main path has {n_stops} stops; {axes} takes at least {min}")]
    ShortPath {
        /// The number of its stops.
        n_stops: usize,
        /// What the axes are.
        axes: &'static str,
        /// How many there must be.
        min: usize,
    },
    /// More checkpoints than the Gram matrix is made for.
    #[error("paths: {n_stops} stops in all; there may be up to {}, so leave out epochs", TrajectorySpec::MAX_STOPS)]
    TooManyStops {
        /// The number of stops of all paths.
        n_stops: usize,
    },
    /// A main path that does not move.
    #[error("paths: all {n_stops} stops of the main path are the same checkpoint; name different ones")]
    Standstill {
        /// The number of its stops.
        n_stops: usize,
    },
    /// A learning rate that is no number.
    #[error("rate: {rate} at {checkpoint} is not a finite number; leave it out where it is not known")]
    Rate {
        /// The checkpoint of the stop.
        checkpoint: CheckpointName,
        /// The rate given.
        rate: f64,
    },
    /// The same direction twice.
    #[error("axes: x and y are the same direction {0}; a plane takes two")]
    SameDirection(Digest),
    /// A margin out of bounds.
    #[error("margin: {0} is out of bounds; it must be 0 to 10, the share of the path's extent on each side")]
    Margin(f64),
    /// A number of points out of bounds.
    #[error("{field}: {count} is out of bounds; it must be 2 to 4096")]
    Count {
        /// The field, as in [`TrajectorySpec`].
        field: &'static str,
        /// The count given.
        count: u32,
    },
    /// No samples.
    #[error("limit: a sample limit of 0 leaves nothing to evaluate; leave it out for all samples")]
    NoSamples,
    /// One split twice.
    #[error("also: the {} split is evaluated already; name the other one, or none", .0.as_str())]
    SameSplit(Split),
}

impl TrajectorySpec {
    /// The stops that there may be, of all paths together.
    pub const MAX_STOPS: usize = 2000;
    /// The margins that there are.
    pub const MARGINS: RangeInclusive<f64> = 0.0..=10.0;
    /// The numbers of points along an axis that there are.
    pub const COUNTS: RangeInclusive<u32> = 2..=4096;

    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// When there is no path or one without stops; the main path has fewer than two stops, fewer than three with
    /// principal directions, or only one checkpoint again and again; there are more than [`TrajectorySpec::MAX_STOPS`]
    /// stops; a rate is not finite; both directions are the same; a margin or a count is out of bounds; the sample
    /// limit is 0; or one split is named twice.
    pub fn validate(&self) -> Result<(), TrajectorySpecError> {
        self.validate_paths()?;
        if let TrajectoryAxes::Directions { x, y } = &self.axes
            && x == y
        {
            return Err(TrajectorySpecError::SameDirection(*x));
        }
        if !Self::MARGINS.contains(&self.margin) {
            return Err(TrajectorySpecError::Margin(self.margin));
        }
        for (field, count) in [("n_columns", self.n_columns), ("n_rows", self.n_rows)] {
            if !Self::COUNTS.contains(&count) {
                return Err(TrajectorySpecError::Count { field, count });
            }
        }
        if self.data.limit == Some(0) {
            return Err(TrajectorySpecError::NoSamples);
        }
        match self.also {
            Some(split) if split == self.data.split => Err(TrajectorySpecError::SameSplit(split)),
            _ => Ok(()),
        }
    }

    fn validate_paths(&self) -> Result<(), TrajectorySpecError> {
        let Some(main) = self.paths.first() else { return Err(TrajectorySpecError::NoPaths) };
        if let Some((idx, path)) = self.paths.iter().enumerate().find(|(_, path)| path.stops.is_empty()) {
            return Err(TrajectorySpecError::NoStops { idx, name: path.name.clone() });
        }
        let n_stops = main.stops.len();
        let (axes, min) = match self.axes {
            TrajectoryAxes::Pca { .. } => ("a plane of principal directions", 3),
            _ => ("a path", 2),
        };
        if n_stops < min {
            return Err(TrajectorySpecError::ShortPath { n_stops, axes, min });
        }
        if self.n_stops() > Self::MAX_STOPS {
            return Err(TrajectorySpecError::TooManyStops { n_stops: self.n_stops() });
        }
        if main.stops.iter().all(|stop| stop.digest == main.stops[0].digest) {
            return Err(TrajectorySpecError::Standstill { n_stops });
        }
        for (_, stop) in self.stops() {
            if let Some(rate) = stop.rate.filter(|rate| !rate.is_finite()) {
                return Err(TrajectorySpecError::Rate { checkpoint: stop.checkpoint.clone(), rate });
            }
        }
        Ok(())
    }

    /// The index of the origin among [`TrajectorySpec::stops`]: the last stop of the main path.
    #[must_use]
    pub fn origin_idx(&self) -> usize {
        self.n_main_stops().saturating_sub(1)
    }

    /// The last stop of the main path, relative to which everything is: theta_n, at (0, 0).
    ///
    /// # Panics
    /// When there is none, which [`TrajectorySpec::validate`] refuses.
    #[must_use]
    pub fn origin_stop(&self) -> &Stop {
        &self.paths[0].stops[self.origin_idx()]
    }

    /// The checkpoint of the last stop of the main path.
    ///
    /// # Panics
    /// When there is none, which [`TrajectorySpec::validate`] refuses.
    #[must_use]
    pub fn origin(&self) -> &CheckpointName {
        &self.origin_stop().checkpoint
    }

    /// The number of stops of the main path.
    #[must_use]
    pub fn n_main_stops(&self) -> usize {
        self.paths.first().map_or(0, |path| path.stops.len())
    }

    /// The number of stops of all paths, each of which is a row of the Gram matrix.
    #[must_use]
    pub fn n_stops(&self) -> usize {
        self.paths.iter().map(|path| path.stops.len()).sum()
    }

    /// The stops of all paths, each with the index of its path: the rows of the Gram matrix in order.
    pub fn stops(&self) -> impl Iterator<Item = (usize, &Stop)> {
        self.paths.iter().enumerate().flat_map(|(idx, path)| path.stops.iter().map(move |stop| (idx, stop)))
    }

    /// The number of directions that are rows of the Gram matrix after all stops.
    #[must_use]
    pub fn n_directions(&self) -> usize {
        match self.axes {
            TrajectoryAxes::Pca { .. } => 0,
            TrajectoryAxes::StartEnd { .. } => 1,
            TrajectoryAxes::Random { .. } | TrajectoryAxes::Directions { .. } => 2,
        }
    }

    /// The number of rows of the Gram matrix.
    #[must_use]
    pub fn n_gram_rows(&self) -> usize {
        self.n_stops() + self.n_directions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(epoch: u32) -> Stop {
        let checkpoint = CheckpointName::Snapshot { run: "r".parse().expect("an id"), epoch };
        Stop { checkpoint, digest: Digest::of(&epoch.to_le_bytes()), epoch: Some(epoch), rate: Some(0.1) }
    }

    fn spec() -> TrajectorySpec {
        TrajectorySpec {
            network: "net".parse().expect("an id"),
            paths: vec![PathSpec { name: "main".to_owned(), stops: (0..4).map(stop).collect() }],
            axes: TrajectoryAxes::Pca { centered: false, of_all: false },
            ignore: Ignore::BiasBn,
            margin: 0.2,
            n_columns: 51,
            n_rows: 51,
            data: DatasetSlice { dataset: "data".parse().expect("an id"), split: Split::Train, limit: None },
            also: Some(Split::Test),
            numerics: NumericRequest::default(),
            scheduling: Scheduling::default(),
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_field() {
        assert_eq!(spec().validate(), Ok(()));
        let start_end = TrajectoryAxes::StartEnd { seed: 1, normalization: Normalization::Filter };
        let digest = Digest::of(b"x");
        let refused = |change: &dyn Fn(&mut TrajectorySpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.validate().expect_err("a contradiction").to_string()
        };
        for (error, words) in [
            (refused(&|spec| spec.paths.clear()), "paths: there is none"),
            (
                refused(&|spec| spec.paths.push(PathSpec { name: "b".to_owned(), stops: vec![] })),
                "paths: path 1, `b`, has no stops",
            ),
            (refused(&|spec| spec.paths[0].stops.truncate(2)), "has 2 stops; a plane of principal directions takes"),
            (
                refused(&|spec| {
                    spec.axes = start_end.clone();
                    spec.paths[0].stops.truncate(1);
                }),
                "has 1 stops; a path takes at least 2",
            ),
            (refused(&|spec| spec.paths[0].stops = (0..2001).map(stop).collect()), "paths: 2001 stops in all"),
            (refused(&|spec| spec.paths[0].stops = vec![stop(1); 3]), "paths: all 3 stops of the main path are"),
            (refused(&|spec| spec.paths[0].stops[1].rate = Some(f64::NAN)), "rate: NaN at runs/r/snapshots/1"),
            (
                refused(&|spec| spec.axes = TrajectoryAxes::Directions { x: digest, y: digest }),
                "axes: x and y are the same",
            ),
            (refused(&|spec| spec.margin = -0.1), "margin: -0.1 is out of bounds; it must be 0 to 10"),
            (refused(&|spec| spec.margin = f64::NAN), "margin: NaN"),
            (refused(&|spec| spec.n_columns = 1), "n_columns: 1 is out of bounds; it must be 2 to 4096"),
            (refused(&|spec| spec.n_rows = 4097), "n_rows: 4097"),
            (refused(&|spec| spec.data.limit = Some(0)), "limit: a sample limit of 0"),
            (refused(&|spec| spec.also = Some(Split::Train)), "also: the train split is evaluated already"),
        ] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn stops_are_counted_over_all_paths() {
        let mut spec = spec();
        spec.paths.push(PathSpec { name: "b".to_owned(), stops: vec![stop(7)] });
        let stops: Vec<(usize, u32)> = spec.stops().map(|(path, stop)| (path, stop.epoch.expect("an epoch"))).collect();
        assert_eq!(stops, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 7)]);
        assert_eq!((spec.n_stops(), spec.n_main_stops(), spec.origin_idx(), spec.n_gram_rows()), (5, 4, 3, 5));
        assert_eq!(spec.origin().to_string(), "runs/r/snapshots/3");
        spec.axes = TrajectoryAxes::StartEnd { seed: 1, normalization: Normalization::Filter };
        assert_eq!((spec.n_directions(), spec.n_gram_rows()), (1, 6));
    }

    #[test]
    fn a_specification_survives_its_json() {
        let json = serde_json::to_string(&spec()).expect("json");
        assert!(json.contains(r#""axes":{"pca":{"centered":false,"of_all":false}}"#), "{json}");
        assert_eq!(serde_json::from_str::<TrajectorySpec>(&json).expect("a specification"), spec());
    }
}
