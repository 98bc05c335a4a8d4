//! The history of who leads the coordinators: an entry for each acquisition, renewal and release, each put once.
//!
//! What counts is the entry with the highest number. Who wants to lead, or to go on leading, puts the next one; of two
//! that do, one succeeds. How long an entry holds, and when another may be put after it, is not decided here: nothing
//! here knows the time.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layout;
use crate::object::Placed;
use crate::record::to_json;
use crate::store::Store;

/// How many entries are kept, so that a reader finds the last of those that it listed.
const N_KEPT: usize = 8;

/// How often a reader lists again because the last entry was gone before it was read.
const N_TRIES: usize = 8;

/// An entry of the history of who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number: one more than that of the entry before.
    pub sequence: u64,
    /// How often the lead has changed hands.
    pub epoch: u64,
    /// Who leads; none after a release.
    pub holder: Option<Holder>,
    /// For how long after it was put, to the millisecond.
    #[serde(rename = "duration_ms", with = "milliseconds")]
    pub duration: Duration,
}

/// A process that leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What no other process is called, now or ever.
    pub id: String,
    /// Where clients reach it.
    pub endpoint: String,
    /// By what those on the same machine see whether it is alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessMark>,
}

/// A process of a machine: no two have the same mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// The machine, and since when it runs.
    pub boot_id: String,
    /// The namespace in which the process has its number.
    pub pid_namespace: String,
    /// Its number.
    pub pid: u32,
    /// When it was started, in the machine's own units: numbers are used again.
    pub start_time: u64,
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

impl Store {
    /// The last entry, or none when there never was one.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged.
    pub async fn read_lease(&self) -> Result<Option<Lease>, StoreError> {
        for _ in 0..N_TRIES {
            let Some((sequence, path)) = self.list_leases().await?.pop_last() else { return Ok(None) };
            // Gone by now means that there are later ones.
            let Some(lease) = self.find_record::<Lease>(&path).await? else { continue };
            if lease.sequence != sequence {
                return Err(StoreError::corrupt(path, format!("it says that it is number {}", lease.sequence)));
            }
            return Ok(Some(lease));
        }
        let source = format!("{N_TRIES} times the last entry was gone before it was read").into();
        Err(StoreError::Read { path: layout::leases().to_string(), source })
    }

