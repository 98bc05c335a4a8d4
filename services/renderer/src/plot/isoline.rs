//! Lines of equal value on a grid, by marching squares.
//!
//! A value varies linearly along each grid edge; a saddle is resolved by the mean of its cell's corners. A cell with a
//! corner that has no value holds no line, so lines end at such cells as they do at the grid's edge.

/// A line through points (column, row), in fractions of grid indices.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Isoline {
    /// The points; a closed line does not repeat its first.
    pub points: Vec<(f64, f64)>,
    /// Whether the last point joins the first.
    pub is_closed: bool,
}

/// Where no edge is.
const NONE: usize = usize::MAX;

/// Returns the lines at `level` through `values`, row-major in rows of `n_columns`.
pub(super) fn isolines(values: &[Option<f64>], n_columns: usize, level: f64) -> Vec<Isoline> {
    let grid = Grid { values, n_columns, n_rows: values.len() / n_columns.max(1), level };
    // Each edge is shared by two cells at most, so a line has at most two neighbours at each crossing.
    let mut neighbours = vec![[NONE; 2]; 2 * values.len()];
    for row in 0..grid.n_rows.saturating_sub(1) {
        for column in 0..n_columns.saturating_sub(1) {
            for [from, to] in grid.segments(row, column).into_iter().flatten() {
                connect(&mut neighbours, from, to);
                connect(&mut neighbours, to, from);
            }
        }
    }
    let mut is_used = vec![false; neighbours.len()];
    let mut lines = Vec::new();
    let ends = (0..neighbours.len()).filter(|edge| neighbours[*edge][0] != NONE && neighbours[*edge][1] == NONE);
    let inner = (0..neighbours.len()).filter(|edge| neighbours[*edge][1] != NONE);
    for start in ends.chain(inner) {
        if is_used[start] {
            continue;
        }
        let is_closed = neighbours[start][1] != NONE;
        let mut points = Vec::new();
        let mut edge = Some(start);
        while let Some(current) = edge {
            is_used[current] = true;
            points.push(grid.crossing(current));
            edge = neighbours[current].into_iter().find(|next| *next != NONE && !is_used[*next]);
        }
        points.dedup();
        if points.len() > 1 {
            lines.push(Isoline { points, is_closed });
        }
    }
    lines
}

fn connect(neighbours: &mut [[usize; 2]], from: usize, to: usize) {
    if let Some(slot) = neighbours[from].iter_mut().find(|slot| **slot == NONE) {
        *slot = to;
    }
}

struct Grid<'a> {
    values: &'a [Option<f64>],
    n_columns: usize,
    n_rows: usize,
    level: f64,
}

