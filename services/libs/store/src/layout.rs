//! Where everything lies. Paths are made of ids, which cannot leave their collection, and of nothing else.
//!
//! ```text
//! networks/ID/network.onnx                  network.json
//! checkpoints/ID/checkpoint.safetensors     checkpoint.json
//! datasets/ID/train-inputs.idx ...          dataset.json
//! directions/DIGEST.json                    DIGEST.safetensors
//! runs/ID/run.json  status.json
//! runs/ID/snapshots/EPOCH.safetensors       EPOCH.json
//! runs/ID/metrics/EPOCH.jsonl
//! surfaces/ID.zarr/...                      zarr.json
//! changes/ID.INCARNATION/NNNNNNNN.json      what became of that surface, from 1; the last entry tells everything
//! trajectories/ID.job/INCARNATION/...       trajectory.json
//! trajectories/ID.zarr/...                  what it came to
//! points/KEY/ID                             a hint: which surfaces may hold values of KEY
//! leases/coordinator/N...N.json             who leads, in 20 digits; the entry with the highest number counts
//! store.json                                in buckets only
//! ```
//!
//! A file that stands on the right is put last and is the commit: without it, the rest does not exist. A surface's
//! record, its changes and the entries of the lease are put where there is nothing, and never replaced; a surface
//! whose last change is `deleted` does not exist either, whatever is left of it. `directions/DIGEST.json` marks a
//! direction that a user gave, which is kept although nothing names it. What is computed for a trajectory lies under
//! its incarnation: `gram/NNNNNNNN.f64` the sums of a tile of the Gram matrix, float64 in little-endian order;
//! `axes.json` what was made of them; `stops/NNNN.json` the values at a stop; `outcome.json` how it ended.
//! `store.json` says only that conditional writes were seen to be honoured.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;
use relief_core::{CheckpointId, CheckpointName, DatasetId, Digest, NetworkId, RunId, Split, SurfaceId, TrajectoryId};

use crate::split::SampleStorage;

/// The path of a network's, a checkpoint's or a direction's content, as it is passed between services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobPath(Path);

/// Why a text is not the path of a network's, a checkpoint's or a direction's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the path of a stored file: networks/ID/network.onnx, checkpoints/ID/checkpoint.safetensors, \
     runs/ID/snapshots/EPOCH.safetensors or directions/DIGEST.safetensors"
)]
pub struct BlobPathError(String);

impl BlobPath {
    /// The path of a network's ONNX file.
    #[must_use]
    pub fn network(id: &NetworkId) -> Self {
        Self(network(id).join("network.onnx"))
    }

    /// The path of a checkpoint's safetensors file.
    #[must_use]
    pub fn checkpoint(name: &CheckpointName) -> Self {
        Self(match name {
            CheckpointName::Imported(id) => checkpoint(id).join("checkpoint.safetensors"),
            CheckpointName::Snapshot { run, epoch } => snapshots(run).join(format!("{epoch}.safetensors")),
        })
    }

