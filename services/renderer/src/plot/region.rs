//! The parts of a grid where values reach a level, bounded by the lines of `isoline`.
//!
//! A cell with a corner that has no value belongs to no region.

/// Where no node is.
const NONE: u32 = u32::MAX;

/// A closed outline through points (column, row), in fractions of grid indices; it does not repeat its first.
pub(super) type Outline = Vec<(f64, f64)>;

/// Returns the outlines of the region where `values`, row-major in rows of `n_columns`, are `level` or more. What lies
/// an odd number of times within them is in the region.
pub(super) fn region(values: &[Option<f64>], n_columns: usize, level: f64) -> Vec<Outline> {
    let grid = Grid { values, n_columns, n_rows: values.len() / n_columns.max(1), level };
    // A node has one way on, or two where parts of the region touch at a corner.
    let mut next = vec![[NONE; 2]; 3 * values.len()];
    for row in 0..grid.n_rows.saturating_sub(1) {
        for column in 0..n_columns.saturating_sub(1) {
            grid.outline_cell(row, column, &mut next);
        }
    }
    let mut outlines = Vec::new();
    for start in 0..next.len() {
        while next[start] != [NONE; 2] {
            let mut outline = Vec::new();
            let mut node = start;
            while let Some(way) = next[node].iter_mut().find(|way| **way != NONE) {
                let to = std::mem::replace(way, NONE);
                push(&mut outline, grid.place(node));
                node = to as usize;
            }
            outlines.push(outline);
        }
    }
    outlines
}

/// Adds a point, in place of the last where that lies on an upright or level line to it.
fn push(outline: &mut Outline, point: (f64, f64)) {
    if let [.., before, last] = outline[..] {
        let is_straight = (before.0 == last.0 && last.0 == point.0) || (before.1 == last.1 && last.1 == point.1);
        if is_straight {
            outline.pop();
        }
    }
    outline.push(point);
}

struct Grid<'a> {
    values: &'a [Option<f64>],
    n_columns: usize,
    n_rows: usize,
    level: f64,
}

/// Nodes of a point: itself, the crossing on the edge along its row, that on the edge along its column.
const CORNER: usize = 0;
const ALONG_ROW: usize = 1;
const ALONG_COLUMN: usize = 2;