impl Grid<'_> {
    fn value(&self, row: usize, column: usize) -> Option<f64> {
        self.values[row * self.n_columns + column]
    }

    /// The segments within the cell between (row, column) and (row + 1, column + 1), each from edge to edge. An edge
    /// is known by its first point's index: twice that along the row, one more along the column.
    fn segments(&self, row: usize, column: usize) -> [Option<[usize; 2]>; 2] {
        let corners = [(0, 0), (0, 1), (1, 1), (1, 0)].map(|(down, right)| self.value(row + down, column + right));
        let [Some(a), Some(b), Some(c), Some(d)] = corners else { return [None, None] };
        let point = row * self.n_columns + column;
        let (top, left) = (2 * point, 2 * point + 1);
        let (right, bottom) = (2 * (point + 1) + 1, 2 * (point + self.n_columns));
        let is_above = |value: f64| value >= self.level;
        let one = |from, to| [Some([from, to]), None];
        match [a, b, c, d].map(is_above) {
            [true, true, true, true] | [false, false, false, false] => [None, None],
            [true, false, false, false] | [false, true, true, true] => one(left, top),
            [false, true, false, false] | [true, false, true, true] => one(top, right),
            [false, false, true, false] | [true, true, false, true] => one(right, bottom),
            [false, false, false, true] | [true, true, true, false] => one(bottom, left),
            [true, true, false, false] | [false, false, true, true] => one(left, right),
            [true, false, false, true] | [false, true, true, false] => one(top, bottom),
            [is_first_above, ..] => {
                let is_centre_above = is_above(0.25 * a + 0.25 * b + 0.25 * c + 0.25 * d);
                if is_first_above == is_centre_above {
                    [Some([top, right]), Some([bottom, left])]
                } else {
                    [Some([left, top]), Some([right, bottom])]
                }
            }
        }
    }

    fn crossing(&self, edge: usize) -> (f64, f64) {
        let (row, column) = ((edge / 2) / self.n_columns, (edge / 2) % self.n_columns);
        let (down, right) = if edge.is_multiple_of(2) { (0, 1) } else { (1, 0) };
        let from = self.value(row, column).unwrap_or(self.level);
        let to = self.value(row + down, column + right).unwrap_or(self.level);
        // Halved, the difference of two huge numbers does not overflow.
        let share = ((0.5 * self.level - 0.5 * from) / (0.5 * to - 0.5 * from)).clamp(0.0, 1.0);
        (column as f64 + share * right as f64, row as f64 + share * down as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n_columns: usize, n_rows: usize, value: impl Fn(f64, f64) -> f64) -> Vec<Option<f64>> {
        let coordinate = |idx: usize, count: usize| 2.0 * idx as f64 / (count - 1) as f64 - 1.0;
        let points = (0..n_rows).flat_map(|row| (0..n_columns).map(move |column| (column, row)));
        points.map(|(column, row)| Some(value(coordinate(column, n_columns), coordinate(row, n_rows)))).collect()
    }

    #[test]
    fn the_level_set_of_an_elliptic_bowl_is_its_ellipse() {
        let (n_columns, n_rows) = (201, 201);
        let values = sample(n_columns, n_rows, |x, y| x * x + 4.0 * y * y);
        let lines = isolines(&values, n_columns, 0.7);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].is_closed);
        assert!(lines[0].points.len() > 300);
        for (column, row) in &lines[0].points {
            let (x, y) = (column / 100.0 - 1.0, row / 100.0 - 1.0);
            // The distance to the ellipse to first order, in cells.
            let gradient = (2.0 * x).hypot(8.0 * y);
            let distance = 100.0 * ((x * x + 4.0 * y * y) - 0.7).abs() / gradient;
            assert!(distance < 0.01, "({x}, {y}) is {distance} cells off");
        }
    }

    /// A row of `tests/data/contours.txt`.
    struct Expected {
        name: String,
        level: f64,
        n_lines: usize,
        n_closed: usize,
        length: f64,
        area: f64,
        area_above: f64,
    }

    fn expected() -> Vec<Expected> {
        let rows = include_str!("../../tests/data/contours.txt").lines().filter(|row| !row.starts_with('#'));
        let parse = |row: &str| {
            let fields: Vec<&str> = row.split(' ').collect();
            let number = |idx: usize| fields[idx].parse::<f64>().expect("a number");
            Expected {
                name: fields[0].to_owned(),
                level: number(1),
                n_lines: number(2) as usize,
                n_closed: number(3) as usize,
                length: number(4),
                area: number(5),
                area_above: number(6),
            }
        };
        rows.map(parse).collect()
    }

    fn known_function(name: &str) -> Vec<Option<f64>> {
        let value: fn(f64, f64) -> f64 = match name {
            "bowl" => |x, y| x * x + 2.0 * y * y + 0.5 * x * y,
            "rosenbrock" => |x, y| (0.5 - x).powi(2) + 10.0 * (y - x * x).powi(2),
            "himmelblau" => |x, y| {
                let (x, y) = (3.0 * x, 3.0 * y);
                (x * x + y - 2.0).powi(2) + (x + y * y - 3.0).powi(2)
            },
            "waves" => |x, y| (5.0 * x).sin() * (4.0 * y).cos() + 0.1 * x,
            "valley" => |x, y| (-3.0 * (x + y) * (x + y)).exp() * (1.0 + x * y) - (x - y).abs(),
            "plateau" => |x, y| x.hypot(y).clamp(0.3, 0.7),
            "saddles" => |x, y| {
                let (column, row) = ((20.0 * (x + 1.0)).round(), (15.0 * (y + 1.0)).round());
                (if (row + column) % 2.0 == 0.0 { 1.0 } else { -0.5 }) + 0.01 * row + 0.003 * column
            },
            name => panic!("an unknown function: {name}"),
        };
        sample(41, 31, value)
    }

    #[test]
    fn lines_are_those_of_an_independent_implementation() {
        let distance = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1);
        for Expected { name, level, n_lines, n_closed, length, area, area_above } in expected() {
            let values = known_function(&name);
            let lines = isolines(&values, 41, level);
            assert_eq!(lines.len(), n_lines, "{name} {level}");
            assert_eq!(lines.iter().filter(|line| line.is_closed).count(), n_closed, "{name} {level}");
            let mut found = (0.0, 0.0);
            for Isoline { mut points, is_closed } in lines {
                if is_closed {
                    points.push(points[0]);
                    let cross = |pair: &[(f64, f64)]| 0.5 * (pair[0].0 * pair[1].1 - pair[1].0 * pair[0].1);
                    found.1 += points.windows(2).map(cross).sum::<f64>().abs();
                }
                found.0 += points.windows(2).map(|pair| distance(pair[0], pair[1])).sum::<f64>();
            }
            let outlines = crate::plot::region::region(&values, 41, level);
            let above: f64 = outlines
                .iter()
                .map(|outline| {
                    let next = outline.iter().skip(1).chain(outline.first());
                    outline.iter().zip(next).map(|(a, b)| 0.5 * (a.0 * b.1 - b.0 * a.1)).sum::<f64>()
                })
                .sum();
            for (found, expected) in [(found.0, length), (found.1, area), (above, area_above)] {
                let is_near = found.is_finite() && (found - expected).abs() <= 1e-9 + 1e-9 * expected;
                assert!(is_near, "{name} {level}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn a_plateau_at_the_level_has_a_finite_edge() {
        for level in [0.3, 0.7] {
            let lines = isolines(&known_function("plateau"), 41, level);
            assert!(lines.iter().flat_map(|line| &line.points).all(|(x, y)| x.is_finite() && y.is_finite()), "{level}");
        }
    }

    #[test]
    fn a_plane_gives_a_straight_line_from_edge_to_edge() {
        let lines = isolines(&sample(5, 3, |x, _| x), 5, 0.25);
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].is_closed);
        assert_eq!(lines[0].points, [(2.5, 0.0), (2.5, 1.0), (2.5, 2.0)]);
    }

    #[test]
    fn a_saddle_is_resolved_by_its_mean() {
        let high = [Some(2.0), Some(0.0), Some(0.0), Some(2.0)];
        assert_eq!(isolines(&high, 2, 0.5).len(), 2);
        // With a centre above the level, the lines cut off the low corners.
        let first = &isolines(&high, 2, 0.5)[0].points;
        assert!(first.contains(&(0.75, 0.0)) && first.contains(&(1.0, 0.25)));
        // With a centre below the level, they cut off the high corners.
        let second = &isolines(&high, 2, 1.5)[0].points;
        assert!(second.contains(&(0.25, 0.0)) && second.contains(&(0.0, 0.25)));
    }

    #[test]
    fn lines_end_at_cells_without_values() {
        let mut values = sample(21, 21, |x, y| x * x + y * y);
        values[10 * 21 + 15] = None;
        let lines = isolines(&values, 21, 0.3);
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].is_closed);
        assert!(lines[0].points.iter().all(|(column, row)| !((column - 15.0).abs() < 1.0 && (row - 10.0).abs() < 1.0)));
    }

    #[test]
    fn values_on_the_level_do_not_break_the_line() {
        let lines = isolines(&sample(11, 11, |x, y| x.abs().max(y.abs())), 11, 0.6);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].is_closed);
    }

    #[test]
    fn huge_values_give_finite_points() {
        let values = [Some(f64::MIN), Some(f64::MAX), Some(f64::MIN), Some(f64::MAX)];
        let lines = isolines(&values, 2, 0.0);
        assert_eq!(lines[0].points, [(0.5, 0.0), (0.5, 1.0)]);
    }
}
