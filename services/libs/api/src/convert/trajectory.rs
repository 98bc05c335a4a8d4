//! Trajectory specifications.

use prost::Message as _;
use relief_core::{
    CheckpointName, DatasetSlice, Digest, DirectionName, Ignore, NetworkId, NumericRequest, RunId, Scheduling, Split,
    SurfaceSpecError, TrajectoryAxes, TrajectorySpec,
};

use crate::catalog::v1 as catalog;
use crate::convert::numerics::{numerics_from_wire, numerics_to_wire};
use crate::convert::surface::{
    also_from_wire, ignore_from_wire, ignore_to_wire, normalization_from_wire, normalization_to_wire, required,
    scheduling_from_wire, scheduling_to_wire, slice_from_wire, slice_to_wire, split_to_wire, within,
};
use crate::error::{ApiError, Violations};
use crate::trajectory::v1;

/// What a request for a trajectory says.
#[derive(Debug, Clone, PartialEq)]
pub struct TrajectoryRequest {
    /// None for the one that the checkpoints belong to.
    pub network: Option<NetworkId>,
    /// At least one.
    pub paths: Vec<PathRequest>,
    /// See [`TrajectorySpec`].
    pub axes: TrajectoryAxes,
    /// See [`TrajectorySpec`].
    pub ignore: Ignore,
    /// See [`TrajectorySpec`].
    pub margin: f64,
    /// See [`TrajectorySpec`].
    pub n_columns: u32,
    /// See [`TrajectorySpec`].
    pub n_rows: u32,
    /// See [`TrajectorySpec`].
    pub data: DatasetSlice,
    /// See [`TrajectorySpec`].
    pub also: Option<Split>,
    /// See [`TrajectorySpec`].
    pub numerics: NumericRequest,
    /// See [`TrajectorySpec`].
    pub scheduling: Scheduling,
}

/// A path that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRequest {
    /// Empty for that of the run, or its place.
    pub name: String,
    /// Its stops.
    pub stops: StopsRequest,
}

/// Which stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopsRequest {
    /// All snapshots of a run.
    Run(RunId),
    /// These.
    Checkpoints(Vec<CheckpointName>),
}

/// The part of the path's extent that is added to the surface on each side, unless it is said.
const MARGIN: f64 = 0.3;
/// The columns and rows of the surface, unless they are said.
const N_POINTS: u32 = 51;

/// Returns what a request asks for, every default filled in that does not depend on what is stored.
///
/// # Errors
/// With every field that is wrong, by its path below `spec`.
pub fn spec_from_wire(spec: Option<v1::TrajectorySpec>) -> Result<TrajectoryRequest, ApiError> {
    let spec = spec.ok_or_else(|| ApiError::field("spec", "missing; say what to compute"))?;
    let mut wrong = Violations::default();
    let network = match spec.network.as_str() {
        "" => Some(None),
        name => wrong.check("spec.network", name.parse()).map(Some),
    };
    if spec.paths.is_empty() {
        wrong.add("spec.paths", "empty; name a run, or checkpoints");
    }
    let n_paths = spec.paths.len();
    let paths: Vec<PathRequest> = spec.paths.into_iter().filter_map(|path| path_from_wire(&mut wrong, path)).collect();
    let axes = axes_from_wire(&mut wrong, spec.axes);
    let ignore = wrong.check("spec.ignore", ignore_from_wire(spec.ignore));
    let margin = within(&mut wrong, "spec.margin", spec.margin.unwrap_or(MARGIN), &TrajectorySpec::MARGINS);
    let mut count = |field, count| {
        let count = if count == 0 { N_POINTS } else { count };
        within(&mut wrong, field, count, &TrajectorySpec::COUNTS)
    };
    let (n_columns, n_rows) = (count("spec.columns", spec.columns), count("spec.rows", spec.rows));
    let data = required(&mut wrong, "spec.data", spec.data, Ok::<_, ApiError>)
        .and_then(|data| slice_from_wire(&mut wrong, "spec.data", data));
    let also = wrong.check("spec.also_split", also_from_wire(spec.also_split));
    if let (Some(data), Some(Some(also))) = (&data, also)
        && data.split == also
    {
        wrong.add("spec.also_split", SurfaceSpecError::SameSplit(also).to_string());
    }
    let numerics = numerics_from_wire(&mut wrong, "spec.numerics", spec.numerics);
    let scheduling = scheduling_from_wire(&mut wrong, spec.scheduling.unwrap_or_default());
    let request = (|| {
        Some(TrajectoryRequest {
            network: network?,
            paths: Some(paths).filter(|paths| paths.len() == n_paths)?,
            axes: axes?,
            ignore: ignore?,
            margin: margin?,
            n_columns: n_columns?,
            n_rows: n_rows?,
            data: data?,
            also: also?,
            numerics: numerics?,
            scheduling: scheduling?,
        })
    })();
    wrong.finish(request)
}

