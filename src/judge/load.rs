//! Like with like: what of a difference in latency unequal load explains.
//!
//! A pod that gets fewer requests has colder caches and smaller batches, one that gets more has longer queues. How much that moves the share
//! above a bound is learned from stable's own past where its load per pod varied, and assumed where it did not. It is learned in log odds: a
//! share that is small at the usual load, or near one, follows a straight line there far beyond the loads that were seen.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use super::columns::Row;
use super::dispersion::BLOCKS;
use super::kernel::at_odds;
use super::past::sum;
use super::tidy;
use crate::api::{ArmLoad, Load};
use crate::counts::Window;

/// Loads per pod that differ by more than this factor are unequal.
pub const UNEQUAL: f64 = 2.0;
/// Blocks of the past without which a slope says nothing.
const LEAST_BLOCKS: usize = 8;
/// Standard errors that the bounds of a slope are away from it.
const ERRORS: f64 = 2.0;
/// Length of the blocks whose loads say how far stable's load varied, in windows.
const RANGE: usize = 4;
/// Share of the blocks left out at either end of that.
const TAIL: f64 = 0.05;
/// Shares are at least so far from 0 and from 1.
const LEAST: f64 = 1e-6;

/// Canary pods with which both versions have the same load per pod, as near as whole pods come: of so many stable pods, and canary's requests
/// for each of stable's.
pub fn equal_pods(stable_pods: u32, requests: f64) -> u32 {
    // Not negative, and saturating: the cast is exact.
    (f64::from(stable_pods) * requests).round().max(1.0) as u32
}

/// What a pod of each version gets in a window, as logarithms; equal where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Loads {
    stable: f64,
    canary: f64,
}

impl Loads {
    /// Of so many requests in a window on so many pods, of stable and of the canary.
    pub(super) fn of(requests: (f64, f64), pods: [u32; 2]) -> Self {
        let [a, b] = pods.map(f64::from);
        let (stable, canary) = (requests.0 / a, requests.1 / b);
        let known = |load: f64| load.is_finite() && load > 0.0;
        if known(stable) && known(canary) { Self { stable: stable.ln(), canary: canary.ln() } } else { Self::default() }
    }

    /// How far apart they are, in e-folds.
    fn apart(self) -> f64 {
        (self.canary - self.stable).abs()
    }

    /// They differ by more than [`UNEQUAL`].
    pub(super) fn unequal(self) -> bool {
        self.apart() > UNEQUAL.ln() + 1e-9
    }

    /// The part of the distance that an assumption speaks of: nothing up to a factor of two, all of it from a factor of four on, evenly between.
    pub(super) fn counted(self) -> f64 {
        let apart = self.apart();
        apart.min(2.0 * (apart - UNEQUAL.ln())).max(0.0)
    }

    /// Whether one of these shares of the canary brings the loads nearer to each other, on the same pods.
    pub(super) fn nearer(self, mut weights: impl Iterator<Item = f64>, pods: [u32; 2]) -> bool {
        let counted = self.counted();
        counted > 0.0 && weights.any(|weight| Self::of((1.0 - weight, weight), pods).counted() < counted)
    }

    /// Upper bound of what the difference in load adds for the canary to a share that is `p` in stable. `assumed` is that for so many e-folds.
    pub(super) fn explained(self, p: f64, response: Option<&Response>, assumed: impl Fn(f64) -> f64) -> f64 {
        let apart = self.apart();
        let Some(response) = response.filter(|_| apart > 0.0) else { return assumed(self.counted()) };
        let (low, high) = (self.stable.min(self.canary), self.stable.max(self.canary));
        let seen = (high.min(response.to) - low.max(response.from)).clamp(0.0, apart);
        let slope = if self.canary < self.stable { response.less } else { response.more };
        let rest = apart - seen;
        let p = p.clamp(LEAST, 1.0 - LEAST);
        let shown = at_odds(p, (slope * seen).max(0.0).exp());
        // Beyond what stable has shown, the slope goes on, or is as assumed where that is more.
        shown - p + (at_odds(shown, (slope * rest).exp()) - shown).max(assumed(self.counted() * rest / apart))
    }
}

/// Doublings in so many e-folds.
pub(super) fn doublings(folds: f64) -> f64 {
    folds / LN_2
}

/// How the share above a bound followed stable's load per pod, in log odds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    /// Upper bound of what an e-fold less adds.
    less: f64,
    /// Upper bound of what an e-fold more adds.
    more: f64,
    /// Logs of the loads per pod and window between which that was seen.
    from: f64,
    to: f64,
}

