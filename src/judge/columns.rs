//! Counts of any kind as columns: events over one common number of requests. Errors are one column; a histogram has one for each bound
//! ("greater than the bound"); classes have one each, and a last one for all others.

use serde::{Deserialize, Serialize};

use super::{Evidence, MetricState};
use crate::counts::Counts;
use crate::plan::{Limits, Metric};

/// Most bounds of a histogram that are kept.
pub const MOST_BOUNDS: usize = 32;
/// Most classes that are kept by name; the rest is counted together.
pub const MOST_CLASSES: usize = 24;
/// Names longer than this are counted with the rest.
const LONGEST_NAME: usize = 80;

/// What the columns are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Layout {
    /// Bad requests.
    Events,
    /// Observations greater than each bound, ascending.
    Bounds(Vec<f64>),
    /// Each class, then all others.
    Classes(Vec<String>),
}

/// One arm (or pod) in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Requests.
    pub n: f64,
    /// Events of each column.
    pub x: Vec<f64>,
}

impl Row {
    /// Adds another row of the same columns.
    pub fn add(&mut self, other: &Row) {
        self.n += other.n;
        if self.x.is_empty() {
            self.x.clone_from(&other.x);
        } else {
            for (sum, x) in self.x.iter_mut().zip(&other.x) {
                *sum += x;
            }
        }
    }

    /// Decays what is there, then adds: the mean reaches back `windows` windows.
    pub fn roll(&mut self, other: &Row, windows: f64) {
        let keep = 1.0 - 1.0 / windows;
        self.x.resize(other.x.len(), 0.0);
        self.n = super::tidy(self.n * keep + other.n);
        for (sum, x) in self.x.iter_mut().zip(&other.x) {
            *sum = super::tidy(*sum * keep + x);
        }
    }
}

/// Whether two bounds are the same number, however they were written.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

