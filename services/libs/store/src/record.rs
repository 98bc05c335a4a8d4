//! Small JSON records: what makes a thing exist, and what is listed.

use std::str::FromStr;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::layout;
use crate::object::N_CONCURRENT;
use crate::page::{Listing, Page};
use crate::store::Store;

pub(crate) fn to_json(field: &str, record: &impl Serialize) -> Result<Bytes, StoreError> {
    let mut json = serde_json::to_vec_pretty(record).map_err(|error| StoreError::invalid(field, error))?;
    json.push(b'\n');
    Ok(json.into())
}

pub(crate) fn from_json<T: DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|error| StoreError::corrupt(path, error))
}

impl Store {
    /// The record at `path`, or none.
    pub(crate) async fn find_record<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, StoreError> {
        self.objects.get(path).await?.map(|json| from_json(path, &json)).transpose()
    }

    /// Commits the thing called `name` by putting its record, or takes back what was put for it below `prefix`.
    ///
    /// Only for use under the lock on changes: the prefix then holds nothing but this thing's own objects.
    pub(crate) async fn commit(
        &self,
        name: &str,
        prefix: &Path,
        record: &Path,
        json: Bytes,
        puts: Vec<(Path, Bytes)>,
    ) -> Result<(), StoreError> {
        let mut created = Ok(());
        for (path, bytes) in puts {
            created = self.objects.put(&path, bytes).await;
            if created.is_err() {
                break;
            }
        }
        let committed = match created {
            Ok(()) => self.objects.put_new(record, json).await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(true) => Ok(()),
            // Another process was first; what lies there is its own by now.
            Ok(false) => Err(StoreError::already_exists(name)),
            Err(error) => {
                // Where a record has come to be after all, what lies there belongs to it. The first error tells why; a
                // second one, of the same backend, would not help.
                if matches!(self.objects.exists(record).await, Ok(false)) {
                    let _ = self.objects.delete_below(prefix).await;
                }
                Err(error)
            }
        }
    }

    /// Replaces a record after putting what it newly speaks of, or takes that back.
    ///
    /// Only for use under the lock on changes.
    pub(crate) async fn replace(&self, record: &Path, json: Bytes, puts: Vec<(Path, Bytes)>) -> Result<(), StoreError> {
        let paths: Vec<Path> = puts.iter().map(|(path, _)| path.clone()).collect();
        let replaced = async {
            for (path, bytes) in puts {
                self.objects.put(&path, bytes).await?;
            }
            self.objects.put(record, json).await
        };
        if let Err(error) = replaced.await {
            for path in &paths {
                // The first error tells why; a second one, of the same backend, would not help.
                let _ = self.objects.delete(path).await;
            }
            return Err(error);
        }
        Ok(())
    }

    /// Deletes the thing called `name`: its record first, with which it is gone, then everything below `prefix`.
    pub(crate) async fn delete_committed(
        &self,
        name: impl ToString,
        prefix: &Path,
        record: &Path,
    ) -> Result<(), StoreError> {
        let _change = self.change().await;
        if !self.objects.exists(record).await? {
            return Err(StoreError::not_found(name));
        }
        self.objects.delete(record).await?;
        self.objects.delete_below(prefix).await
    }

    /// A page of the things in a collection that have a record, in the order of their ids.
    pub(crate) async fn list_records<I: FromStr, T>(
        &self,
        collection: &'static str,
        page: &Page,
        path_of: impl Fn(&I) -> Path,
        read: impl Fn(I, &Path, &[u8]) -> Result<T, StoreError>,
    ) -> Result<Listing<T>, StoreError> {
        let get = |id: I| {
            let path = path_of(&id);
            async move { Ok(self.objects.get(&path).await?.map(|json| (id, path, json))) }
        };
        let Listing { items, next } = self.list_things(collection, page, "", get).await?;
        let items = items.into_iter().map(|(id, path, json)| read(id, &path, &json)).collect::<Result<_, _>>()?;
        Ok(Listing { items, next })
    }

    /// A page of the things in a collection, in the order of their ids. What lies there has the name of its id
    /// and `suffix`, `get` reads it; names that are no ids and things of which there is nothing to get are left out.
    pub(crate) async fn list_things<I: FromStr, T, F>(
        &self,
        collection: &'static str,
        page: &Page,
        suffix: &'static str,
        get: impl Fn(I) -> F,
    ) -> Result<Listing<T>, StoreError>
    where
        F: Future<Output = Result<Option<T>, StoreError>>,
    {
        let names = self.objects.list_children(&layout::collection(collection)).await?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(suffix)).filter(|id| page.holds(id));
        let mut ids: Vec<(String, I)> = ids.filter_map(|text| Some((text.to_owned(), text.parse().ok()?))).collect();
        // The order of the names is not that of the ids where a suffix was cut off.
        ids.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        let gets: Vec<_> = ids.into_iter().map(|(text, id)| (text, get(id))).collect();
        let mut things = futures::stream::iter(gets)
            .map(|(text, got)| async move { Ok::<_, StoreError>((text, got.await?)) })
            .buffered(N_CONCURRENT);
        let mut listing = Listing { items: Vec::new(), next: None };
        let mut last = None;
        while let Some((text, thing)) = things.try_next().await? {
            let Some(thing) = thing else { continue };
            if listing.items.len() == page.size() {
                listing.next = last;
                break;
            }
            listing.items.push(thing);
            last = Some(text);
        }
        Ok(listing)
    }
}
