//! `RolloutSpec` to [`Plan`]: the rules of the schema and its CEL again, all faults at once.

use std::{ops::RangeInclusive, time::Duration};

mod strategy;

use super::promql::is_plain;
use super::{AnalysisPlan, Fault, Faults, Metric, Plan, preset, read_span, span};
use crate::api::{Analysis, AppliedPreset, ErrorRateSpec, LatencySpec, MetricSpec, RolloutSpec, RouteKind, Strategy, names::GROUP};

/// Length of one window where none is given.
const INTERVAL: Duration = Duration::from_secs(30);
/// Warm-up where none is given.
const WARM_UP: Duration = Duration::from_secs(60);
/// Time for `rollback` after a promotion where none is given.
const ROLLBACK_WINDOW: Duration = HOUR;

/// Metrics that a user writes.
const MOST_WRITTEN: usize = 10;
/// Metrics with those of a preset.
const MOST: usize = 14;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

impl Plan {
    /// What a spec means, with every default resolved and every strategy compiled to steps.
    ///
    /// # Errors
    /// Every fault of the spec, each with the path of its field, in the order of the manifest. The rules are those of the schema and its
    /// CEL, so that an object written before a rule existed, or by somebody who went around the schema, gets the same answer.
    pub fn parse(spec: &RolloutSpec) -> Result<Self, Faults> {
        let mut parser = Parser::new(spec.traffic.object().kind());
        let plan = parser.plan(spec);
        if parser.faults.is_empty() { Ok(plan) } else { Err(Faults(parser.faults)) }
    }
}

impl preset::Preset {
    /// What its metrics mean.
    pub fn parsed(&self) -> Vec<Metric> {
        let mut parser = Parser::new(RouteKind::VirtualService);
        self.metrics.iter().filter_map(|spec| Metric::parse(&mut parser, self.name, spec)).collect()
    }
}

/// Collects the faults of a spec.
pub(super) struct Parser {
    /// Of the object that holds the route.
    kind: RouteKind,
    pub(super) faults: Vec<Fault>,
}

impl Parser {
    pub(super) fn new(kind: RouteKind) -> Self {
        Self { kind, faults: Vec::new() }
    }

    pub(super) fn fault(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.faults.push(Fault::new(path, message, fix));
    }

    fn plan(&mut self, spec: &RolloutSpec) -> Plan {
        let mut objects = spec.traffic.objects();
        for object in spec.traffic.objects() {
            self.text(&format!("spec.traffic.{}", object.kind().field()), object.name(), 253);
        }
        if (objects.next().is_none(), objects.next().is_some()) != (false, false) {
            let fix = "set exactly one of virtualService, httpRoute and grpcRoute";
            let named: Vec<_> = spec.traffic.objects().map(|object| object.to_string()).collect();
            let message = if named.is_empty() { "names no route".to_owned() } else { format!("names {}", named.join(" and ")) };
            self.fault("spec.traffic", message, fix);
        }
        if let Some(route) = &spec.traffic.route {
            self.route(route, matched(&spec.strategy));
        }
        self.version(spec);
        if let Some(source) = &spec.source {
            let _ = self.source(source); // its faults; what it means is the supplier's matter
        }
        let default = Analysis::default();
        let analysis = spec.analysis.as_ref().unwrap_or(&default);
        let mut later = Parser::new(self.kind);
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
        let window = self.duration("spec.rollbackWindow", spec.rollback_window.as_deref(), Duration::ZERO..=HOUR * 168);
        Plan {
            object: spec.traffic.object(),
            route: spec.traffic.route.clone(),
            capacity: spec.traffic.capacity.unwrap_or_default(),
            canary: spec.canary.destination(),
            steps,
            analysis,
            alerts: spec.alerts.clone(),
            rollback_window: window.unwrap_or(ROLLBACK_WINDOW),
            paused: spec.paused,
        }
    }

