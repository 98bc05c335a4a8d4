//! Surface specifications.

use std::ops::RangeInclusive;

use prost::Message as _;
use relief_core::{
    Axis, AxisError, AxisGeometry, BatchNormMode, CheckpointName, ClientId, DatasetSlice, Digest, DirectionName,
    DirectionSpec, Grid, Ignore, NetworkId, Normalization, NumericRequest, Plane, PlaneGeometry, Scheduling, Split,
    SurfaceSpec, SurfaceSpecError, TileShape,
};

use crate::catalog::v1 as catalog;
use crate::convert::UnknownNumber;
use crate::convert::numerics::{numerics_from_wire, numerics_to_wire};
use crate::error::{ApiError, Violations};
use crate::surface::v1;

/// What a request for a surface says.
#[derive(Debug, Clone, PartialEq)]
pub struct SurfaceRequest {
    /// None for the one that the origin belongs to.
    pub network: Option<NetworkId>,
    /// See [`SurfaceSpec`].
    pub plane: Plane,
    /// See [`SurfaceSpec`].
    pub grid: Grid,
    /// See [`SurfaceSpec`].
    pub data: DatasetSlice,
    /// See [`SurfaceSpec`].
    pub also: Option<Split>,
    /// See [`SurfaceSpec`].
    pub tile: TileShape,
    /// See [`SurfaceSpec`].
    pub fresh: bool,
    /// See [`SurfaceSpec`].
    pub scheduling: Scheduling,
    /// See [`SurfaceSpec`].
    pub numerics: NumericRequest,
}

impl SurfaceRequest {
    /// The specification of the surface that was asked for, of `network`.
    #[must_use]
    pub fn of(self, network: NetworkId) -> SurfaceSpec {
        let Self { network: _, plane, grid, data, also, tile, fresh, scheduling, numerics } = self;
        SurfaceSpec { network, plane, grid, data, also, tile, fresh, scheduling, numerics }
    }
}

/// Returns what a request asks for, every default filled in.
///
/// # Errors
/// With every field that is wrong, by its path below `spec`.
pub fn spec_from_wire(spec: Option<v1::SurfaceSpec>) -> Result<SurfaceRequest, ApiError> {
    let spec = spec.ok_or_else(|| ApiError::field("spec", "missing; say what to compute"))?;
    let mut wrong = Violations::default();

    let network = match spec.network.as_str() {
        "" => Some(None),
        name => wrong.check("spec.network", name.parse()).map(Some),
    };
    let x = required(&mut wrong, "spec.x", spec.x, axis_from_wire);
    let y = optional(&mut wrong, "spec.y", spec.y, axis_from_wire);
    let plane = required(&mut wrong, "spec.plane", spec.plane, Ok::<_, ApiError>)
        .and_then(|plane| plane_from_wire(&mut wrong, plane));
    let data = required(&mut wrong, "spec.data", spec.data, Ok::<_, ApiError>)
        .and_then(|data| slice_from_wire(&mut wrong, "spec.data", data));
    let tile = optional(&mut wrong, "spec.tile", spec.tile, |t| TileShape::new(t.rows, t.columns));
    let also = wrong.check("spec.also_split", also_from_wire(spec.also_split));
    let scheduling = scheduling_from_wire(&mut wrong, spec.scheduling.unwrap_or_default());
    let numerics = numerics_from_wire(&mut wrong, "spec.numerics", spec.numerics);

    let request = (|| {
        let grid = Grid { x: x?, y: y? };
        let tile = tile?.unwrap_or_else(|| TileShape::default_for(&grid)).within(&grid);
        let fresh = spec.fresh;
        Some(SurfaceRequest {
            network: network?,
            plane: plane?,
            grid,
            data: data?,
            also: also?,
            tile,
            fresh,
            scheduling: scheduling?,
            numerics: numerics?,
        })
    })();
    if let Some(request) = &request {
        if request.grid.y.is_some() != request.plane.y.is_some() {
            wrong.add("spec.y", SurfaceSpecError::UnmatchedAxis.to_string());
        }
        if request.also == Some(request.data.split) {
            wrong.add("spec.also_split", SurfaceSpecError::SameSplit(request.data.split).to_string());
        }
    }
    wrong.finish(request)
}

