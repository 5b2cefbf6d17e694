//! Drift of predictions: sets of classes learnt from past windows, and the rate of each class in both directions (statistics 2c).

use serde::{Deserialize, Serialize};

use super::budget;
use super::columns::{Layout, Row};
use super::dispersion::{Spread, running};
use super::distance::{Matched, kolmogorov_smirnov, pass_radius, pooled_z, total_variation};
use super::kernel::{Margin, Pair, fail_bets, fall_bets};
use super::mixture::{CAP, ETA, Mixture, PlugIn};
use super::proportions::{Rest, pair, upwards};
use super::tidy;
use crate::plan::{DistanceLimits, Limits, Metric};

/// Most classes watched as rates.
pub(super) const MOST_RATES: usize = 12;
/// Hold evidence that holds: 1/alpha, alpha = 0.05 of its own.
pub(super) const HOLD_AT: f64 = 20.0;
/// Limits at which the margins of class rates are those of the table in 2c.
const USUAL_HOLD: f64 = 0.05;
const USUAL_ROLLBACK: f64 = 0.15;
/// Widest distance that a step may pass with.
const WIDEST_PASS: f64 = 0.5;

/// One limit: the distance, and the margin of each class' rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    /// Distance.
    pub tau: f64,
    /// Margin of class rates.
    pub rate: Margin,
}

impl Limit {
    /// The two limits of a drift metric: hold, roll back.
    pub(super) fn both(metric: &Metric) -> (Self, Self) {
        let limits = if let Limits::Distance(limits) = metric.kind.limits() { limits } else { DistanceLimits::default() };
        (Self::hold(limits.hold), Self::rollback(limits.rollback))
    }

    /// The limit that holds.
    pub(super) fn hold(tau: f64) -> Self {
        let part = tau.max(0.0) / USUAL_HOLD;
        Self { tau, rate: Margin { r: 1.0 + 0.5 * part, d: 0.001 * part } }
    }

    /// The limit that rolls back.
    pub(super) fn rollback(tau: f64) -> Self {
        let part = tau.max(0.0) / USUAL_ROLLBACK;
        Self { tau, rate: Margin { r: 1.0 + 2.0 * part, d: 0.005 * part } }
    }
}

/// Evidence about one limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Side {
    /// The learnt set.
    #[serde(rename = "s")]
    set: Mixture,
    /// Each watched class: more, and less.
    #[serde(rename = "r")]
    rates: Vec<(Mixture, Mixture)>,
}

impl Side {
    fn new(rates: usize) -> Self {
        let fresh = || Mixture::new(ETA.len());
        Self { set: fresh(), rates: (0..rates).map(|_| (fresh(), fresh())).collect() }
    }

    /// Half the set, half the mean over the classes and directions; the set alone where no class is watched.
    pub(super) fn value(&self) -> f64 {
        let classes = self.rates.len() as f64;
        let rates: f64 = self.rates.iter().map(|(more, less)| more.value() + less.value()).sum();
        if self.rates.is_empty() { self.set.value() } else { 0.5 * self.set.value() + 0.5 * rates / (2.0 * classes) }
    }

    /// The watched class (its place in the list) with the most evidence, if that is more than the set's.
    pub(super) fn leading_rate(&self) -> Option<usize> {
        let best = self.rates.iter().map(|(more, less)| more.value().max(less.value())).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        best.filter(|(_, value)| *value > self.set.value()).map(|(at, _)| at)
    }
}

/// Drift of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drift {
    /// Stable's counts, decayed, for each column.
    x: Vec<f64>,
    n: f64,
    /// What past windows say of each column: the canary's share minus stable's, weighted.
    learnt: Vec<f64>,
    /// Columns watched as rates.
    pub watched: Vec<usize>,
    /// Pods' margin of each watched class.
    rate_pods: Vec<f64>,
    /// Pods' margin of a set.
    set_pods: f64,
    /// First dispersion.
    pub phi0: f64,
    /// Running dispersion of each column.
    spreads: Vec<Spread>,
    /// Limit that rolls back.
    pub rollback: Side,
    /// The planned-horizon budget of the learnt set and the limit that rolls back. A state without it never starts over.
    #[serde(default = "spent")]
    pub rho: f64,
    /// Limit that holds.
    pub hold: Side,
    /// The limit that holds was crossed once.
    pub held: bool,
}

