//! Error rate and latency: one or several shares, each with a process that fails and one that passes (statistics 2a, 2b, 2j).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::budget::{self, Ahead};
use super::bursts;
use super::cold::Before;
use super::columns::Row;
use super::dispersion::{Ratio, Spread};
use super::distance::split_z;
use super::incident::Own;
use super::kernel::{Margin, Pair};
use super::load::{Loads, Response, doublings};
use super::mixture::{CAP, ETA, Mixture, PlugIn};
use super::passing::{Hold, Passing};
use super::tidy;
use crate::plan::{Limits, ShareLimits, StretchLimits};

/// Events that a step must be planned to show on the canary before a bound takes part in the pass.
pub(super) const LEAST_EVENTS: f64 = 5.0;
/// Quantiles that are watched, as shares above.
const WATCHED: [f64; 3] = [0.5, 0.05, 0.01];
/// A quantile lies on a bound where the share above that differs from its level by at most this part of it: which side it is on is chance.
const ON: f64 = 0.02;
/// A bound that more than this share of stable exceeds says nothing about slowness.
const MOST_ABOVE: f64 = 0.98;
/// Widest pass margin of a share.
const WIDEST_PASS: f64 = 0.05;
/// Widest stretch of the pass margin.
const WIDEST_STRETCH: f64 = 0.5;
/// Least pass margin at full weight of a share above a bound: that of errors.
const LEAST_PASS: f64 = 0.002;
/// Least fail margin of a share above a bound, for each 5 % of stretch: that of errors.
const LEAST_FAIL: f64 = 0.01;

/// One share that is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Track {
    /// Which column.
    pub column: usize,
    /// Its part of the metric's evidence.
    pub weight: f64,
    /// Part of the betting score that bets on windows; the rest is for what is plain at one scrape.
    #[serde(default = "whole")]
    pub open: f64,
    /// Stable's share before the rollout.
    pub s0: f64,
    /// Relative part of the fail margin.
    pub r: f64,
    /// Absolute part, with the pods' part.
    pub d: f64,
    /// What of the share unequal load explains now: added to the margin.
    #[serde(default)]
    pub load: f64,
    /// How stable's share followed its own load per pod, where that varied.
    #[serde(rename = "follows", skip_serializing_if = "Option::is_none", default)]
    pub response: Option<Response>,
    /// First dispersion.
    pub phi0: f64,
    /// Part of the reserve for a first dispersion that so much history asks for.
    #[serde(default = "whole")]
    pub reserve: f64,
    /// Mean length of a burst of errors, at least, as far as stable's past shows it; 1: they come one by one.
    #[serde(default = "whole")]
    pub burst: f64,
    /// Stable's rate as predicted.
    pub stable: PlugIn,
    /// Evidence that the canary is worse.
    pub fail: Mixture,
    /// The planned-horizon budget: distance to its boundary. A state without it never starts over.
    #[serde(default = "spent")]
    pub rho: f64,
    /// Evidence that it is not, in the present step.
    #[serde(flatten)]
    pub pass: Passing,
    /// Running dispersion.
    pub spread: Spread,
    /// How many times as often the canary fails, for that.
    #[serde(default)]
    pub effect: Ratio,
    /// Stable against its own past.
    #[serde(default)]
    pub own: Own,
    /// What it was before the canary's pods were young: what they show is put aside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Box<Before>>,
}

fn whole() -> f64 {
    1.0
}

fn spent() -> f64 {
    budget::SPENT
}

/// The rest of the plan, as a look needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'a> {
    /// Canary's share, and windows still to come, of each step.
    pub ahead: &'a [(f64, f64)],
    /// Requests of both arms in a window.
    pub per_window: f64,
    /// An incident hits both versions: nothing is proved meanwhile.
    pub frozen: bool,
    /// The rest of the present step's hold.
    pub hold: Hold,
    /// The budget is kept for later steps, in which the loads are nearer to each other.
    pub spared: bool,
}

impl Rest<'_> {
    /// With its dispersion.
    pub(super) fn with(&self, phi: f64) -> Vec<Ahead> {
        self.ahead.iter().map(|(weight, windows)| Ahead { windows: *windows, weight: *weight, phi }).collect()
    }
}