fn path_from_wire(wrong: &mut Violations, path: v1::Path) -> Option<PathRequest> {
    let stops = match (path.run.as_str(), path.checkpoints.as_slice()) {
        ("", []) => {
            wrong.add("spec.paths", "a path is empty; name a run, or checkpoints");
            None
        }
        ("", checkpoints) => {
            let read = |name: &String| wrong.check("spec.paths.checkpoints", name.parse());
            let names: Vec<CheckpointName> = checkpoints.iter().filter_map(read).collect();
            (names.len() == checkpoints.len()).then_some(StopsRequest::Checkpoints(names))
        }
        (run, []) => wrong.check("spec.paths.run", run.parse()).map(StopsRequest::Run),
        _ => {
            wrong.add("spec.paths.run", "given beside checkpoints; name either a run or its checkpoints");
            None
        }
    };
    stops.map(|stops| PathRequest { name: path.name, stops })
}

fn axes_from_wire(wrong: &mut Violations, axes: Option<v1::Axes>) -> Option<TrajectoryAxes> {
    use v1::axes::Kind;
    let plain = TrajectoryAxes::Pca { centered: false, of_all: false };
    let Some(axes) = axes else { return Some(plain) };
    let mut drawn = |field: &str, drawn: v1::DrawnAxes| {
        let normalization = wrong.check(field, normalization_from_wire(drawn.normalization))?;
        Some((drawn.seed, normalization))
    };
    match axes.kind {
        None => Some(plain),
        Some(Kind::Pca(v1::PcaAxes { centered, of_all })) => Some(TrajectoryAxes::Pca { centered, of_all }),
        Some(Kind::Random(axes)) => drawn("spec.axes.random.normalization", axes)
            .map(|(seed, normalization)| TrajectoryAxes::Random { seed, normalization }),
        Some(Kind::StartEnd(axes)) => drawn("spec.axes.start_end.normalization", axes)
            .map(|(seed, normalization)| TrajectoryAxes::StartEnd { seed, normalization }),
        Some(Kind::Given(v1::GivenAxes { x, y })) => {
            let x = wrong.check("spec.axes.given.x", x.parse::<DirectionName>());
            let y = wrong.check("spec.axes.given.y", y.parse::<DirectionName>());
            Some(TrajectoryAxes::Directions { x: x?.0, y: y?.0 })
        }
    }
}

/// Returns what tells a request from one with another content.
#[must_use]
pub fn request_digest(request: &v1::CreateTrajectoryRequest) -> Digest {
    // Equal messages are equal bytes: they hold no map.
    Digest::of(&request.encode_to_vec())
}

/// Returns the specification as a message.
#[must_use]
pub fn spec_to_wire(spec: &TrajectorySpec) -> v1::TrajectorySpec {
    let path = |path: &relief_core::PathSpec| v1::Path {
        name: path.name.clone(),
        run: String::new(),
        checkpoints: path.stops.iter().map(|stop| stop.checkpoint.to_string()).collect(),
    };
    v1::TrajectorySpec {
        network: spec.network.to_string(),
        paths: spec.paths.iter().map(path).collect(),
        axes: Some(axes_to_wire(&spec.axes)),
        ignore: ignore_to_wire(spec.ignore).into(),
        margin: Some(spec.margin),
        columns: spec.n_columns,
        rows: spec.n_rows,
        data: Some(slice_to_wire(&spec.data)),
        also_split: spec.also.map_or(catalog::Split::Unspecified, split_to_wire).into(),
        numerics: numerics_to_wire(spec.numerics),
        scheduling: Some(scheduling_to_wire(&spec.scheduling)),
    }
}