    /// Puts an entry, and says whether it is the last one now: false when another process was first. A process that was
    /// held up for long may find the place of its entry free again because old ones are removed; it is told by the
    /// later ones that are there, and what it put is taken back.
    ///
    /// # Errors
    /// When the backend fails: the entry may be there then, or not. The same call again tells.
    pub async fn write_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let path = layout::lease(lease.sequence);
        match self.objects.place(&path, to_json("lease", lease)?).await? {
            Placed::New | Placed::Same => {}
            Placed::Other(_) => return Ok(false),
        }
        let mut entries = self.list_leases().await?;
        if entries.last_key_value().is_none_or(|(last, _)| *last > lease.sequence) {
            // What stays of it is older than what counts, and the next entry removes it.
            let _ = self.objects.delete(&path).await;
            return Ok(false);
        }
        while entries.len() > N_KEPT {
            let Some((_, oldest)) = entries.pop_first() else { break };
            // Nothing depends on whether it is there, and the next entry tries again.
            let _ = self.objects.delete(&oldest).await;
        }
        Ok(true)
    }

    async fn list_leases(&self) -> Result<BTreeMap<u64, Path>, StoreError> {
        let paths = self.objects.list(&layout::leases()).await?;
        Ok(paths.into_iter().filter_map(|path| Some((layout::entry_number(&path)?, path))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{another_process, everything, on_every_store};
    use crate::error::StoreErrorKind;

    fn lease(sequence: u64, epoch: u64, holder: &str) -> Lease {
        let process = ProcessMark { boot_id: "b".to_owned(), pid_namespace: "n".to_owned(), pid: 7, start_time: 9 };
        let endpoint = "http://127.0.0.1:1".to_owned();
        let holder = Holder { id: holder.to_owned(), endpoint, process: Some(process) };
        Lease { sequence, epoch, holder: Some(holder), duration: Duration::from_millis(1500) }
    }

    async fn write(store: &Store, lease: &Lease) -> bool {
        store.write_lease(lease).await.expect("a write")
    }

    #[tokio::test]
    async fn the_last_entry_counts() {
        on_every_store(async |store| {
            assert_eq!(store.read_lease().await.expect("a read"), None);
            let released = Lease { holder: None, ..lease(3, 1, "a") };
            for entry in [lease(1, 1, "a"), lease(2, 1, "a"), released, lease(4, 2, "b")] {
                assert!(write(store, &entry).await);
                assert_eq!(store.read_lease().await.expect("a read"), Some(entry));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn an_entry_is_written_in_milliseconds_and_may_lack_the_process() {
        let json = serde_json::to_string(&Lease { holder: None, ..lease(1, 2, "a") }).expect("JSON");
        assert_eq!(json, r#"{"sequence":1,"epoch":2,"holder":null,"duration_ms":1500}"#);
        let json = r#"{"sequence":1,"epoch":2,"holder":{"id":"a","endpoint":"e"},"duration_ms":5}"#;
        let read: Lease = serde_json::from_str(json).expect("a lease");
        assert_eq!(read.holder.and_then(|holder| holder.process), None);
        assert_eq!(read.duration, Duration::from_millis(5));
    }

    #[tokio::test]
    async fn of_two_writers_of_one_number_one_succeeds() {
        on_every_store(async |store| {
            let other = another_process(store);
            for sequence in 1..20 {
                let (left, right) = (lease(sequence, sequence, "a"), lease(sequence, sequence, "b"));
                let (is_left, is_right) = tokio::join!(write(store, &left), write(&other, &right));
                assert!(is_left != is_right);
                let winner = if is_left { left } else { right };
                assert_eq!(store.read_lease().await.expect("a read"), Some(winner));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn an_entry_whose_answer_was_lost_is_there() {
        on_every_store(async |store| {
            assert!(write(store, &lease(1, 1, "a")).await);
            assert!(write(store, &lease(1, 1, "a")).await);
        })
        .await;
    }

    #[tokio::test]
    async fn a_renewal_after_a_takeover_fails() {
        on_every_store(async |store| {
            assert!(write(store, &lease(1, 1, "a")).await);
            assert!(write(store, &lease(2, 2, "b")).await);
            assert!(!write(store, &lease(2, 1, "a")).await);
            // One whose answer was lost, before another took over.
            assert!(!write(store, &lease(1, 1, "a")).await);
            assert_eq!(store.read_lease().await.expect("a read"), Some(lease(2, 2, "b")));
        })
        .await;
    }

    #[tokio::test]
    async fn who_slept_until_its_place_was_free_again_fails_and_leaves_nothing() {
        on_every_store(async |store| {
            for sequence in 1..=20 {
                assert!(write(store, &lease(sequence, 2, "b")).await);
            }
            let before = everything(store).await;
            assert!(!write(store, &lease(2, 1, "a")).await);
            assert_eq!(everything(store).await, before);
            assert_eq!(store.read_lease().await.expect("a read"), Some(lease(20, 2, "b")));
        })
        .await;
    }

    #[tokio::test]
    async fn old_entries_are_removed() {
        on_every_store(async |store| {
            for sequence in 1..=30 {
                assert!(write(store, &lease(sequence, 1, "a")).await);
                assert!(everything(store).await.len() <= N_KEPT);
            }
            let expected: Vec<_> = (23..=30).map(|sequence| layout::lease(sequence).to_string()).collect();
            assert_eq!(everything(store).await, expected);
        })
        .await;
    }

    #[tokio::test]
    async fn a_damaged_entry_is_an_error() {
        on_every_store(async |store| {
            assert!(write(store, &lease(1, 1, "a")).await);
            let displaced = serde_json::to_vec(&lease(3, 1, "a")).expect("JSON");
            for bytes in [b"{".to_vec(), Vec::new(), displaced] {
                store.objects.put(&layout::lease(2), bytes.into()).await.expect("a put");
                let error = store.read_lease().await.expect_err("damaged");
                assert_eq!(error.kind(), StoreErrorKind::Corrupt);
                assert!(error.to_string().contains(layout::lease(2).as_ref()), "{error}");
            }
        })
        .await;
    }
}
