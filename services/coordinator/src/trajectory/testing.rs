//! What tests of trajectories have in common.

use relief_core::{
    DatasetSlice, Digest, GramPlan, Ignore, NumericRequest, PathSpec, Scheduling, Split, Stop, TrajectoryAxes,
    TrajectorySpec,
};
use relief_store::{GramTensor, SampleSource, TrajectoryProvenance, TrajectoryRecord};

/// A trajectory of three stops and tensors of 100 and 20 values.
pub(super) fn record() -> TrajectoryRecord {
    let stop = |epoch: u32| Stop {
        checkpoint: format!("runs/r/snapshots/{epoch}").parse().expect("a name"),
        digest: Digest::of(&epoch.to_le_bytes()),
        epoch: Some(epoch),
        rate: None,
    };
    let spec = TrajectorySpec {
        network: "lenet5".parse().expect("a name"),
        paths: vec![PathSpec { name: "r".to_owned(), stops: (0..3).map(stop).collect() }],
        axes: TrajectoryAxes::Pca { centered: false, of_all: false },
        ignore: Ignore::BiasBn,
        margin: 0.3,
        n_columns: 3,
        n_rows: 3,
        data: DatasetSlice { dataset: "d".parse().expect("a name"), split: Split::Train, limit: None },
        also: None,
        numerics: NumericRequest::default(),
        scheduling: Scheduling::default(),
    };
    let tensor = |name: &str, n_values| GramTensor { name: name.to_owned(), n_values };
    let provenance = TrajectoryProvenance {
        network_digest: Digest::of(b"network"),
        directions: Vec::new(),
        tensors: vec![tensor("a.weight", 100), tensor("b.weight", 20)],
        gram: GramPlan::with_tiles(3, 120, 2, 50),
        samples: SampleSource { digest: Digest::of(b"samples"), n_samples: 10 },
        also: None,
        surface: "t-surface".parse().expect("a name"),
        relief_version: "0".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
    };
    let (id, incarnation) = ("t".parse().expect("a name"), "0a".to_owned());
    TrajectoryRecord { id, spec, provenance, request: None, incarnation, outcome: None }
}