fn spent() -> f64 {
    budget::SPENT
}

/// What is frozen at the start.
pub(super) struct Start {
    /// Stable's counts before the rollout, summed.
    pub past: Row,
    /// How many windows that were.
    pub windows: f64,
    /// Columns watched as rates.
    pub watched: Vec<usize>,
    /// Pods' margin of each column.
    pub pods: Vec<f64>,
    /// First dispersion.
    pub phi0: f64,
    /// The metric's part of the planned-horizon budget; 0 where the plan is open-ended.
    pub alpha: f64,
}

impl Drift {
    /// Nothing seen yet.
    pub(super) fn new(start: Start) -> Self {
        let share = (PlugIn::MOST_WINDOWS / start.windows.max(1.0)).min(1.0);
        let columns = start.past.x.len();
        let rates = start.watched.len();
        Self {
            x: start.past.x.iter().map(|x| tidy(x * share)).collect(),
            n: tidy(start.past.n * share),
            learnt: vec![0.0; columns],
            rate_pods: start.watched.iter().map(|at| tidy(start.pods.get(*at).copied().unwrap_or(0.0))).collect(),
            watched: start.watched,
            set_pods: tidy(0.5 * start.pods.iter().sum::<f64>()),
            phi0: start.phi0,
            spreads: vec![Spread::default(); columns],
            rollback: Side::new(rates),
            rho: upwards(budget::start(start.alpha)),
            hold: Side::new(rates),
            held: false,
        }
    }

    /// Only these columns (bounds that the canary has too); evidence about sets continues.
    pub(super) fn narrow(&mut self, columns: &[usize]) {
        self.x = super::columns::select(&self.x, columns);
        self.learnt = super::columns::select(&self.learnt, columns);
        self.spreads = super::columns::select(&self.spreads, columns);
    }

    /// Another kind of traffic begins; `alpha` is the metric's part of the budget for it.
    pub(super) fn begin_kind(&mut self, alpha: f64) {
        self.learnt.iter_mut().for_each(|gap| *gap = 0.0);
        self.spreads.iter_mut().for_each(|spread| *spread = Spread::default());
        (self.hold, self.rollback, self.held) = (Side::new(self.watched.len()), Side::new(self.watched.len()), false);
        self.rho = upwards(budget::start(alpha));
    }

    fn rate(&self, column: usize) -> f64 {
        (self.x.get(column).copied().unwrap_or(0.0) + 0.5) / (self.n + 1.0)
    }

    /// Dispersion: classes weigh as in Pearson's chi-square.
    pub(super) fn phi(&self, layout: &Layout) -> f64 {
        let weight = |at: usize| if matches!(layout, Layout::Classes(_)) { 1.0 - self.rate(at) } else { 1.0 };
        let used = || self.spreads.iter().enumerate().filter(|(_, spread)| spread.count > 0.0);
        let (squares, weights) = used().fold((0.0, 0.0), |(s, w), (at, spread)| (s + weight(at) * spread.squares, w + weight(at)));
        let count = used().map(|(_, spread)| spread.count).fold(0.0, f64::max);
        if weights <= 0.0 { running(self.phi0, 0.0, 0.0) } else { running(self.phi0, squares / weights, count) }
    }

