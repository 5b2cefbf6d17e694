//! `RolloutSpec` to [`Plan`]: the rules of the schema and its CEL again, all faults at once.

mod own;

use std::{ops::RangeInclusive, time::Duration};

use super::{AnalysisPlan, DriftSource, Fault, Faults, Metric, MetricKind, Plan, Step, read_span, span};
use crate::api::{Analysis, DriftSpec, ErrorRateSpec, LatencySpec, MetricSpec, OnInconclusive, RolloutSpec, Strategy};

/// Weights of `canary: {}`.
const WEIGHTS: [i32; 4] = [5, 20, 50, 100];
/// Hold where none is given.
const HOLD: Duration = Duration::from_secs(300);
/// Deadline where none is given, unless the hold is so long that it would come too early.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Length of one window where none is given.
const INTERVAL: Duration = Duration::from_secs(30);
/// Warm-up where none is given.
const WARM_UP: Duration = Duration::from_secs(60);

/// Kinds of metrics, in words.
const KINDS: &str = "errorRate, latency, drift, ratio and threshold";

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

impl Plan {
    /// What a spec means, with every default resolved and every strategy compiled to steps.
    ///
    /// # Errors
    /// Every fault of the spec, each with the path of its field, in the order of the manifest. The rules are those of the schema and its
    /// CEL, so that an object written before a rule existed, or by somebody who went around the schema, is told the same.
    pub fn parse(spec: &RolloutSpec) -> Result<Self, Faults> {
        let mut parser = Parser { faults: Vec::new() };
        let plan = parser.plan(spec);
        if parser.faults.is_empty() { Ok(plan) } else { Err(Faults(parser.faults)) }
    }
}

struct Parser {
    faults: Vec<Fault>,
}

/// A step before its faults are known.
struct RawStep<'a> {
    path: String,
    name: Option<&'a String>,
    weight: i32,
    hold: Option<&'a str>,
    deadline: Option<&'a str>,
    approval: bool,
    on_inconclusive: Option<OnInconclusive>,
    without: &'a [String],
}

impl Parser {
    fn fault(&mut self, path: &str, message: impl Into<String>, mend: impl Into<String>) {
        self.faults.push(Fault::new(path, message, mend));
    }

    fn plan(&mut self, spec: &RolloutSpec) -> Plan {
        self.text("spec.traffic.virtualService", &spec.traffic.virtual_service, 253);
        if let Some(route) = &spec.traffic.route {
            self.text("spec.traffic.route", route, 253);
        }
        self.text("spec.canary.subset", &spec.canary.subset, 63);
        let default = Analysis::default();
        let analysis = spec.analysis.as_ref().unwrap_or(&default);
        let mut later = Parser { faults: Vec::new() };
        let analysis = later.analysis(analysis);
        let steps = self.strategy(&spec.strategy, &analysis.metrics);
        self.faults.append(&mut later.faults);
        if let Some(alerts) = &spec.alerts {
            if alerts.len() > 8 {
                self.fault("spec.alerts", format!("has {} names", alerts.len()), "at most 8");
            }
            for (i, name) in alerts.iter().enumerate() {
                self.text(&format!("spec.alerts[{i}]"), name, 63);
            }
        }
        Plan {
            virtual_service: spec.traffic.virtual_service.clone(),
            route: spec.traffic.route.clone(),
            capacity: spec.traffic.capacity.unwrap_or_default(),
            subset: spec.canary.subset.clone(),
            steps,
            analysis,
            alerts: spec.alerts.clone(),
            paused: spec.paused,
        }
    }

