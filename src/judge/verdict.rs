//! What the evidence about one metric says, in numbers and in words.

use super::budget::{PART, found, smallest};
use super::columns::{Layout, Row};
use super::dispersion::ENOUGH_WINDOWS;
use super::drift::{self, Drift};
use super::forecast::{SLOWER, doubled, healthy_bound, windows_to_bound, windows_to_fail};
use super::metric::{CALIBRATION, MetricState, Processes, distance_limits};
use super::proportions::{Proportions, Rest, Track, bracket, share_above, value_exceeded};
use super::{Context, StepTerms, bake, effect, say};
use crate::api::{ArmValue, Effect, EvidenceReason, Forecast, MetricEvidence, Noise, Verdict};
use crate::plan::{DistanceLimits, Limits, Metric};

/// One metric's answer, and what the whole asks of it.
pub struct Answer {
    /// For status.
    pub evidence: MetricEvidence,
    /// It gates this step and has something to prove in it.
    pub gates: bool,
    /// Its estimate is within the fail margins.
    pub within: bool,
    /// Windows that a healthy canary still needs; `None`: never.
    pub windows_to_pass: Option<f64>,
}

/// Confidence of the intervals shown: 1 - ALPHA.
const ALPHA: f64 = 0.05;

/// What `state` says at this step.
pub fn answer(state: &MetricState, metric: &Metric, step: &StepTerms, context: &Context<'_>) -> Answer {
    let bare = |reason: EvidenceReason, message: String| Answer {
        evidence: MetricEvidence::new(&metric.name, Verdict::Inconclusive, Some(reason), message),
        gates: !step.without.contains(&metric.name),
        within: false,
        windows_to_pass: None,
    };
    let name = &metric.name;
    if state.apart {
        return bare(
            EvidenceReason::NotComparable,
            format!("{name}: the two arms' counts do not fit each other (different buckets or kinds)"),
        );
    }
    let mut found = match (&state.processes, &state.bake) {
        _ if step.weight >= 1.0 => match &state.bake {
            Some(bake) if bake.seen.n > 0.0 => at_full(state, bake, metric, &bare),
            Some(_) => bare(EvidenceReason::NoData, format!("{name}: no canary request counted at 100 % yet")),
            None if matches!(metric.kind.limits(), Limits::Distance(_)) => {
                bare(EvidenceReason::Bake, format!("{name}: not compared at 100 %"))
            }
            None => bare(EvidenceReason::NoData, format!("{name}: stable was not counted before the switch")),
        },
        (None, _) if state.pending.is_empty() => bare(EvidenceReason::NoData, format!("{name}: no window counted yet")),
        (None, _) => {
            let message = format!("{name}: margins not known yet, window {} of {CALIBRATION} of stable", state.pending.len());
            bare(EvidenceReason::Calibrating, message)
        }
        (Some(_), _) if state.windows == 0 => {
            bare(EvidenceReason::NoData, format!("{name}: no window with both arms counted in this step yet"))
        }
        (Some(Processes::Shares(shares)), _) => {
            shares_answer(state, shares, metric, step, context, bare(EvidenceReason::NotEnoughData, String::new()))
        }
        (Some(Processes::Drift(drift)), _) => {
            drift_answer(state, drift, metric, step, context, bare(EvidenceReason::NotEnoughData, String::new()))
        }
    };
    if state.missing > 0 && found.evidence.reason != Some(EvidenceReason::NoData) {
        found.evidence.message = format!("{} (no data for {} windows)", found.evidence.message, state.missing);
        if found.evidence.verdict == Verdict::Pass {
            (found.evidence.verdict, found.evidence.reason) = (Verdict::Inconclusive, Some(EvidenceReason::NoData));
        }
    }
    let history = usize::try_from(state.history).unwrap_or(usize::MAX);
    if let Some(noise) = found.evidence.noise.as_ref().filter(|_| history < ENOUGH_WINDOWS) {
        let words = format!("judged with {history} of {ENOUGH_WINDOWS} windows of history: evidence counts 1/{:.0}", noise.dispersion);
        found.evidence.message = format!("{}; {words}", found.evidence.message);
    }
    if state.catastrophe {
        (found.evidence.verdict, found.evidence.reason) = (Verdict::Fail, Some(EvidenceReason::FailLimit));
    }
    found
}