    /// Events of the learnt set in both arms, and stable's predicted share of it; `None`: no bet.
    fn set(&self, layout: &Layout, a: &Row, b: &Row, tau: f64) -> Option<(Pair, f64)> {
        if let Layout::Bounds(_) = layout {
            let (at, most) = self.learnt.iter().copied().enumerate().max_by(|x, y| x.1.abs().total_cmp(&y.1.abs()))?;
            let above = pair(a, b, at);
            let (pair, p) = if most > 0.0 { (above, self.rate(at)) } else { (above.complement(), 1.0 - self.rate(at)) };
            return (most != 0.0 && p + tau < 1.0).then_some((pair, p));
        }
        let mut columns: Vec<usize> = self.learnt.iter().enumerate().filter(|(_, gap)| **gap > 0.0).map(|(at, _)| at).collect();
        columns.sort_by(|a, b| self.rate(*a).total_cmp(&self.rate(*b)));
        loop {
            let events: f64 = columns.iter().filter_map(|at| self.x.get(*at)).sum();
            let p = (events + 0.5) / (self.n + 1.0);
            if columns.is_empty() {
                return None;
            }
            if p + tau < 1.0 {
                let sum = |row: &Row| columns.iter().filter_map(|at| row.x.get(*at)).sum::<f64>();
                return Some((Pair { n_a: a.n, x_a: sum(a), n_b: b.n, x_b: sum(b) }, p));
            }
            columns.pop();
        }
    }

    /// Both halves of the evidence that the limit which rolls back is crossed.
    pub(super) fn harm(&self, alpha: f64) -> f64 {
        if alpha > 0.0 {
            (1.0 - budget::PART) * self.rollback.value() + budget::PART * budget::chance(self.rho) / alpha
        } else {
            self.rollback.value()
        }
    }

    /// Adds one window: bets on what was learnt before, then learns. One without both arms is a part of the plan that has gone by.
    pub(super) fn add(&mut self, gamma: f64, layout: &Layout, a: &Row, b: &Row, rest: &Rest<'_>, limits: (Limit, Limit)) {
        let phi = self.phi(layout);
        let tau = limits.1.tau + self.set_pods;
        let (pair_of_set, p) = self.set(layout, a, b, tau).unwrap_or_default();
        let ahead = rest.with(phi);
        let margin = Margin { r: 1.0, d: tau };
        self.rho = upwards(budget::look(self.rho, pair_of_set, margin, phi, p.clamp(1e-7, 0.97), &ahead, rest.per_window));
        if a.n <= 0.0 || b.n <= 0.0 {
            return;
        }
        let mut sides = (std::mem::replace(&mut self.hold, Side::new(0)), std::mem::replace(&mut self.rollback, Side::new(0)));
        for (side, limit) in [(&mut sides.0, limits.0), (&mut sides.1, limits.1)].into_iter().skip(usize::from(self.held)) {
            let tau = limit.tau + self.set_pods;
            let margin = Margin { r: 1.0, d: tau };
            match self.set(layout, a, b, tau) {
                Some((pair, p)) => side.set.add(gamma, fail_bets(pair, p, margin, &ETA), phi, CAP),
                None => side.set.add(gamma, [0.0; ETA.len()], phi, CAP),
            }
            for ((mixtures, column), pods) in side.rates.iter_mut().zip(&self.watched).zip(&self.rate_pods) {
                let (pair, p) = (pair(a, b, *column), self.rate(*column));
                let margin = Margin { d: limit.rate.d + pods, ..limit.rate };
                mixtures.0.add(gamma, fail_bets(pair, p, margin, &ETA), phi, CAP);
                mixtures.1.add(gamma, fall_bets(pair, p, margin, &ETA), phi, CAP);
            }
        }
        (self.hold, self.rollback) = sides;
        self.held = self.held || self.hold.value() >= HOLD_AT;
        self.learn(a, b);
    }