    fn strategy(&mut self, strategy: &Strategy, metrics: &[Metric]) -> Vec<Step> {
        let path = "spec.strategy";
        match (&strategy.canary, &strategy.steps) {
            (None, None) => {
                self.fault(path, "is empty", "exactly one of canary and steps, for example `canary: {}`");
                Vec::new()
            }
            (Some(_), Some(_)) => {
                self.fault(path, "has both canary and steps", "exactly one of canary and steps");
                Vec::new()
            }
            (Some(canary), None) => {
                let weights = canary.weights.as_deref().unwrap_or(&WEIGHTS);
                let list = format!("{path}.canary.weights");
                self.weights(&list, "", weights);
                let path = format!("{path}.canary");
                let (hold, deadline) = self.times(&path, canary.hold.as_deref(), canary.deadline.as_deref());
                let without = self.without(&path, &canary.without, metrics);
                let on_inconclusive = canary.on_inconclusive.unwrap_or_default();
                let step = |(i, weight): (usize, &i32)| Step {
                    name: (i + 1).to_string(),
                    weight: percent(*weight),
                    hold,
                    deadline,
                    approval: false,
                    on_inconclusive,
                    without: without.clone(),
                };
                weights.iter().enumerate().map(step).collect()
            }
            (None, Some(steps)) => {
                let list = format!("{path}.steps");
                let weights: Vec<i32> = steps.iter().map(|step| step.weight).collect();
                self.weights(&list, ".weight", &weights);
                let raw = steps.iter().enumerate().map(|(i, step)| RawStep {
                    path: format!("{list}[{i}]"),
                    name: step.name.as_ref(),
                    weight: step.weight,
                    hold: step.hold.as_deref(),
                    deadline: step.deadline.as_deref(),
                    approval: step.approval,
                    on_inconclusive: step.on_inconclusive,
                    without: &step.without,
                });
                let mut done: Vec<Step> = Vec::new();
                for raw in raw {
                    let step = self.step(&raw, &done, metrics);
                    done.push(step);
                }
                done
            }
        }
    }

    fn step(&mut self, raw: &RawStep<'_>, before: &[Step], metrics: &[Metric]) -> Step {
        if let Some(name) = raw.name {
            let path = format!("{}.name", raw.path);
            self.name(&path, name);
            if let Some(first) = before.iter().position(|step| &step.name == name) {
                self.fault(&path, format!("\"{name}\" is the name of steps[{first}] too"), "names of steps must differ");
            }
        }
        let (hold, deadline) = self.times(&raw.path, raw.hold, raw.deadline);
        Step {
            name: raw.name.cloned().unwrap_or_else(|| (before.len() + 1).to_string()),
            weight: percent(raw.weight),
            hold,
            deadline,
            approval: raw.approval,
            on_inconclusive: raw.on_inconclusive.unwrap_or_default(),
            without: self.without(&raw.path, raw.without, metrics),
        }
    }

    /// One to 20 of them, from 1 to 100, strictly increasing, the last is 100.
    fn weights(&mut self, list: &str, field: &str, weights: &[i32]) {
        if weights.is_empty() || weights.len() > 20 {
            self.fault(list, format!("has {} entries", weights.len()), "1 to 20 of them");
        }
        let mut before = None;
        for (i, &weight) in weights.iter().enumerate() {
            let path = format!("{list}[{i}]{field}");
            if !(1..=100).contains(&weight) {
                self.fault(&path, format!("is {weight}"), "must be from 1 to 100 (percent)");
            }
            match before {
                Some(before) if weight <= before => {
                    let message = format!("is {weight}");
                    self.fault(&path, message, format!("must be greater than {before} (the weight before it)"));
                }
                _ => {}
            }
            if i + 1 == weights.len() && weight != 100 && (1..=100).contains(&weight) {
                self.fault(&path, format!("the last weight is {weight}"), "must be 100: a rollout ends with all traffic at the canary");
            }
            before = Some(weight);
        }
    }

    fn times(&mut self, path: &str, hold: Option<&str>, deadline: Option<&str>) -> (Duration, Duration) {
        let hold = self.duration(&format!("{path}.hold"), hold, SECOND..=HOUR * 168).unwrap_or(HOLD);
        let field = format!("{path}.deadline");
        let Some(deadline) = self.duration(&field, deadline, SECOND..=HOUR * 720) else {
            return (hold, DEADLINE.max(hold * 2));
        };
        if deadline < hold {
            self.fault(&field, format!("is {}", span(deadline)), format!("must not be shorter than the hold ({})", span(hold)));
        }
        (hold, deadline)
    }

