//! Where the stops of a trajectory lie in its plane, and how much of the paths the plane holds.

use nalgebra::linalg::SymmetricEigen;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::gram::Gram;
use super::spec::{Stop, TrajectoryAxes, TrajectorySpec};
use crate::axis::{Axis, AxisError, Grid};

/// Axes whose angle has a sine of at most this are parallel, and paths whose second singular value is at most this part
/// of the first are straight lines: float32 knows no better.
const MIN_SPREAD: f64 = 1e-6;

/// The least extent of the fitted grid along an axis, as a share of that along the other one.
const MIN_ASPECT: f64 = 0.1;

/// A trajectory in its plane. All numbers are finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    /// What spans the plane.
    pub axes: [AxisSource; 2],
    /// The Euclidean norm of each axis: how far a coordinate of 1 goes.
    pub norms: [f64; 2],
    /// The cosine of the angle between the axes.
    pub cosine: f64,
    /// How much of the variation lies along each axis, 0 to 1. With principal directions sigma_k^2 over the sum of all
    /// sigma^2; else, over the main path, the sum of <M_i, d>^2 / |d|^2 over that of |M_i|^2.
    pub explained: [f64; 2],
    /// How much of the variation lies in the plane, 0 to 1: with principal directions the sum of both; else, over the
    /// main path, 1 minus the sum of squared residuals over that of |M_i|^2.
    pub explained_plane: f64,
    /// The singular values of the rows, largest first; none unless the axes are principal directions.
    pub singular_values: Vec<f64>,
    /// The stops of all paths, in the order of [`TrajectorySpec::stops`].
    pub stops: Vec<ProjectedStop>,
}

/// What an axis is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AxisSource {
    /// The Gram matrix's row with this index, which is that of a given or drawn direction.
    Row(usize),
    /// The unit vector d = sum_i c_i (theta_i - theta_n) over the stops, with these coefficients c.
    Combination(Vec<f64>),
}

/// A stop in the plane.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProjectedStop {
    /// The coordinate along the first axis, of the least squares projection; the origin lies at (0, 0).
    pub x: f64,
    /// The coordinate along the second axis.
    pub y: f64,
    /// ||theta_i - theta_n - projection|| / ||theta_i - theta_n||, 0 to 1, to about 1e-8; 0 where that is 0 / 0.
    pub off_plane: f64,
    /// ||theta_i - theta_n||.
    pub distance: f64,
    /// ||theta_i - theta_{i-1}|| from the previous stop of the same path; none for its first stop.
    pub step_norm: Option<f64>,
    /// The cosine of the angle to the previous step; none where there are no two steps, or one of them has no length.
    pub step_cosine: Option<f64>,
    /// Whether the learning rate falls here: that of the next stop of the same path, under which that one was reached, is
    /// lower.
    pub is_drop: bool,
}