    fn learn(&mut self, a: &Row, b: &Row) {
        let weight = a.n * b.n / (a.n + b.n);
        let phi0 = self.phi0;
        let keep = 0.5f64.powf(1.0 / PlugIn::HALF_LIFE);
        let columns = self.learnt.iter_mut().zip(&mut self.spreads).zip(&mut self.x).zip(a.x.iter().zip(&b.x));
        for (((learnt, spread), x), (xa, xb)) in columns {
            *learnt = tidy(*learnt + weight * (xb / b.n - xa / a.n));
            if let Some(z) = pooled_z(a.n, *xa, b.n, *xb) {
                spread.add(z, phi0);
            }
            *x = tidy(*x * keep + xa);
        }
        self.n = tidy(self.n * keep + a.n);
    }
}

/// The distance shown and passed on: total variation of classes, Kolmogorov-Smirnov of a histogram.
pub(super) fn distance(layout: &Layout, seen: &Matched) -> f64 {
    let (a, b) = (seen.stable(), seen.canary());
    match layout {
        // Columns of a histogram are shares above each bound, so the largest gap is the distance.
        Layout::Bounds(_) => a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max),
        Layout::Classes(_) => total_variation(&a, &b),
        Layout::Events => kolmogorov_smirnov(&a, &b),
    }
}

/// What the distance would be by chance alone between two samples of stable of these sizes.
pub(super) fn distance_by_chance(layout: &Layout, seen: &Matched, phi: f64) -> f64 {
    let precision = seen.precision();
    if precision <= 0.0 {
        return 0.0;
    }
    let deviation = (phi / precision).sqrt();
    match layout {
        Layout::Bounds(_) => chance_of_bounds(seen.stable().into_iter(), deviation),
        _ => chance_of_classes(seen.stable().into_iter(), deviation),
    }
}

/// Expected largest gap of two distribution functions, of which these shares are above the bounds.
pub(super) fn chance_of_bounds(shares: impl Iterator<Item = f64>, deviation: f64) -> f64 {
    1.2 * deviation * shares.map(|p| (p * (1.0 - p)).max(0.0).sqrt()).fold(0.0, f64::max)
}

/// Expected total variation of two samples of classes with these shares.
pub(super) fn chance_of_classes(shares: impl Iterator<Item = f64>, deviation: f64) -> f64 {
    0.5 * (2.0 / std::f64::consts::PI).sqrt() * deviation * shares.map(|p| (p * (1.0 - p)).max(0.0).sqrt()).sum::<f64>()
}

/// Number of cells in the upper bound of the distance. A histogram's limit is crossed at one bound, and that bound alone must prove
/// that it is not (intersection-union), so it counts as two cells.
pub(super) fn cells(layout: &Layout) -> f64 {
    match layout {
        Layout::Classes(names) => names.len() as f64 + 1.0,
        _ => 2.0,
    }
}

/// Upper bound of the distance in this step, and what it must not exceed.
pub(super) fn upper_bound(layout: &Layout, seen: &Matched, planned: f64, phi: f64) -> f64 {
    (distance(layout, seen) + radius(layout, seen.precision(), planned, phi)).min(1.0)
}

/// What is added to a distance for its upper bound.
pub(super) fn radius(layout: &Layout, precision: f64, planned: f64, phi: f64) -> f64 {
    pass_radius(precision, planned, cells(layout), phi, 1.0 / super::passing::PASS_AT)
}

/// What the upper bound must not exceed, for a step that opens the way to `next_weight`.
pub(super) fn pass_limit(pass: f64, next_weight: f64) -> f64 {
    (pass / next_weight.clamp(0.01, 1.0)).min(WIDEST_PASS)
}

#[cfg(test)]
mod tests {
    use super::super::passing::Hold;
    use super::*;

    fn drift(past: &[f64], watched: Vec<usize>) -> Drift {
        let past = Row { n: past.iter().sum(), x: past.to_vec() };
        let pods = vec![0.0; past.x.len()];
        Drift::new(Start { past, windows: 20.0, watched, pods, phi0: 1.0, alpha: 0.0 })
    }

    fn row(x: &[f64]) -> Row {
        Row { n: x.iter().sum(), x: x.to_vec() }
    }

