//! What proves one share in one step: bets that may be looked at at any time, and a test that is planned for the end of the hold.
//!
//! The weight does not rise before the hold is over, however early the bets are won. Where the hold shows enough to decide, most of the
//! step's error rate is therefore spent on one test at its end, which needs fewer requests. Meanwhile it is worth the probability that it
//! will be passed by a canary on the margin ("conditional error"), which changes only by what is observed; so both
//! may be added up, and the plan may change on the way. Where the hold is too short for that, the bets have all of it.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::erf::erfc;

use super::budget::{self, Excess, SPENT};
use super::forecast::windows_to_pass;
use super::kernel::{Margin, PASS_BETS, Pair, pass_bets};
use super::mixture::{Mixture, PASS_CAP};
use super::proportions::upwards;

/// Pass evidence that proves a step: 1/alpha_p, alpha_p = 0.10.
pub const PASS_AT: f64 = 10.0;
/// What each of the bets starts with.
pub const PARTS: [f64; PASS_BETS.len()] = [0.7, 0.3];
/// Part of the step's error rate that the planned test has, where there is one.
const PART: f64 = 0.7;
/// A test is planned where at least so many standard deviations lie between stable's rate and the margin at the end of the hold.
const ENOUGH: f64 = 2.0;
/// What unequal load explains has become clearly less when it is below this part of the most, and by so many points.
const LESS: f64 = 0.7;
const LEAST: f64 = 0.005;
/// A proof falls when the bets lose this factor from their best.
const FALL: f64 = 100.0;

/// The pass side of one share in the present step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Passing {
    /// Pass margin of the step.
    #[serde(rename = "passD")]
    pub d: f64,
    /// What unequal load adds to it now, and at most since the bets began.
    #[serde(rename = "passLoad", default)]
    load: [f64; 2],
    /// It takes part in the step.
    pub proves: bool,
    /// With what unequal load adds there is nothing to prove.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    moot: bool,
    /// The bets.
    #[serde(rename = "pass")]
    pub bets: Mixture,
    /// The planned test: how far it is from being passed, in standard deviations of what the hold still shows; [`SPENT`]: there is none.
    #[serde(default = "spent")]
    planned: f64,
    /// Part of the error rate that the planned test has, or had.
    #[serde(default)]
    part: f64,
    /// Log of the bets at their best.
    #[serde(default)]
    best: f64,
    /// It was proved, and nothing since says the contrary.
    #[serde(default)]
    proved: bool,
}

fn spent() -> f64 {
    SPENT
}

/// What the hold still shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hold {
    /// Windows to come.
    pub windows: f64,
    /// Requests of stable and canary in each.
    pub n: (f64, f64),
}

impl Hold {
    /// Standard deviations between stable's rate and the boundary that a healthy canary is expected to show.
    fn reach(self, p: f64, margin: Margin, phi: f64) -> f64 {
        let (n_a, n_b) = self.n;
        let shortfall = self.windows * n_a * n_b / (n_a + n_b).max(1e-9) * (margin.at(p) - p);
        let variance = self.variance(p, margin, phi);
        if variance > 0.0 { shortfall / variance.sqrt() } else { 0.0 }
    }

    fn variance(self, p: f64, margin: Margin, phi: f64) -> f64 {
        self.windows * phi * budget::variance(self.n.0, self.n.1, p, margin)
    }

    /// Whether a test at its end is worth planning.
    pub fn decides(self, p: f64, margin: Margin, phi: f64) -> bool {
        margin.at(p) < 1.0 && self.reach(p, margin, phi) >= ENOUGH
    }
}

impl Passing {
    /// Nothing to prove yet.
    pub fn idle() -> Self {
        Self {
            d: 0.0,
            load: [0.0; 2],
            proves: false,
            moot: false,
            bets: Mixture::of(&PARTS),
            planned: SPENT,
            part: 0.0,
            best: 0.0,
            proved: false,
        }
    }

    /// Begins a step with margin `d`: `p` is stable's rate, `phi` the dispersion, `hold` the whole hold.
    pub fn begin(d: f64, p: f64, phi: f64, hold: Hold) -> Self {
        let margin = Margin { r: 1.0, d };
        let part = if hold.decides(p, margin, phi) { PART } else { 0.0 };
        let planned = if part > 0.0 { budget_of(part / PASS_AT) } else { SPENT };
        Self { d, planned, part, ..Self::idle() }
    }

    /// The boundary.
    pub fn margin(&self) -> Margin {
        let [load, _] = self.load;
        Margin { r: 1.0, d: self.d + load }
    }

