//! What the evidence about one metric says.

use super::budget::{PART, found, smallest};
use super::columns::{Layout, Row};
use super::dispersion::ENOUGH_WINDOWS;
use super::drift::{self, Drift};
use super::finding::{Against, Both, Column, Distance, Finding, Plain, Says, Share, Switched};
use super::forecast::{SLOWER, doubled, healthy_bound, windows_to_bound, windows_to_fail};
use super::metric::{MetricState, Processes};
use super::plain::Plainly;
use super::proportions::{Proportions, Rest, Track, bracket, share_above, value_exceeded};
use super::{Context, StepTerms, bake, effect};
use crate::api::{ArmValue, Effect, EvidenceReason, Forecast, MetricEvidence, Noise, Verdict};
use crate::plan::{DistanceLimits, Limits, Metric};

/// One metric's answer, and what the whole asks of it.
pub(super) struct Answer {
    /// For status, but for its text.
    pub evidence: MetricEvidence,
    /// What its text says.
    pub says: Says,
    /// Windows in a row without data.
    pub missing: u32,
    /// Windows of history, where they are too few.
    pub history: Option<usize>,
    /// It gates this step and has something to prove in it.
    pub gates: bool,
    /// Its estimate is within the fail margins.
    pub within: bool,
    /// Windows that a healthy canary still needs; `None`: never.
    pub windows_to_pass: Option<f64>,
}

impl Answer {
    /// What it says, of the plan's metric `metric`.
    pub(super) fn finding(self, metric: usize) -> Finding {
        Finding { metric, evidence: self.evidence, says: self.says, missing: self.missing, history: self.history }
    }

    /// The deciding metric first: what failed, what holds, what is missing, what passed; among equals the one with more fail evidence.
    pub(super) fn rank(&self) -> f64 {
        let class = match (self.evidence.verdict, self.evidence.reason) {
            _ if self.evidence.advisory => 5.0,
            (Verdict::Fail, _) => 0.0,
            (_, Some(EvidenceReason::HoldLimit)) => 1.0,
            (_, Some(EvidenceReason::NotGating)) => 4.0,
            (Verdict::Inconclusive, _) if !self.gates => 4.0,
            (Verdict::Inconclusive, _) => 2.0,
            (Verdict::Pass, _) => 3.0,
        };
        class - self.evidence.fail_evidence.unwrap_or(0.0).min(1e9) * 1e-10
    }
}

/// Confidence of the intervals shown: 1 - ALPHA.
const ALPHA: f64 = 0.05;

/// What `state` says at this step.
pub(super) fn answer(state: &MetricState, metric: &Metric, step: &StepTerms, context: &Context<'_>) -> Answer {
    let bare = |reason: EvidenceReason, says: Says| Answer {
        evidence: MetricEvidence::new(&metric.name, Verdict::Inconclusive, Some(reason), String::new()),
        says,
        missing: 0,
        history: None,
        gates: !step.without.contains(&metric.name),
        within: false,
        windows_to_pass: None,
    };
    if state.apart {
        return bare(EvidenceReason::NotComparable, Says::NotComparable);
    }
    let mut found = match (&state.processes, &state.bake) {
        _ if step.weight >= 1.0 => match &state.bake {
            Some(bake) if bake.seen.n > 0.0 => at_full(state, bake, &bare),
            Some(_) => bare(EvidenceReason::NoData, Says::NoneAtFull),
            None if matches!(metric.kind.limits(), Limits::Distance(_)) => bare(EvidenceReason::Bake, Says::NotAtFull),
            None => bare(EvidenceReason::NoData, Says::NoBaseline),
        },
        (None, _) if state.pending.is_empty() => bare(EvidenceReason::NoData, Says::NoWindow),
        (None, _) => bare(EvidenceReason::Calibrating, Says::Calibrating(state.pending.len())),
        (Some(_), _) if state.windows == 0 => bare(EvidenceReason::NoData, Says::NoWindowOfStep),
        (Some(Processes::Shares(shares)), _) => {
            shares_answer(state, shares, step, context, bare(EvidenceReason::NotEnoughData, Says::Nothing))
        }
        (Some(Processes::Drift(drift)), _) => {
            drift_answer(state, drift, metric, step, context, bare(EvidenceReason::NotEnoughData, Says::Nothing))
        }
    };
    if state.missing > 0 && found.evidence.reason != Some(EvidenceReason::NoData) {
        found.missing = state.missing;
        if found.evidence.verdict == Verdict::Pass {
            (found.evidence.verdict, found.evidence.reason) = (Verdict::Inconclusive, Some(EvidenceReason::NoData));
        }
    }
    let history = usize::try_from(state.history).unwrap_or(usize::MAX);
    found.history = Some(history).filter(|history| *history < ENOUGH_WINDOWS);
    if let Some(seen) = &state.plain {
        at_one_scrape(seen, &mut found);
    }
    if state.catastrophe || state.plain.is_some() {
        (found.evidence.verdict, found.evidence.reason) = (Verdict::Fail, Some(EvidenceReason::FailLimit));
    }
    found
}

