//! What a surface is computed in: an evaluator is asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use relief_api::convert::evaluation::{ChoiceRequest, choice_to_wire};
use relief_api::evaluator::v1::NumericChoice;
use relief_api::evaluator::v1::choose_numerics_response::Event;
use relief_api::{ApiError, Violations};
use relief_core::Grid;

use super::attempt::plane_of;
use super::{End, Term, samples_per_point};
use crate::fleet::Link;
use crate::job::Job;
use crate::reply::{Refused, next_message, objection_of, of_later_version, read_refusal, stalled};

/// The forward passes of a surface for which shorter precisions are tried: four times those of a trial, five points in two
/// precisions on 512 samples.
const WORTH_TRYING: u64 = 4 * 5 * 2 * 512;

impl Term {
    /// Has an evaluator choose what a job is computed in. It is only asked once: the scheduler says whom to ask next.
    pub(super) async fn choose(self: Arc<Self>, job: Arc<Job>, idx: usize) {
        let Some(link) = self.fleet.links().get(idx) else { return };
        let key = job.key;
        match self.try_choose(link, &job).await {
            Ok(NumericChoice { numeric_class, reason }) => {
                tracing::info!(
                    surface = %job.id(), evaluator = link.name, class = numeric_class, reason, "numerics are chosen"
                );
                self.tell(|state, now| state.scheduler.chosen(now, key, idx, numeric_class.into()));
            }
            Err(refused) => {
                let objection = objection_of(&refused);
                let error = of_specification(refused.error);
                tracing::info!(
                    surface = %job.id(), evaluator = link.name, %error, reason = error.reason.as_str(),
                    "numerics are not chosen"
                );
                self.tell(|state, now| match objection {
                    Some(objection) => state.scheduler.not_chosen(now, key, idx, objection, &error),
                    None => drop(state.scheduler.end_job(now, key, End::Failed(error))),
                });
            }
        }
    }

    async fn try_choose(&self, link: &Link, job: &Job) -> Result<NumericChoice, Refused> {
        let stall_timeout = self.options.settings.stall_timeout;
        let record = job.record();
        let request = choice_to_wire(&ChoiceRequest {
            surface: job.id().to_string(),
            plane: plane_of(&record),
            numerics: record.spec.numerics,
            probes: probes_of(&record.spec.grid, samples_per_point(&record)),
        });
        let opened = tokio::time::timeout(stall_timeout, link.port.choose_numerics(request)).await;
        let opened = opened.map_err(|_| stalled(stall_timeout))?;
        let mut answers = opened.map_err(|status| read_refusal(&status))?;
        loop {
            match next_message(&mut answers, stall_timeout).await?.map(|message| message.event) {
                Some(Some(Event::Heartbeat(_))) => {}
                Some(Some(Event::Choice(choice))) => return Ok(choice),
                Some(None) | None => return Err(of_later_version().into()),
            }
        }
    }
}

/// The coefficients at the centre and the corners of a grid, where the losses of a surface lie furthest apart; none where
/// all points together are hardly more work than to try some in two precisions.
fn probes_of(grid: &Grid, n_samples: u64) -> Vec<(f64, f64)> {
    let n_points = u64::from(grid.n_rows()) * u64::from(grid.n_columns());
    if n_points.saturating_mul(n_samples) < WORTH_TRYING {
        return Vec::new();
    }
    let ends = |n: u32| BTreeSet::from([0, n.saturating_sub(1)]);
    let (rows, columns) = (grid.n_rows(), grid.n_columns());
    let corners = ends(rows).into_iter().flat_map(|row| ends(columns).into_iter().map(move |column| (row, column)));
    let centre = std::iter::once((rows / 2, columns / 2));
    let places: BTreeSet<(u32, u32)> = centre.chain(corners).collect();
    places.into_iter().map(|(row, column)| grid.coefficients(row, column)).collect()
}

/// A refusal of an evaluator in the words of the request for a surface.
fn of_specification(error: ApiError) -> ApiError {
    let is_of_numerics = |field: &str| field.starts_with("numerics.");
    if !error.violations.iter().any(|violation| is_of_numerics(&violation.field)) {
        return error;
    }
    let mut told = Violations::default();
    for violation in error.violations {
        let field = violation.field;
        let field = if is_of_numerics(&field) { format!("spec.{field}") } else { field };
        told.add(field, violation.description);
    }
    ApiError { reason: error.reason, ..told.into_error() }
}

#[cfg(test)]
mod tests {
    use relief_api::ErrorReason;
    use relief_core::Axis;

    use super::*;

    #[test]
    fn numerics_are_tried_at_the_centre_and_the_corners() {
        let axis = |text: &str| text.parse::<Axis>().expect("a good axis");
        let surface = Grid { x: axis("-1:1:5"), y: Some(axis("-2:2:3")) };
        let corners = [(-1.0, -2.0), (1.0, -2.0), (0.0, 0.0), (-1.0, 2.0), (1.0, 2.0)];
        assert_eq!(probes_of(&surface, 60_000), corners);
        let curve = Grid { x: axis("0:1:3"), y: None };
        assert_eq!(probes_of(&curve, 60_000), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]);
        assert_eq!(probes_of(&Grid { x: axis("1:1:1"), y: None }, 60_000), [(1.0, 0.0)]);
        // 15 points of 1,000 samples.
        assert_eq!(probes_of(&surface, 1000), []);
    }

    #[test]
    fn what_an_evaluator_says_of_its_request_is_said_of_the_surface() {
        let refusal = ApiError::field("numerics.engine", "`cpu`; this evaluator offers burn/f32");
        let refusal = ApiError { reason: ErrorReason::NumericsUnavailable, ..refusal };
        let told = of_specification(refusal);
        assert_eq!(
            (told.reason, told.violations[0].field.as_str()),
            (ErrorReason::NumericsUnavailable, "spec.numerics.engine")
        );
        assert_eq!(told.message, "spec.numerics.engine: `cpu`; this evaluator offers burn/f32");
        let other = ApiError::new(ErrorReason::QueueFull, "full");
        assert_eq!(of_specification(other.clone()), other);
    }
}
