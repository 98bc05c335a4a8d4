//! The runs of the store, newest first.

use relief_api::ApiError;
use relief_core::RunId;
use relief_store::{Page, Store, StoreError};

use crate::record::RunRecord;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;

/// Which part of the list. A token is the time and the id of the last run of the page before: `TIME/ID`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunPage {
    size: usize,
    after: Option<(String, RunId)>,
}

impl RunPage {
    /// Returns the page of at most `size` runs (0 means 100, more than 1000 means 1000) after the one that gave `token`.
    ///
    /// # Errors
    /// When the token is not one.
    pub(crate) fn new(size: u32, token: &str) -> Result<Self, ApiError> {
        let size = if size == 0 { DEFAULT_SIZE } else { (size as usize).min(MAX_SIZE) };
        if token.is_empty() {
            return Ok(Self { size, after: None });
        }
        let refuse =
            || ApiError::field("page_token", format!("`{token}` is not the next_page_token of a page of runs"));
        let (created, id) = token.split_once('/').filter(|(created, _)| !created.is_empty()).ok_or_else(refuse)?;
        Ok(Self { size, after: Some((created.to_owned(), id.parse().map_err(|_| refuse())?)) })
    }

    fn holds(&self, record: &RunRecord) -> bool {
        self.after.as_ref().is_none_or(|(created, id)| (&record.created, &record.id) < (created, id))
    }
}

/// Returns the runs of a page, and the token of the next one if there is one.
pub(crate) async fn newest_first(
    store: &Store,
    page: &RunPage,
) -> Result<(Vec<RunRecord>, Option<String>), StoreError> {
    let mut newest: Vec<RunRecord> = Vec::new();
    let mut after = None;
    // The store lists by id, so every record has to be seen; no more are held than one page more.
    loop {
        let listing = store.list_runs::<RunRecord>(&Page::new(MAX_SIZE as u32, after)).await?;
        newest.extend(listing.items.into_iter().map(|(_, record)| record).filter(|record| page.holds(record)));
        newest.sort_by(|a, b| (&b.created, &b.id).cmp(&(&a.created, &a.id)));
        newest.truncate(page.size + 1);
        after = listing.next;
        if after.is_none() {
            break;
        }
    }
    let has_more = newest.len() > page.size;
    newest.truncate(page.size);
    let last = newest.last().filter(|_| has_more);
    let token = last.map(|record| format!("{}/{}", record.created, record.id.as_str()));
    Ok((newest, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::record;

    #[tokio::test]
    async fn pages_hold_every_run_once_newest_first() {
        let store = Store::open("memory://").expect("a store");
        for (id, second) in [("c", 1), ("a", 3), ("b", 3), ("z", 0), ("d", 2)] {
            let record = RunRecord { created: format!("2026-01-01T00:00:0{second}.000Z"), ..record(id) };
            store.create_run(&record.id, &record).await.expect("a new run");
        }
        let (mut ids, mut token) = (Vec::new(), String::new());
        for n_expected in [2, 2, 1] {
            let page = RunPage::new(2, &token).expect("a good token");
            let (records, next) = newest_first(&store, &page).await.expect("a page");
            assert_eq!(records.len(), n_expected);
            ids.extend(records.into_iter().map(|record| record.id.as_str().to_owned()));
            token = next.unwrap_or_default();
        }
        assert_eq!(ids, ["b", "a", "d", "c", "z"]);
        assert_eq!(token, "");
    }

    #[test]
    fn a_token_that_no_page_gave_is_refused() {
        for token in ["x", "/a", "2026/..", "2026-01-01T00:00:00.000Z/"] {
            let error = RunPage::new(0, token).expect_err("no token");
            assert_eq!(error.violations[0].field, "page_token", "{token}");
        }
    }
}