fn whole(n: f64) -> i64 {
    n as i64
}

/// Both arms' counts, as `n 3,120 / 59,204`.
fn counted(state: &MetricState) -> String {
    format!("n {} / {}", say::count(state.seen.n_b), say::count(state.seen.n_a))
}

fn shares_answer(
    state: &MetricState,
    shares: &Proportions,
    metric: &Metric,
    step: &StepTerms,
    context: &Context<'_>,
    bare: Answer,
) -> Answer {
    let (a, b) = (state.seen.stable(), state.seen.canary());
    let at = |values: &[f64], column: usize| values.get(column).copied().unwrap_or(0.0);
    let alpha = state.alpha(context);
    let worst = shares.tracks.iter().max_by(|x, y| x.harm(alpha).total_cmp(&y.harm(alpha)));
    let slowest = shares.tracks.iter().filter(|t| t.pass.proves).min_by(|x, y| x.pass.value().total_cmp(&y.pass.value()));
    let Some(track) = worst.filter(|t| t.harm(alpha) > 2.0 * t.weight).or(slowest).or(worst) else { return bare };
    let (p_a, p_b, phi) = (at(&a, track.column), at(&b, track.column), track.phi());
    let limit = track.fail_margin().at(p_a);
    let latency = !state.bounds().is_empty();
    let bound = |t: &Track| state.bounds().get(t.column).copied().unwrap_or(0.0);
    let (subject, unit) = (metric.subject(latency.then(|| bound(track))), metric.unit());
    // What a pass has proved is the pass margin of this step; the limit of the fail side would look odd beside an estimate beyond it.
    let passed = shares.proved() == Some(true);
    let harmed = context.failed || shares.fail_evidence(alpha) >= super::FAIL_AT;
    let against = if passed && track.pass.proves && !harmed {
        format!("proved to be below {}", say::percent(track.pass.margin().at(p_a)))
    } else {
        format!("limit {}", say::percent(limit))
    };
    let mut message = format!("{subject} {} against {} ({against}), {}", say::percent(p_b), say::percent(p_a), counted(state));
    let (low, high) = state.seen.difference_interval(p_a, p_b, phi, ALPHA);
    let value = p_b - p_a;
    let what = if latency { format!(" of {subject}") } else { String::new() };
    let chance = effect::chance(p_a, state.seen.precision(), phi);
    let effect = Effect {
        value,
        low: Some(low),
        high: Some(high),
        by_chance: Some(chance),
        text: format!(
            "{} points{what} (95 %: {} to {}; stable against itself: {:.2})",
            say::points(value),
            say::points(low),
            say::points(high),
            100.0 * chance
        ),
    };
    let arm = |shares: &[f64], n: f64| {
        if !latency {
            let share = at(shares, track.column);
            return ArmValue { value: Some(share), text: say::percent(share), n: whole(n), quantiles: Vec::new() };
        }
        let quantile = |level: f64| bracket(state.bounds(), shares, level);
        let text =
            [("p50", 0.5), ("p95", 0.05), ("p99", 0.01)].map(|(name, level)| format!("{name} {}", say::bucket(quantile(level), unit)));
        ArmValue { value: quantile(0.01).1, text: text.join(", "), n: whole(n), quantiles: effect::quantiles(state.bounds(), shares) }
    };
    let (stable, canary) = (arm(&a, state.seen.n_a), arm(&b, state.seen.n_b));
    if latency {
        let p99 = |shares: &[f64]| say::bucket(bracket(state.bounds(), shares, 0.01), "");
        message = format!("{message}; p99 {} against {}{unit}", p99(&b), p99(&a));
    }
    let left_out: Vec<String> = shares.tracks.iter().filter(|t| latency && !t.pass.proves).map(|t| format!("{}", bound(t))).collect();
    let rps = state.per_window() / context.interval_seconds.max(1e-9);
    if !left_out.is_empty() {
        message = format!("{message}; above {}{unit} cannot be proved at {rps:.0} requests a second in this step", left_out.join(", "));
    }
    let (n, hold) = (state.expected(step), state.hold(step));
    let to_pass = |t: &Track| t.pass.windows(t.stable.rate(), t.phi(), hold);
    let windows = if passed {
        Some(0.0)
    } else {
        shares.tracks.iter().filter(|t| t.pass.proves).map(to_pass).try_fold(0.0f64, |most, w| w.map(|w| most.max(w)))
    };
    let worse = |t: &Track| {
        let p = t.stable.rate();
        if latency { share_above(state.bounds(), &state.s0, bound(t) / (1.0 + SLOWER)).max(p) } else { doubled(p, t.fail_margin()) }
    };
    let part = open_part(alpha, context);
    let to_fail = |t: &Track| windows_to_fail(n, t.stable.rate(), worse(t), t.fail_margin(), t.phi(), part * t.weight, context.fail_at);
    let detect = shares.tracks.iter().filter_map(to_fail).min_by(f64::total_cmp);
    let ahead = state.ahead(step.planned_windows, context);
    let rest = Rest { ahead: &ahead, per_window: state.per_window() * step.counted(), frozen: context.frozen, hold };
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
    let (verdict, reason) = match shares.proved() {
        None => (Verdict::Inconclusive, Some(EvidenceReason::NotGating)),
        Some(true) => (Verdict::Pass, None),
        Some(false) => (Verdict::Inconclusive, Some(EvidenceReason::NotEnoughData)),
    };
    if reason == Some(EvidenceReason::NotGating) {
        message = format!("{message}; nothing of it can be proved, so it does not gate this step");
    }
    Answer {
        gates: bare.gates && reason != Some(EvidenceReason::NotGating),
        within: shares.tracks.iter().all(|t| at(&b, t.column) <= t.fail_margin().at(at(&a, t.column))),
        windows_to_pass: windows,
        evidence: MetricEvidence {
            verdict,
            reason,
            message,
            stable: Some(stable),
            canary: Some(canary),
            effect: Some(effect),
            noise: Some(noise(state, phi)),
            limit: Some(limit - p_a),
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
    let (hold_limit, _) = distance_limits(metric);
    let phi = drift.phi(layout);
    let distance = drift::distance(layout, &state.seen);
    let chance = drift::distance_by_chance(layout, &state.seen, phi);
    let (stable_each, canary_each) = state.expected(step);
    let each = stable_each * canary_each / (stable_each + canary_each).max(1e-9);
    let planned = each * f64::from(step.planned_windows);
    let upper = drift::upper_bound(layout, &state.seen, planned, phi);
    let pass_limit = drift::pass_limit(pass, step.next_weight);
    let name = if matches!(layout, Layout::Classes(_)) { "total variation" } else { "Kolmogorov-Smirnov distance" };
    let passed = upper <= pass_limit;
    let harmed = context.failed || drift.held || drift.harm(alpha) >= super::FAIL_AT;
    let against = if passed && !harmed { format!("proved to be below {pass_limit:.3}") } else { format!("limit {rollback}") };
    let mut message = format!("{name} {distance:.3} ({against}; stable against itself: {chance:.3}), {}", counted(state));
    let (a, b) = (state.seen.stable(), state.seen.canary());
    let named = |at: usize| {
        let label = match layout {
            Layout::Classes(names) => names.get(at).cloned().unwrap_or_else(|| "other classes".to_owned()),
            Layout::Bounds(bounds) => metric.subject(Some(bounds.get(at).copied().unwrap_or(0.0))),
            Layout::Events => String::new(),
        };
        format!("{label} {} against {}", say::percent(b.get(at).copied().unwrap_or(0.0)), say::percent(a.get(at).copied().unwrap_or(0.0)))
    };
    let leading = drift.rollback.leading_rate().and_then(|at| drift.watched.get(at).copied());
    let most = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).enumerate().max_by(|x, y| x.1.total_cmp(&y.1)).map(|(at, _)| at);
    if let Some(at) = leading.or(most) {
        message = format!("{message}; most in {}", named(at));
    }
    let arm = |shares: &[f64], n: f64| {
        let mut top: Vec<(usize, f64)> = shares.iter().copied().enumerate().collect();
        if let Layout::Classes(_) = layout {
            top.sort_by(|x, y| y.1.total_cmp(&x.1));
        }
        let text = top.iter().take(3).map(|(at, share)| match layout {
            Layout::Classes(names) => format!("{} {}", names.get(*at).map_or("other", String::as_str), say::percent(*share)),
            Layout::Bounds(bounds) => format!("above {} {}", bounds.get(*at).copied().unwrap_or(0.0), say::percent(*share)),
            Layout::Events => say::percent(*share),
        });
        ArmValue { value: None, text: text.collect::<Vec<_>>().join(", "), n: whole(n), quantiles: Vec::new() }
    };
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
    let ahead = Rest { ahead: &ahead, per_window, frozen: context.frozen, hold: state.hold(step) }.with(phi);
    let reach = Reach {
        found: found(drift.rho, &ahead, per_window, (p, worse), margin),
        smallest: smallest(drift.rho, &ahead, per_window, p, margin).map(|p_b| p_b - p),
    };
    let (verdict, reason) = match (drift.held && !context.failed, passed) {
        (true, _) => (Verdict::Inconclusive, Some(EvidenceReason::HoldLimit)),
        (false, true) => (Verdict::Pass, None),
        (false, false) => (Verdict::Inconclusive, Some(EvidenceReason::NotEnoughData)),
    };
    if !bare.gates && step.share.matched {
        message = format!("{message}; users were picked by a match, so it is shown and does not gate");
    }
    if reason == Some(EvidenceReason::HoldLimit) {
        let limit = hold_limit;
        message = format!(
            "{message}; the limit that holds was crossed (distance {}, or the rate of a class by {:.2} times and {})",
            limit.tau, limit.rate.r, limit.rate.d
        );
    }
    Answer {
        gates: bare.gates,
        within: distance <= rollback,
        windows_to_pass: windows,
        evidence: MetricEvidence {
            verdict,
            reason,
            message,
            stable: Some(arm(&a, state.seen.n_a)),
            canary: Some(ArmValue { value: Some(distance), ..arm(&b, state.seen.n_b) }),
            effect: Some(Effect {
                value: distance,
                low: Some(low),
                high: Some(high),
                by_chance: Some(chance),
                text: format!(
                    "{name} {distance:.3} (95 %: {low:.3} to {high:.3}; stable against itself: {chance:.3}), Jensen-Shannon {:.3}, PSI {:.3}",
                    distances.jensen_shannon, distances.psi
                ),
            }),
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
fn at_full(state: &MetricState, bake: &bake::Bake, metric: &Metric, bare: &impl Fn(EvidenceReason, String) -> Answer) -> Answer {
    let n = bake.seen.n;
    let guard = bake.guards.iter().max_by(|x, y| x.fail.value().total_cmp(&y.fail.value()));
    let Some(guard) = guard else { return bare(EvidenceReason::Bake, format!("{}: nothing to compare at 100 %", metric.name)) };
    let share = bake.seen.x.get(guard.column).copied().unwrap_or(0.0) / n;
    let subject = metric.subject(state.bounds().get(guard.column).copied());
    let message = format!(
        "{subject} {} against {} before the switch (limit {}), n {} / {}",
        say::percent(share),
        say::percent(guard.before),
        say::percent(guard.limit),
        say::count(n),
        say::count(bake.before)
    );
    let mut found = bare(EvidenceReason::Bake, message);
    found.within = share <= guard.limit;
    let arm = |share: f64, of: &Row| {
        let above: Vec<f64> = of.x.iter().map(|x| x / of.n.max(1.0)).collect();
        let quantiles = if state.bounds().is_empty() { Vec::new() } else { effect::quantiles(state.bounds(), &above) };
        ArmValue { value: Some(share), text: say::percent(share), n: whole(of.n), quantiles }
    };
    found.evidence.stable = Some(arm(guard.before, &state.recent));
    found.evidence.canary = Some(arm(share, &bake.seen));
    let value = share - guard.before;
    found.evidence.effect = Some(Effect { value, low: None, high: None, by_chance: None, text: format!("{} points", say::points(value)) });
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
fn open_part(alpha: f64, context: &Context<'_>) -> f64 {
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
