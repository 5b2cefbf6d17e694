//! Whether a look is complete: who must be read, and what was there before and is missing now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Tracker;
use crate::counts::meter::total;
use crate::counts::snapshot::{Read, Snapshot};
use crate::counts::{Dropped, Family, Pod, Scope, Side, Target};

/// Looks that a family may be missing for, on a pod that keeps serving, before it counts as gone.
const MOST_MISSING: u32 = 2;

/// What is missing now that was there before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Missing {
    /// Targets that are no pod of ours.
    targets: BTreeSet<Target>,
    /// Families of a pod, and at how many looks in a row.
    families: BTreeMap<(String, Family), u32>,
}

impl Tracker {
    /// Whether all that must be read was read, by a scrape newer than at the look before. If not, the look before stays the one to compare
    /// with: the counters themselves hold what happens meanwhile.
    pub(super) fn covered(&mut self, snapshot: &Snapshot, scope: &Scope, at: Timestamp) -> Result<(), Dropped> {
        if snapshot.read.is_empty() {
            return Err(Dropped::NothingRead);
        }
        if let Some(doubled) = &snapshot.doubled {
            return Err(Dropped::Doubled(doubled.clone()));
        }
        self.pods(snapshot, scope, at)?;
        self.once(snapshot, scope, at)?;
        self.others(snapshot, scope, at)?;
        self.families(snapshot, scope)
    }

    fn advanced(&self, target: &Target, read: &Read) -> bool {
        let before = self.anchor.as_ref().and_then(|anchor| anchor.read.get(target)).map(|read| read.newest);
        before.is_none_or(|before| read.newest > before)
    }

    /// Each ready pod is read in each job that counts at the pods.
    fn pods(&self, snapshot: &Snapshot, scope: &Scope, at: Timestamp) -> Result<(), Dropped> {
        for (name, pod) in scope.pods.iter().filter(|(_, pod)| required(scope, pod, at)) {
            for job in &scope.pod_jobs {
                let mut newest = None;
                let mut of = snapshot.read.iter().filter(|(target, read)| *target.job == **job && read.pod.as_ref() == Some(name));
                if of.any(|(target, read)| {
                    newest = newest.max(Some(read.newest));
                    self.advanced(target, read)
                }) {
                    continue;
                }
                return Err(match newest {
                    None => Dropped::NotScraped { side: pod.side, pod: name.clone(), job: job.clone() },
                    Some(newest) => Dropped::Stale { what: format!("pod {name}"), newest },
                });
            }
        }
        Ok(())
    }

    /// No pod is counted by two targets, and where a step begins every sample is newer than its weight.
    fn once(&self, snapshot: &Snapshot, scope: &Scope, at: Timestamp) -> Result<(), Dropped> {
        let mut counted: BTreeMap<(&str, Family), &Target> = BTreeMap::new();
        for (key, group) in snapshot.groups.iter().filter(|(key, _)| !scope.aside.contains(&key.family)) {
            let Some(read) = snapshot.read.get(&key.target).filter(|read| self.advanced(&key.target, read)) else { continue };
            if self.anchor.is_none()
                && self.not_before.is_some_and(|since| read.newest < since)
                && read.pod.as_ref().and_then(|pod| scope.pods.get(pod)).is_none_or(|pod| required(scope, pod, at))
            {
                return Err(Dropped::Stale { what: name(&key.target, read), newest: read.newest });
            }
            let other = counted.insert((&group.pod, key.family), &key.target).filter(|other| **other != key.target);
            // Without a pod's name only the host is known, and several targets of one job may share it.
            if let Some(other) = other.filter(|other| read.pod.is_some() || other.job != key.target.job) {
                return Err(Dropped::Duplicate { pod: group.pod.clone(), jobs: [other.job.to_string(), key.target.job.to_string()] });
            }
        }
        Ok(())
    }

