//! What one scrape target exposes: counters that are born at their first increment, as real ones are.

mod tokens;

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rand::rngs::SmallRng;

use super::behaviour::Behaviour;
use crate::sim::prometheus::series::{Database, Labels};

use tokens::Exporter;
pub use tokens::Tokens;

/// Envoy's default bounds, in milliseconds.
pub const LATENCY_BOUNDS: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];
/// Bounds of the model's histogram of scores.
pub const SCORE_BOUNDS: [f64; 20] =
    [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0];
/// Bounds of a language model's time to its first token, in seconds.
pub const FIRST_TOKEN_BOUNDS: [f64; 16] = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Destination workload (or the flags, if none answered), source workload, response code, Service.
pub type HttpKey = (String, String, u16, String);

/// One scrape target.
#[derive(Debug)]
pub struct Target {
    own: Labels,
    http: BTreeMap<HttpKey, Http>,
    classes: BTreeMap<String, Counter>,
    scores: Option<Histogram>,
    invalid: Option<Counter>,
    first_tokens: Option<Histogram>,
    tokens: Option<Exporter>,
    /// GPU memory in use, MiB.
    pub memory: Option<f64>,
    memory_id: Option<usize>,
    health: [Option<usize>; 2],
    next_scrape: Timestamp,
    /// Whether scrapes succeed.
    pub reachable: bool,
}

/// Requests of one kind.
#[derive(Debug)]
pub struct Http {
    requests: Counter,
    duration: Histogram,
}

#[derive(Debug)]
struct Counter {
    labels: Labels,
    value: u64,
    id: Option<usize>,
}

#[derive(Debug)]
struct Histogram {
    name: &'static str,
    labels: Labels,
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    ids: Vec<usize>,
}

impl Target {
    /// A proxy's own metrics, at port 15020 of its pod.
    pub fn proxy(pod: &str, namespace: &str, ip: &str, first_scrape: Timestamp) -> Self {
        Self::new("istio-proxies", pod, namespace, &format!("{ip}:15020"), first_scrape)
    }

    /// The model's own metrics, at port 8080 of its pod.
    pub fn model(pod: &str, namespace: &str, ip: &str, first_scrape: Timestamp) -> Self {
        Self::new("models", pod, namespace, &format!("{ip}:8080"), first_scrape)
    }

    fn new(job: &str, pod: &str, namespace: &str, instance: &str, next_scrape: Timestamp) -> Self {
        let own = [("job", job), ("instance", instance), ("namespace", namespace), ("pod", pod)];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let (http, classes) = (BTreeMap::new(), BTreeMap::new());
        Self {
            own,
            http,
            classes,
            scores: None,
            invalid: None,
            first_tokens: None,
            tokens: None,
            memory: None,
            memory_id: None,
            health: [None, None],
            next_scrape,
            reachable: true,
        }
    }

    /// Counters of one kind of request; labels are asked for when it is the first of its kind.
    pub fn http(&mut self, key: HttpKey, labels: impl FnOnce() -> Labels) -> &mut Http {
        let own = &self.own;
        self.http.entry(key).or_insert_with(|| {
            let mut labels = labels();
            labels.extend(own.clone());
            Http {
                requests: Counter::new("istio_requests_total", labels.clone()),
                duration: Histogram::new("istio_request_duration_milliseconds", labels, &LATENCY_BOUNDS),
            }
        })
    }

    /// Counts what the model predicted, and says it.
    pub(super) fn predictions(&mut self, behaviour: &Behaviour, rng: &mut SmallRng, count: u64) -> Vec<(String, u64)> {
        if count == 0 {
            return Vec::new();
        }
        let mut predicted = Vec::new();
        for (class, count) in behaviour.classes(rng, count) {
            if count > 0 {
                predicted.push((class.to_owned(), count));
                let own = &self.own;
                let counter = self.classes.entry(class.to_owned()).or_insert_with(|| {
                    let mut labels = own.clone();
                    labels.insert("class".into(), class.to_owned());
                    Counter::new("model_prediction_class_total", labels)
                });
                counter.value += count;
            }
        }
        let (buckets, sum) = behaviour.scores(rng, count);
        let own = &self.own;
        self.scores.get_or_insert_with(|| Histogram::new("model_prediction_value", own.clone(), &SCORE_BOUNDS)).record(&buckets, sum);
        let invalid = behaviour.invalid(rng, count);
        if invalid > 0 {
            let kind = || own.iter().map(|(name, value)| (name.clone(), value.clone())).chain([("kind".into(), "nan".into())]).collect();
            self.invalid.get_or_insert_with(|| Counter::new("model_prediction_invalid_total", kind())).value += invalid;
        }
        if let Some((buckets, sum)) = behaviour.first_tokens(rng, count) {
            let new = || Histogram::new("vllm:time_to_first_token_seconds", own.clone(), &FIRST_TOKEN_BOUNDS);
            self.first_tokens.get_or_insert_with(new).record(&buckets, sum);
        }
        if let Some(tokens) = &behaviour.tokens {
            self.tokens.get_or_insert_with(|| Exporter::new(own)).record(tokens, rng, count);
        }
        predicted
    }

