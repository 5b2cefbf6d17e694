//! Stable's past. Margins come from its last hour; how noisy stable is against itself comes from as much as there is (up to 12 hours, so that
//! slow noise shows), and of older windows only the watched columns are needed for that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::bursts;
use super::columns::{Layout, Row, select};
use super::dispersion::{BLOCKS, ENOUGH_WINDOWS, Table, UNKNOWN, from_history};
use super::load::Response;
use super::metric::MetricState;
use super::proportions::brackets;
use super::terms::Planned;
use super::{Evidence, StepTerms, kinds};
use crate::counts::{Counts, History, Sample};
use crate::plan::{Counted, Metric};

/// Length of the part that margins come from.
const RECENT_SECONDS: f64 = 3600.0;

const MOST_WINDOWS: usize = 1440;

/// Windows that margins come from: an hour, and at least as many as say how noisy stable is.
pub fn recent_windows(interval_seconds: f64) -> usize {
    // Not negative, and small enough: the cast is exact.
    ((RECENT_SECONDS / interval_seconds.max(0.01)).ceil() as usize).max(ENOUGH_WINDOWS)
}

/// Windows in which noise is looked for at most, the recent ones among them: the longest blocks are 30 windows.
pub fn most_windows(interval_seconds: f64) -> usize {
    MOST_WINDOWS.max(recent_windows(interval_seconds))
}

/// One window of stable, by pod.
type ByPod = BTreeMap<String, Sample>;

/// Stable's past, sorted for the judge: a few numbers for each window and pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Names, in the order of the rows.
    pods: Vec<String>,
    /// The entries are pods.
    pub(crate) by_pod: bool,
    /// One for each metric of the plan; `None` where nothing was counted.
    pub(crate) metrics: Vec<Option<MetricPast>>,
}

impl Past {
    /// Windows up to the begin of the rollout. Those beyond the last hour count as older ones.
    pub fn new(metrics: &[Metric], history: &History) -> Self {
        let (older, recent) = history.windows.split_at(history.windows.len().saturating_sub(recent_windows(history.interval_seconds)));
        let pods: Vec<String> = recent.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let metrics = metrics.iter().map(|metric| MetricPast::new(metric, recent, &pods, history.by_pod)).collect();
        let mut past = Self { pods, by_pod: history.by_pod, metrics };
        past.add_older(older);
        past
    }

    /// Adds windows that are older than all before, in order of time. Pods that were not seen in the last hour are left out.
    pub fn add_older(&mut self, windows: &[ByPod]) {
        for past in self.metrics.iter_mut().flatten() {
            past.add_older(windows, &self.pods);
        }
    }

    /// Bounds of the request duration that older windows need; empty: none, there is no such metric or nothing was counted.
    pub fn watched_bounds(&self) -> Vec<f64> {
        let of = |past: &MetricPast| match &past.narrow {
            Layout::Bounds(bounds) if past.thinned => bounds.clone(),
            _ => Vec::new(),
        };
        let mut all: Vec<f64> = self.metrics.iter().flatten().flat_map(of).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }
}

impl Evidence {
    /// Freezes margins, watched bounds and dispersion from stable's past. With too little history it is left open, and the first 20
    /// windows of the rollout do it; until then neither side accrues.
    pub fn calibrate(&mut self, metrics: &[Metric], history: &History, steps: &[StepTerms], canary_pods: u32) {
        self.calibrate_by(metrics, &Past::new(metrics, history), steps, canary_pods);
    }

    /// The same, from a past that was put together piece by piece.
    pub fn calibrate_by(&mut self, metrics: &[Metric], past: &Past, steps: &[StepTerms], canary_pods: u32) {
        self.by_pod = past.by_pod;
        self.plan_for(metrics, steps, canary_pods);
        self.with_context(|context, states| {
            for (index, (state, metric)) in states.iter_mut().zip(metrics).enumerate() {
                state.calibrate(metric, past.metrics.get(index).and_then(Option::as_ref), context);
            }
        });
        // Everybody is at the canary already: what stable was is known only now.
        if let Some(step) = self.present.clone().filter(|step| step.weight >= 1.0) {
            self.metrics.iter_mut().for_each(|state| state.open_bake(&step));
        }
    }

