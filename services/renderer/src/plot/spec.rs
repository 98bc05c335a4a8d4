//! What to draw, and how.

use std::fmt;

use crate::plot::{PlotError, SharedScale};

/// The widest picture, and the widest PNG, in pixels.
pub const LONGEST_SIDE: u32 = 8192;

/// The widest animation, in pixels.
const WIDEST_ANIMATION: u32 = 2048;

/// The kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlotKind {
    /// Loss and accuracy over one direction, each on its own axis.
    Curve,
    /// Labelled lines of equal loss over two directions.
    Contour,
    /// A coloured cell for each grid point, with a colour bar.
    Heatmap,
    /// The areas between lines of equal loss, coloured, with a colour bar.
    FilledContour,
    /// The loss as height over two directions, in perspective or orthographic view.
    Surface,
    /// A coloured cell for each grid point, of the ratio of the extreme curvatures.
    Convexity,
}

impl PlotKind {
    /// All kinds that are drawn of losses, as all are but convexity.
    pub const ALL: [Self; 5] = [Self::Curve, Self::Contour, Self::Heatmap, Self::FilledContour, Self::Surface];
}

impl fmt::Display for PlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Curve => "curve",
            Self::Contour => "contour",
            Self::Heatmap => "heatmap",
            Self::FilledContour => "filled contour",
            Self::Surface => "surface",
            Self::Convexity => "convexity map",
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
    /// Portable Document Format: one page, made from the SVG.
    Pdf,
    /// One page that needs nothing else: a surface turns under the pointer, and every kind says what is pointed at.
    Html,
    /// Graphics Interchange Format, animated: a surface that turns once, or a trajectory that grows.
    Gif,
    /// VTK XML PolyData, for ParaView: the surface with its values.
    Vtp,
    /// Wavefront OBJ: the surface as quadrilaterals.
    Obj,
    /// Binary STL: the surface as triangles.
    Stl,
}

impl PlotFormat {
    /// All formats.
    pub const ALL: [Self; 8] =
        [Self::Svg, Self::Png, Self::Pdf, Self::Html, Self::Gif, Self::Vtp, Self::Obj, Self::Stl];

    /// The media type of the file.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
            Self::Pdf => "application/pdf",
            Self::Html => "text/html",
            Self::Gif => "image/gif",
            // Not registered; what VTK calls it.
            Self::Vtp => "application/vnd.vtk.vtp",
            Self::Obj => "model/obj",
            Self::Stl => "model/stl",
        }
    }

    /// Whether the file holds the surface itself, whatever the kind of picture.
    #[must_use]
    pub fn is_solid(self) -> bool {
        matches!(self, Self::Vtp | Self::Obj | Self::Stl)
    }
}

impl fmt::Display for PlotFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Svg => "SVG",
            Self::Png => "PNG",
            Self::Pdf => "PDF",
            Self::Html => "HTML",
            Self::Gif => "GIF",
            Self::Vtp => "VTP",
            Self::Obj => "OBJ",
            Self::Stl => "STL",
        })
    }
}

/// Background and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Theme {
    /// Dark on white, as a paper is printed.
    #[default]
    Paper,
    /// Light on nearly black, as slides are shown.
    Dark,
}

impl Theme {
    /// All themes.
    pub const ALL: [Self; 2] = [Self::Paper, Self::Dark];
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paper => "paper",
            Self::Dark => "dark",
        })
    }
}

/// Which colours stand for losses. All are perceptually uniform, grow lighter throughout, and can be told apart with
/// any colour vision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Palette {
    /// Violet, green, yellow.
    #[default]
    Viridis,
    /// Blue, grey, yellow: alike for those who see no red or no green.
    Cividis,
    /// Black, violet, orange, nearly white.
    Magma,
}

impl Palette {
    /// All palettes.
    pub const ALL: [Self; 3] = [Self::Viridis, Self::Cividis, Self::Magma];
}

impl fmt::Display for Palette {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viridis => "viridis",
            Self::Cividis => "cividis",
            Self::Magma => "magma",
        })
    }
}

/// How a surface is projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Projection {
    /// What is farther away is smaller.
    #[default]
    Perspective,
    /// Parallel lines stay parallel.
    Orthographic,
}

/// From where a surface is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// The camera's direction around the vertical, in degrees from the x axis towards the y axis, -360 to 360.
    pub azimuth: f64,
    /// The camera's height above the floor in degrees: 0 level, 90 from above.
    pub elevation: f64,
    /// How the surface is projected.
    pub projection: Projection,
}

impl Default for Camera {
    /// Returns a perspective view from the front, a little from the left and above: azimuth -60, elevation 30.
    fn default() -> Self {
        Self { azimuth: -60.0, elevation: 30.0, projection: Projection::Perspective }
    }
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
    /// The device pixels of a PNG for each pixel of `width`, 0.1 to 10: its dots per inch divided by 96. A GIF has one.
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
    /// The scale that the picture shares with others; that of its own losses with none.
    pub shared: Option<SharedScale>,
    /// Background and text.
    pub theme: Theme,
    /// Which colours stand for losses.
    pub palette: Palette,
    /// From where a surface is seen; nothing to other kinds.
    pub camera: Camera,
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
            shared: None,
            theme: Theme::Paper,
            palette: Palette::Viridis,
            camera: Camera::default(),
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
        let Camera { azimuth, elevation, .. } = self.camera;
        if !(-360.0..=360.0).contains(&azimuth) {
            return Err(PlotError::Azimuth { azimuth });
        }
        if !(0.0..=90.0).contains(&elevation) {
            return Err(PlotError::Elevation { elevation });
        }
        if self.format == PlotFormat::Gif && self.width > WIDEST_ANIMATION {
            return Err(PlotError::AnimationWidth { width: self.width, most: WIDEST_ANIMATION });
        }
        match self.loss_max {
            Some(loss_max) if !loss_max.is_finite() => Err(PlotError::LossMaxNotFinite { loss_max }),
            _ => Ok(()),
        }
    }
}
