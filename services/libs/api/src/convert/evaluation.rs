//! Tiles on their way to an evaluator, and points on their way back; requests for logits on the same way.
//! What is asked about the differences between checkpoints is in [`super::difference`].

use relief_core::{BatchNormMode, DatasetId, Digest, NumericRequest, PointValue, PointValues, Split};

use super::numerics::{numerics_from_wire, numerics_to_wire};
use super::surface::{batch_norm_from_wire, batch_norm_to_wire, split_from_wire, split_to_wire};
use crate::error::{ApiError, ErrorReason, Violations};
use crate::evaluator::v1;

/// The protocol between coordinator and evaluator; both sides refuse any other.
pub const PROTOCOL_VERSION: u32 = 5;

/// The most points that one request may ask for.
pub const MAX_POINTS: usize = 65_536;

/// The most points at which one request may have numerics tried.
pub const MAX_PROBES: usize = 16;

/// An object in the store, by path and content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// Its path from the root of the store.
    pub path: String,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// The samples of a tile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SamplesRef {
    /// The dataset.
    pub dataset: DatasetId,
    /// The digest of the dataset's record.
    pub digest: Digest,
    /// Which samples.
    pub split: Split,
    /// Only the first so many; none for all.
    pub limit: Option<u64>,
}

/// One axis of a plane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AxisRef {
    /// The file of a direction.
    Step(BlobRef),
    /// The file of the checkpoint at coefficient 1.
    Towards(BlobRef),
}

/// A plane, and the samples that its points are evaluated on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaneRef {
    /// The network's ONNX file.
    pub network: BlobRef,
    /// The origin's safetensors file.
    pub checkpoint: BlobRef,
    /// Up to two axes, in the order x, y; none for the checkpoint itself.
    pub axes: Vec<AxisRef>,
    /// What batch normalisations go by.
    pub batch_norm: BatchNormMode,
    /// The samples.
    pub samples: SamplesRef,
    /// Those of a second split.
    pub also: Option<SamplesRef>,
    /// What running statistics are recomputed from, where they are.
    pub statistics: Option<SamplesRef>,
}

/// The points of one tile, and everything that their values depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct TileRequest {
    /// The surface, for logs and traces only.
    pub surface: String,
    /// The number of the tile, for logs and traces only.
    pub tile_idx: u64,
    /// 1 for the first attempt, for logs and traces only.
    pub attempt: u32,
    /// The plane and the samples.
    pub plane: PlaneRef,
    /// The coefficients (a, b) of each point, in the order of work.
    pub points: Vec<(f64, f64)>,
    /// The class that the values must be computed in.
    pub numeric_class: String,
    /// Names this request among all of its sender's; every answer repeats it.
    pub ticket: u64,
}

/// A plane, in which numerics are to be chosen for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceRequest {
    /// The surface, for logs and traces only.
    pub surface: String,
    /// The plane and the samples; without a second split.
    pub plane: PlaneRef,
    /// What is asked for.
    pub numerics: NumericRequest,
    /// The coefficients (a, b) of each point to try.
    pub probes: Vec<(f64, f64)>,
}

/// A checkpoint, and the samples that it is evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogitsRequest {
    /// The network's ONNX file.
    pub network: BlobRef,
    /// The safetensors file.
    pub checkpoint: BlobRef,
    /// The samples.
    pub samples: SamplesRef,
    /// What they are to be computed in.
    pub numerics: NumericRequest,
}

/// Returns the request as a message.
#[must_use]
pub fn logits_to_wire(request: &LogitsRequest) -> v1::ComputeLogitsRequest {
    v1::ComputeLogitsRequest {
        protocol_version: PROTOCOL_VERSION,
        network: Some(blob_to_wire(&request.network)),
        checkpoint: Some(blob_to_wire(&request.checkpoint)),
        dataset: Some(samples_to_wire(&request.samples)),
        numerics: numerics_to_wire(request.numerics),
    }
}

