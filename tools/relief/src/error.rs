//! Why a command ends without its result, as told to people and to the shell.

use std::io::ErrorKind;
use std::process::ExitCode;

use relief_api::{ApiError, ErrorReason, FieldViolation};
use relief_rpc::Endpoint;

use crate::output;

/// A failure whose kind matters for what is said or for the exit status; any other is an [`anyhow::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Something on the command line that its definition alone does not refuse.
    #[error("{0}")]
    WrongUse(String),
    /// The server refused the call.
    #[error("{0}")]
    Refused(ApiError),
    /// There is no server.
    #[error("no relief server at {endpoint}; start one with `relief up`, or name another with {flag}")]
    Unreachable { endpoint: Endpoint, flag: &'static str },
    /// The server went away during the call, or speaks something else.
    #[error("lost the connection to the server at {endpoint}: {reason}")]
    Disconnected { endpoint: Endpoint, reason: String },
    /// The server lacks the service.
    #[error(
        "the server at {endpoint} does not offer this call; name one that runs all services, as `relief up` does, with \
         --endpoint, or that of training runs with --trainer-endpoint and that of pictures with --renderer-endpoint"
    )]
    Unimplemented { endpoint: Endpoint },
    /// A message without a part that it must have.
    #[error("the server at {endpoint} sent an answer without its {part}; it may be of another version")]
    Incomplete { endpoint: Endpoint, part: &'static str },
    /// A job ended as failed.
    #[error("{name} failed: {reason}")]
    JobFailed { name: String, reason: String },
    /// A job ended as cancelled.
    #[error("{name} was cancelled")]
    JobCancelled { name: String },
    /// The stream of a job's changes ended before the job did.
    #[error("the server stopped reporting on {name} before its end; `relief {noun} watch {name}` follows it again")]
    JobLost { noun: &'static str, name: String },
    /// The user stopped following a job.
    #[error(
        "interrupted; {name} goes on, `relief {noun} watch {name}` follows it, `relief {noun} cancel {name}` stops it"
    )]
    LeftRunning { noun: &'static str, name: String },
    /// The user stopped what ran in this process.
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::WrongUse(_) | Self::Refused(ApiError { reason: ErrorReason::InvalidField, .. }) => 2,
            // What a shell reports of a process that SIGINT ended.
            Self::LeftRunning { .. } | Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// Tells `error` on standard error and returns the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    lines(error).iter().for_each(|line| output::note(&format!("error: {line}")));
    ExitCode::from(exit_status(error))
}

fn exit_status(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<CommandError>().map_or(1, CommandError::exit_status)
}

fn lines(error: &anyhow::Error) -> Vec<String> {
    if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        // Whoever read the output has seen enough.
        return Vec::new();
    }
    match error.downcast_ref::<CommandError>() {
        Some(refused @ CommandError::Refused(ApiError { violations, .. })) if !violations.is_empty() => {
            // What was done, as in "cannot import FILE", where that was said.
            let done = Some(error.to_string()).filter(|done| *done != refused.to_string());
            let done = done.map(|done| format!("{done}: ")).unwrap_or_default();
            violations.iter().map(|wrong| format!("{done}{}", violation(wrong))).collect()
        }
        Some(CommandError::Refused(ApiError { message, reason, .. })) if message.is_empty() => {
            vec![format!("the server refused with {reason}")]
        }
        _ => vec![format!("{error:#}")],
    }
}

fn violation(FieldViolation { field, description }: &FieldViolation) -> String {
    if FILES.contains(&field.as_str()) {
        return description.clone();
    }
    format!("{}: {description}", flag(field).unwrap_or(field))
}

/// The fields that carry a file, which is named beside.
const FILES: [&str; 3] = ["chunk", "inputs_chunk", "targets_chunk"];

