//! The one place that reads a clock.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Wall time and monotonic time as one value that is handed to whoever needs them.
///
/// [`Clock::virtual_from`] follows the timer of the tokio runtime: with that timer paused, time passes only where the program sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    start: Option<Timestamp>,
}

impl Clock {
    /// The machine's clocks.
    #[allow(clippy::disallowed_methods)]
    pub fn system() -> Self {
        Self { origin: Instant::now(), start: None }
    }

    /// A wall clock that shows `start` now and continues with the runtime's timer.
    #[allow(clippy::disallowed_methods)]
    pub fn virtual_from(start: Timestamp) -> Self {
        Self { origin: Instant::now(), start: Some(start) }
    }

    /// Wall time. It may jump.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Timestamp {
        match self.start {
            None => Timestamp::now(),
            Some(start) => start.saturating_add(signed(self.elapsed())).unwrap_or(Timestamp::MAX),
        }
    }

    /// The monotonic clock: for every span of time that something is decided on.
    #[allow(clippy::disallowed_methods)]
    pub fn monotonic(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    /// Time since this clock was made. It never jumps and never goes back.
    #[allow(clippy::disallowed_methods)]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.origin)
    }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_follows_the_paused_timer() {
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let clock = Clock::virtual_from(start);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now().as_second() - start.as_second(), 90);
        assert_eq!(clock.elapsed().as_secs(), 90);
    }

    #[test]
    fn the_system_clock_goes_on() {
        let clock = Clock::system();
        let before = clock.elapsed();
        assert!(clock.now() > "2020-01-01T00:00:00Z".parse().unwrap());
        assert!(clock.elapsed() >= before);
    }
}