/// Returns what a message asks the logits of.
///
/// # Errors
/// `VERSION_MISMATCH` for another protocol version, else with every field that is wrong.
pub fn logits_from_wire(request: v1::ComputeLogitsRequest) -> Result<LogitsRequest, ApiError> {
    check_version(request.protocol_version)?;
    let mut wrong = Violations::default();
    let network = blob_from_wire(&mut wrong, "network", request.network);
    let checkpoint = blob_from_wire(&mut wrong, "checkpoint", request.checkpoint);
    let samples = samples_from_wire(&mut wrong, "dataset", request.dataset);
    let numerics = numerics_from_wire(&mut wrong, "numerics", request.numerics);
    let request = (|| {
        Some(LogitsRequest { network: network?, checkpoint: checkpoint?, samples: samples?, numerics: numerics? })
    })();
    wrong.finish(request)
}

/// Returns the request as a message.
#[must_use]
pub fn choice_to_wire(request: &ChoiceRequest) -> v1::ChooseNumericsRequest {
    let plane = &request.plane;
    v1::ChooseNumericsRequest {
        protocol_version: PROTOCOL_VERSION,
        surface: request.surface.clone(),
        network: Some(blob_to_wire(&plane.network)),
        checkpoint: Some(blob_to_wire(&plane.checkpoint)),
        axes: plane.axes.iter().map(axis_to_wire).collect(),
        batch_norm: batch_norm_to_wire(plane.batch_norm).into(),
        dataset: Some(samples_to_wire(&plane.samples)),
        statistics: plane.statistics.as_ref().map(samples_to_wire),
        numerics: numerics_to_wire(request.numerics),
        probes: points_to_wire(&request.probes),
        also: plane.also.as_ref().map(samples_to_wire),
    }
}

/// Returns what a message asks to choose numerics for.
///
/// # Errors
/// `VERSION_MISMATCH` for another protocol version, else with every field that is wrong.
pub fn choice_from_wire(request: v1::ChooseNumericsRequest) -> Result<ChoiceRequest, ApiError> {
    check_version(request.protocol_version)?;
    let mut wrong = Violations::default();
    let parts = PlaneParts {
        network: request.network,
        checkpoint: request.checkpoint,
        axes: request.axes,
        batch_norm: request.batch_norm,
        dataset: request.dataset,
        also: request.also,
        statistics: request.statistics,
    };
    let plane = plane_from_wire(&mut wrong, parts);
    let numerics = numerics_from_wire(&mut wrong, "numerics", request.numerics);
    if request.probes.len() > MAX_PROBES {
        wrong.add("probes", format!("{} given; at most {MAX_PROBES} are tried", request.probes.len()));
    }
    let probes = points_from_wire(&mut wrong, "probes", &request.probes);
    let surface = request.surface;
    let request = plane.zip(numerics).map(|(plane, numerics)| ChoiceRequest { surface, plane, numerics, probes });
    wrong.finish(request)
}

/// Returns the request as a message.
#[must_use]
pub fn tile_to_wire(request: &TileRequest) -> v1::EvaluateTileRequest {
    let plane = &request.plane;
    v1::EvaluateTileRequest {
        protocol_version: PROTOCOL_VERSION,
        surface: request.surface.clone(),
        tile_index: request.tile_idx,
        attempt: request.attempt,
        network: Some(blob_to_wire(&plane.network)),
        checkpoint: Some(blob_to_wire(&plane.checkpoint)),
        axes: plane.axes.iter().map(axis_to_wire).collect(),
        dataset: Some(samples_to_wire(&plane.samples)),
        points: points_to_wire(&request.points),
        numeric_class: request.numeric_class.clone(),
        batch_norm: batch_norm_to_wire(plane.batch_norm).into(),
        also: plane.also.as_ref().map(samples_to_wire),
        statistics: plane.statistics.as_ref().map(samples_to_wire),
        ticket: request.ticket,
    }
}

/// Returns the tile that a message asks for.
///
/// # Errors
/// `VERSION_MISMATCH` for another protocol version, else with every field that is wrong.
pub fn tile_from_wire(request: v1::EvaluateTileRequest) -> Result<TileRequest, ApiError> {
    check_version(request.protocol_version)?;
    let mut wrong = Violations::default();
    let parts = PlaneParts {
        network: request.network,
        checkpoint: request.checkpoint,
        axes: request.axes,
        batch_norm: request.batch_norm,
        dataset: request.dataset,
        also: request.also,
        statistics: request.statistics,
    };
    let plane = plane_from_wire(&mut wrong, parts);
    if !(1..=MAX_POINTS).contains(&request.points.len()) {
        wrong.add("points", format!("{} given; a tile has 1 to {MAX_POINTS}", request.points.len()));
    }
    let points = points_from_wire(&mut wrong, "points", &request.points);
    let request = plane.map(|plane| TileRequest {
        surface: request.surface,
        tile_idx: request.tile_index,
        attempt: request.attempt,
        plane,
        points,
        numeric_class: request.numeric_class,
        ticket: request.ticket,
    });
    wrong.finish(request)
}

