//! Evidence about one metric: what its columns are, what was frozen from stable's past, and the processes that run.

use serde::{Deserialize, Serialize};

use super::bake::{self, Bake};
use super::budget;
use super::cold::Cold;
use super::columns::{Layout, Row, select};
use super::dispersion::{pod_margin, reserve};
use super::distance::Matched;
use super::drift::{Drift, Limit, MOST_RATES, Start};
use super::kernel::Margin;
use super::load::Loads;
use super::looks::Looks;
use super::mixture::{Mixture, PlugIn};
use super::passing::Hold;
use super::past::{MetricPast, Noise, sum};
use super::plain::{self, Plainly};
use super::proportions::{LEAST_EVENTS, Proportions, Rest, Track, brackets, fail_margin};
use super::threshold::Threshold;
use super::{Context, Planned, StepTerms, tidy};
use crate::api::ThresholdAction;
use crate::counts::Counts;
use crate::plan::{Limits, Metric};

/// Windows of stable that freeze margins and dispersion.
pub const CALIBRATION: usize = 20;
/// Pods' standard deviation as a share of the rate, where pods cannot be told apart and the canary has fewer than three.
const UNSEEN_PODS: f64 = 0.2;
/// So many bounds are kept above those that are compared and the next one.
const ABOVE: usize = 2;
/// Windows in which the users of a match are counted: as many as a step takes at least.
const COHORT_WINDOWS: u32 = 4;

/// The processes of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Processes {
    /// Errors and latency.
    Shares(Proportions),
    /// Drift.
    Drift(Box<Drift>),
}

/// All about one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetricState {
    /// It takes part in the merge: it gates at least one step.
    pub gates: bool,
    /// Steps with two arms that leave it out.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<usize>,
    /// What the columns are.
    pub layout: Option<Layout>,
    /// Stable's windows until there are enough to freeze.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pending: Vec<Row>,
    /// Stable's frozen shares; empty: not frozen yet.
    pub s0: Vec<f64>,
    /// Requests of both arms (`x`) in so many windows (`n`), decayed.
    pub traffic: PlugIn,
    /// Stable's counts, with a memory of 29 windows.
    pub recent: Row,
    pub looks: Looks,
    /// Counts of this step.
    pub seen: Matched,
    /// Windows of this step with both arms.
    pub windows: u32,
    /// Windows since data was seen.
    pub missing: u32,
    /// The two arms' counts do not fit each other.
    pub apart: bool,
    /// What runs; nothing before margins are frozen.
    pub processes: Option<Processes>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uncapped: Option<Mixture>,
    /// The rule for catastrophes fired.
    pub catastrophe: bool,
    /// One scrape was enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plain: Option<Plainly>,
    /// At 100 %.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bake: Option<Bake>,
    /// Windows of stable that its dispersion comes from.
    #[serde(default)]
    pub history: u32,
    /// It is shown and decides nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub advisory: bool,
    /// What was put aside while the canary's pods are young.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cold: Option<Cold>,
    /// Of a threshold, all there is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threshold: Option<Threshold>,
}

impl MetricState {
    /// Nothing seen yet.
    pub(super) fn new(metric: &Metric) -> Self {
        Self { gates: Self::may_gate(metric), advisory: !metric.gate, ..Self::default() }
    }

    /// A threshold has no part in the merge: it has no error rate to share.
    pub(super) fn may_gate(metric: &Metric) -> bool {
        metric.gate && !metric.kind.is_threshold()
    }

    /// Margins are frozen.
    pub(super) fn frozen(&self) -> bool {
        self.processes.is_some()
    }

    /// Bounds of the columns; empty where they are none.
    pub(super) fn bounds(&self) -> &[f64] {
        if let Some(Layout::Bounds(bounds)) = &self.layout { bounds } else { &[] }
    }

    /// Bounds that are compared, those beside them, which margins are read between, and some of those above, for people to read a slow
    /// quantile by. `None` where margins are not frozen or there are no bounds.
    pub(super) fn needed_bounds(&self) -> Option<Vec<f64>> {
        let Some(Processes::Shares(shares)) = &self.processes else { return None };
        let (bounds, last) = (self.bounds(), shares.tracks.iter().map(|track| track.column).max()?);
        let beside = |at: usize| shares.tracks.iter().any(|track| track.column.abs_diff(at) <= 1);
        let few = bounds.len() <= last + 2 + ABOVE;
        let above = |at: usize| at > last && (few || (1..=ABOVE).any(|step| at == last + 1 + 2 * step));
        let needed = bounds.iter().enumerate().filter(|(at, _)| beside(*at) || above(*at));
        Some(needed.map(|(_, bound)| *bound).collect()).filter(|needed: &Vec<f64>| !needed.is_empty())
    }