    /// There is something to prove.
    pub fn asks(&self) -> bool {
        self.proves && !self.moot
    }

    /// Adds `load` to the margin of a share that is `share` in stable from now on. Where that is clearly less than before, it begins again as `fresh`: what was won while more was
    /// allowed proves nothing.
    pub fn widen(&mut self, load: f64, share: f64, fresh: impl FnOnce() -> Self) {
        let [_, most] = self.load;
        if load < LESS * most && most - load > LEAST {
            *self = Self { proves: self.proves, load: [load; 2], ..fresh() };
        } else {
            self.load = [load, most.max(load)];
        }
        self.moot = load > 0.0 && share + self.margin().d >= 1.0;
    }

    /// Evidence: 1 is none, [`PASS_AT`] proves.
    pub fn value(&self) -> f64 {
        (1.0 - self.part) * self.bets.value() + PASS_AT * chance(self.planned)
    }

    /// Whether it was proved, and nothing since says the contrary.
    pub fn proved(&self) -> bool {
        self.proved
    }

    /// Whether the test at the end of the hold is still to come.
    pub fn planned(&self) -> bool {
        self.planned < SPENT
    }

    /// Windows until a healthy canary is expected to be proved, 0 where it is; `None`: never. `hold` is what is still to come of it.
    pub fn windows(&self, p: f64, phi: f64, hold: Hold) -> Option<f64> {
        if self.proved {
            return Some(0.0);
        }
        let bets = windows_to_pass(hold.n, p, self.margin(), phi, (1.0 - self.part).ln() + self.bets.log_value());
        let test = Some(hold.windows).filter(|_| self.planned() && self.planned <= hold.reach(p, self.margin(), phi));
        bets.into_iter().chain(test).min_by(f64::total_cmp)
    }

    /// Adds one window of both arms; `hold` is what comes after it.
    pub fn add(&mut self, pair: Pair, p: f64, phi: f64, hold: Hold) {
        let margin = self.margin();
        self.bets.add(0.0, pass_bets(pair, p, margin), phi, PASS_CAP);
        let log = self.bets.log_value();
        self.best = self.best.max(super::tidy(log));
        let against = log < self.best - FALL.ln();
        if self.planned() {
            let left = (hold.windows > 0.0).then(|| hold.variance(p, margin, phi));
            self.planned = after(self.planned, self.shortfall(pair, p, phi), left);
        }
        let passed = self.planned <= -SPENT;
        if passed {
            self.planned = SPENT;
        }
        if self.proved && against {
            // What was won before says nothing of what the canary has become: the bets start over, and have all of the error rate.
            *self = Self { proves: self.proves, d: self.d, load: self.load, ..Self::idle() };
        } else if !against && (passed || self.value() >= PASS_AT) {
            self.proved = true;
        }
    }

    /// What the canary has less than the margin, which is what it has more of the complement than the margin allows. A good window counts at
    /// most as the budget of the other side lets a bad one count; a bad one counts in full, and does not widen the test.
    fn shortfall(&self, pair: Pair, p: f64, phi: f64) -> Excess {
        let mirrored = Margin { r: 1.0, d: -self.margin().d };
        let excess = budget::limited(pair.complement(), mirrored, phi, 1.0 - p);
        let (u, v) = budget::score(pair.complement(), mirrored);
        if u >= 0.0 {
            return excess;
        }
        let planned = phi * budget::variance(pair.n_a, pair.n_b, p, self.margin());
        let v = if self.planned < 0.0 { (phi * v).min(planned) } else { phi * v };
        Excess { u, v, ..excess }
    }
}

/// Distance at the start: `alpha` is the probability that a canary on the margin passes.
fn budget_of(alpha: f64) -> f64 {
    upwards(Normal::standard().inverse_cdf(1.0 - alpha))
}

/// Probability that a canary on the margin would still pass the planned test.
fn chance(planned: f64) -> f64 {
    if planned >= SPENT { 0.0 } else { 0.5 * erfc(planned / std::f64::consts::SQRT_2) }
}

