//! What a counter gained, when it may restart, dip, vanish and come back.
//!
//! A counter only grows, except where its process restarts. Stores add falls of their own: one that merges two replicas answers a later sample
//! with a lower value (thanos#7623, prometheus#13950), and a proxy that forgets idle series starts them from zero (istio#50419). Each is
//! counted as what it is, so that the gain is never negative and never more than what was served.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;

use super::snapshot::{Group, GroupKey};

/// Below this many events a value says nothing about where it came from.
const FEW: f64 = 5.0;
/// How much faster than ever before a target may count before the value is not believed.
pub(super) const FASTER: f64 = 20.0;
/// Events that are believed at any pace.
pub(super) const ALWAYS: f64 = 100.0;

/// The highest value of a series so far, and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    /// Time of its newest sample.
    pub(super) at: Timestamp,
    /// Highest value: of a histogram, of each bucket.
    pub(super) high: Vec<f64>,
    pub(super) bounds: Vec<f64>,
    /// The newest sample is lower than that.
    pub(super) low: bool,
}

impl Kept {
    /// From the newest sample on.
    pub(super) fn newest(group: &Group) -> Option<Self> {
        let (at, row) = group.rows.last()?;
        Some(Self { at: *at, high: row.clone(), bounds: group.bounds.clone(), low: false })
    }

    /// The same on these bounds; `None` where it has not got all of them.
    pub(super) fn on(&self, bounds: &[f64]) -> Option<Cow<'_, Self>> {
        if self.bounds == bounds {
            return Some(Cow::Borrowed(self));
        }
        let mut there = self.bounds.iter().zip(&self.high);
        let high = bounds.iter().map(|bound| there.find(|(known, _)| *known == bound).map(|(_, high)| *high)).collect::<Option<_>>()?;
        Some(Cow::Owned(Self { at: self.at, high, bounds: bounds.to_vec(), low: self.low }))
    }

    /// From the highest value of this life on: the newest sample of a first look may be a dip.
    pub(super) fn settled(group: &Group) -> Option<Self> {
        let mut kept = Self::newest(group)?;
        let newest = kept.high.clone();
        let near = |row: &[f64]| total(row) <= 2.0 * total(&newest).max(1.0);
        for (_, row) in group.rows.iter().rev().take_while(|(_, row)| near(row)) {
            kept.high.iter_mut().zip(row).for_each(|(high, value)| *high = high.max(*value));
        }
        kept.low = lower(&newest, &kept.high);
        Some(kept)
    }
}

/// Where a series starts to be counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It began within the window.
    Zero,
    /// It continues from the value that is known.
    Last,
}

/// Why a value cannot be counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Impossible {
    pub(super) before: f64,
    pub(super) after: f64,
}

/// What is known of the process that a series is counted by.
pub(super) struct Process<'a> {
    pub(super) key: &'a GroupKey,
    /// All series of the look.
    pub(super) groups: &'a BTreeMap<GroupKey, Group>,
    /// All series of the look before.
    pub(super) kept: Option<&'a BTreeMap<GroupKey, Kept>>,
    /// Scrapes of the target that were answered, in order of time.
    pub(super) scrapes: &'a [Timestamp],
    /// Events per second that this target has had at most, if that is known.
    pub(super) pace: Option<f64>,
}

/// Counts one series.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    at: Timestamp,
    high: Vec<f64>,
    low: bool,
    /// No sample yet was as high as the highest before.
    stays_low: bool,
    pub(super) gained: Vec<f64>,
    pub(super) dips: u32,
}

impl Meter {
    /// Counts on from what is known.
    pub(super) fn from(kept: &Kept) -> Self {
        Self { low: kept.low, stays_low: kept.low, ..Self::from_row(kept.at, kept.high.clone()) }
    }

    /// Counts from this value on.
    pub(super) fn from_row(at: Timestamp, high: Vec<f64>) -> Self {
        let gained = vec![0.0; high.len()];
        Self { at, high, low: false, stays_low: false, gained, dips: 0 }
    }

    /// Counts a series that was not there at that time, and began at zero since.
    pub(super) fn at_zero(at: Timestamp, buckets: usize) -> Self {
        Self::from_row(at, vec![0.0; buckets])
    }

    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// Takes the next sample.
    pub(super) fn take(&mut self, at: Timestamp, row: &[f64], process: &Process<'_>) -> Result<(), Impossible> {
        let fell = lower(row, &self.high);
        let back = process.missed(self.at, at) && resumes(total(&self.high), total(row)) == Start::Zero;
        if back || (fell && self.restarted(at, total(row), process)?) {
            self.high = vec![0.0; row.len()];
        } else if fell {
            self.dips += 1;
        }
        self.low = lower(row, &self.high);
        self.stays_low &= self.low;
        for ((high, gained), now) in self.high.iter_mut().zip(&mut self.gained).zip(row) {
            *gained += (now - *high).max(0.0);
            *high = high.max(*now);
        }
        self.at = at;
        Ok(())
    }

