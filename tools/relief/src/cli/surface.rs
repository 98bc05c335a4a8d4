//! What can be asked about surfaces.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use relief_core::{
    Axis, AxisError, BatchNormMode, CheckpointName, ClientId, DatasetId, Ignore, NetworkId, Normalization, Split,
    SurfaceId, TileShape,
};

use super::NumericArguments;
use super::number::whole;

#[derive(Debug, Subcommand)]
pub(crate) enum SurfaceCommand {
    /// Compute a surface (two axes) or a curve (one); prints its name
    Create(Box<CreateArguments>),
    /// Show a surface and how far it is
    Get {
        /// The surface
        #[arg(value_name = "ID")]
        name: SurfaceId,
        /// Show how long its directions are, tensor by tensor
        #[arg(long)]
        norms: bool,
    },
    /// Follow a surface to its end
    Watch {
        /// The surface
        #[arg(value_name = "ID")]
        name: SurfaceId,
    },
    /// Stop a surface; what is computed stays
    Cancel {
        /// The surface
        #[arg(value_name = "ID")]
        name: SurfaceId,
    },
    /// Delete a surface and its values
    Delete {
        /// The surface
        #[arg(value_name = "ID")]
        name: SurfaceId,
    },
    /// List the surfaces, newest first
    List,
    /// Write the values to a file
    Export(ExportArguments),
    /// Write the directions to safetensors files, x.safetensors and y.safetensors
    Directions {
        /// The surface
        #[arg(value_name = "ID")]
        name: SurfaceId,
        /// The directory to write to; made when absent
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// The network; the one that the checkpoint belongs to unless given
    #[arg(long)]
    pub(crate) network: Option<NetworkId>,
    /// The parameters at the origin: checkpoints/ID, or runs/ID/snapshots/EPOCH
    #[arg(long, visible_alias = "from", value_name = "NAME")]
    pub(crate) checkpoint: CheckpointName,
    /// The checkpoint at x = 1: the first direction leads there, as in --from A --to B --x=-0.5:1.5:401
    #[arg(long, value_name = "NAME", conflicts_with = "x_direction")]
    pub(crate) to: Option<CheckpointName>,
    /// The checkpoint at y = 1: the second direction leads there
    #[arg(long, value_name = "NAME", requires = "y", conflicts_with = "y_direction")]
    pub(crate) y_to: Option<CheckpointName>,
    /// The dataset that the loss is a mean over; that of the run unless given, where the checkpoint is a snapshot
    #[arg(long)]
    pub(crate) dataset: Option<DatasetId>,
    /// Which samples: train, test, or both, of which the test values stand beside those of the training samples
    #[arg(long, default_value = "train")]
    pub(crate) split: Splits,
    /// The coefficients of the first direction, as in --x=-1:1:51, which is what a surface has unless given; a curve has
    /// -1:1:401, and the way to a checkpoint -0.5:1.5:401
    #[arg(long, allow_hyphen_values = true, value_name = "MIN:MAX:COUNT")]
    pub(crate) x: Option<Axis>,
    /// The coefficients of the second direction; without it, a curve
    #[arg(long, allow_hyphen_values = true, value_name = "MIN:MAX:COUNT")]
    pub(crate) y: Option<Axis>,
    /// How random directions are scaled against the weights: filter, layer or weight; dfilter and dlayer to length 1; or
    /// none. [default: filter]
    #[arg(long)]
    pub(crate) normalization: Option<Normalization>,
    /// Which tensors random directions do not move: bias_bn or none. [default: bias_bn]
    #[arg(long)]
    pub(crate) ignore: Option<Ignore>,
    /// What batch normalisations go by: frozen, the statistics of the origin; interpolated, statistics that move like all
    /// else; or recomputed at each point from the training samples. Interpolated on the way to a checkpoint unless
    /// given, else frozen
    #[arg(long, value_name = "MODE")]
    pub(crate) batch_norm: Option<BatchNormMode>,
    /// Seeds the random directions. [default: 0]
    #[arg(long, value_parser = whole(0..=u64::MAX))]
    pub(crate) seed: Option<u64>,
    /// A safetensors file with the first direction, used as it is: nothing is scaled or ignored, and a tensor that it
    /// does not name does not move
    #[arg(long, value_name = "FILE")]
    pub(crate) x_direction: Option<PathBuf>,
    /// The same for the second direction
    #[arg(long, value_name = "FILE", requires = "y")]
    pub(crate) y_direction: Option<PathBuf>,
    /// Only the first so many samples; all unless given
    #[arg(long, value_name = "SAMPLES", value_parser = whole(1..=u64::MAX))]
    pub(crate) limit: Option<u64>,
    /// The points that one evaluator computes at a time; chosen by the server unless given
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    pub(crate) tile: Option<TileShape>,
    #[command(flatten)]
    pub(crate) numerics: NumericArguments,
    /// Compute every point, even those that other surfaces have
    #[arg(long)]
    pub(crate) fresh: bool,
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
    /// Check everything and say what it would take, but compute and store nothing
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    /// Follow it to its end
    #[arg(long)]
    pub(crate) watch: bool,
}

impl CreateArguments {
    /// The coefficients of the first direction: those given, or what published figures have.
    pub(crate) fn x(&self) -> Result<Axis, AxisError> {
        match (self.x, &self.to, self.y) {
            (Some(x), _, _) => Ok(x),
            (None, _, Some(_)) => Axis::new(-1.0, 1.0, 51),
            (None, None, None) => Axis::new(-1.0, 1.0, 401),
            (None, Some(_), None) => Axis::new(-0.5, 1.5, 401),
        }
    }

    /// A flag that was given and has nothing to say, because no direction is random.
    pub(crate) fn idle_flag(&self) -> Option<&'static str> {
        let is_given = |to: Option<&CheckpointName>, file: Option<&PathBuf>| to.is_some() || file.is_some();
        let x = is_given(self.to.as_ref(), self.x_direction.as_ref());
        let y = self.y.is_none() || is_given(self.y_to.as_ref(), self.y_direction.as_ref());
        let flags = [
            ("--normalization", self.normalization.is_some()),
            ("--ignore", self.ignore.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        flags.into_iter().find(|(_, is_said)| x && y && *is_said).map(|(flag, _)| flag)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The surface
    #[arg(value_name = "ID")]
    pub(crate) name: SurfaceId,
    /// The format of the file; values on a second split have its name in front, as in test_loss
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// The file to write; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// {"x": [...], "y": [...], "loss": [[...]], ...} with accuracy, squared_error and flags, a row per y; null where not
    /// finite or not computed
    Json,
    /// Columns x, y, loss, accuracy, squared_error and flag, a line per point (flag: 0 not computed, 1 finite, 2 NaN,
    /// 3 inf, 4 -inf)
    Csv,
    /// NumPy arrays x, y, loss, accuracy, squared_error and flags
    Npz,
}

/// On which samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Splits {
    pub(crate) main: Split,
    pub(crate) also: Option<Split>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of train, test, both")]
pub(crate) struct SplitsError(String);

impl FromStr for Splits {
    type Err = SplitsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "both" => Ok(Self { main: Split::Train, also: Some(Split::Test) }),
            text => match text.parse() {
                Ok(main) => Ok(Self { main, also: None }),
                Err(_) => Err(SplitsError(text.to_owned())),
            },
        }
    }
}
