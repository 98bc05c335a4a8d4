//! What to draw, and how.

use std::fmt;

use crate::plot::PlotError;

/// The widest picture, and the longest side of a PNG, in pixels.
const LONGEST_SIDE: u32 = 8192;

/// The kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlotKind {
    /// Loss and accuracy over one direction, each on its own axis.
    Curve,
    /// Labelled lines of equal loss over two directions.
    Contour,
    /// A coloured cell for each grid point, with a colour bar.
    Heatmap,
}

impl fmt::Display for PlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Curve => "curve",
            Self::Contour => "contour",
            Self::Heatmap => "heatmap",
        })
    }
}

/// How losses are placed on their axis, or on the colour bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LossScale {
    /// In proportion.
    #[default]
    Linear,
    /// By the decimal logarithm; losses of zero and below cannot be drawn.
    Log,
}

/// The file format of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PlotFormat {
    /// Scalable Vector Graphics, with all text as outlines.
    #[default]
    Svg,
    /// Portable Network Graphics, made from the SVG.
    Png,
}

/// Everything a picture depends on besides the values.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotSpec {
    /// The kind of picture.
    pub kind: PlotKind,
    /// The scale of the losses.
    pub scale: LossScale,
    /// The file format.
    pub format: PlotFormat,
    /// The line above the picture; long titles are wrapped.
    pub title: Option<String>,
    /// The width in CSS pixels, 1 to 8192. All sizes within the picture are in proportion to it.
    pub width: u32,
    /// The device pixels of a PNG for each pixel of `width`.
    pub pixel_ratio: f64,
    /// The label of the first direction's axis.
    pub x_label: String,
    /// The label of the second direction's axis; a curve has none.
    pub y_label: String,
    /// The label of the loss axis, or of the colour bar.
    pub loss_label: String,
    /// The label of a curve's accuracy axis.
    pub accuracy_label: String,
    /// Losses above are clipped in the picture, and the picture says so. With none, a linear scale is clipped only
    /// where a few outliers would flatten everything else.
    pub loss_max: Option<f64>,
}

impl PlotSpec {
    /// Returns the default picture of a kind: linear, SVG, 640 pixels wide, without a title.
    #[must_use]
    pub fn new(kind: PlotKind) -> Self {
        Self {
            kind,
            scale: LossScale::Linear,
            format: PlotFormat::Svg,
            title: None,
            width: 640,
            pixel_ratio: 2.0,
            x_label: "coefficient of direction x".to_owned(),
            y_label: "coefficient of direction y".to_owned(),
            loss_label: "loss (cross entropy, nats)".to_owned(),
            accuracy_label: "accuracy (%)".to_owned(),
            loss_max: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), PlotError> {
        if self.width == 0 || self.width > LONGEST_SIDE {
            return Err(PlotError::Width { width: self.width });
        }
        if !(0.1..=10.0).contains(&self.pixel_ratio) {
            return Err(PlotError::PixelRatio { pixel_ratio: self.pixel_ratio });
        }
        if self.format == PlotFormat::Png && f64::from(self.width) * self.pixel_ratio > f64::from(LONGEST_SIDE) {
            return Err(PlotError::Pixels { width: self.width, pixel_ratio: self.pixel_ratio });
        }
        match self.loss_max {
            Some(loss_max) if !loss_max.is_finite() => Err(PlotError::LossMaxNotFinite { loss_max }),
            _ => Ok(()),
        }
    }
}
