//! How pictures are styled, and the files that they are written to.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use relief_api::plot::v1 as wire;
use relief_api::plot::v1::PlotFormat;

use super::number::{decimal, whole};

/// How every picture is styled.
#[derive(Debug, Args)]
pub(crate) struct StyleArguments {
    /// Background and text
    #[arg(long, value_enum, default_value_t)]
    pub(crate) theme: PlotTheme,
    /// The width in pixels, 1 to 8192, of a GIF 2048 at most; 96 pixels make an inch. [default: 640, and for several
    /// panels what they need]
    #[arg(long, value_name = "PIXELS", value_parser = whole(1..=8192_u32))]
    pub(crate) width: Option<u32>,
    /// The dots of a PNG to the inch, 10 to 960. [default: 192]
    #[arg(long, value_name = "DOTS", value_parser = decimal)]
    pub(crate) dpi: Option<f64>,
}

impl StyleArguments {
    pub(crate) fn theme(&self) -> i32 {
        wire::PlotTheme::from(self.theme).into()
    }
}

/// How losses are drawn.
#[derive(Debug, Args)]
pub(crate) struct LossArguments {
    /// Draw the logarithm of the loss
    #[arg(long)]
    pub(crate) log: bool,
    /// Which colours stand for losses; all are told apart with any colour vision
    #[arg(long, value_enum, default_value_t)]
    pub(crate) palette: PlotPalette,
    /// Clip greater losses at this one; unless given, only a linear scale that a few outliers would flatten is clipped
    #[arg(long, value_name = "LOSS", allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) loss_max: Option<f64>,
}

impl LossArguments {
    pub(crate) fn scale(&self) -> i32 {
        scale(self.log)
    }

    pub(crate) fn palette(&self) -> i32 {
        wire::PlotPalette::from(self.palette).into()
    }
}

pub(crate) fn scale(is_log: bool) -> i32 {
    if is_log { wire::LossScale::Log } else { wire::LossScale::Linear }.into()
}

/// From where surfaces are seen.
#[derive(Debug, Args)]
pub(crate) struct CameraArguments {
    /// From where a surface is seen: degrees around the vertical from the x axis towards the y axis, -360 to 360.
    /// [default: -60]
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) azimuth: Option<f64>,
    /// From how high a surface is seen: degrees above the floor, 0 to 90. [default: 30]
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true, value_parser = decimal)]
    pub(crate) elevation: Option<f64>,
    /// Draw a surface without perspective: parallel lines stay parallel
    #[arg(long)]
    pub(crate) orthographic: bool,
}

impl CameraArguments {
    pub(crate) fn projection(&self) -> i32 {
        if self.orthographic { wire::PlotProjection::Orthographic } else { wire::PlotProjection::Perspective }.into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum PlotTheme {
    /// Dark on white
    #[default]
    Paper,
    /// Light on nearly black
    Dark,
}

impl From<PlotTheme> for wire::PlotTheme {
    fn from(theme: PlotTheme) -> Self {
        match theme {
            PlotTheme::Paper => Self::Paper,
            PlotTheme::Dark => Self::Dark,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum PlotPalette {
    /// Violet, green, yellow
    #[default]
    Viridis,
    /// Blue, grey, yellow
    Cividis,
    /// Black, violet, orange, nearly white
    Magma,
}

impl From<PlotPalette> for wire::PlotPalette {
    fn from(palette: PlotPalette) -> Self {
        match palette {
            PlotPalette::Viridis => Self::Viridis,
            PlotPalette::Cividis => Self::Cividis,
            PlotPalette::Magma => Self::Magma,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlotKind {
    /// Loss and accuracy over one axis
    Curve,
    /// Labelled lines of equal loss
    Contour,
    /// A coloured cell per point
    Heatmap,
    /// The areas between lines of equal loss, coloured
    FilledContour,
    /// The loss as height, in three dimensions
    Surface,
    /// The ratio of the extreme eigenvalues of the Hessian, of a surface that carries them
    Convexity,
}

impl From<PlotKind> for wire::PlotKind {
    fn from(kind: PlotKind) -> Self {
        match kind {
            PlotKind::Curve => Self::Curve,
            PlotKind::Contour => Self::Contour,
            PlotKind::Heatmap => Self::Heatmap,
            PlotKind::FilledContour => Self::FilledContour,
            PlotKind::Surface => Self::Surface,
            PlotKind::Convexity => Self::Convexity,
        }
    }
}

/// The file of a picture, whose form its extension says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlotFile {
    pub(crate) path: PathBuf,
    pub(crate) format: PlotFormat,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the extension must be .svg, .png, .pdf, .html, .gif, .vtp, .obj or .stl")]
pub(crate) struct PlotFileError;

impl FromStr for PlotFile {
    type Err = PlotFileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = Path::new(text);
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let format = match extension.as_deref() {
            Some("svg") => PlotFormat::Svg,
            Some("png") => PlotFormat::Png,
            Some("pdf") => PlotFormat::Pdf,
            Some("html") => PlotFormat::Html,
            Some("gif") => PlotFormat::Gif,
            Some("vtp") => PlotFormat::Vtp,
            Some("obj") => PlotFormat::Obj,
            Some("stl") => PlotFormat::Stl,
            _ => return Err(PlotFileError),
        };
        Ok(Self { path: path.to_owned(), format })
    }
}
