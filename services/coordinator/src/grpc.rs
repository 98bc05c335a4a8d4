//! The wire: convert, call, convert.

mod catalog;
mod surface;

pub(crate) use catalog::CatalogHandler;
pub(crate) use surface::SurfaceHandler;