/// Why a trajectory cannot be projected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProjectionError {
    /// The Gram matrix belongs to another trajectory.
    #[error("the Gram matrix has {found} rows; {n_stops} stops and {n_directions} directions have one each")]
    Rows {
        /// The number of its rows.
        found: usize,
        /// The number of stops.
        n_stops: usize,
        /// The number of directions.
        n_directions: usize,
    },
    /// A checkpoint with NaN or infinities.
    #[error("{checkpoint}, a stop of path `{path}`, holds NaN or infinite values; leave it out")]
    NonFiniteStop {
        /// The checkpoint.
        checkpoint: String,
        /// The name of its path.
        path: String,
    },
    /// A direction with NaN or infinities.
    #[error("the direction of axis {axis} holds values that are not finite, or too large to be squared")]
    NonFiniteDirection {
        /// The axis, `x` or `y`.
        axis: &'static str,
    },
    /// Nothing moves.
    #[error("all stops of {paths} are the same point over the tensors that count, so that they span no plane")]
    Standstill {
        /// Which paths.
        paths: &'static str,
    },
    /// All rows lie on a line.
    #[error(
        "the stops of {paths} lie on a straight line (its second singular value is {ratio:.1e} of the first), so that \
         they span no plane; add stops that do not, or choose other axes"
    )]
    Line {
        /// Which paths.
        paths: &'static str,
        /// The second singular value over the first.
        ratio: f64,
    },
    /// A path that ends where it began has no way from end to start.
    #[error(
        "the first stop of the main path, {checkpoint}, is the same point as its last over the tensors that count, so \
         that there is no axis from one to the other; choose other axes"
    )]
    ClosedPath {
        /// The checkpoint of the first stop.
        checkpoint: String,
    },
    /// A direction of length 0.
    #[error("the direction of axis {axis} moves none of the tensors that count; choose one that does")]
    NoDirection {
        /// The axis, `x` or `y`.
        axis: &'static str,
    },
    /// Axes that span a line.
    #[error("the axes are parallel (their cosine is {cosine}), so that they span no plane; choose other axes")]
    Parallel {
        /// The cosine of the angle between them.
        cosine: f64,
    },
    /// The eigenvalues were not found.
    #[error("the eigenvalues of the Gram matrix of {n_rows} rows do not converge")]
    Eigenvalues {
        /// The number of its rows.
        n_rows: usize,
    },
    /// All stops are projected to one point.
    #[error("all stops are projected to the origin, so that no part of the plane shows the path; choose other axes")]
    NoExtent,
    /// Coordinates that are no coefficients.
    #[error("the fitted surface has no axis {axis}")]
    Axis {
        /// The axis, `x` or `y`.
        axis: &'static str,
        /// Why.
        source: AxisError,
    },
}

const AXES: [&str; 2] = ["x", "y"];

/// Returns where all stops lie in the plane that `spec` asks for, from the inner products of the rows: those of all
/// stops relative to the origin, in order, and then the directions.
///
/// Principal directions are the two leading right singular vectors of the matrix M of the rows, found through the
/// eigenvectors u of M M^T: d = M^T u / sigma. Their sign is such that the coordinate of the first stop is positive.
/// In a plane whose axes are not orthogonal, coordinates are those of the least squares projection.
///
/// With n rows it takes O(n^3): a tenth of a second for 300, about twenty seconds for 2000; hand it to a thread that
/// nobody waits for.
///
/// # Errors
/// When a checkpoint or a direction is not finite, the rows or the axes span no plane, or `gram` has another number of
/// rows.
pub fn project(spec: &TrajectorySpec, gram: &Gram) -> Result<Projection, ProjectionError> {
    let (n_stops, n_directions) = (spec.n_stops(), spec.n_directions());
    if gram.n() != n_stops + n_directions || spec.n_main_stops() == 0 {
        return Err(ProjectionError::Rows { found: gram.n(), n_stops, n_directions });
    }
    check_finite(spec, gram)?;
    let n_main = spec.n_main_stops();
    let total = (0..n_main).map(|stop| gram.get(stop, stop)).sum::<f64>();
    if total <= 0.0 {
        return Err(ProjectionError::Standstill { paths: "the main path" });
    }
    let (axes, components) = axes(spec, gram)?;
    let plane = Plane::new(gram, &axes)?;
    let projected: Vec<Projected> = (0..n_stops).map(|stop| plane.project(gram, stop)).collect();
    let (explained, explained_plane, singular_values) = match components {
        Some(Components { explained, singular_values }) => (explained, explained[0] + explained[1], singular_values),
        None => {
            let main = &projected[..n_main];
            let along = |axis: usize| main.iter().map(|stop| stop.products[axis] * stop.products[axis]).sum::<f64>();
            let explained = [0, 1].map(|axis| share(along(axis) / plane.products[axis][axis], total));
            (explained, share(main.iter().map(Projected::squared).sum(), total), Vec::new())
        }
    };
    let mut stops = Vec::with_capacity(n_stops);
    let mut first = 0;
    for path in &spec.paths {
        let steps = Steps { gram, first, stops: &path.stops };
        stops.extend((0..path.stops.len()).map(|idx| steps.stop(idx, &projected[first + idx])));
        first += path.stops.len();
    }
    let (norms, cosine) = ([0, 1].map(|axis| plane.products[axis][axis].sqrt()), plane.cosine());
    Ok(Projection { axes, norms, cosine, explained, explained_plane, singular_values, stops })
}

