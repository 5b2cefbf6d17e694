//! Stable's past, for the judge's margins and dispersion: its last hour whole, and up to twelve hours of what is watched, from the newest
//! backwards, one question after the other. What was read is kept whatever happens to the next question, which is asked again later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::{Who, names};
use super::preflight::Found;
use crate::counts::{Family, History, Reading, Sample, chosen, past};
use crate::judge::{Past, most_windows, recent_windows};
use crate::observe::prometheus::{Prometheus, QueryError};
use crate::plan::Metric;
use crate::seen::Brief;

/// How far back noise is looked for.
const BACK: Duration = Duration::from_secs(12 * 3600);
/// An answer holds about so many samples: some megabytes, which a server reads in a moment.
const SAMPLES: f64 = 60_000.0;
/// Series of a pod, before any was read: three codes, and twenty buckets of two of them.
const SERIES: f64 = 43.0;
/// By how much a question may be longer than the one before.
const GROWTH: f64 = 4.0;
const PODS: usize = 20;
/// Where nothing was scraped for so long, nothing older is looked for.
const GAP: SignedDuration = SignedDuration::from_mins(30);
/// Not answered so often in a row, the reading ends with what there is.
const MOST_FAILURES: u32 = 6;

/// Windows of stable by pod, oldest first.
type Windows = Vec<BTreeMap<String, Sample>>;

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// End of its newest window.
    end: Timestamp,
    interval: Duration,
    windows: u32,
    pods: Vec<String>,
    /// Buckets of request durations; none named: all.
    bounds: Vec<String>,
}

/// What was there.
#[derive(Debug)]
pub(super) struct Piece {
    windows: Windows,
    /// How the buckets of request durations are written.
    bounds: BTreeSet<String>,
    samples: usize,
    oldest: Option<Timestamp>,
}

/// What a failure means for the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// A shorter question is asked at once.
    Shorter,
    /// The same is asked later.
    Later,
    /// What was read must do.
    Ends,
}

/// How far the past was read.
#[derive(Debug)]
pub(super) struct Reader {
    interval: Duration,
    by_pod: bool,
    pods: Vec<String>,
    /// Windows of one question, and how many are not too much.
    each: u32,
    longest: u32,
    /// End of the newest window not read yet; `None`: there is nothing more to read.
    end: Option<Timestamp>,
    /// Windows asked for so far.
    asked: usize,
    /// Those of the last hour, until they are all there.
    recent: Windows,
    past: Option<Past>,
    bounds: BTreeSet<String>,
    failures: u32,
}

impl Reader {
    /// Reads windows that end at `end` and before.
    pub(super) fn new(prometheus: &Prometheus, found: &Found, brief: &Brief, interval: Duration, end: Timestamp) -> Self {
        let pods = chosen(names(&brief.stable), PODS);
        let scrapes = (interval.as_secs_f64() / prometheus.scrape_interval().as_secs_f64()).max(1.0);
        let each = whole(SAMPLES / (pods.len().max(1) as f64 * SERIES * scrapes)).max(1);
        let (by_pod, end) = (found.by_pod, Some(end));
        let (recent, bounds) = (Windows::new(), BTreeSet::new());
        Self { interval, by_pod, pods, each, longest: u32::MAX, end, asked: 0, recent, past: None, bounds, failures: 0 }
    }

