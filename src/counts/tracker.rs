//! Differences of raw counters between two looks, or the reason why there are none (design, section 5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::meter::{self, Impossible, Kept, Meter, Process, Start};
use super::pace::Paces;
use super::snapshot::{Group, GroupKey, MOST_GROUPS, Read, Snapshot};
use super::{Dropped, Family, Labels, Mixed, Reading, Scope, Side, Target};

mod coverage;

/// What one counter (or histogram) gained between two looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// What is counted.
    pub family: Family,
    /// For whom.
    pub side: Side,
    /// Name of the pod, or the target's host.
    pub pod: String,
    /// Labels but job, instance and le.
    pub labels: Labels,
    /// Bounds of a histogram, the last is +Inf; of a counter +Inf alone.
    pub bounds: Vec<f64>,
    /// Observations up to each bound: not decreasing.
    pub counts: Vec<u64>,
}

/// All that was gained between two looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Deltas {
    /// Begin, exclusive.
    pub start: Timestamp,
    /// End, inclusive.
    pub end: Timestamp,
    /// One for each counter or histogram that was read, with its gain, which may be 0.
    pub of: Vec<Delta>,
    /// Samples lower than the ones before them, of a process that did not restart.
    pub dips: u32,
    /// Pods that are not ours were in the answer, and left out.
    pub mixed: Option<Mixed>,
}

/// What a look gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The first look: the next one can be compared with it.
    Baseline,
    /// Counts between the look before and this one.
    Counted(Deltas),
    /// Nothing can be counted, for neither arm.
    Dropped(Dropped),
}

/// The look that the next one is compared with.
#[derive(Clone, Debug, PartialEq)]
struct Anchor {
    at: Timestamp,
    rows: BTreeMap<GroupKey, Kept>,
    read: BTreeMap<Target, Read>,
}

/// Keeps the last value of each series, so that what happened while nothing could be read is counted afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracker {
    anchor: Option<Anchor>,
    /// Series that ended, with their last values.
    gone: BTreeMap<GroupKey, Kept>,
    /// Pods that were ours at any time.
    known: BTreeSet<String>,
    paces: Paces,
    /// What is missing now that was there before: see [`coverage`].
    missing: coverage::Missing,
    not_before: Option<Timestamp>,
    longest: Duration,
}

impl Tracker {
    /// A tracker whose windows stretch over gaps of at most `longest`.
    pub fn new(longest: Duration) -> Self {
        Self {
            anchor: None,
            gone: BTreeMap::new(),
            known: BTreeSet::new(),
            paces: Paces::default(),
            missing: coverage::Missing::default(),
            not_before: None,
            longest,
        }
    }

    /// Counting restarts, with a look in which every sample is at or after `since`.
    pub fn restart(&mut self, since: Option<Timestamp>) {
        if let Some(anchor) = self.anchor.take() {
            self.gone.extend(anchor.rows);
        }
        self.paces.forget_canary();
        self.not_before = since;
    }

    /// Windows stretch over gaps of at most `longest` from now on.
    pub fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// Begin of the window that the next look ends.
    pub fn start(&self) -> Option<Timestamp> {
        self.anchor.as_ref().map(|anchor| anchor.at)
    }

    /// Pods that were read at the look before: what they counted since may still be there, although they ended.
    pub fn read_pods(&self) -> impl Iterator<Item = &str> {
        self.anchor.iter().flat_map(|anchor| anchor.read.values()).filter_map(|read| read.pod.as_deref())
    }

    /// Takes a look: `reading` was asked for at `at`, and looks come in order of time.
    pub fn look(&mut self, reading: &Reading, scope: &Scope, at: Timestamp) -> Outcome {
        self.known.extend(scope.pods.keys().cloned());
        let snapshot = match Snapshot::of(reading, scope, &self.known, at) {
            Ok(snapshot) => snapshot,
            Err(dropped) => return Outcome::Dropped(dropped),
        };
        if self.anchor.as_ref().is_some_and(|anchor| anchor.at >= at || longer(anchor.at, at, self.longest)) {
            self.restart(self.not_before);
        }
        if let Err(dropped) = self.covered(&snapshot, scope, at) {
            return Outcome::Dropped(dropped);
        }
        let Some(anchor) = self.anchor.take() else {
            self.keep(snapshot, BTreeMap::new(), None, at);
            return Outcome::Baseline;
        };
        let mut window =
            Counting { gone: &self.gone, paces: &self.paces, anchor: &anchor, snapshot: &snapshot, scope, kept: BTreeMap::new(), dips: 0 };
        let counted = warm(scope, anchor.at).and_then(|()| window.deltas());
        let (kept, dips) = (window.kept, window.dips);
        let counted = counted.and_then(|deltas| {
            let gains = deltas.iter().map(|(target, delta)| (*target, delta));
            self.paces.take(gains, meter::seconds(anchor.at, at))?;
            Ok(deltas.into_iter().map(|(_, delta)| delta).collect())
        });
        let (start, mixed) = (anchor.at, snapshot.mixed.clone());
        self.keep(snapshot, kept, Some(anchor), at);
        match counted {
            Ok(of) => Outcome::Counted(Deltas { start, end: at, of, dips, mixed }),
            Err(dropped) => Outcome::Dropped(dropped),
        }
    }
}

