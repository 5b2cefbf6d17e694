//! Times of windows: the grid that they end on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Status keeps whole seconds: a begin that came back from there is the same.
pub(super) fn same_second(one: Option<Timestamp>, two: Option<Timestamp>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.duration_since(two).abs() < SignedDuration::from_secs(1),
        (one, two) => one == two,
    }
}

/// First point of the grid `base + k interval` after `time`, k from 0.
pub(super) fn after(base: Timestamp, interval: SignedDuration, time: Timestamp) -> Timestamp {
    let passed = time.duration_since(base).as_millis();
    let step = interval.as_millis().max(1);
    let k = if passed < 0 { 0 } else { passed / step + 1 };
    let ahead = i64::try_from(k * step).unwrap_or(i64::MAX);
    base.saturating_add(SignedDuration::from_millis(ahead)).unwrap_or(Timestamp::MAX)
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
