//! Surfaces as JSON and as tables.

use relief_api::convert::job::state_from_wire;
use relief_api::convert::numerics::{engine_from_wire, precision_from_wire};
use relief_api::convert::surface::{batch_norm_from_wire, direction_from_wire, split_from_wire};
use relief_api::surface::v1::{
    Axis, DatasetSlice, Direction, PlaneGeometry, Surface, SurfacePlan, SurfaceSpec, SurfaceStatus, TensorNorms,
};
use relief_core::{BatchNormMode, DirectionName, DirectionSpec, Engine, JobState, OrAuto, Precision, Split};
use serde_json::{Value, json};

use crate::job::reason;
use crate::output;
use crate::progress::words;

fn state(status: &SurfaceStatus) -> &'static str {
    state_from_wire(status.state).map_or("unknown", JobState::as_str)
}

fn split(data: &DatasetSlice) -> &'static str {
    split_from_wire(data.split).map_or("unknown", Split::as_str)
}

/// The word of a second split; none without one.
fn also_split(spec: &SurfaceSpec) -> Option<&'static str> {
    Some(spec.also_split)
        .filter(|split| *split != 0)
        .map(|split| split_from_wire(split).map_or("unknown", Split::as_str))
}

fn batch_norm(mode: i32) -> &'static str {
    batch_norm_from_wire(mode).ok().flatten().map_or("unknown", BatchNormMode::as_str)
}

/// The direction in JSON as in the API; null when it is of a kind unknown here.
fn direction_json(direction: &Direction) -> Value {
    direction_from_wire(direction.clone()).ok().and_then(|spec| serde_json::to_value(spec).ok()).unwrap_or_default()
}

fn axis_json(axis: &Axis) -> Value {
    json!({"min": axis.min, "max": axis.max, "count": axis.count})
}

pub(crate) fn to_json(surface: &Surface) -> Value {
    json!({
        "name": surface.name,
        "spec": surface.spec.as_ref().map(spec_json),
        "status": surface.status.as_ref().map(status_json),
        "provenance": surface.provenance.as_ref().map(|provenance| json!({
            "network_digest": provenance.network_digest,
            "checkpoint_digest": provenance.checkpoint_digest,
            "dataset_digest": provenance.dataset_digest,
            "numeric_class": provenance.numeric_class,
            "direction_digests": provenance.direction_digests,
            "also_digest": provenance.also_digest,
            "statistics_digest": provenance.statistics_digest,
            "reused_from": provenance.reused_from,
            "relief_version": provenance.relief_version,
            "create_time": provenance.create_time.as_ref().map(ToString::to_string),
        })),
        "geometry": surface.geometry.as_ref().map(geometry_json),
    })
}

pub(super) fn geometry_json(geometry: &PlaneGeometry) -> Value {
    let axes = geometry.axes.iter().map(|axis| {
        let tensors = axis
            .tensors
            .iter()
            .map(|norms| json!({"name": norms.name, "direction": norms.direction, "weights": norms.weights}));
        json!({"norm": axis.norm, "tensors": tensors.collect::<Vec<_>>()})
    });
    json!({"cosine": geometry.cosine, "axes": axes.collect::<Vec<_>>()})
}

fn spec_json(spec: &SurfaceSpec) -> Value {
    json!({
        "network": spec.network,
        "plane": spec.plane.as_ref().map(|plane| json!({
            "origin": plane.origin,
            "x": plane.x.as_ref().map(direction_json),
            "y": plane.y.as_ref().map(direction_json),
            "batch_norm": batch_norm(plane.batch_norm),
        })),
        "x": spec.x.as_ref().map(axis_json),
        "y": spec.y.as_ref().map(axis_json),
        "data": spec.data.as_ref().map(|data| json!({
            "dataset": data.dataset,
            "split": split(data),
            "limit": data.limit,
        })),
        "also_split": also_split(spec),
        "fresh": spec.fresh,
        "scheduling": spec.scheduling.as_ref().map(|scheduling| json!({
            "client": scheduling.client,
            "priority": scheduling.priority,
            "weight": scheduling.weight,
        })),
        "tile": spec.tile.as_ref().map(|tile| json!({"rows": tile.rows, "columns": tile.columns})),
        "numerics": {
            "engine": engine(spec).to_string(),
            "precision": precision(spec).to_string(),
        },
    })
}

