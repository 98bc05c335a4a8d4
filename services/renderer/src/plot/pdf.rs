//! From a drawing to PDF.

use svg2pdf::{ConversionOptions, PageOptions};
use usvg::{Options, Tree};

use super::scene::Drawing;
use crate::plot::PlotError;

/// Returns `drawing` as a PDF file of one page, of shapes; pixels within it stay pixels. 96 pixels make an inch.
pub(super) fn pdf(drawing: &Drawing) -> Result<Vec<u8>, PlotError> {
    let svg = drawing.svg()?;
    let tree = Tree::from_str(&svg, &Options::default()).map_err(|source| PlotError::Svg(Box::new(source)))?;
    let page = PageOptions { dpi: 96.0 };
    svg2pdf::to_pdf(&tree, ConversionOptions::default(), page)
        .map_err(|source| PlotError::Pdf { reason: source.to_string() })
}