/// `part` of `total`, which rounding may not carry out of 0..1.
fn share(part: f64, total: f64) -> f64 {
    (part / total).clamp(0.0, 1.0)
}

fn check_finite(spec: &TrajectorySpec, gram: &Gram) -> Result<(), ProjectionError> {
    // Where the origin is not finite no row is, and it is the origin that is to blame.
    let origin = spec.origin_idx();
    let is_finite = |row: &usize| gram.get(*row, *row).is_finite();
    let is_whole = |row: &usize| (0..gram.n()).all(|column| gram.get(*row, column).is_finite());
    let bad = Some(origin).filter(|row| !is_finite(row));
    let bad = bad.or_else(|| (0..gram.n()).find(|row| !is_finite(row)));
    let Some(row) = bad.or_else(|| (0..gram.n()).find(|row| !is_whole(row))) else { return Ok(()) };
    match spec.stops().nth(row) {
        Some((path, stop)) => {
            let (checkpoint, path) = (stop.checkpoint.to_string(), spec.paths[path].name.clone());
            Err(ProjectionError::NonFiniteStop { checkpoint, path })
        }
        // The one drawn direction beside the way from end to start is that of the second axis.
        None => {
            let axis = AXES[(row - spec.n_stops() + 2 - spec.n_directions()).min(1)];
            Err(ProjectionError::NonFiniteDirection { axis })
        }
    }
}

/// What principal directions come with.
struct Components {
    explained: [f64; 2],
    singular_values: Vec<f64>,
}

fn axes(spec: &TrajectorySpec, gram: &Gram) -> Result<([AxisSource; 2], Option<Components>), ProjectionError> {
    let n_stops = spec.n_stops();
    match spec.axes {
        TrajectoryAxes::Pca { centered, of_all } => {
            let (axes, components) = principal_axes(spec, gram, centered, of_all)?;
            Ok((axes, Some(components)))
        }
        TrajectoryAxes::Random { .. } | TrajectoryAxes::Directions { .. } => {
            Ok(([AxisSource::Row(n_stops), AxisSource::Row(n_stops + 1)], None))
        }
        TrajectoryAxes::StartEnd { .. } => {
            let squared = gram.get(0, 0);
            if squared <= 0.0 {
                let checkpoint = spec.paths[0].stops[0].checkpoint.to_string();
                return Err(ProjectionError::ClosedPath { checkpoint });
            }
            let mut coefficients = vec![0.0; n_stops];
            coefficients[0] = squared.sqrt().recip();
            Ok(([AxisSource::Combination(coefficients), AxisSource::Row(n_stops)], None))
        }
    }
}

fn principal_axes(
    spec: &TrajectorySpec,
    gram: &Gram,
    is_centered: bool,
    of_all: bool,
) -> Result<([AxisSource; 2], Components), ProjectionError> {
    let paths = if of_all { "all paths" } else { "the main path" };
    let n_rows = if of_all { spec.n_stops() } else { spec.n_main_stops() };
    // The zero row of the origin counts where a mean is taken only.
    let rows: Vec<usize> = (0..n_rows).filter(|row| is_centered || *row != spec.origin_idx()).collect();
    let mut products = DMatrix::from_fn(rows.len(), rows.len(), |i, j| gram.get(rows[i], rows[j]));
    if is_centered {
        let means = products.column_mean();
        let mean = means.mean();
        products = DMatrix::from_fn(rows.len(), rows.len(), |i, j| products[(i, j)] - means[i] - means[j] + mean);
    }
    // A few steps for each eigenvalue are usual.
    let eigen = SymmetricEigen::try_new(products, f64::EPSILON, 100 * rows.len().max(10));
    let eigen = eigen.ok_or(ProjectionError::Eigenvalues { n_rows: rows.len() })?;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|i, j| eigen.eigenvalues[*j].total_cmp(&eigen.eigenvalues[*i]));
    // Rounding makes small ones negative.
    let squares: Vec<f64> = order.iter().map(|idx| eigen.eigenvalues[*idx].max(0.0)).collect();
    let [first, second, ..] = squares[..] else { return Err(ProjectionError::Standstill { paths }) };
    if first <= 0.0 {
        return Err(ProjectionError::Standstill { paths });
    }
    if second <= first * MIN_SPREAD * MIN_SPREAD {
        return Err(ProjectionError::Line { paths, ratio: (second / first).sqrt() });
    }
    let total = squares.iter().sum::<f64>();
    let axis = |place: usize| {
        let vector = eigen.eigenvectors.column(order[place]);
        let mean = if is_centered { vector.mean() } else { 0.0 };
        let mut coefficients = vec![0.0; spec.n_stops()];
        for (row, entry) in rows.iter().zip(vector.iter()) {
            coefficients[*row] = entry - mean;
        }
        unit(gram, coefficients)
    };
    let components = Components {
        explained: [share(first, total), share(second, total)],
        singular_values: squares.iter().map(|square| square.sqrt()).collect(),
    };
    Ok(([axis(0), axis(1)].map(AxisSource::Combination), components))
}

