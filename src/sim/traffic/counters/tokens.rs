//! What vLLM exports of its requests, imitated from its published names: all series are there from the start, at 0.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;

use super::{Counter, FIRST_TOKEN_BOUNDS, Histogram, Labels, named};
use crate::sim::prometheus::series::Database;
use crate::sim::traffic::behaviour::{multinomial, times};

/// Bounds of the time per output token of a request, in seconds.
const PER_TOKEN_BOUNDS: [f64; 19] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
/// Bounds of the tokens of an answer, for a model of 8192 tokens.
const LENGTH_BOUNDS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];
/// Tokens of a prompt.
const PROMPT: u64 = 500;

/// How a language model answers.
#[derive(Clone, Debug)]
pub struct Tokens {
    first: (Vec<f64>, f64),
    each: (Vec<f64>, f64),
    length: (Vec<f64>, f64),
    /// Shares of the reasons why an answer ended.
    reasons: [(&'static str, f64); 3],
    /// Requests that wait on each pod.
    waiting: f64,
    /// Share of a prompt's tokens that is found in the prefix cache.
    hits: f64,
}

impl Default for Tokens {
    /// Healthy: 180 ms to the first token at the median and 900 ms at p99, 22 and 60 ms for each further one, answers of 180 tokens at the
    /// median, 13 % cut off at their limit and 1 % by the user.
    fn default() -> Self {
        let none = (Vec::new(), 0.0);
        let made = Self { first: none.clone(), each: none.clone(), length: none, reasons: [("stop", 0.0); 3], waiting: 0.0, hits: 0.6 };
        made.with_first(180.0, 900.0).with_each(22.0, 60.0).with_length(180.0, 1500.0).with_reasons(0.86, 0.13, 0.01)
    }
}

impl Tokens {
    /// The same with another time to the first token: median and p99 in milliseconds.
    pub fn with_first(mut self, p50_ms: f64, p99_ms: f64) -> Self {
        self.first = times(&FIRST_TOKEN_BOUNDS, p50_ms / 1000.0, p99_ms / 1000.0);
        self
    }

    /// The same with another time for each further token, as the mean of a request: median and p99 in milliseconds.
    pub fn with_each(mut self, p50_ms: f64, p99_ms: f64) -> Self {
        self.each = times(&PER_TOKEN_BOUNDS, p50_ms / 1000.0, p99_ms / 1000.0);
        self
    }

    /// The same with answers of other lengths: median and p99 in tokens.
    pub fn with_length(mut self, p50: f64, p99: f64) -> Self {
        self.length = times(&LENGTH_BOUNDS, p50, p99);
        self
    }

    /// The same with other shares of the reasons why answers end; sum 1.
    pub fn with_reasons(mut self, stop: f64, length: f64, abort: f64) -> Self {
        self.reasons = [("stop", stop), ("length", length), ("abort", abort)];
        self
    }

    /// The same with so many requests that wait on each pod.
    pub fn with_waiting(mut self, requests: f64) -> Self {
        self.waiting = requests;
        self
    }

    /// The same with another share of tokens that the prefix cache has.
    pub fn with_hits(mut self, share: f64) -> Self {
        self.hits = share;
        self
    }
}

/// One engine's series.
#[derive(Debug)]
pub(super) struct Exporter {
    times: [Histogram; 3],
    reasons: BTreeMap<&'static str, Counter>,
    queries: Counter,
    hits: Counter,
    waiting: (Labels, f64, Option<usize>),
}

impl Exporter {
    pub(super) fn new(own: &Labels) -> Self {
        let mut own = own.clone();
        own.extend([("model_name", "chat"), ("engine", "0")].map(|(name, value)| (name.to_owned(), value.to_owned())));
        let ended = |reason: &'static str| {
            let mut labels = own.clone();
            labels.insert("finished_reason".into(), reason.to_owned());
            (reason, Counter::new("vllm:request_success_total", labels))
        };
        Self {
            times: [
                Histogram::new("vllm:time_to_first_token_seconds", own.clone(), &FIRST_TOKEN_BOUNDS),
                Histogram::new("vllm:request_time_per_output_token_seconds", own.clone(), &PER_TOKEN_BOUNDS),
                Histogram::new("vllm:request_generation_tokens", own.clone(), &LENGTH_BOUNDS),
            ],
            reasons: ["stop", "length", "abort", "error"].map(ended).into(),
            queries: Counter::new("vllm:prefix_cache_queries_total", own.clone()),
            hits: Counter::new("vllm:prefix_cache_hits_total", own.clone()),
            waiting: (named("vllm:num_requests_waiting", own), 0.0, None),
        }
    }

    /// So many requests have ended.
    pub(super) fn record(&mut self, tokens: &Tokens, rng: &mut SmallRng, count: u64) {
        for (histogram, (shares, mean)) in self.times.iter_mut().zip([&tokens.first, &tokens.each, &tokens.length]) {
            histogram.record(&multinomial(rng, count, shares), count as f64 * mean);
        }
        let split = multinomial(rng, count, &tokens.reasons.map(|(_, share)| share));
        for ((reason, _), count) in tokens.reasons.iter().zip(split) {
            self.reasons.entry(reason).and_modify(|counter| counter.value += count);
        }
        self.queries.value += count * PROMPT;
        self.hits.value += (count as f64 * PROMPT as f64 * tokens.hits) as u64;
    }

    /// Time goes by.
    pub(super) fn tick(&mut self, tokens: &Tokens) {
        self.waiting.1 = tokens.waiting;
    }

    pub(super) fn write(&mut self, database: &mut Database, at: i64) -> u64 {
        let (labels, value, id) = &mut self.waiting;
        let id = *id.get_or_insert_with(|| database.id(labels.clone()));
        database.push(id, at, *value);
        let counters = self.reasons.values_mut().chain([&mut self.queries, &mut self.hits]);
        let counters: u64 = counters.map(|counter| counter.write(database, at)).sum();
        1 + counters + self.times.iter_mut().map(|histogram| histogram.write(database, at)).sum::<u64>()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = usize> {
        let counters = self.reasons.values().chain([&self.queries, &self.hits]).filter_map(|counter| counter.id);
        counters.chain(self.times.iter().flat_map(|histogram| histogram.ids.iter().copied())).chain(self.waiting.2)
    }
}
