//! Samples by series, with the times of the scrapes that read them.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Labels of a series; the name of the metric is `__name__`.
pub type Labels = BTreeMap<String, String>;

/// How far an instant query looks back.
const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// One series. A sample is (milliseconds since the epoch, value); NaN marks that the series went stale there.
#[derive(Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    samples: VecDeque<(i64, f64)>,
}

impl Series {
    /// Samples in (from, to], without staleness marks.
    pub fn between(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, f64)> {
        let start = self.samples.partition_point(|(at, _)| *at <= from);
        self.samples.iter().skip(start).copied().take_while(move |(at, _)| *at <= to).filter(|(_, value)| !value.is_nan())
    }

    /// The newest sample at a time, at most five minutes old; `None` if the series is stale there.
    pub fn at(&self, time: i64) -> Option<f64> {
        let end = self.samples.partition_point(|(at, _)| *at <= time);
        let (at, value) = *self.samples.get(end.checked_sub(1)?)?;
        (at > time - LOOKBACK_MS && !value.is_nan()).then_some(value)
    }

    /// The newest sample.
    pub fn last(&self) -> Option<(i64, f64)> {
        self.samples.back().copied()
    }
}

/// All series.
#[derive(Debug)]
pub struct Database {
    series: Vec<Series>,
    ids: HashMap<Labels, usize>,
    /// By label and value: numbers of the series that have it, ascending.
    having: HashMap<String, HashMap<String, Vec<usize>>>,
    retention_ms: i64,
}

impl Database {
    /// Keeps samples for so many milliseconds.
    pub fn new(retention_ms: i64) -> Self {
        Self { series: Vec::new(), ids: HashMap::new(), having: HashMap::new(), retention_ms }
    }

    /// Number of a series, which is made if it is not there.
    pub fn id(&mut self, labels: Labels) -> usize {
        if let Some(id) = self.ids.get(&labels) {
            return *id;
        }
        let id = self.series.len();
        for (label, value) in &labels {
            self.having.entry(label.clone()).or_default().entry(value.clone()).or_default().push(id);
        }
        self.series.push(Series { labels: labels.clone(), samples: VecDeque::new() });
        self.ids.insert(labels, id);
        id
    }

    /// Adds a sample; one that is not newer than the last is dropped, as Prometheus does.
    pub fn push(&mut self, id: usize, at: i64, value: f64) {
        let Some(series) = self.series.get_mut(id) else { return };
        if series.samples.back().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        series.samples.push_back((at, value));
        while series.samples.front().is_some_and(|(first, _)| *first < at - self.retention_ms) {
            series.samples.pop_front();
        }
    }

    /// How many series have one of these values of a label.
    pub(super) fn how_many(&self, label: &str, values: &[&str]) -> usize {
        self.ids_of(label, values).map(<[usize]>::len).sum()
    }

    /// The series that have one of these values of a label, in the order in which they were made.
    pub(super) fn having<'a>(&'a self, label: &str, values: &[&str]) -> impl Iterator<Item = &'a Series> + use<'a> {
        let mut ids: Vec<usize> = self.ids_of(label, values).flatten().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.series.get(id))
    }

    fn ids_of<'a, 'b>(&'a self, label: &str, values: &'b [&str]) -> impl Iterator<Item = &'a [usize]> + use<'a, 'b> {
        let known = self.having.get(label);
        values.iter().filter_map(move |value| known?.get(*value)).map(Vec::as_slice)
    }

    /// All series.
    pub(super) fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.iter()
    }

    /// Series of a metric.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Series> + use<'a> {
        self.having("__name__", &[name])
    }
}