/// The flag or argument that gives the field of a request, if there is one.
fn flag(field: &str) -> Option<&'static str> {
    Some(match field {
        "spec.network" | "header.network" | "network" => "--network",
        "spec.plane.origin" => "--checkpoint",
        "checkpoint" => "CHECKPOINT",
        "spec.dataset" | "spec.data.dataset" | "data.dataset" => "--dataset",
        "spec.data.split" | "spec.also_split" | "data.split" | "header.split" | "split" => "--split",
        "spec.data.limit" | "data.limit" => "--limit",
        "spec.x" => "--x",
        "spec.y" => "--y",
        "spec.plane.x" => "--x-direction",
        "spec.plane.y" => "--y-direction",
        "spec.plane.x.towards" => "--to",
        "spec.plane.y.towards" => "--y-to",
        "spec.plane.batch_norm" => "--batch-norm",
        "spec.tile" => "--tile",
        "spec.numerics.engine" | "numerics.engine" => "--engine",
        "spec.numerics.precision" | "numerics.precision" => "--precision",
        "spec.scheduling.client" => "--client",
        "spec.scheduling.priority" => "--priority",
        "spec.scheduling.weight" => "--weight",
        "spec.epochs" => "--epochs",
        "spec.batch_size" => "--batch",
        "spec.rate" => "--rate",
        "spec.momentum" => "--momentum",
        "spec.weight_decay" => "--weight-decay",
        "spec.milestones" => "--milestones",
        "spec.seed" => "--seed",
        "header.format" => "--format",
        "header.mean" | "mean" => "--mean",
        "header.std" | "std" => "--std",
        "header.n_classes" | "n_classes" => "--classes",
        "header.name" | "name" | "surface" => "NAME",
        "kind" => "--kind",
        "scale" => "--log",
        "title" => "--title",
        "format" => "--out",
        "theme" => "--theme",
        "palette" => "--palette",
        "width" => "--width",
        "dpi" => "--dpi",
        "azimuth" => "--azimuth",
        "elevation" => "--elevation",
        "projection" => "--orthographic",
        "loss_max" => "--loss-max",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use relief_api::Violations;

    use super::*;

    fn refused(violations: &[(&str, &str)]) -> anyhow::Error {
        let mut wrong = Violations::default();
        violations.iter().for_each(|(field, description)| wrong.add(*field, *description));
        CommandError::Refused(wrong.finish(None::<()>).expect_err("a refusal")).into()
    }

    #[test]
    fn every_wrong_field_has_a_line_with_its_flag() {
        let error = refused(&[
            ("spec.plane.origin", "there is none"),
            ("spec.data.limit", "too few"),
            ("spec.weight_decay", "-1 is out of bounds"),
            ("spec.novelty", "strange"),
        ]);
        let expected = [
            "--checkpoint: there is none",
            "--limit: too few",
            "--weight-decay: -1 is out of bounds",
            "spec.novelty: strange",
        ];
        assert_eq!(lines(&error), expected);
        assert_eq!(exit_status(&error), 2);
    }

    #[test]
    fn the_file_that_is_wrong_is_named() {
        let error = refused(&[("train inputs", "truncated")]).context("cannot import a.npz");
        assert_eq!(lines(&error), ["cannot import a.npz: train inputs: truncated"]);
    }

    #[test]
    fn failure_is_told_with_its_causes_and_is_not_wrong_use() {
        let error = anyhow::anyhow!("no space left").context("cannot write a.json");
        assert_eq!(lines(&error), ["cannot write a.json: no space left"]);
        assert_eq!(exit_status(&error), 1);
        let error = CommandError::Refused(ApiError::new(ErrorReason::NotFound, "there is no runs/x")).into();
        assert_eq!((lines(&error), exit_status(&error)), (vec!["there is no runs/x".to_owned()], 1));
    }

    #[test]
    fn wrong_use_keeps_its_status_below_a_context() {
        let error = anyhow::Error::from(CommandError::WrongUse("two files".to_owned())).context("cannot import");
        assert_eq!(exit_status(&error), 2);
    }

    #[test]
    fn a_reader_that_left_is_no_news() {
        let error = anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe)).context("cannot print");
        assert_eq!(lines(&error), Vec::<String>::new());
    }

    #[test]
    fn interruption_says_how_to_go_on() {
        let error = CommandError::LeftRunning { noun: "surface", name: "surfaces/a".to_owned() }.into();
        assert!(lines(&error)[0].contains("`relief surface watch surfaces/a`"));
        assert_eq!(exit_status(&error), 130);
    }
}
