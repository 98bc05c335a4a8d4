//! What was loaded last, by what it was loaded from.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// The `capacity` most recently used values. Each is loaded once, however many ask for it at the same time; a load
/// that fails is not remembered.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    capacity: usize,
    /// The most recently used last.
    entries: Mutex<Vec<Entry<K, V>>>,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: Arc<OnceCell<Arc<V>>>,
}

impl<K: Clone + PartialEq, V> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    /// Returns the value of `key`, after `load` if it is not there.
    ///
    /// # Errors
    /// When `load` fails.
    pub(crate) async fn get_or_load<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Result<Arc<V>, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = self.touch(key);
        cell.get_or_try_init(|| async { load().await.map(Arc::new) }).await.cloned()
    }

    fn touch(&self, key: &K) -> Arc<OnceCell<Arc<V>>> {
        // Entries are moved whole, so a panic under the lock leaves a list that is good.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match entries.iter().position(|entry| entry.key == *key) {
            Some(place) => entries.remove(place).value,
            None => Arc::default(),
        };
        entries.push(Entry { key: key.clone(), value: Arc::clone(&value) });
        if entries.len() > self.capacity {
            entries.remove(0);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn load(cache: &Cache<u32, u32>, key: u32, n_loads: &AtomicUsize) -> u32 {
        let load = || async {
            n_loads.fetch_add(1, Ordering::Relaxed);
            Ok::<_, ()>(key * 10)
        };
        *cache.get_or_load(&key, load).await.expect("a good load")
    }

    #[tokio::test]
    async fn the_least_recently_used_value_is_dropped() {
        let (cache, n_loads) = (Cache::new(2), AtomicUsize::new(0));
        for key in [1, 2, 1, 3, 1] {
            assert_eq!(load(&cache, key, &n_loads).await, key * 10);
        }
        assert_eq!(n_loads.load(Ordering::Relaxed), 3);
        load(&cache, 2, &n_loads).await;
        assert_eq!(n_loads.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn values_asked_for_at_once_are_loaded_once() {
        let (cache, n_loads) = (Cache::new(2), AtomicUsize::new(0));
        tokio::join!(load(&cache, 1, &n_loads), load(&cache, 1, &n_loads), load(&cache, 1, &n_loads));
        assert_eq!(n_loads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failed_load_is_tried_again() {
        let (cache, n_loads) = (Cache::<u32, u32>::new(2), AtomicUsize::new(0));
        assert_eq!(cache.get_or_load(&1, || async { Err("no") }).await, Err("no"));
        assert_eq!(load(&cache, 1, &n_loads).await, 10);
    }
}
