//! Glances at the newest scrapes, between the looks at windows: what is plain does not wait for a window and its `lag`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Run;
use crate::clock::Clock;
use crate::counts::{Begin, Glances, Series};
use crate::drive::Pace;
use crate::judge::suspect;
use crate::observe::prometheus::Prometheus;

/// Scrapes that a glance asks for: two intervals of each target, one of which may be newer than what it is held against, and what came before.
const SCRAPES: u32 = 4;
/// Where something looks wrong, so many times as often until the next scrape of all: other pods are scraped meanwhile.
const SOONER: u32 = 4;
/// Glances are not taken more often, however often is scraped.
const LEAST: Duration = Duration::from_secs(1);

/// When to glance, and what was seen.
#[derive(Debug, Default)]
pub(super) struct Eye {
    glances: Glances,
    next: Option<Timestamp>,
    /// So many of the next ones come sooner.
    sooner: u32,
}

impl Eye {
    /// Another share: its first scrapes are to come.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

/// Seconds of raw samples that a glance asks for.
pub(super) fn seconds(prometheus: &Prometheus) -> u64 {
    (prometheus.scrape_interval() * SCRAPES).as_secs_f64().ceil() as u64 + 1
}

/// End and span of what the look at `at` asks for: where it is asked for in time and there are glances, up to `now`, so that the newest
/// scrapes are in the answer too.
pub(super) fn along(
    prometheus: &Prometheus,
    glances: bool,
    [at, now]: [Timestamp; 2],
    [span, interval]: [Duration; 2],
) -> (Timestamp, Duration) {
    let late = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    if !glances || late > prometheus.lag() + interval / 2 {
        return (at, span);
    }
    (now, (span + late).max(Duration::from_secs(seconds(prometheus))))
}

impl Run {
    /// How long until the next glance; `None`: there is nothing to glance at.
    pub(super) fn glance_in(&self, prometheus: &Prometheus, clock: &Clock) -> Option<Duration> {
        let since = self.ledger.since().filter(|_| self.ledger.glances(prometheus.scrape_interval()))?;
        let longest = signed(prometheus.scrape_interval() * SCRAPES);
        // No scrape before can show anything. A clock that was set back delays nothing.
        let first = since.saturating_add(signed(prometheus.scrape_interval())).unwrap_or(since);
        let wait = self.eye.next.unwrap_or(first).duration_since(clock.now()).min(longest);
        Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
    }

    /// How long until the next look can be asked for, as far as that is known: at least a moment.
    pub(super) fn until_look(&self, prometheus: &Prometheus, clock: &Clock) -> Duration {
        let pace = Pace { interval: self.interval(prometheus), scrape: prometheus.scrape_interval() };
        let (now, newest) = (clock.now(), clock.now().saturating_sub(prometheus.lag()).unwrap_or(Timestamp::MIN));
        let due = self.ledger.clone().due(pace, newest, now).at;
        Duration::try_from(due.duration_since(newest)).unwrap_or_default().max(LEAST)
    }

    /// Takes what came at `now`. True if it fails the rollout. A glance that is not answered is no problem: the looks at windows say so.
    pub(super) fn glance(&mut self, series: Result<&[Series], ()>, pause: Duration, now: Timestamp, prometheus: &Prometheus) -> bool {
        let scrape = prometheus.scrape_interval();
        let later = |wait: Duration| now.saturating_add(signed(wait)).ok();
        self.eye.next = later(scrape.max(LEAST).max(pause));
        let (Ok(series), Some(found), Some(since)) = (series, &self.found, self.ledger.since()) else { return false };
        let scope = found.scope(self.ledger.brief(), true);
        let (glance, next) = self.eye.glances.take(series, &scope, Begin { since, scrape }, now);
        self.eye.next = later(LEAST).max(Some(next));
        self.eye.sooner = if glance.as_ref().is_some_and(suspect) { SOONER } else { self.eye.sooner.saturating_sub(1) };
        if self.eye.sooner > 0 {
            self.eye.next = self.eye.next.min(later((scrape / SOONER).max(LEAST)));
        }
        let Some(glance) = glance else { return false };
        let failed = self.ledger.glance(&glance);
        tracing::debug!(namespace = self.ledger.brief().namespace, rollout = self.ledger.brief().name, ?glance, failed, "glance");
        failed
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