    /// Mean requests of both arms in a window.
    pub(super) fn per_window(&self) -> f64 {
        if self.traffic.n > 0.0 { self.traffic.x / self.traffic.n } else { 0.0 }
    }

    /// Takes stable's past in, and freezes if it is enough.
    pub(super) fn calibrate(&mut self, metric: &Metric, past: Option<&MetricPast>, context: &Context<'_>) {
        let Some(past) = past.filter(|_| !self.frozen()) else { return };
        self.pending = past.recent.iter().map(|window| sum(window.iter())).collect();
        let kept = self.pending.len().saturating_sub(bake::WINDOWS as usize);
        self.recent = self.pending.get(kept..).map(|rows| sum(rows.iter())).unwrap_or_default();
        self.layout = Some(past.layout.clone());
        self.seen = Matched::new(past.layout.columns()); // a step may have begun before
        self.traffic = PlugIn::seeded(self.pending.len() as f64, self.pending.iter().map(|row| row.n).sum(), self.pending.len() as f64);
        if self.pending.len() >= CALIBRATION {
            self.freeze(metric, &past.noise(), Some(&past.recent).filter(|_| past.split), context);
        } else {
            self.pending.truncate(CALIBRATION - 1);
        }
    }

    /// Freezes margins, watched columns and dispersion from `pending`; `by_pod` are the same windows pod by pod.
    fn freeze(&mut self, metric: &Metric, noise: &Noise, by_pod: Option<&Vec<Vec<Row>>>, context: &Context<'_>) {
        let rows = std::mem::take(&mut self.pending);
        let past = sum(rows.iter());
        let Some(mut layout) = self.layout.clone().filter(|_| past.n > 0.0) else { return };
        let shares: Vec<f64> = past.x.iter().map(|x| x / past.n).collect();
        self.history = u32::try_from(noise.windows).unwrap_or(u32::MAX);
        let pods = |column: usize| match by_pod {
            Some(windows) => {
                let pods = windows.first().map_or(0, Vec::len);
                let total = |pod: usize| sum(windows.iter().filter_map(|window| window.get(pod)));
                let of = |row: Row| (row.n, row.x.get(column).copied().unwrap_or(0.0));
                let (n, x): (Vec<f64>, Vec<f64>) = (0..pods).map(total).map(of).filter(|(n, _)| *n > 0.0).unzip();
                pod_margin(&n, &x, noise.measured(column), f64::from(context.canary_pods)).margin
            }
            None if context.by_pod || context.canary_pods >= 3 => 0.0,
            None => 2.0 * UNSEEN_PODS * shares.get(column).copied().unwrap_or(0.0) * (2.0 / f64::from(context.canary_pods.max(1))).sqrt(),
        };
        let windows = rows.len() as f64;
        self.processes = Some(match metric.kind.limits() {
            Limits::Distance(_) => {
                let watched = self.watched_classes(&layout, &shares, context);
                // The default for pods that cannot be told apart is about speed and errors: pods of one model give the same answers.
                let pods = (0..layout.columns()).map(|at| if by_pod.is_some() { pods(at) } else { 0.0 }).collect();
                let (phi0, alpha) = (noise.whole(), self.alpha(context));
                Processes::Drift(Box::new(Drift::new(Start { past: past.clone(), windows, watched, pods, phi0, alpha })))
            }
            limits => {
                let bounds = if let Layout::Bounds(bounds) = &layout { bounds.clone() } else { Vec::new() };
                let bounded = !bounds.is_empty();
                let columns = if bounded { brackets(&shares) } else { vec![(0, 1.0)] };
                let track = |(column, weight): &(usize, f64)| {
                    let margin = fail_margin(limits, &bounds, &shares, *column);
                    let found = Track::new(
                        (*column, *weight),
                        &past,
                        windows,
                        Margin { d: margin.d + pods(*column), ..margin },
                        noise.column(*column),
                    );
                    let (burst, reserve) = (tidy(noise.burst), tidy(reserve(noise.windows)));
                    Track { response: noise.response(*column).filter(|_| bounded), burst, reserve, ..found }
                };
                let mut shares = Proportions { tracks: columns.iter().map(track).collect() };
                if metric.counts_requests() {
                    shares.tracks.iter_mut().for_each(|track| track.open -= plain::PART);
                }
                shares.start_budget(self.alpha(context));
                Processes::Shares(shares)
            }
        });
        self.s0 = shares.iter().map(|s| tidy(*s)).collect();
        if let Some((thin, columns)) = layout.thinned(&shares) {
            layout = thin;
            self.narrow(layout.clone(), &columns);
        }
        self.layout = Some(layout);
        if let Some(step) = context.present {
            self.begin_pass(metric, step);
        }
    }