impl Response {
    /// Of a column, from windows of stable's pods. `None` where the load per pod varied by less than a factor of two.
    pub(super) fn of(windows: &[Vec<Row>], column: usize) -> Option<Self> {
        let blocks = |length: usize| -> Vec<(f64, f64, f64)> { windows.chunks_exact(length).filter_map(|of| block(of, column)).collect() };
        let mut loads: Vec<f64> = blocks(RANGE).into_iter().map(|(load, ..)| load).collect();
        loads.sort_by(f64::total_cmp);
        let tail = (TAIL * loads.len() as f64).round() as usize;
        let (from, to) = (*loads.get(tail)?, *loads.get(loads.len().checked_sub(1 + tail)?)?);
        if to - from < UNEQUAL.ln() {
            return None;
        }
        // As with noise, the length of blocks that says the most counts: slow noise is no response.
        let of_lengths = BLOCKS.iter().map(|length| blocks(*length)).filter(|blocks| blocks.len() >= LEAST_BLOCKS);
        let bounds = of_lengths.filter_map(|blocks| {
            let (slope, error) = slope(&blocks)?;
            Some((ERRORS * error - slope, ERRORS * error + slope))
        });
        let (less, more) = bounds.reduce(|most, one| (most.0.max(one.0), most.1.max(one.1)))?;
        Some(Self { less: tidy(less), more: tidy(more), from: tidy(from), to: tidy(to) })
    }
}

/// Log of the load per pod and window, the log odds of the share above the bound, and what they weigh.
fn block(windows: &[Vec<Row>], column: usize) -> Option<(f64, f64, f64)> {
    let pods = windows.iter().flatten().filter(|row| row.n > 0.0).count();
    let all = sum(windows.iter().flatten());
    // Half an event more of each kind: none of them is no proof that there never is one.
    let more = all.x.get(column).copied().unwrap_or(0.0) + 0.5;
    let fewer = all.n + 1.0 - more;
    (pods > 0).then(|| ((all.n / pods as f64).ln(), (more / fewer).ln(), more * fewer / (all.n + 1.0)))
}

/// Weighted least squares: the slope and its standard error, which allows for noise that differs from block to block.
fn slope(blocks: &[(f64, f64, f64)]) -> Option<(f64, f64)> {
    let (count, weight) = (blocks.len() as f64, blocks.iter().map(|(_, _, n)| n).sum::<f64>());
    let mean = |of: fn(&(f64, f64, f64)) -> f64| blocks.iter().map(|block| block.2 * of(block)).sum::<f64>() / weight;
    let (x, y) = (mean(|block| block.0), mean(|block| block.1));
    let spread: f64 = blocks.iter().map(|(load, _, n)| n * (load - x).powi(2)).sum();
    if spread <= 0.0 || count <= 2.0 {
        return None;
    }
    let slope = blocks.iter().map(|(load, odds, n)| n * (load - x) * (odds - y)).sum::<f64>() / spread;
    let left = |(load, odds, n): &(f64, f64, f64)| (n * (load - x) * (odds - y - slope * (load - x))).powi(2);
    let error = (blocks.iter().map(left).sum::<f64>() * count / (count - 2.0)).sqrt() / spread;
    Some((slope, error))
}

/// Requests and pods of both versions in a step, stable's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tally {
    requests: [u64; 2],
    /// Seconds of pods.
    seconds: [f64; 2],
    /// Pods in the newest window.
    pub(super) pods: [u32; 2],
}

impl Tally {
    /// Adds a window with so many requests of stable and of the canary.
    pub(super) fn add(&mut self, window: &Window, requests: [u64; 2]) {
        let length = window.end.duration_since(window.start).as_secs_f64();
        self.pods = [window.stable_pods, window.canary_pods];
        for ((sum, seconds), (requests, pods)) in self.requests.iter_mut().zip(&mut self.seconds).zip(requests.into_iter().zip(self.pods)) {
            *sum += requests;
            *seconds = tidy(*seconds + length * f64::from(pods));
        }
    }

    /// A step begins; the pods are still there.
    pub(super) fn begin_step(&mut self) {
        *self = Self { pods: self.pods, ..Self::default() };
    }

