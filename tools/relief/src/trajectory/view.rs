//! Trajectories as JSON and as tables.

use relief_api::convert::job::state_from_wire;
use relief_api::convert::surface::split_from_wire;
use relief_api::convert::trajectory::{axes_from_message, ignore_word};
use relief_api::surface::v1::{Axis, DatasetSlice};
use relief_api::trajectory::v1::{
    Path, Stop, Trajectory, TrajectoryResult, TrajectorySpec, TrajectoryStage, TrajectoryStatus,
};
use relief_core::{JobState, Split, TrajectoryAxes};
use serde_json::{Value, json};

use crate::job::reason;
use crate::output;
use crate::progress::words;

fn state(status: &TrajectoryStatus) -> &'static str {
    state_from_wire(status.state).map_or("unknown", JobState::as_str)
}

fn stage(status: &TrajectoryStatus) -> &'static str {
    match TrajectoryStage::try_from(status.stage) {
        Ok(TrajectoryStage::Unspecified) => "",
        Ok(TrajectoryStage::Gram) => "gram",
        Ok(TrajectoryStage::Directions) => "directions",
        Ok(TrajectoryStage::Losses) => "losses",
        Err(_) => "unknown",
    }
}

fn split(number: i32) -> &'static str {
    split_from_wire(number).map_or("unknown", Split::as_str)
}

/// The word that a value is in JSON.
fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn axes(spec: &TrajectorySpec) -> Option<TrajectoryAxes> {
    spec.axes.clone().and_then(axes_from_message)
}

fn axis_json(axis: &Axis) -> Value {
    json!({"min": axis.min, "max": axis.max, "count": axis.count})
}

fn axis(axis: Option<&Axis>) -> String {
    axis.map(|axis| format!("{:.4}:{:.4}:{}", axis.min, axis.max, axis.count)).unwrap_or_default()
}

pub(crate) fn to_json(trajectory: &Trajectory) -> Value {
    json!({
        "name": trajectory.name,
        "spec": trajectory.spec.as_ref().map(spec_json),
        "status": trajectory.status.as_ref().map(status_json),
        "surface": trajectory.surface,
        "create_time": trajectory.create_time.as_ref().map(ToString::to_string),
        "result": trajectory.result.as_ref().map(result_json),
    })
}

fn spec_json(spec: &TrajectorySpec) -> Value {
    let path = |path: &Path| json!({"name": path.name, "checkpoints": path.checkpoints});
    json!({
        "network": spec.network,
        "paths": spec.paths.iter().map(path).collect::<Vec<_>>(),
        "axes": axes(spec).and_then(|axes| serde_json::to_value(axes).ok()),
        "ignore": ignore_word(spec.ignore),
        "margin": spec.margin,
        "columns": spec.columns,
        "rows": spec.rows,
        "data": spec.data.as_ref().map(|data| json!({
            "dataset": data.dataset,
            "split": split(data.split),
            "limit": data.limit,
        })),
        "also_split": Some(spec.also_split).filter(|number| *number != 0).map(split),
    })
}

fn status_json(status: &TrajectoryStatus) -> Value {
    json!({
        "state": state(status),
        "stage": Some(stage(status)).filter(|stage| !stage.is_empty()),
        "gram_tiles_total": status.gram_tiles_total,
        "gram_tiles_done": status.gram_tiles_done,
        "points_total": status.points_total,
        "points_done": status.points_done,
        "stops_total": status.stops_total,
        "stops_done": status.stops_done,
        "points_per_second": Some(status.points_per_second).filter(|rate| *rate > 0.0),
        "eta_seconds": status.eta.map(|eta| eta.seconds as f64 + f64::from(eta.nanos) * 1e-9),
        "retries": status.retries,
        "error": status.error.as_ref().map(|error| json!({"reason": error.reason, "message": error.message})),
        "waiting_reason": Some(&status.waiting_reason).filter(|reason| !reason.is_empty()),
    })
}

fn result_json(result: &TrajectoryResult) -> Value {
    let stop = |stop: &Stop| {
        json!({
            "path": stop.path,
            "checkpoint": stop.checkpoint,
            "epoch": stop.epoch,
            "learning_rate": stop.learning_rate,
            "is_drop": stop.is_drop,
            "x": stop.x,
            "y": stop.y,
            "off_plane": stop.off_plane,
            "distance": stop.distance,
            "step_norm": stop.step_norm,
            "step_cosine": stop.step_cosine,
            "loss": stop.loss,
            "accuracy": stop.accuracy,
            "also_loss": stop.also_loss,
            "also_accuracy": stop.also_accuracy,
        })
    };
    json!({
        "explained": result.explained,
        "explained_plane": result.explained_plane,
        "singular_values": result.singular_values,
        "x_direction": result.x_direction,
        "y_direction": result.y_direction,
        "x": result.x.as_ref().map(axis_json),
        "y": result.y.as_ref().map(axis_json),
        "stops": result.stops.iter().map(stop).collect::<Vec<_>>(),
    })
}

