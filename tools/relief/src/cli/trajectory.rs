//! What can be asked about trajectories.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use relief_core::{
    CheckpointName, ClientId, DatasetId, Ignore, NetworkId, Normalization, RunId, Split, TrajectoryId, TrajectorySpec,
};

use super::NumericArguments;
use super::number::{decimal, whole};
use super::style::{LossArguments, PlotFile, StyleArguments};
use super::surface::Splits;

#[derive(Debug, Subcommand)]
pub(crate) enum TrajectoryCommand {
    /// Project an optimiser's path into a plane, and compute the loss around it; prints its name
    Create(Box<CreateTrajectoryArguments>),
    /// Show a trajectory: how far it is, how much of the path the plane holds, and its stops
    Get {
        /// The trajectory
        #[arg(value_name = "ID")]
        name: TrajectoryId,
    },
    /// Follow a trajectory to its end
    Watch {
        /// The trajectory
        #[arg(value_name = "ID")]
        name: TrajectoryId,
    },
    /// Stop a trajectory and the work on its surface; what is computed stays
    Cancel {
        /// The trajectory
        #[arg(value_name = "ID")]
        name: TrajectoryId,
    },
    /// Delete a trajectory; its surface stays
    Delete {
        /// The trajectory
        #[arg(value_name = "ID")]
        name: TrajectoryId,
    },
    /// List the trajectories, newest first
    List,
    /// Write where the stops lie, and their losses, to a file
    Export(ExportTrajectoryArguments),
    /// Draw the path over the contours of the loss
    Plot(PlotTrajectoryArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CreateTrajectoryArguments {
    /// The run whose snapshots are the path
    #[arg(long, value_name = "ID", required_unless_present = "checkpoints", conflicts_with = "checkpoints")]
    pub(crate) run: Option<RunId>,
    /// The checkpoints that are the path, in order; the last one lies at (0, 0)
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) checkpoints: Vec<CheckpointName>,
    /// More runs, projected into the same plane
    #[arg(long, value_delimiter = ',', value_name = "RUN,...")]
    pub(crate) also: Vec<RunId>,
    /// The network; the one that the checkpoints belong to unless given
    #[arg(long)]
    pub(crate) network: Option<NetworkId>,
    /// What spans the plane
    #[arg(long, value_enum, default_value_t)]
    pub(crate) axes: AxesKind,
    /// Subtract the mean before the principal components are taken
    #[arg(long)]
    pub(crate) centered: bool,
    /// Take the principal components of all runs together, not of the first path only
    #[arg(long, requires = "also")]
    pub(crate) together: bool,
    /// Which tensors do not count: bias_bn or none
    #[arg(long, default_value = "bias_bn")]
    pub(crate) ignore: Ignore,
    /// Seeds random axes [default: 0]
    #[arg(long, value_parser = whole(0..=u64::MAX))]
    pub(crate) seed: Option<u64>,
    /// How random axes are scaled against the weights: filter, layer, weight, dfilter, dlayer or none [default: filter]
    #[arg(long)]
    pub(crate) normalization: Option<Normalization>,
    /// A safetensors file with the first axis, for --axes directions
    #[arg(long, value_name = "FILE", requires = "y_direction")]
    pub(crate) x_direction: Option<PathBuf>,
    /// The same for the second axis
    #[arg(long, value_name = "FILE", requires = "x_direction")]
    pub(crate) y_direction: Option<PathBuf>,
    /// How far the surface reaches beyond the path on each side, as a part of the path's extent
    #[arg(long, default_value_t = 0.3, value_name = "PART", value_parser = decimal)]
    pub(crate) margin: f64,
    /// Columns and rows of the surface
    #[arg(long, default_value = "51x51", value_name = "COLUMNSxROWS")]
    pub(crate) grid: GridSize,
    /// The dataset that losses are means over; that of the run unless given
    #[arg(long)]
    pub(crate) dataset: Option<DatasetId>,
    /// Which samples: train, test, or both
    #[arg(long, default_value = "train")]
    pub(crate) split: Splits,
    /// Only the first so many samples; all unless given
    #[arg(long, value_name = "SAMPLES", value_parser = whole(1..=u64::MAX))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) numerics: NumericArguments,
    /// Who asks: clients share the evaluators, whatever the number of their surfaces
    #[arg(long, env = "RELIEF_CLIENT", value_name = "NAME", default_value_t)]
    pub(crate) client: ClientId,
    /// Higher comes first among the surfaces of the same client, -100 to 100
    #[arg(long, default_value_t = 0, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-100..=100))]
    pub(crate) priority: i32,
    /// The part among surfaces of the same client and priority, 1 to 1000
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) weight: u32,
    /// Check everything, but compute and store nothing
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    /// Follow it to its end
    #[arg(long)]
    pub(crate) watch: bool,
}

