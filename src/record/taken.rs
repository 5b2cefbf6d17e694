//! From what is counted and judged to what is kept.

use super::thin::tidy;
use super::{Arm, Columns, Distribution, Measured, Point, Window};
use crate::api::{ArmValue, MetricEvidence};
use crate::counts::{self, Counts, REQUESTS, Sample};
use crate::judge::Evidence;
use crate::judge::columns::Layout;
use crate::plan::{Limits, Metric};
use crate::say;

/// Share of requests above the 99th percentile.
const ABOVE_P99: f64 = 0.01;

impl Measured {
    /// A metric of a plan.
    pub fn of(metric: &Metric) -> Self {
        Self { name: metric.name.clone(), kind: say::compared(metric), unit: metric.kind.unit(), advisory: !metric.gate }
    }
}

impl Window {
    /// What was counted of these metrics in a step, and nothing yet of what it is evidence of.
    pub fn counted(window: &counts::Window, metrics: &[Metric], step: usize, weight: u8) -> Self {
        let point = |metric: &Metric| {
            let arm = |sample: &Sample| sample.get(&metric.name).map(|counts| arm(counts, metric));
            let (stable, canary) = (arm(&window.stable), arm(&window.canary));
            (stable.is_some() || canary.is_some()).then(|| Point { stable, canary, ..Point::default() })
        };
        let [stable, canary] = [&window.stable, &window.canary].map(|sample| requests(sample, metrics));
        Self { start: window.start, end: window.end, step, weight, stable, canary, joined: 1, points: metrics.iter().map(point).collect() }
    }

    /// Adds what is said of these metrics at its end.
    pub fn judge(&mut self, metrics: &[Metric], evidence: &[MetricEvidence]) {
        for (metric, point) in metrics.iter().zip(&mut self.points) {
            let Some(said) = evidence.iter().find(|one| one.metric == metric.name) else { continue };
            let point = point.get_or_insert_default();
            let effect = said.effect.as_ref();
            point.difference = effect.and_then(|effect| kept(effect.value));
            point.interval = effect.and_then(|effect| Some([kept(effect.low?)?, kept(effect.high?)?]));
            point.limit = said.limit.and_then(kept);
            point.above = said.measure.as_ref().and_then(|measure| measure.above).and_then(kept);
            point.evidence = said.fail_evidence.and_then(kept);
            point.fail_at = said.fail_at.and_then(kept);
            point.verdict = Some(said.verdict);
            if matches!(metric.kind.limits(), Limits::Range(_)) {
                let value = |arm: &ArmValue| Arm { n: u64::try_from(arm.n).unwrap_or_default(), value: arm.value.and_then(kept) };
                point.canary = said.canary.as_ref().map(value);
            }
        }
    }
}

/// A finite number with as many digits as are kept.
fn kept(x: f64) -> Option<f64> {
    x.is_finite().then(|| tidy(x))
}

fn arm(counts: &Counts, metric: &Metric) -> Arm {
    match counts {
        Counts::Events { total, bad } => Arm { n: *total, value: (*total > 0).then(|| tidy(*bad as f64 / *total as f64)) },
        Counts::Histogram { bounds, above, total } => {
            let slow = matches!(metric.kind.limits(), Limits::Stretch(_)) && *total > 0;
            let few = |above: &u64| *above as f64 <= ABOVE_P99 * *total as f64;
            let bound = bounds.iter().zip(above).find(|(_, above)| few(above)).map(|(bound, _)| *bound);
            Arm { n: *total, value: bound.filter(|_| slow) }
        }
        Counts::Classes(map) => Arm { n: map.values().sum(), value: None },
    }
}

/// Requests are those of the mesh; where they are not given, the most that any metric counted.
fn requests(sample: &Sample, metrics: &[Metric]) -> u64 {
    let total = |counts: &Counts| match counts {
        Counts::Events { total, .. } | Counts::Histogram { total, .. } => *total,
        Counts::Classes(map) => map.values().sum(),
    };
    let named = metrics.iter().find(|metric| metric.counts_requests()).map_or(REQUESTS, |metric| metric.name.as_str());
    sample.get(named).map(total).or_else(|| sample.values().map(total).max()).unwrap_or_default()
}

impl Distribution {
    /// The distributions in the evidence of a step, at the end of a window.
    pub fn all(evidence: &Evidence, metrics: &[Metric], step: usize, at: jiff::Timestamp) -> Vec<Self> {
        let whole = |n: f64| n.round().max(0.0) as u64;
        let short = |shares: Vec<f64>| shares.into_iter().map(|share| if share.is_finite() { tidy(share) } else { 0.0 }).collect();
        let of = evidence.spreads(metrics).into_iter().filter_map(|spread| {
            let columns = match spread.layout {
                Layout::Classes(names) => Columns::Classes(names),
                Layout::Bounds(bounds) => Columns::Bins(bounds),
                Layout::Events => return None,
            };
            let (stable_n, canary_n) = (whole(spread.stable_n), whole(spread.canary_n));
            let (stable, canary) = (short(spread.stable), short(spread.canary));
            Some(Self { step, metric: spread.metric, at, columns, stable_n, canary_n, stable, canary })
        });
        of.collect()
    }
}
