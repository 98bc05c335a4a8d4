//! Shaded triangles with hidden surfaces removed, as pixels: for meshes that are too fine to be drawn facet by facet.

use resvg::tiny_skia::{IntSize, Pixmap};

/// A corner of a triangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vertex {
    /// Rightwards, in pixels.
    pub x: f32,
    /// Downwards, in pixels.
    pub y: f32,
    /// What is greater hides what is less.
    pub nearness: f32,
    /// The share of the colour map, 0 to 1.
    pub share: f32,
    /// What its colour is multiplied with, 0 to 1.
    pub brightness: f32,
}

/// The most samples of a buffer: about 300 MB.
const MOST_SAMPLES: usize = 36 << 20;

/// Pixels with what is nearest in each.
pub(super) struct ZBuffer<'a> {
    map: &'a [u32; 256],
    width: usize,
    height: usize,
    /// How many samples a pixel has along each side.
    samples: usize,
    nearness: Vec<f32>,
    colors: Vec<u32>,
}

impl<'a> ZBuffer<'a> {
    /// Returns an empty buffer of `width` x `height` pixels, 1 or more each, for the colours of `map`.
    pub(super) fn new(width: usize, height: usize, map: &'a [u32; 256]) -> Self {
        let samples = if 4 * width * height <= MOST_SAMPLES { 2 } else { 1 };
        let count = width * height * samples * samples;
        let (nearness, colors) = (vec![f32::NEG_INFINITY; count], vec![0; count]);
        Self { map, width, height, samples, nearness, colors }
    }

    /// Draws a triangle.
    pub(super) fn triangle(&mut self, corners: [Vertex; 3]) {
        let scale = self.samples as f32;
        let [a, b, c] = corners.map(|corner| Vertex { x: corner.x * scale, y: corner.y * scale, ..corner });
        let twice_area = (b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y);
        if twice_area == 0.0 || !twice_area.is_finite() {
            return;
        }
        let (width, height) = (self.width * self.samples, self.height * self.samples);
        // A sample is at the middle of its square.
        let span = |values: [f32; 3], end: usize| {
            let (lo, hi) = (values[0].min(values[1]).min(values[2]), values[0].max(values[1]).max(values[2]));
            ((lo - 0.5).ceil().max(0.0) as usize, ((hi - 0.5).floor() + 1.0).clamp(0.0, end as f32) as usize)
        };
        let (left, right) = span([a.x, b.x, c.x], width);
        let (top, bottom) = span([a.y, b.y, c.y], height);
        let inverse = 1.0 / twice_area;
        for row in top..bottom {
            let y = row as f32 + 0.5;
            for column in left..right {
                let x = column as f32 + 0.5;
                let of_b = ((x - a.x) * (c.y - a.y) - (c.x - a.x) * (y - a.y)) * inverse;
                let of_c = ((b.x - a.x) * (y - a.y) - (x - a.x) * (b.y - a.y)) * inverse;
                let of_a = 1.0 - of_b - of_c;
                // A little beyond the edges, so that no crack is between neighbours.
                if of_a < -1e-4 || of_b < -1e-4 || of_c < -1e-4 {
                    continue;
                }
                let mean = |a: f32, b: f32, c: f32| of_a * a + of_b * b + of_c * c;
                let nearness = mean(a.nearness, b.nearness, c.nearness);
                let sample = row * width + column;
                if nearness > self.nearness[sample] {
                    self.nearness[sample] = nearness;
                    let share = mean(a.share, b.share, c.share);
                    let brightness = mean(a.brightness, b.brightness, c.brightness).clamp(0.0, 1.0);
                    let color = self.map[(share * 256.0).clamp(0.0, 255.0) as usize];
                    let channel = |shift: u32| (((color >> shift & 0xff) as f32 * brightness) as u32) << shift;
                    self.colors[sample] = channel(16) | channel(8) | channel(0);
                }
            }
        }
    }

    /// Returns the pixels; where nothing is drawn they are transparent. None if there is no memory for them.
    pub(super) fn into_pixels(self) -> Option<Pixmap> {
        let per_pixel = (self.samples * self.samples) as u32;
        let mut data = Vec::with_capacity(4 * self.width * self.height);
        for row in 0..self.height {
            for column in 0..self.width {
                let mut sums = [0_u32; 4];
                for down in 0..self.samples {
                    for right in 0..self.samples {
                        let across = self.width * self.samples;
                        let sample = (row * self.samples + down) * across + column * self.samples + right;
                        if self.nearness[sample] > f32::NEG_INFINITY {
                            let color = self.colors[sample];
                            for (sum, value) in
                                sums.iter_mut().zip([color >> 16 & 0xff, color >> 8 & 0xff, color & 0xff, 255])
                            {
                                *sum += value;
                            }
                        }
                    }
                }
                // The sums are multiplied by the coverage already, as a pixmap wants them.
                data.extend(sums.map(|sum| (sum / per_pixel) as u8));
            }
        }
        let size = IntSize::from_wh(u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?)?;
        Pixmap::from_vec(data, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(x: f32, y: f32, nearness: f32, share: f32) -> Vertex {
        Vertex { x, y, nearness, share, brightness: 1.0 }
    }

    #[test]
    fn the_nearest_is_seen_whatever_comes_first() {
        let map: [u32; 256] = std::array::from_fn(|idx| if idx < 128 { 0xff0000 } else { 0x0000ff });
        let far = [(0.0, 0.0), (20.0, 0.0), (0.0, 20.0)].map(|(x, y)| vertex(x, y, 1.0, 0.0));
        let near = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)].map(|(x, y)| vertex(x, y, 2.0, 1.0));
        for triangles in [[far, near], [near, far]] {
            let mut buffer = ZBuffer::new(20, 20, &map);
            for triangle in triangles {
                buffer.triangle(triangle);
            }
            let pixels = buffer.into_pixels().expect("pixels");
            let pixel = |x, y| pixels.pixel(x, y).map(|it| (it.red(), it.green(), it.blue(), it.alpha()));
            assert_eq!(pixel(2, 2), Some((0, 0, 255, 255)));
            assert_eq!(pixel(12, 3), Some((255, 0, 0, 255)));
            assert_eq!(pixel(18, 18), Some((0, 0, 0, 0)));
        }
    }

    #[test]
    fn neighbours_leave_no_crack() {
        let map = [0xffffff; 256];
        let mut buffer = ZBuffer::new(30, 30, &map);
        let corner = |x: usize, y: usize| vertex(x as f32 * 3.7 - 1.0, y as f32 * 3.3 - 1.0, 0.0, 0.5);
        for row in 0..10 {
            for column in 0..10 {
                let [a, b] = [corner(column, row), corner(column + 1, row)];
                let [c, d] = [corner(column + 1, row + 1), corner(column, row + 1)];
                buffer.triangle([a, b, c]);
                buffer.triangle([a, c, d]);
            }
        }
        let pixels = buffer.into_pixels().expect("pixels");
        assert!(pixels.pixels().iter().all(|pixel| pixel.alpha() == 255));
    }
}