impl Track {
    /// A column with its part of the evidence, from `windows` windows of stable's past, under a margin.
    pub(super) fn new((column, weight): (usize, f64), past: &Row, windows: f64, margin: Margin, phi0: f64) -> Self {
        let x = past.x.get(column).copied().unwrap_or(0.0);
        Self {
            column,
            weight,
            s0: tidy(x / past.n.max(1.0)),
            open: 1.0,
            r: margin.r,
            d: tidy(margin.d),
            load: 0.0,
            response: None,
            phi0,
            reserve: 1.0,
            burst: 1.0,
            stable: PlugIn::seeded(past.n, x, windows),
            fail: Mixture::new(ETA.len()),
            rho: budget::SPENT,
            pass: Passing::idle(),
            spread: Spread::default(),
            effect: Ratio::default(),
            own: Own::default(),
            before: None,
        }
    }

    /// The fail margin.
    pub(super) fn fail_margin(&self) -> Margin {
        Margin { r: self.r, d: self.d + self.load }
    }

    /// Dispersion.
    pub(super) fn phi(&self) -> f64 {
        self.spread.phi(self.phi0)
    }

    /// The same for evidence that the canary is worse: with less of a reserve where much of stable's past is known. A pass keeps all of it.
    fn fail_phi(&self) -> f64 {
        (self.reserve * self.phi()).max(1.0)
    }

    /// Both halves of the evidence that the canary is worse, as a part of the metric's: `alpha` is the metric's part of the budget, 0 where
    /// the plan is open-ended.
    pub(super) fn harm(&self, alpha: f64) -> f64 {
        let (fail, rho) = self.before.as_ref().map_or((&self.fail, self.rho), |before| (&before.fail, before.rho));
        if alpha > 0.0 {
            (1.0 - budget::PART) * self.weight * self.open * fail.value() + budget::PART * budget::chance(rho) / alpha
        } else {
            self.weight * self.open * fail.value()
        }
    }

    /// Widens the margins by what unequal load explains. What opens the way to everybody has to be proved as it is; and what was proved while
    /// more was allowed is no proof where less is.
    fn widen(&mut self, load: f64, to_everybody: bool, hold: Hold) {
        self.load = tidy(load);
        let pass = if to_everybody { 0.0 } else { load };
        let (d, p, phi) = (self.pass.d, self.stable.rate(), self.phi());
        self.pass.widen(tidy(pass), self.s0, || Passing::begin(d, p, phi, hold));
    }

    /// Adds one window: bets first, then what is learnt from it.
    fn add(&mut self, gamma: f64, pair: Pair, rest: &Rest<'_>) {
        let (p, phi, fail_phi) = (self.stable.rate(), self.phi(), self.fail_phi());
        self.own.add(pair.n_a, pair.x_a, self.s0, phi);
        if !rest.spared {
            let (margin, ahead) = (self.fail_margin(), rest.with(fail_phi));
            self.rho = upwards(budget::look(self.rho, pair, margin, fail_phi, self.stable.planned_rate(), &ahead, rest.per_window));
        }
        if pair.n_a <= 0.0 || pair.n_b <= 0.0 {
            return;
        }
        self.fail.add(gamma, bursts::fail_bets(pair, p, self.fail_margin(), &ETA, fail_phi, self.burst), 1.0, CAP);
        if self.pass.asks() && !rest.frozen {
            self.pass.add(pair, p, phi, rest.hold);
        }
        self.stable.add(pair.n_a, pair.x_a, PlugIn::HALF_LIFE);
        if let Some(z) = split_z(pair, self.effect.ratio(self.phi0)) {
            self.spread.add(z, self.phi0);
        }
        self.effect.add(pair);
    }
}

/// The watched shares of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Proportions {
    /// One for errors; for latency the bounds around p50, p95 and p99.
    pub tracks: Vec<Track>,
}

impl Proportions {
    /// Adds one window; one without both arms is a part of the plan that has gone by.
    pub(super) fn add(&mut self, gamma: f64, a: &Row, b: &Row, rest: &Rest<'_>) {
        for track in &mut self.tracks {
            track.add(gamma, pair(a, b, track.column), rest);
        }
    }

    /// Widens the margins by what unequal load explains.
    pub(super) fn widen(&mut self, loads: Loads, limits: Limits, bounds: &[f64], s0: &[f64], to_everybody: bool, hold: Hold) {
        let Limits::Stretch(StretchLimits { load: each, .. }) = limits else { return };
        for track in &mut self.tracks {
            let assumed = |folds: f64| slowed(limits, bounds, s0, track.column, (1.0 + each).powf(doublings(folds)) - 1.0);
            let explained = if each > 0.0 { loads.explained(track.stable.rate(), track.response.as_ref(), assumed) } else { 0.0 };
            track.widen(explained, to_everybody, hold);
        }
    }