/// The distance after a window; `left` is the variance to come, `None` at the end: there it is passed (`-SPENT`) or not ([`SPENT`]).
fn after(planned: f64, excess: Excess, left: Option<f64>) -> f64 {
    let missing = planned * (left.unwrap_or(0.0) + excess.v).sqrt() - excess.u;
    match left {
        None if missing <= 0.0 => -SPENT,
        None => SPENT,
        Some(left) if left > 0.0 => upwards(missing / left.sqrt()).clamp(1.0 - SPENT, SPENT - 1.0),
        Some(_) => planned,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Binomial, Distribution};

    use super::*;

    /// 50 requests a second, half of them the canary's, ten windows of 30 s.
    const HOLD: Hold = Hold { windows: 10.0, n: (750.0, 750.0) };
    const P: f64 = 0.001;
    const D: f64 = 0.002;

    fn begun() -> Passing {
        Passing { proves: true, ..Passing::begin(D, P, 1.0, HOLD) }
    }

    fn pair(x_a: f64, x_b: f64) -> Pair {
        Pair { n_a: HOLD.n.0, x_a, n_b: HOLD.n.1, x_b }
    }

    fn left(windows: u32) -> Hold {
        Hold { windows: f64::from(windows), ..HOLD }
    }

    /// How many of `runs` holds pass a canary with this rate, by a look at every window.
    fn passed(runs: u32, n: f64, p_b: f64) -> f64 {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let hold = Hold { n: (n, n), ..HOLD };
        let events = |p: f64| Binomial::new(n as u64, p).unwrap();
        let (of_a, of_b) = (events(P), events(p_b));
        let proved = |_: &u32| {
            let mut side = Passing::begin(D, P, 1.0, hold);
            (0..20u32).any(|window| {
                let pair = Pair { n_a: n, x_a: of_a.sample(&mut random) as f64, n_b: n, x_b: of_b.sample(&mut random) as f64 };
                side.add(pair, P, 1.1, Hold { windows: f64::from(9u32.saturating_sub(window)), ..hold });
                side.proved()
            })
        };
        f64::from((0..runs).filter(proved).count() as u32) / f64::from(runs)
    }

    #[test]
    fn a_canary_on_the_margin_passes_at_most_one_time_in_ten_and_a_healthy_one_within_the_hold() {
        for n in [750.0, 1500.0, 15_000.0] {
            let (harmful, healthy) = (passed(3000, n, P + D), passed(500, n, P));
            assert!(harmful <= 0.10, "{harmful} at {n}");
            assert!(healthy >= 0.96, "{healthy} at {n}");
        }
    }

    #[test]
    fn what_was_proved_while_unequal_load_allowed_more_is_no_proof_once_it_allows_less() {
        let mut side = begun();
        (0..10).rev().for_each(|window| {
            side.widen(0.02, P, begun);
            side.add(pair(1.0, 8.0), P, 1.1, left(window));
        });
        assert!(side.proved() && (side.margin().d - 0.022).abs() < 1e-12);
        side.widen(0.019, P, begun);
        assert!(side.proved(), "a little less");
        side.widen(0.0, P, begun);
        assert_eq!(side, begun(), "it begins again");
        side.widen(0.999, P, begun);
        assert!(!side.asks(), "nothing is left to prove");
    }

    #[test]
    fn before_the_first_window_nothing_is_known() {
        assert!((begun().value() - 1.0).abs() < 1e-6, "{}", begun().value());
        assert!(begun().planned() && !begun().proved());
        assert!(begun().windows(P, 1.0, HOLD).unwrap() <= 10.0);
    }

    #[test]
    fn the_planned_test_waits_for_the_end_of_the_hold() {
        let mut side = begun();
        for window in (0..10).rev() {
            assert!(!side.proved(), "{} windows before the end", window + 1);
            side.add(pair(1.0, 1.5), P, 1.1, left(window));
        }
        assert!(side.proved());
        assert_eq!((side.planned(), side.windows(P, 1.0, left(0))), (false, Some(0.0)));
    }

    #[test]
    fn a_planned_test_that_was_not_passed_leaves_the_rest_to_the_bets() {
        let mut side = begun();
        (0..10).rev().for_each(|window| side.add(pair(1.0, 2.0), P, 1.0, left(window)));
        assert!(!side.proved() && !side.planned());
        let more = side.windows(P, 1.0, left(0)).unwrap();
        assert!(more > 1.0, "{more}");
        (0..60).for_each(|_| side.add(pair(1.0, 0.5), P, 1.0, left(0)));
        assert!(side.proved());
    }

    #[test]
    fn a_hold_that_shows_too_little_plans_no_test() {
        let few = Hold { n: (1400.0, 100.0), ..HOLD };
        let side = Passing::begin(D, P, 1.0, few);
        assert!(!side.planned() && (side.value() - 1.0).abs() < 1e-6);
        assert!(side.windows(P, 1.0, few).unwrap() > 10.0);
    }

    #[test]
    fn a_proof_stands_until_as_much_speaks_against_it() {
        let mut side = begun();
        (0..10).rev().for_each(|window| side.add(pair(1.0, 1.0), P, 1.0, left(window)));
        assert!(side.proved());
        side.add(pair(1.0, 3.0), P, 1.0, left(0));
        assert!(side.proved(), "one odd window is chance");
        (0..5).for_each(|_| side.add(pair(1.0, 9.0), P, 1.0, left(0)));
        assert!(!side.proved(), "what comes after the proof counts");
    }

    #[test]
    fn a_canary_that_turns_bad_in_the_last_windows_of_its_hold_is_not_proved() {
        for n in [750.0, 1500.0, 7500.0, 75_000.0] {
            let hold = |windows: u32| Hold { windows: f64::from(windows), n: (n, n) };
            let mut side = Passing::begin(D, P, 1.1, hold(10));
            for window in (0..10).rev() {
                let rate = if window < 2 { 0.01 } else { P };
                side.add(Pair { n_a: n, x_a: P * n, n_b: n, x_b: rate * n }, P, 1.1, hold(window));
            }
            assert!(!side.proved(), "{n}: {side:?}");
            (0..60).for_each(|_| side.add(Pair { n_a: n, x_a: P * n, n_b: n, x_b: P * n }, P, 1.1, hold(0)));
            assert!(side.proved(), "it may be proved again: {n}: {side:?}");
        }
    }

    #[test]
    fn a_window_that_speaks_for_the_canary_is_limited_and_one_against_it_counts_in_full() {
        let (mut side, spread) = (begun(), budget::variance(HOLD.n.0, HOLD.n.1, P, begun().margin()));
        assert!(side.shortfall(pair(400.0, 0.0), P, 1.0).u <= 2.5 * spread.sqrt() + 1.0 + 1e-9);
        for planned in [1.0, -1.0] {
            side.planned = planned;
            let against = side.shortfall(pair(1.0, 40.0), P, 1.0);
            assert!((against.u + 0.5 * 37.5).abs() < 1e-9, "{against:?}");
            assert!(planned > 0.0 || against.v <= spread + 1e-9, "it does not widen a test that is ahead: {against:?}");
        }
    }

    #[test]
    fn where_much_was_shown_a_test_that_is_passed_against_the_bets_proves_nothing() {
        // Three standard deviations from the margin, where a healthy canary would be at 26.
        let hold = |windows: u32| Hold { windows: f64::from(windows), n: (75_000.0, 75_000.0) };
        let mut side = Passing::begin(D, P, 1.1, hold(10));
        let pair = Pair { n_a: 75_000.0, x_a: 75.0, n_b: 75_000.0, x_b: 75.0 + 132.8 };
        (0..9).rev().for_each(|window| side.add(pair, P, 1.1, hold(window + 1)));
        assert!(side.planned < 0.0, "the test is ahead: {side:?}");
        side.add(pair, P, 1.1, hold(0));
        assert!(!side.planned() && !side.proved(), "{side:?}");
    }

    #[test]
    fn on_the_margin_a_window_changes_nothing_on_average() {
        // On the margin the expected value after a window is the value before: here over the events of a Poisson law in both arms.
        let poisson = |mean: f64, x: u32| (1..=x).fold((-mean).exp(), |p, k| p * mean / f64::from(k));
        let mut side = begun();
        (0..3).for_each(|window| side.add(pair(1.0, 2.0), P, 1.0, left(9 - window)));
        let (mut before, mut after) = (chance(side.planned), 0.0);
        for (x_a, x_b) in (0..30).flat_map(|a| (0..40).map(move |b| (a, b))) {
            let mut next = side.clone();
            next.add(pair(f64::from(x_a), f64::from(x_b)), P, 1.0, left(6));
            after += poisson(0.75, x_a) * poisson(2.25, x_b) * chance(next.planned);
        }
        before *= 1.0 + 1e-9;
        assert!((after / before - 1.0).abs() < 0.1, "{before} {after}");
    }

    #[test]
    fn the_checkpoint_brings_back_the_same_and_an_older_one_has_no_test() {
        let mut side = begun();
        side.add(pair(2.0, 3.0), P, 1.3, left(9));
        let json = serde_json::to_string(&side).unwrap();
        assert_eq!(serde_json::from_str::<Passing>(&json).unwrap(), side);
        let old: Passing = serde_json::from_str(r#"{"passD": 0.002, "proves": true, "pass": [1.0, -1.1, -1.1, -1.1]}"#).unwrap();
        assert!(!old.planned() && !old.proved() && old.proves);
    }
}
