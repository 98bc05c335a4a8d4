//! What can be asked for on the command line.

mod figure;
mod number;
mod plot;
mod style;
mod surface;
#[cfg(test)]
mod tests;
mod trajectory;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use relief_core::{
    CheckpointId, CheckpointName, DatasetId, Engine, NetworkId, NumericRequest, OrAuto, Precision, RunId, Split,
};
use relief_graph::InputShape;
use relief_rpc::Endpoint;

use crate::output::OutputFormat;
pub(crate) use figure::{FigureArguments, FigureName};
use number::{decimal, whole};
pub(crate) use plot::{
    PanelName, PlotCommand, PlotPanelsArguments, PlotRunArguments, PlotSurfaceArguments, PlotSurfacesArguments,
    RunPlotKind,
};
pub(crate) use style::{LossArguments, PlotFile, scale};
pub(crate) use surface::{CreateArguments, ExportArguments, ExportFormat, Splits, SurfaceCommand};
pub(crate) use trajectory::{
    AxesKind, CreateTrajectoryArguments, ExportTrajectoryFormat, PlotTrajectoryArguments, TrajectoryCommand,
};

/// See a neural network's loss landscape
///
/// `relief quickstart` shows all of it in a minute. `relief up` starts a server on this machine, which the other
/// commands talk to unless --endpoint names another.
#[derive(Debug, Parser)]
#[command(name = "relief", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// The server, http://HOST:PORT
    #[arg(long, global = true, env = "RELIEF_ENDPOINT", default_value = "http://127.0.0.1:7373", value_name = "URL")]
    pub(crate) endpoint: Endpoint,
    /// The server of training runs, where it is not that of --endpoint
    #[arg(long, global = true, env = "RELIEF_TRAINER_ENDPOINT", value_name = "URL")]
    pub(crate) trainer_endpoint: Option<Endpoint>,
    /// The server of pictures, where it is not that of --endpoint
    #[arg(long, global = true, env = "RELIEF_RENDERER_ENDPOINT", value_name = "URL")]
    pub(crate) renderer_endpoint: Option<Endpoint>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: OutputFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a network on real images and draw its loss surface, in one process
    Quickstart(QuickstartArguments),
    /// Run all services in one process on this machine, until it is stopped
    Up(UpArguments),
    /// What to compute: built-in and stored networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Inputs and targets
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Parameters from elsewhere; those of training runs are snapshots of the run
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Train a network; prints the name of the run
    Train(TrainArguments),
    /// Training runs
    #[command(subcommand)]
    Run(RunCommand),
    /// Loss surfaces and curves
    #[command(subcommand)]
    Surface(SurfaceCommand),
    /// Optimisers' paths in planes through parameter space
    #[command(subcommand)]
    Trajectory(TrajectoryCommand),
    /// Pictures
    #[command(subcommand)]
    Plot(PlotCommand),
    /// Make a figure of Li et al. 2018 from runs that are there; without a name, list the figures
    Figure(Box<FigureArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct QuickstartArguments {
    /// The directory for the store, the plots and the values; may be there already
    #[arg(long, default_value = "relief-quickstart", value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// The directory that holds the store; made when absent
    #[arg(long, env = "RELIEF_UP_DATA", default_value = "relief-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, env = "RELIEF_UP_LISTEN", default_value = "127.0.0.1:7373", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// What may run forward passes: cpu, the engine made for processors; burn; or auto, which leaves it to requests
    #[arg(long, env = "RELIEF_UP_ENGINE", value_name = "ENGINE", default_value_t)]
    pub(crate) engine: OrAuto<Engine>,
    /// How exactly products may be computed: f32, split-bf16 or bf16; or auto, which leaves it to requests
    #[arg(long, env = "RELIEF_UP_PRECISION", value_name = "PRECISION", default_value_t)]
    pub(crate) precision: OrAuto<Precision>,
}

/// What losses are to be computed in.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct NumericArguments {
    /// What runs the forward passes: cpu, the engine made for processors; burn; or auto, the fastest that has all of
    /// the network's operators
    #[arg(long, value_name = "ENGINE", default_value_t)]
    pub(crate) engine: OrAuto<Engine>,
    /// How exactly products are computed: f32; split-bf16, about 16 bits; bf16, for previews; or auto, the fastest that
    /// is as good as f32
    #[arg(long, value_name = "PRECISION", default_value_t)]
    pub(crate) precision: OrAuto<Precision>,
}

