//! What was gained between two looks, summed to the counts that the judge takes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Delta, Deltas, Family, Labels, REQUESTS, Sample, Side, Window};
use crate::plan::{Counted, Limits, Metric};

/// Status codes of gRPC that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
/// DATA_LOSS.
const GRPC_FAULTS: [&str; 7] = ["2", "4", "8", "12", "13", "14", "15"];

/// Whether a request with these labels is the server's fault: HTTP 5xx, or for gRPC its own status. What the client cancelled is not.
pub fn is_error(labels: &Labels) -> bool {
    let label = |name: &str| labels.get(name).unwrap_or_default();
    let code = label("response_code");
    if matches!(code, "0" | "499") || label("response_flags").split(',').any(|flag| flag == "DC") {
        return false;
    }
    let status = label("grpc_response_status");
    if label("request_protocol") == "grpc" && !status.is_empty() {
        return GRPC_FAULTS.contains(&status);
    }
    code.len() == 3 && code.starts_with('5')
}

impl Deltas {
    /// One window of both arms.
    pub fn window(&self, metrics: &[Metric], weight: f64, pods: [u32; 2]) -> Window {
        let of = |side: Side| -> Vec<&Delta> { self.of.iter().filter(|delta| delta.side == side).collect() };
        let mut stable = sample(metrics, &of(Side::Stable));
        let mut canary = sample(metrics, &of(Side::Canary));
        for (name, left) in &mut stable {
            if let Some(right) = canary.get_mut(name) {
                common_bounds(metrics, name, left, right);
            }
        }
        Window { start: self.start, end: self.end, weight, stable, canary, stable_pods: pods[0], canary_pods: pods[1] }
    }

    /// Stable's counts by pod (or `by_pod` false: all in the entry "").
    pub fn stable_by_pod(&self, metrics: &[Metric], by_pod: bool) -> BTreeMap<String, Sample> {
        let mut of: BTreeMap<&str, Vec<&Delta>> = BTreeMap::new();
        for delta in self.of.iter().filter(|delta| delta.side == Side::Stable) {
            of.entry(if by_pod { &delta.pod } else { "" }).or_default().push(delta);
        }
        of.into_iter().map(|(pod, deltas)| (pod.to_owned(), sample(metrics, &deltas))).collect()
    }

    /// Requests of an arm.
    pub fn requests(&self, side: Side) -> u64 {
        let of = self.of.iter().filter(|delta| delta.side == side && delta.family == Family::Requests);
        of.filter_map(|delta| delta.counts.last()).sum()
    }
}

impl Window {
    /// Leaves these bounds alone of a histogram.
    pub fn narrow(&mut self, metric: &str, to: &[f64]) {
        for counts in [&mut self.stable, &mut self.canary].into_iter().filter_map(|sample| sample.get_mut(metric)) {
            counts.narrow(to);
        }
    }
}

impl Counts {
    fn narrow(&mut self, to: &[f64]) {
        if let Self::Histogram { bounds, above, .. } = self {
            *above = bounds.iter().zip(&*above).filter(|(bound, _)| to.contains(bound)).map(|(_, above)| *above).collect();
            bounds.retain(|bound| to.contains(bound));
        }
    }
}

/// Times are compared on the bounds that both arms have. Scores are not: other bounds are not comparable, and the judge says so.
fn common_bounds(metrics: &[Metric], name: &str, left: &mut Counts, right: &mut Counts) {
    let times = metrics.iter().any(|metric| metric.name == name && matches!(metric.kind.limits(), Limits::Stretch(_)));
    let (Counts::Histogram { bounds: a, .. }, Counts::Histogram { bounds: b, .. }) = (&*left, &*right) else { return };
    if !times || a == b {
        return;
    }
    let common: Vec<f64> = a.iter().filter(|bound| b.contains(bound)).copied().collect();
    left.narrow(&common);
    right.narrow(&common);
}

/// The counts of each metric. What has no series at all is absent, but errors: without any request there were none.
fn sample(metrics: &[Metric], deltas: &[&Delta]) -> Sample {
    let mut sample = Sample::new();
    for (index, metric) in metrics.iter().enumerate() {
        let of = |family: Family| deltas.iter().copied().filter(move |delta| delta.family == family);
        let counts = match metric.kind.counted() {
            Counted::Requests => Some(events(of(Family::Requests))),
            Counted::Durations => histogram(&of(Family::Latency).collect::<Vec<_>>()),
            Counted::Histogram(_) => histogram(&of(Family::Own(index)).collect::<Vec<_>>()),
            Counted::Classes { class, .. } => classes(of(Family::Own(index)), class),
            Counted::Share { apart, .. } => share(of(Family::Bad(index)), of(Family::Total(index)), apart),
            Counted::Value(_) => None,
        };
        if let Some(counts) = counts {
            sample.insert(metric.name.clone(), counts);
        }
    }
    if !metrics.iter().any(Metric::counts_requests) {
        let requests = deltas.iter().copied().filter(|delta| delta.family == Family::Requests);
        sample.insert(REQUESTS.to_owned(), events(requests));
    }
    sample
}

