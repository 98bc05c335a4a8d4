//! What can be asked of the paper's figures.

use clap::{Args, ValueEnum};
use relief_core::{DatasetId, NetworkId};

use super::NumericArguments;
use super::number::{decimal, whole};
use super::style::{LossArguments, PlotFile, StyleArguments};
use super::surface::Splits;
use super::trajectory::GridSize;

#[derive(Debug, Args)]
pub(crate) struct FigureArguments {
    /// The figure, by its name or its number; without it, all of them are listed
    #[arg(value_enum, hide_possible_values = true, value_name = "NAME")]
    pub(crate) name: Option<FigureName>,
    /// The dataset that the runs were trained on, and that losses are means over; that of the newest run unless given
    #[arg(long)]
    pub(crate) dataset: Option<DatasetId>,
    /// The networks; those of the paper unless given
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) networks: Vec<NetworkId>,
    /// The batch sizes of the runs, from small to large; those of the paper unless given
    #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = whole(1..=u32::MAX))]
    pub(crate) batches: Vec<u32>,
    /// The weight decays of the runs; those of the paper unless given
    #[arg(long, value_delimiter = ',', value_name = "DECAY,...", value_parser = decimal)]
    pub(crate) weight_decays: Vec<f64>,
    /// How many random directions, or pairs of them, are drawn where a figure repeats; 10, and 4 for surfaces, unless
    /// given
    #[arg(long, value_name = "N", value_parser = whole(2..=24_u32))]
    pub(crate) repeats: Option<u32>,
    /// Columns and rows of surfaces
    #[arg(long, default_value = "51x51", value_name = "COLUMNSxROWS")]
    pub(crate) grid: GridSize,
    /// Points of curves
    #[arg(long, default_value_t = 401, value_name = "COUNT", value_parser = whole(2..=4096_u32))]
    pub(crate) points: u32,
    /// Which samples: train, test, or both, which only curves draw; train unless given, and for curves test too where
    /// there are any
    #[arg(long)]
    pub(crate) split: Option<Splits>,
    /// Only the first so many samples; all unless given
    #[arg(long, value_name = "SAMPLES", value_parser = whole(1..=u64::MAX))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) numerics: NumericArguments,
    #[command(flatten)]
    pub(crate) losses: LossArguments,
    #[command(flatten)]
    pub(crate) style: StyleArguments,
    /// Say which runs would be drawn and what would be computed, or what is missing; compute nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The file to write: .svg, .png or .pdf
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PlotFile>,
}

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FigureName {
    #[value(alias = "fig8")]
    Interpolation,
    #[value(alias = "fig9")]
    Minima,
    #[value(alias = "fig10")]
    Normalizations,
    #[value(name = "minima-2d", alias = "fig11")]
    MinimaSurfaces,
    #[value(alias = "fig12")]
    Depth,
    #[value(alias = "fig13")]
    Width,
    #[value(alias = "fig14")]
    Repeats,
    #[value(name = "repeats-2d", alias = "fig15")]
    RepeatedSurfaces,
    #[value(alias = "fig16")]
    Weights,
    #[value(alias = "fig17")]
    Training,
    #[value(alias = "fig18")]
    RandomPlanes,
    #[value(alias = "fig19")]
    Paths,
    #[value(alias = "fig1")]
    Landscapes,
    #[value(alias = "fig7")]
    Convexity,
}
