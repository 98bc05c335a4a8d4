//! Why a call is refused or a job fails: one closed set of reasons, mapped once.

use std::collections::HashMap;
use std::fmt;

use relief_store::{StoreError, StoreErrorKind};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "relief";
/// The key of the leader's endpoint in the metadata of a refusal.
const LEADER: &str = "leader";

/// Why a call is refused or a job fails. Each has one gRPC code and one answer to "may it be tried again".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorReason {
    /// Fields of the request are wrong; the refusal lists them.
    InvalidField,
    /// The content of an import is not what it should be.
    InvalidContent,
    /// Nothing has that name.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The resource is in a state in which that cannot be done.
    WrongState,
    /// The other side speaks another protocol version or computes in another numeric class.
    VersionMismatch,
    /// A stored object is damaged or not the one that was named.
    DataCorrupt,
    /// There is no room in the queue now.
    QueueFull,
    /// The object store cannot be reached, or answers with an error.
    StoreUnavailable,
    /// The client has as many jobs as one may have.
    QuotaExceeded,
    /// Memory does not suffice for the work.
    OutOfMemory,
    /// The service is stopping.
    ShuttingDown,
    /// Another process leads; the refusal names where it is, if that is known.
    NotLeader,
    /// No evaluator answers that could compute it.
    NoEvaluator,
    /// The evaluator offers no engine or no precision like the one that is asked for.
    NumericsUnavailable,
    /// The same tile failed on several evaluators.
    EvaluationFailed,
    /// Somebody asked for it to stop.
    Cancelled,
    /// A fault of this software.
    Internal,
}

/// Whether a refused call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call will be refused again, by whomever it is made to.
    Never,
    /// The same call may pass elsewhere; it counts as a failure of the work.
    Elsewhere,
    /// The same call may pass elsewhere or later; it is no failure of the work.
    Later,
}

impl ErrorReason {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::InvalidField,
        Self::InvalidContent,
        Self::NotFound,
        Self::AlreadyExists,
        Self::WrongState,
        Self::VersionMismatch,
        Self::DataCorrupt,
        Self::QueueFull,
        Self::StoreUnavailable,
        Self::QuotaExceeded,
        Self::OutOfMemory,
        Self::ShuttingDown,
        Self::NotLeader,
        Self::NoEvaluator,
        Self::NumericsUnavailable,
        Self::EvaluationFailed,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The name on the wire, its gRPC code, and whether to try again: the one table.
    const fn row(self) -> (&'static str, Code, Retry) {
        match self {
            Self::InvalidField => ("INVALID_FIELD", Code::InvalidArgument, Retry::Never),
            Self::InvalidContent => ("INVALID_CONTENT", Code::InvalidArgument, Retry::Never),
            Self::NotFound => ("NOT_FOUND", Code::NotFound, Retry::Never),
            Self::AlreadyExists => ("ALREADY_EXISTS", Code::AlreadyExists, Retry::Never),
            Self::WrongState => ("WRONG_STATE", Code::FailedPrecondition, Retry::Never),
            Self::VersionMismatch => ("VERSION_MISMATCH", Code::FailedPrecondition, Retry::Elsewhere),
            Self::DataCorrupt => ("DATA_CORRUPT", Code::DataLoss, Retry::Elsewhere),
            Self::QueueFull => ("QUEUE_FULL", Code::ResourceExhausted, Retry::Later),
            Self::StoreUnavailable => ("STORE_UNAVAILABLE", Code::Unavailable, Retry::Later),
            Self::QuotaExceeded => ("QUOTA_EXCEEDED", Code::ResourceExhausted, Retry::Later),
            Self::OutOfMemory => ("OUT_OF_MEMORY", Code::ResourceExhausted, Retry::Elsewhere),
            Self::ShuttingDown => ("SHUTTING_DOWN", Code::Unavailable, Retry::Later),
            Self::NotLeader => ("NOT_LEADER", Code::Unavailable, Retry::Later),
            Self::NoEvaluator => ("NO_EVALUATOR", Code::Unavailable, Retry::Later),
            Self::NumericsUnavailable => ("NUMERICS_UNAVAILABLE", Code::FailedPrecondition, Retry::Later),
            Self::EvaluationFailed => ("EVALUATION_FAILED", Code::Aborted, Retry::Elsewhere),
            Self::Cancelled => ("CANCELLED", Code::Cancelled, Retry::Never),
            Self::Internal => ("INTERNAL", Code::Internal, Retry::Elsewhere),
        }
    }

    /// The name on the wire, `google.rpc.ErrorInfo.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The gRPC code that it is refused with.
    #[must_use]
    pub fn code(self) -> Code {
        self.row().1
    }

    /// Whether the call may be made again.
    #[must_use]
    pub fn retry(self) -> Retry {
        self.row().2
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The reason behind a bare code, as from a proxy or from gRPC itself.
    fn from_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidField,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => Self::WrongState,
            Code::Unimplemented => Self::VersionMismatch,
            Code::DataLoss => Self::DataCorrupt,
            Code::ResourceExhausted => Self::QueueFull,
            Code::Unavailable => Self::ShuttingDown,
            Code::Aborted | Code::DeadlineExceeded => Self::EvaluationFailed,
            Code::Cancelled => Self::Cancelled,
            Code::Ok | Code::Unknown | Code::Internal => Self::Internal,
        }
    }
}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path in the request, as in `spec.x`.
    pub field: String,
    /// The value given, and what would be right.
    pub description: String,
}

