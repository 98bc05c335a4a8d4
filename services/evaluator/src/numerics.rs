//! What is offered to compute in, and which of it suits a plane.

use relief_api::{ApiError, ErrorReason};
use relief_core::{BatchNormMode, NumericRequest, Numerics, PointValues, Precision};
use relief_graph::Graph;
use relief_nn::{Device, NumericChoice, NumericsError};

/// How far the loss in a shorter precision may lie from that in float32, as a part of it.
const MAX_DIFFERENCE: f64 = 1e-5;

/// What an evaluator computes in.
#[derive(Debug)]
pub(crate) struct NumericOffers {
    device: Device,
    restriction: NumericRequest,
    /// The best first.
    offers: Vec<(Numerics, String)>,
}

/// Why an evaluator would have nothing to compute in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device does not compute in {}; it offers {}", words(.restriction), list(.offers))]
pub struct NothingOffered {
    restriction: NumericRequest,
    offers: Vec<Numerics>,
}

impl NumericOffers {
    /// Returns what `device` offers, in batches of `batch_size`, of what `restriction` allows.
    pub(crate) fn of(device: &Device, batch_size: usize, restriction: NumericRequest) -> Result<Self, NothingOffered> {
        let class = |numerics| (numerics, device.numeric_class(numerics, batch_size));
        let all = device.offers();
        let offers: Vec<_> = all.iter().copied().filter(|offer| restriction.allows(*offer)).map(class).collect();
        match offers.is_empty() {
            true => Err(NothingOffered { restriction, offers: all }),
            false => Ok(Self { device: device.clone(), restriction, offers }),
        }
    }

    /// The numeric classes, the best first.
    pub(crate) fn classes(&self) -> impl Iterator<Item = &str> {
        self.offers.iter().map(|(_, class)| class.as_str())
    }

    /// What the values of `class` are computed in; none when it is not offered.
    pub(crate) fn numerics_of(&self, class: &str) -> Option<Numerics> {
        self.offers.iter().find(|(_, offered)| offered == class).map(|(numerics, _)| *numerics)
    }

    /// The numeric class of what is offered.
    pub(crate) fn class_of(&self, numerics: Numerics) -> Result<String, ApiError> {
        let class = self.offers.iter().find(|(offered, _)| *offered == numerics).map(|(_, class)| class.clone());
        class.ok_or_else(|| ApiError::new(ErrorReason::Internal, format!("{numerics} was chosen and is not offered")))
    }

    /// Checks that something of what is offered is what `request` asks for, whatever the network.
    ///
    /// # Errors
    /// `NUMERICS_UNAVAILABLE`, with the field.
    pub(crate) fn check(&self, request: NumericRequest) -> Result<(), ApiError> {
        match self.offers.iter().any(|(offer, _)| request.allows(*offer)) {
            true => Ok(()),
            false => Err(self.unavailable(request)),
        }
    }

    /// Chooses what a network is computed in, of what is offered and `request` allows.
    ///
    /// # Errors
    /// `NUMERICS_UNAVAILABLE` when nothing like that is offered, `INVALID_FIELD` when what is asked for cannot compute
    /// the network, here or elsewhere.
    pub(crate) fn choose(
        &self,
        graph: &Graph,
        batch_norm: BatchNormMode,
        request: NumericRequest,
    ) -> Result<NumericChoice, ApiError> {
        let wanted = request.and(self.restriction).ok_or_else(|| self.unavailable(request))?;
        self.device.choose(graph, batch_norm, wanted).map_err(|NumericsError { passed_over, .. }| {
            let Some(reason) = passed_over else { return self.unavailable(request) };
            let is_possible = self.device.choose(graph, batch_norm, request).is_ok();
            match (request.engine, request.precision) {
                // Any other evaluator says the same.
                (Some(engine), _) if !is_possible => {
                    ApiError::field("numerics.engine", format!("`{engine}`: {reason}"))
                }
                (None, Some(precision)) if !is_possible => {
                    ApiError::field("numerics.precision", format!("`{precision}`: {reason}"))
                }
                _ => unavailable("numerics.engine", format!("{reason}; this evaluator offers {}", self.list())),
            }
        })
    }

    /// What is to be tried before `choice` is made of `request`; nothing where the request names a precision, or there is
    /// none but float32.
    pub(crate) fn trial(&self, request: NumericRequest, choice: Numerics) -> Option<Trial> {
        let exact = Numerics { precision: Precision::F32, ..choice };
        let short = match choice.precision {
            Precision::F32 => Numerics { precision: Precision::SplitBf16, ..choice },
            _ => choice,
        };
        let is_offered = |wanted: Numerics| self.offers.iter().any(|(offer, _)| *offer == wanted);
        let is_open = request.precision.is_none() && is_offered(short);
        is_open.then(|| Trial { exact, short, is_exact_offered: is_offered(exact) })
    }

