//! A file to its Rollouts, and each of them to what is to be said of it.

use kube::{CustomResourceExt, Resource};
use serde_json::Value;

use super::{Report, Traffic, forecast, schema, warn};
use crate::{
    api::{Rollout, RolloutSpec, names::GROUP},
    plan::{Fault, Faults, Plan},
};

/// What is to be said of every Rollout in a file, at that traffic if it is given. Documents of other kinds are passed over.
pub fn check(file: &str, text: &str, traffic: Option<Traffic>) -> Vec<Report> {
    rollouts(file, text, traffic).into_iter().map(|(report, _)| report).collect()
}

/// The same, each with its plan if it has no fault.
pub(in crate::cli) fn rollouts(file: &str, text: &str, traffic: Option<Traffic>) -> Vec<(Report, Option<Plan>)> {
    let blank = |document, faults| Report {
        file: file.into(),
        document,
        namespace: None,
        name: None,
        faults,
        warnings: Vec::new(),
        plan: None,
        outlook: None,
    };
    let documents: Vec<Value> = match serde_yaml::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => {
            let location = error.location();
            let path = location.map_or_else(|| file.to_owned(), |at| format!("line {}, column {}", at.line(), at.column()));
            let message = error.without_snippet().render_with_formatter(&serde_yaml::UserMessageFormatter);
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            return vec![(blank(1, vec![Fault::new(path, format!("cannot be read as YAML: {message}"), "")]), None)];
        }
    };
    let mut reports = Vec::new();
    for (i, document) in documents.into_iter().enumerate() {
        for object in objects(document) {
            match kind(&object) {
                Kind::Rollout => {
                    let mut report = blank(i + 1, Vec::new());
                    let plan = rollout(object, traffic, &mut report);
                    reports.push((report, plan));
                }
                Kind::Unknown(fault) => reports.push((blank(i + 1, vec![fault]), None)),
                Kind::Other => {}
            }
        }
    }
    reports
}

/// The objects of a document: itself, or the items of a List.
fn objects(document: Value) -> Vec<Value> {
    match document {
        Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

enum Kind {
    Rollout,
    Other,
    Unknown(Fault),
}

fn kind(object: &Value) -> Kind {
    let field = |name: &str| object.get(name).and_then(Value::as_str);
    let (wanted, ours) = (Rollout::api_version(&()), Rollout::kind(&()));
    match (field("apiVersion"), field("kind")) {
        (Some(version), Some(kind)) if version == wanted && kind == ours => Kind::Rollout,
        (Some(version), Some(kind)) if version.starts_with(&format!("{GROUP}/")) => {
            let mend = format!("must be apiVersion: {wanted}, kind: {ours}");
            Kind::Unknown(Fault::new("apiVersion", format!("there is no {version} {kind}"), mend))
        }
        (Some(_), Some(_)) => Kind::Other,
        (None, _) => Kind::Unknown(Fault::new("apiVersion", "is missing", format!("for a Rollout: {wanted}"))),
        (_, None) => Kind::Unknown(Fault::new("kind", "is missing", format!("for a Rollout: {ours}"))),
    }
}

fn rollout(mut object: Value, traffic: Option<Traffic>, report: &mut Report) -> Option<Plan> {
    let mut found = None;
    metadata(object.get("metadata").unwrap_or(&Value::Null), report);
    if let Value::Object(fields) = &mut object {
        fields.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
        if fields.remove("status").is_some() {
            report.warnings.push(Fault::new("status", "is written by the controller alone", "leave it out"));
        }
    }
    let schema = Rollout::crd().spec.versions.into_iter().find_map(|version| version.schema?.open_api_v3_schema);
    let schema = serde_json::to_value(schema).unwrap_or_default();
    let mut faults = Vec::new();
    schema::check("", &schema, &mut object, &mut faults);
    let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
    match serde_json::from_value::<RolloutSpec>(spec) {
        Ok(spec) => match Plan::parse(&spec) {
            Ok(plan) => {
                report.warnings.extend(warn::warnings(&plan));
                report.plan = Some(warn::summary(&plan));
                report.outlook = traffic.and_then(|traffic| forecast::outlook(&plan, traffic.rps, traffic.error_rate));
                found = Some(plan);
            }
            Err(Faults(more)) => {
                // What stands in for a value that cannot be read has neighbours that may be right.
                let weight = faults.iter().any(|fault| fault.path.ends_with(".weight") || fault.path.contains(".weights["));
                let weight = |path: &str| weight && (path.ends_with(".weight") || path.contains(".weights"));
                let told = |fault: &Fault| {
                    weight(&fault.path) || faults.iter().any(|other| covers(&other.path, &fault.path) || covers(&fault.path, &other.path))
                };
                let more: Vec<Fault> = more.into_iter().filter(|fault| !told(fault)).collect();
                faults.extend(more);
            }
        },
        Err(error) if faults.is_empty() => faults.push(Fault::new("spec", error.to_string(), "")),
        // The faults that were found say it better.
        Err(_) => {}
    }
    report.faults.extend(faults);
    if !report.faults.is_empty() {
        report.plan = None;
        report.outlook = None;
        found = None;
    }
    if let Some(words) = report.outlook.as_ref().and_then(|outlook| outlook.infeasible.clone()) {
        report.warnings.push(Fault::new("spec.strategy", words, ""));
    }
    found
}

/// Whether a fault at `outer` already speaks of `inner`.
fn covers(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn metadata(metadata: &Value, report: &mut Report) {
    let field = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
    report.name = field("name");
    report.namespace = field("namespace");
    match &report.name {
        None => report.faults.push(Fault::new("metadata.name", "is missing", "it has no default")),
        Some(name) => {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            if name.len() > 63 || !name.chars().all(inner) || !name.starts_with(end) || !name.ends_with(end) {
                let mend = "at most 63 lower-case letters, digits, '-' and '.'; a letter or digit first and last";
                report.faults.push(Fault::new("metadata.name", format!("\"{name}\" is not a name"), mend));
            }
        }
    }
}
