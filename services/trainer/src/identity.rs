//! Ids for runs whose creator gives none.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::SystemTime;

use relief_core::RunId;
use relief_store::rfc3339;

/// Returns an id such as `r-20261123-231501-4f2a`: the time in UTC, so that ids sort by age, and four random digits.
pub(crate) fn chosen(now: SystemTime) -> Option<RunId> {
    // Seeded by the system for every value; that is all the randomness a name needs.
    let random = RandomState::new().build_hasher().finish() as u16;
    text(now, random).parse().ok()
}

fn text(now: SystemTime, random: u16) -> String {
    let digits: String = rfc3339(now).chars().filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at(8);
    format!("r-{date}-{}-{random:04x}", time.get(..6).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn ids_sort_by_their_time() {
        let at = |seconds| text(UNIX_EPOCH + Duration::from_secs(seconds), 0x4f2);
        assert_eq!(at(1_735_689_599), "r-20241231-235959-04f2");
        assert!(at(1_735_689_599) < at(1_735_689_600));
        assert!(chosen(UNIX_EPOCH).is_some_and(|id| id.as_str().starts_with("r-19700101-000000-")));
    }
}
