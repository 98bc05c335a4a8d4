//! What can be asked to be drawn of runs, and of several surfaces.

use clap::{Args, ValueEnum};
use relief_api::plot::v1 as wire;
use relief_core::{RunId, Split, SurfaceId};

use super::number::{decimal, whole};
use super::surface::{PlotFile, PlotKind, PlotPalette, PlotTheme};

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
    /// Background and text
    #[arg(long, value_enum, default_value_t)]
    pub(crate) theme: PlotTheme,
    /// The width in pixels, 1 to 8192; 96 pixels make an inch. [default: 640]
    #[arg(long, value_name = "PIXELS", value_parser = whole(1..=8192_u32))]
    pub(crate) width: Option<u32>,
    /// The dots of a PNG to the inch, 10 to 960. [default: 192]
    #[arg(long, value_name = "DOTS", value_parser = decimal)]
    pub(crate) dpi: Option<f64>,
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
    /// Draw the logarithm of the loss
    #[arg(long)]
    pub(crate) log: bool,
    /// The text above the picture; nothing unless given
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) title: String,
    /// Background and text
    #[arg(long, value_enum, default_value_t)]
    pub(crate) theme: PlotTheme,
    /// Which colours stand for losses, and for more than six curves; all are told apart with any colour vision
    #[arg(long, value_enum, default_value_t)]
    pub(crate) palette: PlotPalette,
    /// The width in pixels, 1 to 8192; 96 pixels make an inch. [default: 640, and for panels what they need]
    #[arg(long, value_name = "PIXELS", value_parser = whole(1..=8192_u32))]
    pub(crate) width: Option<u32>,
    /// The dots of a PNG to the inch, 10 to 960. [default: 192]
    #[arg(long, value_name = "DOTS", value_parser = decimal)]
    pub(crate) dpi: Option<f64>,
    /// From where surfaces are seen: degrees around the vertical from the x axis towards the y axis, -360 to 360.
    /// [default: -60]
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) azimuth: Option<f64>,
    /// From how high surfaces are seen: degrees above the floor, 0 to 90. [default: 30]
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) elevation: Option<f64>,
    /// Draw surfaces without perspective: parallel lines stay parallel
    #[arg(long)]
    pub(crate) orthographic: bool,
    /// Clip greater losses at this one; unless given, only a linear scale that a few outliers would flatten is clipped
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) loss_max: Option<f64>,
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
