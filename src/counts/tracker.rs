//! Differences of raw counters between two looks, or the reason why there are none (design, section 5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::snapshot::{GroupKey, MOST_GROUPS, Read, Snapshot};
use super::{Dropped, Family, Pod, Reading, Scope, Side, Target};

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
    pub labels: BTreeMap<String, String>,
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
    rows: BTreeMap<GroupKey, (Timestamp, Vec<f64>, Vec<f64>)>,
    read: BTreeMap<Target, Read>,
}

/// Keeps the last value of each series, so that what happened while nothing could be read is counted afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracker {
    anchor: Option<Anchor>,
    /// Groups seen at any time: one that comes back did not begin at zero for certain.
    ever: BTreeSet<GroupKey>,
    /// Targets outside the pods that were missed at the newest look.
    missed: BTreeSet<Target>,
    not_before: Option<Timestamp>,
    longest: Duration,
}

impl Tracker {
    /// A tracker whose windows stretch over gaps of at most `longest`.
    pub fn new(longest: Duration) -> Self {
        Self { anchor: None, ever: BTreeSet::new(), missed: BTreeSet::new(), not_before: None, longest }
    }

    /// Counts begin anew, with a look in which every sample is at or after `since`.
    pub fn restart(&mut self, since: Option<Timestamp>) {
        self.anchor = None;
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

    /// Takes a look: `reading` was asked for at `at`, and looks come in order of time.
    pub fn look(&mut self, reading: &Reading, scope: &Scope, at: Timestamp) -> Outcome {
        if self.anchor.as_ref().is_some_and(|anchor| anchor.at >= at || longer(anchor.at, at, self.longest)) {
            self.anchor = None;
        }
        let snapshot = match Snapshot::of(reading, scope, at) {
            Ok(snapshot) => snapshot,
            Err(dropped) => return Outcome::Dropped(dropped),
        };
        if let Err(dropped) = self.covered(&snapshot, scope, at).and_then(|()| self.others(&snapshot, scope)) {
            return Outcome::Dropped(dropped);
        }
        let counted = self.anchor.as_ref().map(|anchor| {
            warm(scope, anchor.at)?;
            let mut of = Vec::new();
            let mut unknown = BTreeSet::new();
            for key in snapshot.groups.keys() {
                match self.delta(anchor, key, &snapshot, scope) {
                    Err(_) if scope.aside.contains(&key.family) => drop(unknown.insert(key.family)),
                    delta => of.extend(delta?),
                }
            }
            of.retain(|delta: &Delta| !unknown.contains(&delta.family));
            Ok(Deltas { start: anchor.at, end: at, of })
        });
        self.keep(snapshot, at);
        match counted {
            None => Outcome::Baseline,
            Some(Ok(deltas)) => Outcome::Counted(deltas),
            Some(Err(dropped)) => Outcome::Dropped(dropped),
        }
    }

    /// Whether all that must be read was read, by a scrape newer than at the look before. If not, the look before stays the one to compare
    /// with: the counters themselves hold what happens meanwhile.
    fn covered(&self, snapshot: &Snapshot, scope: &Scope, at: Timestamp) -> Result<(), Dropped> {
        if snapshot.read.is_empty() {
            return Err(Dropped::NothingRead);
        }
        let advanced = |target: &Target, read: &Read| {
            let before = self.anchor.as_ref().and_then(|anchor| anchor.read.get(target)).map(|read| read.newest);
            before.is_none_or(|before| read.newest > before)
        };
        let required = |pod: &Pod| pod.ready_since.is_some_and(|since| since <= at) && (pod.side == Side::Canary || scope.needs_stable);
        for (name, pod) in scope.pods.iter().filter(|(_, pod)| required(pod)) {
            for job in &scope.pod_jobs {
                let of = |(target, read): &(&Target, &Read)| target.job == *job && read.pod.as_ref() == Some(name);
                let mut newest = None;
                if snapshot.read.iter().filter(of).any(|(target, read)| {
                    newest = newest.max(Some(read.newest));
                    advanced(target, read)
                }) {
                    continue;
                }
                return Err(match newest {
                    None => Dropped::NotScraped { side: pod.side, pod: name.clone(), job: job.clone() },
                    Some(newest) => Dropped::Stale { what: format!("pod {name}"), newest },
                });
            }
        }
        let mut counted: BTreeMap<(&str, Family), &Target> = BTreeMap::new();
        for (key, group) in snapshot.groups.iter().filter(|(key, _)| !scope.aside.contains(&key.family)) {
            let Some(read) = snapshot.read.get(&key.target).filter(|read| advanced(&key.target, read)) else { continue };
            if self.anchor.is_none()
                && self.not_before.is_some_and(|since| read.newest < since)
                && read.pod.as_ref().and_then(|pod| scope.pods.get(pod)).is_none_or(required)
            {
                return Err(Dropped::Stale { what: name(&key.target, read), newest: read.newest });
            }
            let other = counted.insert((&group.pod, key.family), &key.target).filter(|other| **other != key.target);
            // Without a pod's name only the host is known, and several targets of one job may share it.
            if let Some(other) = other.filter(|other| read.pod.is_some() || other.job != key.target.job) {
                return Err(Dropped::Duplicate { pod: group.pod.clone(), jobs: [other.job.clone(), key.target.job.clone()] });
            }
        }
        Ok(())
    }

    /// Targets that are no pod of ours (a gateway, a client): one that was read and now is not costs a window; after that it is gone.
    fn others(&mut self, snapshot: &Snapshot, scope: &Scope) -> Result<(), Dropped> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        let counted: BTreeSet<&Target> = anchor.rows.keys().map(|key| &key.target).collect();
        let mut lost = None;
        let mut missed = BTreeSet::new();
        for target in counted {
            let Some(before) = anchor.read.get(target) else { continue };
            if scope.pod_jobs.contains(&target.job) && before.pod.as_ref().is_some_and(|pod| scope.pods.contains_key(pod)) {
                continue;
            }
            if snapshot.read.get(target).is_none_or(|now| now.newest <= before.newest) {
                missed.insert(target.clone());
                if !self.missed.contains(target) {
                    lost = Some(Dropped::Stale { what: name(target, before), newest: before.newest });
                }
            }
        }
        self.missed = missed;
        lost.map_or(Ok(()), Err)
    }