    /// Time goes by on a pod that answers like this.
    pub(super) fn tick(&mut self, behaviour: Option<&Behaviour>) {
        self.memory = behaviour.and_then(|behaviour| behaviour.memory);
        if let Some(tokens) = behaviour.and_then(|behaviour| behaviour.tokens.as_ref()) {
            let own = &self.own;
            self.tokens.get_or_insert_with(|| Exporter::new(own)).tick(tokens);
        }
    }

    /// The process starts again: everything is forgotten.
    pub fn reset(&mut self) {
        self.http.clear();
        self.classes.clear();
        (self.scores, self.invalid, self.first_tokens, self.tokens) = (None, None, None, None);
    }

    /// Scrapes at the moment that is due, if one is.
    pub fn scrape(&mut self, database: &mut Database, now: Timestamp, interval: Duration, scraping: bool) {
        let interval = SignedDuration::try_from(interval).unwrap_or(SignedDuration::from_secs(1)).max(SignedDuration::from_millis(1));
        while self.next_scrape <= now {
            let at = self.next_scrape;
            self.next_scrape = at + interval;
            // Only the newest of several that are due sees the counters of now.
            if scraping && self.next_scrape > now {
                self.read(database, at.as_millisecond());
            }
        }
    }

    fn read(&mut self, database: &mut Database, at: i64) {
        let mut samples = 0_u64;
        if self.reachable {
            for http in self.http.values_mut() {
                samples += http.requests.write(database, at) + http.duration.write(database, at);
            }
            samples += self.classes.values_mut().map(|c| c.write(database, at)).sum::<u64>();
            let histograms = self.scores.iter_mut().chain(&mut self.first_tokens);
            samples += histograms.map(|h| h.write(database, at)).sum::<u64>();
            samples += self.invalid.as_mut().map_or(0, |c| c.write(database, at));
            samples += self.tokens.as_mut().map_or(0, |tokens| tokens.write(database, at));
            if let Some(memory) = self.memory {
                let own = &self.own;
                let id = *self.memory_id.get_or_insert_with(|| database.id(named("DCGM_FI_DEV_FB_USED", own.clone())));
                database.push(id, at, memory);
            } else if let Some(id) = self.memory_id.take() {
                database.push(id, at, f64::NAN);
            }
        } else {
            self.mark_stale(database, at);
        }
        let health = [("up", u64::from(self.reachable)), ("scrape_samples_scraped", samples)];
        for ((name, value), id) in health.into_iter().zip(&mut self.health) {
            let id = *id.get_or_insert_with(|| database.id(named(name, self.own.clone())));
            database.push(id, at, value as f64);
        }
    }

    /// The target is gone: its series end here.
    pub fn end(&mut self, database: &mut Database, now: Timestamp) {
        self.mark_stale(database, now.as_millisecond());
        for id in self.health.iter().flatten() {
            database.push(*id, now.as_millisecond(), f64::NAN);
        }
    }

    fn mark_stale(&self, database: &mut Database, at: i64) {
        let http = self.http.values().flat_map(|h| h.requests.id.into_iter().chain(h.duration.ids.iter().copied()));
        let classes = self.classes.values().filter_map(|c| c.id);
        let scores = self.scores.iter().chain(&self.first_tokens).flat_map(|s| s.ids.iter().copied());
        let others = self.invalid.as_ref().and_then(|c| c.id).into_iter().chain(self.memory_id);
        let tokens = self.tokens.iter().flat_map(Exporter::ids);
        for id in http.chain(classes).chain(scores).chain(others).chain(tokens) {
            database.push(id, at, f64::NAN);
        }
    }
}

impl Http {
    /// Requests that were answered: by latency bucket, and their sum in milliseconds.
    pub fn record(&mut self, count: u64, buckets: &[u64], sum: f64) {
        self.requests.value += count;
        self.duration.record(buckets, sum);
    }

    /// Requests that found nobody to answer: they end within half a millisecond.
    pub fn record_failed(&mut self, count: u64) {
        self.record(count, &[count], count as f64 * 0.1);
    }
}

