//! What both versions do, and how noisy that is: the scenario file and the flags, or all their faults.

mod read;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::plan::Faults;
use crate::sim::traffic::load::{ColdStart, Load};

/// Seconds in which traffic swings once: as long as the past is looked at.
const SWING: f64 = super::MOST_HISTORY;

/// What one version does.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Share of requests that fail.
    pub errors: f64,
    /// Median of the request duration in milliseconds; durations are log-normal.
    pub p50: f64,
    /// Its 99th percentile in milliseconds.
    pub p99: f64,
    /// Share of each class of prediction; sum 1. For a histogram of scores its bins, in order.
    pub classes: Vec<f64>,
}

/// What makes counts noisier than independent requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Noise {
    /// Mean length of a burst of errors (geometric); 1: none.
    pub error_burst: f64,
    /// Standard deviation of the log latency of an arm from window to window.
    pub latency_sd: f64,
    /// Shares of the classes of an arm are drawn in each window from a Dirichlet distribution with this times the shares.
    pub class_concentration: Option<f64>,
    /// Standard deviation between pods of the log error rate, for good.
    pub pod_error_sd: f64,
    /// The same of the log latency.
    pub pod_latency_sd: f64,
    /// Slow noise on the log error rate of an arm.
    pub error_ar: Option<Ar>,
}

/// Autoregressive noise of first order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ar {
    /// Its standard deviation.
    pub sd: f64,
    /// Correlation time in seconds: after it the correlation is 1/e.
    pub time: f64,
}

/// What happens to both versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Seconds after the start.
    pub from: f64,
    /// Seconds after the start.
    pub to: f64,
    /// Stable's share of failing requests in it; the canary gets the same cause on top of its own errors.
    pub errors: Option<f64>,
    /// Durations times this.
    pub latency: f64,
    /// Stable's shares of the classes in it; the canary moves by the same differences.
    pub classes: Option<Vec<f64>>,
    /// It grows evenly from nothing at `from` to this at `to`.
    pub ramp: bool,
    /// Seconds by which the canary's scrape sees it earlier (negative: stable's).
    pub skew: f64,
}

/// A scenario with every default resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Requests a second over both arms; one rehearsal for each.
    pub rps: Vec<f64>,
    /// Length of a window of counts in seconds; `None`: the manifest's.
    pub window: Option<f64>,
    /// Seconds of stable traffic before the rollout.
    pub history: f64,
    /// Stable's side.
    pub stable: Behaviour,
    /// Stable's pods.
    pub stable_pods: u32,
    /// Canary's side.
    pub canary: Behaviour,
    /// Canary's pods in each step; the last number holds for all later ones.
    pub canary_pods: Vec<u32>,
    /// Seconds after the start until when the canary is as stable.
    pub from: f64,
    /// What durations owe to the load of a pod.
    pub load: Load,
    /// Highest by lowest traffic within [`SWING`] seconds; 1: it is the same all the time.
    pub swing: f64,
    /// The canary's pods are slower at first.
    pub cold_start: Option<ColdStart>,
    /// Noise.
    pub noise: Noise,
    /// What happens to both versions.
    pub common: Vec<Incident>,
}

impl Default for Noise {
    fn default() -> Self {
        Self { error_burst: 1.0, latency_sd: 0.0, class_concentration: None, pod_error_sd: 0.0, pod_latency_sd: 0.0, error_ar: None }
    }
}

impl Noise {
    /// Whether pods of one version differ, for good or from window to window.
    pub fn between_pods(&self) -> bool {
        let Self { error_burst: _, latency_sd, class_concentration, pod_error_sd, pod_latency_sd, error_ar } = self;
        [*latency_sd, *pod_error_sd, *pod_latency_sd].iter().any(|sd| *sd > 0.0) || class_concentration.is_some() || error_ar.is_some()
    }
}

impl Default for Scenario {
    /// A healthy canary at 100 requests a second: 0.1 % errors, 100 ms at the median and 400 ms at p99, five classes, no noise.
    fn default() -> Self {
        let version = Behaviour { errors: 0.001, p50: 100.0, p99: 400.0, classes: vec![0.50, 0.25, 0.15, 0.07, 0.03] };
        Self {
            rps: vec![100.0],
            window: None,
            history: super::MOST_HISTORY,
            stable: version.clone(),
            stable_pods: 10,
            canary: version,
            canary_pods: vec![1, 2, 5],
            from: 0.0,
            load: Load::default(),
            swing: 1.0,
            cold_start: None,
            noise: Noise::default(),
            common: Vec::new(),
        }
    }
}

impl Scenario {
    /// Reads the text of a scenario file (empty: all defaults), with what the flags say in its place: `rps` as `100,1000`, `stable` and
    /// `canary` as `errors=0.01,p99=520ms,classes=0.5/0.5`.
    ///
    /// # Errors
    /// Every fault, each with the path of its field.
    pub fn read(text: &str, rps: Option<&str>, stable: &[String], canary: &[String]) -> Result<Self, Faults> {
        read::scenario(text, rps, stable, canary)
    }

    /// Whether the canary is no worse than stable in anything.
    pub fn healthy(&self) -> bool {
        let (a, b) = (&self.stable, &self.canary);
        b.errors <= a.errors && b.p50 <= a.p50 && b.p99 <= a.p99 && a.classes == b.classes
    }

    /// Whether pods of one version differ, for good or for a while.
    pub fn pods_differ(&self) -> bool {
        self.noise.between_pods() || self.cold_start.is_some()
    }

    /// Traffic so many seconds after the start, as a multiple of the mean.
    pub fn traffic(&self, at: f64) -> f64 {
        (0.5 * self.swing.ln() * (std::f64::consts::TAU * at / SWING).sin()).exp()
    }

    /// Pods of the canary in a step.
    pub fn canary_pods(&self, step: usize) -> u32 {
        self.canary_pods.get(step).or(self.canary_pods.last()).copied().unwrap_or(1)
    }
}

/// `errors=0.01,p99=520ms,classes=0.5/0.5,pods=1/2` as the fields of the file. Whatever is not understood stays as it is written, so that
/// the reader of the file names it.
fn flag(text: &str) -> Value {
    let mut fields = json!({});
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').map_or((part, ""), |(key, value)| (key.trim(), value.trim()));
        let list = || value.split('/').map(number).collect::<Value>();
        let field = match key {
            "p50" | "p99" => json!({ "latency": { key: value } }),
            "classes" => json!({ key: list() }),
            "pods" if value.contains('/') => json!({ key: list() }),
            "from" => json!({ key: value }),
            _ => json!({ key: number(value) }),
        };
        json_patch::merge(&mut fields, &field);
    }
    fields
}

fn number(text: &str) -> Value {
    let text = text.trim();
    match (text.parse::<u64>(), text.parse::<f64>()) {
        (Ok(whole), _) => json!(whole),
        (_, Ok(number)) if number.is_finite() => json!(number),
        _ => json!(text),
    }
}

/// The fields of `over` in the place of those of `under`.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}
