//! What can be asked to be drawn.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use relief_api::plot::v1 as wire;
use relief_core::{RunId, Split, SurfaceId, TrajectoryId};

use super::number::whole;
use super::style::{CameraArguments, LossArguments, PlotFile, PlotKind, StyleArguments};
use super::trajectory::PlotTrajectoryArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum PlotCommand {
    /// Draw a surface or a curve
    Surface(PlotSurfaceArguments),
    /// Draw the paths of a trajectory over the contours of the loss
    Trajectory(PlotTrajectoryArguments),
    /// Draw how runs went: loss and error, the norm of the weights, or how the weights are distributed
    Run(PlotRunArguments),
    /// Draw several surfaces or curves in one picture, on one scale of the loss
    Surfaces(PlotSurfacesArguments),
    /// Draw pictures of any kind in rows and columns of one
    Panels(PlotPanelsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PlotSurfaceArguments {
    /// The surface
    #[arg(value_name = "ID")]
    pub(crate) name: SurfaceId,
    /// What to draw; unless given, curve for a curve, and for a surface contour, but surface where the file is .html,
    /// .gif, .vtp, .obj or .stl
    #[arg(long, value_enum)]
    pub(crate) kind: Option<PlotKind>,
    /// Which values: train or test; those of the surface's own split unless given, and a curve of both draws both
    #[arg(long)]
    pub(crate) split: Option<Split>,
    /// The text above the picture; the network and the checkpoint unless given
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) losses: LossArguments,
    #[command(flatten)]
    pub(crate) camera: CameraArguments,
    #[command(flatten)]
    pub(crate) style: StyleArguments,
    /// The file to write: .svg, .png, .pdf, .html (interactive), .gif (a surface that turns), or for other programs .vtp
    /// (ParaView), .obj, .stl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PlotFile,
}

#[derive(Debug, Args)]
pub(crate) struct PlotRunArguments {
    /// The runs, 1 to 6; one that stands here twice is drawn twice, as for two --epochs
    #[arg(value_name = "RUN,...", value_delimiter = ',', required = true)]
    pub(crate) runs: Vec<RunId>,
    /// What to draw
    #[arg(long, value_enum, default_value_t)]
    pub(crate) kind: RunPlotKind,
    /// What the runs are called, one for each; their names unless given
    #[arg(long, value_delimiter = ',', value_name = "TEXT,...")]
    pub(crate) labels: Vec<String>,
    /// The snapshots whose weights a histogram counts, one for each run; the last ones unless given
    #[arg(long, value_delimiter = ',', value_name = "EPOCH,...", value_parser = whole(0..=u32::MAX))]
    pub(crate) epochs: Vec<u32>,
    /// Draw the logarithm: of the loss, of the norm, or of the number of weights
    #[arg(long)]
    pub(crate) log: bool,
    /// The text above the picture; nothing unless given, or the name where there is one run
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) style: StyleArguments,
    /// The file to write: .svg, .png, .pdf or .html (interactive)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PlotFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum RunPlotKind {
    /// Loss, and below it the error, over epochs
    #[default]
    Training,
    /// The Euclidean norm of the trainable tensors over epochs
    WeightNorm,
    /// How many weights have which value
    Histogram,
}

