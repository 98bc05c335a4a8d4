//! What evaluators are asked about the differences between checkpoints: parts of a Gram matrix, and combinations.

use super::evaluation::{BlobRef, PROTOCOL_VERSION, blob_from_wire, blob_to_wire, check_version};
use crate::error::{ApiError, Violations};
use crate::evaluator::v1;

/// The most rows, columns or terms of one request.
pub const MAX_ROWS: usize = 4096;

/// The most products in one message.
pub const MAX_PRODUCTS: usize = 65_536;

/// A part of a Gram matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GramRequest {
    /// The trajectory, for logs and traces only.
    pub trajectory: String,
    /// The number of the part, for logs and traces only.
    pub tile_idx: u64,
    /// What is subtracted from points.
    pub origin: BlobRef,
    /// The rows of the part.
    pub rows: Vec<RowRef>,
    /// Its columns.
    pub columns: Vec<RowRef>,
    /// The values over which products are summed, in this order.
    pub slices: Vec<TensorSlice>,
    /// Names this request among all of its sender's.
    pub ticket: u64,
}

/// A row of the matrix whose products are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowRef {
    /// The file of a checkpoint, of which the origin is subtracted.
    Point(BlobRef),
    /// The file of a direction; a tensor that it does not name is 0.
    Step(BlobRef),
}

impl RowRef {
    /// The file.
    #[must_use]
    pub fn blob(&self) -> &BlobRef {
        match self {
            Self::Point(blob) | Self::Step(blob) => blob,
        }
    }
}

/// Neighbouring values of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSlice {
    /// The tensor.
    pub tensor: String,
    /// The place of the first value.
    pub first: u64,
    /// The number of values.
    pub count: u64,
}

/// A direction to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct CombinationRequest {
    /// The trajectory, for logs and traces only.
    pub trajectory: String,
    /// What is subtracted from every checkpoint.
    pub origin: BlobRef,
    /// Checkpoints and their coefficients, in the order in which they are added.
    pub terms: Vec<(BlobRef, f64)>,
    /// The tensors of the direction.
    pub tensors: Vec<String>,
    /// Names this request among all of its sender's.
    pub ticket: u64,
}

/// Returns the request as a message.
#[must_use]
pub fn gram_to_wire(request: &GramRequest) -> v1::ComputeGramRequest {
    let slice =
        |slice: &TensorSlice| v1::TensorSlice { tensor: slice.tensor.clone(), first: slice.first, count: slice.count };
    v1::ComputeGramRequest {
        protocol_version: PROTOCOL_VERSION,
        trajectory: request.trajectory.clone(),
        tile_index: request.tile_idx,
        origin: Some(blob_to_wire(&request.origin)),
        rows: request.rows.iter().map(row_to_wire).collect(),
        columns: request.columns.iter().map(row_to_wire).collect(),
        slices: request.slices.iter().map(slice).collect(),
        ticket: request.ticket,
    }
}

/// Returns the part that a message asks for.
///
/// # Errors
/// `VERSION_MISMATCH` for another protocol version, else with every field that is wrong.
pub fn gram_from_wire(request: v1::ComputeGramRequest) -> Result<GramRequest, ApiError> {
    check_version(request.protocol_version)?;
    let mut wrong = Violations::default();
    let origin = blob_from_wire(&mut wrong, "origin", request.origin);
    let rows = rows_from_wire(&mut wrong, "rows", request.rows);
    let columns = rows_from_wire(&mut wrong, "columns", request.columns);
    if request.slices.is_empty() {
        wrong.add("slices", "empty; there must be values to sum over");
    }
    let mut slices = Vec::with_capacity(request.slices.len());
    for v1::TensorSlice { tensor, first, count } in request.slices {
        if count == 0 || first.checked_add(count).is_none() {
            wrong.add("slices", format!("{count} values of `{tensor}` from {first}; a slice has 1 at least"));
        }
        slices.push(TensorSlice { tensor, first, count });
    }
    let (trajectory, tile_idx, ticket) = (request.trajectory, request.tile_index, request.ticket);
    let request = origin.map(|origin| GramRequest { trajectory, tile_idx, origin, rows, columns, slices, ticket });
    wrong.finish(request)
}

/// Returns the request as a message.
#[must_use]
pub fn combination_to_wire(request: &CombinationRequest) -> v1::CombineCheckpointsRequest {
    let term = |(checkpoint, coefficient): &(BlobRef, f64)| v1::CombinationTerm {
        checkpoint: Some(blob_to_wire(checkpoint)),
        coefficient: *coefficient,
    };
    v1::CombineCheckpointsRequest {
        protocol_version: PROTOCOL_VERSION,
        trajectory: request.trajectory.clone(),
        origin: Some(blob_to_wire(&request.origin)),
        terms: request.terms.iter().map(term).collect(),
        tensors: request.tensors.clone(),
        ticket: request.ticket,
    }
}