    /// The classes whose rate the plan shows at least five times on the canary, the most frequent ones.
    fn watched_classes(&self, layout: &Layout, shares: &[f64], context: &Context<'_>) -> Vec<usize> {
        let Layout::Classes(names) = layout else { return Vec::new() };
        let canary: f64 =
            context.steps.iter().map(|Planned(weight, windows, _)| weight * f64::from(*windows)).sum::<f64>() * self.per_window();
        let mut found: Vec<(usize, f64)> =
            shares.iter().copied().enumerate().take(names.len()).filter(|(_, share)| canary * share >= LEAST_EVENTS).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut columns: Vec<usize> = found.into_iter().take(MOST_RATES).map(|(at, _)| at).collect();
        columns.sort_unstable();
        columns
    }

    /// Only these columns from now on.
    fn narrow(&mut self, layout: Layout, columns: &[usize]) {
        for row in self.pending.iter_mut().chain([&mut self.recent]) {
            row.x = select(&row.x, columns);
        }
        self.s0 = select(&self.s0, columns);
        self.seen = Matched::new(columns.len());
        match &mut self.processes {
            Some(Processes::Drift(drift)) => drift.narrow(columns),
            Some(Processes::Shares(shares)) => {
                let most = shares.tracks.iter().map(|t| t.phi0).fold(0.0, f64::max);
                let kept = |(column, weight): (usize, f64)| {
                    let old = columns.get(column).and_then(|old| shares.tracks.iter().find(|track| track.column == *old));
                    let fresh = || {
                        let share = self.s0.get(column).copied().unwrap_or(0.0);
                        let n = self.recent.n.max(1.0);
                        let past = Row { n, x: self.s0.iter().map(|s| s * n).collect() };
                        let d = shares.tracks.iter().map(|t| t.d).fold(0.0, f64::max);
                        Track { s0: share, ..Track::new((column, weight), &past, 1.0, Margin { r: 1.0, d }, most) }
                    };
                    old.map_or_else(fresh, |track| Track { column, weight, ..track.clone() })
                };
                shares.tracks = brackets(&self.s0).into_iter().map(kept).collect();
            }
            None => {}
        }
        self.layout = Some(layout);
    }

    /// Begins a step: counts and pass side start over; at 100 % freezes what the canary is compared with.
    pub(super) fn begin_step(&mut self, metric: &Metric, step: &StepTerms, further: bool) {
        self.seen = Matched::new(self.layout.as_ref().map_or(0, Layout::columns));
        (self.windows, self.missing) = (0, 0);
        self.threshold.iter_mut().for_each(Threshold::begin_step);
        self.looks.step(further);
        self.begin_pass(metric, step);
        if step.weight < 1.0 {
            self.bake = None;
        } else {
            self.open_bake(step);
        }
    }

    /// An incident is over: what was proved in this step is proved again, and stable is watched from nothing again.
    pub(super) fn after_incident(&mut self, metric: &Metric, step: &StepTerms) {
        if let Some(Processes::Shares(shares)) = &mut self.processes {
            shares.calm();
        }
        self.prove_again(metric, step);
    }

    /// What was proved in this step is proved again.
    pub(super) fn prove_again(&mut self, metric: &Metric, step: &StepTerms) {
        self.seen = Matched::new(self.layout.as_ref().map_or(0, Layout::columns));
        self.windows = 0;
        self.begin_pass(metric, step);
    }

    /// A window of stable alone, which is compared with its own past.
    pub(super) fn rest(&mut self, stable: &Counts) {
        let row = self.layout.as_ref().and_then(|layout| layout.row(stable));
        if let (Some(row), Some(Processes::Shares(shares))) = (row, &mut self.processes) {
            shares.rest(&row);
        }
    }

    fn begin_pass(&mut self, metric: &Metric, step: &StepTerms) {
        let hold = self.hold(step);
        let planned = hold.n.1 * f64::from(step.planned_windows);
        let bounds = self.bounds().to_vec();
        if let Some(Processes::Shares(shares)) = &mut self.processes {
            shares.begin_step(metric.kind.limits(), &bounds, &self.s0, step.next_weight, hold, planned);
        }
    }

