//! Recorded traffic of one version, split as if some of its pods were a canary.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::play::{Played, Setup, TwoArms, play};
use crate::counts::{Counts, History, Sample};
use crate::judge::most_windows;
use crate::plan::Plan;
use crate::state::brief::terms;

/// Windows that must come before a rollout: with fewer the judge knows no margins.
const LEAST_BEFORE: usize = 20;
/// Windows that should: with fewer the judge takes stable as noisier than it may be.
const ENOUGH_BEFORE: usize = 120;

/// Why a recording cannot be split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unsplittable {
    /// There are no pods in the counts.
    #[error("the counts do not tell pods apart: requests are not counted at the model's own pods (reporter \"destination\")")]
    NoPods,
    /// One pod cannot be compared with itself.
    #[error("{pods} pod had traffic: at least two are needed, one of them as the canary")]
    OnePod {
        /// How many.
        pods: usize,
    },
    /// The plan does not fit in.
    #[error("{windows} windows were recorded, but the plan needs {needed}: {before} before the rollout and {holds} for its holds")]
    TooShort {
        /// Recorded.
        windows: usize,
        /// Needed in all.
        needed: usize,
        /// Before the rollout.
        before: usize,
        /// For the holds.
        holds: usize,
    },
}

/// Windows of one version, pod by pod.
#[derive(Clone, Debug)]
pub struct Recording {
    history: History,
    pods: Vec<String>,
    holds: usize,
}

impl Recording {
    /// Takes what was recorded, for a plan that is to be played on it.
    ///
    /// # Errors
    /// When its pods cannot be told apart, or it is too short for the plan's holds.
    pub fn new(history: History, plan: &Plan) -> Result<Self, Unsplittable> {
        if !history.by_pod {
            return Err(Unsplittable::NoPods);
        }
        let pods: BTreeSet<&String> = history.windows.iter().flat_map(BTreeMap::keys).collect();
        let pods: Vec<String> = pods.into_iter().cloned().collect();
        if pods.len() < 2 {
            return Err(Unsplittable::OnePod { pods: pods.len() });
        }
        let holds: f64 = plan.steps.iter().map(|step| (step.hold.as_secs_f64() / history.interval_seconds.max(1e-3)).ceil().max(4.0)).sum();
        let (windows, holds) = (history.windows.len(), holds as usize);
        if windows < LEAST_BEFORE + holds {
            return Err(Unsplittable::TooShort { windows, needed: LEAST_BEFORE + holds, before: LEAST_BEFORE, holds });
        }
        Ok(Self { history, pods, holds })
    }

    /// The pods.
    pub fn pods(&self) -> &[String] {
        &self.pods
    }

    /// The windows.
    pub fn windows(&self) -> usize {
        self.history.windows.len()
    }

    /// Requests a second: what the metric that counted most of them counted.
    pub fn rps(&self) -> f64 {
        let total = |counts: &Counts| match counts {
            Counts::Events { total, .. } | Counts::Histogram { total, .. } => *total,
            Counts::Classes(classes) => classes.values().sum(),
        };
        let samples = self.history.windows.iter().flat_map(BTreeMap::values);
        let requests: u64 = samples.map(|sample| sample.values().map(total).max().unwrap_or(0)).sum();
        requests as f64 / (self.windows() as f64 * self.history.interval_seconds).max(1e-9)
    }

    /// Length of a window in seconds.
    pub fn interval(&self) -> f64 {
        self.history.interval_seconds
    }

    /// Pods that stand for the canary in a step with this share: as near to it as whole pods are, at least one, and below 1 not all.
    pub fn canary_pods(&self, share: f64) -> usize {
        let pods = self.pods.len();
        if share >= 1.0 { pods } else { ((share * pods as f64).round() as usize).clamp(1, pods - 1) }
    }

    /// Plays the plan once: a begin and a split by chance, but the same for the same seed. What is before the begin is stable's past; with
    /// each step more of the pods count as the canary's.
    pub fn play(&self, plan: &Plan, seed: u64, hands: super::Hands, watch: bool) -> Played {
        let mut rng = SmallRng::seed_from_u64(seed);
        let latest = self.windows() - self.holds;
        let earliest = ENOUGH_BEFORE.min(latest);
        let begin = rng.random_range(earliest..=latest);
        let mut pods: Vec<&String> = self.pods.iter().collect();
        pods.shuffle(&mut rng);
        let interval = self.history.interval_seconds;
        let most = ((super::MOST_HISTORY / interval).max(1.0) as usize).min(most_windows(interval));
        let past = self.history.windows.get(begin.saturating_sub(most)..begin).unwrap_or_default().to_vec();
        let history = History { interval_seconds: interval, windows: past, by_pod: true };
        let share = terms(plan).first().map_or(1.0, |step| step.weight);
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        let setup =
            Setup { plan: plan.clone(), interval, stable_pods: count(self.pods.len()), canary_pods: count(self.canary_pods(share)), hands };
        let mut next = begin;
        let mut windows = |_: f64, _: f64, _: usize, [stable, canary]: [f64; 2]| {
            let window = self.history.windows.get(next)?;
            next += 1;
            let canary = pods.get(..self.canary_pods(canary / (stable + canary))).unwrap_or_default();
            let (mut sides, mut other) = (Vec::new(), Vec::new());
            for (pod, sample) in window {
                if canary.contains(&pod) { sides.push(sample) } else { other.push(sample) }
            }
            Some(TwoArms { samples: [sum(&other), sum(&sides)], pods: [count(other.len()), count(sides.len())] })
        };
        play(&setup, &history, &mut windows, watch)
    }
}

/// The counts of several pods together.
fn sum(samples: &[&Sample]) -> Sample {
    let mut all = Sample::new();
    for (name, counts) in samples.iter().flat_map(|sample| sample.iter()) {
        match all.get_mut(name) {
            Some(sum) => add(sum, counts),
            None => {
                all.insert(name.clone(), counts.clone());
            }
        }
    }
    all
}

/// Adds counts of the same kind; histograms keep the bounds that both have.
fn add(sum: &mut Counts, more: &Counts) {
    match (sum, more) {
        (Counts::Events { total, bad }, Counts::Events { total: requests, bad: failed }) => {
            *total += requests;
            *bad += failed;
        }
        (Counts::Histogram { bounds, above, total }, Counts::Histogram { bounds: others, above: counts, total: requests }) => {
            let of = |bound: &f64| others.iter().zip(counts).find(|(other, _)| *other == bound).map(|(_, count)| *count);
            let kept: Vec<(f64, u64)> =
                bounds.iter().zip(above.iter()).filter_map(|(bound, count)| Some((*bound, count + of(bound)?))).collect();
            (*bounds, *above) = kept.into_iter().unzip();
            *total += requests;
        }
        (Counts::Classes(classes), Counts::Classes(counts)) => {
            for (class, count) in counts {
                *classes.entry(class.clone()).or_default() += count;
            }
        }
        // One metric is counted in one way.
        _ => {}
    }
}