    /// Takes the plan in, which says what part of the error budget each metric and each kind of traffic has: before anything is judged.
    pub fn plan_for(&mut self, metrics: &[Metric], steps: &[StepTerms], canary_pods: u32) {
        self.plan = steps.iter().filter(|step| step.weight < 1.0).map(Planned::of).collect();
        self.canary_pods = canary_pods;
        self.kinds = kinds(steps);
        let two_arms = || steps.iter().filter(|step| step.weight < 1.0);
        for (state, metric) in self.metrics.iter_mut().zip(metrics) {
            let left_out = two_arms().enumerate().filter(|(_, step)| step.without.contains(&metric.name));
            state.left_out = left_out.map(|(at, _)| at).collect();
            state.gates = MetricState::may_gate(metric) && (two_arms().next().is_none() || state.left_out.len() < self.plan.len());
        }
    }

    /// Whether margins are frozen, of every metric that has been seen.
    pub fn calibrated(&self) -> bool {
        let seen = || self.metrics.iter().filter(|state| state.frozen() || !state.pending.is_empty());
        self.metrics.is_empty() || (seen().next().is_some() && seen().all(MetricState::frozen))
    }

    /// Bounds of a metric's histogram without which it cannot be judged as it is, and whether they are all that it has. `None` where that is
    /// not known yet.
    pub fn needed_bounds(&self, metric: usize) -> Option<(Vec<f64>, bool)> {
        let state = self.metrics.get(metric)?;
        let needed = state.needed_bounds()?;
        let all = needed.len() == state.bounds().len();
        Some((needed, all))
    }
}

/// The past of one metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricPast {
    name: String,
    /// All its columns.
    pub(crate) layout: Layout,
    /// The last hour: windows, of each the rows of the pods.
    pub(crate) recent: Vec<Vec<Row>>,
    /// Columns that older windows have, and what they are.
    columns: Vec<usize>,
    narrow: Layout,
    thinned: bool,
    older: VecDeque<Vec<Row>>,
    /// There are several pods, and they are told apart.
    pub(crate) split: bool,
    /// The rows are pods.
    by_pod: bool,
}

impl MetricPast {
    fn new(metric: &Metric, recent: &[ByPod], pods: &[String], by_pod: bool) -> Option<Self> {
        let samples = recent.iter().flat_map(|window| window.values()).filter_map(|sample| sample.get(&metric.name));
        let layout = Layout::of(samples)?;
        let recent = rows(&layout, &metric.name, recent, pods);
        let thinned = metric.kind.counted() == Counted::Durations;
        let past = sum(recent.iter().flatten());
        let columns: Vec<usize> = match &layout {
            Layout::Bounds(_) if thinned => {
                brackets(&past.x.iter().map(|x| x / past.n.max(1.0)).collect::<Vec<f64>>()).iter().map(|(at, _)| *at).collect()
            }
            layout => (0..layout.columns()).collect(),
        };
        let narrow = match &layout {
            Layout::Bounds(bounds) => Layout::Bounds(select(bounds, &columns)),
            other => other.clone(),
        };
        Some(Self {
            name: metric.name.clone(),
            layout,
            recent,
            columns,
            narrow,
            thinned,
            older: VecDeque::new(),
            split: by_pod && pods.len() > 1,
            by_pod,
        })
    }

    fn add_older(&mut self, windows: &[ByPod], pods: &[String]) {
        for window in rows(&self.narrow, &self.name, windows, pods).into_iter().rev() {
            self.older.push_front(window);
        }
    }

    /// How noisy stable is against itself.
    pub(crate) fn noise(&self) -> Noise {
        let narrowed = |window: &Vec<Row>| window.iter().map(|row| Row { n: row.n, x: select(&row.x, &self.columns) }).collect();
        let windows: Vec<Vec<Row>> = self.older.iter().cloned().chain(self.recent.iter().map(narrowed)).collect();
        let table = if self.split {
            Table::of_pods(&windows, &BLOCKS, &self.narrow)
        } else {
            Table::of_time(&windows.iter().map(|window| sum(window.iter())).collect::<Vec<Row>>(), &BLOCKS, &self.narrow)
        };
        // Where pods are not told apart it is not known how many had the load.
        let response = |column| Response::of(&windows, column).filter(|_| self.by_pod);
        let responses = (0..self.columns.len()).map(response).collect();
        let burst = if self.split && self.narrow == Layout::Events { bursts::length(&windows, 0) } else { 1.0 };
        Noise { table, columns: self.columns.clone(), windows: windows.len(), responses, burst }
    }
}