impl Tracker {
    /// What the next look is compared with. `kept` has the series that were counted; of the others the newest sample stands.
    fn keep(&mut self, snapshot: Snapshot, mut kept: BTreeMap<GroupKey, Kept>, before: Option<Anchor>, at: Timestamp) {
        if self.gone.len() > MOST_GROUPS {
            self.gone.clear();
        }
        let begins = before.is_none();
        let mut earlier = before.map(|anchor| anchor.rows).unwrap_or_default();
        let mut rows = BTreeMap::new();
        for (key, group) in snapshot.groups {
            let Some((time, _)) = group.rows.last() else { continue };
            // A series that stood still while its target was read has ended.
            let stood = earlier.remove(&key).is_some_and(|then| then.at >= *time);
            let target_went_on = snapshot.read.get(&key.target).is_some_and(|read| read.newest > *time);
            let fresh = if begins { Kept::settled(&group) } else { Kept::newest(&group) };
            let Some(now) = kept.remove(&key).or(fresh) else { continue };
            if stood && target_went_on {
                self.gone.insert(key, now);
            } else {
                self.gone.remove(&key);
                rows.insert(key, now);
            }
        }
        self.gone.extend(earlier);
        self.anchor = Some(Anchor { at, rows, read: snapshot.read });
    }
}

/// One window while it is being counted.
struct Counting<'a, 's> {
    gone: &'a BTreeMap<GroupKey, Kept>,
    paces: &'a Paces,
    anchor: &'a Anchor,
    snapshot: &'s Snapshot,
    scope: &'a Scope,
    kept: BTreeMap<GroupKey, Kept>,
    dips: u32,
}

