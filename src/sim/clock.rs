//! One clock for everything simulated: a start time plus what tokio's clock says has passed since. Under tokio's paused time the whole
//! world runs in virtual time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The simulated world's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Timestamp,
    origin: Instant,
}

impl Clock {
    /// A clock that shows `start` now.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, origin: Instant::now() }
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        self.start + SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::ZERO)
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(&self) -> i64 {
        self.now().as_millisecond()
    }

    /// Time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A time as Kubernetes writes it: RFC 3339 with whole seconds.
pub(crate) fn seconds_text(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}
