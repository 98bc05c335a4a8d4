//! A surface as a mesh in a box around the origin.

use super::field::{Field, Range};
use super::view::{Place, View, dot};

/// The height of the box; the longer of its other sides is 2.
const HEIGHT: f64 = 1.15;
/// How much of the height is left free between floor and surface, for the contours on the floor.
const FREE: f64 = 0.22;

/// A surface in its box. The height of a point is its position on the loss scale, clipped.
pub(super) struct Mesh {
    /// The places of the columns, rising.
    pub x: Vec<f64>,
    /// The places of the rows, rising.
    pub y: Vec<f64>,
    /// The heights, row-major; NaN where a point cannot be drawn.
    pub z: Vec<f64>,
    /// Half of the box's sides.
    pub half: Place,
    range: Range,
    x_range: Range,
    y_range: Range,
}

impl Mesh {
    /// Returns `field` as a mesh.
    pub(super) fn of(field: &Field<'_>) -> Self {
        let ends = |coordinates: &[f64]| Range { lo: coordinates[0], hi: coordinates[coordinates.len() - 1] };
        let (x_range, y_range) = (ends(field.x), ends(field.y));
        let proportion = (y_range.hi - y_range.lo) / (x_range.hi - x_range.lo);
        let (half_x, half_y) = match proportion {
            proportion if (0.4..=1.0).contains(&proportion) => (1.0, proportion),
            proportion if (1.0..=2.5).contains(&proportion) => (1.0 / proportion, 1.0),
            _ => (1.0, 1.0),
        };
        let half = [half_x, half_y, 0.5 * HEIGHT];
        let place = |range: Range, half: f64| move |at: &f64| (2.0 * range.share(*at) - 1.0) * half;
        let mut mesh = Self {
            x: field.x.iter().map(place(x_range, half_x)).collect(),
            y: field.y.iter().map(place(y_range, half_y)).collect(),
            z: Vec::new(),
            half,
            range: field.range.widened(),
            x_range,
            y_range,
        };
        mesh.z = field
            .positions
            .iter()
            .map(|position| position.map_or(f64::NAN, |position| mesh.height(position.min(field.range.hi))))
            .collect();
        mesh
    }

    /// The number of columns.
    pub(super) fn n_columns(&self) -> usize {
        self.x.len()
    }

    /// The number of cells.
    pub(super) fn n_cells(&self) -> usize {
        (self.x.len() - 1) * (self.y.len() - 1)
    }

    /// The height of the floor.
    pub(super) fn floor(&self) -> f64 {
        -self.half[2]
    }

    /// The height of a position on the loss scale.
    pub(super) fn height(&self, position: f64) -> f64 {
        let lowest = self.floor() + FREE * HEIGHT;
        lowest + self.range.share(position) * (self.half[2] - lowest)
    }

    /// The share of the loss scale at a height.
    pub(super) fn share(&self, height: f64) -> f64 {
        let lowest = self.floor() + FREE * HEIGHT;
        (height - lowest) / (self.half[2] - lowest)
    }

    /// Where the coefficient `x` of the columns lies.
    pub(super) fn x_place(&self, x: f64) -> f64 {
        (2.0 * self.x_range.share(x) - 1.0) * self.half[0]
    }

    /// Where the coefficient `y` of the rows lies.
    pub(super) fn y_place(&self, y: f64) -> f64 {
        (2.0 * self.y_range.share(y) - 1.0) * self.half[1]
    }

    /// The places of the corners of the cell from (row, column) on, going round; none if one cannot be drawn.
    pub(super) fn cell(&self, row: usize, column: usize) -> Option<[Place; 4]> {
        let corner = |down: usize, right: usize| -> Place {
            let (row, column) = (row + down, column + right);
            [self.x[column], self.y[row], self.z[row * self.n_columns() + column]]
        };
        let corners = [corner(0, 0), corner(0, 1), corner(1, 1), corner(1, 0)];
        corners.iter().all(|corner| corner[2].is_finite()).then_some(corners)
    }

    /// The slopes along x and y at a point, from its neighbours that can be drawn.
    fn slopes(&self, row: usize, column: usize) -> (f64, f64) {
        let slope = |coordinates: &[f64], idx: usize, height: &dyn Fn(usize) -> f64| {
            let known = |idx: usize| Some(idx).filter(|idx| *idx < coordinates.len() && height(*idx).is_finite());
            let before = idx.checked_sub(1).and_then(known).unwrap_or(idx);
            let after = known(idx + 1).unwrap_or(idx);
            if before == after {
                0.0
            } else {
                (height(after) - height(before)) / (coordinates[after] - coordinates[before])
            }
        };
        let n_columns = self.n_columns();
        let along_x = slope(&self.x, column, &|column| self.z[row * n_columns + column]);
        let along_y = slope(&self.y, row, &|row| self.z[row * n_columns + column]);
        (along_x, along_y)
    }

    /// The brightness of a point that can be drawn, 0 to 1, in light from the camera's upper left.
    pub(super) fn brightness(&self, view: &View, row: usize, column: usize) -> f64 {
        let (along_x, along_y) = self.slopes(row, column);
        brightness(view, [-along_x, -along_y, 1.0])
    }

    /// The height at a place of the floor, linear between points; none where a corner cannot be drawn, or outside.
    pub(super) fn height_at(&self, x: f64, y: f64) -> Option<f64> {
        let cell = |coordinates: &[f64], at: f64| {
            let (first, last) = (coordinates[0], coordinates[coordinates.len() - 1]);
            let after = coordinates.partition_point(|coordinate| *coordinate <= at).clamp(1, coordinates.len() - 1);
            let (lo, hi) = (coordinates[after - 1], coordinates[after]);
            (first <= at && at <= last).then_some((after - 1, (at - lo) / (hi - lo)))
        };
        let ((column, across), (row, along)) = (cell(&self.x, x)?, cell(&self.y, y)?);
        let [a, b, c, d] = self.cell(row, column)?.map(|corner| corner[2]);
        Some((a * (1.0 - across) + b * across) * (1.0 - along) + (d * (1.0 - across) + c * across) * along)
    }

    /// Whether a place on the surface is seen: nothing of it stands before.
    pub(super) fn is_seen(&self, view: &View, place: Place) -> bool {
        const STEPS: i32 = 400;
        let way = view.to_camera(place);
        let length = dot(way, way).sqrt();
        // No way through the box is longer than 4.
        (1..=STEPS).all(|step| {
            let far = 4.0 * f64::from(step) / f64::from(STEPS) / length;
            let [x, y, z] = std::array::from_fn(|axis| place[axis] + way[axis] * far);
            self.height_at(x, y).is_none_or(|height| height < z + 0.004)
        })
    }
}

/// The brightness of a surface with the normal `normal` of any length, 0 to 1.
pub(super) fn brightness(view: &View, normal: Place) -> f64 {
    const LIGHT: [f64; 3] = [-0.45, 0.65, 0.61];
    let length = dot(normal, normal).sqrt();
    let seen = [view.right, view.up, view.toward].map(|axis| dot(normal, axis) / length);
    // The lower side is lit as the upper one is: either may be seen.
    let side = if seen[2] < 0.0 { -1.0 } else { 1.0 };
    let diffuse = (side * dot(seen, LIGHT)).max(0.0);
    0.62 + 0.38 * diffuse
}