impl Layout {
    /// Columns for counts like these. `None` when there is nothing to compare.
    pub fn of<'a>(samples: impl Iterator<Item = &'a Counts>) -> Option<Self> {
        let mut layout: Option<Self> = None;
        let mut classes = std::collections::BTreeMap::<&str, u64>::new();
        for counts in samples {
            match (counts, &mut layout) {
                (Counts::Events { .. }, _) => return Some(Self::Events),
                (Counts::Histogram { bounds, .. }, None) => {
                    layout = Some(Self::Bounds(bounds.iter().copied().filter(|b| b.is_finite()).collect()))
                }
                (Counts::Histogram { bounds, .. }, Some(Self::Bounds(kept))) if kept == bounds => {}
                (Counts::Histogram { bounds, .. }, Some(Self::Bounds(kept))) => kept.retain(|u| bounds.iter().any(|b| same(*b, *u))),
                (Counts::Classes(map), _) => {
                    layout = Some(Self::Classes(Vec::new()));
                    for (name, count) in map.iter().filter(|(name, _)| name.len() <= LONGEST_NAME) {
                        *classes.entry(name).or_default() += count;
                    }
                }
                _ => {}
            }
        }
        if let Some(Self::Classes(names)) = &mut layout {
            let mut by_count: Vec<_> = classes.into_iter().collect();
            by_count.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            *names = by_count.into_iter().take(MOST_CLASSES).map(|(name, _)| name.to_owned()).collect();
            names.sort();
        }
        layout.filter(|layout| !matches!(layout, Self::Bounds(bounds) if bounds.is_empty()))
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        match self {
            Self::Events => 1,
            Self::Bounds(bounds) => bounds.len(),
            Self::Classes(names) => names.len() + 1,
        }
    }

    /// The row of these counts. `None` when they do not fit: another kind, or a bound that is not there.
    pub fn row(&self, counts: &Counts) -> Option<Row> {
        match (self, counts) {
            (Self::Events, Counts::Events { total, bad }) => Some(Row { n: *total as f64, x: vec![(*bad).min(*total) as f64] }),
            (Self::Bounds(kept), Counts::Histogram { bounds, above, total }) => {
                // Both ascend, and mostly they are the same.
                let mut there = bounds.iter().zip(above);
                let mut at = |u: &f64| there.find(|(b, _)| same(**b, *u)).map(|(_, above)| (*above).min(*total) as f64);
                let mut x = kept.iter().map(&mut at).collect::<Option<Vec<f64>>>()?;
                // The monotone envelope: a bucket read an instant later must not look like a negative one.
                let mut least = f64::INFINITY;
                for x in &mut x {
                    least = least.min(*x);
                    *x = least;
                }
                Some(Row { n: *total as f64, x })
            }
            (Self::Classes(names), Counts::Classes(map)) => {
                let mut x: Vec<f64> = names.iter().map(|name| map.get(name).copied().unwrap_or(0) as f64).collect();
                let n = map.values().map(|count| *count as f64).sum::<f64>();
                x.push((n - x.iter().sum::<f64>()).max(0.0));
                Some(Row { n, x })
            }
            _ => None,
        }
    }

    /// The bounds that are also in `counts`, and which columns they were. `None` when all are there, or when this is no histogram.
    pub fn narrowed(&self, counts: &Counts) -> Option<(Self, Vec<usize>)> {
        let (Self::Bounds(kept), Counts::Histogram { bounds, .. }) = (self, counts) else { return None };
        if kept == bounds {
            return None;
        }
        let there: Vec<(usize, f64)> = kept.iter().copied().enumerate().filter(|(_, u)| bounds.iter().any(|b| same(*b, *u))).collect();
        (there.len() < kept.len())
            .then(|| (Self::Bounds(there.iter().map(|(_, u)| *u).collect()), there.iter().map(|(at, _)| *at).collect()))
    }

    /// At most [`MOST_BOUNDS`] bounds: those around the quantiles that are watched are kept, the others thinned evenly. Gives the columns
    /// that stay. `shares` are stable's shares above each bound.
    pub fn thinned(&self, shares: &[f64]) -> Option<(Self, Vec<usize>)> {
        let Self::Bounds(bounds) = self else { return None };
        if bounds.len() <= MOST_BOUNDS {
            return None;
        }
        let around = super::proportions::brackets(shares);
        let step = bounds.len().div_ceil(MOST_BOUNDS - around.len());
        let stays = |at: &usize| around.iter().any(|(column, _)| column == at) || at.is_multiple_of(step);
        let columns: Vec<usize> = (0..bounds.len()).filter(stays).collect();
        Some((Self::Bounds(columns.iter().filter_map(|at| bounds.get(*at)).copied().collect()), columns))
    }

    /// Shares of the columns as shares that sum to 1: of a histogram those of its bins, the last one above all bounds.
    pub fn bins(&self, shares: Vec<f64>) -> Vec<f64> {
        let Self::Bounds(_) = self else { return shares };
        let upper = std::iter::once(1.0).chain(shares.iter().copied());
        let lower = shares.iter().copied().chain(std::iter::once(0.0));
        upper.zip(lower).map(|(upper, lower)| (upper - lower).max(0.0)).collect()
    }

    /// Adds the classes of `counts` that are not known yet to the layout and to the rows counted so far; for the time of calibration.
    pub fn learn(&mut self, counts: &Counts, rows: &mut [Row]) {
        let (Self::Classes(names), Counts::Classes(map)) = (self, counts) else { return };
        for name in map.keys().filter(|name| name.len() <= LONGEST_NAME) {
            if names.len() < MOST_CLASSES && !names.contains(name) {
                names.push(name.clone());
                for row in rows.iter_mut() {
                    let last = row.x.len().saturating_sub(1);
                    row.x.insert(last, 0.0);
                }
            }
        }
    }
}

