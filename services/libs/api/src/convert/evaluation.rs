//! Tiles on their way to an evaluator, and points on their way back; requests for logits on the same way.

use relief_core::{DatasetId, Digest, DirectionSpec, PointValue, Split};

use super::surface::{direction_from_wire, direction_to_wire, split_from_wire, split_to_wire};
use crate::error::{ApiError, ErrorReason, Violations};
use crate::evaluator::v1;

/// The protocol between coordinator and evaluator; both sides refuse any other.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most points that one request may ask for.
pub const MAX_POINTS: usize = 65_536;

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

/// The points of one tile, and everything that their values depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct TileRequest {
    /// The surface, for logs and traces only.
    pub surface: String,
    /// The number of the tile, for logs and traces only.
    pub tile_idx: u64,
    /// 1 for the first attempt, for logs and traces only.
    pub attempt: u32,
    /// The network's ONNX file.
    pub network: BlobRef,
    /// The origin's safetensors file.
    pub checkpoint: BlobRef,
    /// One or two directions, in the order x, y.
    pub directions: Vec<DirectionSpec>,
    /// The samples.
    pub samples: SamplesRef,
    /// The coefficients (a, b) of each point, in the order of work.
    pub points: Vec<(f64, f64)>,
    /// The class that the values must be computed in.
    pub numeric_class: String,
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
}

/// Returns the request as a message.
#[must_use]
pub fn logits_to_wire(request: &LogitsRequest) -> v1::ComputeLogitsRequest {
    v1::ComputeLogitsRequest {
        protocol_version: PROTOCOL_VERSION,
        network: Some(blob_to_wire(&request.network)),
        checkpoint: Some(blob_to_wire(&request.checkpoint)),
        dataset: Some(samples_to_wire(&request.samples)),
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
    let samples = samples_from_wire(&mut wrong, request.dataset);
    let request = network.zip(checkpoint).zip(samples);
    wrong.finish(request.map(|((network, checkpoint), samples)| LogitsRequest { network, checkpoint, samples }))
}

/// Returns the request as a message.
#[must_use]
pub fn tile_to_wire(request: &TileRequest) -> v1::EvaluateTileRequest {
    v1::EvaluateTileRequest {
        protocol_version: PROTOCOL_VERSION,
        surface: request.surface.clone(),
        tile_index: request.tile_idx,
        attempt: request.attempt,
        network: Some(blob_to_wire(&request.network)),
        checkpoint: Some(blob_to_wire(&request.checkpoint)),
        directions: request.directions.iter().map(direction_to_wire).collect(),
        dataset: Some(samples_to_wire(&request.samples)),
        points: request.points.iter().map(|(x, y)| v1::Coordinate { x: *x, y: *y }).collect(),
        numeric_class: request.numeric_class.clone(),
    }
}

/// Returns the tile that a message asks for.
///
/// # Errors
/// `VERSION_MISMATCH` for another protocol version, else with every field that is wrong.
pub fn tile_from_wire(request: v1::EvaluateTileRequest) -> Result<TileRequest, ApiError> {
    check_version(request.protocol_version)?;
    let mut wrong = Violations::default();
    let network = blob_from_wire(&mut wrong, "network", request.network);
    let checkpoint = blob_from_wire(&mut wrong, "checkpoint", request.checkpoint);
    if !(1..=2).contains(&request.directions.len()) {
        wrong.add("directions", format!("{} given; a plane has 1 or 2", request.directions.len()));
    }
    let directions: Vec<DirectionSpec> = request
        .directions
        .into_iter()
        .filter_map(|direction| wrong.check_message("directions", direction_from_wire(direction)))
        .collect();
    let samples = samples_from_wire(&mut wrong, request.dataset);
    if !(1..=MAX_POINTS).contains(&request.points.len()) {
        wrong.add("points", format!("{} given; a tile has 1 to {MAX_POINTS}", request.points.len()));
    }
    let points: Vec<(f64, f64)> = request.points.iter().map(|point| (point.x, point.y)).collect();
    if let Some((x, y)) = points.iter().find(|(x, y)| !x.is_finite() || !y.is_finite()) {
        wrong.add("points", format!("({x}, {y}) is not finite"));
    }
    let request = network.zip(checkpoint).zip(samples).map(|((network, checkpoint), samples)| TileRequest {
        surface: request.surface,
        tile_idx: request.tile_index,
        attempt: request.attempt,
        network,
        checkpoint,
        directions,
        samples,
        points,
        numeric_class: request.numeric_class,
    });
    wrong.finish(request)
}

fn check_version(version: u32) -> Result<(), ApiError> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    let message = format!(
        "protocol_version: this evaluator speaks version {PROTOCOL_VERSION}, the request is of version {version}"
    );
    Err(ApiError::new(ErrorReason::VersionMismatch, message))
}

