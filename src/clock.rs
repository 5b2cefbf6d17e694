//! The only place that reads the time. Everything else gets it as an argument.

use std::time::Instant;

use jiff::Timestamp;

/// Reads the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The wall clock: for people, and for what others must be able to read. It may jump.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The monotonic clock: for every span of time that something is decided on.
    #[allow(clippy::disallowed_methods)]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