    /// That `short` is all there is for what must be as good as float32, and is not.
    pub(crate) fn not_good_enough(&self, short: Numerics, found: &str) -> ApiError {
        let message = format!("{found}; {short} must be asked for by name, and this evaluator offers {}", self.list());
        unavailable("numerics.precision", message)
    }

    fn unavailable(&self, request: NumericRequest) -> ApiError {
        let has_engine = |engine| self.offers.iter().any(|(offer, _)| offer.engine == engine);
        match (request.engine, request.precision) {
            (Some(engine), precision) if precision.is_none() || !has_engine(engine) => {
                unavailable("numerics.engine", format!("`{engine}`; this evaluator offers {}", self.list()))
            }
            (engine, precision) => {
                let precision = precision.map_or("auto", |precision| precision.as_str());
                let engine = engine.map(|engine| format!(" with engine {engine}")).unwrap_or_default();
                let message = format!("`{precision}`{engine}; this evaluator offers {}", self.list());
                unavailable("numerics.precision", message)
            }
        }
    }

    fn list(&self) -> String {
        list(&self.offers.iter().map(|(numerics, _)| *numerics).collect::<Vec<_>>())
    }
}

fn unavailable(field: &str, message: String) -> ApiError {
    ApiError { reason: ErrorReason::NumericsUnavailable, ..ApiError::field(field, message) }
}

fn list(offers: &[Numerics]) -> String {
    offers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn words(request: &NumericRequest) -> String {
    let engine = request.engine.map(|engine| format!("engine {engine}"));
    let precision = request.precision.map(|precision| format!("precision {precision}"));
    engine.into_iter().chain(precision).collect::<Vec<_>>().join(" with ")
}

/// A shorter precision that is good enough only if it tells the same as float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) exact: Numerics,
    pub(crate) short: Numerics,
    /// Whether float32 can be chosen too, or only be compared with.
    pub(crate) is_exact_offered: bool,
}

/// A point in float32 and in a shorter precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Probe {
    /// Its coefficients.
    pub(crate) at: (f64, f64),
    pub(crate) exact: PointValues,
    pub(crate) short: PointValues,
}

impl Probe {
    /// The losses in float32 and in the shorter precision, of each split.
    fn losses(&self) -> impl Iterator<Item = (f64, f64)> {
        let of = |values: &PointValues| [Some(values.main), values.also].map(|value| value.map(|value| value.loss));
        of(&self.exact).into_iter().zip(of(&self.short)).filter_map(|(exact, short)| exact.zip(short))
    }
}

/// Says whether a shorter precision is as good as float32 at all of `probes`, and what was found.
pub(crate) fn compare(probes: &[Probe], short: Numerics) -> (bool, String) {
    let mut largest: f64 = 0.0;
    for probe in probes {
        for (exact, value) in probe.losses() {
            let difference = difference(exact, value);
            if difference > MAX_DIFFERENCE {
                let (x, y) = probe.at;
                return (false, format!("at ({x}, {y}) the loss is {value:e} in {short} and {exact:e} in float32"));
            }
            largest = largest.max(difference);
        }
    }
    let n_probes = probes.len();
    (true, format!("at {n_probes} points losses in {short} are within {largest:.1e} of those in float32"))
}

/// How far a value lies from the exact one, as a part of that; without bound where only one of them is finite.
fn difference(exact: f64, value: f64) -> f64 {
    if exact == value || (exact.is_nan() && value.is_nan()) {
        return 0.0;
    }
    let difference = (value - exact).abs() / exact.abs();
    if difference.is_nan() { f64::INFINITY } else { difference }
}

#[cfg(test)]
mod tests {
    use relief_core::{Engine, PointValue};
    use relief_graph::builtin;

    use super::*;

    fn request(engine: Option<Engine>, precision: Option<Precision>) -> NumericRequest {
        NumericRequest { engine, precision }
    }

    #[test]
    fn what_a_device_does_not_offer_is_no_restriction_to_start_with() {
        let device = Device::cpu();
        let missing = request(Some(Engine::Burn), Some(Precision::Bf16));
        let error = NumericOffers::of(&device, 128, missing).expect_err("burn computes in float32");
        assert!(error.to_string().contains("engine burn with precision bf16; it offers"), "{error}");
        assert!(error.to_string().contains("burn/f32"), "{error}");
        let numerics = NumericOffers::of(&device, 128, request(Some(Engine::Burn), None)).expect("burn is there");
        let classes: Vec<&str> = numerics.classes().collect();
        let burn = Numerics { engine: Engine::Burn, precision: Precision::F32 };
        assert_eq!(classes, [device.numeric_class(burn, 128)]);
        assert_eq!((numerics.numerics_of(classes[0]), numerics.numerics_of("abacus/f8")), (Some(burn), None));
    }