    /// The next question; `None`: all was asked.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let seconds = self.interval.as_secs_f64();
        let all = whole(BACK.as_secs_f64() / seconds.max(0.1)).max(1) as usize;
        let recent = recent_windows(seconds).min(all);
        let most = if self.past.is_some() { all.min(most_windows(seconds)) } else { recent };
        let left = u32::try_from(most.saturating_sub(self.asked)).unwrap_or(u32::MAX);
        let bounds = self.past.as_ref().map(|past| spelled(&self.bounds, &past.watched_bounds())).unwrap_or_default();
        let end = self.end.filter(|_| left > 0)?;
        Some(Wanted { end, interval: self.interval, windows: self.each.min(left), pods: self.pods.clone(), bounds })
    }

    /// Takes the answer to `wanted`; `None`: there was nothing, or more than can be taken.
    pub(super) fn take(&mut self, wanted: &Wanted, piece: Option<Piece>, metrics: &[Metric]) {
        self.failures = 0;
        self.end = None;
        if let Some(piece) = piece {
            let begin = before(wanted.end, wanted.interval * wanted.windows);
            let gap = |begin: &Timestamp| piece.oldest.is_none_or(|oldest| oldest.duration_since(*begin) > GAP);
            self.end = begin.filter(|begin| !gap(begin));
            self.asked += wanted.windows as usize;
            self.bounds.extend(piece.bounds);
            let fits = f64::from(wanted.windows) * (SAMPLES / piece.samples.max(1) as f64).min(GROWTH);
            self.each = whole(fits).clamp(1, self.longest);
            match &mut self.past {
                Some(past) => past.add_older(&piece.windows),
                None => drop(self.recent.splice(0..0, piece.windows)),
            }
        }
        if self.past.is_none() && self.wanted().is_none() {
            self.past = Some(self.recent(metrics));
        }
    }

    /// The question was not answered. `begun`: the canary has a share already, and is judged with what there is.
    pub(super) fn failed(&mut self, error: &QueryError, begun: bool) -> Failed {
        let shorter = self.each > 1;
        self.each = (self.each / 2).max(1);
        if error.is_too_much() {
            self.longest = self.each;
            return if shorter { Failed::Shorter } else { Failed::Ends };
        }
        self.failures += 1;
        if (self.asked > 0 || begun) && (error.would_come_again() || self.failures >= MOST_FAILURES) { Failed::Ends } else { Failed::Later }
    }

    /// Whether windows of the last hour are in memory, one by one, until they are all there: some megabytes of a version with many pods.
    pub(super) fn holds(&self) -> bool {
        !self.recent.is_empty()
    }

    /// How the buckets of request durations are written.
    pub(super) fn bounds(&self) -> &BTreeSet<String> {
        &self.bounds
    }

    /// All that was read.
    pub(super) fn past(&mut self, metrics: &[Metric]) -> Past {
        tracing::debug!(windows = self.asked, "stable's past was read");
        self.past.take().unwrap_or_else(|| self.recent(metrics))
    }

    fn recent(&mut self, metrics: &[Metric]) -> Past {
        let windows = std::mem::take(&mut self.recent);
        Past::new(metrics, &History { interval_seconds: self.interval.as_secs_f64(), windows, by_pod: self.by_pod })
    }
}

/// How these bounds, and the last of all, are written: as they were `seen`, and as the other generation of Prometheus writes whole numbers.
pub(super) fn spelled(seen: &BTreeSet<String>, bounds: &[f64]) -> Vec<String> {
    if bounds.is_empty() {
        return Vec::new();
    }
    let wanted = |text: &&String| text.parse::<f64>().is_ok_and(|bound| bound.is_infinite() || bounds.contains(&bound));
    let other = |text: &String| match text.strip_suffix(".0") {
        Some(whole) => Some(whole.to_owned()),
        None => text.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{text}.0")),
    };
    seen.iter().filter(wanted).flat_map(|text| [Some(text.clone()), other(text)]).flatten().collect()
}

/// Asks. `None`: there is nothing more, or more than can be taken.
pub(super) async fn read(prometheus: &Prometheus, found: &Found, brief: &Brief, wanted: &Wanted) -> Result<Option<Piece>, QueryError> {
    let Wanted { end, interval, windows, pods, bounds } = wanted;
    let mut scope = found.scope(brief, false);
    scope.pods.retain(|name, _| pods.contains(name));
    let who = Who::Stable { pods: pods.clone(), bounds: bounds.clone() };
    let ends: Vec<Timestamp> = (0..=*windows).rev().filter_map(|back| before(*end, *interval * back)).collect();
    let seconds = (*interval * (windows + 1)).as_secs_f64().ceil() as u64;
    let reading = found.read(prometheus, brief, &who, seconds, *end).await?;
    let samples = reading.families.iter().flat_map(|(_, series)| series).map(|series| series.samples.len()).sum();
    if samples == 0 {
        return Ok(None);
    }
    let oldest = reading.families.iter().flat_map(|(_, series)| series).filter_map(|series| Some(series.samples.first()?.0)).min();
    let bounds = written_bounds(&reading);
    let windows = past(&reading, &scope, &ends, &brief.analysis.metrics, found.by_pod).ok();
    Ok(windows.map(|windows| Piece { windows, bounds, samples, oldest }))
}

pub(super) fn written_bounds(reading: &Reading) -> BTreeSet<String> {
    let latency = reading.families.iter().filter(|(family, _)| *family == Family::Latency).flat_map(|(_, series)| series);
    latency.map(|series| series.label("le").to_owned()).collect()
}

fn whole(number: f64) -> u32 {
    // A float cast saturates.
    number.floor() as u32
}

fn before(time: Timestamp, by: Duration) -> Option<Timestamp> {
    time.checked_sub(by).ok()
}