/// The coefficients of a unit vector along the one with these `coefficients`, on which the first stop that has any
/// coordinate worth the name has a positive one.
fn unit(gram: &Gram, mut coefficients: Vec<f64>) -> Vec<f64> {
    let products: Vec<f64> = (0..coefficients.len()).map(|row| product(gram, &coefficients, row)).collect();
    let norm = DVector::from_column_slice(&coefficients).dot(&DVector::from_column_slice(&products)).max(0.0).sqrt();
    let largest = products.iter().fold(0.0_f64, |largest, product| largest.max(product.abs()));
    let first = products.iter().find(|product| product.abs() > 1e-9 * largest);
    let scale = first.map_or(1.0, |first| first.signum()) / norm;
    coefficients.iter_mut().for_each(|coefficient| *coefficient *= scale);
    coefficients
}

/// The inner product of the row `row` with the combination of the first rows that `coefficients` are of.
fn product(gram: &Gram, coefficients: &[f64], row: usize) -> f64 {
    coefficients.iter().enumerate().map(|(idx, coefficient)| coefficient * gram.get(row, idx)).sum()
}

/// Two axes that are not parallel.
struct Plane<'a> {
    axes: &'a [AxisSource; 2],
    /// Their inner products.
    products: [[f64; 2]; 2],
}

/// A row in the plane.
struct Projected {
    coordinates: [f64; 2],
    /// The inner products with the axes.
    products: [f64; 2],
}

impl Projected {
    /// The squared length of the projection.
    fn squared(&self) -> f64 {
        self.coordinates[0] * self.products[0] + self.coordinates[1] * self.products[1]
    }
}

impl AxisSource {
    /// The inner product of the row `row` with the axis.
    fn product(&self, gram: &Gram, row: usize) -> f64 {
        match self {
            Self::Row(axis) => gram.get(row, *axis),
            Self::Combination(coefficients) => product(gram, coefficients, row),
        }
    }

    fn product_with(&self, gram: &Gram, other: &Self) -> f64 {
        match (self, other) {
            (Self::Row(row), axis) | (axis, Self::Row(row)) => axis.product(gram, *row),
            (Self::Combination(coefficients), axis) => {
                coefficients.iter().enumerate().map(|(row, c)| c * axis.product(gram, row)).sum()
            }
        }
    }
}

impl<'a> Plane<'a> {
    fn new(gram: &Gram, axes: &'a [AxisSource; 2]) -> Result<Self, ProjectionError> {
        let [x, y] = axes;
        let cross = x.product_with(gram, y);
        let products = [[x.product_with(gram, x), cross], [cross, y.product_with(gram, y)]];
        for (idx, axis) in AXES.into_iter().enumerate() {
            if products[idx][idx] <= 0.0 {
                return Err(ProjectionError::NoDirection { axis });
            }
        }
        let plane = Self { axes, products };
        let cosine = plane.cosine();
        if 1.0 - cosine * cosine <= MIN_SPREAD * MIN_SPREAD {
            return Err(ProjectionError::Parallel { cosine });
        }
        Ok(plane)
    }

    fn cosine(&self) -> f64 {
        let [[xx, xy], [_, yy]] = self.products;
        (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)
    }

