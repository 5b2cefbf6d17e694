//! Stable's past: what each counter gained in each window, for calibration.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::meter::{Meter, Process, continues, total};
use super::snapshot::{Group, GroupKey, Snapshot};
use super::{Delta, Deltas, Doubled, Dropped, Mixed, Reading, Sample, Scope, Side, Target};
use crate::plan::Metric;

/// Stable's counts in each window between two consecutive `ends`, by pod (`by_pod` false: all in the entry ""). `reading` reaches back one
/// window before the first of them. A pod that was not scraped in a window and in the one before is left out of it; a window without it is
/// shorter of that pod, and one without any request is left out altogether.
///
/// # Errors
/// When there are too many series.
pub fn past(
    reading: &Reading,
    scope: &Scope,
    ends: &[Timestamp],
    metrics: &[Metric],
    by_pod: bool,
) -> Result<Vec<BTreeMap<String, Sample>>, Dropped> {
    let Some(last) = ends.last() else { return Ok(Vec::new()) };
    let pods = scope.pods.keys().cloned().collect();
    let snapshot = Snapshot::of(reading, scope, &pods, *last)?;
    if let Some(doubled) = snapshot.doubled {
        return Err(Dropped::Doubled(doubled));
    }
    let mut scrapes: BTreeMap<&Target, BTreeSet<Timestamp>> = BTreeMap::new();
    for (key, group) in &snapshot.groups {
        scrapes.entry(&key.target).or_default().extend(group.rows.iter().map(|(time, _)| *time));
    }
    let windows: Vec<(Timestamp, Timestamp)> = ends.iter().copied().zip(ends.iter().copied().skip(1)).collect();
    let mut deltas: Vec<Vec<Delta>> = windows.iter().map(|_| Vec::new()).collect();
    for (key, group) in snapshot.groups.iter().filter(|(_, group)| group.side == Side::Stable) {
        let Some(times) = scrapes.get(&key.target) else { continue };
        let seen = |from: Timestamp, to: Timestamp| times.range(from..=to).any(|time| *time > from);
        let process = Process { key, groups: &snapshot.groups, kept: None, scrapes: &[], pace: None };
        let mut meter = begins(key, group, times, &snapshot);
        let mut rows = group.rows.iter().peekable();
        let mut before = Vec::new();
        for ((start, end), into) in windows.iter().zip(&mut deltas) {
            let mut gained = vec![0.0; group.bounds.len()];
            while let Some((time, row)) = rows.next_if(|(time, _)| time <= end) {
                let Some(meter) = meter.as_mut() else {
                    meter = Some(Meter::from_row(*time, row.clone()));
                    continue;
                };
                before.clone_from(&meter.gained);
                // Without a pace nothing is impossible.
                if meter.take(*time, row, &process).is_ok() && time > start {
                    gained.iter_mut().zip(meter.gained.iter().zip(&before)).for_each(|(sum, (now, before))| *sum += now - before);
                }
            }
            let length = end.duration_since(*start);
            if meter.is_some() && seen(*start, *end) && seen(start.saturating_sub(length).unwrap_or(*start), *start) {
                into.push(Delta {
                    family: key.family,
                    side: group.side,
                    pod: group.pod.clone(),
                    labels: key.labels.clone(),
                    bounds: group.bounds.clone(),
                    counts: super::tracker::whole_counts(gained),
                });
            }
        }
    }
    let of = windows.into_iter().zip(deltas).map(|((start, end), of)| Deltas { start, end, of, dips: 0, mixed: None });
    Ok(of.filter(|deltas| deltas.requests(Side::Stable) > 0).map(|deltas| deltas.stable_by_pod(metrics, by_pod)).collect())
}

/// Whether the label of a replica doubles every series of a reading, and whether pods that are not ours are in it.
pub fn identity(reading: &Reading, scope: &Scope, at: Timestamp) -> (Option<Doubled>, Option<Mixed>) {
    let pods = scope.pods.keys().cloned().collect();
    Snapshot::of(reading, scope, &pods, at).map(|snapshot| (snapshot.doubled, snapshot.mixed)).unwrap_or_default()
}

/// Where a series begins: at zero if it was born while its target was being read, unless it continues from one that ended then.
fn begins(key: &GroupKey, group: &Group, times: &BTreeSet<Timestamp>, snapshot: &Snapshot) -> Option<Meter> {
    let (born, row) = group.rows.first()?;
    let before = times.range(..*born).next_back()?;
    let goes_on = snapshot.groups.iter().filter(|(other, _)| other.target == key.target && other.family == key.family).any(|(_, other)| {
        let ended = other.rows.last().filter(|(at, _)| at < born);
        ended.is_some_and(|(_, last)| continues(total(last), total(row)))
    });
    (!goes_on).then(|| Meter::at_zero(*before, group.bounds.len()))
}

/// At most `most` names, chosen by their hash: the same ones every time, and no kind of pod more often than another.
pub fn chosen<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> Vec<String> {
    let mut all: Vec<(u64, &str)> = names.map(|name| (fnv(name), name)).collect();
    all.sort_unstable();
    all.into_iter().take(most).map(|(_, name)| name.to_owned()).collect()
}

/// FNV-1a, 64 bits.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