    /// A window of stable alone.
    pub(super) fn rest(&mut self, a: &Row) {
        for track in &mut self.tracks {
            let phi = track.phi();
            track.own.add(a.n, a.x.get(track.column).copied().unwrap_or(0.0), track.s0, phi);
        }
    }

    /// Stable is as before: its evidence against its own past starts over.
    pub(super) fn calm(&mut self) {
        for track in &mut self.tracks {
            track.own = Own::default();
        }
    }

    /// Starts the budget: `alpha` is the metric's part, shared by the tracks as their weights say.
    pub(super) fn start_budget(&mut self, alpha: f64) {
        for track in &mut self.tracks {
            track.rho = upwards(budget::start(alpha * track.weight));
        }
    }

    /// Fail evidence: the weighted mean over the tracks, of both halves.
    pub(super) fn fail_evidence(&self, alpha: f64) -> f64 {
        let value: f64 = self.tracks.iter().map(|track| track.harm(alpha)).sum();
        if self.tracks.is_empty() { 1.0 } else { value }
    }

    /// Whether every track that takes part is proved; `None` when none does.
    pub(super) fn proved(&self) -> Option<bool> {
        self.tracks.iter().filter(|track| track.pass.asks()).map(|track| track.pass.proved()).reduce(|all, one| all && one)
    }

    /// Begins a step: pass sides start over, margins that follow what the next step risks. `planned` is the number of canary requests that the
    /// whole hold is planned to show.
    pub(super) fn begin_step(&mut self, limits: Limits, bounds: &[f64], s0: &[f64], next_weight: f64, hold: Hold, planned: f64) {
        for track in &mut self.tracks {
            let d = tidy(pass_margin(limits, bounds, s0, track.column, next_weight));
            track.pass = Passing::begin(d, track.stable.rate(), track.phi(), hold);
        }
        self.choose(!bounds.is_empty(), planned);
    }

    /// Which tracks take part in the pass: bounds of a histogram of which so many canary requests are planned to show enough.
    pub(super) fn choose(&mut self, bounded: bool, planned: f64) {
        for track in &mut self.tracks {
            let enough = !bounded || planned * track.s0 >= LEAST_EVENTS;
            track.pass.proves = enough && track.s0 + track.pass.d < 1.0;
        }
    }

    /// Another kind of traffic begins; `alpha` is the metric's part of the budget for it.
    pub(super) fn begin_kind(&mut self, alpha: f64) {
        for track in &mut self.tracks {
            (track.fail, track.spread, track.effect) = (Mixture::new(ETA.len()), Spread::default(), Ratio::default());
            track.before = None;
        }
        self.start_budget(alpha);
    }
}

/// `rho` as the checkpoint stores it, never nearer to the boundary than it was.
pub(super) fn upwards(rho: f64) -> f64 {
    (rho * 1e9).ceil() / 1e9
}

/// One column of both arms.
pub(super) fn pair(a: &Row, b: &Row, column: usize) -> Pair {
    let x = |row: &Row| row.x.get(column).copied().unwrap_or(0.0);
    Pair { n_a: a.n, x_a: x(a), n_b: b.n, x_b: x(b) }
}

/// The columns around the watched quantiles with their weights (sum 1): of each the last bound that more, and the first that at most so
/// many observations exceed; a bound that the quantile lies on, all but exactly, is both. `shares` fall.
pub(super) fn brackets(shares: &[f64]) -> Vec<(usize, f64)> {
    let mut found: Vec<(usize, f64)> = Vec::new();
    for level in WATCHED {
        let off = |at: &usize| shares.get(*at).map_or(f64::INFINITY, |s| (s - level).abs());
        let on = (0..shares.len()).min_by(|a, b| off(a).total_cmp(&off(b))).filter(|at| off(at) <= ON * level);
        let below = shares.iter().rposition(|s| *s > level).filter(|at| shares.get(*at).is_some_and(|s| *s <= MOST_ABOVE));
        let beyond = shares.iter().position(|s| *s <= level);
        for column in [on.or(below), on.or(beyond)].into_iter().flatten() {
            match found.iter_mut().find(|(at, _)| *at == column) {
                Some((_, weight)) => *weight += 1.0,
                None => found.push((column, 1.0)),
            }
        }
    }
    let sum: f64 = found.iter().map(|(_, weight)| weight).sum();
    found.sort_by_key(|(column, _)| *column);
    found.iter().map(|(column, weight)| (*column, tidy(weight / sum))).collect()
}