impl Counter {
    fn new(name: &str, labels: Labels) -> Self {
        Self { labels: named(name, labels), value: 0, id: None }
    }

    fn write(&mut self, database: &mut Database, at: i64) -> u64 {
        let id = *self.id.get_or_insert_with(|| database.id(without_empty(self.labels.clone())));
        database.push(id, at, self.value as f64);
        1
    }
}

impl Histogram {
    fn new(name: &'static str, labels: Labels, bounds: &'static [f64]) -> Self {
        Self { name, labels, bounds, counts: vec![0; bounds.len() + 1], sum: 0.0, ids: Vec::new() }
    }

    fn record(&mut self, buckets: &[u64], sum: f64) {
        self.counts.iter_mut().zip(buckets).for_each(|(all, more)| *all += more);
        self.sum += sum;
    }

    /// Buckets from the lowest bound to +Inf, then the sum and the count.
    fn write(&mut self, database: &mut Database, at: i64) -> u64 {
        if self.ids.is_empty() {
            let bounds = self.bounds.iter().map(|b| bound_text(*b)).chain(["+Inf".to_owned()]);
            for le in bounds {
                let mut labels = named(&format!("{}_bucket", self.name), self.labels.clone());
                labels.insert("le".into(), le);
                self.ids.push(database.id(without_empty(labels)));
            }
            for suffix in ["sum", "count"] {
                self.ids.push(database.id(without_empty(named(&format!("{}_{suffix}", self.name), self.labels.clone()))));
            }
        }
        let mut cumulative = 0;
        let running = self.counts.iter().map(|count| {
            cumulative += count;
            cumulative as f64
        });
        let mut values: Vec<f64> = running.collect();
        let count = values.last().copied().unwrap_or(0.0);
        values.extend([self.sum, count]);
        for (id, value) in self.ids.iter().zip(&values) {
            database.push(*id, at, *value);
        }
        values.len() as u64
    }
}

fn named(name: &str, mut labels: Labels) -> Labels {
    labels.insert("__name__".into(), name.to_owned());
    labels
}

/// Prometheus drops labels without a value.
fn without_empty(mut labels: Labels) -> Labels {
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// A bound as Prometheus 3 writes it: `0.5`, `1.0`, `1.8e+06`.
fn bound_text(bound: f64) -> String {
    if bound >= 1e6 {
        let exponent = bound.log10().floor();
        return format!("{}e+{exponent:02}", bound / 10_f64.powf(exponent));
    }
    if bound.fract() == 0.0 { format!("{bound:.1}") } else { bound.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read_as_in_prometheus_3() {
        let seen: Vec<String> = LATENCY_BOUNDS.iter().map(|b| bound_text(*b)).collect();
        assert_eq!((seen[0].as_str(), seen[1].as_str(), seen[16].as_str()), ("0.5", "1.0", "600000.0"));
        assert_eq!((seen[17].as_str(), seen[18].as_str()), ("1.8e+06", "3.6e+06"));
    }

    #[test]
    fn a_series_is_born_with_its_first_request_and_starts_again_after_a_reset() {
        let mut database = Database::new(3_600_000);
        let start = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(10);
        let mut target = Target::proxy("a", "ml", "10.0.0.1", start);
        let second = Duration::from_secs(1);
        let key = |code| ("fraud-v1".to_owned(), "web".to_owned(), code, "fraud".to_owned());
        target.http(key(200), || Labels::from([("response_code".into(), "200".into())])).record(5, &[5], 1.0);
        target.scrape(&mut database, start, second, true);
        target.http(key(500), || Labels::from([("response_code".into(), "500".into())])).record(2, &[2], 1.0);
        target.scrape(&mut database, start + SignedDuration::from_secs(1), second, true);
        target.reset();
        target.http(key(200), || Labels::from([("response_code".into(), "200".into())])).record(1, &[1], 1.0);
        target.scrape(&mut database, start + SignedDuration::from_secs(2), second, true);
        let samples = |code: &str| -> Vec<(i64, f64)> {
            let series = database.named("istio_requests_total").find(|s| s.labels["response_code"] == code).unwrap();
            series.between(0, 100_000).collect()
        };
        assert_eq!(samples("200"), [(10_000, 5.0), (11_000, 5.0), (12_000, 1.0)]);
        assert_eq!(samples("500"), [(11_000, 2.0)]);
        let up = database.named("up").next().unwrap();
        assert_eq!(up.last(), Some((12_000, 1.0)));
    }
}