/// Returns what a message says of axes; none where this version does not know it.
#[must_use]
pub fn axes_from_message(axes: v1::Axes) -> Option<TrajectoryAxes> {
    axes_from_wire(&mut Violations::default(), Some(axes))
}

/// The word for what a message says of vector-like tensors.
#[must_use]
pub fn ignore_word(number: i32) -> &'static str {
    match ignore_from_wire(number) {
        Ok(Ignore::BiasBn) => "bias_bn",
        Ok(Ignore::None) => "none",
        Err(_) => "unknown",
    }
}

/// Returns the axes as a message.
#[must_use]
pub fn axes_to_wire(axes: &TrajectoryAxes) -> v1::Axes {
    use v1::axes::Kind;
    let drawn =
        |seed, normalization| v1::DrawnAxes { seed, normalization: normalization_to_wire(normalization).into() };
    let kind = match *axes {
        TrajectoryAxes::Pca { centered, of_all } => Kind::Pca(v1::PcaAxes { centered, of_all }),
        TrajectoryAxes::Random { seed, normalization } => Kind::Random(drawn(seed, normalization)),
        TrajectoryAxes::StartEnd { seed, normalization } => Kind::StartEnd(drawn(seed, normalization)),
        TrajectoryAxes::Directions { x, y } => {
            Kind::Given(v1::GivenAxes { x: DirectionName(x).to_string(), y: DirectionName(y).to_string() })
        }
    };
    v1::Axes { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use relief_core::Normalization;

    use super::*;
    use crate::surface::v1::DatasetSlice as DatasetSliceMessage;

    fn good() -> v1::TrajectorySpec {
        let run = v1::Path { run: "runs/r".to_owned(), ..v1::Path::default() };
        let data = Some(DatasetSliceMessage { dataset: "d".to_owned(), ..DatasetSliceMessage::default() });
        v1::TrajectorySpec { paths: vec![run], data, ..v1::TrajectorySpec::default() }
    }

    fn fields(spec: v1::TrajectorySpec) -> Vec<String> {
        let error = spec_from_wire(Some(spec)).expect_err("wrong fields");
        error.violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_run_is_enough() {
        let request = spec_from_wire(Some(good())).expect("a good request");
        assert_eq!(request.axes, TrajectoryAxes::Pca { centered: false, of_all: false });
        assert_eq!((request.margin, request.n_columns, request.n_rows), (0.3, 51, 51));
        assert_eq!((request.ignore, request.data.split), (Ignore::BiasBn, Split::Train));
        assert_eq!(request.paths[0].stops, StopsRequest::Run("r".parse().expect("a name")));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let both = v1::Path { run: "r".to_owned(), checkpoints: vec!["a".to_owned()], ..v1::Path::default() };
        let drawn = v1::DrawnAxes { seed: 1, normalization: 77 };
        let wrong = v1::TrajectorySpec {
            network: "../x".to_owned(),
            paths: vec![both, v1::Path::default()],
            axes: Some(v1::Axes { kind: Some(v1::axes::Kind::Random(drawn)) }),
            margin: Some(f64::NAN),
            columns: 1,
            also_split: 1,
            ..good()
        };
        assert_eq!(
            fields(wrong),
            [
                "spec.network",
                "spec.paths.run",
                "spec.paths",
                "spec.axes.random.normalization",
                "spec.margin",
                "spec.columns",
                "spec.also_split"
            ]
        );
        assert_eq!(fields(v1::TrajectorySpec { paths: Vec::new(), ..good() }), ["spec.paths"]);
    }

    #[test]
    fn axes_survive_the_wire() {
        let (seed, normalization) = (7, Normalization::Layer);
        for axes in [
            TrajectoryAxes::Pca { centered: true, of_all: true },
            TrajectoryAxes::Random { seed, normalization },
            TrajectoryAxes::StartEnd { seed, normalization },
            TrajectoryAxes::Directions { x: Digest::of(b"x"), y: Digest::of(b"y") },
        ] {
            let mut wrong = Violations::default();
            assert_eq!(axes_from_wire(&mut wrong, Some(axes_to_wire(&axes))), Some(axes));
        }
    }
}