    const REST: Rest<'static> =
        Rest { ahead: &[], per_window: 1000.0, frozen: false, hold: Hold { windows: 0.0, n: (0.0, 0.0) }, spared: false };
    const LIMITS: fn() -> (Limit, Limit) = || (Limit::hold(0.05), Limit::rollback(0.15));

    #[test]
    fn the_first_window_bets_on_no_set() {
        let layout = Layout::Classes(vec!["a".into()]);
        let mut state = drift(&[500.0, 500.0], vec![]);
        state.add(0.7, &layout, &row(&[500.0, 500.0]), &row(&[90.0, 10.0]), &REST, LIMITS());
        assert!((state.rollback.value() - 1.0).abs() < 1e-4);
        state.add(0.1, &layout, &row(&[500.0, 500.0]), &row(&[90.0, 10.0]), &REST, LIMITS());
        assert!(state.rollback.value() > 2.0);
    }

    #[test]
    fn a_set_that_holds_nearly_all_of_stable_is_cut_or_not_bet_on() {
        let layout = Layout::Classes(vec!["no".into(), "yes".into()]);
        let mut state = drift(&[9950.0, 50.0, 0.0], vec![0, 1]);
        for _ in 0..400 {
            state.add(0.01, &layout, &row(&[2836.0, 14.0, 0.0]), &row(&[150.0, 0.0, 0.0]), &REST, LIMITS());
        }
        assert!(state.rollback.set.value() <= 1.0 + 1e-9);
    }

    #[test]
    fn a_rare_class_that_quadruples_is_found_by_its_rate() {
        let layout = Layout::Classes(vec!["no".into(), "yes".into()]);
        let mut state = drift(&[9950.0, 50.0, 0.0], vec![0, 1]);
        for look in 0..60 {
            state.add(if look == 0 { 0.7 } else { 0.003 }, &layout, &row(&[995.0, 5.0, 0.0]), &row(&[970.0, 30.0, 0.0]), &REST, LIMITS());
        }
        assert!(state.rollback.value() > 37.5, "{}", state.rollback.value());
        assert!(state.held);
    }

    #[test]
    fn a_class_that_goes_to_nothing_is_found() {
        let layout = Layout::Classes(vec!["no".into(), "yes".into()]);
        let mut state = drift(&[9900.0, 100.0, 0.0], vec![0, 1]);
        for look in 0..60 {
            state.add(if look == 0 { 0.7 } else { 0.003 }, &layout, &row(&[990.0, 10.0, 0.0]), &row(&[1000.0, 0.0, 0.0]), &REST, LIMITS());
        }
        assert!(state.rollback.value() > 37.5, "{}", state.rollback.value());
    }

    #[test]
    fn scores_that_move_cross_the_limit_at_one_bound() {
        let layout = Layout::Bounds(vec![0.25, 0.5, 0.75]);
        let mut state = Drift::new(Start {
            past: Row { n: 1000.0, x: vec![750.0, 500.0, 250.0] },
            windows: 20.0,
            watched: vec![],
            pods: vec![0.0; 3],
            phi0: 1.0,
            alpha: 0.0,
        });
        for look in 0..20 {
            let (a, b) = (Row { n: 100.0, x: vec![75.0, 50.0, 25.0] }, Row { n: 100.0, x: vec![50.0, 20.0, 5.0] });
            state.add(if look == 0 { 0.7 } else { 0.01 }, &layout, &a, &b, &REST, LIMITS());
        }
        assert!(state.rollback.value() > 12.5, "{}", state.rollback.value());
    }

    #[test]
    fn limits_of_class_rates_follow_the_limits_of_the_metric() {
        assert_eq!(Limit::rollback(0.15).rate, Margin { r: 3.0, d: 0.005 });
        assert_eq!(Limit::hold(0.05).rate, Margin { r: 1.5, d: 0.001 });
        assert_eq!(Limit::rollback(0.0).rate, Margin { r: 1.0, d: 0.0 });
    }
}
