//! Times and durations.

use std::time::{Duration, SystemTime};

/// Returns `time` as a message.
#[must_use]
pub fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// Returns an RFC 3339 text as a message, or none when it is not one.
#[must_use]
pub fn timestamp_from_text(text: &str) -> Option<prost_types::Timestamp> {
    text.parse().ok()
}

/// Returns `time` as RFC 3339 in UTC, as stored in records.
#[must_use]
pub fn text(time: SystemTime) -> String {
    prost_types::Timestamp::from(time).to_string()
}

/// Returns a duration in seconds as a message; none when it is negative, not finite, or beyond a century.
#[must_use]
pub fn duration(seconds: f64) -> Option<prost_types::Duration> {
    const CENTURY: f64 = 3.2e9;
    if !(0.0..CENTURY).contains(&seconds) {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok().and_then(|duration| duration.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(timestamp_from_text(&text(time)), Some(timestamp(time)));
        assert_eq!(timestamp_from_text("yesterday"), None);
    }

    #[test]
    fn durations_that_mean_nothing_are_absent() {
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert_eq!(duration(seconds), None);
        }
        assert_eq!(duration(1.5).map(|d| (d.seconds, d.nanos)), Some((1, 500_000_000)));
    }
}