/// What was asked for.
fn engine(spec: &SurfaceSpec) -> OrAuto<Engine> {
    OrAuto(engine_from_wire(spec.numerics.unwrap_or_default().engine).ok().flatten())
}

fn precision(spec: &SurfaceSpec) -> OrAuto<Precision> {
    OrAuto(precision_from_wire(spec.numerics.unwrap_or_default().precision).ok().flatten())
}

fn status_json(status: &SurfaceStatus) -> Value {
    json!({
        "state": state(status),
        "points_total": status.points_total,
        "points_done": status.points_done,
        "points_reused": status.points_reused,
        "points_non_finite": status.points_non_finite,
        "tiles_total": status.tiles_total,
        "tiles_done": status.tiles_done,
        "tiles_running": status.tiles_running,
        "tiles_retried": status.tiles_retried,
        "tiles_hedged": status.tiles_hedged,
        "points_disputed": status.points_disputed,
        "points_per_second": status.points_per_second,
        "eta": status.eta.as_ref().map(ToString::to_string),
        "revision": status.revision,
        "error": status.error.as_ref().map(|error| json!({"reason": error.reason, "message": error.message})),
        "waiting_reason": status.waiting_reason,
    })
}

pub(super) fn plan_json(plan: &SurfacePlan) -> Value {
    json!({
        "points": plan.points,
        "points_reused": plan.points_reused,
        "tiles": plan.tiles,
        "samples": plan.samples,
        "result_bytes": plan.result_bytes,
        "input_bytes": plan.input_bytes,
        "evaluator_time": plan.evaluator_time.as_ref().map(ToString::to_string),
    })
}

/// Returns what a surface would take.
pub(super) fn plan(plan: &SurfacePlan) -> String {
    let time = match &plan.evaluator_time {
        Some(time) => format!("{} of one evaluator, at the speed measured last", time_text(time.seconds as f64)),
        None => "not known: no tile of this network was computed since the coordinator started".to_owned(),
    };
    [
        format!("points       {}, of which {} are known already", plan.points, plan.points_reused),
        format!("tiles        {}", plan.tiles),
        format!("samples      {} forward passes", plan.samples),
        format!("time         {time}"),
        format!("result       {}", bytes_text(plan.result_bytes)),
        format!("input        {} for each evaluator", bytes_text(plan.input_bytes)),
    ]
    .join("\n")
}

fn time_text(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => "less than 1 s".to_owned(),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

fn bytes_text(n_bytes: u64) -> String {
    let n_bytes = n_bytes as f64;
    match n_bytes {
        n if n < 1e3 => format!("{n} B"),
        n if n < 1e6 => format!("{:.1} kB", n / 1e3),
        n if n < 1e9 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.1} GB", n / 1e9),
    }
}

fn axis_text(axis: &Axis) -> String {
    format!("{}:{}:{}", axis.min, axis.max, axis.count)
}

fn direction_text(direction: &Direction) -> String {
    match direction_from_wire(direction.clone()) {
        Ok(DirectionSpec::Random { seed, .. }) => {
            let words = direction_json(direction);
            let word = |key: &str| words["random"][key].as_str().unwrap_or_default().to_owned();
            format!("random, seed {seed}, normalization {}, ignore {}", word("normalization"), word("ignore"))
        }
        Ok(DirectionSpec::Stored { digest }) => format!("given as {}", DirectionName(digest)),
        Ok(DirectionSpec::Towards { checkpoint }) => format!("to {checkpoint} at 1"),
        Err(_) => "of an unknown kind".to_owned(),
    }
}

