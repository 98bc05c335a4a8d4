//! Requests for the logits of a checkpoint.

use relief_core::InferenceSpec;

use super::numerics::numerics_from_wire;
use super::surface::{required, slice_from_wire};
use crate::error::{ApiError, Violations};
use crate::inference::v1;

/// Returns what a request asks for.
///
/// # Errors
/// With every field that is wrong.
pub fn inference_from_wire(request: v1::ComputeLogitsRequest) -> Result<InferenceSpec, ApiError> {
    let mut wrong = Violations::default();
    let network = match request.network.as_str() {
        "" => Some(None),
        name => wrong.check("network", name.parse()).map(Some),
    };
    let checkpoint = wrong.check("checkpoint", request.checkpoint.parse());
    let data = required(&mut wrong, "data", request.data, Ok::<_, ApiError>)
        .and_then(|data| slice_from_wire(&mut wrong, "data", data));
    let numerics = numerics_from_wire(&mut wrong, "numerics", request.numerics);
    let spec =
        (|| Some(InferenceSpec { network: network?, checkpoint: checkpoint?, data: data?, numerics: numerics? }))();
    wrong.finish(spec)
}

#[cfg(test)]
mod tests {
    use relief_core::Split;

    use super::*;
    use crate::surface::v1::{DatasetSlice, NumericRequest};

    fn good() -> v1::ComputeLogitsRequest {
        v1::ComputeLogitsRequest {
            network: String::new(),
            checkpoint: "runs/r/snapshots/3".to_owned(),
            data: Some(DatasetSlice { dataset: "d".to_owned(), split: 2, limit: None }),
            numerics: None,
        }
    }

    #[test]
    fn the_network_may_be_left_to_the_checkpoint() {
        let spec = inference_from_wire(good()).expect("a good request");
        assert_eq!((spec.network, spec.data.split, spec.data.limit), (None, Split::Test, None));
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let data = DatasetSlice { dataset: "../d".to_owned(), split: 7, limit: Some(0) };
        let request = v1::ComputeLogitsRequest {
            network: "../n".to_owned(),
            checkpoint: String::new(),
            data: Some(data),
            numerics: Some(NumericRequest { engine: 9, precision: 1 }),
        };
        let error = inference_from_wire(request).expect_err("six wrong fields");
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        let all = ["network", "checkpoint", "data.dataset", "data.split", "data.limit", "numerics.engine"];
        assert_eq!(fields, all);
        let error = inference_from_wire(v1::ComputeLogitsRequest { data: None, ..good() }).expect_err("no data");
        assert_eq!(error.violations[0].field, "data");
    }
}