/// Stable against itself.
pub(crate) struct Noise {
    table: Table,
    columns: Vec<usize>,
    /// Windows that it comes from.
    pub(crate) windows: usize,
    /// How its shares followed its load per pod.
    responses: Vec<Option<Response>>,
    /// Mean length of a burst of errors, at least; 1: they come one by one.
    pub(crate) burst: f64,
}

impl Noise {
    /// From windows of stable in the rollout itself.
    pub(crate) fn of_rows(layout: &Layout, rows: &[Row]) -> Self {
        Self {
            table: Table::of_time(rows, &BLOCKS, layout),
            columns: (0..layout.columns()).collect(),
            windows: rows.len(),
            responses: Vec::new(),
            burst: 1.0,
        }
    }

    /// How the share of a column followed the load per pod.
    pub(crate) fn response(&self, column: usize) -> Option<Response> {
        let at = self.columns.iter().position(|other| *other == column)?;
        self.responses.get(at).copied().flatten()
    }

    /// Dispersion of a column as measured.
    pub(crate) fn measured(&self, column: usize) -> f64 {
        let at = self.columns.iter().position(|other| *other == column);
        at.map_or(UNKNOWN, |at| self.table.column(at))
    }

    /// First dispersion of a column: windows that are missing count as noisy ones.
    pub(crate) fn column(&self, column: usize) -> f64 {
        self.assumed(self.measured(column))
    }

    /// The same of all columns together.
    pub(crate) fn whole(&self) -> f64 {
        self.assumed(self.table.whole)
    }

    /// Four digits are enough for a dispersion, and keep the checkpoint small.
    fn assumed(&self, phi: f64) -> f64 {
        (from_history(phi, self.windows) * 1e3).round() / 1e3
    }
}

/// Rows of each window and pod; windows in which no pod has counts are left out.
fn rows(layout: &Layout, metric: &str, windows: &[ByPod], pods: &[String]) -> Vec<Vec<Row>> {
    let empty = || Row { n: 0.0, x: vec![0.0; layout.columns()] };
    let row = |counts: &Counts| layout.row(counts);
    let of = |window: &ByPod| -> Vec<Row> {
        pods.iter().map(|pod| window.get(pod).and_then(|sample| sample.get(metric)).and_then(row).unwrap_or_else(empty)).collect()
    };
    windows.iter().map(of).filter(|window| window.iter().any(|row| row.n > 0.0)).collect()
}

