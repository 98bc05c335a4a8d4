//! Lists in pages.

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    size: u32,
    after: Option<String>,
}

/// A part of a list, in the order of the ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `after` of the next page; none on the last one.
    pub next: Option<String>,
}

impl Page {
    const DEFAULT: u32 = 100;
    const MAX: u32 = 1000;

    /// Returns the page of at most `size` items (0 means 100, more than 1000 means 1000) whose ids come after `after`;
    /// none, or an empty text, for the first page.
    #[must_use]
    pub fn new(size: u32, after: Option<String>) -> Self {
        Self { size, after: after.filter(|after| !after.is_empty()) }
    }

    pub(crate) fn size(&self) -> usize {
        match self.size {
            0 => Self::DEFAULT as usize,
            size => size.min(Self::MAX) as usize,
        }
    }

    pub(crate) fn holds(&self, id: &str) -> bool {
        self.after.as_deref().is_none_or(|after| id > after)
    }
}