impl Grid<'_> {
    /// The values at the corners of the cell from (row, column) on, in the order of its sides: clockwise where rows go
    /// down.
    fn corners(&self, row: usize, column: usize) -> Option<[f64; 4]> {
        let value = |down: usize, right: usize| self.values[(row + down) * self.n_columns + column + right];
        Some([value(0, 0)?, value(0, 1)?, value(1, 1)?, value(1, 0)?])
    }

    /// Whether the cell on the other side of `side` has values too, so that what both share is inside.
    fn has_neighbour(&self, row: usize, column: usize, side: usize) -> bool {
        let neighbour = match side {
            0 => row.checked_sub(1).map(|row| (row, column)),
            1 => Some((row, column + 1)),
            2 => Some((row + 1, column)),
            _ => column.checked_sub(1).map(|column| (row, column)),
        };
        let is_cell = |(row, column): &(usize, usize)| row + 1 < self.n_rows && column + 1 < self.n_columns;
        neighbour.filter(is_cell).is_some_and(|(row, column)| self.corners(row, column).is_some())
    }

    fn outline_cell(&self, row: usize, column: usize, next: &mut [[u32; 2]]) {
        let Some(corners) = self.corners(row, column) else { return };
        let is_in = corners.map(|value| value >= self.level);
        if !is_in.contains(&true) {
            return;
        }
        let point = row * self.n_columns + column;
        let points = [point, point + 1, point + self.n_columns + 1, point + self.n_columns];
        let crossings = [
            3 * points[0] + ALONG_ROW,
            3 * points[1] + ALONG_COLUMN,
            3 * points[3] + ALONG_ROW,
            3 * points[0] + ALONG_COLUMN,
        ];
        let mut connect = |from: usize, to: usize| {
            if let Some(way) = next[from].iter_mut().find(|way| **way == NONE) {
                *way = to as u32;
            }
        };
        // Along the sides, where nothing of the region lies beyond.
        for (side, crossing) in crossings.into_iter().enumerate() {
            let (from, to) = (side, (side + 1) % 4);
            let ends = match (is_in[from], is_in[to]) {
                (true, true) => (3 * points[from] + CORNER, 3 * points[to] + CORNER),
                (true, false) => (3 * points[from] + CORNER, crossing),
                (false, true) => (crossing, 3 * points[to] + CORNER),
                (false, false) => continue,
            };
            if !self.has_neighbour(row, column, side) {
                connect(ends.0, ends.1);
            }
        }
        // Across, from each side where the region is left to the one where it is entered again.
        let leaves: Vec<usize> = (0..4).filter(|side| is_in[*side] && !is_in[(*side + 1) % 4]).collect();
        let enters = |side: usize| !is_in[side] && is_in[(side + 1) % 4];
        let [a, b, c, d] = corners;
        let is_joined = 0.25 * a + 0.25 * b + 0.25 * c + 0.25 * d >= self.level;
        for leave in &leaves {
            // At a saddle the region goes through the middle of the cell, or its parts keep to their corners.
            let order: [usize; 3] = if leaves.len() == 2 && !is_joined { [3, 1, 2] } else { [1, 2, 3] };
            if let Some(enter) = order.into_iter().map(|step| (leave + step) % 4).find(|side| enters(*side)) {
                connect(crossings[*leave], crossings[enter]);
            }
        }
    }

    fn place(&self, node: usize) -> (f64, f64) {
        let (point, kind) = (node / 3, node % 3);
        let (row, column) = (point / self.n_columns, point % self.n_columns);
        let (down, right) = match kind {
            ALONG_ROW => (0, 1),
            ALONG_COLUMN => (1, 0),
            _ => return (column as f64, row as f64),
        };
        let from = self.values[point].unwrap_or(self.level);
        let to = self.values[(row + down) * self.n_columns + column + right].unwrap_or(self.level);
        let share = ((0.5 * self.level - 0.5 * from) / (0.5 * to - 0.5 * from)).clamp(0.0, 1.0);
        (column as f64 + share * right as f64, row as f64 + share * down as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(outlines: &[Outline]) -> f64 {
        let twice = |outline: &Outline| {
            let next = outline.iter().skip(1).chain(outline.first());
            outline.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum::<f64>()
        };
        outlines.iter().map(|outline| 0.5 * twice(outline)).sum()
    }

    fn sample(n: usize, value: impl Fn(f64, f64) -> f64) -> Vec<Option<f64>> {
        let at = |idx: usize| 2.0 * idx as f64 / (n - 1) as f64 - 1.0;
        (0..n * n).map(|idx| Some(value(at(idx % n), at(idx / n)))).collect()
    }

    #[test]
    fn the_region_below_and_the_one_above_make_the_whole() {
        let bowl = sample(101, |x, y| x * x + y * y);
        let outside = region(&bowl, 101, 0.49);
        let inside = sample(101, |x, y| -(x * x + y * y));
        let inside = region(&inside, 101, -0.49);
        assert_eq!((outside.len(), inside.len()), (2, 1));
        assert!((area(&outside) + area(&inside) - 1e4).abs() < 1e-6);
        assert!((area(&inside) / 2500.0 - std::f64::consts::PI * 0.49).abs() < 1e-3);
    }

    #[test]
    fn below_every_value_the_region_is_the_grid() {
        let whole = region(&sample(5, |x, y| x + y), 5, -9.0);
        assert_eq!(whole.len(), 1);
        assert_eq!(area(&whole), 16.0);
        assert!(whole[0].len() <= 6, "{whole:?}");
        assert!(region(&sample(5, |x, y| x + y), 5, 9.0).is_empty());
    }

    #[test]
    fn cells_without_values_are_left_out() {
        let mut values = sample(5, |_, _| 1.0);
        values[12] = None;
        assert_eq!(area(&region(&values, 5, 0.0)), 12.0);
        // What is left touches at a corner.
        let mut values = sample(3, |_, _| 1.0);
        (values[2], values[6]) = (None, None);
        assert_eq!(area(&region(&values, 3, 0.0)), 2.0);
    }

    #[test]
    fn a_saddle_is_joined_where_its_mean_is_in() {
        let saddle = [Some(2.0), Some(0.0), Some(0.0), Some(2.0)];
        assert_eq!(region(&saddle, 2, 0.5).len(), 1);
        assert_eq!(region(&saddle, 2, 1.5).len(), 2);
        assert!((area(&region(&saddle, 2, 0.5)) - (1.0 - 2.0 * 0.5 * 0.25 * 0.25)).abs() < 1e-12);
        assert!((area(&region(&saddle, 2, 1.5)) - 2.0 * 0.5 * 0.25 * 0.25).abs() < 1e-12);
    }
}
