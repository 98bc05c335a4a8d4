//! Convexity maps: how large the most negative curvature of the loss is against the greatest, as in Li et al. 2018,
//! figure 7.

use relief_core::{Curvature, PointFlag, PointValue, Split, SplitValues, SurfaceValues};

use super::field::{Field, Quantity, check_shape};
use super::heatmap;
use super::scene::Drawing;
use crate::plot::{LossScale, PlotError, PlotFormat, PlotKind, PlotSpec};

/// The greatest ratio that has a colour of its own.
const GREATEST: f64 = 0.5;

/// The ratios as the values of a surface, in place of its losses.
pub(super) fn ratios(curvature: &Curvature) -> SurfaceValues {
    let ratios: Vec<f64> = curvature.ratios().collect();
    let mut main = SplitValues::unknown(Split::Train, ratios.len());
    for (idx, ratio) in ratios.into_iter().enumerate().filter(|(_, ratio)| !ratio.is_nan()) {
        main.set(idx, PointValue { loss: ratio, squared_error: f64::NAN, accuracy: f64::NAN });
    }
    SurfaceValues { x: curvature.x.clone(), y: curvature.y.clone(), main, also: None }
}

/// Checks that a map of `values` can be drawn as `spec` says.
pub(super) fn check(values: &SurfaceValues, spec: &PlotSpec) -> Result<(), PlotError> {
    let PlotSpec { kind, format, .. } = *spec;
    if kind != PlotKind::Convexity {
        return Err(PlotError::ConvexityKind { kind });
    }
    if !matches!(format, PlotFormat::Svg | PlotFormat::Png | PlotFormat::Pdf | PlotFormat::Html) {
        return Err(PlotError::ConvexityFormat { format });
    }
    if spec.scale == LossScale::Log {
        return Err(PlotError::ConvexityScale);
    }
    if let Some(loss_max) = spec.loss_max {
        return Err(PlotError::ConvexityLimit { loss_max });
    }
    check_shape(values)?;
    super::check_kind(values, kind)
}

/// Draws the map of `values`, which [`check`] found right: on one scale for all maps, from 0 to 0.5.
pub(super) fn draw(values: &SurfaceValues, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let is_known = |flag: &PointFlag| *flag != PointFlag::Never;
    if !values.main.flags.iter().any(is_known) {
        return Err(PlotError::NoCurvature { n_points: values.main.flags.len() });
    }
    let spec =
        PlotSpec { loss_label: "|\u{3bb}min / \u{3bb}max|".to_owned(), loss_max: None, shared: None, ..spec.clone() };
    let field = Field::new(values, &values.main, &spec)?.over(0.0, GREATEST, Quantity::Ratio);
    Ok(heatmap::draw(&field, &spec)?.with_quantity(Quantity::Ratio))
}