/// What tells a plane and its samples in several messages.
struct PlaneParts {
    network: Option<v1::Blob>,
    checkpoint: Option<v1::Blob>,
    axes: Vec<v1::PlaneAxis>,
    batch_norm: i32,
    dataset: Option<v1::DatasetBlob>,
    also: Option<v1::DatasetBlob>,
    statistics: Option<v1::DatasetBlob>,
}

fn plane_from_wire(wrong: &mut Violations, parts: PlaneParts) -> Option<PlaneRef> {
    let network = blob_from_wire(wrong, "network", parts.network);
    let checkpoint = blob_from_wire(wrong, "checkpoint", parts.checkpoint);
    if parts.axes.len() > 2 {
        wrong.add("axes", format!("{} given; a plane has 2 at most", parts.axes.len()));
    }
    let axes: Vec<AxisRef> = parts.axes.into_iter().filter_map(|axis| axis_from_wire(wrong, axis)).collect();
    let batch_norm = match wrong.check("batch_norm", batch_norm_from_wire(parts.batch_norm)) {
        Some(None) => {
            wrong.add("batch_norm", "missing; say what batch normalisations go by");
            None
        }
        batch_norm => batch_norm.flatten(),
    };
    let samples = samples_from_wire(wrong, "dataset", parts.dataset);
    let also = parts.also.and_then(|also| samples_from_wire(wrong, "also", Some(also)));
    let statistics = parts.statistics.and_then(|samples| samples_from_wire(wrong, "statistics", Some(samples)));
    if batch_norm.is_some_and(|mode| (mode == BatchNormMode::Recomputed) != statistics.is_some()) {
        wrong.add("statistics", "there must be samples to recompute running statistics from exactly where they are");
    }
    Some(PlaneRef {
        network: network?,
        checkpoint: checkpoint?,
        axes,
        batch_norm: batch_norm?,
        samples: samples?,
        also,
        statistics,
    })
}

fn points_to_wire(points: &[(f64, f64)]) -> Vec<v1::Coordinate> {
    points.iter().map(|(x, y)| v1::Coordinate { x: *x, y: *y }).collect()
}

fn points_from_wire(wrong: &mut Violations, field: &str, points: &[v1::Coordinate]) -> Vec<(f64, f64)> {
    let points: Vec<(f64, f64)> = points.iter().map(|point| (point.x, point.y)).collect();
    if let Some((x, y)) = points.iter().find(|(x, y)| !x.is_finite() || !y.is_finite()) {
        wrong.add(field, format!("({x}, {y}) is not finite"));
    }
    points
}

pub(super) fn check_version(version: u32) -> Result<(), ApiError> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    let message = format!(
        "protocol_version: this evaluator speaks version {PROTOCOL_VERSION}, the request is of version {version}"
    );
    Err(ApiError::new(ErrorReason::VersionMismatch, message))
}

pub(super) fn blob_to_wire(blob: &BlobRef) -> v1::Blob {
    v1::Blob { path: blob.path.clone(), digest: blob.digest.to_string() }
}

pub(super) fn blob_from_wire(wrong: &mut Violations, field: &str, blob: Option<v1::Blob>) -> Option<BlobRef> {
    let Some(blob) = blob else {
        wrong.add(field, "missing");
        return None;
    };
    let is_inside = blob.path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !is_inside {
        wrong.add(format!("{field}.path"), format!("`{}` leaves the store", blob.path));
    }
    let digest = wrong.check(&format!("{field}.digest"), blob.digest.parse());
    digest.filter(|_| is_inside).map(|digest| BlobRef { path: blob.path, digest })
}

fn samples_to_wire(samples: &SamplesRef) -> v1::DatasetBlob {
    v1::DatasetBlob {
        name: samples.dataset.to_string(),
        digest: samples.digest.to_string(),
        split: split_to_wire(samples.split).into(),
        limit: samples.limit.unwrap_or(0),
    }
}

