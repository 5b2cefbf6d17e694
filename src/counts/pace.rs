//! How fast each target has counted so far: what it cannot have done is not believed.

use std::collections::{BTreeMap, BTreeSet};

use super::meter::ALWAYS;
use super::{Delta, Dropped, Family, Side, Target};

/// Windows after which the past says something.
const ENOUGH: u32 = 3;
/// So many times faster than ever before is a jump, from [`SEVERAL`] events on.
const JUMP: f64 = 8.0;
/// Fewer events in a window are believed at any pace.
const SEVERAL: f64 = 2.0 * ALWAYS;
/// Requests and their durations are counted at once: so many times more of one than of the other is wrong in one of the two.
const APART: f64 = 3.0;
/// What is left of the highest pace after each window, so that an old burst is forgotten in the end.
const FADES: f64 = 0.99;
/// Another target that also is so many times faster than before confirms a burst of traffic.
const CONFIRMS: f64 = JUMP / 2.0;

/// Whose pace it is. A gateway counts both arms.
type Who = (Target, Family, Side);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pace {
    /// Highest so far, in events per second.
    most: f64,
    windows: u32,
}

/// The highest pace of each target so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Paces {
    of: BTreeMap<Who, Pace>,
    /// Targets that jumped at the look before: a pace that stays is real.
    jumped: BTreeSet<Target>,
    /// Targets whose requests and durations were apart at the look before: those that stay so are counted as they are.
    apart: BTreeSet<Target>,
}

impl Paces {
    /// The canary's share has changed, and its past with it.
    pub(super) fn forget_canary(&mut self) {
        self.of.retain(|(_, _, side), _| *side == Side::Stable);
    }

    /// Events per second, where there is a past that says so.
    pub(super) fn of(&self, target: &Target, family: Family, side: Side) -> Option<f64> {
        let pace = self.of.get(&(target.clone(), family, side))?;
        (pace.windows >= ENOUGH && pace.most > 0.0).then_some(pace.most)
    }

    /// Takes the gains of one window of so many seconds, by target; an error where one of them cannot be.
    pub(super) fn take<'a>(&mut self, gains: impl Iterator<Item = (&'a Target, &'a Delta)>, seconds: f64) -> Result<(), Dropped> {
        let seconds = seconds.max(0.001);
        let mut sums: BTreeMap<Who, (f64, &str)> = BTreeMap::new();
        for (target, delta) in gains {
            let sum = sums.entry((target.clone(), delta.family, delta.side)).or_insert((0.0, &delta.pod));
            sum.0 += delta.counts.last().map_or(0.0, |count| *count as f64);
        }
        let apart = sums.iter().filter_map(|(who, (sum, pod))| {
            let (other, _) = twin(who, &sums)?;
            let (pod, job) = ((*pod).to_owned(), who.0.job.to_string());
            let (requests, durations) = if who.1 == Family::Requests { (*sum, *other) } else { (*other, *sum) };
            let wrong = sum - other > ALWAYS && *sum > APART * other;
            let dropped = Dropped::Apart { pod, job, requests: requests.round() as u64, durations: durations.round() as u64 };
            wrong.then(|| (who.0.clone(), dropped))
        });
        let apart: BTreeMap<Target, Dropped> = apart.collect();
        let began = apart.iter().find(|(target, _)| !self.apart.contains(*target)).map(|(_, dropped)| dropped.clone());
        self.apart = apart.into_keys().collect();
        if let Some(dropped) = began {
            return Err(dropped);
        }
        let faster = |who: &Who, sum: f64| self.of(&who.0, who.1, who.2).map(|pace| sum / seconds / pace);
        let jump = sums.iter().find(|(who, (sum, _))| {
            let alone = *sum > SEVERAL && faster(who, *sum).is_some_and(|times| times > JUMP);
            alone && !self.jumped.contains(&who.0) && !confirmed(who, *sum, &sums, faster)
        });
        if let Some((who, (sum, pod))) = jump {
            let (who, pod, sum) = (who.clone(), (*pod).to_owned(), *sum);
            let usual = self.of(&who.0, who.1, who.2).unwrap_or_default() * seconds;
            let dropped = Dropped::Jump { pod, job: who.0.job.to_string(), gained: sum.round() as u64, usual: usual.round() as u64 };
            self.jumped = BTreeSet::from([who.0.clone()]);
            // The next one as large is believed: a target that comes in bursts is not left out for ever.
            self.of.entry(who).or_default().most = sum / seconds;
            return Err(dropped);
        }
        self.jumped.clear();
        for (who, (sum, _)) in sums {
            let pace = self.of.entry(who).or_default();
            pace.most = (pace.most * FADES).max(sum / seconds);
            pace.windows = pace.windows.saturating_add(1);
        }
        Ok(())
    }
}

/// The durations of the same requests, or the requests of the same durations, if both are counted.
fn twin<'s, 'p>(who: &Who, sums: &'s BTreeMap<Who, (f64, &'p str)>) -> Option<&'s (f64, &'p str)> {
    let twin = match who.1 {
        Family::Requests => Family::Latency,
        Family::Latency => Family::Requests,
        _ => return None,
    };
    sums.get(&(who.0.clone(), twin, who.2))
}

/// A burst of traffic is counted twice over, and meets more than one target.
fn confirmed(who: &Who, sum: f64, sums: &BTreeMap<Who, (f64, &str)>, faster: impl Fn(&Who, f64) -> Option<f64>) -> bool {
    let same = twin(who, sums).is_some_and(|(other, _)| (0.5..=2.0).contains(&(other / sum)));
    same || sums
        .iter()
        .any(|(other, (sum, _))| other.0 != who.0 && other.1 == who.1 && faster(other, *sum).is_some_and(|times| times > CONFIRMS))
}