/// Returns what tells a request from one with another content.
#[must_use]
pub fn request_digest(request: &v1::CreateSurfaceRequest) -> Digest {
    // Equal messages are equal bytes: they hold no map.
    Digest::of(&request.encode_to_vec())
}

/// Returns the specification as a message.
#[must_use]
pub fn spec_to_wire(spec: &SurfaceSpec) -> v1::SurfaceSpec {
    v1::SurfaceSpec {
        network: spec.network.to_string(),
        plane: Some(v1::Plane {
            origin: spec.plane.origin.to_string(),
            x: Some(direction_to_wire(&spec.plane.x)),
            y: spec.plane.y.as_ref().map(direction_to_wire),
            batch_norm: batch_norm_to_wire(spec.plane.batch_norm).into(),
        }),
        x: Some(axis_to_wire(spec.grid.x)),
        y: spec.grid.y.map(axis_to_wire),
        data: Some(slice_to_wire(&spec.data)),
        tile: Some(v1::TileShape { rows: spec.tile.rows, columns: spec.tile.columns }),
        also_split: spec.also.map_or(catalog::Split::Unspecified, split_to_wire).into(),
        fresh: spec.fresh,
        scheduling: Some(scheduling_to_wire(&spec.scheduling)),
        numerics: numerics_to_wire(spec.numerics),
    }
}

pub(super) fn scheduling_from_wire(wrong: &mut Violations, scheduling: v1::Scheduling) -> Option<Scheduling> {
    let client = match scheduling.client.as_str() {
        "" => Some(ClientId::default()),
        client => wrong.check("spec.scheduling.client", client.parse()),
    };
    let priority = within(wrong, "spec.scheduling.priority", scheduling.priority, &Scheduling::PRIORITIES);
    // 0 is what a message has that says nothing.
    let weight = if scheduling.weight == 0 { 1 } else { scheduling.weight };
    let weight = within(wrong, "spec.scheduling.weight", weight, &Scheduling::WEIGHTS);
    Some(Scheduling { client: client?, priority: priority?, weight: weight? })
}

pub(super) fn scheduling_to_wire(scheduling: &Scheduling) -> v1::Scheduling {
    v1::Scheduling {
        client: scheduling.client.as_str().to_owned(),
        priority: scheduling.priority,
        weight: scheduling.weight,
    }
}

pub(super) fn slice_to_wire(data: &DatasetSlice) -> v1::DatasetSlice {
    v1::DatasetSlice { dataset: data.dataset.to_string(), split: split_to_wire(data.split).into(), limit: data.limit }
}

pub(super) fn within<T: Copy + PartialOrd + std::fmt::Display>(
    wrong: &mut Violations,
    field: &str,
    value: T,
    range: &RangeInclusive<T>,
) -> Option<T> {
    if range.contains(&value) {
        return Some(value);
    }
    wrong.add(field, format!("{value} is not from {} to {}", range.start(), range.end()));
    None
}

/// Returns how the axes of a plane lie as a message.
#[must_use]
pub fn geometry_to_wire(geometry: &PlaneGeometry) -> v1::PlaneGeometry {
    let axis = |axis: &AxisGeometry| {
        let tensors = axis.tensors.iter().map(|norms| v1::TensorNorms {
            name: norms.name.clone(),
            direction: norms.direction,
            weights: norms.weights,
        });
        v1::AxisGeometry { norm: axis.norm, tensors: tensors.collect() }
    };
    v1::PlaneGeometry { cosine: geometry.cosine, axes: geometry.axes.iter().map(axis).collect() }
}

