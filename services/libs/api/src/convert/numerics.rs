//! What losses are to be computed in.

use relief_core::{Engine, NumericRequest, Precision};

use super::UnknownNumber;
use crate::error::Violations;
use crate::surface::v1;

/// Returns what is asked for in the field `field`, everything being open where there is none, and notes what is wrong
/// with it below that.
pub(super) fn numerics_from_wire(
    wrong: &mut Violations,
    field: &str,
    numerics: Option<v1::NumericRequest>,
) -> Option<NumericRequest> {
    let v1::NumericRequest { engine, precision } = numerics.unwrap_or_default();
    let engine = wrong.check(&format!("{field}.engine"), engine_from_wire(engine));
    let precision = wrong.check(&format!("{field}.precision"), precision_from_wire(precision));
    Some(NumericRequest { engine: engine?, precision: precision? })
}

/// Returns the engine that a message names; none when it names none.
///
/// # Errors
/// For a number that this version does not know.
pub fn engine_from_wire(engine: i32) -> Result<Option<Engine>, UnknownNumber> {
    match v1::Engine::try_from(engine) {
        Ok(v1::Engine::Unspecified) => Ok(None),
        Ok(v1::Engine::Cpu) => Ok(Some(Engine::Cpu)),
        Ok(v1::Engine::Burn) => Ok(Some(Engine::Burn)),
        Err(_) => Err(UnknownNumber { number: engine, known: "0 for any, 1 cpu, 2 burn" }),
    }
}

/// Returns the precision that a message names; none when it names none.
///
/// # Errors
/// For a number that this version does not know.
pub fn precision_from_wire(precision: i32) -> Result<Option<Precision>, UnknownNumber> {
    match v1::Precision::try_from(precision) {
        Ok(v1::Precision::Unspecified) => Ok(None),
        Ok(v1::Precision::F32) => Ok(Some(Precision::F32)),
        Ok(v1::Precision::SplitBf16) => Ok(Some(Precision::SplitBf16)),
        Ok(v1::Precision::Bf16) => Ok(Some(Precision::Bf16)),
        Err(_) => Err(UnknownNumber { number: precision, known: "0 for any, 1 f32, 2 split-bf16, 3 bf16" }),
    }
}

/// Returns what is asked for as a message; none where everything is open.
#[must_use]
pub fn numerics_to_wire(request: NumericRequest) -> Option<v1::NumericRequest> {
    let engine = request.engine.map_or(v1::Engine::Unspecified, |engine| match engine {
        Engine::Cpu => v1::Engine::Cpu,
        Engine::Burn => v1::Engine::Burn,
    });
    let precision = request.precision.map_or(v1::Precision::Unspecified, |precision| match precision {
        Precision::F32 => v1::Precision::F32,
        Precision::SplitBf16 => v1::Precision::SplitBf16,
        Precision::Bf16 => v1::Precision::Bf16,
    });
    (!request.is_open()).then(|| v1::NumericRequest { engine: engine.into(), precision: precision.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_survives_the_wire() {
        for engine in [None, Some(Engine::Cpu), Some(Engine::Burn)] {
            for precision in [None, Some(Precision::F32), Some(Precision::SplitBf16), Some(Precision::Bf16)] {
                let (request, mut wrong) = (NumericRequest { engine, precision }, Violations::default());
                let read = numerics_from_wire(&mut wrong, "numerics", numerics_to_wire(request));
                assert_eq!(wrong.finish(read), Ok(request));
            }
        }
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let mut wrong = Violations::default();
        let unknown = v1::NumericRequest { engine: 9, precision: -1 };
        assert_eq!(numerics_from_wire(&mut wrong, "spec.numerics", Some(unknown)), None);
        let error = wrong.into_error();
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["spec.numerics.engine", "spec.numerics.precision"]);
        assert!(error.message.contains("9 is not one of its values: 0 for any, 1 cpu, 2 burn"), "{error}");
    }
}
