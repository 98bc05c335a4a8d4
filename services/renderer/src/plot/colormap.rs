//! Colours, those of a theme, and the maps from numbers to colours.

use std::fmt;

use super::field::Missing;
use super::palette::{CIVIDIS, MAGMA, VIRIDIS};
use crate::plot::{Palette, Theme};

/// An opaque colour, 0xRRGGBB in sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Color(pub u32);

impl Color {
    /// Returns the colour with each channel multiplied by `share`.
    pub(super) fn darkened(self, share: f64) -> Self {
        let channel = |shift: u32| (((self.0 >> shift & 0xff) as f64 * share).round() as u32) << shift;
        Self(channel(16) | channel(8) | channel(0))
    }

    /// Returns the colour at `share` of the way to `other`, channel by channel.
    pub(super) fn towards(self, other: Self, share: f64) -> Self {
        let channel = |shift: u32| {
            let [from, to] = [self, other].map(|color| f64::from(color.0 >> shift & 0xff));
            ((from + (to - from) * share).round() as u32) << shift
        };
        Self(channel(16) | channel(8) | channel(0))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:06x}", self.0)
    }
}

/// More lines than this cannot be told apart by their colour.
pub(super) const MOST_DISTINCT: usize = 6;

/// The colours of Okabe and Ito (2008), which are told apart with any colour vision, without those too near to the red
/// of drops or to the background.
pub(super) fn distinct(theme: Theme, idx: usize) -> Color {
    const ON_PAPER: [u32; MOST_DISTINCT] = [0x0072b2, 0xe69f00, 0x009e73, 0xcc79a7, 0x56b4e9, 0x000000];
    const ON_DARK: [u32; MOST_DISTINCT] = [0x56b4e9, 0xe69f00, 0x00b985, 0xe39cc4, 0xf0e442, 0xffffff];
    let colors = if theme == Theme::Paper { ON_PAPER } else { ON_DARK };
    Color(colors[idx % MOST_DISTINCT])
}

/// The colours of a picture that stand for no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tones {
    /// The background.
    pub paper: Color,
    /// Axes and text.
    pub ink: Color,
    /// Secondary text.
    pub quiet: Color,
    /// Lines that guide the eye.
    pub faint: Color,
    /// The loss of a curve.
    pub loss: Color,
    /// The accuracy of a curve.
    pub accuracy: Color,
    missing: [Color; 3],
    theme: Theme,
}

impl Tones {
    /// Returns the tones of `theme`.
    pub(super) fn of(theme: Theme) -> Self {
        match theme {
            Theme::Paper => Self {
                paper: Color(0xffffff),
                ink: Color(0x262626),
                quiet: Color(0x595959),
                faint: Color(0xe6e6e6),
                loss: Color(0x1f4fa3),
                accuracy: Color(0xb5281e),
                missing: [Color(0xc0c0c0), Color(0xdccfb8), Color(0xececec)],
                theme,
            },
            Theme::Dark => Self {
                paper: Color(0x16181d),
                ink: Color(0xe8e8e8),
                quiet: Color(0xb0b0b0),
                faint: Color(0x33363d),
                loss: Color(0x7fb2ff),
                accuracy: Color(0xff8f7a),
                missing: [Color(0x6a6a6a), Color(0x5f5644), Color(0x2b2d33)],
                theme,
            },
        }
    }

    /// The colour that stands for points that cannot be drawn.
    pub(super) fn missing(self, reason: Missing) -> Color {
        match reason {
            Missing::NonFinite => self.missing[0],
            Missing::WithoutLogarithm => self.missing[1],
            Missing::Unknown => self.missing[2],
        }
    }

    /// The colour of a line at `share` of `palette`; the part of it that would vanish on the background is left out.
    pub(super) fn line(self, palette: Palette, share: f64) -> Color {
        match self.theme {
            Theme::Paper => color(palette, 0.82 * share),
            Theme::Dark => color(palette, 0.3 + 0.7 * share),
        }
    }

    /// The colour of text beside a line of `color`: stronger against the background.
    pub(super) fn text_beside(self, color: Color) -> Color {
        match self.theme {
            Theme::Paper => color.darkened(0.72),
            Theme::Dark => color.towards(self.ink, 0.35),
        }
    }
}

/// Returns the 256 colours of `palette`, from the least to the greatest value.
pub(super) fn map(palette: Palette) -> &'static [u32; 256] {
    match palette {
        Palette::Viridis => &VIRIDIS,
        Palette::Cividis => &CIVIDIS,
        Palette::Magma => &MAGMA,
    }
}

/// Returns the colour of `share`, 0 for the least and 1 for the greatest value.
pub(super) fn color(palette: Palette, share: f64) -> Color {
    Color(map(palette)[map_idx(share)])
}

/// Returns which of a map's 256 colours stands for `share`.
pub(super) fn map_idx(share: f64) -> usize {
    // A cast of NaN is 0.
    ((share * 256.0).floor().clamp(0.0, 255.0)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maps_grow_lighter_throughout() {
        let luminance = |color: u32| {
            let channel = |shift: u32| (f64::from(color >> shift & 0xff) / 255.0).powf(2.2);
            0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
        };
        for palette in Palette::ALL {
            let is_rising = |window: &[u32]| luminance(window[0]) < luminance(window[7]);
            assert!(map(palette).windows(8).all(is_rising), "{palette}");
        }
    }

    #[test]
    fn shares_outside_are_clamped() {
        assert_eq!(color(Palette::Viridis, -1.0), Color(0x440154));
        assert_eq!(color(Palette::Viridis, 2.0), Color(0xfde725));
        assert_eq!(color(Palette::Viridis, f64::NAN), Color(0x440154));
    }

    #[test]
    fn lines_stand_out_from_the_background() {
        let lightness = |color: Color| (color.0 >> 16 & 0xff) + (color.0 >> 8 & 0xff) + (color.0 & 0xff);
        for theme in Theme::ALL {
            let tones = Tones::of(theme);
            for palette in Palette::ALL {
                for share in [0.0, 0.5, 1.0] {
                    let apart = lightness(tones.line(palette, share)).abs_diff(lightness(tones.paper));
                    assert!(apart > 120, "{theme} {palette} {share}: {apart}");
                }
            }
        }
    }

    #[test]
    fn colours_are_written_as_in_css() {
        assert_eq!(Color(0x0a00ff).to_string(), "#0a00ff");
        assert_eq!(Color(0x806432).darkened(0.5), Color(0x403219));
        assert_eq!(Color(0x000000).towards(Color(0xff8040), 0.5), Color(0x804020));
    }
}
