//! Names of resources, a type per kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Why a text is not a resource name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Characters or length that an id cannot have.
    #[error(
        "`{text}` is not {kind} name: an id has 1 to 63 characters of a-z, 0-9, `.`, `_` and `-` and starts with a \
         letter or digit, optionally written {collection}/ID"
    )]
    Id {
        /// The text given.
        text: String,
        /// What it was to name, with its article.
        kind: &'static str,
        /// The collection such names belong to.
        collection: &'static str,
    },
    /// Neither an imported checkpoint nor a run's snapshot.
    #[error("`{0}` is not a checkpoint name: checkpoints/ID, or runs/ID/snapshots/EPOCH")]
    Checkpoint(String),
    /// Not a direction's digest.
    #[error("`{0}` is not a direction name: directions/DIGEST, the SHA-256 of its file in 64 lower-case digits")]
    Direction(String),
}

fn is_id(text: &str) -> bool {
    let first = text.as_bytes().first();
    text.len() <= 63
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
        && !text.contains("..")
}

macro_rules! resource_id {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $collection:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The collection that these names belong to, without a slash.
            pub const COLLECTION: &'static str = $collection;

            /// The id alone, without its collection: safe as one segment of a store path.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The full resource name, `collection/id`.
            #[must_use]
            pub fn resource_name(&self) -> String {
                self.to_string()
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            /// Reads an id, with or without its collection in front.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let id = text.strip_prefix(concat!($collection, "/")).unwrap_or(text);
                if is_id(id) {
                    Ok(Self(id.to_owned()))
                } else {
                    Err(NameError::Id { text: text.to_owned(), kind: $kind, collection: $collection })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($collection, "/{}"), self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.to_string()
            }
        }
    };
}

resource_id!(
    /// The name of a network, `networks/ID`.
    NetworkId, "a network", "networks"
);
resource_id!(
    /// The name of an imported checkpoint, `checkpoints/ID`.
    CheckpointId, "a checkpoint", "checkpoints"
);
resource_id!(
    /// The name of a dataset, `datasets/ID`.
    DatasetId, "a dataset", "datasets"
);
resource_id!(
    /// The name of a training run, `runs/ID`.
    RunId, "a run", "runs"
);
resource_id!(
    /// The name of a surface, `surfaces/ID`.
    SurfaceId, "a surface", "surfaces"
);
resource_id!(
    /// The name of a trajectory, `trajectories/ID`.
    TrajectoryId, "a trajectory", "trajectories"
);
resource_id!(
    /// The name of one who asks for work, `clients/ID`.
    ClientId, "a client", "clients"
);

impl Default for ClientId {
    /// Whoever gives no name.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// A set of parameters by name: an imported checkpoint, or a snapshot that a run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CheckpointName {
    /// `checkpoints/ID`, or the bare id.
    Imported(CheckpointId),
    /// `runs/ID/snapshots/EPOCH`; epoch 0 is the initialisation.
    Snapshot {
        /// The run that wrote it.
        run: RunId,
        /// The number of epochs trained when it was written.
        epoch: u32,
    },
}

impl FromStr for CheckpointName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NameError::Checkpoint(text.to_owned());
        match text.split('/').collect::<Vec<_>>()[..] {
            ["runs", run, "snapshots", epoch] => Ok(Self::Snapshot {
                run: run.parse().map_err(|_| refuse())?,
                epoch: epoch.parse().map_err(|_| refuse())?,
            }),
            ["checkpoints", _] | [_] => text.parse().map(Self::Imported).map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Imported(id) => id.fmt(f),
            Self::Snapshot { run, epoch } => write!(f, "{run}/snapshots/{epoch}"),
        }
    }
}

impl TryFrom<String> for CheckpointName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CheckpointName> for String {
    fn from(name: CheckpointName) -> Self {
        name.to_string()
    }
}

/// A direction that was given as a file, by its content: `directions/DIGEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectionName(pub Digest);

impl FromStr for DirectionName {
    type Err = NameError;

    /// Reads a digest, with or without its collection in front.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = text.strip_prefix("directions/").unwrap_or(text);
        digest.parse().map(Self).map_err(|_| NameError::Direction(text.to_owned()))
    }
}

impl fmt::Display for DirectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directions/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_carry_their_collection() {
        let bare: NetworkId = "resnet56_noshort".parse().expect("a good name");
        assert_eq!("networks/resnet56_noshort".parse(), Ok(bare.clone()));
        assert_eq!(bare.to_string(), "networks/resnet56_noshort");
        assert_eq!(bare.as_str(), "resnet56_noshort");
    }

    #[test]
    fn names_that_leave_the_store_are_refused() {
        for bad in ["", "..", "../etc", "a/../b", "/a", "networks/..", "a/b", "a..b", "A", ".a", "a b", "a%2f"] {
            assert!(bad.parse::<NetworkId>().is_err(), "{bad}");
            assert!(bad.parse::<CheckpointName>().is_err(), "{bad}");
        }
        assert!("a".repeat(64).parse::<NetworkId>().is_err());
        assert!("runs/../snapshots/1".parse::<CheckpointName>().is_err());
    }

    #[test]
    fn checkpoints_are_imported_or_snapshots() {
        let text = "runs/r-1/snapshots/12";
        let name: CheckpointName = text.parse().expect("a good name");
        assert!(matches!(&name, CheckpointName::Snapshot { epoch: 12, .. }));
        assert_eq!(name.to_string(), text);
        assert_eq!("mine".parse::<CheckpointName>().map(|n| n.to_string()), Ok("checkpoints/mine".to_owned()));
        assert!("runs/r-1/snapshots/-1".parse::<CheckpointName>().is_err());
    }

    #[test]
    fn directions_are_known_by_their_digest() {
        let name = DirectionName(Digest::of(b"a"));
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(name.0.to_string().parse(), Ok(name));
        for bad in ["", "directions/", "directions/../x", "x", &"G".repeat(64)] {
            assert!(bad.parse::<DirectionName>().is_err(), "{bad}");
        }
    }
}