fn samples_from_wire(wrong: &mut Violations, field: &str, dataset: Option<v1::DatasetBlob>) -> Option<SamplesRef> {
    let Some(dataset) = dataset else {
        wrong.add(field, "missing");
        return None;
    };
    let name = wrong.check(&format!("{field}.name"), dataset.name.parse());
    let digest = wrong.check(&format!("{field}.digest"), dataset.digest.parse());
    let split = wrong.check(&format!("{field}.split"), split_from_wire(dataset.split));
    let limit = (dataset.limit > 0).then_some(dataset.limit);
    Some(SamplesRef { dataset: name?, digest: digest?, split: split?, limit })
}

fn axis_to_wire(axis: &AxisRef) -> v1::PlaneAxis {
    let source = match axis {
        AxisRef::Step(blob) => v1::plane_axis::Source::Step(blob_to_wire(blob)),
        AxisRef::Towards(blob) => v1::plane_axis::Source::Towards(blob_to_wire(blob)),
    };
    v1::PlaneAxis { source: Some(source) }
}

fn axis_from_wire(wrong: &mut Violations, axis: v1::PlaneAxis) -> Option<AxisRef> {
    match axis.source {
        Some(v1::plane_axis::Source::Step(blob)) => blob_from_wire(wrong, "axes.step", Some(blob)).map(AxisRef::Step),
        Some(v1::plane_axis::Source::Towards(blob)) => {
            blob_from_wire(wrong, "axes.towards", Some(blob)).map(AxisRef::Towards)
        }
        None => {
            wrong.add("axes.source", "missing");
            None
        }
    }
}

/// Returns a finished point of the request with this ticket as a message.
#[must_use]
pub fn point_to_wire(ticket: u64, idx: u32, values: PointValues) -> v1::PointResult {
    let PointValue { loss, squared_error, accuracy } = values.main;
    let also = values.also.map(|PointValue { loss, squared_error, accuracy }| v1::SplitResult {
        loss,
        accuracy,
        squared_error,
    });
    v1::PointResult { index: idx, loss, accuracy, squared_error, also, ticket }
}

/// Returns a finished point with its place in its request, which asks for a second split or not. Whether that request
/// has such a place is for whoever knows it.
///
/// # Errors
/// When a split is missing or one too many, or a value cannot be what it should be.
pub fn point_from_wire(point: &v1::PointResult, has_also: bool) -> Result<(usize, PointValues), ApiError> {
    let idx = point.index as usize;
    if point.also.is_some() != has_also {
        let message = format!("the evaluator sent point {idx} on other splits than it was asked for");
        return Err(ApiError::new(ErrorReason::Internal, message));
    }
    let main = value_from_wire(point.loss, point.squared_error, point.accuracy)?;
    let also = match &point.also {
        Some(also) => Some(value_from_wire(also.loss, also.squared_error, also.accuracy)?),
        None => None,
    };
    Ok((idx, PointValues { main, also }))
}

fn value_from_wire(loss: f64, squared_error: f64, accuracy: f64) -> Result<PointValue, ApiError> {
    if !(0.0..=100.0).contains(&accuracy) {
        let message = format!("the evaluator sent an accuracy of {accuracy} %");
        return Err(ApiError::new(ErrorReason::Internal, message));
    }
    if squared_error < 0.0 {
        let message = format!("the evaluator sent a squared error of {squared_error}");
        return Err(ApiError::new(ErrorReason::Internal, message));
    }
    Ok(PointValue { loss, squared_error, accuracy })
}

#[cfg(test)]
mod tests {
    use relief_core::Engine;

    use super::*;

    fn good() -> TileRequest {
        let blob = |path: &str| BlobRef { path: path.to_owned(), digest: Digest::of(path.as_bytes()) };
        let samples = |split, limit| SamplesRef {
            dataset: "d".parse().expect("a good name"),
            digest: Digest::of(b"d"),
            split,
            limit,
        };
        TileRequest {
            surface: "surfaces/s".to_owned(),
            tile_idx: 3,
            attempt: 1,
            plane: PlaneRef {
                network: blob("networks/n/network.onnx"),
                checkpoint: blob("checkpoints/c/checkpoint.safetensors"),
                axes: vec![
                    AxisRef::Towards(blob("checkpoints/d/checkpoint.safetensors")),
                    AxisRef::Step(blob("directions/d.safetensors")),
                ],
                batch_norm: BatchNormMode::Recomputed,
                samples: samples(Split::Train, Some(100)),
                also: Some(samples(Split::Test, Some(100))),
                statistics: Some(samples(Split::Train, None)),
            },
            points: vec![(0.0, 0.5)],
            numeric_class: "burn".to_owned(),
            ticket: 77,
        }
    }

