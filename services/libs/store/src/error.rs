//! What can go wrong with the store.

use std::error::Error;

use crate::failure::BackendFailure;

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one of a store.
    #[error(
        "`{url}` is not a store: {reason}; use file:///absolute/directory, memory://, s3://bucket/prefix, \
         gs://bucket/prefix or az://container/prefix"
    )]
    Url {
        /// The URL given, without what must stay secret.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A bucket cannot be used.
    #[error("cannot open the store")]
    Open {
        /// Why, and what to check.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A bucket's server takes conditional writes for plain ones.
    #[error(
        "{url} ignores conditional writes: its server let a create-only put replace an object, so that two processes \
         would overwrite each other's results unseen; use a server that honours If-None-Match"
    )]
    Unconditional {
        /// The store.
        url: String,
    },
    /// There is nothing of that name.
    #[error("there is no {name}")]
    NotFound {
        /// The resource name.
        name: String,
    },
    /// The name is taken.
    #[error("{name} already exists")]
    AlreadyExists {
        /// The resource name.
        name: String,
    },
    /// The job has ended, and its end does not change.
    #[error("{name} has already ended")]
    Ended {
        /// The resource name.
        name: String,
    },
    /// The caller knows an older state: another process has changed it, or led at a later epoch.
    #[error("{name} was changed by another process meanwhile")]
    Superseded {
        /// The resource name.
        name: String,
    },
    /// The caller's data is bad.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which part of the data.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A stored object is not what it was stored as.
    #[error("{path} is damaged: {what}")]
    Corrupt {
        /// The object.
        path: String,
        /// What does not match.
        what: String,
    },
    /// A value was computed twice with different results, although it depends on its request only.
    #[error("{path} is already stored with other bytes")]
    Conflict {
        /// The object.
        path: String,
    },
    /// Reading an object failed.
    #[error("cannot read {path}")]
    Read {
        /// The object.
        path: String,
        /// The backend's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Writing an object failed.
    #[error("cannot write {path}")]
    Write {
        /// The object.
        path: String,
        /// The backend's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Listing objects failed.
    #[error("cannot list {path}")]
    List {
        /// The prefix.
        path: String,
        /// The backend's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Deleting an object failed.
    #[error("cannot delete {path}")]
    Delete {
        /// The object.
        path: String,
        /// The backend's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A computation on the blocking pool was stopped by the end of the process.
    #[error("the work was stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

/// What a failure means to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Nothing of that name.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The request is wrong and stays so.
    Invalid,
    /// The thing is not in a state that allows it.
    FailedPrecondition,
    /// The caller was overtaken by another process, and what it knows is out of date.
    Superseded,
    /// Stored data is damaged or contradicts itself.
    Corrupt,
    /// The backend failed; trying again may help.
    Unavailable,
}

impl StoreError {
    /// What the failure means to a caller.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::NotFound { .. } => StoreErrorKind::NotFound,
            Self::AlreadyExists { .. } => StoreErrorKind::AlreadyExists,
            Self::Url { .. } | Self::Unconditional { .. } | Self::Invalid { .. } => StoreErrorKind::Invalid,
            Self::Ended { .. } => StoreErrorKind::FailedPrecondition,
            Self::Superseded { .. } => StoreErrorKind::Superseded,
            Self::Corrupt { .. } | Self::Conflict { .. } => StoreErrorKind::Corrupt,
            Self::Open { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::List { .. }
            | Self::Delete { .. }
            | Self::Stopped(_) => StoreErrorKind::Unavailable,
        }
    }

    /// What is wrong with the store where that is what failed, without anything that only those who run it should know.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        match self {
            Self::Open { source }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::List { source, .. }
            | Self::Delete { source, .. } => {
                Some(source.downcast_ref::<BackendFailure>().map_or("the store failed", BackendFailure::summary))
            }
            _ => None,
        }
    }

    pub(crate) fn invalid(field: impl Into<String>, reason: impl ToString) -> Self {
        Self::Invalid { field: field.into(), reason: reason.to_string() }
    }

    /// Bad user data, with everything that `error` knows about it in the message.
    pub(crate) fn unreadable(field: impl Into<String>, error: &dyn Error) -> Self {
        Self::invalid(field, chain(error))
    }

    pub(crate) fn corrupt(path: impl ToString, what: impl ToString) -> Self {
        Self::Corrupt { path: path.to_string(), what: what.to_string() }
    }

    pub(crate) fn not_found(name: impl ToString) -> Self {
        Self::NotFound { name: name.to_string() }
    }

    pub(crate) fn superseded(name: impl ToString) -> Self {
        Self::Superseded { name: name.to_string() }
    }

    pub(crate) fn already_exists(name: impl ToString) -> Self {
        Self::AlreadyExists { name: name.to_string() }
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
