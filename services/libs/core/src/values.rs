//! The values of a whole surface.

use crate::point::PointFlag;

/// The values of a surface over its grid, as far as they are known. The last three are row-major with shape (ny, nx):
/// the value at row i and column j, which lies at (`x[j]`, `y[i]`), has index i nx + j. A curve has the one row y = 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SurfaceValues {
    /// The coefficients of the columns, nx of them.
    pub x: Vec<f64>,
    /// The coefficients of the rows, ny of them.
    pub y: Vec<f64>,
    /// The mean cross entropy in nats; NaN where not computed.
    pub loss: Vec<f64>,
    /// The accuracy in percent; NaN where not computed.
    pub accuracy: Vec<f64>,
    /// What is known of each loss; tells a computed NaN from a missing value.
    pub flags: Vec<PointFlag>,
}

impl SurfaceValues {
    /// The number of rows, ny.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.y.len()
    }

    /// The number of columns, nx.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.x.len()
    }

    /// Whether every point is computed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.flags.contains(&PointFlag::Never)
    }
}