/// How the answers of both versions spread over the present step, of a metric that compares distributions.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Index of the metric in the plan.
    pub metric: usize,
    /// What the columns are.
    pub layout: Layout,
    /// Requests of stable.
    pub stable_n: f64,
    /// Requests of the canary.
    pub canary_n: f64,
    /// Stable's shares as [`Layout::bins`], weighted as the canary's windows were.
    pub stable: Vec<f64>,
    /// Canary's shares.
    pub canary: Vec<f64>,
}

impl Evidence {
    /// The distributions that are compared, of each metric with any in this step. At 100 % there is nothing to compare with.
    pub fn spreads(&self, metrics: &[Metric]) -> Vec<Spread> {
        if self.present.as_ref().is_none_or(|step| step.weight >= 1.0) {
            return Vec::new();
        }
        let compared = |metric: &Metric| matches!(metric.kind.limits(), Limits::Distance(_));
        let states = self.metrics.iter().zip(metrics).enumerate().filter(|(_, (state, metric))| compared(metric) && state.windows > 0);
        let spread = |(metric, (state, _)): (usize, (&MetricState, &Metric))| {
            let layout = state.layout.clone()?;
            let (stable, canary) = (layout.bins(state.seen.stable()), layout.bins(state.seen.canary()));
            Some(Spread { metric, layout, stable_n: state.seen.n_a, canary_n: state.seen.n_b, stable, canary })
        };
        states.filter_map(spread).collect()
    }
}

/// Only these columns.
pub fn select<T: Copy>(values: &[T], columns: &[usize]) -> Vec<T> {
    columns.iter().filter_map(|at| values.get(*at)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(bounds: &[f64], above: &[u64], total: u64) -> Counts {
        Counts::Histogram { bounds: bounds.to_vec(), above: above.to_vec(), total }
    }

    #[test]
    fn different_bounds_are_compared_where_they_agree() {
        let layout = Layout::of([histogram(&[1.0, 5.0, 10.0], &[9, 5, 1], 10)].iter()).unwrap();
        let other = histogram(&[5.0, 7.0, 10.0], &[4, 2, 1], 10);
        assert_eq!(layout.row(&other), None);
        let (narrow, columns) = layout.narrowed(&other).unwrap();
        assert_eq!((narrow.row(&other), columns), (Some(Row { n: 10.0, x: vec![4.0, 1.0] }), vec![1, 2]));
        let (none, _) = layout.narrowed(&histogram(&[2.0], &[1], 10)).unwrap();
        assert_eq!(none.columns(), 0);
    }

    #[test]
    fn a_class_beyond_the_kept_ones_is_counted_with_the_rest() {
        let many = Counts::Classes((0..40).map(|c| (format!("c{c:02}"), 100 - c)).collect());
        let layout = Layout::of([many.clone()].iter()).unwrap();
        let row = layout.row(&many).unwrap();
        assert_eq!(row.x.len(), MOST_CLASSES + 1);
        assert_eq!(row.x.iter().sum::<f64>(), row.n);
    }

    #[test]
    fn long_histograms_are_thinned_but_keep_the_watched_quantiles() {
        let bounds: Vec<f64> = (0..200).map(f64::from).collect();
        let shares: Vec<f64> = (0..200).map(|u| 1.0 - f64::from(u) / 200.0).collect();
        let (Layout::Bounds(kept), _) = Layout::Bounds(bounds).thinned(&shares).unwrap() else { panic!() };
        assert!(kept.len() <= MOST_BOUNDS && kept.contains(&100.0) && kept.contains(&190.0) && kept.contains(&198.0), "{kept:?}");
    }

    #[test]
    fn a_histogram_read_in_two_instants_is_made_monotone() {
        let layout = Layout::Bounds(vec![1.0, 2.0, 3.0]);
        assert_eq!(layout.row(&histogram(&[1.0, 2.0, 3.0], &[5, 6, 1], 10)).unwrap().x, vec![5.0, 5.0, 1.0]);
    }
}