pub(super) fn required<W, T, E: std::fmt::Display>(
    wrong: &mut Violations,
    field: &str,
    value: Option<W>,
    convert: impl FnOnce(W) -> Result<T, E>,
) -> Option<T> {
    match value {
        Some(value) => wrong.check(field, convert(value)),
        None => {
            wrong.add(field, "missing; it must be given");
            None
        }
    }
}

/// Returns the outer none when the value is wrong, the inner one when it is absent.
#[allow(clippy::option_option, reason = "wrong and absent are different things here")]
fn optional<W, T, E: std::fmt::Display>(
    wrong: &mut Violations,
    field: &str,
    value: Option<W>,
    convert: impl FnOnce(W) -> Result<T, E>,
) -> Option<Option<T>> {
    match value {
        Some(value) => wrong.check(field, convert(value)).map(Some),
        None => Some(None),
    }
}

fn axis_from_wire(axis: v1::Axis) -> Result<Axis, AxisError> {
    Axis::new(axis.min, axis.max, axis.count)
}

/// Returns the axis as a message.
#[must_use]
pub fn axis_to_wire(axis: Axis) -> v1::Axis {
    v1::Axis { min: axis.min(), max: axis.max(), count: axis.count() }
}

fn plane_from_wire(wrong: &mut Violations, plane: v1::Plane) -> Option<Plane> {
    let origin = wrong.check("spec.plane.origin", plane.origin.parse());
    let x = required(wrong, "spec.plane.x", plane.x, Ok::<_, ApiError>)
        .and_then(|x| wrong.check_message("spec.plane.x", direction_from_wire(x)));
    let y = match plane.y {
        Some(y) => wrong.check_message("spec.plane.y", direction_from_wire(y)).map(Some),
        None => Some(None),
    };
    let batch_norm = wrong.check("spec.plane.batch_norm", batch_norm_from_wire(plane.batch_norm));
    let (x, y) = (x?, y?);
    let is_towards = |direction: &DirectionSpec| matches!(direction, DirectionSpec::Towards { .. });
    let default = match std::iter::once(&x).chain(&y).any(is_towards) {
        true => BatchNormMode::Interpolated,
        false => BatchNormMode::Frozen,
    };
    Some(Plane { origin: origin?, x, y, batch_norm: batch_norm?.unwrap_or(default) })
}

/// Returns the mode that a message names; none when it names none.
///
/// # Errors
/// For a number that this version does not know.
pub fn batch_norm_from_wire(mode: i32) -> Result<Option<BatchNormMode>, UnknownNumber> {
    match v1::BatchNormMode::try_from(mode) {
        Ok(v1::BatchNormMode::Unspecified) => Ok(None),
        Ok(v1::BatchNormMode::Frozen) => Ok(Some(BatchNormMode::Frozen)),
        Ok(v1::BatchNormMode::Interpolated) => Ok(Some(BatchNormMode::Interpolated)),
        Ok(v1::BatchNormMode::Recomputed) => Ok(Some(BatchNormMode::Recomputed)),
        Err(_) => Err(UnknownNumber { number: mode, known: "1 frozen, 2 interpolated, 3 recomputed" }),
    }
}

/// Returns the mode as a message.
#[must_use]
pub fn batch_norm_to_wire(mode: BatchNormMode) -> v1::BatchNormMode {
    match mode {
        BatchNormMode::Frozen => v1::BatchNormMode::Frozen,
        BatchNormMode::Interpolated => v1::BatchNormMode::Interpolated,
        BatchNormMode::Recomputed => v1::BatchNormMode::Recomputed,
    }
}

pub(super) fn also_from_wire(split: i32) -> Result<Option<Split>, UnknownNumber> {
    if split == i32::from(catalog::Split::Unspecified) {
        return Ok(None);
    }
    split_from_wire(split).map(Some)
}

/// Returns the samples that a message names, and notes what is wrong with it below `field`.
pub(super) fn slice_from_wire(wrong: &mut Violations, field: &str, data: v1::DatasetSlice) -> Option<DatasetSlice> {
    let dataset = wrong.check(&format!("{field}.dataset"), data.dataset.parse());
    let split = wrong.check(&format!("{field}.split"), split_from_wire(data.split));
    if data.limit == Some(0) {
        wrong.add(format!("{field}.limit"), "0 leaves nothing to evaluate; leave it out for all samples");
        return None;
    }
    Some(DatasetSlice { dataset: dataset?, split: split?, limit: data.limit })
}