impl CreateTrajectoryArguments {
    /// A flag that was given and has nothing to say, because of the axes.
    pub(crate) fn idle_flag(&self) -> Option<&'static str> {
        let is_random = matches!(self.axes, AxesKind::Random | AxesKind::StartEndRandom);
        let flags = [
            ("--centered", self.centered && self.axes != AxesKind::Pca),
            ("--together", self.together && self.axes != AxesKind::Pca),
            ("--seed", self.seed.is_some() && !is_random),
            ("--normalization", self.normalization.is_some() && !is_random),
            ("--x-direction", self.x_direction.is_some() && self.axes != AxesKind::Directions),
        ];
        flags.into_iter().find(|(_, is_idle)| *is_idle).map(|(flag, _)| flag)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum AxesKind {
    /// The two leading principal components of the path
    #[default]
    Pca,
    /// Two random directions, which see next to nothing of the path
    Random,
    /// From the end of the path to its start, and a random direction
    #[value(name = "start-end+random")]
    StartEndRandom,
    /// Two directions given as files, --x-direction and --y-direction
    Directions,
}

/// Columns and rows of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GridSize {
    pub(crate) columns: u32,
    pub(crate) rows: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not COLUMNSxROWS with 2 to 4096 of each, as in 51x51")]
pub(crate) struct GridSizeError(String);

impl FromStr for GridSize {
    type Err = GridSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = text
            .split_once('x')
            .and_then(|(columns, rows)| Some(Self { columns: columns.parse().ok()?, rows: rows.parse().ok()? }));
        let is_good = |size: &Self| [size.columns, size.rows].iter().all(|n| TrajectorySpec::COUNTS.contains(n));
        size.filter(is_good).ok_or_else(|| GridSizeError(text.to_owned()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExportTrajectoryArguments {
    /// The trajectory
    #[arg(value_name = "ID")]
    pub(crate) name: TrajectoryId,
    /// The format of the file
    #[arg(long, value_enum)]
    pub(crate) format: ExportTrajectoryFormat,
    /// The file to write; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportTrajectoryFormat {
    /// The trajectory with `result`: the plane, and a list of stops; null where not finite or not known
    Json,
    /// A line per stop: path, checkpoint, epoch, learning_rate, is_drop, x, y, off_plane, distance, step_norm,
    /// step_cosine, loss, accuracy; empty where not known
    Csv,
    /// NumPy arrays of the same, one entry per stop, NaN where not known, with explained and singular_values
    Npz,
}

#[derive(Debug, Args)]
pub(crate) struct PlotTrajectoryArguments {
    /// The trajectory
    #[arg(value_name = "ID")]
    pub(crate) name: TrajectoryId,
    /// Which losses: train or test; those of the trajectory's own split unless given
    #[arg(long)]
    pub(crate) split: Option<Split>,
    /// The text above the picture; the network and the paths unless given
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) losses: LossArguments,
    #[command(flatten)]
    pub(crate) style: StyleArguments,
    /// The file to write: .svg, .png, .pdf, .html (interactive), or .gif (the paths grow)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PlotFile,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_columns_by_rows() {
        assert_eq!("51x7".parse(), Ok(GridSize { columns: 51, rows: 7 }));
        for bad in ["51", "x", "1x5", "5x5000", "5 x 5", "-5x5", ""] {
            assert!(bad.parse::<GridSize>().is_err(), "{bad}");
        }
    }
}