/// The bucket of a quantile (`level` = share above): greater than the first, at most the second.
pub(super) fn bracket(bounds: &[f64], shares: &[f64], level: f64) -> (Option<f64>, Option<f64>) {
    let below = shares.iter().rposition(|s| *s > level).and_then(|at| bounds.get(at)).copied();
    let beyond = shares.iter().position(|s| *s <= level).and_then(|at| bounds.get(at)).copied();
    (below, beyond)
}

/// Share of a histogram above `value`: linear in the first bucket, linear in the logarithm in the others.
pub(super) fn share_above(bounds: &[f64], shares: &[f64], value: f64) -> f64 {
    let mut left = (0.0, 1.0);
    for (bound, share) in bounds.iter().copied().zip(shares.iter().copied()) {
        if value <= bound {
            let part = if left.0 <= 0.0 { value / bound } else { (value / left.0).ln() / (bound / left.0).ln() };
            return left.1 + (share - left.1) * part.clamp(0.0, 1.0);
        }
        left = (bound, share);
    }
    left.1
}

/// The same where the distribution is taken as log-normal between two bounds: above the median more than the straight line says.
fn share_above_bent(bounds: &[f64], shares: &[f64], value: f64) -> f64 {
    let deviations = |share: f64| Normal::standard().inverse_cdf(share.clamp(1e-6, 1.0 - 1e-6));
    let beyond = bounds.iter().position(|bound| value <= *bound).filter(|at| *at > 0);
    let between = beyond.and_then(|at| Some(((*bounds.get(at - 1)?, *shares.get(at - 1)?), (*bounds.get(at)?, *shares.get(at)?))));
    let Some(((low, most), (high, least))) = between.filter(|((low, most), (_, least))| *low > 0.0 && most > least) else {
        return share_above(bounds, shares, value);
    };
    let part = ((value / low).ln() / (high / low).ln()).clamp(0.0, 1.0);
    Normal::standard().cdf(deviations(most) + part * (deviations(least) - deviations(most)))
}

/// The value that a `share` of the histogram exceeds: the inverse of [`share_above`]. `None` beyond the last bound.
pub(super) fn value_exceeded(bounds: &[f64], shares: &[f64], share: f64) -> Option<f64> {
    let mut left = (0.0, 1.0);
    for (bound, below) in bounds.iter().copied().zip(shares.iter().copied()) {
        if share >= below && left.1 > below {
            let part = ((left.1 - share) / (left.1 - below)).clamp(0.0, 1.0);
            return Some(if left.0 <= 0.0 { part * bound } else { left.0 * (bound / left.0).powf(part) });
        }
        left = (bound, below);
    }
    None
}

/// How many more of stable's requests would exceed the bound if it were slower by `stretch`.
fn stretched(bounds: &[f64], s0: &[f64], column: usize, stretch: f64) -> f64 {
    let Some((bound, share)) = bounds.get(column).zip(s0.get(column)) else { return 0.0 };
    (share_above(bounds, s0, bound / (1.0 + stretch)) - share).max(0.0)
}

/// Relative and absolute fail margin of a column, without the pods' part.
pub(super) fn fail_margin(limits: Limits, bounds: &[f64], s0: &[f64], column: usize) -> Margin {
    match limits {
        Limits::Share(ShareLimits { relative, absolute, .. }) => Margin { r: relative.max(1.0), d: absolute.max(0.0) },
        Limits::Stretch(StretchLimits { stretch, .. }) => {
            // The least margin guards against an empty bucket below the bound, where any stretch moves nothing.
            Margin { r: 1.0, d: stretched(bounds, s0, column, stretch.max(0.0)).max(LEAST_FAIL * stretch.max(0.0)) }
        }
        Limits::Distance(_) | Limits::Range(_) => Margin { r: 1.0, d: 0.0 },
    }
}

/// What a slow-down by `load` adds to the fail margin of a column.
fn slowed(limits: Limits, bounds: &[f64], s0: &[f64], column: usize, load: f64) -> f64 {
    let Limits::Stretch(own) = limits else { return 0.0 };
    let stretch = (1.0 + own.stretch) * (1.0 + load) - 1.0;
    let Some(bound) = bounds.get(column).filter(|_| load > 0.0) else { return 0.0 };
    let straight = fail_margin(Limits::Stretch(StretchLimits { stretch, ..own }), bounds, s0, column).d;
    let bent = share_above_bent(bounds, s0, bound / (1.0 + stretch)) - s0.get(column).copied().unwrap_or(0.0);
    straight.max(bent) - fail_margin(limits, bounds, s0, column).d
}