/// One scrape was enough: it is what is shown.
fn at_one_scrape(seen: &Plainly, found: &mut Answer) {
    let share = |x: u64, n: u64| x as f64 / n.max(1) as f64;
    let share = Both { canary: share(seen.x_b, seen.n_b), stable: share(seen.x_a, seen.n_a) };
    let arm = |value: f64, n: u64| ArmValue { value: Some(value), text: String::new(), n: whole(n as f64), quantiles: Vec::new() };
    (found.evidence.stable, found.evidence.canary) = (Some(arm(share.stable, seen.n_a)), Some(arm(share.canary, seen.n_b)));
    let value = share.canary - share.stable;
    found.evidence.effect = Some(Effect { value, low: None, high: None, by_chance: None, text: String::new() });
    let n = Both { canary: seen.n_b as f64, stable: seen.n_a as f64 };
    (found.says, found.missing, found.history) = (Says::Plain(Plain { share, n, seconds: seen.seconds }), 0, None);
}

fn whole(n: f64) -> i64 {
    n as i64
}

fn shares_answer(state: &MetricState, shares: &Proportions, step: &StepTerms, context: &Context<'_>, bare: Answer) -> Answer {
    let (a, b) = (state.seen.stable(), state.seen.canary());
    let at = |values: &[f64], column: usize| values.get(column).copied().unwrap_or(0.0);
    let alpha = state.alpha(context);
    let worst = shares.tracks.iter().max_by(|x, y| x.harm(alpha).total_cmp(&y.harm(alpha)));
    let slowest = shares.tracks.iter().filter(|t| t.pass.asks()).min_by(|x, y| x.pass.value().total_cmp(&y.pass.value()));
    let Some(track) = worst.filter(|t| t.harm(alpha) > 2.0 * t.weight).or(slowest).or(worst) else { return bare };
    let (p_a, p_b, phi) = (at(&a, track.column), at(&b, track.column), track.phi());
    let limit = track.fail_margin().at(p_a);
    let latency = !state.bounds().is_empty();
    let bound = |t: &Track| state.bounds().get(t.column).copied().unwrap_or(0.0);
    // What a pass has proved is the pass margin of this step; the limit of the fail side would look odd beside an estimate beyond it.
    let passed = shares.proved() == Some(true);
    let harmed = context.failed || shares.fail_evidence(alpha) >= super::FAIL_AT;
    let against = if passed && track.pass.asks() && !harmed { Against::Proved(track.pass.margin().at(p_a)) } else { Against::Limit(limit) };
    let (low, high) = state.seen.difference_interval(p_a, p_b, phi, ALPHA);
    let value = p_b - p_a;
    let chance = effect::chance(p_a, state.seen.precision(), phi);
    let effect = Effect { value, low: Some(low), high: Some(high), by_chance: Some(chance), text: String::new() };
    let arm = |shares: &[f64], n: f64| {
        if !latency {
            return ArmValue { value: Some(at(shares, track.column)), text: String::new(), n: whole(n), quantiles: Vec::new() };
        }
        let slowest = bracket(state.bounds(), shares, 0.01).1;
        ArmValue { value: slowest, text: String::new(), n: whole(n), quantiles: effect::quantiles(state.bounds(), shares) }
    };
    let (stable, canary) = (arm(&a, state.seen.n_a), arm(&b, state.seen.n_b));
    let left_out = shares.tracks.iter().filter(|t| latency && !t.pass.asks()).map(bound).collect();
    let (n, hold) = (state.expected(step), state.hold(step));
    let to_pass = |t: &Track| t.pass.windows(t.stable.rate(), t.phi(), hold);
    let windows = if passed {
        Some(0.0)
    } else {
        shares.tracks.iter().filter(|t| t.pass.asks()).map(to_pass).try_fold(0.0f64, |most, w| w.map(|w| most.max(w)))
    };
    let worse = |t: &Track| {
        let p = t.stable.rate();
        if latency { share_above(state.bounds(), &state.s0, bound(t) / (1.0 + SLOWER)).max(p) } else { doubled(p, t.fail_margin()) }
    };
    let part = open_part(alpha, context);
    let to_fail =
        |t: &Track| windows_to_fail(n, t.stable.rate(), worse(t), t.fail_margin(), t.phi(), part * t.weight * t.open, context.fail_at);
    let detect = shares.tracks.iter().filter_map(to_fail).min_by(f64::total_cmp);
    let ahead = state.ahead(step.planned_windows, context);
    let rest = Rest { ahead: &ahead, per_window: state.per_window() * step.counted(), frozen: context.frozen, hold, spared: false };
    let by_end = |t: &Track| found(t.rho, &rest.with(t.phi()), rest.per_window, (t.stable.rate(), worse(t)), t.fail_margin());
    let least = |t: &Track| {
        let p_b = smallest(t.rho, &rest.with(t.phi()), rest.per_window, t.stable.rate(), t.fail_margin())?;
        // A bound that so many exceed: the canary is slower by the ratio of the bound and the value that so many exceed in stable.
        if latency { Some(bound(t) / value_exceeded(state.bounds(), &state.s0, p_b)? - 1.0) } else { Some(p_b) }
    };
    let reach = Reach {
        found: shares.tracks.iter().map(by_end).fold(0.0, f64::max),
        smallest: shares.tracks.iter().filter_map(least).filter(|x| x.is_finite()).min_by(f64::total_cmp),
    };
    let cold = state.warm_in(context);
    let (verdict, reason) = match shares.proved() {
        None => (Verdict::Inconclusive, Some(EvidenceReason::NotGating)),
        Some(true) => (Verdict::Pass, None),
        Some(false) if cold.is_some() => (Verdict::Inconclusive, Some(EvidenceReason::ColdStart)),
        Some(false) => (Verdict::Inconclusive, Some(EvidenceReason::NotEnoughData)),
    };
    let says = Says::Share(Box::new(Share {
        bound: latency.then(|| bound(track)),
        share: Both { canary: p_b, stable: p_a },
        against,
        n: Both { canary: state.seen.n_b, stable: state.seen.n_a },
        interval: (low, high),
        by_chance: chance,
        left_out,
        rps: state.per_window() / context.interval_seconds.max(1e-9),
        gates: reason != Some(EvidenceReason::NotGating),
    }));
    Answer {
        gates: bare.gates && reason != Some(EvidenceReason::NotGating),
        within: shares.tracks.iter().all(|t| at(&b, t.column) <= t.fail_margin().at(at(&a, t.column))),
        windows_to_pass: windows,
        says,
        missing: bare.missing,
        history: bare.history,
        evidence: MetricEvidence {
            verdict,
            reason,
            stable: Some(stable),
            canary: Some(canary),
            effect: Some(effect),
            noise: Some(noise(state, phi)),
            limit: Some(limit - p_a),
            load_margin: Some(track.load).filter(|load| *load > 0.0),
            under_unequal_load: latency && state.loads(step, context).unequal(),
            // Whole seconds, and not many: the cast is exact.
            warm_in_seconds: cold.map(|seconds| seconds.ceil() as i32),
            fail_evidence: Some(shares.fail_evidence(alpha)),
            fail_at: Some(context.fail_at),
            forecast: Some(forecast(windows, detect, Some(reach).filter(|_| alpha > 0.0), context)),
            ..bare.evidence
        },
    }
}

