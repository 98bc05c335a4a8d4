//! A drawn line measured along its length.

use super::scene::Point;

/// A line through points of the picture, measured from its first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trace {
    /// The points; a closed line repeats its first.
    pub points: Vec<Point>,
    /// Whether it is closed.
    pub is_closed: bool,
    /// How far along the line each point lies.
    pub arcs: Vec<f64>,
}

impl Trace {
    /// Measures the line through `points`, which joins its first again if `is_closed`.
    pub(super) fn new(mut points: Vec<Point>, is_closed: bool) -> Self {
        if is_closed {
            points.extend(points.first().copied());
        }
        let mut arc = 0.0;
        let mut arcs = Vec::with_capacity(points.len());
        let mut previous: Option<Point> = None;
        for point in &points {
            arc += previous.map_or(0.0, |previous| previous.distance(*point));
            arcs.push(arc);
            previous = Some(*point);
        }
        Self { points, is_closed, arcs }
    }

    /// The length of the line.
    pub(super) fn length(&self) -> f64 {
        self.arcs.last().copied().unwrap_or(0.0)
    }

    /// The point at `arc`; a closed line goes round.
    pub(super) fn at(&self, arc: f64) -> Point {
        let arc = if self.is_closed { arc.rem_euclid(self.length()) } else { arc };
        let after = self.arcs.partition_point(|known| *known < arc).clamp(1, self.points.len() - 1);
        let (from, to) = (self.arcs[after - 1], self.arcs[after]);
        let share = if to > from { ((arc - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
        self.points[after - 1].towards(self.points[after], share)
    }

    /// The line from one arc to a later one; a closed line may be left beyond its end.
    pub(super) fn between(&self, from: f64, to: f64) -> Vec<Point> {
        let mut points = vec![self.at(from)];
        let rounds: &[f64] = if self.is_closed { &[0.0, 1.0] } else { &[0.0] };
        for round in rounds {
            let offset = round * self.length();
            let inner = self.points.iter().zip(&self.arcs);
            points
                .extend(inner.filter(|(_, arc)| from < **arc + offset && **arc + offset < to).map(|(point, _)| *point));
        }
        points.push(self.at(to));
        points
    }

    /// What is left of the line when the stretches `cuts` are taken out; `from` of each lies on the line.
    pub(super) fn without(&self, cuts: &[(f64, f64)]) -> Vec<Vec<Point>> {
        let mut cuts = cuts.to_vec();
        cuts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return vec![self.points.clone()] };
        let (first, last) = (*first, *last);
        let mut pieces: Vec<_> = cuts.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect();
        if self.is_closed {
            pieces.push((last.1, first.0 + self.length()));
        } else {
            pieces.extend([(0.0, first.0), (last.1, self.length())]);
        }
        pieces.into_iter().filter(|(from, to)| from < to).map(|(from, to)| self.between(from, to)).collect()
    }
}

/// Returns `points` without those that are nearer to the one before than can be seen; the first and the last stay.
pub(super) fn thinned(points: Vec<Point>) -> Vec<Point> {
    const NEAR: f64 = 0.2;
    let mut kept: Vec<Point> = Vec::with_capacity(points.len());
    for point in &points {
        if kept.last().is_none_or(|last| last.distance(*point) >= NEAR) {
            kept.push(*point);
        }
    }
    if let Some(last) = points.last().filter(|last| kept.len() > 1 && kept.last() != Some(last)) {
        kept.push(*last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Trace {
        let corners = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)].map(|(x, y)| Point { x, y });
        Trace::new(corners.to_vec(), true)
    }

    #[test]
    fn a_closed_line_goes_round() {
        let square = square();
        assert_eq!(square.length(), 40.0);
        assert_eq!(square.at(45.0), Point { x: 5.0, y: 0.0 });
        assert_eq!(square.at(-5.0), Point { x: 0.0, y: 5.0 });
        let corner = square.between(35.0, 45.0);
        assert_eq!(corner.first(), Some(&Point { x: 0.0, y: 5.0 }));
        assert!(corner.contains(&Point { x: 0.0, y: 0.0 }));
        assert_eq!(corner.last(), Some(&Point { x: 5.0, y: 0.0 }));
    }

    #[test]
    fn points_too_near_to_be_seen_are_left_out() {
        let points: Vec<Point> = (0..=100).map(|idx| Point { x: 0.01 * f64::from(idx), y: 0.0 }).collect();
        let thinned = thinned(points.clone());
        assert!(thinned.len() <= 7, "{thinned:?}");
        assert_eq!((thinned.first(), thinned.last()), (points.first(), points.last()));
    }

    #[test]
    fn cuts_leave_the_rest_of_the_line() {
        let square = square();
        let rest = square.without(&[(35.0, 42.0), (12.0, 18.0)]);
        let length = |points: &Vec<Point>| points.windows(2).map(|pair| pair[0].distance(pair[1])).sum::<f64>();
        assert_eq!(rest.iter().map(length).sum::<f64>(), 40.0 - 7.0 - 6.0);
        let open = Trace::new(vec![Point { x: 0.0, y: 0.0 }, Point { x: 9.0, y: 0.0 }], false);
        assert_eq!(open.without(&[(3.0, 5.0)]).iter().map(length).sum::<f64>(), 7.0);
    }
}