    #[test]
    fn a_tile_survives_the_wire() {
        assert_eq!(tile_from_wire(tile_to_wire(&good())), Ok(good()));
    }

    #[test]
    fn a_request_for_logits_survives_the_wire() {
        let PlaneRef { network, checkpoint, samples, .. } = good().plane;
        let numerics = NumericRequest { engine: Some(Engine::Burn), precision: None };
        let request = LogitsRequest { network, checkpoint, samples, numerics };
        assert_eq!(logits_from_wire(logits_to_wire(&request)), Ok(request.clone()));
        let wrong = v1::ComputeLogitsRequest { dataset: None, network: None, ..logits_to_wire(&request) };
        let error = logits_from_wire(wrong).expect_err("two parts are missing");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["network", "dataset"]);
    }

    #[test]
    fn a_choice_of_numerics_survives_the_wire() {
        let request = ChoiceRequest {
            surface: "surfaces/s".to_owned(),
            plane: good().plane,
            numerics: NumericRequest { engine: Some(Engine::Cpu), precision: None },
            probes: vec![(0.0, 0.0), (1.0, -1.0)],
        };
        assert_eq!(choice_from_wire(choice_to_wire(&request)), Ok(request.clone()));
        let probes = vec![v1::Coordinate { x: f64::NAN, y: 0.0 }; MAX_PROBES + 1];
        let wrong = v1::ChooseNumericsRequest { probes, checkpoint: None, ..choice_to_wire(&request) };
        let error = choice_from_wire(wrong).expect_err("three faults");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["checkpoint", "probes", "probes"]);
        let old = v1::ChooseNumericsRequest { protocol_version: 3, ..choice_to_wire(&request) };
        assert_eq!(choice_from_wire(old).map_err(|error| error.reason), Err(ErrorReason::VersionMismatch));
    }

    #[test]
    fn another_protocol_version_is_refused() {
        for version in [0, PROTOCOL_VERSION + 1] {
            let request = v1::EvaluateTileRequest { protocol_version: version, ..tile_to_wire(&good()) };
            assert_eq!(tile_from_wire(request).map_err(|e| e.reason), Err(ErrorReason::VersionMismatch));
        }
    }

    #[test]
    fn a_path_that_leaves_the_store_is_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", "a//b", ""] {
            let mut request = tile_to_wire(&good());
            if let Some(blob) = &mut request.checkpoint {
                blob.path = path.to_owned();
            }
            let error = tile_from_wire(request).expect_err("a bad path");
            assert_eq!(error.violations[0].field, "checkpoint.path", "{path}");
        }
    }

    #[test]
    fn statistics_are_recomputed_from_samples_and_from_nothing_else() {
        let wrong = v1::EvaluateTileRequest { statistics: None, ..tile_to_wire(&good()) };
        let error = tile_from_wire(wrong).expect_err("nothing to recompute from");
        assert_eq!(error.violations[0].field, "statistics");
        let axes = vec![tile_to_wire(&good()).axes.remove(0); 3];
        let wrong = v1::EvaluateTileRequest { batch_norm: 0, axes, ..tile_to_wire(&good()) };
        let error = tile_from_wire(wrong).expect_err("no mode and too many axes");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["axes", "batch_norm"]);
    }

    #[test]
    fn points_that_cannot_be_are_refused() {
        let value = PointValue { loss: f64::NAN, squared_error: 0.25, accuracy: 50.0 };
        let point = point_to_wire(77, 2, PointValues { main: value, also: Some(value) });
        assert!(point_from_wire(&point, false).is_err());
        let read = point_from_wire(&point, true).expect("a good point");
        assert_eq!((read.0, read.1.main.accuracy, read.1.also.is_some()), (2, 50.0, true));
        assert!(point_from_wire(&v1::PointResult { accuracy: f64::NAN, ..point }, true).is_err());
        assert!(point_from_wire(&v1::PointResult { squared_error: -1.0, ..point }, true).is_err());
        assert!(point_from_wire(&v1::PointResult { also: None, ..point }, true).is_err());
    }
}