    /// The least squares projection of a row: the solution of the normal equations of two unknowns, over axes of unit
    /// length.
    fn project(&self, gram: &Gram, row: usize) -> Projected {
        let norms = [0, 1].map(|axis| self.products[axis][axis].sqrt());
        let products = [0, 1].map(|axis| self.axes[axis].product(gram, row));
        let [x, y] = [0, 1].map(|axis| products[axis] / norms[axis]);
        let cosine = self.cosine();
        let determinant = 1.0 - cosine * cosine;
        let coordinates = [(x - cosine * y) / (determinant * norms[0]), (y - cosine * x) / (determinant * norms[1])];
        Projected { coordinates, products }
    }
}

/// The steps between the stops of one path, whose rows begin at `first`.
struct Steps<'a> {
    gram: &'a Gram,
    first: usize,
    stops: &'a [Stop],
}

impl Steps<'_> {
    /// The inner product of the steps to the stops `i` and `j`, neither of them the first one.
    fn product(&self, i: usize, j: usize) -> f64 {
        let get = |i: usize, j: usize| self.gram.get(self.first + i, self.first + j);
        (get(i, j) - get(i, j - 1)) - (get(i - 1, j) - get(i - 1, j - 1))
    }

    fn norm(&self, idx: usize) -> f64 {
        self.product(idx, idx).max(0.0).sqrt()
    }

    fn cosine(&self, idx: usize) -> Option<f64> {
        let lengths = self.norm(idx) * self.norm(idx - 1);
        (lengths > 0.0).then(|| (self.product(idx, idx - 1) / lengths).clamp(-1.0, 1.0))
    }

    fn stop(&self, idx: usize, projected: &Projected) -> ProjectedStop {
        let row = self.first + idx;
        let squared = self.gram.get(row, row);
        let residual = (squared - projected.squared()).max(0.0);
        let rate = |idx: usize| self.stops.get(idx).and_then(|stop| stop.rate);
        let before = idx.checked_sub(1);
        ProjectedStop {
            x: projected.coordinates[0],
            y: projected.coordinates[1],
            off_plane: if squared > 0.0 { share(residual, squared).sqrt() } else { 0.0 },
            distance: squared.max(0.0).sqrt(),
            step_norm: before.map(|_| self.norm(idx)),
            step_cosine: if idx >= 2 { self.cosine(idx) } else { None },
            is_drop: rate(idx).zip(rate(idx + 1)).is_some_and(|(now, after)| after < now),
        }
    }
}

/// Returns the grid that holds all stops of all paths and the origin, with the margin of `spec` on each side and its
/// numbers of points. An axis along which they hardly extend gets a tenth of the other's extent, in parameter space, in
/// their middle.
///
/// # Errors
/// When all stops are projected to the origin, or coordinates are beyond what an axis may have.
pub fn fitted_grid(spec: &TrajectorySpec, projection: &Projection) -> Result<Grid, ProjectionError> {
    let coordinates: [fn(&ProjectedStop) -> f64; 2] = [|stop| stop.x, |stop| stop.y];
    let bounds = coordinates.map(|coordinate| {
        let values = projection.stops.iter().map(coordinate);
        values.fold((0.0_f64, 0.0_f64), |(min, max), value| (min.min(value), max.max(value)))
    });
    let extents = bounds.map(|(min, max)| max - min);
    // How far an axis goes in parameter space is what can be compared.
    let lengths = [0, 1].map(|axis| extents[axis] * projection.norms[axis]);
    let longest = lengths[0].max(lengths[1]);
    if longest <= 0.0 {
        return Err(ProjectionError::NoExtent);
    }
    let axis = |idx: usize, count: u32| {
        let (min, max) = bounds[idx];
        let widened = (longest * MIN_ASPECT / projection.norms[idx]).max(extents[idx]);
        let beyond = (widened - extents[idx]) / 2.0 + spec.margin * widened;
        let axis = Axis::new(min - beyond, max + beyond, count);
        axis.map_err(|source| ProjectionError::Axis { axis: AXES[idx], source })
    };
    Ok(Grid { x: axis(0, spec.n_columns)?, y: Some(axis(1, spec.n_rows)?) })
}