/// Returns the direction that a message describes.
///
/// # Errors
/// When it has no source, or one that this version does not know.
pub fn direction_from_wire(direction: v1::Direction) -> Result<DirectionSpec, ApiError> {
    let random = match direction.source {
        Some(v1::direction::Source::Random(random)) => random,
        Some(v1::direction::Source::Stored(stored)) => {
            let name = stored.name.parse::<DirectionName>();
            let name = name.map_err(|error| ApiError::field("stored.name", error.to_string()))?;
            return Ok(DirectionSpec::Stored { digest: name.0 });
        }
        Some(v1::direction::Source::Towards(checkpoint)) => {
            let checkpoint = checkpoint.parse::<CheckpointName>();
            let checkpoint = checkpoint.map_err(|error| ApiError::field("towards", error.to_string()))?;
            return Ok(DirectionSpec::Towards { checkpoint });
        }
        None => {
            let message = "missing; say where the direction comes from, as in `random`, `stored` or `towards`";
            return Err(ApiError::field("source", message));
        }
    };
    let wrong = |field: &str, unknown: UnknownNumber| ApiError::field(field, unknown.to_string());
    let normalization = normalization_from_wire(random.normalization);
    let normalization = normalization.map_err(|unknown| wrong("random.normalization", unknown))?;
    let ignore = ignore_from_wire(random.ignore).map_err(|unknown| wrong("random.ignore", unknown))?;
    Ok(DirectionSpec::Random { seed: random.seed, normalization, ignore })
}

/// Returns the direction as a message.
#[must_use]
pub fn direction_to_wire(direction: &DirectionSpec) -> v1::Direction {
    let (seed, normalization, ignore) = match direction {
        DirectionSpec::Random { seed, normalization, ignore } => (*seed, *normalization, *ignore),
        DirectionSpec::Stored { digest } => {
            let stored = v1::StoredDirection { name: DirectionName(*digest).to_string() };
            return v1::Direction { source: Some(v1::direction::Source::Stored(stored)) };
        }
        DirectionSpec::Towards { checkpoint } => {
            return v1::Direction { source: Some(v1::direction::Source::Towards(checkpoint.to_string())) };
        }
    };
    let (normalization, ignore) = (normalization_to_wire(normalization), ignore_to_wire(ignore));
    let random = v1::RandomDirection { seed, normalization: normalization.into(), ignore: ignore.into() };
    v1::Direction { source: Some(v1::direction::Source::Random(random)) }
}

/// Returns the normalisation that a message names; filter when it names none.
pub(super) fn normalization_from_wire(number: i32) -> Result<Normalization, UnknownNumber> {
    match v1::Normalization::try_from(number) {
        Ok(v1::Normalization::Unspecified | v1::Normalization::Filter) => Ok(Normalization::Filter),
        Ok(v1::Normalization::Layer) => Ok(Normalization::Layer),
        Ok(v1::Normalization::Weight) => Ok(Normalization::Weight),
        Ok(v1::Normalization::None) => Ok(Normalization::None),
        Ok(v1::Normalization::Dfilter) => Ok(Normalization::Dfilter),
        Ok(v1::Normalization::Dlayer) => Ok(Normalization::Dlayer),
        Err(_) => Err(UnknownNumber { number, known: "1 filter, 2 layer, 3 weight, 4 none, 5 dfilter, 6 dlayer" }),
    }
}

pub(super) fn normalization_to_wire(normalization: Normalization) -> v1::Normalization {
    match normalization {
        Normalization::Filter => v1::Normalization::Filter,
        Normalization::Layer => v1::Normalization::Layer,
        Normalization::Weight => v1::Normalization::Weight,
        Normalization::None => v1::Normalization::None,
        Normalization::Dfilter => v1::Normalization::Dfilter,
        Normalization::Dlayer => v1::Normalization::Dlayer,
    }
}