    /// Targets that are no pod of ours (a gateway, a client): one that was read and now is not costs a window; after that it is gone. Where
    /// they are pods without a name, there must be as many as are ready.
    fn others(&mut self, snapshot: &Snapshot, scope: &Scope, at: Timestamp) -> Result<(), Dropped> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        let counted: BTreeMap<&Target, Side> =
            anchor.rows.keys().filter_map(|key| Some((&key.target, self.side(key, snapshot, scope)?))).collect();
        let fresh = |side: Side| -> BTreeSet<&Target> {
            let of = snapshot.groups.iter().filter(|(_, group)| group.side == side);
            of.map(|(key, _)| &key.target)
                .filter(|target| snapshot.read.get(*target).is_some_and(|read| self.advanced(target, read)))
                .collect()
        };
        let too_few = |side: Side| {
            let ready = scope.pods.values().filter(|pod| pod.side == side && required(scope, pod, at)).count();
            scope.by_pod && !scope.named && fresh(side).len() < ready
        };
        let mut lost = None;
        let mut missed = BTreeSet::new();
        for (target, side) in counted {
            let Some(before) = anchor.read.get(target) else { continue };
            if scope.pod_jobs.contains(&*target.job) && before.pod.as_ref().is_some_and(|pod| scope.pods.contains_key(pod)) {
                continue;
            }
            if snapshot.read.get(target).is_none_or(|now| now.newest <= before.newest) {
                missed.insert(target.clone());
                if !self.missing.targets.contains(target) || too_few(side) {
                    lost = Some(Dropped::Stale { what: name(target, before), newest: before.newest });
                }
            }
        }
        self.missing.targets = missed;
        lost.map_or(Ok(()), Err)
    }

    /// A pod whose other counters go on counting has lost none of its families: it did not restart, and what is missing is the store's.
    fn families(&mut self, snapshot: &Snapshot, scope: &Scope) -> Result<(), Dropped> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        let mut there: BTreeMap<&str, BTreeSet<Family>> = BTreeMap::new();
        let mut grew: BTreeSet<&str> = BTreeSet::new();
        let mut had: BTreeMap<(&str, Family), &Target> = BTreeMap::new();
        for (key, kept) in &anchor.rows {
            let Some(pod) = anchor.read.get(&key.target).map(|read| read.pod.as_deref().unwrap_or_else(|| key.target.host())) else {
                continue;
            };
            had.insert((pod, key.family), &key.target);
            let Some((_, row)) = snapshot.groups.get(key).and_then(|group| group.rows.last()).filter(|(at, _)| *at > kept.at) else {
                continue;
            };
            there.entry(pod).or_default().insert(key.family);
            if total(row) > total(&kept.high) {
                grew.insert(pod);
            }
        }
        let fresh = snapshot
            .groups
            .iter()
            .filter(|(key, group)| group.rows.last().is_some_and(|(at, _)| *at > anchor.at) && !anchor.rows.contains_key(*key));
        for (key, group) in fresh {
            there.entry(&group.pod).or_default().insert(key.family);
        }
        let mut missing = BTreeMap::new();
        let mut lost = None;
        for ((pod, family), target) in had {
            let here = there.get(pod).is_some_and(|families| families.contains(&family));
            if here || scope.aside.contains(&family) || !grew.contains(pod) {
                continue;
            }
            let looks = self.missing.families.get(&(pod.to_owned(), family)).copied().unwrap_or(0) + 1;
            missing.insert((pod.to_owned(), family), looks);
            if looks <= MOST_MISSING {
                lost = Some(Dropped::Missing { pod: pod.to_owned(), job: target.job.to_string() });
            }
        }
        self.missing.families = missing;
        lost.map_or(Ok(()), Err)
    }

    fn side(&self, key: &super::GroupKey, snapshot: &Snapshot, scope: &Scope) -> Option<Side> {
        snapshot.groups.get(key).map(|group| group.side).or_else(|| match key.labels.get(&scope.label)? {
            value if value == scope.stable => Some(Side::Stable),
            value if value == scope.canary => Some(Side::Canary),
            _ => None,
        })
    }
}

fn required(scope: &Scope, pod: &Pod, at: Timestamp) -> bool {
    pod.ready_since.is_some_and(|since| since <= at) && (pod.side == Side::Canary || scope.needs_stable)
}

fn name(target: &Target, read: &Read) -> String {
    match &read.pod {
        Some(pod) => format!("pod {pod}"),
        None => format!("target {} of job {}", target.instance, target.job),
    }
}