    fn duration(&mut self, path: &str, value: Option<&str>, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = value?;
        let Some(seconds) = read_span(value) else {
            self.fault(path, format!("is {value:?}"), "a duration is written 90s, 5m or 1h30m");
            return None;
        };
        let plain = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
        if seconds < 0.0 || !range.contains(&plain) {
            let mend = format!("must be from {} to {}", span(*range.start()), span(*range.end()));
            self.fault(path, format!("is {value}"), mend);
        }
        Some(plain)
    }

    fn without(&mut self, path: &str, without: &[String], metrics: &[Metric]) -> Vec<String> {
        let path = format!("{path}.without");
        if without.len() > 10 {
            self.fault(&path, format!("has {} names", without.len()), "at most 10");
        }
        let known: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        for (i, name) in without.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let mend = if known.is_empty() { "there are none".into() } else { format!("there are {}", known.join(", ")) };
                self.fault(&format!("{path}[{i}]"), format!("\"{name}\" is not a metric of the analysis"), mend);
            }
        }
        let mut names = without.to_vec();
        names.sort();
        names.dedup();
        names
    }

    fn analysis(&mut self, analysis: &Analysis) -> AnalysisPlan {
        let path = "spec.analysis";
        if let Some(name) = &analysis.prometheus {
            self.text(&format!("{path}.prometheus"), name, 63);
        }
        let interval = self.duration(&format!("{path}.interval"), analysis.interval.as_deref(), SECOND..=HOUR);
        let warm_up = self.duration(&format!("{path}.warmUp"), analysis.warm_up.as_deref(), Duration::ZERO..=HOUR);
        AnalysisPlan {
            prometheus: analysis.prometheus.clone().unwrap_or_else(|| "default".into()),
            interval: interval.unwrap_or(INTERVAL),
            warm_up: warm_up.unwrap_or(WARM_UP),
            metrics: self.metrics(&format!("{path}.metrics"), analysis.metrics.as_deref()),
        }
    }

    fn metrics(&mut self, path: &str, specs: Option<&[MetricSpec]>) -> Vec<Metric> {
        let default = [
            MetricSpec { error_rate: Some(ErrorRateSpec::default()), ..Default::default() },
            MetricSpec { latency: Some(LatencySpec::default()), ..Default::default() },
        ];
        let specs = specs.unwrap_or(&default);
        if specs.len() > 10 {
            self.fault(path, format!("has {} metrics", specs.len()), "at most 10");
        }
        let mut metrics: Vec<Metric> = Vec::new();
        for (i, spec) in specs.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if let Some(name) = &spec.name {
                self.name(&format!("{path}.name"), name);
            }
            if let Some(metric) = self.metric(&path, spec) {
                if let Some(first) = metrics.iter().position(|other| other.name == metric.name) {
                    let mend = "names of metrics must differ; a metric without a name is called by its kind";
                    self.fault(&format!("{path}.name"), format!("\"{}\" is the name of metrics[{first}] too", metric.name), mend);
                }
                metrics.push(metric);
            }
        }
        metrics
    }

    fn metric(&mut self, path: &str, spec: &MetricSpec) -> Option<Metric> {
        let (kind, default) = match (&spec.error_rate, &spec.latency, &spec.drift, &spec.ratio, &spec.threshold) {
            (Some(spec), None, None, None, None) => (self.error_rate(&format!("{path}.errorRate"), spec), "errorRate"),
            (None, Some(spec), None, None, None) => (self.latency(&format!("{path}.latency"), spec), "latency"),
            (None, None, Some(spec), None, None) => (self.drift(&format!("{path}.drift"), spec)?, "drift"),
            (None, None, None, Some(spec), None) => (self.ratio(&format!("{path}.ratio"), spec)?, "ratio"),
            (None, None, None, None, Some(spec)) => (self.threshold(&format!("{path}.threshold"), spec), "threshold"),
            (None, None, None, None, None) => {
                self.fault(path, "has no kind", format!("exactly one of {KINDS}, for example `errorRate: {{}}`"));
                return None;
            }
            _ => {
                self.fault(path, "has several kinds", format!("exactly one of {KINDS}; another kind is another metric"));
                return None;
            }
        };
        let name = self.own_name(path, spec).unwrap_or_else(|| default.into());
        Some(Metric { name, kind, gate: spec.gate.unwrap_or(true) })
    }

    fn error_rate(&mut self, path: &str, spec: &ErrorRateSpec) -> MetricKind {
        MetricKind::ErrorRate {
            relative: self.number(&format!("{path}.relative"), spec.relative, 1.1, 1.0..=10.0),
            absolute: self.number(&format!("{path}.absolute"), spec.absolute, 0.0005, 0.0..=0.5),
            pass: self.number(&format!("{path}.pass"), spec.pass, 0.002, 0.0001..=0.5),
        }
    }

    fn latency(&mut self, path: &str, spec: &LatencySpec) -> MetricKind {
        MetricKind::Latency {
            stretch: self.number(&format!("{path}.stretch"), spec.stretch, 0.05, 0.0..=10.0),
            pass: self.number(&format!("{path}.pass"), spec.pass, 0.10, 0.001..=10.0),
        }
    }

    fn drift(&mut self, path: &str, spec: &DriftSpec) -> Option<MetricKind> {
        let hold = self.number(&format!("{path}.hold"), spec.hold, 0.05, 0.0..=1.0);
        let rollback = self.number(&format!("{path}.rollback"), spec.rollback, 0.15, 0.0..=1.0);
        let pass = self.number(&format!("{path}.pass"), spec.pass, 0.10, 0.001..=1.0);
        for (field, value, colon) in [("counter", &spec.counter, true), ("class", &spec.class, false), ("histogram", &spec.histogram, true)]
        {
            if let Some(value) = value {
                self.prometheus_name(&format!("{path}.{field}"), value, colon);
            }
        }
        let source = match (&spec.counter, &spec.class, &spec.histogram) {
            (Some(metric), Some(class), None) => DriftSource::Counter { metric: metric.clone(), class: class.clone() },
            (None, None, Some(metric)) => DriftSource::Histogram { metric: metric.clone() },
            (counter, class, histogram) => {
                if counter.is_some() == histogram.is_some() {
                    let message = if counter.is_some() { "has both counter and histogram" } else { "has neither counter nor histogram" };
                    self.fault(path, message, "exactly one of counter (with class) and histogram");
                }
                match (counter, class) {
                    (Some(_), None) => {
                        self.fault(path, "has a counter but no class", "class names the label that holds the predicted class")
                    }
                    (None, Some(_)) => self.fault(path, "has a class but no counter", "class goes with counter; a histogram has none"),
                    _ => {}
                }
                return None;
            }
        };
        Some(MetricKind::Drift { source, hold, rollback, pass })
    }

    fn number(&mut self, path: &str, value: Option<f64>, default: f64, range: RangeInclusive<f64>) -> f64 {
        let value = value.unwrap_or(default);
        // A NaN is in no range.
        if !range.contains(&value) {
            self.fault(path, format!("is {value}"), format!("must be from {} to {}", range.start(), range.end()));
        }
        value
    }

    fn text(&mut self, path: &str, value: &str, max: usize) {
        let length = value.chars().count();
        if length == 0 || length > max {
            self.fault(path, format!("has {length} characters"), format!("1 to {max} of them"));
        }
    }

    fn name(&mut self, path: &str, value: &str) {
        self.text(path, value, 63);
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let ends = value.starts_with(|c: char| c.is_ascii_alphabetic()) && value.ends_with(|c: char| c.is_ascii_alphanumeric());
        let good = ends && value.chars().all(inner);
        if !value.is_empty() && !good {
            let mend = "letters, digits, '.', '_' and '-'; a letter first, a letter or digit last";
            self.fault(path, format!("\"{value}\" is not a name"), mend);
        }
    }

    fn prometheus_name(&mut self, path: &str, value: &str, colon: bool) {
        self.text(path, value, 200);
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
        if !value.is_empty() && (value.starts_with(|c: char| c.is_ascii_digit()) || !value.chars().all(inner)) {
            let mend = if colon { "the name of a Prometheus metric, without labels" } else { "the name of a Prometheus label" };
            self.fault(path, format!("\"{value}\" is not a name"), mend);
        }
    }
}

/// A weight that was checked, or was told as a fault.
fn percent(weight: i32) -> u8 {
    u8::try_from(weight.clamp(0, 100)).unwrap_or(100)
}