    /// A process that restarts takes all its counters along; a proxy that forgets one series starts that one alone, at a small part of what it
    /// was. Everything else that falls is the store's.
    fn restarted(&self, at: Timestamp, now: f64, process: &Process<'_>) -> Result<bool, Impossible> {
        let high = total(&self.high);
        if now >= high {
            return Ok(false);
        }
        let (before, after) = process.siblings(self.at, at);
        let together = after + now < (before + high) / 2.0;
        let alone = now > 0.0 && now <= high / 4.0;
        if !together && !alone {
            return Ok(false);
        }
        if believable(now, process.pace, self.at, at) { Ok(true) } else { Err(Impossible { before: high, after: now }) }
    }

    /// What the next look continues from.
    pub(super) fn kept(&self, bounds: Vec<f64>) -> Kept {
        Kept { at: self.at, high: self.high.clone(), bounds, low: self.low }
    }

    /// It was below its highest value at the look before, and has been since.
    pub(super) fn stays_low(&self) -> bool {
        self.stays_low
    }
}

impl Process<'_> {
    /// The target was read at least twice between two samples, and the series was not there.
    fn missed(&self, from: Timestamp, to: Timestamp) -> bool {
        self.scrapes.iter().filter(|scrape| **scrape > from && **scrape < to).nth(1).is_some()
    }

    /// What the other series of the process had at the first time or before, and at the second or after: of those that have both.
    fn siblings(&self, from: Timestamp, to: Timestamp) -> (f64, f64) {
        let others = self.groups.iter().filter(|(key, _)| key.target == self.key.target && *key != self.key);
        others.fold((0.0, 0.0), |sum, (key, group)| {
            let rows = &group.rows;
            let within = rows.iter().rev().find(|(time, _)| *time <= from).map(|(_, row)| total(row));
            let before = within.or_else(|| self.kept?.get(key).filter(|kept| kept.at <= from).map(|kept| total(&kept.high)));
            let after = rows.iter().find(|(time, _)| *time >= to).map(|(_, row)| total(row));
            before.zip(after).map_or(sum, |(before, after)| (sum.0 + before, sum.1 + after))
        })
    }
}

/// Where a series starts that was known, was not exported although its target was read, and is there again.
pub(super) fn resumes(known: f64, now: f64) -> Start {
    // A few events may be as many again; far fewer than before are new ones.
    if known < FEW || now <= known / 2.0 { Start::Zero } else { Start::Last }
}

/// Whether a series with this value can go on from one that ended with `ended`.
pub(super) fn continues(ended: f64, now: f64) -> bool {
    ended >= FEW && now >= ended
}

/// Whether a target can have counted so much in that time.
pub(super) fn believable(events: f64, pace: Option<f64>, from: Timestamp, to: Timestamp) -> bool {
    pace.is_none_or(|pace| events <= ALWAYS.max(FASTER * pace * seconds(from, to)))
}

/// All observations of a histogram, or a counter's value.
pub(super) fn total(row: &[f64]) -> f64 {
    row.last().copied().unwrap_or(0.0)
}

pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn lower(row: &[f64], high: &[f64]) -> bool {
    row.iter().zip(high).any(|(now, high)| now < high)
}

/// What a counter gained over samples in order of time, where nothing else is known of its process.
pub fn gain(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut samples = samples.into_iter();
    let Some(mut high) = samples.next() else { return 0.0 };
    let mut gained = 0.0;
    for now in samples {
        if now < high / 2.0 {
            high = 0.0;
        }
        gained += (now - high).max(0.0);
        high = high.max(now);
    }
    gained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_of_which_only_some_buckets_are_asked_for_goes_on_from_them_and_from_no_others() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let kept = Kept { at, high: vec![1.0, 5.0, 9.0], bounds: vec![10.0, 25.0, f64::INFINITY], low: false };
        assert_eq!(kept.on(&kept.bounds).as_deref(), Some(&kept));
        let some = kept.on(&[25.0, f64::INFINITY]).unwrap();
        assert_eq!((some.high.as_slice(), some.bounds.as_slice()), ([5.0, 9.0].as_slice(), [25.0, f64::INFINITY].as_slice()));
        assert_eq!(kept.on(&[25.0, 50.0, f64::INFINITY]), None, "a bound that was not there");
    }
}