impl<'s> Counting<'_, 's> {
    /// The gain of each series with its target, or why there is none. All series are kept, also where one of them drops the window.
    fn deltas(&mut self) -> Result<Vec<(&'s Target, Delta)>, Dropped> {
        let renamed = self.renamed();
        let mut of = Vec::new();
        let (mut unknown, mut fault) = (BTreeSet::new(), None);
        for (key, group) in &self.snapshot.groups {
            match self.delta(key, group, renamed.contains(&(key.target.clone(), key.family))) {
                Ok(delta) => of.push((&key.target, delta)),
                Err(_) if self.scope.aside.contains(&key.family) => drop(unknown.insert(key.family)),
                Err(dropped) => drop(fault.get_or_insert(dropped)),
            }
        }
        of.retain(|(_, delta): &(_, Delta)| !unknown.contains(&delta.family));
        fault.map_or(Ok(of), Err)
    }

    fn delta(&mut self, key: &GroupKey, group: &Group, renamed: bool) -> Result<Delta, Dropped> {
        let mut meter = match self.anchor.rows.get(key) {
            Some(kept) => match kept.on(&group.bounds) {
                Some(kept) => Meter::from(&kept),
                None => return Err(Dropped::BoundsChanged { pod: group.pod.clone(), at: kept.at }),
            },
            None => self.begins(key, group, renamed)?,
        };
        let process = Process {
            key,
            groups: &self.snapshot.groups,
            kept: Some(&self.anchor.rows),
            scrapes: self.snapshot.scrapes.get(&key.target).map_or(&[], Vec::as_slice),
            pace: self.paces.of(&key.target, key.family, group.side),
        };
        let since = meter.at();
        for (time, row) in group.rows.iter().filter(|(time, _)| *time > since) {
            meter.take(*time, row, &process).map_err(|Impossible { before, after }| Dropped::Unbelievable {
                pod: group.pod.clone(),
                job: key.target.job.to_string(),
                before: before.round() as u64,
                after: after.round() as u64,
            })?;
        }
        if meter.stays_low() && meter.at() > since {
            return Err(Dropped::Fell { pod: group.pod.clone(), job: key.target.job.to_string() });
        }
        self.dips += meter.dips;
        self.kept.insert(key.clone(), meter.kept(group.bounds.clone()));
        Ok(Delta {
            family: key.family,
            side: group.side,
            pod: group.pod.clone(),
            labels: key.labels.clone(),
            bounds: group.bounds.clone(),
            counts: whole_counts(meter.gained),
        })
    }

    /// Where a series begins that was not there at the look before.
    fn begins(&self, key: &GroupKey, group: &Group, renamed: bool) -> Result<Meter, Dropped> {
        let nothing = || Dropped::NoBaseline { pod: group.pod.clone(), job: key.target.job.to_string() };
        let zero = || Meter::at_zero(self.anchor.at, group.bounds.len());
        let read = self.anchor.read.contains_key(&key.target);
        let gone = self.gone.get(key).and_then(|kept| kept.on(&group.bounds));
        if let Some((at, row)) = group.rows.iter().rev().find(|(time, _)| *time <= self.anchor.at) {
            // It was there at the look before, but its samples came in later.
            return match gone.filter(|kept| meter::total(&kept.high) <= meter::total(row)) {
                _ if !read => Err(nothing()),
                Some(kept) => Ok(Meter::from(&kept)),
                None => Ok(Meter::from_row(*at, row.clone())),
            };
        }
        let (at, row) = group.rows.first().ok_or_else(nothing)?;
        if gone.is_none() && self.scope.pods.get(&group.pod).is_some_and(|pod| pod.created > self.anchor.at) {
            return Ok(zero());
        }
        if !read || !self.snapshot.read_before(&key.target, *at) {
            return Err(nothing());
        }
        let now = meter::total(row);
        let believed = meter::believable(now, self.paces.of(&key.target, key.family, group.side), self.anchor.at, *at);
        match gone {
            Some(kept) if meter::resumes(meter::total(&kept.high), now) == Start::Last => Ok(Meter::from(&kept)),
            None if renamed => Err(Dropped::Renamed { pod: group.pod.clone(), job: key.target.job.to_string() }),
            _ if believed => Ok(zero()),
            _ => Err(nothing()),
        }
    }

    /// Families of a target in which series ended and another one may go on from where they were: then none of the new ones began at zero.
    fn renamed(&self) -> BTreeSet<(Target, Family)> {
        let (anchor, groups) = (self.anchor, &self.snapshot.groups);
        let mut new: BTreeMap<(&Target, Family), f64> = BTreeMap::new();
        for (key, group) in groups.iter().filter(|(key, _)| !anchor.rows.contains_key(*key) && !self.gone.contains_key(*key)) {
            let most = new.entry((&key.target, key.family)).or_default();
            *most = group.rows.first().map_or(*most, |(_, row)| most.max(meter::total(row)));
        }
        if new.is_empty() {
            return BTreeSet::new();
        }
        let before = anchor.rows.iter().chain(self.gone).map(|(key, kept)| (key, meter::total(&kept.high)));
        let within = groups.iter().filter_map(|(key, group)| Some((key, meter::total(&group.rows.last()?.1))));
        let ended = before.chain(within).filter(|(key, _)| self.snapshot.ended(key));
        let of = ended.filter_map(|(key, last)| {
            let most = new.get(&(&key.target, key.family))?;
            meter::continues(last, *most).then(|| (key.target.clone(), key.family))
        });
        of.collect()
    }
}

fn warm(scope: &Scope, start: Timestamp) -> Result<(), Dropped> {
    for (name, pod) in &scope.pods {
        let Some(since) = pod.ready_since.filter(|_| pod.side == Side::Canary) else { continue };
        let until = since.saturating_add(signed(scope.warm_up)).unwrap_or(Timestamp::MAX);
        if start < until {
            return Err(Dropped::WarmUp { pod: name.clone(), until });
        }
    }
    Ok(())
}

fn longer(from: Timestamp, to: Timestamp, most: Duration) -> bool {
    to.duration_since(from) > signed(most)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Counters are whole numbers; what arithmetic left over is rounded away.
pub(super) fn whole_counts(gained: Vec<f64>) -> Vec<u64> {
    // A float cast saturates at both ends.
    super::snapshot::envelope(gained).into_iter().map(|value| value.round() as u64).collect()
}

#[cfg(test)]
mod tests;