/// What is known of a trajectory, for people, with a line per stop where they are known.
pub(super) fn description(trajectory: &Trajectory) -> String {
    let spec = trajectory.spec.clone().unwrap_or_default();
    let status = trajectory.status.clone().unwrap_or_default();
    let mut fields = vec![("name", trajectory.name.clone()), ("state", state(&status).to_owned())];
    fields.push(("stage", stage(&status).to_owned()));
    fields.extend(spec_fields(&spec));
    fields.push(("surface", trajectory.surface.clone()));
    fields.push(("checkpoint products", format!("{}/{} tiles", status.gram_tiles_done, status.gram_tiles_total)));
    fields.push(("points", format!("{}/{}", status.points_done, status.points_total)));
    fields.push(("stops", format!("{}/{}", status.stops_done, status.stops_total)));
    let eta = status.eta.map(|eta| words(eta.seconds as f64));
    fields.push(("time left", eta.unwrap_or_default()));
    fields.push(("waiting", status.waiting_reason.clone()));
    fields.push(("error", status.error.as_ref().map(reason).unwrap_or_default()));
    let Some(result) = &trajectory.result else { return output::fields(&fields) };
    fields.extend(result_fields(result));
    format!("{}\n{}", output::fields(&fields), stop_table(&spec.paths, &result.stops))
}

/// What would be computed.
pub(super) fn plan(trajectory: &Trajectory) -> String {
    let spec = trajectory.spec.clone().unwrap_or_default();
    let status = trajectory.status.clone().unwrap_or_default();
    let mut fields = spec_fields(&spec);
    fields.push(("checkpoint products", format!("{} tiles", status.gram_tiles_total)));
    fields.push(("points", status.points_total.to_string()));
    fields.push(("stops", status.stops_total.to_string()));
    output::fields(&fields)
}

fn spec_fields(spec: &TrajectorySpec) -> Vec<(&'static str, String)> {
    let path = |path: &Path| format!("{} ({} stops)", path.name, path.checkpoints.len());
    let kind = match axes(spec) {
        Some(TrajectoryAxes::Pca { centered, of_all }) => {
            let of = if of_all { "all paths" } else { "the first path" };
            format!("principal components of {of}{}", if centered { ", centred" } else { "" })
        }
        Some(TrajectoryAxes::Random { seed, normalization }) => {
            format!("random, seed {seed}, normalization {}", word(&json!(normalization)))
        }
        Some(TrajectoryAxes::StartEnd { seed, normalization }) => {
            format!("to the start, and random, seed {seed}, normalization {}", word(&json!(normalization)))
        }
        Some(TrajectoryAxes::Directions { .. }) => "given".to_owned(),
        None => "unknown".to_owned(),
    };
    let data = |data: &DatasetSlice| {
        let part = data.limit.map(|limit| format!("the first {limit} of ")).unwrap_or_default();
        format!("{part}{}, split {}", data.dataset, split(data.split))
    };
    vec![
        ("network", spec.network.clone()),
        ("paths", spec.paths.iter().map(path).collect::<Vec<_>>().join(", ")),
        ("axes", kind),
        ("ignore", ignore_word(spec.ignore).to_owned()),
        ("dataset", spec.data.as_ref().map(data).unwrap_or_default()),
        ("second split", Some(spec.also_split).filter(|n| *n != 0).map(split).unwrap_or_default().to_owned()),
    ]
}

fn result_fields(result: &TrajectoryResult) -> Vec<(&'static str, String)> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let shares: Vec<String> = result.explained.iter().map(|share| percent(*share)).collect();
    vec![
        ("variation along x, y", shares.join(", ")),
        ("variation in the plane", percent(result.explained_plane)),
        ("x", axis(result.x.as_ref())),
        ("y", axis(result.y.as_ref())),
        ("direction x", result.x_direction.clone()),
        ("direction y", result.y_direction.clone()),
    ]
}

fn stop_table(paths: &[Path], stops: &[Stop]) -> String {
    let number = |number: Option<f64>| number.map(|number| format!("{number:.4}")).unwrap_or_default();
    let row = |stop: &Stop| {
        let path = paths.get(stop.path as usize).map(|path| path.name.clone()).unwrap_or_default();
        let rate = stop
            .learning_rate
            .map(|rate| format!("{}{}", output::rounded(rate), if stop.is_drop { " (falls)" } else { "" }));
        vec![
            path,
            stop.checkpoint.clone(),
            rate.unwrap_or_default(),
            number(Some(stop.x)),
            number(Some(stop.y)),
            number(Some(stop.off_plane)),
            number(stop.step_norm),
            number(stop.step_cosine),
            number(stop.loss),
            stop.accuracy.map(|accuracy| format!("{accuracy:.2}")).unwrap_or_default(),
        ]
    };
    let header = ["PATH", "CHECKPOINT", "RATE", "X", "Y", "OFF PLANE", "STEP", "COSINE", "LOSS", "ACCURACY"];
    output::table(&header, &stops.iter().map(row).collect::<Vec<_>>())
}

/// A line per trajectory.
pub(super) fn table(trajectories: &[Trajectory]) -> String {
    let row = |trajectory: &Trajectory| {
        let spec = trajectory.spec.clone().unwrap_or_default();
        let status = trajectory.status.clone().unwrap_or_default();
        let paths: Vec<&str> = spec.paths.iter().map(|path| path.name.as_str()).collect();
        vec![
            trajectory.name.clone(),
            state(&status).to_owned(),
            format!("{}/{}", status.points_done, status.points_total),
            format!("{}/{}", status.stops_done, status.stops_total),
            spec.network,
            paths.join(","),
            trajectory.create_time.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    let header = ["NAME", "STATE", "POINTS", "STOPS", "NETWORK", "PATHS", "CREATED"];
    output::table(&header, &trajectories.iter().map(row).collect::<Vec<_>>())
}
