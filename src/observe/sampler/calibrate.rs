//! Stable's past, for the judge's margins and dispersion: its last hour whole, and up to twelve hours of what is watched, from the newest
//! backwards, one query after the other, until there is no more, or no more time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::ask::{Who, names};
use super::preflight::Found;
use crate::clock::Clock;
use crate::counts::{Family, History, Reading, Sample, chosen, past};
use crate::judge::{Past, most_windows, recent_windows};
use crate::observe::prometheus::{Prometheus, QueryError};
use crate::seen::Brief;

/// How far back noise is looked for.
const BACK: Duration = Duration::from_secs(12 * 3600);
/// Longest stretch of one query, and how many scrapes it may hold.
const STRETCH: Duration = Duration::from_secs(1800);
const SCRAPES: u32 = 120;
const PODS: usize = 20;
/// The rollout waits for this: what has come by then must do.
const BUDGET: Duration = Duration::from_secs(60);

/// Windows of stable by pod, oldest first.
type Windows = Vec<BTreeMap<String, Sample>>;

/// Reads backwards from one window's end to the next.
struct Reader<'a> {
    prometheus: &'a Prometheus,
    found: &'a Found,
    brief: &'a Brief,
    interval: Duration,
    pods: Vec<String>,
    /// Windows of one query; fewer where that was too much.
    each: u32,
    /// End of the newest window not read yet.
    end: Timestamp,
    /// How the buckets of request durations are written.
    bounds: BTreeSet<String>,
    clock: &'a Clock,
    /// When the reading ends, on the monotonic clock.
    until: Duration,
}

/// Pause after a question that was not answered; longer where the next ones are not answered either, or the server says so.
const PAUSE: Duration = Duration::from_millis(500);
/// Not answered so often in a row, the reading ends with what there is.
const MOST_FAILURES: u32 = 6;

/// Stable's windows that end at `end` and before. What was read is kept whatever happens to the next question; an error comes only where
/// nothing was read at all.
pub(super) async fn history(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    interval: Duration,
    end: Timestamp,
    clock: &Clock,
) -> Result<Past, QueryError> {
    let began = clock.elapsed();
    let pods = chosen(names(&brief.stable), PODS);
    let stretch = (prometheus.scrape_interval() * SCRAPES).clamp(Duration::from_secs(60), STRETCH);
    let each = whole(stretch, interval).max(1);
    let until = began + BUDGET;
    let mut reader = Reader { prometheus, found, brief, interval, pods, each, end, bounds: BTreeSet::new(), clock, until };
    let all = whole(BACK, interval).max(1) as usize;
    let recent = recent_windows(interval.as_secs_f64()).min(all);
    let in_time = || clock.elapsed().saturating_sub(began) < BUDGET;

    let mut windows: Windows = Vec::new();
    let mut asked = 0;
    while asked < recent && in_time() {
        match reader.next(recent - asked, &[]).await {
            Ok(Some((older, count))) => {
                asked += count;
                windows.splice(0..0, older);
            }
            Ok(None) => break,
            Err(error) if asked == 0 => return Err(error),
            Err(error) => {
                tracing::debug!(namespace = brief.namespace, rollout = brief.name, %error, "stable's last hour was not read to its end");
                break;
            }
        }
    }
    let whole = asked >= recent;
    let history = History { interval_seconds: interval.as_secs_f64(), windows, by_pod: found.by_pod };
    let mut past = Past::new(&brief.analysis.metrics, &history);
    drop(history);

    let watched = reader.written(&past.watched_bounds());
    let most = all.min(most_windows(interval.as_secs_f64()));
    while whole && asked < most && in_time() {
        match reader.next(most - asked, &watched).await {
            Ok(Some((older, count))) => {
                asked += count;
                past.add_older(&older);
            }
            Ok(None) => break,
            // The last hour is there: what else there is can be done without.
            Err(error) => {
                tracing::debug!(namespace = brief.namespace, rollout = brief.name, %error, "stable's older windows were not read to their end");
                break;
            }
        }
    }
    tracing::debug!(namespace = brief.namespace, rollout = brief.name, windows = asked, "stable's past was read");
    Ok(past)
}

impl Reader<'_> {
    /// The next windows backwards, at most so many, and how many were asked for. Of request durations only buckets written so, unless none
    /// are named. `None`: there is nothing more, or more than can be taken.
    async fn next(&mut self, most: usize, bounds: &[String]) -> Result<Option<(Windows, usize)>, QueryError> {
        let mut scope = self.found.scope(self.brief, false);
        scope.pods.retain(|name, _| self.pods.contains(name));
        let who = Who::Stable { pods: self.pods.clone(), bounds: bounds.to_vec() };
        let mut failures = 0;
        loop {
            let count = self.each.min(u32::try_from(most).unwrap_or(u32::MAX));
            let ends: Vec<Timestamp> = (0..=count).rev().filter_map(|back| before(self.end, self.interval * back)).collect();
            let seconds = (self.interval * (count + 1)).as_secs_f64().ceil() as u64;
            let reading = match self.found.read(self.prometheus, self.brief, &who, seconds, self.end).await {
                Ok(reading) => reading,
                // More than the server or we can take at once: a shorter stretch, or what there is.
                Err(error) if error.is_too_much() && self.each > 1 => {
                    self.each = (self.each / 2).max(1);
                    continue;
                }
                Err(error) if error.is_too_much() => return Ok(None),
                Err(error) => {
                    failures += 1;
                    let pause = (PAUSE * (1 << failures.min(6))).max(error.pause().unwrap_or_default());
                    if error.would_come_again() || failures == MOST_FAILURES || self.clock.elapsed() + pause > self.until {
                        return Err(error);
                    }
                    // The same windows again, in smaller pieces: a busy server answers those first.
                    self.each = (self.each / 2).max(1);
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            if reading.families.iter().all(|(_, series)| series.is_empty()) {
                return Ok(None);
            }
            self.note_bounds(&reading);
            let Ok(windows) = past(&reading, &scope, &ends, &self.brief.analysis.metrics, self.found.by_pod) else { return Ok(None) };
            let Some(next) = before(self.end, self.interval * count) else { return Ok(None) };
            self.end = next;
            return Ok(Some((windows, count as usize)));
        }
    }

    fn note_bounds(&mut self, reading: &Reading) {
        let latency = reading.families.iter().filter(|(family, _)| *family == Family::Latency).flat_map(|(_, series)| series);
        self.bounds.extend(latency.map(|series| series.label("le").to_owned()));
    }

    /// How these bounds, and the last of all, are written: as they were seen, and as the other generation of Prometheus writes whole numbers.
    fn written(&self, bounds: &[f64]) -> Vec<String> {
        if bounds.is_empty() {
            return Vec::new();
        }
        let wanted = |text: &&String| text.parse::<f64>().is_ok_and(|bound| bound.is_infinite() || bounds.contains(&bound));
        let seen = self.bounds.iter().filter(wanted);
        let other = |text: &String| match text.strip_suffix(".0") {
            Some(whole) => Some(whole.to_owned()),
            None => text.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{text}.0")),
        };
        seen.flat_map(|text| [Some(text.clone()), other(text)]).flatten().collect()
    }
}

fn whole(of: Duration, part: Duration) -> u32 {
    // Small and not negative: the cast is exact.
    (of.as_secs_f64() / part.as_secs_f64().max(0.1)).floor() as u32
}

fn before(time: Timestamp, by: Duration) -> Option<Timestamp> {
    time.checked_sub(by).ok()
}