    fn delta(&self, anchor: &Anchor, key: &GroupKey, snapshot: &Snapshot, scope: &Scope) -> Result<Option<Delta>, Dropped> {
        let Some(group) = snapshot.groups.get(key) else { return Ok(None) };
        let zero = || vec![0.0; group.bounds.len()];
        let (after, mut last) = match anchor.rows.get(key) {
            Some((at, _, bounds)) if *bounds != group.bounds => return Err(Dropped::BoundsChanged { pod: group.pod.clone(), at: *at }),
            Some((at, row, _)) => (Some(*at), row.clone()),
            None => {
                let before = group.rows.iter().rev().find(|(time, _)| *time <= anchor.at);
                let read = anchor.read.contains_key(&key.target);
                let created = scope.pods.get(&group.pod).is_some_and(|pod| pod.created > anchor.at);
                match before {
                    // It was there at the look before, but its samples came in later.
                    Some((at, row)) if read => (Some(*at), row.clone()),
                    None if (read || created) && !self.ever.contains(key) => (None, zero()),
                    _ => return Err(Dropped::NoBaseline { pod: group.pod.clone(), job: key.target.job.clone() }),
                }
            }
        };
        let mut gained = zero();
        for (_, row) in group.rows.iter().filter(|(time, _)| after.is_none_or(|after| *time > after)) {
            gained.iter_mut().zip(gain(&last, row)).for_each(|(sum, more)| *sum += more);
            last.clone_from(row);
        }
        let counts = whole_counts(gained);
        Ok(Some(Delta {
            family: key.family,
            side: group.side,
            pod: group.pod.clone(),
            labels: key.labels.clone(),
            bounds: group.bounds.clone(),
            counts,
        }))
    }

    fn keep(&mut self, snapshot: Snapshot, at: Timestamp) {
        let before = self.anchor.take();
        let mut rows = BTreeMap::new();
        for (key, group) in snapshot.groups {
            let Some((time, row)) = group.rows.last() else { continue };
            // A series that stood still while its target was read has ended.
            let stood = before.as_ref().and_then(|anchor| anchor.rows.get(&key)).is_some_and(|(then, _, _)| then == time);
            let target_went_on = snapshot.read.get(&key.target).is_some_and(|read| read.newest > *time);
            if !(stood && target_went_on) {
                rows.insert(key, (*time, row.clone(), group.bounds));
            }
        }
        if self.ever.len() > MOST_GROUPS {
            self.ever.clear();
        }
        self.ever.extend(rows.keys().cloned());
        self.anchor = Some(Anchor { at, rows, read: snapshot.read });
    }
}

fn name(target: &Target, read: &Read) -> String {
    match &read.pod {
        Some(pod) => format!("pod {pod}"),
        None => format!("target {} of job {}", target.instance, target.job),
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

/// What a counter, or each bucket of a histogram, gained between two samples. One bucket that went down means that the process began anew:
/// then all of them did.
pub fn gain<'a>(before: &'a [f64], now: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    let reset = now.iter().zip(before).any(|(now, before)| now < before);
    now.iter().zip(before).map(move |(now, before)| if reset { *now } else { now - before })
}

/// Counters are whole numbers; what arithmetic left over is rounded away.
pub(super) fn whole_counts(gained: Vec<f64>) -> Vec<u64> {
    // A float cast saturates at both ends.
    super::snapshot::envelope(gained).into_iter().map(|value| value.round() as u64).collect()
}

#[cfg(test)]
mod tests;