/// Returns the direction that a message asks for.
///
/// # Errors
/// `VERSION_MISMATCH` for another protocol version, else with every field that is wrong.
pub fn combination_from_wire(request: v1::CombineCheckpointsRequest) -> Result<CombinationRequest, ApiError> {
    check_version(request.protocol_version)?;
    let mut wrong = Violations::default();
    let origin = blob_from_wire(&mut wrong, "origin", request.origin);
    check_count(&mut wrong, "terms", request.terms.len());
    if request.tensors.is_empty() {
        wrong.add("tensors", "empty; a direction has a tensor at least");
    }
    let mut terms = Vec::with_capacity(request.terms.len());
    for v1::CombinationTerm { checkpoint, coefficient } in request.terms {
        if !coefficient.is_finite() {
            wrong.add("terms.coefficient", format!("{coefficient} is not finite"));
        }
        if let Some(checkpoint) = blob_from_wire(&mut wrong, "terms.checkpoint", checkpoint) {
            terms.push((checkpoint, coefficient));
        }
    }
    let (trajectory, tensors, ticket) = (request.trajectory, request.tensors, request.ticket);
    let request = origin.map(|origin| CombinationRequest { trajectory, origin, terms, tensors, ticket });
    wrong.finish(request)
}

fn row_to_wire(row: &RowRef) -> v1::GramRow {
    let source = match row {
        RowRef::Point(blob) => v1::gram_row::Source::Point(blob_to_wire(blob)),
        RowRef::Step(blob) => v1::gram_row::Source::Step(blob_to_wire(blob)),
    };
    v1::GramRow { source: Some(source) }
}

fn rows_from_wire(wrong: &mut Violations, field: &str, rows: Vec<v1::GramRow>) -> Vec<RowRef> {
    check_count(wrong, field, rows.len());
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        let row = match row.source {
            Some(v1::gram_row::Source::Point(blob)) => {
                blob_from_wire(wrong, &format!("{field}.point"), Some(blob)).map(RowRef::Point)
            }
            Some(v1::gram_row::Source::Step(blob)) => {
                blob_from_wire(wrong, &format!("{field}.step"), Some(blob)).map(RowRef::Step)
            }
            None => {
                wrong.add(format!("{field}.source"), "missing");
                None
            }
        };
        read.extend(row);
    }
    read
}

fn check_count(wrong: &mut Violations, field: &str, n: usize) {
    if !(1..=MAX_ROWS).contains(&n) {
        wrong.add(field, format!("{n} given; there are 1 to {MAX_ROWS}"));
    }
}

#[cfg(test)]
mod tests {
    use relief_core::Digest;

    use super::*;

    fn blob(path: &str) -> BlobRef {
        BlobRef { path: path.to_owned(), digest: Digest::of(path.as_bytes()) }
    }

    fn gram() -> GramRequest {
        GramRequest {
            trajectory: "trajectories/t".to_owned(),
            tile_idx: 4,
            origin: blob("runs/r/snapshots/3.safetensors"),
            rows: vec![RowRef::Point(blob("runs/r/snapshots/1.safetensors"))],
            columns: vec![RowRef::Step(blob("directions/d.safetensors"))],
            slices: vec![TensorSlice { tensor: "conv1.weight".to_owned(), first: 7, count: 20 }],
            ticket: 9,
        }
    }

    fn combination() -> CombinationRequest {
        CombinationRequest {
            trajectory: "trajectories/t".to_owned(),
            origin: blob("a"),
            terms: vec![(blob("b"), 0.5), (blob("c"), -2.0)],
            tensors: vec!["conv1.weight".to_owned()],
            ticket: 3,
        }
    }

    #[test]
    fn requests_survive_the_wire() {
        assert_eq!(gram_from_wire(gram_to_wire(&gram())), Ok(gram()));
        assert_eq!(combination_from_wire(combination_to_wire(&combination())), Ok(combination()));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut wrong = gram_to_wire(&gram());
        wrong.rows.clear();
        wrong.columns[0].source = None;
        wrong.slices[0].count = 0;
        let error = gram_from_wire(wrong).expect_err("three wrong fields");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["rows", "columns.source", "slices"]);

        let mut wrong = combination_to_wire(&combination());
        wrong.terms[1].coefficient = f64::NAN;
        wrong.tensors.clear();
        let error = combination_from_wire(wrong).expect_err("two wrong fields");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["tensors", "terms.coefficient"]);
    }
}