    #[test]
    fn what_is_asked_for_and_not_offered_is_named() {
        let numerics =
            NumericOffers::of(&Device::cpu(), 128, request(Some(Engine::Burn), None)).expect("burn is there");
        let graph = builtin::build_default("lenet5").expect("built in");
        let choose = |request| numerics.choose(&graph, BatchNormMode::Frozen, request);
        let chosen = choose(NumericRequest::default()).expect("burn computes everything").numerics;
        assert_eq!(chosen, Numerics { engine: Engine::Burn, precision: Precision::F32 });
        assert_eq!(numerics.trial(NumericRequest::default(), chosen), None);
        for (wanted, field, word) in [
            (request(Some(Engine::Cpu), None), "numerics.engine", "`cpu`"),
            (request(Some(Engine::Cpu), Some(Precision::F32)), "numerics.engine", "`cpu`"),
            (request(None, Some(Precision::Bf16)), "numerics.precision", "`bf16`;"),
            (request(Some(Engine::Burn), Some(Precision::Bf16)), "numerics.precision", "`bf16` with engine burn"),
        ] {
            let errors =
                [choose(wanted).map(drop), numerics.check(wanted)].map(|checked| checked.expect_err("a refusal"));
            assert_eq!(errors[0], errors[1]);
            let [error, _] = errors;
            assert_eq!(error.reason, ErrorReason::NumericsUnavailable);
            assert_eq!(error.violations[0].field, field);
            assert!(error.message.contains(word) && error.message.contains("offers burn/f32"), "{error}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_tried_also_where_nothing_else_is_offered() {
        let cpu = |precision| Numerics { engine: Engine::Cpu, precision };
        let device = Device::cpu();
        for precision in [Precision::SplitBf16, Precision::Bf16] {
            let Ok(restricted) = NumericOffers::of(&device, 128, request(None, Some(precision))) else { continue };
            let graph = builtin::build_default("lenet5").expect("built in");
            let open = NumericRequest::default();
            let chosen = restricted.choose(&graph, BatchNormMode::Frozen, open).expect("it is offered").numerics;
            assert_eq!(chosen, cpu(precision));
            let trial = Trial { exact: cpu(Precision::F32), short: cpu(precision), is_exact_offered: false };
            assert_eq!(restricted.trial(open, chosen), Some(trial));
            assert_eq!(restricted.trial(request(None, Some(precision)), chosen), None);
            let refusal = restricted.not_good_enough(chosen, "they differ");
            assert_eq!(refusal.reason, ErrorReason::NumericsUnavailable);
            assert_eq!(refusal.violations[0].field, "numerics.precision");
            assert!(refusal.message.contains(&format!("offers cpu/{precision}")), "{refusal}");
        }
    }

    #[test]
    fn a_shorter_precision_must_be_as_good_everywhere() {
        let short = Numerics { engine: Engine::Cpu, precision: Precision::SplitBf16 };
        let value = |loss| PointValue { loss, squared_error: 0.5, accuracy: 10.0 };
        let values = |loss| PointValues { main: value(loss), also: Some(value(1.0)) };
        let probe = |exact, short| Probe { at: (1.0, -1.0), exact: values(exact), short: values(short) };
        let is_good = |probes: &[Probe]| compare(probes, short).0;
        assert!(is_good(&[probe(2.0, 2.0 + 1e-5), probe(0.0, 0.0), probe(f64::NAN, f64::NAN)]));
        assert!(is_good(&[probe(f64::INFINITY, f64::INFINITY)]) && is_good(&[]));
        for (exact, other) in [(2.0, 2.0 + 1e-4), (f64::NAN, 1.0), (1.0, f64::INFINITY), (0.0, 1e-9)] {
            let probes = [probe(1.0, 1.0), probe(exact, other)];
            let (is_good, found) = compare(&probes, short);
            assert!(!is_good && found.contains("at (1, -1)") && found.contains("cpu/split-bf16"), "{found}");
        }
        // The second split counts as much.
        let also = PointValues { main: value(1.0), also: Some(value(1.1)) };
        assert!(!is_good(&[Probe { short: also, ..probe(1.0, 1.0) }]));
    }
}