impl NumericArguments {
    pub(crate) fn request(self) -> NumericRequest {
        NumericRequest { engine: self.engine.0, precision: self.precision.0 }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// List the built-in networks, and those stored on the server when there is one
    List,
    /// Show the layers and parameters of a built-in network, or the record of a stored one
    Show(NetworkArguments),
    /// Import a network from an ONNX file, and its weights where the file holds them
    Import {
        /// The name to store it under, and its weights as a checkpoint
        name: NetworkId,
        /// The ONNX file; - for standard input
        #[arg(value_name = "FILE.onnx")]
        file: PathBuf,
    },
    /// Write a built-in network as an ONNX file with its weights
    Export {
        #[command(flatten)]
        network: NetworkArguments,
        /// The ONNX file to write; - for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A safetensors or PyTorch file with the weights to put in; without it, initial weights of seed 0
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// The network, as in lenet5
    pub(crate) name: NetworkId,
    /// The shape of the images; that which the network was designed for unless given
    #[arg(long, value_name = "CxHxW")]
    pub(crate) input: Option<InputShape>,
    /// The number of classes; that which the network was designed for unless given
    #[arg(long, value_name = "N")]
    pub(crate) classes: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Import one split of a dataset; the first one makes it
    Import(DatasetImportArguments),
    /// List the datasets
    List,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetImportArguments {
    /// The name to store it under
    pub(crate) name: DatasetId,
    /// The format of the files
    #[arg(long, value_enum)]
    pub(crate) format: DatasetFormat,
    /// The files: images and labels of idx; all files of the split, or the directory that holds them, of cifar10 and
    /// cifar100; one file of safetensors and npz
    #[arg(num_args = 1.., required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Which split the files are: train or test
    #[arg(long, default_value = "train")]
    pub(crate) split: Split,
    /// Per channel, subtracted from pixel / 255; unless given, the usual one of CIFAR-10, else the training split's mean
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "NUMBER,...", value_parser = decimal)]
    pub(crate) mean: Vec<f64>,
    /// Per channel, divides after the mean is subtracted; unless given, the usual one of CIFAR-10, else the training
    /// split's deviation
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "NUMBER,...", value_parser = decimal)]
    pub(crate) std: Vec<f64>,
    /// The number of classes; that of the format, else one more than the largest target, unless given
    #[arg(long, value_name = "N", value_parser = whole(1..=u32::MAX))]
    pub(crate) classes: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatasetFormat {
    /// The format of MNIST: images and labels, each compressed with gzip or not
    Idx,
    /// The binary version of CIFAR-10: data_batch_1.bin to data_batch_5.bin, or test_batch.bin
    Cifar10,
    /// The binary version of CIFAR-100: train.bin or test.bin; the fine labels are read
    Cifar100,
    /// `inputs`, float32 of shape (n, channels, height, width), taken as they are, and `targets`, integers
    Safetensors,
    /// `inputs` or `x`, bytes (images) or floats (taken as they are), and `targets` or `y`, integers
    Npz,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// Import a safetensors file, or one that PyTorch's torch.save wrote
    Import {
        /// The network that the parameters belong to
        #[arg(long)]
        network: NetworkId,
        /// The name to store it under
        name: CheckpointId,
        /// The file: tensors by name, as of `model.state_dict()`, or a dict that holds them under state_dict,
        /// model_state_dict or model
        file: PathBuf,
    },
    /// Compute the loss, the accuracy and, for a file, the logits of a checkpoint
    Evaluate(EvaluateArguments),
    /// List the imported checkpoints
    List,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArguments {
    /// The checkpoint: an imported one, or runs/RUN/snapshots/EPOCH
    pub(crate) checkpoint: CheckpointName,
    /// The network; the one that the checkpoint belongs to unless given
    #[arg(long)]
    pub(crate) network: Option<NetworkId>,
    /// The dataset
    #[arg(long)]
    pub(crate) dataset: DatasetId,
    /// Training or test samples: train or test
    #[arg(long, default_value = "train")]
    pub(crate) split: Split,
    /// Only the first so many samples; all unless given
    #[arg(long, value_name = "SAMPLES", value_parser = whole(1..=u64::MAX))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) numerics: NumericArguments,
    /// A file for the logits and targets of every sample: FILE.npz with `logits`, float32 of shape (samples, classes), and
    /// `targets`; or FILE.csv with a line per sample
    #[arg(long, value_name = "FILE")]
    pub(crate) logits: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// The network; a built-in one takes the dataset's shape and classes
    #[arg(long)]
    pub(crate) network: NetworkId,
    /// The dataset; its training split is trained on
    #[arg(long)]
    pub(crate) dataset: DatasetId,
    /// Passes over the training split
    #[arg(long, value_parser = whole(0..=u32::MAX))]
    pub(crate) epochs: u32,
    /// Samples per step [default: 128]
    #[arg(long, value_name = "N", value_parser = whole(0..=u32::MAX))]
    pub(crate) batch: Option<u32>,
    /// The initial learning rate [default: 0.1]
    #[arg(long, allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) rate: Option<f64>,
    /// Nesterov momentum [default: 0.9]
    #[arg(long, allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) momentum: Option<f64>,
    /// Weight decay on every trainable tensor [default: 5e-4]
    #[arg(long, allow_negative_numbers = true, value_name = "DECAY", value_parser = decimal)]
    pub(crate) weight_decay: Option<f64>,
    /// Epochs after which the rate is divided by 10
    #[arg(long, value_delimiter = ',', value_name = "EPOCH,...", value_parser = whole(0..=u32::MAX))]
    pub(crate) milestones: Vec<u32>,
    /// Seeds initialisation and shuffling
    #[arg(long, default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    pub(crate) seed: u64,
    /// Follow it to its end
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List the runs, newest first
    List,
    /// Show a run and its snapshots
    Get {
        /// The run
        #[arg(value_name = "ID")]
        name: RunId,
    },
    /// Follow a run to its end
    Watch {
        /// The run
        #[arg(value_name = "ID")]
        name: RunId,
    },
    /// Stop a run; its snapshots stay
    Cancel {
        /// The run
        #[arg(value_name = "ID")]
        name: RunId,
    },
}