/// Returns what a message says of vector-like tensors; `bias_bn` when it says nothing.
pub(super) fn ignore_from_wire(number: i32) -> Result<Ignore, UnknownNumber> {
    match v1::Ignore::try_from(number) {
        Ok(v1::Ignore::Unspecified | v1::Ignore::BiasBn) => Ok(Ignore::BiasBn),
        Ok(v1::Ignore::None) => Ok(Ignore::None),
        Err(_) => Err(UnknownNumber { number, known: "1 bias_bn, 2 none" }),
    }
}

pub(super) fn ignore_to_wire(ignore: Ignore) -> v1::Ignore {
    match ignore {
        Ignore::BiasBn => v1::Ignore::BiasBn,
        Ignore::None => v1::Ignore::None,
    }
}

/// Returns the split that a message names; train when it names none.
///
/// # Errors
/// For a number that this version does not know.
pub fn split_from_wire(split: i32) -> Result<Split, UnknownNumber> {
    match catalog::Split::try_from(split) {
        Ok(catalog::Split::Unspecified | catalog::Split::Train) => Ok(Split::Train),
        Ok(catalog::Split::Test) => Ok(Split::Test),
        Err(_) => Err(UnknownNumber { number: split, known: "1 train, 2 test" }),
    }
}

/// Returns the split as a message.
#[must_use]
pub fn split_to_wire(split: Split) -> catalog::Split {
    match split {
        Split::Train => catalog::Split::Train,
        Split::Test => catalog::Split::Test,
    }
}

#[cfg(test)]
mod tests {
    use relief_core::Precision;

    use super::*;

    fn good() -> SurfaceSpec {
        let axis = Axis::new(-1.0, 1.0, 5).expect("a good axis");
        let direction = DirectionSpec::Random { seed: 7, normalization: Normalization::Layer, ignore: Ignore::None };
        SurfaceSpec {
            network: "lenet5".parse().expect("a good name"),
            plane: Plane {
                origin: "runs/r/snapshots/3".parse().expect("a good name"),
                x: direction.clone(),
                y: Some(direction),
                batch_norm: BatchNormMode::Recomputed,
            },
            grid: Grid { x: axis, y: Some(axis) },
            data: DatasetSlice { dataset: "d".parse().expect("a good name"), split: Split::Test, limit: Some(10) },
            also: Some(Split::Train),
            tile: TileShape { rows: 2, columns: 3 },
            fresh: true,
            scheduling: Scheduling { client: "me".parse().expect("a good name"), priority: -3, weight: 7 },
            numerics: NumericRequest { engine: None, precision: Some(Precision::SplitBf16) },
        }
    }

    fn read(spec: v1::SurfaceSpec) -> Result<SurfaceSpec, ApiError> {
        spec_from_wire(Some(spec)).map(|request| {
            let network = request.network.clone().expect("a network");
            request.of(network)
        })
    }

    #[test]
    fn a_specification_survives_the_wire() {
        assert_eq!(read(spec_to_wire(&good())), Ok(good()));
    }

    #[test]
    fn a_specification_that_asks_for_no_numerics_leaves_them_open() {
        let wire = v1::SurfaceSpec { numerics: None, ..spec_to_wire(&good()) };
        let open = SurfaceSpec { numerics: NumericRequest::default(), ..good() };
        assert_eq!(spec_to_wire(&open), wire);
        assert_eq!(read(wire), Ok(open));
    }

    #[test]
    fn scheduling_has_defaults_and_bounds() {
        let mut wire = spec_to_wire(&good());
        wire.scheduling = None;
        assert_eq!(read(wire.clone()).map(|spec| spec.scheduling), Ok(Scheduling::default()));
        wire.scheduling = Some(v1::Scheduling { client: "../x".to_owned(), priority: 101, weight: 1001 });
        let error = read(wire).expect_err("three wrong fields");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        let all = ["spec.scheduling.client", "spec.scheduling.priority", "spec.scheduling.weight"];
        assert_eq!(fields, all);
    }

