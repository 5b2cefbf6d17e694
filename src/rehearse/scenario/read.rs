//! The scenario's text to its values, all faults at once.

use serde_json::{Map, Value, json};

use super::{Ar, Behaviour, Incident, Noise, Scenario, flag, merge, number};
use crate::plan::{Fault, Faults, read_span, span};
use crate::sim::traffic::load::{ColdStart, Load};

/// Most traffic levels, pods, classes, steps and incidents.
const MOST_LEVELS: usize = 10;
const MOST_PODS: f64 = 100.0;
const MOST_CLASSES: usize = 50;
const MOST_STEPS: usize = 20;
const MOST_INCIDENTS: usize = 50;
/// Longest time in a scenario, seconds: a month.
const LONGEST: f64 = 720.0 * 3600.0;

type Fields = Map<String, Value>;

pub(super) fn scenario(text: &str, rps: Option<&str>, stable: &[String], canary: &[String]) -> Result<Scenario, Faults> {
    let mut file: Value = match serde_yaml::from_str::<Option<Value>>(text) {
        Ok(value) => value.filter(|value| !value.is_null()).unwrap_or(json!({})),
        Err(error) => {
            let place = error.location().map_or_else(String::new, |at| format!(" at line {}, column {}", at.line(), at.column()));
            let fix = "indentation, a tab, a key that is there twice, or a quote that is not closed?";
            return Err(Faults(vec![Fault::new("(scenario)", format!("cannot be read as YAML{place}"), fix)]));
        }
    };
    if file.is_object() {
        if let Some(rps) = rps {
            json_patch::merge(&mut file, &json!({ "rps": rps.split(',').map(number).collect::<Value>() }));
        }
        for (side, texts) in [("stable", stable), ("canary", canary)] {
            for text in texts {
                merge(&mut file, json!({ side: flag(text) }));
            }
        }
    }
    let mut reader = Reader { faults: Vec::new() };
    let found = reader.scenario(&file);
    if reader.faults.is_empty() { Ok(found) } else { Err(Faults(reader.faults)) }
}

struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.faults.push(Fault::new(path, message, fix));
    }

    fn scenario(&mut self, file: &Value) -> Scenario {
        let default = Scenario::default();
        let known = ["rps", "window", "history", "stable", "canary", "load", "coldStart", "noise", "common"];
        let Some(file) = self.fields("", file, &known) else { return default };
        let rps = match file.get("rps") {
            None => default.rps.clone(),
            Some(Value::Array(levels)) => {
                if levels.is_empty() || levels.len() > MOST_LEVELS {
                    self.fault("rps", format!("has {} entries", levels.len()), format!("1 to {MOST_LEVELS} of them"));
                }
                let each = levels.iter().enumerate();
                each.map(|(i, level)| self.number(&format!("rps[{i}]"), level, 1e-3, 1e6)).collect()
            }
            Some(one) => vec![self.number("rps", one, 1e-3, 1e6)],
        };
        let window = file.get("window").map(|window| self.seconds("window", window, 1.0, 3600.0));
        let history =
            file.get("history").map_or(default.history, |history| self.seconds("history", history, 0.0, super::super::MOST_HISTORY));
        let empty = Value::Object(Map::new());
        let mut arm = |name: &str, usual: &Behaviour, known: &[&str]| {
            let fields = self.fields(name, file.get(name).unwrap_or(&empty), known).cloned().unwrap_or_default();
            let behaviour = self.behaviour(name, &fields, usual);
            (fields, behaviour)
        };
        let (stable_fields, stable) = arm("stable", &default.stable, &["pods", "errors", "latency", "classes"]);
        let (canary_fields, canary) = arm("canary", &stable, &["pods", "errors", "latency", "classes", "from"]);
        if canary.classes.len() != stable.classes.len() {
            let (one, other) = (canary.classes.len(), stable.classes.len());
            self.fault(
                "canary.classes",
                format!("has {one} classes, stable has {other}"),
                "as many for both; a class that one of them never predicts is 0",
            );
        }
        let stable_pods = stable_fields.get("pods").map_or(default.stable_pods, |pods| self.pods("stable.pods", pods));
        let canary_pods = match canary_fields.get("pods") {
            None => default.canary_pods.clone(),
            Some(Value::Array(pods)) => {
                if pods.is_empty() || pods.len() > MOST_STEPS {
                    self.fault("canary.pods", format!("has {} entries", pods.len()), format!("1 to {MOST_STEPS}: one for each step"));
                }
                pods.iter().enumerate().map(|(i, pods)| self.pods(&format!("canary.pods[{i}]"), pods)).collect()
            }
            Some(one) => vec![self.pods("canary.pods", one)],
        };
        let from = canary_fields.get("from").map_or(0.0, |from| self.seconds("canary.from", from, 0.0, LONGEST));
        let (load, swing) = file.get("load").map_or((default.load, default.swing), |load| self.load(load));
        let cold_start = file.get("coldStart").and_then(|start| self.cold_start(start));
        let noise = file.get("noise").map_or_else(Noise::default, |noise| self.noise(noise));
        let common = self.common(file.get("common"), stable.classes.len());
        Scenario { rps, window, history, stable, stable_pods, canary, canary_pods, from, load, swing, cold_start, noise, common }
    }

    /// The fields of a mapping; others than those known are faults.
    fn fields<'v>(&mut self, path: &str, value: &'v Value, known: &[&str]) -> Option<&'v Fields> {
        let Value::Object(fields) = value else {
            let name = if path.is_empty() { "(scenario)" } else { path };
            self.fault(name, format!("is {}", said(value)), format!("must be a mapping with {}", known.join(", ")));
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.fault(&at, "is not a field", format!("there are {}", known.join(", ")));
        }
        Some(fields)
    }

    fn behaviour(&mut self, path: &str, fields: &Fields, usual: &Behaviour) -> Behaviour {
        let at = |field: &str| format!("{path}.{field}");
        let mut found = usual.clone();
        if let Some(errors) = fields.get("errors") {
            found.errors = self.number(&at("errors"), errors, 0.0, 1.0);
        }
        if let Some(latency) = fields.get("latency")
            && let Some(latency) = self.fields(&at("latency"), latency, &["p50", "p99"])
        {
            let before = self.faults.len();
            for (name, into) in [("p50", &mut found.p50), ("p99", &mut found.p99)] {
                if let Some(value) = latency.get(name) {
                    *into = 1e3 * self.seconds(&format!("{path}.latency.{name}"), value, 1e-4, 600.0);
                }
            }
            if self.faults.len() == before && found.p99 < found.p50 {
                let message = format!("is {} ms, below the median of {} ms", found.p99, found.p50);
                self.fault(&at("latency.p99"), message, "give both, p99 not below p50");
            }
        }
        if let Some(classes) = fields.get("classes") {
            found.classes = self.shares(&at("classes"), classes);
        }
        found
    }

    fn shares(&mut self, path: &str, value: &Value) -> Vec<f64> {
        let Value::Array(items) = value else {
            self.fault(path, format!("is {}", said(value)), "must be a list of shares, for example [0.9, 0.1]");
            return vec![1.0];
        };
        if items.len() < 2 || items.len() > MOST_CLASSES {
            self.fault(path, format!("has {} entries", items.len()), format!("2 to {MOST_CLASSES} of them"));
        }
        let before = self.faults.len();
        let found: Vec<f64> = items.iter().enumerate().map(|(i, item)| self.number(&format!("{path}[{i}]"), item, 0.0, 1.0)).collect();
        let sum: f64 = found.iter().sum();
        if self.faults.len() == before && (sum - 1.0).abs() > 1e-3 {
            self.fault(path, format!("sum up to {sum:.4}"), "must sum up to 1");
        }
        found.iter().map(|share| share / sum.max(1e-9)).collect()
    }

    fn load(&mut self, value: &Value) -> (Load, f64) {
        let (mut load, mut swing) = (Load::default(), 1.0);
        let Some(fields) = self.fields("load", value, &["coldCache", "queueing", "swing"]) else { return (load, swing) };
        for (field, into, low, high) in
            [("coldCache", &mut load.cold_cache, 0.0, 10.0), ("queueing", &mut load.queueing, 0.0, 0.9), ("swing", &mut swing, 1.0, 100.0)]
        {
            if let Some(value) = fields.get(field) {
                *into = self.number(&format!("load.{field}"), value, low, high);
            }
        }
        (load, swing)
    }

    fn cold_start(&mut self, value: &Value) -> Option<ColdStart> {
        let fields = self.fields("coldStart", value, &["latency", "fades"])?;
        let latency =
            self.needed("coldStart.latency", fields.get("latency"), "durations at first, as a multiple of later ones, for example 2");
        let fades = self.needed("coldStart.fades", fields.get("fades"), "the time in which two thirds of that are gone, for example 2m");
        let latency = latency.map(|latency| self.number("coldStart.latency", latency, 1.0, 100.0));
        let fades = fades.map(|fades| self.seconds("coldStart.fades", fades, 1.0, LONGEST));
        Some(ColdStart { latency: latency?, fades: fades? })
    }

    fn noise(&mut self, value: &Value) -> Noise {
        let mut noise = Noise::default();
        let known = ["errorBurst", "latencySd", "classConcentration", "podErrorSd", "podLatencySd", "errorAr"];
        let Some(fields) = self.fields("noise", value, &known) else { return noise };
        let mut number =
            |name: &str, low: f64, high: f64| fields.get(name).map(|value| self.number(&format!("noise.{name}"), value, low, high));
        noise.error_burst = number("errorBurst", 1.0, 1000.0).unwrap_or(1.0);
        noise.latency_sd = number("latencySd", 0.0, 1.0).unwrap_or(0.0);
        noise.class_concentration = number("classConcentration", 1.0, 1e9);
        noise.pod_error_sd = number("podErrorSd", 0.0, 3.0).unwrap_or(0.0);
        noise.pod_latency_sd = number("podLatencySd", 0.0, 1.0).unwrap_or(0.0);
        if let Some(ar) = fields.get("errorAr")
            && let Some(ar) = self.fields("noise.errorAr", ar, &["sd", "time"])
        {
            let sd = self.needed("noise.errorAr.sd", ar.get("sd"), "the standard deviation, for example 0.3");
            let time = self.needed("noise.errorAr.time", ar.get("time"), "the correlation time, for example 5m");
            if let Some((sd, time)) = sd.zip(time) {
                let sd = self.number("noise.errorAr.sd", sd, 0.0, 3.0);
                noise.error_ar = Some(Ar { sd, time: self.seconds("noise.errorAr.time", time, 1.0, 24.0 * 3600.0) });
            }
        }
        noise
    }

    fn common(&mut self, value: Option<&Value>, classes: usize) -> Vec<Incident> {
        let items = match value {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault("common", format!("is {}", said(other)), "must be a list, for example [{from: 8m, to: 12m, errors: 0.10}]");
                return Vec::new();
            }
        };
        if items.len() > MOST_INCIDENTS {
            self.fault("common", format!("has {} entries", items.len()), format!("at most {MOST_INCIDENTS}"));
        }
        items.iter().enumerate().filter_map(|(i, item)| self.incident(&format!("common[{i}]"), item, classes)).collect()
    }

    fn incident(&mut self, path: &str, value: &Value, classes: usize) -> Option<Incident> {
        let fields = self.fields(path, value, &["from", "to", "errors", "latency", "classes", "ramp", "skew"])?;
        let at = |field: &str| format!("{path}.{field}");
        let from = self.needed(&at("from"), fields.get("from"), "when it begins, for example 8m");
        let to = self.needed(&at("to"), fields.get("to"), "when it ends, for example 12m");
        let from = from.map(|from| self.seconds(&at("from"), from, 0.0, LONGEST));
        let to = to.map(|to| self.seconds(&at("to"), to, 0.0, LONGEST));
        if let Some((from, to)) = from.zip(to)
            && to <= from
        {
            self.fault(&at("to"), "is not after from", "an incident ends after it began");
        }
        let errors = fields.get("errors").map(|errors| self.number(&at("errors"), errors, 0.0, 1.0));
        let latency = fields.get("latency").map_or(1.0, |latency| self.number(&at("latency"), latency, 0.01, 100.0));
        let mix = fields.get("classes").map(|mix| self.shares(&at("classes"), mix));
        if let Some(mix) = mix.as_ref().filter(|mix| mix.len() != classes) {
            self.fault(&at("classes"), format!("has {} classes, stable has {classes}", mix.len()), "as many as stable");
        }
        let ramp = match fields.get("ramp") {
            None => false,
            Some(Value::Bool(ramp)) => *ramp,
            Some(other) => {
                self.fault(&at("ramp"), format!("is {}", said(other)), "must be true or false");
                false
            }
        };
        let skew = fields.get("skew").map_or(0.0, |skew| self.seconds(&at("skew"), skew, -600.0, 600.0));
        if errors.is_none() && mix.is_none() && !fields.contains_key("latency") {
            self.fault(path, "changes nothing", "give errors, latency or classes");
        }
        Some(Incident { from: from?, to: to?, errors, latency, classes: mix, ramp, skew })
    }

    fn needed<'v>(&mut self, path: &str, value: Option<&'v Value>, fix: &str) -> Option<&'v Value> {
        if value.is_none() {
            self.fault(path, "is missing", fix);
        }
        value
    }

    fn number(&mut self, path: &str, value: &Value, low: f64, high: f64) -> f64 {
        match value.as_f64() {
            Some(number) if (low..=high).contains(&number) => number,
            Some(number) => {
                self.fault(path, format!("is {number}"), format!("must be from {low} to {high}"));
                low
            }
            None => {
                self.fault(path, format!("is {}", said(value)), "must be a number");
                low
            }
        }
    }

    fn pods(&mut self, path: &str, value: &Value) -> u32 {
        let number = self.number(path, value, 1.0, MOST_PODS);
        if number.fract() != 0.0 {
            self.fault(path, format!("is {number}"), "must be a whole number");
        }
        number as u32 // 1 to MOST_PODS
    }

    fn seconds(&mut self, path: &str, value: &Value, low: f64, high: f64) -> f64 {
        let Some(text) = value.as_str() else {
            self.fault(path, format!("is {}", said(value)), "a duration is written 400ms, 30s or 12h");
            return low;
        };
        let Some(seconds) = read_span(text) else {
            self.fault(path, format!("is \"{text}\""), "a duration is written 400ms, 30s or 12h");
            return low;
        };
        if !(low..=high).contains(&seconds) {
            self.fault(path, format!("is {text}"), format!("must be from {} to {}", signed(low), signed(high)));
        }
        seconds
    }
}

fn signed(seconds: f64) -> String {
    let plain = std::time::Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
    // Tenths of a millisecond are beyond what spans are written in.
    let text = if seconds.abs() > 0.0 && seconds.abs() < 1e-3 { format!("{}ms", seconds.abs() * 1e3) } else { span(plain) };
    if seconds < 0.0 { format!("-{text}") } else { text }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "empty".into(),
        Value::Object(_) => "a mapping".into(),
        Value::Array(_) => "a list".into(),
        other => other.to_string(),
    }
}