    /// The name of a route. Beside it stands one of ours where a step has a match, and the name of a rule has a bound.
    fn route(&mut self, route: &str, matched: bool) {
        let path = "spec.traffic.route";
        self.text(path, route, 253);
        let most = 253 - GROUP.len() - 1;
        if route.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with(['.', '/'])) {
            let fix = format!("name the {} that users get, not haldane's own beside it", self.kind.rule());
            self.fault(path, format!("begins with {GROUP}, as only routes that haldane writes do"), fix);
        } else if matched && self.kind.is_gateway_api() && (most + 1..=253).contains(&route.len()) {
            let fix = format!("at most {most}: a match gets a rule of its own named {GROUP}.NAME, and no name is longer than 253");
            self.fault(path, format!("has {} characters", route.len()), fix);
        }
    }

    fn version(&mut self, spec: &RolloutSpec) {
        match (&spec.canary.subset, &spec.canary.service) {
            (Some(subset), None) => self.text("spec.canary.subset", subset, 63),
            (None, Some(service)) => self.text("spec.canary.service", service, 63),
            (Some(_), Some(_)) => self.fault("spec.canary", "names a subset and a Service", "set exactly one of subset and service"),
            (None, None) => self.fault("spec.canary", "names no version", "set exactly one of subset and service"),
        }
        let object = spec.traffic.object();
        if object.kind() != RouteKind::VirtualService && spec.canary.subset.is_some() {
            let fix = "set spec.canary.service to the Service of this version";
            self.fault("spec.canary.subset", format!("is a subset, but {object} leads to Services"), fix);
        }
    }

    pub(super) fn duration(&mut self, path: &str, value: Option<&str>, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = value?;
        let Some(seconds) = read_span(value) else {
            self.fault(path, format!("is {value:?}"), "a duration is written 90s, 5m or 1h30m");
            return None;
        };
        let plain = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
        if seconds < 0.0 || !range.contains(&plain) {
            let fix = format!("must be from {} to {}", span(*range.start()), span(*range.end()));
            self.fault(path, format!("is {value}"), fix);
        }
        Some(plain)
    }

    fn analysis(&mut self, analysis: &Analysis) -> AnalysisPlan {
        let path = "spec.analysis";
        if let Some(name) = &analysis.prometheus {
            self.text(&format!("{path}.prometheus"), name, 63);
        }
        let interval = self.duration(&format!("{path}.interval"), analysis.interval.as_deref(), SECOND..=HOUR);
        let warm_up = self.duration(&format!("{path}.warmUp"), analysis.warm_up.as_deref(), Duration::ZERO..=HOUR);
        let source = analysis.preset.as_deref().and_then(|name| self.preset(&format!("{path}.preset"), name));
        let of_preset = source.as_ref().and_then(|source| source.warm_up.as_deref()).and_then(read_span);
        let of_preset = of_preset.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let (metrics, preset) = match &source {
            Some(source) => self.with_preset(&format!("{path}.metrics"), source, analysis.metrics.as_deref().unwrap_or_default()),
            None => (self.metrics(&format!("{path}.metrics"), analysis.metrics.as_deref()), None),
        };
        AnalysisPlan {
            prometheus: analysis.prometheus.clone().unwrap_or_else(|| "default".into()),
            interval: interval.unwrap_or(INTERVAL),
            warm_up: warm_up.or(of_preset).unwrap_or(WARM_UP),
            metrics,
            preset,
        }
    }

    fn preset(&mut self, path: &str, name: &str) -> Option<preset::Preset> {
        let found = preset::find(name);
        if found.is_none() {
            self.fault(path, format!("is \"{name}\""), format!("must be one of {}", preset::NAMES.join(", ")));
        }
        found
    }

    /// The metrics of a preset, each with the user's own of that name in its place, and then the user's others.
    fn with_preset(&mut self, path: &str, source: &preset::Preset, specs: &[MetricSpec]) -> (Vec<Metric>, Option<AppliedPreset>) {
        let mut own = self.metrics(path, Some(specs));
        let mut metrics = Vec::new();
        let mut applied = AppliedPreset { name: source.name.to_owned(), version: source.version, metrics: Vec::new() };
        for spec in &source.metrics {
            let Some(metric) = Metric::parse(self, &format!("preset {}", source.name), spec) else { continue };
            match own.iter().position(|other| other.name == metric.name) {
                Some(at) => metrics.push(own.remove(at)),
                None => {
                    applied.metrics.push(metric.name.clone());
                    metrics.push(metric);
                }
            }
        }
        metrics.append(&mut own);
        if metrics.len() > MOST {
            let message = format!("has {} metrics, {} of them from preset {}", metrics.len(), applied.metrics.len(), source.name);
            self.fault(path, message, format!("at most {MOST}"));
        }
        (metrics, Some(applied))
    }

    fn metrics(&mut self, path: &str, specs: Option<&[MetricSpec]>) -> Vec<Metric> {
        let default = [
            MetricSpec { error_rate: Some(ErrorRateSpec::default()), ..Default::default() },
            MetricSpec { latency: Some(LatencySpec::default()), ..Default::default() },
        ];
        let specs = specs.unwrap_or(&default);
        if specs.len() > MOST_WRITTEN {
            self.fault(path, format!("has {} metrics", specs.len()), format!("at most {MOST_WRITTEN}"));
        }
        let mut metrics: Vec<Metric> = Vec::new();
        for (i, spec) in specs.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if let Some(name) = &spec.name {
                self.name(&format!("{path}.name"), name);
            }
            if let Some(metric) = Metric::parse(self, &path, spec) {
                if let Some(first) = metrics.iter().position(|other| other.name == metric.name) {
                    let fix = "names of metrics must differ; a metric without a name is called by its kind";
                    self.fault(&format!("{path}.name"), format!("\"{}\" is the name of metrics[{first}] too", metric.name), fix);
                }
                metrics.push(metric);
            }
        }
        metrics
    }

    pub(super) fn number(&mut self, path: &str, value: Option<f64>, default: f64, range: RangeInclusive<f64>) -> f64 {
        let value = value.unwrap_or(default);
        // A NaN is in no range.
        if !range.contains(&value) {
            self.fault(path, format!("is {value}"), format!("must be from {} to {}", range.start(), range.end()));
        }
        value
    }

    pub(super) fn text(&mut self, path: &str, value: &str, max: usize) {
        let length = value.chars().count();
        if length == 0 || length > max {
            self.fault(path, format!("has {length} characters"), format!("1 to {max} of them"));
        }
    }

    pub(super) fn name(&mut self, path: &str, value: &str) {
        self.text(path, value, 63);
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let ends = value.starts_with(|c: char| c.is_ascii_alphabetic()) && value.ends_with(|c: char| c.is_ascii_alphanumeric());
        let good = ends && value.chars().all(inner);
        if !value.is_empty() && !good {
            let fix = "letters, digits, '.', '_' and '-'; a letter first, a letter or digit last";
            self.fault(path, format!("\"{value}\" is not a name"), fix);
        }
    }

    pub(super) fn prometheus_name(&mut self, path: &str, value: &str, metric: bool) {
        self.text(path, value, 200);
        if !value.is_empty() && !is_plain(value) {
            let fix = if metric { "the name of a Prometheus metric, without labels" } else { "the name of a Prometheus label" };
            self.fault(path, format!("\"{value}\" is not a name"), fix);
        }
    }
}

/// Whether any step picks users by a match.
fn matched(strategy: &Strategy) -> bool {
    let preview = strategy.blue_green.as_ref().is_some_and(|blue_green| !blue_green.preview.is_empty());
    let step = strategy.steps.iter().flatten().any(|step| !step.matches.is_empty());
    strategy.ab_test.is_some() || preview || step
}
