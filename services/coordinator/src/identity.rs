//! Ids for what nobody named.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use relief_core::{Digest, NameError, SurfaceId, TrajectoryId};

/// Returns a new surface id: the time in seconds, so that ids sort by age, and four digits against collisions.
///
/// # Errors
/// Never in practice: the characters are those of an id.
pub(crate) fn new_surface_id(now: SystemTime, nonce: u64) -> Result<SurfaceId, NameError> {
    new_id('s', now, nonce).parse()
}

/// Returns a new trajectory id, of the same form.
///
/// # Errors
/// Never in practice: the characters are those of an id.
pub(crate) fn new_trajectory_id(now: SystemTime, nonce: u64) -> Result<TrajectoryId, NameError> {
    new_id('t', now, nonce).parse()
}

fn new_id(letter: char, now: SystemTime, nonce: u64) -> String {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let unique = [since_epoch.as_nanos().to_le_bytes().as_slice(), &nonce.to_le_bytes(), &process_bytes()].concat();
    let digits = Digest::of(&unique).to_string();
    format!("{letter}{:08x}-{}", since_epoch.as_secs(), &digits[..4])
}

/// Returns the id of the surface that a request of this id makes, so that a repeated request finds it.
///
/// # Errors
/// Never in practice: the characters are those of an id.
pub(crate) fn surface_id_of(request_id: &str) -> Result<SurfaceId, NameError> {
    let digits = Digest::of_parts([b"relief surface request v1".as_slice(), request_id.as_bytes()]).to_string();
    format!("r-{}", &digits[..24]).parse()
}

/// Returns the id of the trajectory that a request of this id makes.
///
/// # Errors
/// Never in practice: the characters are those of an id.
pub(crate) fn trajectory_id_of(request_id: &str) -> Result<TrajectoryId, NameError> {
    let digits = Digest::of_parts([b"relief trajectory request v1".as_slice(), request_id.as_bytes()]).to_string();
    format!("r-{}", &digits[..24]).parse()
}

/// Returns what tells a surface or a trajectory from any other that has the same id, before or after it.
pub(crate) fn incarnation(id: &str, now: SystemTime, nonce: u64) -> String {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_le_bytes();
    let unique = [id.as_bytes(), &since_epoch, &nonce.to_le_bytes(), process_id().as_bytes()].concat();
    Digest::of(&unique).to_string()[..16].to_owned()
}

/// What tells this process from any other, on whatever machine.
pub(crate) fn process_id() -> String {
    // Keyed by the system's random numbers, once for each process.
    static ID: LazyLock<String> = LazyLock::new(|| {
        let random = || RandomState::new().build_hasher().finish();
        format!("{:016x}{:016x}", random(), random())
    });
    ID.clone()
}

fn process_bytes() -> [u8; 4] {
    std::process::id().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_that_is_repeated_has_the_same_id() {
        let id = |request: &str| surface_id_of(request).expect("an id");
        assert_eq!(id("a"), id("a"));
        assert_ne!(id("a"), id("b"));
        assert!(surface_id_of("../\n\u{1f4a5}").is_ok(), "whatever the request is called");
    }

    #[test]
    fn ids_sort_by_age_and_differ() {
        let at = |seconds, nonce| {
            new_surface_id(UNIX_EPOCH + Duration::from_secs(seconds), nonce).expect("a good id").to_string()
        };
        assert!(at(1_800_000_000, 0) < at(1_800_000_001, 0));
        assert_ne!(at(1_800_000_000, 0), at(1_800_000_000, 1));
    }
}
