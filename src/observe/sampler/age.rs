//! How old the newest sample is when it is asked for: what `lag` must cover.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::{REQUESTS, Who};
use super::preflight::Found;
use crate::clock::Clock;
use crate::counts::{Reading, Series};
use crate::observe::prometheus::{Newest, Prometheus, QueryError};
use crate::seen::Brief;

/// So far back the newest sample is looked for when a window holds none.
const BACK: u64 = 600;
/// Scrapes without a newer sample after which the store stands still.
const SCRAPES: u32 = 4;

/// Reads the look at `at`: `span` of samples before `end`. Notes the age of the newest one.
pub(super) async fn look(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    who: &Who,
    [span, interval]: [Duration; 2],
    [at, end]: [Timestamp; 2],
    clock: &Clock,
) -> Result<Reading, QueryError> {
    let now = clock.now();
    let reading = found.read(prometheus, brief, who, span.as_secs(), end).await?;
    let noted = note(prometheus, found, brief, interval, &reading, [at, now]).await;
    noted.unwrap_or_else(|error| tracing::debug!(%error, "the age of the newest sample is not known"));
    Ok(reading)
}

/// Notes the age at the provider, where the look at `at` was asked for in time: windows that are caught up with say nothing. `now` is when it
/// was asked for.
async fn note(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    interval: Duration,
    reading: &Reading,
    [at, now]: [Timestamp; 2],
) -> Result<(), QueryError> {
    let in_time = prometheus.lag() + interval / 2;
    if now.duration_since(at) > SignedDuration::try_from(in_time).unwrap_or(SignedDuration::MAX) {
        return Ok(());
    }
    let mut newest = reading.families.iter().filter_map(|(_, series)| newest_of(series)).max();
    if newest.is_none() {
        newest = newest_of(&prometheus.raw(&found.mesh(REQUESTS, brief, &Who::both())?, BACK, now).await?);
    }
    prometheus.note_newest(newest, now);
    Ok(())
}

fn newest_of(series: &[Series]) -> Option<Timestamp> {
    series.iter().filter_map(|series| series.samples.last().map(|(time, _)| *time)).max()
}

/// The lag that would have been enough, in words that go into the configuration; `None` where the present one is. Where no newer sample comes
/// at all, no lag is.
pub(super) fn advice(newest: &Newest, lag: Duration, scrape_interval: Duration) -> Option<String> {
    let age = newest.age();
    // A sample is up to a scrape old before it is late.
    if age <= lag + scrape_interval + Duration::from_secs(1) {
        return None;
    }
    let whole = age.as_secs_f64().ceil() as u64;
    let stood = newest.stood();
    if stood >= SCRAPES * scrape_interval {
        return Some(format!("no newer sample has come for {} s: has the store, or what scrapes for it, stopped?", stood.as_secs()));
    }
    let enough = if whole < 10 { whole + 1 } else { whole.div_ceil(5) * 5 + 5 };
    Some(format!("set `lag: {enough}s`: the newest sample is {whole} s old when asked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(age: f64, stood: f64) -> Newest {
        let asked: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let back = |seconds: f64| asked.saturating_sub(SignedDuration::from_secs_f64(seconds)).unwrap();
        Newest { sample: back(age), since: back(stood), asked }
    }

    #[test]
    fn a_store_that_is_late_is_answered_with_the_lag_to_set() {
        let seconds = Duration::from_secs;
        let late = |age: f64, lag: u64, scrape: u64| advice(&newest(age, 0.0), seconds(lag), seconds(scrape));
        assert_eq!(late(40.0, 20, 15).unwrap(), "set `lag: 45s`: the newest sample is 40 s old when asked");
        assert_eq!(late(6.2, 1, 1).unwrap(), "set `lag: 8s`: the newest sample is 7 s old when asked");
        for age in [1.0, 20.0, 35.0] {
            assert_eq!(late(age, 20, 15), None, "{age}");
        }
    }

    #[test]
    fn a_store_that_stands_still_is_not_answered_with_an_ever_longer_lag() {
        let said = advice(&newest(38.0, 33.0), Duration::from_secs(1), Duration::from_secs(1)).unwrap();
        assert_eq!(said, "no newer sample has come for 33 s: has the store, or what scrapes for it, stopped?");
    }
}