    /// Requests of stable and canary that a window is expected to show.
    pub(super) fn expected(&self, step: &StepTerms) -> (f64, f64) {
        if step.share.matched && self.windows > 0 {
            // How many users a match picks is known only once they are seen.
            let windows = f64::from(self.windows);
            return (self.seen.n_a / windows, self.seen.n_b / windows);
        }
        let requests = self.per_window() * step.counted();
        (requests * (1.0 - step.weight), requests * step.weight)
    }

    /// What the step's hold still shows before its test.
    pub(super) fn hold(&self, step: &StepTerms) -> Hold {
        Hold { windows: f64::from(step.tested_windows().saturating_sub(self.windows)), n: self.expected(step) }
    }

    /// Another kind of traffic begins: nothing of what was learnt about the canary stays. What was frozen from stable's past does.
    pub(super) fn begin_kind(&mut self, context: &Context<'_>) {
        let alpha = self.alpha(context);
        match &mut self.processes {
            Some(Processes::Shares(shares)) => shares.begin_kind(alpha),
            Some(Processes::Drift(drift)) => drift.begin_kind(alpha),
            None => {}
        }
        (self.looks, self.uncapped, self.cold) = (Looks::default(), None, None);
    }

    /// The users of a match are counted in the first windows, and only then it is known which bounds they can prove: their number alone says
    /// nothing of how they fare.
    fn size_cohort(&mut self, step: &StepTerms) {
        if !step.share.matched || self.windows > COHORT_WINDOWS {
            return;
        }
        let planned = self.seen.n_b / f64::from(self.windows) * f64::from(step.planned_windows);
        let bounded = !self.bounds().is_empty();
        if let Some(Processes::Shares(shares)) = &mut self.processes {
            shares.choose(bounded, planned);
        }
    }

    /// Adds one window. `None`: the metric could not be read in that arm.
    pub(super) fn add(
        &mut self,
        metric: &Metric,
        step: &StepTerms,
        stable: Option<&Counts>,
        canary: Option<&Counts>,
        context: &Context<'_>,
    ) {
        if step.weight >= 1.0 {
            return self.add_bake(metric, canary, context);
        }
        let Some((stable, canary)) = stable.zip(canary) else {
            self.missing += 1;
            return;
        };
        self.missing = 0;
        let Some((a, b)) = self.rows(stable, canary) else {
            self.apart = true;
            return;
        };
        self.apart = false;
        self.before_cold(metric, step, context.young);
        if !context.frozen {
            self.recent.roll(&a, bake::WINDOWS);
        }
        if a.n > 0.0 && b.n > 0.0 {
            self.traffic.add(1.0, (a.n + b.n) / step.counted(), PlugIn::HALF_LIFE);
        }
        let both = a.n > 0.0 && b.n > 0.0;
        if both {
            if !context.frozen {
                self.seen.add(a.n, &a.x, b.n, &b.x);
                self.windows += 1;
            }
            self.watch_catastrophe(metric, &a, &b);
            self.size_cohort(step);
        }
        if !self.frozen() {
            if a.n > 0.0 {
                self.pending.push(a);
            }
            if let Some(layout) = self.layout.as_ref().filter(|_| self.pending.len() >= CALIBRATION) {
                let noise = Noise::of_rows(layout, &self.pending);
                self.freeze(metric, &noise, None, context);
            }
            return;
        }
        if step.without.contains(&metric.name) {
            return;
        }
        self.looks.window(context.frozen);
        let plan: Vec<u32> = self.judged(context).map(|(_, _, windows)| windows).collect();
        let gamma = if both { self.looks.gamma(&plan, step.planned_windows, context.frozen) } else { 0.0 };
        let ahead = self.ahead(step.planned_windows, context);
        let (hold, loads) = (self.hold(step), self.loads(step, context));
        let excused = matches!(metric.kind.limits(), Limits::Stretch(limits) if limits.load > 0.0);
        let spared = excused && {
            let later = self.judged(context).filter(|(at, ..)| *at > context.step);
            loads.nearer(later.map(|(_, weight, _)| weight), context.pods)
        };
        let rest = Rest { ahead: &ahead, per_window: self.per_window() * step.counted(), frozen: context.frozen, hold, spared };
        let bounds = self.bounds().to_vec();
        match (&mut self.processes, &self.layout) {
            (Some(Processes::Shares(shares)), _) => {
                shares.widen(loads, metric.kind.limits(), &bounds, &self.s0, step.next_weight >= 1.0, hold);
                shares.add(gamma, &a, &b, &rest);
            }
            (Some(Processes::Drift(drift)), Some(layout)) => drift.add(gamma, layout, &a, &b, &rest, Limit::both(metric)),
            _ => {}
        }
        self.after_cold(metric, &a, &b, context.young);
    }