impl From<RunPlotKind> for wire::RunPlotKind {
    fn from(kind: RunPlotKind) -> Self {
        match kind {
            RunPlotKind::Training => Self::Training,
            RunPlotKind::WeightNorm => Self::WeightNorm,
            RunPlotKind::Histogram => Self::WeightHistogram,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlotSurfacesArguments {
    /// The surfaces, 1 to 24: all curves, or all of two axes
    #[arg(value_name = "ID,...", value_delimiter = ',', required = true)]
    pub(crate) names: Vec<SurfaceId>,
    /// What the surfaces are called, one for each; their names unless given
    #[arg(long, value_delimiter = ',', value_name = "TEXT,...")]
    pub(crate) labels: Vec<String>,
    /// How they stand in the picture; overlay for curves and panels for others unless given
    #[arg(long, value_enum)]
    pub(crate) layout: Option<SurfacesLayout>,
    /// How many panels stand side by side, 1 to 8; about as many as below each other unless given
    #[arg(long, value_name = "COUNT", value_parser = whole(1..=8_u32))]
    pub(crate) columns: Option<u32>,
    /// How far a band reaches
    #[arg(long, value_enum, default_value_t)]
    pub(crate) spread: BandSpread,
    /// Draw the accuracy of curves too, dashed, on an axis on the right
    #[arg(long)]
    pub(crate) accuracy: bool,
    /// What to draw of each; contour unless given, and curve for curves
    #[arg(long, value_enum)]
    pub(crate) kind: Option<PlotKind>,
    /// Which values: train or test; those of each surface's own split unless given
    #[arg(long)]
    pub(crate) split: Option<Split>,
    /// The text above the picture; nothing unless given
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) losses: LossArguments,
    #[command(flatten)]
    pub(crate) camera: CameraArguments,
    #[command(flatten)]
    pub(crate) style: StyleArguments,
    /// The file to write: .svg, .png or .pdf
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PlotFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SurfacesLayout {
    /// Curves over each other
    Overlay,
    /// The mean of curves over one grid, and the band that they spread over
    Band,
    /// Each in a panel of its own, on one scale
    Panels,
}

impl From<SurfacesLayout> for wire::SurfacesLayout {
    fn from(layout: SurfacesLayout) -> Self {
        match layout {
            SurfacesLayout::Overlay => Self::Overlay,
            SurfacesLayout::Band => Self::Band,
            SurfacesLayout::Panels => Self::Panels,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum BandSpread {
    /// From the least to the greatest
    #[default]
    Range,
    /// One standard deviation to either side
    Deviation,
}

impl From<BandSpread> for wire::BandSpread {
    fn from(spread: BandSpread) -> Self {
        match spread {
            BandSpread::Range => Self::Range,
            BandSpread::Deviation => Self::Deviation,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlotPanelsArguments {
    /// What the panels show, row by row, 1 to 24: surfaces/ID, trajectories/ID or runs/ID each
    #[arg(value_name = "NAME,...", value_delimiter = ',', required = true)]
    pub(crate) names: Vec<PanelName>,
    /// What stands above the panels, one for each
    #[arg(long, value_delimiter = ',', value_name = "TEXT,...")]
    pub(crate) titles: Vec<String>,
    /// How many panels stand side by side, 1 to 8; about as many as below each other unless given
    #[arg(long, value_name = "COUNT", value_parser = whole(1..=8_u32))]
    pub(crate) columns: Option<u32>,
    /// Draw all losses on one scale: one colour and one height stand for one loss in all panels
    #[arg(long)]
    pub(crate) shared_scale: bool,
    /// What to draw of surfaces; contour unless given, and curve for curves
    #[arg(long, value_enum)]
    pub(crate) kind: Option<PlotKind>,
    /// What to draw of runs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) run_kind: RunPlotKind,
    /// Which values: train or test; those of the split of each unless given
    #[arg(long)]
    pub(crate) split: Option<Split>,
    /// The text above all of them; nothing unless given
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) losses: LossArguments,
    #[command(flatten)]
    pub(crate) camera: CameraArguments,
    #[command(flatten)]
    pub(crate) style: StyleArguments,
    /// The file to write: .svg, .png or .pdf
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PlotFile,
}

/// What a panel shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PanelName {
    Surface(SurfaceId),
    Trajectory(TrajectoryId),
    Run(RunId),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of surfaces/ID, trajectories/ID and runs/ID")]
pub(crate) struct PanelNameError(String);

impl FromStr for PanelName {
    type Err = PanelNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.split('/').next() {
            Some("surfaces") => text.parse().map(Self::Surface),
            Some("trajectories") => text.parse().map(Self::Trajectory),
            Some("runs") => text.parse().map(Self::Run),
            _ => return Err(PanelNameError(text.to_owned())),
        };
        name.map_err(|_| PanelNameError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_told_apart_by_their_collection() {
        let named = |text: &str| text.parse::<PanelName>();
        assert!(matches!(named("surfaces/a"), Ok(PanelName::Surface(_))));
        assert!(matches!(named("trajectories/a"), Ok(PanelName::Trajectory(_))));
        assert!(matches!(named("runs/a"), Ok(PanelName::Run(_))));
        for wrong in ["a", "runs/", "runs/a/snapshots/1", "networks/a", ""] {
            assert_eq!(named(wrong), Err(PanelNameError(wrong.to_owned())));
        }
    }
}
