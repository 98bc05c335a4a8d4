//! What a refused call says.

use anyhow::{Context as _, ensure};
use relief_api::{ApiError, ErrorReason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetail, StatusExt as _};

/// A refusal of the platform, as opposed to one of gRPC or of the network.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its gRPC code.
    pub code: Code,
    /// Why.
    pub reason: ErrorReason,
    /// The same for people.
    pub message: String,
    /// The fields that it calls wrong.
    pub fields: Vec<String>,
}

impl Refusal {
    /// Reads the refusal in `answer`.
    ///
    /// # Errors
    /// When the call was not refused, or not with exactly one `ErrorInfo` of the domain `relief` whose reason belongs
    /// to its code.
    pub fn of<T>(what: &str, answer: Result<T, Status>) -> anyhow::Result<Self> {
        let status = answer.err().with_context(|| format!("{what}: not refused"))?;
        let details = status.check_error_details_vec().with_context(|| format!("{what}: unreadable details"))?;
        let infos: Vec<_> = details
            .iter()
            .filter_map(|detail| match detail {
                ErrorDetail::ErrorInfo(info) => Some(info),
                _ => None,
            })
            .collect();
        let [info] = infos[..] else { anyhow::bail!("{what}: {} of ErrorInfo in {status:?}", infos.len()) };
        ensure!(info.domain == "relief", "{what}: ErrorInfo of the domain {}", info.domain);
        let error = ApiError::from_status(&status);
        ensure!(error.reason.as_str() == info.reason, "{what}: the reason {} is not known", info.reason);
        ensure!(error.reason.code() == status.code(), "{what}: {} with the code {:?}", info.reason, status.code());
        let fields = error.violations.into_iter().map(|violation| violation.field).collect();
        Ok(Self { code: status.code(), reason: error.reason, message: error.message, fields })
    }

    /// Returns whether it speaks of `field`, as a violation or at the beginning of a part of its message.
    #[must_use]
    pub fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|named| named == field)
            || self.message.split("; ").any(|part| part.starts_with(&format!("{field}: ")))
    }
}