    /// What is told of it; `None` while a version has no pods or was not counted.
    pub(super) fn told(&self) -> Option<Load> {
        let each = |at: usize| {
            let (requests, seconds, pods) = (self.requests.get(at)?, self.seconds.get(at)?, self.pods.get(at)?);
            let short = |x: f64| (x * 1e4).round() / 1e4;
            let pods = i32::try_from(*pods).ok().filter(|pods| *pods > 0 && *seconds > 0.0)?;
            Some(ArmLoad { pods, requests_per_pod: short(*requests as f64 / seconds) })
        };
        let (stable, canary) = (each(0)?, each(1)?);
        (stable.requests_per_pod > 0.0 && canary.requests_per_pod > 0.0).then_some(Load { stable, canary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(stable: f64, canary: f64) -> Loads {
        Loads::of((stable, canary), [1, 1])
    }

    /// Windows of two pods whose load swings by `factor`, with `share(ln load)` above the bound.
    fn swinging(factor: f64, share: impl Fn(f64) -> f64) -> Vec<Vec<Row>> {
        let row = |k: i32| {
            let load = 4.0f64.ln() + 6.0 + 0.5 * factor.ln() * (f64::from(k) / 40.0).sin();
            let n = load.exp().round();
            Row { n, x: vec![(share(load) * n).round()] }
        };
        (0..1440).map(|k| vec![row(k), row(k)]).collect()
    }

    #[test]
    fn up_to_a_factor_of_two_nothing_is_assumed_and_from_four_on_everything() {
        let counted = |ratio: f64| doublings(loads(1.0, ratio).counted());
        assert_eq!([1.0, 0.5, 2.0, 0.7].map(counted), [0.0; 4]);
        for (ratio, wanted) in [(4.0, 2.0), (0.25, 2.0), (1.0 / 16.0, 4.0), (2.0 * 2f64.sqrt(), 1.0)] {
            assert!((counted(ratio) - wanted).abs() < 1e-9, "{ratio}: {}", counted(ratio));
        }
        assert!(!loads(2.0, 1.0).unequal() && loads(2.1, 1.0).unequal());
        assert_eq!(Loads::of((5.0, 5.0), [3, 0]), Loads::default(), "pods that are not known are taken as equal");
    }

    #[test]
    fn the_response_of_stable_to_its_own_load_is_found_with_its_direction() {
        let colder = |load: f64| at_odds(0.3, (-0.5 * (load - 7.4)).exp());
        let found = Response::of(&swinging(4.0, colder), 0).unwrap();
        assert!((found.less - 0.5).abs() < 0.03 && (found.more + 0.5).abs() < 0.03, "{found:?}");
        assert!(found.to - found.from > 1.2, "{found:?}");
        let half = found.from + 0.5 * (found.to - found.from);
        let (less, more) = (Loads { stable: half, canary: found.from }, Loads { stable: half, canary: found.to });
        let none = |_: f64| 0.0;
        let explained = less.explained(0.3, Some(&found), none);
        assert!((0.3 + explained - colder(7.4 - half + found.from)).abs() < 0.01, "{explained}");
        assert_eq!(more.explained(0.3, Some(&found), none), 0.0, "more load makes it faster, which excuses nothing");
    }

    #[test]
    fn a_share_that_is_small_at_the_loads_that_were_seen_may_be_large_far_below_them() {
        // Log-normal durations, of which 6 % take longer than 2.5 times the median; a sixth slower for each e-fold less.
        let share = |load: f64| 0.5 * statrs::function::erf::erfc((1.537 + 0.29 * (load - 7.4)) / std::f64::consts::SQRT_2);
        let found = Response::of(&swinging(9.0, share), 0).unwrap();
        let far = Loads { stable: 7.4, canary: 7.4 - 19f64.ln() };
        let limit = share(far.stable) + far.explained(share(far.stable), Some(&found), |_| 0.0);
        assert!((0.0..0.1).contains(&(limit - share(far.canary))), "{limit} {}", share(far.canary));
    }

    #[test]
    fn a_load_that_hardly_varied_says_nothing() {
        assert_eq!(Response::of(&swinging(1.5, |_| 0.3), 0), None);
        assert_eq!(Response::of(&[], 0), None);
    }

    #[test]
    fn slow_noise_without_a_response_widens_the_bounds_and_is_not_taken_for_one() {
        // Whether it is slow has nothing to do with the load: periods that do not meet.
        let mut k = 0.0;
        let mut windows = swinging(4.0, |_| 0.3);
        for row in windows.iter_mut().flatten() {
            row.x = vec![row.n * (0.3 + 0.05 * (k / 37.0f64).sin())];
            k += 0.5;
        }
        let found = Response::of(&windows, 0).unwrap();
        assert!(found.less > 0.0 && found.more > 0.0 && found.less < 0.4 && found.more < 0.4, "{found:?}");
    }

    #[test]
    fn beyond_what_was_seen_the_larger_of_slope_and_assumption_goes_on() {
        let response = Response { less: 0.1, more: -0.1, from: 0.0, to: 2.0 };
        let far = Loads { stable: 2.0, canary: -2.0 };
        let wide = |folds: f64| 0.1 * folds;
        let odds = |folds: f64| at_odds(0.3, (0.1 * folds).exp()) - 0.3;
        assert!((far.explained(0.3, Some(&response), wide) - (odds(2.0) + 0.2)).abs() < 1e-9);
        assert!((far.explained(0.3, Some(&response), |_| 0.0) - odds(4.0)).abs() < 1e-9);
        assert!((far.explained(0.3, None, wide) - 0.4).abs() < 1e-9);
    }
}