/// A refusal: what `tonic::Status` carries as exactly one `ErrorInfo`, with a `BadRequest` when fields are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Why.
    pub reason: ErrorReason,
    /// The same for people, complete in itself.
    pub message: String,
    /// The fields that are wrong, if any.
    pub violations: Vec<FieldViolation>,
    /// Where the same call may pass, for [`ErrorReason::NotLeader`]: an endpoint.
    pub leader: Option<String>,
}

impl ApiError {
    /// Returns a refusal for `reason` that says `message`.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), violations: Vec::new(), leader: None }
    }

    /// Returns the refusal of a process that does not lead, which knows the endpoint of the one that does, or not.
    #[must_use]
    pub fn not_leader(leader: Option<String>) -> Self {
        let message = match &leader {
            Some(leader) => format!("this coordinator stands by; the one at {leader} leads: ask there"),
            None => "no coordinator leads at the moment; try again".to_owned(),
        };
        Self { leader, ..Self::new(ErrorReason::NotLeader, message) }
    }

    /// Returns the refusal of one field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Violations::default();
        violations.add(field, description);
        violations.into_error()
    }

    /// Reads a refusal back from a status, whoever sent it.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| ErrorReason::from_name(&info.reason))
            .unwrap_or_else(|| ErrorReason::from_code(status.code()));
        let violations = details.bad_request().map_or_else(Vec::new, |request| {
            let violation = |v: &tonic_types::FieldViolation| FieldViolation {
                field: v.field.clone(),
                description: v.description.clone(),
            };
            request.field_violations.iter().map(violation).collect()
        });
        let leader = details.error_info().and_then(|info| info.metadata.get(LEADER)).cloned();
        Self { reason, message: status.message().to_owned(), violations, leader }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let reason = match error.kind() {
            StoreErrorKind::NotFound => ErrorReason::NotFound,
            StoreErrorKind::AlreadyExists => ErrorReason::AlreadyExists,
            StoreErrorKind::Invalid => ErrorReason::InvalidContent,
            StoreErrorKind::FailedPrecondition => ErrorReason::WrongState,
            StoreErrorKind::Superseded => ErrorReason::NotLeader,
            StoreErrorKind::Corrupt => ErrorReason::DataCorrupt,
            StoreErrorKind::Unavailable => ErrorReason::StoreUnavailable,
        };
        let message = match error.trouble() {
            Some(trouble) => {
                // What a backend says of itself is for the log of this process, not for whoever calls it.
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the store failed");
                format!("{error}: {trouble}; try again later")
            }
            None => error.to_string(),
        };
        let violations = match error {
            StoreError::Invalid { field, reason } => vec![FieldViolation { field, description: reason }],
            _ => Vec::new(),
        };
        Self { reason, message, violations, leader: None }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut details = ErrorDetails::new();
        let metadata = error.leader.into_iter().map(|leader| (LEADER.to_owned(), leader));
        details.set_error_info(error.reason.as_str(), DOMAIN, metadata.collect::<HashMap<_, _>>());
        for violation in &error.violations {
            details.add_bad_request_violation(&violation.field, &violation.description);
        }
        Self::with_error_details(error.reason.code(), error.message, details)
    }
}

/// Collects every wrong field of a request, so that its sender learns of all of them at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Notes that `field` is wrong.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of `field`, or notes why it has none.
    pub fn check<T, E: fmt::Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// As [`Violations::check`], for a message in the field `field`: what is wrong with it is told by its path from
    /// there.
    pub fn check_message<T>(&mut self, field: &str, value: Result<T, ApiError>) -> Option<T> {
        value.map_err(|error| self.add_below(field, error)).ok()
    }

    fn add_below(&mut self, field: &str, error: ApiError) {
        if error.violations.is_empty() {
            self.add(field, error.message);
        }
        for FieldViolation { field: inner, description } in error.violations {
            self.add(format!("{field}.{inner}"), description);
        }
    }

    /// Returns `value` when no field is wrong.
    ///
    /// # Errors
    /// When a field is wrong, or `value` is absent.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, ApiError> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.into_error()),
        }
    }

    /// Returns the refusal of all that was noted.
    #[must_use]
    pub fn into_error(self) -> ApiError {
        let lines: Vec<String> = self.0.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
        ApiError { violations: self.0, ..ApiError::new(ErrorReason::InvalidField, lines.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let mut violations = Violations::default();
        violations.add("spec.x", "the count is 0");
        violations.add("spec.network", "empty");
        let error = violations.into_error();
        let status = Status::from(error.clone());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(ApiError::from_status(&status), error);
    }

    #[test]
    fn a_refusal_names_the_leader() {
        let error = ApiError::not_leader(Some("http://10.0.0.7:7373".to_owned()));
        assert_eq!(ApiError::from_status(&Status::from(error.clone())), error);
    }

    #[test]
    fn a_field_of_a_message_in_a_field_is_told_by_its_path() {
        let mut violations = Violations::default();
        let wrong = Err::<(), _>(ApiError::field("random.ignore", "9 is not one of its values"));
        assert_eq!(violations.check_message("spec.plane.x", wrong), None);
        assert_eq!(violations.into_error().message, "spec.plane.x.random.ignore: 9 is not one of its values");
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        for reason in ErrorReason::ALL {
            assert_eq!(ErrorReason::from_name(reason.as_str()), Some(reason));
            let read = ApiError::from_status(&Status::from(ApiError::new(reason, "because")));
            assert_eq!(read.reason, reason);
        }
    }

    #[test]
    fn a_bare_status_still_has_a_reason() {
        assert_eq!(ApiError::from_status(&Status::unavailable("gone")).reason, ErrorReason::ShuttingDown);
        assert_eq!(ApiError::from_status(&Status::unknown("?")).reason.retry(), Retry::Elsewhere);
    }
}
