//! How many questions at once a server takes: half as many when it says that it is busy, and slowly more again when it answers.

use std::time::Duration;

/// The present limit.
#[derive(Debug)]
pub(super) struct Pace {
    most: f64,
    limit: f64,
    /// When it was cut last. What was sent before that says nothing new.
    cut: Option<Duration>,
    /// How often it was, since the last answer.
    cuts: u32,
    /// Nothing is sent before.
    until: Duration,
}

/// Shortest pause after a refusal; twice as long after each further one without an answer in between, up to the other.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

impl Pace {
    pub(super) fn new(most: u32) -> Self {
        Self { most: f64::from(most), limit: f64::from(most), cut: None, cuts: 0, until: Duration::ZERO }
    }

    /// At least one.
    pub(super) fn limit(&self) -> u32 {
        // From 1 to `most`: the cast is exact.
        self.limit.floor() as u32
    }

    /// One more for as many answers as are in flight at once.
    pub(super) fn grow(&mut self) {
        self.cuts = 0;
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
    }

    /// The server is busy. `sent` is when the question was sent.
    pub(super) fn cut(&mut self, sent: Duration, pause: Duration, now: Duration) {
        if self.cut.is_none_or(|cut| sent > cut) {
            (self.limit, self.cut, self.cuts) = ((self.limit / 2.0).max(1.0), Some(now), self.cuts.saturating_add(1));
        }
        let own = SHORTEST.saturating_mul(1 << self.cuts.saturating_sub(1).min(10)).min(LONGEST);
        self.until = self.until.max(now + pause.max(own));
    }

    /// How long nothing is sent from now on; `None`: it may be.
    pub(super) fn pause(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }
}