/// Pass margin of a column for a step that opens the way to `next_weight` (2j).
pub(super) fn pass_margin(limits: Limits, bounds: &[f64], s0: &[f64], column: usize, next_weight: f64) -> f64 {
    let next = next_weight.clamp(0.01, 1.0);
    let share = s0.get(column).copied().unwrap_or(0.0);
    match limits {
        Limits::Share(ShareLimits { pass, .. }) => (pass.max(share) / next).min(WIDEST_PASS),
        Limits::Stretch(StretchLimits { pass, .. }) => {
            let least = (LEAST_PASS / next).min(WIDEST_PASS);
            stretched(bounds, s0, column, (pass / next).min(WIDEST_STRETCH)).max(least)
        }
        Limits::Distance(_) | Limits::Range(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 6] = [25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
    const S0: [f64; 6] = [0.99, 0.88, 0.50, 0.06, 0.004, 0.0002];

    #[test]
    fn the_bounds_around_p50_p95_and_p99_are_watched() {
        let watched = brackets(&S0);
        assert_eq!(watched.iter().map(|(at, _)| *at).collect::<Vec<_>>(), vec![2, 3, 4], "p50 is 100 ms, which is a bound");
        let beside = brackets(&[0.99, 0.88, 0.45, 0.06, 0.004, 0.0002]);
        assert_eq!(beside.iter().map(|(at, _)| *at).collect::<Vec<_>>(), vec![1, 2, 3, 4]);
        assert!((watched.iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_stable_that_is_faster_than_its_first_bound_is_watched_there() {
        assert_eq!(brackets(&[0.0, 0.0]).first().map(|(at, _)| *at), Some(0));
    }

    #[test]
    fn a_stretch_moves_more_requests_beyond_a_bound() {
        let limits = Limits::Stretch(StretchLimits::default());
        let d = fail_margin(limits, &BOUNDS, &S0, 3).d;
        assert!((d - 0.44 * 1.05f64.ln() / 2.5f64.ln()).abs() < 1e-9, "{d}");
        assert!(pass_margin(limits, &BOUNDS, &S0, 3, 1.0) < pass_margin(limits, &BOUNDS, &S0, 3, 0.2));
    }

    #[test]
    fn between_two_bounds_the_part_of_load_allows_a_log_normal_distribution() {
        // Median 40 ms, p99 180 ms: of such a version slower by half 91 % take longer than 25 ms, and the straight line says 89 %.
        let (bounds, s0) = ([10.0, 25.0, 50.0], [0.984, 0.766, 0.365]);
        let limits = Limits::Stretch(StretchLimits { stretch: 0.0, ..StretchLimits::default() });
        let d = slowed(limits, &bounds, &s0, 1, 0.5);
        assert!((s0[1] + d - 0.912).abs() < 0.005, "{d}");
        assert_eq!(slowed(limits, &bounds, &s0, 1, 0.0), 0.0);
        assert_eq!(slowed(limits, &bounds, &[0.766, 0.766, 0.365], 1, 0.5), LEAST_FAIL * 0.5, "an empty bucket");
    }

    #[test]
    fn an_empty_bucket_below_a_bound_still_leaves_a_margin() {
        let limits = Limits::Stretch(StretchLimits::default());
        let (bounds, s0) = ([100.0, 250.0, 500.0], [0.01, 0.01, 0.0]);
        assert_eq!(fail_margin(limits, &bounds, &s0, 1).d, 0.0005);
        assert_eq!(pass_margin(limits, &bounds, &s0, 1, 1.0), 0.002);
        assert_eq!(fail_margin(Limits::Stretch(StretchLimits { stretch: 0.0, ..StretchLimits::default() }), &bounds, &s0, 1).d, 0.0);
    }

    #[test]
    fn errors_pass_margin_follows_the_next_weight() {
        let limits = Limits::Share(ShareLimits::default());
        assert_eq!(pass_margin(limits, &[], &[0.001], 0, 0.2), 0.01);
        assert_eq!(pass_margin(limits, &[], &[0.2], 0, 0.2), 0.05);
        assert_eq!(pass_margin(limits, &[], &[0.001], 0, 1.0), 0.002);
    }

    #[test]
    fn a_quantile_is_shown_as_its_bucket() {
        assert_eq!(bracket(&BOUNDS, &S0, 0.01), (Some(250.0), Some(500.0)));
        assert_eq!(bracket(&BOUNDS, &[0.9; 6], 0.01), (Some(1000.0), None));
        assert_eq!(bracket(&BOUNDS, &[0.001; 6], 0.01), (None, Some(25.0)));
    }
}
