//! Requests that no workload answered: no endpoint, no connection, no route, a subset that no proxy knows. Istio counts them at the sender
//! alone, and with no workload. Here they are read series by series; whose they are is decided in [`Blame`].

mod blame;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Labels, Series, is_error};

pub use blame::{Blame, Charge, Seen};

/// Response flags of Envoy with which no workload ever saw the request: no healthy upstream, connection failure, overflow of a circuit
/// breaker, no route, no cluster, DNS. With `URX` the retries failed as well.
pub const NOT_REACHED: [&str; 9] = ["UH", "UF", "UO", "NR", "NC", "DF", "UH,URX", "UF,URX", "UO,URX"];

/// Looks that are remembered: as many as are ever asked for again.
const MOST_LOOKS: usize = 256;
/// Series that are remembered, and for how long after they were last seen.
const MOST_SERIES: usize = 20_000;
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// Requests by response flags.
pub type ByFlags = BTreeMap<String, u64>;

/// Keeps the last value of each series, so that what came between two looks can be counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unanswered {
    last: BTreeMap<Labels, (Timestamp, f64)>,
    /// What each look found new, oldest first.
    looks: VecDeque<(Timestamp, ByFlags)>,
    /// There was a look: a series that comes after it began at zero.
    read: bool,
}

impl Unanswered {
    /// Takes what was read at `at`. The first look only shows where counting continues from.
    pub fn look(&mut self, all: &[Series], at: Timestamp) {
        let mut found = ByFlags::new();
        for series in all.iter().filter(|series| is_error(&series.labels)) {
            let Some((time, value)) = series.samples.iter().rev().find(|(time, value)| *time <= at && value.is_finite()) else { continue };
            let before = self.last.get(&series.labels).map(|(_, value)| *value);
            let (gained, kept) = match before {
                Some(before) => gained(before, *value),
                None if self.read => (*value, *value),
                None => (0.0, *value),
            };
            if before.is_some() || self.last.len() < MOST_SERIES {
                self.last.insert(series.labels.clone(), (*time, kept));
            }
            // A float cast saturates.
            let gained = gained.round() as u64;
            if gained > 0 {
                *found.entry(series.label("response_flags").to_owned()).or_default() += gained;
            }
        }
        self.read = true;
        self.last.retain(|_, (time, _)| at.duration_since(*time) <= REMEMBERED);
        if self.looks.len() >= MOST_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((at, found));
    }

    /// What was found after `start`, up to `end`.
    pub fn between(&self, start: Timestamp, end: Timestamp) -> ByFlags {
        let mut sum = ByFlags::new();
        for (_, found) in self.looks.iter().filter(|(at, _)| *at > start && *at <= end) {
            for (flags, count) in found {
                *sum.entry(flags.clone()).or_default() += count;
            }
        }
        sum
    }
}

/// What a counter gained, and the value that counting continues from. A small fall is no restart: a store that joins two replicas gives it, and a
/// process that began again has not counted nearly as much by the next look.
fn gained(before: f64, now: f64) -> (f64, f64) {
    match now {
        now if now >= before => (now - before, now),
        now if now >= before / 2.0 => (0.0, before),
        now => (now, now),
    }
}

/// How many requests stayed unanswered before the raise: those belong to nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Background {
    /// In the middle window, requests a second.
    pub usual: f64,
    /// In the worst window of ten, requests a second.
    pub most: f64,
}

impl Background {
    /// From the raw series of `from` to `to`, in windows of `interval`. One bad window in ten changes nothing: an attempt that was rolled back,
    /// or a pod that was replaced, does not hide the next one.
    pub fn of(all: &[Series], from: Timestamp, to: Timestamp, interval: Duration) -> Self {
        let length = interval.as_secs_f64().max(0.001);
        let whole = (to.duration_since(from).as_secs_f64() / length).floor();
        // Not negative; a float cast saturates.
        let mut windows = vec![0.0_f64; (whole.max(0.0) as usize).min(10_000)];
        for series in all.iter().filter(|series| is_error(&series.labels)) {
            let mut before: Option<f64> = None;
            for (time, value) in series.samples.iter().filter(|(time, value)| *time <= to && value.is_finite()) {
                let since = time.duration_since(from).as_secs_f64();
                let (more, kept) = match before {
                    Some(before) => gained(before, *value),
                    // Nothing of it was there a window before: it began at zero.
                    None if since > length => (*value, *value),
                    None => (0.0, *value),
                };
                before = Some(kept);
                if let Some(window) = windows.get_mut((since / length).max(0.0) as usize) {
                    *window += more;
                }
            }
        }
        windows.sort_by(f64::total_cmp);
        let at = |part: f64| windows.get(((windows.len() as f64 * part) as usize).min(windows.len().saturating_sub(1))).copied();
        Self { usual: at(0.5).unwrap_or_default() / length, most: at(0.9).unwrap_or_default() / length }
    }
}

#[cfg(test)]
mod tests;