fn drift_answer(state: &MetricState, drift: &Drift, metric: &Metric, step: &StepTerms, context: &Context<'_>, bare: Answer) -> Answer {
    let alpha = state.alpha(context);
    let (Some(layout), Limits::Distance(DistanceLimits { rollback, pass, .. })) = (&state.layout, metric.kind.limits()) else {
        return bare;
    };
    let (hold_limit, _) = super::drift::Limit::both(metric);
    let phi = drift.phi(layout);
    let distance = drift::distance(layout, &state.seen);
    let chance = drift::distance_by_chance(layout, &state.seen, phi);
    let (stable_each, canary_each) = state.expected(step);
    let each = stable_each * canary_each / (stable_each + canary_each).max(1e-9);
    let planned = each * f64::from(step.planned_windows);
    let upper = drift::upper_bound(layout, &state.seen, planned, phi);
    let pass_limit = drift::pass_limit(pass, step.next_weight);
    let passed = upper <= pass_limit;
    let harmed = context.failed || drift.held || drift.harm(alpha) >= super::FAIL_AT;
    let against = if passed && !harmed { Against::Proved(pass_limit) } else { Against::Limit(rollback) };
    let (a, b) = (state.seen.stable(), state.seen.canary());
    let column = |at: usize| match layout {
        Layout::Classes(names) => names.get(at).map_or(Column::Others, |name| Column::Class(name.clone())),
        Layout::Bounds(bounds) => Column::Above(bounds.get(at).copied().unwrap_or(0.0)),
        Layout::Events => Column::All,
    };
    let of = |shares: &[f64], at: usize| shares.get(at).copied().unwrap_or(0.0);
    let leading = drift.rollback.leading_rate().and_then(|at| drift.watched.get(at).copied());
    let most = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).enumerate().max_by(|x, y| x.1.total_cmp(&y.1)).map(|(at, _)| at);
    let top = |shares: &[f64]| {
        let mut top: Vec<(usize, f64)> = shares.iter().copied().enumerate().collect();
        if let Layout::Classes(_) = layout {
            top.sort_by(|x, y| y.1.total_cmp(&x.1));
        }
        top.into_iter().take(3).map(|(at, share)| (column(at), share)).collect()
    };
    let arm = |n: f64| ArmValue { value: None, text: String::new(), n: whole(n), quantiles: Vec::new() };
    // The ball of Pinsker is for the classes; for a histogram one bound alone.
    let counts = |shares: &[f64], n: f64| match layout {
        Layout::Classes(_) => shares.iter().map(|p| p * n).collect::<Vec<f64>>(),
        _ => vec![0.5 * n, 0.5 * n],
    };
    let half = super::distance::distance_half_width(&counts(&a, state.seen.stable_effective()), &counts(&b, state.seen.n_b), ALPHA, phi);
    let (low, high) = ((distance - half).max(0.0), (distance + half).min(1.0));
    let distances = effect::distances(layout, &state.seen, phi);
    let windows = if passed {
        Some(0.0)
    } else {
        windows_to_bound(each, state.seen.precision(), pass_limit, |v| healthy_bound(layout, v, planned, phi))
    };
    let p = 0.25f64.min(1.0 - 2.0 * rollback).max(0.05);
    let margin = super::kernel::Margin { r: 1.0, d: rollback };
    let worse = (p + 2.0 * rollback).clamp(0.07, 0.95);
    let part = open_part(alpha, context);
    let detect = windows_to_fail(state.expected(step), p, worse, margin, phi, 0.5 * part, context.fail_at);
    let ahead = state.ahead(step.planned_windows, context);
    let per_window = state.per_window() * step.counted();
    let ahead = Rest { ahead: &ahead, per_window, frozen: context.frozen, hold: state.hold(step), spared: false }.with(phi);
    let reach = Reach {
        found: found(drift.rho, &ahead, per_window, (p, worse), margin),
        smallest: smallest(drift.rho, &ahead, per_window, p, margin).map(|p_b| p_b - p),
    };
    let (verdict, reason) = match (drift.held && !context.failed, passed) {
        (true, _) => (Verdict::Inconclusive, Some(EvidenceReason::HoldLimit)),
        (false, true) => (Verdict::Pass, None),
        (false, false) => (Verdict::Inconclusive, Some(EvidenceReason::NotEnoughData)),
    };
    let crossed = (hold_limit.tau, hold_limit.rate.r, hold_limit.rate.d);
    let says = Says::Distance(Box::new(Distance {
        classes: matches!(layout, Layout::Classes(_)),
        value: distance,
        by_chance: chance,
        against,
        n: Both { canary: state.seen.n_b, stable: state.seen.n_a },
        most: leading.or(most).map(|at| (column(at), Both { canary: of(&b, at), stable: of(&a, at) })),
        stable: top(&a),
        canary: top(&b),
        interval: (low, high),
        jensen_shannon: distances.jensen_shannon,
        psi: distances.psi,
        picked: !bare.gates && step.share.matched,
        crossed: (reason == Some(EvidenceReason::HoldLimit)).then_some(crossed),
    }));
    Answer {
        gates: bare.gates,
        within: distance <= rollback,
        windows_to_pass: windows,
        says,
        missing: bare.missing,
        history: bare.history,
        evidence: MetricEvidence {
            verdict,
            reason,
            stable: Some(arm(state.seen.n_a)),
            canary: Some(ArmValue { value: Some(distance), ..arm(state.seen.n_b) }),
            effect: Some(Effect { value: distance, low: Some(low), high: Some(high), by_chance: Some(chance), text: String::new() }),
            distances: Some(distances),
            noise: Some(noise(state, phi)),
            limit: Some(rollback),
            fail_evidence: Some(drift.harm(alpha)),
            fail_at: Some(context.fail_at),
            forecast: Some(forecast(windows, detect, Some(reach).filter(|_| alpha > 0.0), context)),
            ..bare.evidence
        },
    }
}

