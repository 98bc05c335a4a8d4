//! The embedded typeface: measuring, setting and outlining text, so that a picture looks alike on every machine.

use ttf_parser::{Face, GlyphId, OutlineBuilder};

use super::scene::Number;
use crate::plot::PlotError;

/// Liberation Sans Regular, under the SIL Open Font License 1.1 (see `fonts/LICENSE`).
const LIBERATION_SANS: &[u8] = include_bytes!("../../fonts/LiberationSans-Regular.ttf");

const SUPERSCRIPT_SCALE: f64 = 0.7;

/// How far superscripts are raised, in ems.
const SUPERSCRIPT_RISE: f64 = 0.36;

const SUPERSCRIPTS: [(char, char); 11] = [
    ('0', '\u{2070}'),
    ('1', '\u{b9}'),
    ('2', '\u{b2}'),
    ('3', '\u{b3}'),
    ('4', '\u{2074}'),
    ('5', '\u{2075}'),
    ('6', '\u{2076}'),
    ('7', '\u{2077}'),
    ('8', '\u{2078}'),
    ('9', '\u{2079}'),
    ('-', '\u{207b}'),
];

/// Returns `digits` with a possible minus sign as superscript characters.
pub(super) fn superscript(digits: &str) -> String {
    let raise = |character| SUPERSCRIPTS.iter().find(|(plain, _)| *plain == character).map(|(_, raised)| *raised);
    digits.chars().map(|character| raise(character).unwrap_or(character)).collect()
}

/// A glyph in its place on a line, in font units from the line's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SetGlyph {
    /// The glyph.
    pub id: u16,
    /// How far right its origin is.
    pub x: f64,
    /// How far up its origin is.
    pub y: f64,
    /// Its size in proportion to the line's.
    pub scale: f64,
}

/// The typeface of all text.
pub(super) struct Typeface {
    face: Face<'static>,
}

impl Typeface {
    /// Reads the embedded typeface.
    pub(super) fn embedded() -> Result<Self, PlotError> {
        Face::parse(LIBERATION_SANS, 0).map(|face| Self { face }).map_err(PlotError::Typeface)
    }

    /// The font units in one em.
    pub(super) fn units_per_em(&self) -> f64 {
        f64::from(self.face.units_per_em())
    }

    /// Returns the glyphs of `text` on one line and the line's width, in font units. Characters the typeface lacks are
    /// set as its box for missing glyphs.
    pub(super) fn set(&self, text: &str) -> (Vec<SetGlyph>, f64) {
        let mut glyphs = Vec::new();
        let mut pen = 0.0;
        let mut previous: Option<(char, GlyphId)> = None;
        for character in text.chars() {
            let raised = SUPERSCRIPTS.iter().find(|(_, raised)| *raised == character);
            let (shown, scale, y) = match raised {
                Some(('-', _)) => ('\u{2212}', SUPERSCRIPT_SCALE, SUPERSCRIPT_RISE * self.units_per_em()),
                Some((plain, _)) => (*plain, SUPERSCRIPT_SCALE, SUPERSCRIPT_RISE * self.units_per_em()),
                None => (character, 1.0, 0.0),
            };
            let id = self.face.glyph_index(shown).unwrap_or(GlyphId(0));
            if let Some((before, before_id)) = previous {
                pen += self.kerning(before, before_id, shown, id) * scale;
            }
            glyphs.push(SetGlyph { id: id.0, x: pen, y, scale });
            pen += f64::from(self.face.glyph_hor_advance(id).unwrap_or(0)) * scale;
            previous = Some((shown, id));
        }
        (glyphs, pen)
    }

    fn kerning(&self, before: char, before_id: GlyphId, after: char, after_id: GlyphId) -> f64 {
        // Digits stay on equal widths, so that numbers line up.
        if before.is_ascii_digit() && after.is_ascii_digit() {
            return 0.0;
        }
        let subtables = self.face.tables().kern.iter().flat_map(|kern| kern.subtables);
        let mut usable = subtables.filter(|subtable| subtable.horizontal && !subtable.variable);
        usable.find_map(|subtable| subtable.glyphs_kerning(before_id, after_id)).map_or(0.0, f64::from)
    }