    /// What a pod of each version is expected to get in a window of this step.
    pub(super) fn loads(&self, step: &StepTerms, context: &Context<'_>) -> Loads {
        Loads::of(self.expected(step), context.pods)
    }

    /// Index, canary's share and windows of the planned steps with the present kind of traffic that judge this metric. What a match picks
    /// is a guess until it is seen.
    fn judged(&self, context: &Context<'_>) -> impl Iterator<Item = (usize, f64, u32)> {
        let kind = context.steps.get(context.step).map_or(0, |Planned(_, _, kind)| *kind);
        let cohort = context.present.filter(|step| step.share.matched && self.seen.n_b > 0.0);
        let picked = cohort.map(|_| self.seen.n_b / (self.seen.n_a + self.seen.n_b));
        let judged = move |(at, Planned(weight, windows, of)): (usize, &Planned)| {
            (*of == kind && !self.left_out.contains(&at)).then_some((at, picked.unwrap_or(*weight), *windows))
        };
        context.steps.iter().enumerate().filter_map(judged)
    }

    /// What the plan still shows of this metric: canary's share and windows of each step. The rest of the present step is counted by
    /// `planned`, which an edit may have changed.
    pub(super) fn ahead(&self, planned: u32, context: &Context<'_>) -> Vec<(f64, f64)> {
        let rest = |(at, weight, windows): (usize, f64, u32)| {
            let windows = if at == context.step { planned.saturating_sub(self.looks.in_step()) } else { windows };
            (at >= context.step && windows > 0).then_some((weight, f64::from(windows)))
        };
        self.judged(context).filter_map(rest).collect()
    }

    /// This metric's part of the planned-horizon budget; 0 where the plan is open-ended.
    pub(super) fn alpha(&self, context: &Context<'_>) -> f64 {
        let planned = self.judged(context).any(|(_, _, windows)| windows > 0);
        if planned && self.gates { budget::PART * context.part / context.fail_at } else { 0.0 }
    }

    /// Both arms' rows, on the columns that both have.
    fn rows(&mut self, stable: &Counts, canary: &Counts) -> Option<(Row, Row)> {
        if self.layout.is_none() {
            self.layout = Layout::of([stable, canary].into_iter());
            self.seen = Matched::new(self.layout.as_ref().map_or(0, Layout::columns));
        }
        for counts in [stable, canary] {
            let layout = self.layout.as_mut()?;
            if !self.s0.is_empty() {
                // Frozen: classes stay as they are.
            } else if let Layout::Classes(names) = layout {
                let before = names.len();
                let mut rows = std::mem::take(&mut self.pending);
                layout.learn(counts, &mut rows);
                self.pending = rows;
                if layout.columns() > before + 1 {
                    self.seen = Matched::new(layout.columns());
                    self.recent = Row::default();
                }
            }
            if let Some((narrow, columns)) = layout.narrowed(counts) {
                if narrow.columns() == 0 {
                    return None;
                }
                self.narrow(narrow, &columns);
            }
        }
        let layout = self.layout.as_ref()?;
        layout.row(stable).zip(layout.row(canary))
    }

    /// Evidence that the limit which rolls back is crossed, over the whole rollout; 1 is none.
    pub(super) fn fail_evidence(&self, context: &Context<'_>) -> f64 {
        match &self.processes {
            Some(Processes::Shares(shares)) => shares.fail_evidence(self.alpha(context)),
            Some(Processes::Drift(drift)) => drift.harm(self.alpha(context)),
            None => 1.0,
        }
    }

    /// Whether a limit that holds was crossed. At 100 % nothing is compared any more.
    pub(super) fn holds(&self, metric: &Metric, step: &StepTerms) -> bool {
        let drifted = matches!(&self.processes, Some(Processes::Drift(drift)) if drift.held) && step.weight < 1.0;
        let broken = self.threshold.as_ref().is_some_and(|threshold| threshold.broke(metric.kind.limits(), ThresholdAction::Hold));
        !self.advisory && (drifted || broken)
    }
}
