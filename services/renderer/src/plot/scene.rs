//! The scene: shapes and text, written as SVG.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use resvg::tiny_skia::Pixmap;

use super::colormap::{Color, Tones};
use super::field::Quantity;
use super::frame::Frame;
use super::typeface::Typeface;
use crate::plot::{PlotError, Theme};

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
    /// The width of a seam in the background's colour around the letters, 0 for none.
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
    /// The colours that stand for no value.
    pub tones: Tones,
    body: String,
    glyphs: BTreeMap<u16, String>,
    images: Vec<Image>,
}

/// Pixels within a scene.
struct Image {
    /// Where in the body they are drawn.
    offset: usize,
    /// Where in the picture they are.
    area: Rect,
    pixels: Pixmap,
}

impl Scene {
    /// Returns an empty scene.
    pub(super) fn new(theme: Theme) -> Result<Self, PlotError> {
        Ok(Self {
            typeface: Typeface::embedded()?,
            tones: Tones::of(theme),
            body: String::new(),
            glyphs: BTreeMap::new(),
            images: Vec::new(),
        })
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

    /// Fills a polygon with so much of a colour that what lies behind is seen.
    pub(super) fn veil(&mut self, points: &[Point], color: Color, strength: f64) {
        let points: Vec<String> =
            points.iter().map(|point| format!("{},{}", Number(point.x), Number(point.y))).collect();
        let (points, strength) = (points.join(" "), Number(strength));
        self.push(format_args!(r#"<polygon points="{points}" fill="{color}" fill-opacity="{strength}"/>"#));
    }

    /// Fills rectangles with one colour. Their edges fall on whole pixels, so that neighbours leave no seam.
    pub(super) fn fill(&mut self, rects: &[Rect], color: Color) {
        if rects.is_empty() {
            return;
        }
        let path: String = rects.iter().map(|rect| rect.path()).collect();
        self.push(format_args!(r#"<path d="{path}" fill="{color}" shape-rendering="crispEdges"/>"#));
    }

    /// Fills the inside of closed lines, an odd number of times enclosed, with one colour.
    pub(super) fn region(&mut self, outlines: &[Vec<Point>], color: Color) {
        let mut path = String::new();
        for outline in outlines {
            for (idx, point) in outline.iter().enumerate() {
                path.push(if idx == 0 { 'M' } else { 'L' });
                let _ = write!(path, "{} {}", Number(point.x), Number(point.y));
            }
            path.push('Z');
        }
        if !path.is_empty() {
            self.push(format_args!(r#"<path d="{path}" fill="{color}" fill-rule="evenodd"/>"#));
        }
    }

    /// Fills a facet of a surface, and as much around it as closes the seam to its neighbours.
    pub(super) fn facet(&mut self, corners: &[Point], color: Color) {
        let mut path = String::new();
        for (idx, point) in corners.iter().enumerate() {
            path.push(if idx == 0 { 'M' } else { 'L' });
            let _ = write!(path, "{} {}", Number(point.x), Number(point.y));
        }
        self.push(format_args!(
            r#"<path d="{path}Z" fill="{color}" stroke="{color}" stroke-width=".5" stroke-linejoin="round"/>"#
        ));
    }

    /// Draws `pixels` over `area`.
    pub(super) fn image(&mut self, pixels: Pixmap, area: Rect) {
        self.images.push(Image { offset: self.body.len(), area, pixels });
    }

    /// Fills a circle.
    pub(super) fn dot(&mut self, centre: Point, radius: f64, color: Color) {
        let (x, y) = (Number(centre.x), Number(centre.y));
        self.push(format_args!(r#"<circle cx="{x}" cy="{y}" r="{}" fill="{color}"/>"#, Number(radius)));
    }

    /// Draws a circle filled with one colour and outlined with another.
    pub(super) fn ring(&mut self, centre: Point, radius: f64, color: Color, outline: Stroke) {
        let (x, y, radius, width) = (Number(centre.x), Number(centre.y), Number(radius), Number(outline.width));
        let stroke = outline.color;
        self.push(format_args!(
            r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="{color}" stroke="{stroke}" stroke-width="{width}"/>"#
        ));
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
            let paper = self.tones.paper;
            let paint = format!(r#"fill="{paper}" stroke="{paper}" stroke-width="{width}" stroke-linejoin="round""#);
            self.push(format_args!(r#"<g aria-hidden="true" transform="{transform}" {paint}>{uses}</g>"#));
        }
        let (name, color) = (escaped(text), style.color);
        self.push(format_args!(r#"<g aria-label="{name}" transform="{transform}" fill="{color}">{uses}</g>"#));
    }

    /// Puts a finished picture into the scene, its upper left corner at `at`, without its background.
    pub(super) fn place(&mut self, drawing: Drawing, at: Point) {
        let Scene { body, glyphs, images, .. } = drawing.scene;
        self.glyphs.extend(glyphs);
        let (x, y) = (Number(at.x), Number(at.y));
        let mut from = 0;
        // Each part between pixels is a group of its own, as parts are drawn apart from each other.
        for Image { offset, area, pixels } in images {
            self.push(format_args!(r#"<g transform="translate({x} {y})">{}</g>"#, &body[from..offset]));
            from = offset;
            let area = Rect {
                left: area.left + at.x,
                right: area.right + at.x,
                top: area.top + at.y,
                bottom: area.bottom + at.y,
            };
            self.image(pixels, area);
        }
        self.push(format_args!(r#"<g transform="translate({x} {y})">{}</g>"#, &body[from..]));
    }

    /// Returns the scene as a drawing of `width` pixels that shows `size`, on the background.
    pub(super) fn into_drawing(self, size: Size, width: u32, title: &str, description: &str) -> Drawing {
        Drawing {
            scene: self,
            size,
            width,
            title: title.to_owned(),
            description: description.to_owned(),
            hover: None,
            spots: Vec::new(),
            quantity: Quantity::Loss,
        }
    }
}

/// What is said of a place in a picture when it is pointed at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    /// The place.
    pub at: Point,
    /// What is said, in lines.
    pub text: String,
}

/// A finished picture, to be written in any form.
pub(super) struct Drawing {
    /// Where its values stand, if they stand in a flat frame.
    pub hover: Option<Frame>,
    /// What is said of places in it.
    pub spots: Vec<Spot>,
    /// What its values are.
    pub quantity: Quantity,
    /// The name of the picture.
    pub title: String,
    /// What it shows, for readers who do not see it.
    pub description: String,
    /// The width in pixels.
    pub width: u32,
    scene: Scene,
    size: Size,
}

impl Drawing {
    /// Returns the drawing with the frame that its values stand in.
    pub(super) fn with_hover(self, frame: Frame) -> Self {
        Self { hover: Some(frame), ..self }
    }

    /// Returns the drawing with what its values are.
    pub(super) fn with_quantity(self, quantity: Quantity) -> Self {
        Self { quantity, ..self }
    }

    /// Returns the drawing with what is said of its places.
    pub(super) fn with_spots(self, spots: Vec<Spot>) -> Self {
        Self { spots, ..self }
    }

    /// The height in pixels.
    pub(super) fn height(&self) -> f64 {
        f64::from(self.width) * self.size.height / self.size.width
    }

    /// The extent in scene units.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// The background.
    pub(super) fn paper(&self) -> Color {
        self.scene.tones.paper
    }

    /// Returns the picture as an SVG document, pixels within it as PNG.
    pub(super) fn svg(&self) -> Result<String, PlotError> {
        let mut body = String::with_capacity(self.scene.body.len());
        let mut from = 0;
        for Image { offset, area, pixels } in &self.scene.images {
            body.push_str(&self.scene.body[from..*offset]);
            from = *offset;
            let png = pixels.encode_png().map_err(|source| PlotError::Png { reason: source.to_string() })?;
            let [x, y, width, height] = [area.left, area.top, area.width(), area.height()].map(Number);
            let _ = writeln!(
                body,
                r#"<image x="{x}" y="{y}" width="{width}" height="{height}" xlink:href="data:image/png;base64,{}"/>"#,
                BASE64_STANDARD.encode(png),
            );
        }
        body.push_str(&self.scene.body[from..]);
        let paper = self.paper();
        let ground = format!(r#"<rect width="{}" height="{}" fill="{paper}"/>"#, self.size.width, self.size.height);
        Ok(self.document(&format!("{ground}\n{body}")))
    }

    /// Returns the picture in layers from the back: SVG documents on nothing, and pixels with their place.
    pub(super) fn layers(&self) -> Vec<Layer<'_>> {
        let mut layers = Vec::new();
        let mut from = 0;
        for Image { offset, area, pixels } in &self.scene.images {
            layers.push(Layer::Markup(self.document(&self.scene.body[from..*offset])));
            layers.push(Layer::Pixels(pixels, *area));
            from = *offset;
        }
        layers.push(Layer::Markup(self.document(&self.scene.body[from..])));
        layers
    }

    fn document(&self, body: &str) -> String {
        let defs: String = self
            .scene
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
                "{body}</svg>\n",
            ),
            width = self.width,
            height = Number(self.height()),
            w = Number(self.size.width),
            h = Number(self.size.height),
            title = escaped(&self.title),
            description = escaped(&self.description),
            defs = defs,
            body = body,
        )
    }
}

/// A part of a drawing.
pub(super) enum Layer<'a> {
    /// An SVG document.
    Markup(String),
    /// Pixels, and the area that they are drawn over.
    Pixels(&'a Pixmap, Rect),
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
pub(super) fn escaped(text: &str) -> String {
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