    #[test]
    fn the_mode_follows_the_directions_unless_it_is_said() {
        let mut spec = good();
        spec.plane.y = Some(DirectionSpec::Towards { checkpoint: "b".parse().expect("a good name") });
        let mut wire = spec_to_wire(&spec);
        assert_eq!(read(wire.clone()).map(|spec| spec.plane.batch_norm), Ok(BatchNormMode::Recomputed));
        if let Some(plane) = &mut wire.plane {
            plane.batch_norm = 0;
        }
        assert_eq!(read(wire.clone()).map(|spec| spec.plane.batch_norm), Ok(BatchNormMode::Interpolated));
        if let Some(plane) = &mut wire.plane {
            plane.y.clone_from(&plane.x);
        }
        assert_eq!(read(wire).map(|spec| spec.plane.batch_norm), Ok(BatchNormMode::Frozen));
    }

    #[test]
    fn one_split_twice_is_refused_and_a_network_may_be_left_out() {
        let mut wire = spec_to_wire(&good());
        wire.network = String::new();
        assert_eq!(spec_from_wire(Some(wire.clone())).map(|request| request.network), Ok(None));
        wire.also_split = split_to_wire(Split::Test).into();
        let error = spec_from_wire(Some(wire)).expect_err("test and test");
        assert_eq!(error.violations[0].field, "spec.also_split");
    }

    #[test]
    fn a_direction_given_as_a_file_survives_the_wire() {
        let mut spec = good();
        spec.plane.y = Some(DirectionSpec::Stored { digest: Digest::of(b"y") });
        assert_eq!(read(spec_to_wire(&spec)), Ok(spec.clone()));

        let mut wire = spec_to_wire(&spec);
        let stored = v1::StoredDirection { name: "directions/../x".to_owned() };
        if let Some(plane) = &mut wire.plane {
            plane.y = Some(v1::Direction { source: Some(v1::direction::Source::Stored(stored)) });
        }
        let error = spec_from_wire(Some(wire)).expect_err("no digest");
        assert_eq!(error.violations[0].field, "spec.plane.y.stored.name");
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let mut spec = spec_to_wire(&good());
        spec.network = "../x".to_owned();
        spec.x = Some(v1::Axis { min: f64::NAN, max: 1.0, count: 3 });
        if let Some(data) = &mut spec.data {
            data.limit = Some(0);
            data.split = 9;
        }
        let random = v1::RandomDirection { normalization: 8, ..v1::RandomDirection::default() };
        if let Some(plane) = &mut spec.plane {
            plane.x = Some(v1::Direction { source: Some(v1::direction::Source::Random(random)) });
        }
        spec.tile = Some(v1::TileShape { rows: 0, columns: 1 });
        let error = spec_from_wire(Some(spec)).expect_err("six wrong fields");
        let fields: Vec<&str> = error.violations.iter().map(|v| v.field.as_str()).collect();
        let direction = "spec.plane.x.random.normalization";
        assert_eq!(fields, ["spec.network", "spec.x", direction, "spec.data.split", "spec.data.limit", "spec.tile"]);
        let known = "spec.data.split: 9 is not one of its values: 1 train, 2 test";
        assert!(error.message.contains(known), "{error}");
    }

    #[test]
    fn an_axis_without_its_direction_is_refused() {
        let mut spec = spec_to_wire(&good());
        spec.y = None;
        let error = spec_from_wire(Some(spec)).expect_err("a direction too many");
        assert_eq!(error.violations[0].field, "spec.y");
    }

    #[test]
    fn a_curve_has_no_second_axis() {
        let mut spec = good();
        spec.grid.y = None;
        spec.plane.y = None;
        spec.tile = spec.tile.within(&spec.grid);
        assert_eq!(read(spec_to_wire(&spec)), Ok(spec));
    }
}
