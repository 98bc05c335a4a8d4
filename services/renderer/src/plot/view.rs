//! A view of three dimensions: from where a box around the origin is seen, and where its points are drawn.

use super::scene::Point;
use crate::plot::{Camera, Projection};

/// A point in the box: x, y, and z upwards.
pub(super) type Place = [f64; 3];

/// The distance of a level camera in perspective, in units of the box, whose longer side is 2.
pub(super) const DISTANCE: f64 = 6.5;
/// The least share that the distance is divided by.
pub(super) const LEAST_SLANT: f64 = 0.12;

/// Where a place is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// Its place in the picture, in units of the box.
    pub at: Point,
    /// How near it is to the camera; comparable between places.
    pub nearness: f64,
}

/// A view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct View {
    /// Rightwards in the picture.
    pub right: Place,
    /// Upwards in the picture.
    pub up: Place,
    /// Out of the picture, towards the camera.
    pub toward: Place,
    /// The distance of the camera; none in orthographic view.
    distance: Option<f64>,
}

impl View {
    /// Returns what `camera` sees.
    pub(super) fn of(camera: Camera) -> Self {
        let (sin_a, cos_a) = camera.azimuth.to_radians().sin_cos();
        let (sin_e, cos_e) = camera.elevation.to_radians().sin_cos();
        Self {
            right: [-sin_a, cos_a, 0.0],
            up: [-sin_e * cos_a, -sin_e * sin_a, cos_e],
            toward: [cos_e * cos_a, cos_e * sin_a, sin_e],
            // From higher up it stands farther off: else the surface would reach over the axes around the floor.
            distance: match camera.projection {
                Projection::Orthographic => None,
                Projection::Perspective => Some(DISTANCE / cos_e.max(LEAST_SLANT)),
            },
        }
    }

    /// Where `place` is seen.
    pub(super) fn see(&self, place: Place) -> Seen {
        let (x, y, depth) = (dot(place, self.right), dot(place, self.up), dot(place, self.toward));
        match self.distance {
            None => Seen { at: Point { x, y: -y }, nearness: depth },
            Some(distance) => {
                let scale = distance / (distance - depth);
                // Straight lines stay straight in 1 / distance, so that it can be interpolated in the picture.
                Seen { at: Point { x: x * scale, y: -y * scale }, nearness: scale }
            }
        }
    }

    /// The direction from `place` to the camera; its length has no meaning.
    pub(super) fn to_camera(self, place: Place) -> Place {
        match self.distance {
            None => self.toward,
            Some(distance) => std::array::from_fn(|axis| self.toward[axis] * distance - place[axis]),
        }
    }

    /// In which order to draw `coordinates.len() - 1` cells between the rising `coordinates` of `axis`, so that nearer
    /// ones come later.
    pub(super) fn order(&self, axis: usize, coordinates: &[f64]) -> Vec<usize> {
        let n_cells = coordinates.len().saturating_sub(1);
        match self.distance {
            None if self.toward[axis] >= 0.0 => (0..n_cells).collect(),
            None => (0..n_cells).rev().collect(),
            Some(distance) => {
                let camera = self.toward[axis] * distance;
                let n_before = coordinates.partition_point(|coordinate| *coordinate <= camera);
                // From both ends towards the camera, which may stand above a cell; that one comes last.
                let own = n_before.saturating_sub(1).min(n_cells);
                (0..own).chain((own..n_cells).rev()).collect()
            }
        }
    }
}

/// The scalar product.
pub(super) fn dot(a: Place, b: Place) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(azimuth: f64, elevation: f64, projection: Projection) -> View {
        View::of(Camera { azimuth, elevation, projection })
    }

    #[test]
    fn seen_from_above_x_goes_right_and_y_up() {
        let view = view(-90.0, 90.0, Projection::Orthographic);
        let seen = view.see([0.5, 0.25, 0.7]);
        assert!((seen.at.x - 0.5).abs() < 1e-12 && (seen.at.y + 0.25).abs() < 1e-12);
        assert!((seen.nearness - 0.7).abs() < 1e-12);
    }

    #[test]
    fn what_is_nearer_is_larger_in_perspective_only() {
        for (projection, is_larger) in [(Projection::Perspective, true), (Projection::Orthographic, false)] {
            let view = view(0.0, 0.0, projection);
            let width = |x: f64| view.see([x, 0.5, 0.0]).at.x - view.see([x, -0.5, 0.0]).at.x;
            assert_eq!(width(1.0) > width(-1.0) + 1e-9, is_larger);
            assert!(view.see([1.0, 0.0, 0.0]).nearness > view.see([-1.0, 0.0, 0.0]).nearness);
        }
    }

    #[test]
    fn cells_are_drawn_from_the_back() {
        let edges = [-1.0, -0.5, 0.0, 0.5, 1.0];
        assert_eq!(view(0.0, 20.0, Projection::Orthographic).order(0, &edges), [0, 1, 2, 3]);
        assert_eq!(view(180.0, 20.0, Projection::Perspective).order(0, &edges), [3, 2, 1, 0]);
        // From above, the cell below the camera is the last.
        assert_eq!(view(0.0, 89.6, Projection::Perspective).order(0, &edges), [0, 1, 3, 2]);
    }
}