    /// The width of `text` at `size`, in the units of `size`.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        self.set(text).1 * size / self.units_per_em()
    }

    /// The height of capitals and digits at `size`.
    pub(super) fn cap_height(&self, size: f64) -> f64 {
        f64::from(self.face.capital_height().unwrap_or(0)) * size / self.units_per_em()
    }

    /// Returns the path data of a glyph in font units, y upwards; empty for a blank.
    pub(super) fn outline(&self, glyph: u16) -> String {
        let mut path = PathData(String::new());
        self.face.outline_glyph(GlyphId(glyph), &mut path);
        path.0
    }

    /// Returns `text` cut to `width` at `size`, an ellipsis in place of what does not fit.
    pub(super) fn fit(&self, text: &str, size: f64, width: f64) -> String {
        if self.width(text, size) <= width {
            return text.to_owned();
        }
        let mut kept: String = text.to_owned();
        while kept.pop().is_some() {
            let cut = format!("{}\u{2026}", kept.trim_end());
            if self.width(&cut, size) <= width {
                return cut;
            }
        }
        String::new()
    }

    /// Returns `text` broken between words into lines of `width` at `size`, at most `n_lines` of them.
    pub(super) fn wrap(&self, text: &str, size: f64, width: f64, n_lines: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}"), size) <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        if lines.len() > n_lines {
            let rest = lines.split_off(n_lines.saturating_sub(1));
            lines.push(rest.join(" "));
        }
        lines.into_iter().map(|line| self.fit(&line, size, width)).collect()
    }
}

struct PathData(String);

impl PathData {
    fn push(&mut self, command: char, numbers: &[f32]) {
        self.0.push(command);
        for (idx, number) in numbers.iter().enumerate() {
            if idx > 0 {
                self.0.push(' ');
            }
            self.0.push_str(&Number(f64::from(*number)).to_string());
        }
    }
}

impl OutlineBuilder for PathData {
    fn move_to(&mut self, x: f32, y: f32) {
        self.push('M', &[x, y]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.push('L', &[x, y]);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.push('Q', &[x1, y1, x, y]);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.push('C', &[x1, y1, x2, y2, x, y]);
    }

    fn close(&mut self) {
        self.push('Z', &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typeface() -> Typeface {
        Typeface::embedded().expect("a good typeface")
    }

    #[test]
    fn the_typeface_has_every_sign_that_plots_use() {
        let typeface = typeface();
        for character in "09.,()%+\u{2212}\u{d7}\u{2026}\u{3b1}\u{3b2}\u{2013}".chars() {
            assert_ne!(typeface.set(&character.to_string()).0[0].id, 0, "{character}");
        }
    }

    #[test]
    fn widths_grow_with_size_and_digits_are_equally_wide() {
        let typeface = typeface();
        assert!((typeface.width("0.5", 20.0) - 2.0 * typeface.width("0.5", 10.0)).abs() < 1e-12);
        assert_eq!(typeface.width("1111", 10.0), typeface.width("8888", 10.0));
        assert!(typeface.width("AV", 10.0) < typeface.width("A", 10.0) + typeface.width("V", 10.0));
    }

    #[test]
    fn powers_are_small_and_raised() {
        let (glyphs, _) = typeface().set(&format!("10{}", superscript("-3")));
        assert_eq!(glyphs.len(), 4);
        assert!(glyphs[3].y > 0.0 && glyphs[3].scale < 1.0 && glyphs[1].y == 0.0);
    }

    #[test]
    fn long_text_is_wrapped_and_then_cut() {
        let typeface = typeface();
        let lines = typeface.wrap("resnet56 without shortcut connections, batch size 128", 10.0, 120.0, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| typeface.width(line, 10.0) <= 120.0));
        assert!(lines[1].ends_with('\u{2026}'));
        assert_eq!(typeface.fit("loss", 10.0, 120.0), "loss");
    }
}