/// Returns a line per surface.
pub(super) fn table(surfaces: &[Surface]) -> String {
    let header = ["NAME", "STATE", "POINTS", "OF", "X", "Y", "CHECKPOINT", "DATASET", "CREATED"];
    let row = |surface: &Surface| {
        let (spec, status) = (surface.spec.clone().unwrap_or_default(), surface.status.clone().unwrap_or_default());
        let created = surface.provenance.as_ref().and_then(|provenance| provenance.create_time.as_ref());
        vec![
            surface.name.clone(),
            state(&status).to_owned(),
            status.points_done.to_string(),
            status.points_total.to_string(),
            spec.x.as_ref().map(axis_text).unwrap_or_default(),
            spec.y.as_ref().map(axis_text).unwrap_or_default(),
            spec.plane.map(|plane| plane.origin).unwrap_or_default(),
            spec.data.map(|data| data.dataset).unwrap_or_default(),
            created.map(ToString::to_string).unwrap_or_default(),
        ]
    };
    output::table(&header, &surfaces.iter().map(row).collect::<Vec<_>>())
}

/// Returns a line per tensor: how long the weights are, and how far a coefficient of 1 moves them along each axis.
pub(super) fn norms(geometry: &PlaneGeometry) -> String {
    let number = |norm: f64| format!("{norm:.6}");
    let Some(x) = geometry.axes.first() else { return String::new() };
    let along = |axis: usize, tensor: usize| {
        let norms = geometry.axes.get(axis).and_then(|axis| axis.tensors.get(tensor));
        norms.map(|norms| number(norms.direction))
    };
    let row = |(idx, norms): (usize, &TensorNorms)| {
        let (name, weights) = (norms.name.clone(), number(norms.weights));
        [Some(name), Some(weights), along(0, idx), along(1, idx)].into_iter().flatten().collect()
    };
    let header = ["TENSOR", "WEIGHTS", "X", "Y"];
    output::table(&header[..2 + geometry.axes.len().min(2)], &x.tensors.iter().enumerate().map(row).collect::<Vec<_>>())
}

/// Returns all that is known of a surface but its values.
pub(super) fn description(surface: &Surface) -> String {
    let (spec, status) = (surface.spec.clone().unwrap_or_default(), surface.status.clone().unwrap_or_default());
    let also = also_split(&spec);
    let asked = format!("engine {}, precision {}", engine(&spec), precision(&spec));
    let (plane, data) = (spec.plane.unwrap_or_default(), spec.data.unwrap_or_default());
    let provenance = surface.provenance.clone().unwrap_or_default();
    let is_at_work = state_from_wire(status.state) == Some(JobState::Running);
    let eta = status.eta.filter(|_| is_at_work).map(|eta| words(eta.seconds as f64 + f64::from(eta.nanos) * 1e-9));
    let rate = format!("{:.1} points/s", status.points_per_second);
    let samples = data.limit.map_or_else(|| "all".to_owned(), |limit| format!("the first {limit}"));
    let split = [Some(split(&data)), also].into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let reused = Some(status.points_reused)
        .filter(|n| *n > 0)
        .map(|n| format!("{n}, from {}", provenance.reused_from.join(", ")));
    let geometry = surface.geometry.clone().unwrap_or_default();
    let norm = |place: usize| geometry.axes.get(place).map(|axis| format!("{:.6}", axis.norm)).unwrap_or_default();
    output::fields(&[
        ("name", surface.name.clone()),
        ("state", state(&status).to_owned()),
        ("error", status.error.as_ref().map(reason).unwrap_or_default()),
        ("waiting", status.waiting_reason.clone()),
        ("points", format!("{} of {}", status.points_done, status.points_total)),
        ("reused", reused.unwrap_or_default()),
        ("not finite", Some(status.points_non_finite).filter(|n| *n > 0).map(|n| n.to_string()).unwrap_or_default()),
        ("tiles", format!("{} of {}", status.tiles_done, status.tiles_total)),
        ("retried", Some(status.tiles_retried).filter(|n| *n > 0).map(|n| n.to_string()).unwrap_or_default()),
        ("rate", Some(rate).filter(|_| status.points_per_second > 0.0).unwrap_or_default()),
        ("left", eta.unwrap_or_default()),
        ("network", spec.network),
        ("checkpoint", plane.origin),
        ("batch norm", batch_norm(plane.batch_norm).to_owned()),
        ("samples", format!("{samples} of {}, split {split}", data.dataset)),
        ("x", spec.x.as_ref().map(axis_text).unwrap_or_default()),
        ("x direction", plane.x.as_ref().map(direction_text).unwrap_or_default()),
        ("x norm", norm(0)),
        ("y", spec.y.as_ref().map(axis_text).unwrap_or_default()),
        ("y direction", plane.y.as_ref().map(direction_text).unwrap_or_default()),
        ("y norm", norm(1)),
        ("cosine", geometry.cosine.map(|cosine| format!("{cosine:.6}")).unwrap_or_default()),
        ("tile", spec.tile.map(|tile| format!("{}x{}", tile.rows, tile.columns)).unwrap_or_default()),
        ("numerics", asked),
        ("numeric class", provenance.numeric_class),
        ("created", provenance.create_time.as_ref().map(ToString::to_string).unwrap_or_default()),
    ])
}