/// Sum of rows of the same columns.
pub(crate) fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> Row {
    rows.fold(Row::default(), |mut sum, row| {
        sum.add(row);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Verdict;
    use crate::judge::{Evidence, Judgement, StepTerms};
    use crate::plan::{ErrorRate, Latency, MetricKind};

    const BOUNDS: [f64; 4] = [50.0, 100.0, 250.0, 500.0];

    fn metrics() -> Vec<Metric> {
        vec![
            Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default())),
            Metric::new("latency", MetricKind::Latency(Latency::default())),
        ]
    }

    fn sample(n: u64, bad: u64, bounds: &[f64]) -> Sample {
        let above = bounds.iter().map(|bound| (n as f64 * (-bound / 60.0).exp()).round() as u64).collect();
        let latency = Counts::Histogram { bounds: bounds.to_vec(), above, total: n };
        [("errorRate".into(), Counts::Events { total: n, bad }), ("latency".into(), latency)].into()
    }

    /// Windows of two pods, of which one has `bad` errors of 10,000.
    fn windows(count: usize, bad: impl Fn(usize) -> u64, bounds: &[f64]) -> Vec<ByPod> {
        let window = |k| [("a".to_owned(), sample(10_000, bad(k), bounds)), ("b".to_owned(), sample(10_000, 10, bounds))].into();
        (0..count).map(window).collect()
    }

    fn step() -> StepTerms {
        StepTerms::weighted(0.05, 1.0, 10)
    }

    /// What is said after one window.
    fn judged(past: &Past) -> Judgement {
        let mut evidence = Evidence::new(&metrics(), 30.0);
        evidence.calibrate_by(&metrics(), past, &[step()], 2);
        evidence.begin_step(&metrics(), &step());
        let time = |second| jiff::Timestamp::from_second(second).unwrap();
        let (stable, canary) = (sample(19_000, 19, &BOUNDS), sample(1_000, 1, &BOUNDS));
        let window = crate::counts::Window { start: time(0), end: time(30), weight: 0.05, stable, canary, stable_pods: 2, canary_pods: 1 };
        evidence.add(&metrics(), &step(), &window);
        evidence.told(&metrics(), &step())
    }

    fn errors(judgement: &Judgement) -> &crate::api::MetricEvidence {
        judgement.metrics.iter().find(|metric| metric.metric == "errorRate").unwrap()
    }

    fn past(windows: Vec<ByPod>) -> Past {
        Past::new(&metrics(), &History { interval_seconds: 30.0, windows, by_pod: true })
    }

    #[test]
    fn slow_noise_of_older_windows_counts_and_margins_come_from_the_last_hour() {
        let hour = windows(120, |_| 10, &BOUNDS);
        let mut with = past(hour.clone());
        // For half an hour now and then one pod fails three times as much: nothing of that is in the last hour.
        with.add_older(&windows(1200, |k| if (k / 60) % 4 == 0 { 30 } else { 10 }, &[100.0, 250.0, 500.0]));
        let (alone, with) = (judged(&past(hour)), judged(&with));
        let noise = |judgement: &Judgement| errors(judgement).noise.clone().unwrap();
        assert_eq!((noise(&alone).windows, noise(&with).windows), (120, 1320));
        assert!(noise(&with).dispersion > 2.0 * noise(&alone).dispersion, "{:?} {:?}", noise(&with), noise(&alone));
        assert_eq!(errors(&alone).limit, errors(&with).limit);
        assert!(!errors(&alone).message.contains("of history"), "{}", errors(&alone).message);
    }

    #[test]
    fn a_long_history_in_one_piece_is_the_same_as_in_two() {
        let (older, hour) = (windows(300, |k| 10 + k as u64 % 7, &BOUNDS), windows(120, |k| 10 + k as u64 % 3, &BOUNDS));
        let whole = past(older.iter().chain(&hour).cloned().collect());
        let mut parts = past(hour);
        parts.add_older(&older[150..]);
        parts.add_older(&older[..150]);
        assert_eq!(whole, parts);
        assert_eq!(whole.watched_bounds(), [50.0, 100.0, 250.0, 500.0]);
    }

    #[test]
    fn the_bounds_that_are_needed_are_those_compared_and_beside_them_and_stay_so_when_the_others_are_left_out() {
        let bounds = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0];
        let evidence = |bounds: &[f64]| {
            let mut evidence = Evidence::new(&metrics(), 30.0);
            evidence.calibrate_by(&metrics(), &past(windows(120, |_| 10, bounds)), &[step()], 2);
            evidence
        };
        // p50 lies between 25 and 50, p95 between 100 and 250, p99 between 250 and 500.
        let needed = vec![10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0];
        assert_eq!(evidence(&bounds).needed_bounds(1), Some((needed.clone(), false)));
        assert_eq!(evidence(&needed).needed_bounds(1), Some((needed, true)));
        assert_eq!(evidence(&bounds).needed_bounds(0), None, "errors have no bounds");
        assert_eq!(Evidence::new(&metrics(), 30.0).needed_bounds(1), None, "nothing is frozen");
    }

    #[test]
    fn too_little_history_is_said_with_what_it_costs() {
        let found = judged(&past(windows(34, |_| 10, &BOUNDS)));
        let message = &errors(&found).message;
        assert!(message.ends_with("judged with 34 of 120 windows of history: evidence counts 1/4"), "{message}");
        assert_eq!((found.verdict, errors(&found).noise.as_ref().unwrap().windows), (Verdict::Inconclusive, 34));
    }

    #[test]
    fn an_hour_is_at_least_as_many_windows_as_say_how_noisy_stable_is() {
        assert_eq!([1.0, 30.0, 300.0].map(recent_windows), [3600, 120, 120]);
    }
}
