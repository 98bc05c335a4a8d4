//! The scene: shapes and text, written as SVG.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::colormap::Color;
use super::typeface::Typeface;
use crate::plot::PlotError;

/// A place in the picture, in scene units from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Rightwards.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

impl Point {
    /// The distance to another point.
    pub(super) fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The point at `share` of the way to another.
    pub(super) fn towards(self, other: Self, share: f64) -> Self {
        Self { x: self.x + (other.x - self.x) * share, y: self.y + (other.y - self.y) * share }
    }
}

/// An upright rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    /// The left edge.
    pub left: f64,
    /// The upper edge.
    pub top: f64,
    /// The right edge.
    pub right: f64,
    /// The lower edge.
    pub bottom: f64,
}

impl Rect {
    /// The horizontal extent.
    pub(super) fn width(self) -> f64 {
        self.right - self.left
    }

    /// The vertical extent.
    pub(super) fn height(self) -> f64 {
        self.bottom - self.top
    }

    /// The middle.
    pub(super) fn centre(self) -> Point {
        Point { x: 0.5 * (self.left + self.right), y: 0.5 * (self.top + self.bottom) }
    }

    /// Whether `point` lies inside, at least `margin` from every edge.
    pub(super) fn contains(self, point: Point, margin: f64) -> bool {
        (self.left + margin..=self.right - margin).contains(&point.x)
            && (self.top + margin..=self.bottom - margin).contains(&point.y)
    }

    fn path(self) -> String {
        // Absolute, so that the edges that neighbours share are written alike.
        let [left, top, right, bottom] = [self.left, self.top, self.right, self.bottom].map(Number);
        format!("M{left} {top}H{right}V{bottom}H{left}Z")
    }
}

/// A coordinate as written: to a hundredth, without trailing zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stroke {
    /// Its colour.
    pub color: Color,
    /// Its width.
    pub width: f64,
    /// The length of dashes and of the gaps between them, if it is dashed.
    pub dash: Option<(f64, f64)>,
}

impl Stroke {
    /// Returns an unbroken line.
    pub(super) fn solid(color: Color, width: f64) -> Self {
        Self { color, width, dash: None }
    }
}

/// Which part of a text stands at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The beginning.
    Start,
    /// The middle.
    Middle,
    /// The end.
    End,
}

/// How a text is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TextStyle {
    /// The em.
    pub size: f64,
    /// Its colour.
    pub color: Color,
    /// Which part of it stands at its position.
    pub anchor: Anchor,
    /// The clockwise rotation about its position, in degrees.
    pub angle: f64,
    /// The width of a white seam around the letters, 0 for none.
    pub halo: f64,
}

impl TextStyle {
    /// Returns a level text.
    pub(super) fn level(size: f64, color: Color, anchor: Anchor) -> Self {
        Self { size, color, anchor, angle: 0.0, halo: 0.0 }
    }
}

/// Shapes and text in the order they are drawn.
pub(super) struct Scene {
    /// The typeface of the text.
    pub typeface: Typeface,
    body: String,
    glyphs: BTreeMap<u16, String>,
}

impl Scene {
    /// Returns an empty scene.
    pub(super) fn new() -> Result<Self, PlotError> {
        Ok(Self { typeface: Typeface::embedded()?, body: String::new(), glyphs: BTreeMap::new() })
    }