    /// The path of a direction's safetensors file.
    #[must_use]
    pub fn direction(digest: Digest) -> Self {
        Self(direction(digest))
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for BlobPath {
    type Err = BlobPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = match text.split('/').collect::<Vec<_>>()[..] {
            ["networks", id, "network.onnx"] => id.parse().ok().map(|id| Self::network(&id)),
            ["checkpoints", id, "checkpoint.safetensors"] => {
                id.parse().ok().map(|id| Self::checkpoint(&CheckpointName::Imported(id)))
            }
            ["directions", file] => {
                let digest = file.strip_suffix(".safetensors").and_then(|digest| digest.parse().ok());
                digest.map(Self::direction)
            }
            ["runs", run, "snapshots", file] => {
                let epoch = file.strip_suffix(".safetensors").and_then(|epoch| epoch.parse().ok());
                let name = run.parse().ok().zip(epoch).map(|(run, epoch)| CheckpointName::Snapshot { run, epoch });
                name.map(|name| Self::checkpoint(&name))
            }
            _ => None,
        };
        path.filter(|path| path.0.as_ref() == text).ok_or_else(|| BlobPathError(text.to_owned()))
    }
}

impl fmt::Display for BlobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What shows that a bucket's server honours conditional writes.
pub(crate) fn marker() -> Path {
    Path::from("store.json")
}

pub(crate) fn collection(name: &'static str) -> Path {
    Path::from(name)
}

pub(crate) fn network(id: &NetworkId) -> Path {
    collection(NetworkId::COLLECTION).join(id.as_str())
}

pub(crate) fn network_record(id: &NetworkId) -> Path {
    network(id).join("network.json")
}

pub(crate) fn checkpoint(id: &CheckpointId) -> Path {
    collection(CheckpointId::COLLECTION).join(id.as_str())
}

pub(crate) fn checkpoint_record(id: &CheckpointId) -> Path {
    checkpoint(id).join("checkpoint.json")
}

pub(crate) fn dataset(id: &DatasetId) -> Path {
    collection(DatasetId::COLLECTION).join(id.as_str())
}

pub(crate) fn dataset_record(id: &DatasetId) -> Path {
    dataset(id).join("dataset.json")
}

pub(crate) fn dataset_inputs(id: &DatasetId, split: Split, storage: SampleStorage) -> Path {
    let extension = match storage {
        SampleStorage::Pixels => "idx",
        SampleStorage::Values => "safetensors",
    };
    dataset(id).join(format!("{}-inputs.{extension}", split.as_str()))
}

pub(crate) fn dataset_targets(id: &DatasetId, split: Split) -> Path {
    dataset(id).join(format!("{}-targets.idx", split.as_str()))
}

pub(crate) fn run(id: &RunId) -> Path {
    collection(RunId::COLLECTION).join(id.as_str())
}

pub(crate) fn run_record(id: &RunId) -> Path {
    run(id).join("run.json")
}

pub(crate) fn run_status(id: &RunId) -> Path {
    run(id).join("status.json")
}

pub(crate) fn snapshots(run_id: &RunId) -> Path {
    run(run_id).join("snapshots")
}

pub(crate) fn snapshot_record(run: &RunId, epoch: u32) -> Path {
    snapshots(run).join(format!("{epoch}.json"))
}

pub(crate) fn metrics(run_id: &RunId) -> Path {
    run(run_id).join("metrics")
}

pub(crate) fn epoch_metrics(run: &RunId, epoch: u32) -> Path {
    metrics(run).join(format!("{epoch}.jsonl"))
}

/// The number in front of `suffix` in the last segment of `path`, as of a snapshot or of metrics.
pub(crate) fn epoch_of(path: &Path, suffix: &str) -> Option<u32> {
    path.filename()?.strip_suffix(suffix)?.parse().ok()
}

/// What the name of a Zarr group has after the id.
pub(crate) const GROUP_SUFFIX: &str = ".zarr";

pub(crate) fn surface(id: &SurfaceId) -> Path {
    collection(SurfaceId::COLLECTION).join(format!("{}{GROUP_SUFFIX}", id.as_str()))
}

pub(crate) fn surface_record(id: &SurfaceId) -> Path {
    surface(id).join("zarr.json")
}

/// Where the changes of all surfaces lie: outside their groups, in which Zarr readers would stumble over them.
pub(crate) const CHANGES: &str = "changes";

/// The name of the log of one surface among those that had its name.
pub(crate) fn change_log_name(id: &SurfaceId, incarnation: &str) -> String {
    format!("{}.{incarnation}", id.as_str())
}

/// The surface and the incarnation that a log is called after.
pub(crate) fn change_log_owner(name: &str) -> Option<(SurfaceId, &str)> {
    let (id, incarnation) = name.rsplit_once('.')?;
    Some((id.parse().ok()?, incarnation))
}

pub(crate) fn change_log(id: &SurfaceId, incarnation: &str) -> Path {
    collection(CHANGES).join(change_log_name(id, incarnation))
}

pub(crate) fn change(id: &SurfaceId, incarnation: &str, number: u64) -> Path {
    change_log(id, incarnation).join(format!("{number:08}.json"))
}

/// What the name of a trajectory's record and of the parts of its work has after the id: no id, with any suffix, is
/// then taken for another one with another suffix.
pub(crate) const JOB_SUFFIX: &str = ".job";

fn trajectory(id: &TrajectoryId, suffix: &str) -> Path {
    collection(TrajectoryId::COLLECTION).join(format!("{}{suffix}", id.as_str()))
}

pub(crate) fn trajectory_job(id: &TrajectoryId) -> Path {
    trajectory(id, JOB_SUFFIX)
}

pub(crate) fn trajectory_record(id: &TrajectoryId) -> Path {
    trajectory_job(id).join("trajectory.json")
}

/// What was computed for the incarnation of a trajectory.
pub(crate) fn trajectory_work(id: &TrajectoryId, incarnation: &str) -> Path {
    trajectory_job(id).join(incarnation)
}

pub(crate) fn trajectory_outcome(id: &TrajectoryId, incarnation: &str) -> Path {
    trajectory_work(id, incarnation).join("outcome.json")
}

pub(crate) fn trajectory_axes(id: &TrajectoryId, incarnation: &str) -> Path {
    trajectory_work(id, incarnation).join("axes.json")
}

pub(crate) fn gram_tiles(id: &TrajectoryId, incarnation: &str) -> Path {
    trajectory_work(id, incarnation).join("gram")
}

pub(crate) fn gram_tile(id: &TrajectoryId, incarnation: &str, idx: u64) -> Path {
    gram_tiles(id, incarnation).join(format!("{idx:08}.f64"))
}

pub(crate) fn stops(id: &TrajectoryId, incarnation: &str) -> Path {
    trajectory_work(id, incarnation).join("stops")
}

pub(crate) fn stop(id: &TrajectoryId, incarnation: &str, idx: usize) -> Path {
    stops(id, incarnation).join(format!("{idx:04}.json"))
}

/// The group of what a trajectory came to.
pub(crate) fn trajectory_group(id: &TrajectoryId) -> Path {
    trajectory(id, GROUP_SUFFIX)
}

/// The object with the Zarr key `key` in the group `group`.
pub(crate) fn group_object(group: Path, key: &str) -> Path {
    key.split('/').fold(group, |path, part| path.join(part))
}

/// The history of who leads the coordinators.
pub(crate) fn leases() -> Path {
    collection("leases").join("coordinator")
}

pub(crate) fn lease(sequence: u64) -> Path {
    leases().join(format!("{sequence:020}.json"))
}

/// The number that an entry of a log or of the lease is called after.
pub(crate) fn entry_number(path: &Path) -> Option<u64> {
    number_of(path, ".json")
}

/// The number in digits in front of `suffix` in the last segment of `path`.
pub(crate) fn number_of(path: &Path, suffix: &str) -> Option<u64> {
    let digits = path.filename()?.strip_suffix(suffix)?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(crate) const DIRECTIONS: &str = "directions";

/// The file of a direction, which is its own commit: it lies under the digest of its content.
pub(crate) fn direction(digest: Digest) -> Path {
    collection(DIRECTIONS).join(format!("{digest}.safetensors"))
}

/// What marks a direction as given by a user.
pub(crate) fn direction_mark(digest: Digest) -> Path {
    collection(DIRECTIONS).join(format!("{digest}.json"))
}

pub(crate) const POINTS: &str = "points";

/// Where the surfaces are named that may hold values of `key`.
pub(crate) fn points(key: Digest) -> Path {
    collection(POINTS).join(key.to_string())
}

/// The object with the Zarr key `key` in the surface's group.
pub(crate) fn surface_object(id: &SurfaceId, key: &str) -> Path {
    group_object(surface(id), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_lies_where_its_name_says() {
        let name: CheckpointName = "runs/r/snapshots/7".parse().expect("a name");
        for (path, text) in [
            (BlobPath::network(&"net".parse().expect("an id")), "networks/net/network.onnx"),
            (BlobPath::checkpoint(&"mine".parse().expect("a name")), "checkpoints/mine/checkpoint.safetensors"),
            (BlobPath::checkpoint(&name), "runs/r/snapshots/7.safetensors"),
            (
                BlobPath::direction(Digest::of(b"abc")),
                "directions/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.safetensors",
            ),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
    }

    #[test]
    fn a_log_tells_whose_it_is() {
        for id in ["s", "s-1", "a.b", "a."] {
            let id: SurfaceId = id.parse().expect("an id");
            assert_eq!(change_log_owner(&change_log_name(&id, "0af")), Some((id, "0af")));
        }
        assert_eq!(change_log_owner("s"), None);
    }

    #[test]
    fn entries_are_numbered_in_digits() {
        assert_eq!(entry_number(&lease(u64::MAX)), Some(u64::MAX));
        assert_eq!(entry_number(&lease(7)), Some(7));
        assert_eq!(lease(7).as_ref(), "leases/coordinator/00000000000000000007.json");
        for other in ["a/+1.json", "a/1.txt", "a/.json", "a/1"] {
            assert_eq!(entry_number(&Path::from(other)), None, "{other}");
        }
    }

    #[test]
    fn paths_that_leave_the_store_or_name_other_objects_are_refused() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../networks/a/network.onnx",
            "networks/../network.onnx",
            "networks/a/../b/network.onnx",
            "networks/a/network.json",
            "networks//network.onnx",
            "/networks/a/network.onnx",
            "networks/a/network.onnx/",
            "networks/networks/a/network.onnx",
            "runs/r/snapshots/+7.safetensors",
            "runs/r/snapshots/07.safetensors",
            "runs/r/snapshots/../run.json",
            "runs/r/run.json",
            "directions/ba78.safetensors",
            "directions/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.json",
            "networks/%2e%2e/network.onnx",
        ] {
            assert_eq!(bad.parse::<BlobPath>(), Err(BlobPathError(bad.to_owned())), "{bad}");
        }
    }
}
