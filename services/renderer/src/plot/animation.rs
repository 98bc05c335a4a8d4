//! Animations: pictures one after the other, as GIF.

use std::time::Duration;

use gif::{Encoder, Frame, Repeat};
use resvg::tiny_skia::Pixmap;

use crate::plot::PlotError;

/// Each channel has so many bits where colours are looked up.
const BITS: u32 = 5;

/// Returns `pictures`, all of one size, as a GIF that repeats for ever, each shown for its time, a multiple of 10 ms.
pub(super) fn gif(pictures: impl Iterator<Item = Result<(Pixmap, Duration), PlotError>>) -> Result<Vec<u8>, PlotError> {
    let failed = |source: gif::EncodingError| PlotError::Gif { reason: source.to_string() };
    let mut bytes = Vec::new();
    let mut pictures = pictures.peekable();
    let (width, height) = match pictures.peek() {
        Some(Ok((first, _))) => (first.width(), first.height()),
        _ => (1, 1),
    };
    let [width, height] = [width, height].map(|side| u16::try_from(side).unwrap_or(u16::MAX));
    let mut encoder = Encoder::new(&mut bytes, width, height, &[]).map_err(failed)?;
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    let mut before: Option<Vec<[u8; 3]>> = None;
    for picture in pictures {
        let (pixels, time) = picture?;
        let pixels: Vec<[u8; 3]> = pixels.pixels().iter().map(|it| [it.red(), it.green(), it.blue()]).collect();
        let colors = Colors::of(&pixels);
        // What has not changed since the picture before is transparent, which compresses to nothing.
        let indices = pixels.iter().enumerate().map(|(idx, color)| match &before {
            Some(before) if before[idx] == *color => TRANSPARENT,
            _ => colors.nearest[bucket(*color)],
        });
        let frame = Frame {
            width,
            height,
            delay: u16::try_from(time.as_millis() / 10).unwrap_or(u16::MAX),
            palette: Some(colors.table.concat()),
            transparent: Some(TRANSPARENT),
            buffer: indices.collect::<Vec<u8>>().into(),
            ..Frame::default()
        };
        encoder.write_frame(&frame).map_err(failed)?;
        before = Some(pixels);
    }
    drop(encoder);
    Ok(bytes)
}

/// The last entry of every table.
const TRANSPARENT: u8 = 255;

fn bucket(color: [u8; 3]) -> usize {
    color.iter().fold(0, |bucket, channel| bucket << BITS | usize::from(channel >> (8 - BITS)))
}

/// The colours of a picture, at most 255, by median cut.
struct Colors {
    table: Vec<[u8; 3]>,
    /// For each bucket of colours the entry of the table that stands for it.
    nearest: Vec<u8>,
}

/// Colours alike to the first bits.
#[derive(Clone, Copy)]
struct Bucket {
    idx: usize,
    count: u64,
    sums: [u64; 3],
}

impl Bucket {
    fn mean(&self, channel: usize) -> f64 {
        self.sums[channel] as f64 / self.count as f64
    }
}

impl Colors {
    fn of(pixels: &[[u8; 3]]) -> Self {
        let mut buckets = vec![Bucket { idx: 0, count: 0, sums: [0; 3] }; 1 << (3 * BITS)];
        for color in pixels {
            let idx = bucket(*color);
            let bucket = &mut buckets[idx];
            bucket.idx = idx;
            bucket.count += 1;
            for (sum, channel) in bucket.sums.iter_mut().zip(color) {
                *sum += u64::from(*channel);
            }
        }
        buckets.retain(|bucket| bucket.count > 0);
        let mut boxes = vec![buckets];
        while boxes.len() < usize::from(TRANSPARENT) {
            // The one with the widest spread of colours, weighted by what it covers.
            let widest = |(idx, buckets): (usize, &Vec<Bucket>)| {
                let (channel, spread) = spread(buckets);
                let weight: u64 = buckets.iter().map(|bucket| bucket.count).sum();
                (buckets.len() > 1).then_some((spread * spread * (weight as f64).sqrt(), idx, channel))
            };
            let choice = boxes.iter().enumerate().filter_map(widest).max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((_, idx, channel)) = choice else { break };
            let mut whole = boxes.swap_remove(idx);
            whole.sort_by(|a, b| a.mean(channel).total_cmp(&b.mean(channel)).then(a.idx.cmp(&b.idx)));
            let (lo, hi) = (whole[0].mean(channel), whole[whole.len() - 1].mean(channel));
            let middle = 0.5 * (lo + hi);
            let cut = whole.partition_point(|bucket| bucket.mean(channel) < middle).clamp(1, whole.len() - 1);
            let upper = whole.split_off(cut);
            boxes.extend([whole, upper]);
        }
        let mut nearest = vec![0; 1 << (3 * BITS)];
        let mut table = Vec::with_capacity(256);
        for (entry, buckets) in boxes.iter().enumerate() {
            // The most frequent colours stay as they are: background and text.
            let first = buckets.iter().max_by_key(|bucket| bucket.count);
            let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
            let mean = |channel: usize| match first {
                Some(first) if 4 * first.count > 3 * total => first.mean(channel),
                _ => buckets.iter().map(|bucket| bucket.sums[channel] as f64).sum::<f64>() / total.max(1) as f64,
            };
            table.push([0, 1, 2].map(|channel| mean(channel).round() as u8));
            for bucket in buckets {
                nearest[bucket.idx] = entry as u8;
            }
        }
        table.resize(256, [0; 3]);
        Self { table, nearest }
    }
}

/// The channel in which colours differ most, and by how much.
fn spread(buckets: &[Bucket]) -> (usize, f64) {
    let of = |channel: usize| {
        let means = buckets.iter().map(|bucket| bucket.mean(channel));
        let (lo, hi) = means.fold((f64::MAX, f64::MIN), |(lo, hi), mean| (lo.min(mean), hi.max(mean)));
        (channel, hi - lo)
    };
    [0, 1, 2].map(of).into_iter().fold((0, 0.0), |widest, next| if next.1 > widest.1 { next } else { widest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_stay_as_they_are() {
        let colors = [[255, 255, 255], [38, 38, 38], [200, 30, 30], [0, 114, 178]];
        let pixels: Vec<[u8; 3]> = colors.iter().flat_map(|color| vec![*color; 50]).collect();
        let table = Colors::of(&pixels);
        for color in colors {
            assert_eq!(table.table[usize::from(table.nearest[bucket(color)])], color);
        }
    }

    #[test]
    fn many_colours_are_near() {
        let pixels: Vec<[u8; 3]> = (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| [a, b, a ^ b])).collect();
        let table = Colors::of(&pixels);
        let far = |color: &[u8; 3]| {
            let near = table.table[usize::from(table.nearest[bucket(*color)])];
            color.iter().zip(near).map(|(a, b)| u32::from(a.abs_diff(b))).max()
        };
        assert!(pixels.iter().filter_map(far).max() < Some(48));
    }
}