    fn push(&mut self, element: fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// Draws straight lines through `points`, back to the first if `is_closed`.
    pub(super) fn polyline(&mut self, points: &[Point], is_closed: bool, stroke: Stroke) {
        let mut path = String::new();
        for (idx, point) in points.iter().enumerate() {
            path.push(if idx == 0 { 'M' } else { 'L' });
            let _ = write!(path, "{} {}", Number(point.x), Number(point.y));
        }
        if is_closed {
            path.push('Z');
        }
        let dash = stroke.dash.map(|(dash, gap)| format!(r#" stroke-dasharray="{dash} {gap}""#)).unwrap_or_default();
        self.push(format_args!(
            r#"<path d="{path}" fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round"{dash}/>"#,
            stroke.color,
            Number(stroke.width),
        ));
    }

    /// Draws a straight line.
    pub(super) fn line(&mut self, from: Point, to: Point, stroke: Stroke) {
        self.polyline(&[from, to], false, stroke);
    }

    /// Draws the outline of `rect`.
    pub(super) fn outline(&mut self, rect: Rect, stroke: Stroke) {
        let Rect { left, top, right, bottom } = rect;
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)].map(|(x, y)| Point { x, y });
        self.polyline(&corners, true, stroke);
    }

    /// Fills a polygon.
    pub(super) fn polygon(&mut self, points: &[Point], color: Color) {
        let points: Vec<String> =
            points.iter().map(|point| format!("{},{}", Number(point.x), Number(point.y))).collect();
        self.push(format_args!(r#"<polygon points="{}" fill="{color}"/>"#, points.join(" ")));
    }

    /// Fills rectangles with one colour. Their edges fall on whole pixels, so that neighbours leave no seam.
    pub(super) fn fill(&mut self, rects: &[Rect], color: Color) {
        if rects.is_empty() {
            return;
        }
        let path: String = rects.iter().map(|rect| rect.path()).collect();
        self.push(format_args!(r#"<path d="{path}" fill="{color}" shape-rendering="crispEdges"/>"#));
    }

    /// Fills a circle.
    pub(super) fn dot(&mut self, centre: Point, radius: f64, color: Color) {
        let (x, y) = (Number(centre.x), Number(centre.y));
        self.push(format_args!(r#"<circle cx="{x}" cy="{y}" r="{}" fill="{color}"/>"#, Number(radius)));
    }

    /// Draws `text` with its base line at `position`, as outlines of the embedded typeface.
    pub(super) fn text(&mut self, text: &str, position: Point, style: TextStyle) {
        let (glyphs, width) = self.typeface.set(text);
        let scale = style.size / self.typeface.units_per_em();
        let start = match style.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -0.5 * width,
            Anchor::End => -width,
        };
        let mut uses = String::new();
        for glyph in glyphs {
            if !self.glyphs.contains_key(&glyph.id) {
                let outline = self.typeface.outline(glyph.id);
                self.glyphs.insert(glyph.id, outline);
            }
            if self.glyphs.get(&glyph.id).is_none_or(String::is_empty) {
                continue;
            }
            let x = Number(start + glyph.x);
            let _ = if glyph.scale == 1.0 {
                write!(uses, r##"<use xlink:href="#g{}" x="{x}"/>"##, glyph.id)
            } else {
                let (id, y, scale) = (glyph.id, Number(glyph.y), glyph.scale);
                write!(uses, r##"<use xlink:href="#g{id}" transform="translate({x} {y}) scale({scale})"/>"##)
            };
        }
        let (x, y) = (Number(position.x), Number(position.y));
        let turn = if style.angle == 0.0 { String::new() } else { format!(" rotate({})", Number(style.angle)) };
        let transform = format!("translate({x} {y}){turn} scale({scale:.6} -{scale:.6})");
        if style.halo > 0.0 {
            let width = Number(2.0 * style.halo / scale);
            let paint = format!(r##"fill="#ffffff" stroke="#ffffff" stroke-width="{width}" stroke-linejoin="round""##);
            self.push(format_args!(r#"<g aria-hidden="true" transform="{transform}" {paint}>{uses}</g>"#));
        }
        let (name, color) = (escaped(text), style.color);
        self.push(format_args!(r#"<g aria-label="{name}" transform="{transform}" fill="{color}">{uses}</g>"#));
    }

    /// Returns the scene as an SVG document of `width` pixels that shows `size`, on white.
    pub(super) fn into_svg(self, size: Size, width: u32, title: &str, description: &str) -> String {
        let height = f64::from(width) * size.height / size.width;
        let defs: String = self
            .glyphs
            .iter()
            .filter(|(_, outline)| !outline.is_empty())
            .map(|(id, outline)| format!("<path id=\"g{id}\" d=\"{outline}\"/>\n"))
            .collect();
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" "#,
                r#"width="{width}" height="{height}" viewBox="0 0 {w} {h}" role="img">"#,
                "\n<title>{title}</title>\n<desc>{description}</desc>\n<defs>\n{defs}</defs>\n",
                r##"<rect width="{w}" height="{h}" fill="#ffffff"/>"##,
                "\n{body}</svg>\n",
            ),
            width = width,
            height = Number(height),
            w = Number(size.width),
            h = Number(size.height),
            title = escaped(title),
            description = escaped(description),
            defs = defs,
            body = self.body,
        )
    }
}

/// The extent of a picture in scene units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    /// Horizontally.
    pub width: f64,
    /// Vertically.
    pub height: f64,
}

/// Returns `text` as XML character data; what XML cannot hold becomes a blank.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            character if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        let texts = [1.0, 0.125, -0.001, 12.5, 100.0].map(|number| Number(number).to_string());
        assert_eq!(texts, ["1", "0.12", "0", "12.5", "100"]);
    }

    #[test]
    fn text_from_users_cannot_break_the_document() {
        assert_eq!(escaped("a<b>&\"\u{0}c"), "a&lt;b&gt;&amp;&quot; c");
    }
}