/// Two counters of the model. Without the bad one there were none; without the other nothing is known, unless what is bad is no part of it:
/// a version that does nothing right may not have it.
fn share<'a>(bad: impl Iterator<Item = &'a Delta>, total: impl Iterator<Item = &'a Delta>, apart: bool) -> Option<Counts> {
    let sum = |of: &mut dyn Iterator<Item = &'a Delta>| of.filter_map(|delta| delta.counts.last()).sum::<u64>();
    let (mut bad, mut total) = (bad.peekable(), total.peekable());
    if total.peek().is_none() && !(apart && bad.peek().is_some()) {
        return None;
    }
    let (bad, total) = (sum(&mut bad), sum(&mut total));
    Some(Counts::Events { total: if apart { bad + total } else { total }, bad })
}

fn events<'a>(deltas: impl Iterator<Item = &'a Delta>) -> Counts {
    let (mut total, mut bad) = (0, 0);
    for delta in deltas {
        let count = delta.counts.last().copied().unwrap_or(0);
        total += count;
        if is_error(&delta.labels) {
            bad += count;
        }
    }
    Counts::Events { total, bad }
}

fn classes<'a>(deltas: impl Iterator<Item = &'a Delta>, class: &str) -> Option<Counts> {
    let mut any = false;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for delta in deltas {
        let Some(value) = delta.labels.get(class) else { continue };
        any = true;
        let count = delta.counts.last().copied().unwrap_or(0);
        if count > 0 {
            *counts.entry(value.to_owned()).or_default() += count;
        }
    }
    any.then_some(Counts::Classes(counts))
}

/// Sum on the bounds that all of them have.
fn histogram(deltas: &[&Delta]) -> Option<Counts> {
    let bits = |delta: &Delta| -> BTreeSet<u64> { delta.bounds.iter().map(|bound| bound.to_bits()).collect() };
    let (first, rest) = deltas.split_first()?;
    let differ = rest.iter().any(|delta| delta.bounds != first.bounds);
    let common = differ.then(|| rest.iter().fold(bits(first), |common, delta| &common & &bits(delta)));
    let counts = |bound: &f64| bound.is_finite() && common.as_ref().is_none_or(|common| common.contains(&bound.to_bits()));
    let bounds: Vec<f64> = first.bounds.iter().copied().filter(counts).collect();
    let mut above = vec![0; bounds.len()];
    let mut total = 0;
    for delta in deltas {
        let all = delta.counts.last().copied().unwrap_or(0);
        total += all;
        let kept = delta.bounds.iter().zip(&delta.counts).filter(|(bound, _)| counts(bound));
        for (sum, (_, below)) in above.iter_mut().zip(kept) {
            *sum += all.saturating_sub(*below);
        }
    }
    Some(Counts::Histogram { bounds, above, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes_and_failures_that_are_counted_apart_are_added_up() {
        let delta = |count: u64| Delta {
            family: Family::Bad(0),
            side: Side::Canary,
            pod: "a".into(),
            labels: Labels::default(),
            bounds: Vec::new(),
            counts: vec![count],
        };
        let of = |bad: &[u64], good: &[u64], apart: bool| {
            let [bad, good] = [bad, good].map(|counts| counts.iter().map(|count| delta(*count)).collect::<Vec<_>>());
            share(bad.iter(), good.iter(), apart)
        };
        assert_eq!(of(&[3], &[97], true), Some(Counts::Events { total: 100, bad: 3 }));
        assert_eq!(of(&[3], &[97], false), Some(Counts::Events { total: 97, bad: 3 }));
        assert_eq!(of(&[5], &[], true), Some(Counts::Events { total: 5, bad: 5 }), "a version that does nothing right");
        assert_eq!((of(&[5], &[], false), of(&[], &[], true)), (None, None));
    }

    #[test]
    fn only_the_server_s_faults_are_errors() {
        let cases = [
            ("http", "200", "", "-", false),
            ("http", "404", "", "-", false),
            ("http", "429", "", "-", false),
            ("http", "500", "", "-", true),
            ("http", "503", "", "UF", true),
            ("http", "0", "", "DC", false),
            ("http", "499", "", "-", false),
            ("http", "503", "", "DC", false),
            ("http", "503", "", "UT,DC", false),
            ("", "500", "", "", true),
            ("grpc", "200", "0", "-", false),
            ("grpc", "200", "1", "-", false),
            ("grpc", "200", "5", "-", false),
            ("grpc", "200", "2", "-", true),
            ("grpc", "200", "4", "-", true),
            ("grpc", "200", "8", "-", true),
            ("grpc", "200", "12", "-", true),
            ("grpc", "200", "13", "-", true),
            ("grpc", "200", "14", "-", true),
            ("grpc", "200", "15", "-", true),
            ("grpc", "200", "14", "DC", false),
            ("grpc", "503", "", "UH", true),
        ];
        for (protocol, code, status, flags, bad) in cases {
            let labels =
                [("request_protocol", protocol), ("response_code", code), ("grpc_response_status", status), ("response_flags", flags)];
            assert_eq!(is_error(&labels.into()), bad, "{protocol} {code} {status} {flags}");
        }
    }
}