#[cfg(test)]
mod tests {
    use relief_api::surface::v1::{NumericRequest, Plane, RandomDirection, direction::Source};

    use super::*;

    fn surface() -> Surface {
        let direction = Direction { source: Some(Source::Random(RandomDirection { seed: 3, ..Default::default() })) };
        let spec = SurfaceSpec {
            network: "networks/n".to_owned(),
            plane: Some(Plane { origin: "checkpoints/c".to_owned(), x: Some(direction), ..Plane::default() }),
            x: Some(Axis { min: -1.0, max: 1.0, count: 5 }),
            data: Some(DatasetSlice { dataset: "datasets/d".to_owned(), split: 2, limit: Some(9) }),
            numerics: Some(NumericRequest { engine: 0, precision: 2 }),
            ..SurfaceSpec::default()
        };
        let status =
            SurfaceStatus { state: 2, points_total: 5, points_per_second: f64::INFINITY, ..SurfaceStatus::default() };
        Surface { name: "surfaces/s".to_owned(), spec: Some(spec), status: Some(status), ..Surface::default() }
    }

    #[test]
    fn json_has_the_fields_of_the_api() {
        let json = to_json(&surface());
        assert_eq!(json["status"]["state"], "running");
        assert_eq!(json["spec"]["x"], json!({"min": -1.0, "max": 1.0, "count": 5}));
        assert_eq!(json["spec"]["data"], json!({"dataset": "datasets/d", "split": "test", "limit": 9}));
        let direction = json!({"random": {"seed": 3, "normalization": "filter", "ignore": "bias_bn"}});
        assert_eq!(json["spec"]["plane"]["x"], direction);
        assert_eq!(json["spec"]["numerics"], json!({"engine": "auto", "precision": "split-bf16"}));
        assert!(json["spec"]["y"].is_null() && json["status"]["points_per_second"].is_null());
    }

    #[test]
    fn norms_stand_in_a_line_per_tensor() {
        use relief_api::surface::v1::AxisGeometry;
        let axis = |direction| {
            let tensors = vec![TensorNorms { name: "fc.weight".to_owned(), direction, weights: 2.0 }];
            AxisGeometry { norm: direction, tensors }
        };
        let mut geometry = PlaneGeometry { cosine: Some(0.5), axes: vec![axis(2.0), axis(0.25)] };
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let expected = ["TENSOR", "WEIGHTS", "X", "Y", "fc.weight", "2.000000", "2.000000", "0.250000"];
        assert_eq!(words(norms(&geometry)), expected);
        geometry.axes.pop();
        assert_eq!(words(norms(&geometry)), ["TENSOR", "WEIGHTS", "X", "fc.weight", "2.000000", "2.000000"]);
    }

    #[test]
    fn people_read_the_words_of_the_flags() {
        let text = description(&surface());
        assert!(text.contains("x              -1:1:5\n"), "{text}");
        assert!(text.contains("engine auto, precision split-bf16"), "{text}");
        assert!(text.contains("the first 9 of datasets/d, split test"), "{text}");
        assert!(text.contains("random, seed 3, normalization filter, ignore bias_bn"), "{text}");
    }
}
