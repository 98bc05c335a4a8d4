//! The stops of a trajectory as a file.

use std::fmt::Write as _;

use anyhow::ensure;
use relief_api::trajectory::v1::{Stop, Trajectory, TrajectoryResult};

use super::to_json;
use crate::cli::ExportTrajectoryFormat;
use crate::npz::NpzFile;

/// Returns the result of `trajectory` in `format`, every number so that it reads back with the same bits.
pub(super) fn encode(trajectory: &Trajectory, format: ExportTrajectoryFormat) -> anyhow::Result<Vec<u8>> {
    let name = &trajectory.name;
    let result = trajectory.result.as_ref();
    ensure!(result.is_some(), "{name} has no result yet: where its stops lie is not known; wait for it");
    let result = result.cloned().unwrap_or_default();
    match format {
        ExportTrajectoryFormat::Json => Ok(format!("{:#}\n", to_json(trajectory)).into_bytes()),
        ExportTrajectoryFormat::Csv => Ok(csv(&result).into_bytes()),
        ExportTrajectoryFormat::Npz => Ok(npz(&result)?),
    }
}

/// The numbers of a stop, by name; none where not known.
fn numbers(stop: &Stop) -> [(&'static str, Option<f64>); 12] {
    [
        ("epoch", stop.epoch.map(f64::from)),
        ("learning_rate", stop.learning_rate),
        ("x", Some(stop.x)),
        ("y", Some(stop.y)),
        ("off_plane", Some(stop.off_plane)),
        ("distance", Some(stop.distance)),
        ("step_norm", stop.step_norm),
        ("step_cosine", stop.step_cosine),
        ("loss", stop.loss),
        ("accuracy", stop.accuracy),
        ("also_loss", stop.also_loss),
        ("also_accuracy", stop.also_accuracy),
    ]
}

fn csv(result: &TrajectoryResult) -> String {
    let mut file = "path,checkpoint,is_drop".to_owned();
    for (name, _) in numbers(&Stop::default()) {
        // Writing to a string does not fail.
        let _ = write!(file, ",{name}");
    }
    file.push('\n');
    for stop in &result.stops {
        let _ = write!(file, "{},{},{}", stop.path, stop.checkpoint, u8::from(stop.is_drop));
        for (_, number) in numbers(stop) {
            // Debug is the shortest form that reads back the same.
            let _ = match number {
                Some(number) => write!(file, ",{number:?}"),
                None => write!(file, ","),
            };
        }
        file.push('\n');
    }
    file
}

fn npz(result: &TrajectoryResult) -> std::io::Result<Vec<u8>> {
    let mut file = NpzFile::new();
    let n_stops = result.stops.len() as u64;
    let integers = |of: fn(&Stop) -> i64| result.stops.iter().map(of).collect::<Vec<i64>>();
    file.add("path", &[n_stops], &integers(|stop| i64::from(stop.path)))?;
    file.add("is_drop", &[n_stops], &integers(|stop| i64::from(stop.is_drop)))?;
    for (idx, (name, _)) in numbers(&Stop::default()).into_iter().enumerate() {
        let values: Vec<f64> = result.stops.iter().map(|stop| numbers(stop)[idx].1.unwrap_or(f64::NAN)).collect();
        file.add(name, &[n_stops], &values)?;
    }
    file.add("explained", &[result.explained.len() as u64], &result.explained)?;
    file.add("singular_values", &[result.singular_values.len() as u64], &result.singular_values)?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_empty() {
        let first = Stop { checkpoint: "checkpoints/a".to_owned(), x: 0.5, loss: Some(f64::NAN), ..Stop::default() };
        let second = Stop { path: 1, epoch: Some(3), is_drop: true, step_norm: Some(1e-9), ..first.clone() };
        let result = TrajectoryResult { stops: vec![first, second], ..TrajectoryResult::default() };
        let text = csv(&result);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "0,checkpoints/a,0,,,0.5,0.0,0.0,0.0,,,NaN,,,");
        assert_eq!(lines[2], "1,checkpoints/a,1,3.0,,0.5,0.0,0.0,0.0,1e-9,,NaN,,,");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
        assert!(encode(&Trajectory::default(), ExportTrajectoryFormat::Csv).is_err());
    }
}