/// At 100 %: the canary against stable before the switch.
fn at_full(state: &MetricState, bake: &bake::Bake, bare: &impl Fn(EvidenceReason, Says) -> Answer) -> Answer {
    let n = bake.seen.n;
    let guard = bake.guards.iter().max_by(|x, y| x.fail.value().total_cmp(&y.fail.value()));
    let Some(guard) = guard else { return bare(EvidenceReason::Bake, Says::NothingAtFull) };
    let share = bake.seen.x.get(guard.column).copied().unwrap_or(0.0) / n;
    let says = Switched {
        bound: state.bounds().get(guard.column).copied(),
        share: Both { canary: share, stable: guard.before },
        limit: guard.limit,
        n: Both { canary: n, stable: bake.before },
    };
    let mut found = bare(EvidenceReason::Bake, Says::Switched(says));
    found.within = share <= guard.limit;
    let arm = |share: f64, of: &Row| {
        let above: Vec<f64> = of.x.iter().map(|x| x / of.n.max(1.0)).collect();
        let quantiles = if state.bounds().is_empty() { Vec::new() } else { effect::quantiles(state.bounds(), &above) };
        ArmValue { value: Some(share), text: String::new(), n: whole(of.n), quantiles }
    };
    found.evidence.stable = Some(arm(guard.before, &state.recent));
    found.evidence.canary = Some(arm(share, &bake.seen));
    let value = share - guard.before;
    found.evidence.effect = Some(Effect { value, low: None, high: None, by_chance: None, text: String::new() });
    found.evidence.limit = Some(guard.limit - guard.before);
    found.evidence.fail_evidence = Some(bake.fail_evidence());
    found.evidence.fail_at = Some(bake::FAIL_AT);
    found
}

/// How noisy stable is against itself.
fn noise(state: &MetricState, phi: f64) -> Noise {
    Noise { windows: i32::try_from(state.history).unwrap_or(i32::MAX), dispersion: (phi * 1e3).round() / 1e3 }
}

/// What the rest of the plan can still find (2i.5).
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// Probability that the regression which the forecast speaks of is found.
    found: f64,
    /// Smallest effect found with 90 %.
    smallest: Option<f64>,
}

/// The e-process' part of the merge.
pub(super) fn open_part(alpha: f64, context: &Context<'_>) -> f64 {
    if alpha > 0.0 { (1.0 - PART) * context.part } else { context.part }
}

fn forecast(to_pass: Option<f64>, to_detect: Option<f64>, reach: Option<Reach>, context: &Context<'_>) -> Forecast {
    let minutes = |windows: f64| windows * context.interval_seconds / 60.0;
    let short = |x: f64| (x * 1e4).round() / 1e4;
    Forecast {
        minutes_to_pass: to_pass.map(minutes),
        minutes_to_detect: to_detect.map(minutes),
        found_by_end: reach.map(|reach| short(reach.found)),
        smallest_found: reach.and_then(|reach| reach.smallest).map(short),
    }
}