fn blob_to_wire(blob: &BlobRef) -> v1::Blob {
    v1::Blob { path: blob.path.clone(), digest: blob.digest.to_string() }
}

fn blob_from_wire(wrong: &mut Violations, field: &str, blob: Option<v1::Blob>) -> Option<BlobRef> {
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

fn samples_from_wire(wrong: &mut Violations, dataset: Option<v1::DatasetBlob>) -> Option<SamplesRef> {
    let Some(dataset) = dataset else {
        wrong.add("dataset", "missing");
        return None;
    };
    let name = wrong.check("dataset.name", dataset.name.parse());
    let digest = wrong.check("dataset.digest", dataset.digest.parse());
    let split = wrong.check("dataset.split", split_from_wire(dataset.split));
    let limit = (dataset.limit > 0).then_some(dataset.limit);
    Some(SamplesRef { dataset: name?, digest: digest?, split: split?, limit })
}

/// Returns a finished point as a message.
#[must_use]
pub fn point_to_wire(idx: u32, value: PointValue) -> v1::PointResult {
    v1::PointResult { index: idx, loss: value.loss, accuracy: value.accuracy }
}

/// Returns a finished point with its place in a request of `n_points`.
///
/// # Errors
/// When the place is beyond the request, or the accuracy is not a percentage.
pub fn point_from_wire(point: &v1::PointResult, n_points: usize) -> Result<(usize, PointValue), ApiError> {
    let idx = point.index as usize;
    if idx >= n_points {
        let message = format!("the evaluator sent point {idx} of a tile with {n_points}");
        return Err(ApiError::new(ErrorReason::Internal, message));
    }
    if !(0.0..=100.0).contains(&point.accuracy) {
        let message = format!("the evaluator sent an accuracy of {} %", point.accuracy);
        return Err(ApiError::new(ErrorReason::Internal, message));
    }
    Ok((idx, PointValue { loss: point.loss, accuracy: point.accuracy }))
}

#[cfg(test)]
mod tests {
    use relief_core::{Ignore, Normalization};

    use super::*;

    fn good() -> TileRequest {
        let blob = |path: &str| BlobRef { path: path.to_owned(), digest: Digest::of(path.as_bytes()) };
        TileRequest {
            surface: "surfaces/s".to_owned(),
            tile_idx: 3,
            attempt: 1,
            network: blob("networks/n/network.onnx"),
            checkpoint: blob("checkpoints/c/checkpoint.safetensors"),
            directions: vec![DirectionSpec::Random {
                seed: 1,
                normalization: Normalization::Filter,
                ignore: Ignore::BiasBn,
            }],
            samples: SamplesRef {
                dataset: "d".parse().expect("a good name"),
                digest: Digest::of(b"d"),
                split: Split::Train,
                limit: Some(100),
            },
            points: vec![(0.0, 0.5)],
            numeric_class: "burn".to_owned(),
        }
    }

    #[test]
    fn a_tile_survives_the_wire() {
        assert_eq!(tile_from_wire(tile_to_wire(&good())), Ok(good()));
    }

    #[test]
    fn a_request_for_logits_survives_the_wire() {
        let TileRequest { network, checkpoint, samples, .. } = good();
        let request = LogitsRequest { network, checkpoint, samples };
        assert_eq!(logits_from_wire(logits_to_wire(&request)), Ok(request.clone()));
        let wrong = v1::ComputeLogitsRequest { dataset: None, network: None, ..logits_to_wire(&request) };
        let error = logits_from_wire(wrong).expect_err("two parts are missing");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["network", "dataset"]);
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
    fn points_outside_the_request_are_refused() {
        let point = v1::PointResult { index: 2, loss: 0.0, accuracy: 50.0 };
        assert!(point_from_wire(&point, 2).is_err());
        assert!(point_from_wire(&point, 3).is_ok());
        let nan = v1::PointResult { accuracy: f64::NAN, ..point };
        assert!(point_from_wire(&nan, 3).is_err());
    }
}
