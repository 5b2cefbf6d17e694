//! A file to its Rollouts, and each of them to what is to be said of it.

use kube::{CustomResourceExt, Resource};
use serde_json::Value;

use super::{Known, Report, Traffic, forecast, load, route, schema, warn};
use crate::{
    api::{Rollout, RolloutSpec, names::GROUP},
    plan::{Fault, Faults, Plan},
};

/// What is to be said of every Rollout in a file, with what is known beside it. Documents of other kinds are passed over.
pub fn check(file: &str, text: &str, known: &Known) -> Vec<Report> {
    rollouts(file, text, known).into_iter().map(|(report, _)| report).collect()
}

/// The same, each with its plan if it has no fault.
pub(in crate::cli) fn rollouts(file: &str, text: &str, known: &Known) -> Vec<(Report, Option<Plan>)> {
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
    let mut reports = Vec::new();
    let parts: Vec<_> = parts(text).into_iter().map(|(number, part)| (number, serde_yaml::from_multiple::<Value>(&part), part)).collect();
    let all: Vec<Value> = parts.iter().filter_map(|(_, read, _)| read.as_ref().ok()).flatten().cloned().flat_map(objects).collect();
    for (document, read, part) in parts {
        let objects = match read {
            Ok(documents) => documents.into_iter().flat_map(objects).collect::<Vec<_>>(),
            Err(error) => {
                // The lines before are there as empty ones, so that a place in the document is one in the file.
                let location = error.location();
                let path = location.map_or_else(|| file.to_owned(), |at| format!("line {}, column {}", at.line(), at.column()));
                let message = error.without_snippet().render_with_formatter(&serde_yaml::UserMessageFormatter);
                let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
                reports.push((blank(document, vec![Fault::new(path, format!("cannot be read as YAML: {message}"), "")]), None));
                continue;
            }
        };
        for object in objects {
            match kind(&object) {
                Kind::Rollout => {
                    let mut report = blank(document, Vec::new());
                    let mut plan = rollout(object, known.traffic, &mut report);
                    let more = plan
                        .as_ref()
                        .map(|plan| route::faults(&all, report.namespace.as_deref(), report.name.as_deref(), plan))
                        .unwrap_or_default();
                    if !more.is_empty() {
                        report.faults.extend(more);
                        (plan, report.plan, report.outlook) = (None, None, None);
                    }
                    if let Some(plan) = &plan {
                        let stable = route::stable(&all, report.namespace.as_deref(), plan);
                        report.warnings.extend(load::warnings(&all, report.namespace.as_deref(), plan, stable.as_ref(), known.pods));
                    }
                    report.faults.iter_mut().for_each(|fault| written(fault, &part));
                    reports.push((report, plan));
                }
                Kind::Unknown(fault) => reports.push((blank(document, vec![fault]), None)),
                Kind::Other => {}
            }
        }
    }
    reports
}

/// The documents of a file that hold anything, each with its number and with empty lines in place of what stands before it.
fn parts(text: &str) -> Vec<(usize, String)> {
    let mut parts: Vec<String> = vec![String::new()];
    for (line, content) in text.lines().enumerate() {
        let marker = content.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
        if marker {
            parts.push("\n".repeat(line));
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(content);
            part.push('\n');
        }
    }
    let holds =
        |part: &&String| part.lines().any(|line| !matches!(line.trim(), "" | "---" | "...") && !line.trim_start().starts_with(['#', '%']));
    parts.iter().filter(holds).cloned().enumerate().map(|(index, part)| (index + 1, part)).collect()
}

/// A number where a text must be is named as it was written: `1.10` is another version than 1.1.
fn written(fault: &mut Fault, text: &str) {
    let number = fault.message.strip_prefix("is ").and_then(|number| number.parse::<f64>().ok());
    let (Some(number), true) = (number, fault.fix.starts_with("must be a text")) else { return };
    let key = fault.path.rsplit(['.', ']']).next().unwrap_or_default().to_owned();
    let values = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| {
        line.match_indices(key.as_str()).filter_map(|(at, key)| {
            let rest = line.get(at + key.len()..)?.trim_start_matches(['"', '\'']).strip_prefix(':')?.trim_start();
            rest.split([',', '}', ' ', '\t', '#']).next()
        })
    });
    let same = |value: &&str| value.parse::<f64>().is_ok_and(|there| there == number);
    if let Some(value) = values.filter(same).last() {
        fault.message = format!("is {value}, which YAML reads as a number");
        fault.fix = format!("must be a text: put it in quotes, {key}: \"{value}\"");
    }
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
            let fix = format!("must be apiVersion: {wanted}, kind: {ours}");
            Kind::Unknown(Fault::new("apiVersion", format!("there is no {version} {kind}"), fix))
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
        Ok(spec) => {
            let (plan, mut more) = match Plan::parse(&spec) {
                Ok(plan) => (Some(plan), Vec::new()),
                Err(Faults(more)) => (None, more),
            };
            // Of a name that is too long as well, the fault of the name says what to write.
            let names = names(&spec);
            more.retain(|fault| !(fault.message.ends_with(" characters") && names.iter().any(|name| name.path == fault.path)));
            found = plan.filter(|_| names.is_empty());
            more.extend(names);
            more.retain(|fault| !told(&faults, &fault.path));
            faults.extend(more);
            if let Some(plan) = &found {
                report.warnings.extend(warn::warnings(plan));
                report.plan = Some(warn::summary(plan));
                report.outlook = traffic.and_then(|traffic| forecast::outlook(plan, traffic.rps, traffic.error_rate));
            }
        }
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
    if let Some(words) = report.outlook.as_ref().and_then(|outlook| outlook.late.clone()) {
        report.warnings.push(Fault::new("spec.strategy", words, ""));
    }
    found
}

/// Whether a fault at this path follows from those of the shape: what stands in for a value that cannot be read has neighbours that may be
/// right.
fn told(faults: &[Fault], path: &str) -> bool {
    let weight = faults.iter().any(|fault| fault.path.ends_with(".weight") || fault.path.contains(".weights["));
    let goes_with = path.strip_suffix(".unit").map(|latency| format!("{latency}.histogram"));
    (weight && (path.ends_with(".weight") || path.contains(".weights")))
        || faults.iter().any(|other| covers(&other.path, path) || covers(path, &other.path) || Some(&other.path) == goes_with.as_ref())
}

/// Names that no object can have, and templates that nobody has filled in. The API server takes them, and the Rollout would wait for ever.
fn names(spec: &RolloutSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut look = |path: &str, name: &str, most: usize, dots: bool| {
        let mut fault = |message: String, fix: String| faults.push(Fault::new(path, message, fix));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = |c: char| plain(c) || c == '-' || (dots && c == '.');
        if name.contains("{{") || name.contains("${") || name.contains("{%") {
            fault(
                format!("\"{name}\" is a template that nobody has filled in"),
                "render it first, for example `helm template . | haldane lint -f -`".into(),
            );
        } else if let Some((namespace, rest)) = name.split_once('/').filter(|_| dots) {
            fault(
                format!("\"{name}\" is no name"),
                format!("it is looked for in the namespace of the Rollout: write {rest}, and have the Rollout in {namespace}"),
            );
        } else if let Some((service, _)) = name.split_once(['.', ':']).filter(|_| path == "spec.canary.service") {
            fault(
                format!("\"{name}\" is no name"),
                format!("write {service}: a Service is looked for in the namespace of the Rollout, and its port is the route's"),
            );
        } else if name.len() > most || !name.chars().all(inner) || !name.starts_with(plain) || !name.ends_with(plain) {
            let dot = if dots { ", '-' and '.'" } else { " and '-'" };
            fault(
                format!("\"{name}\" is no name"),
                format!("at most {most} lower-case letters, digits{dot}; a letter or digit first and last"),
            );
        }
    };
    for object in spec.traffic.objects() {
        look(&format!("spec.traffic.{}", object.kind().field()), object.name(), 253, true);
    }
    for (field, name) in [("subset", &spec.canary.subset), ("service", &spec.canary.service)] {
        if let Some(name) = name {
            look(&format!("spec.canary.{field}"), name, 63, false);
        }
    }
    if let Some(route) = spec.traffic.route.as_deref().filter(|route| route.contains("{{")) {
        look("spec.traffic.route", route, 253, true);
    }
    faults
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
                let fix = "at most 63 lower-case letters, digits, '-' and '.'; a letter or digit first and last";
                report.faults.push(Fault::new("metadata.name", format!("\"{name}\" is not a name"), fix));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(traffic: &str, subset: &str) -> String {
        format!(
            "apiVersion: haldane.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: scorer}}\nspec:\n  traffic: {{virtualService: {traffic}}}\n  canary: {{subset: {subset}}}\n  strategy: {{canary: {{}}}}\n"
        )
    }

    fn told(traffic: &str, subset: &str) -> Vec<String> {
        let report = check("f.yaml", &manifest(traffic, subset), &Known::default()).remove(0);
        report.faults.iter().map(|fault| format!("{}: {}; {}", fault.path, fault.message, fault.fix)).collect()
    }

    #[test]
    fn a_template_that_nobody_has_filled_in_is_a_fault() {
        let found = told("scorer", "\"{{ .Values.next }}\"");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("spec.canary.subset: \"{{ .Values.next }}\" is a template that nobody has filled in; render it first"),
            "{found:?}"
        );
        assert!(told("\"{{ .Release.Name }}/x\"", "v2")[0].contains("is a template"));
    }

    #[test]
    fn a_name_with_a_namespace_is_a_fault() {
        let wanted = "spec.traffic.virtualService: \"ml/scorer\" is no name; it is looked for in the namespace of the Rollout: write scorer, and have the Rollout in ml";
        assert_eq!(told("ml/scorer", "v2"), [wanted]);
        assert_eq!(told("scorer", "V2").len(), 1, "Istio takes no subset of that name");
        assert!(told("scorer.v2", "v2").is_empty());
    }

    /// A manifest for an HTTPRoute, with its traffic and its Service.
    fn service(traffic: &str, service: &str) -> Vec<String> {
        let text = manifest("scorer", "v2").replace("{virtualService: scorer}", traffic).replace("{subset: v2}", service);
        check("f.yaml", &text, &Known::default()).remove(0).faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn a_service_is_named_without_its_namespace_and_port() {
        let long = "fraud-v2.a-namespace-whose-name-is-long-enough-to-matter.svc.cluster.local";
        for name in ["fraud-v2.ml.svc.cluster.local", "fraud-v2:80", "fraud-v2.ml:80", long] {
            let wanted = format!(
                "spec.canary.service: \"{name}\" is no name; write fraud-v2: a Service is looked for in the namespace of the Rollout, and its port is the route's"
            );
            assert_eq!(service("{httpRoute: fraud}", &format!("{{service: \"{name}\"}}")), [wanted]);
        }
    }

    #[test]
    fn a_field_that_is_not_there_hides_no_name_and_makes_no_fault_of_its_own() {
        let told = service("{HTTPRoute: fraud}", "{service: fraud-v2.ml}");
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "spec.traffic.HTTPRoute: is not a field; did you mean httpRoute?");
        assert!(told[1].starts_with("spec.canary.service: \"fraud-v2.ml\" is no name; write fraud-v2"), "{told:?}");
        let told = service("{httpRoute: fraud}", "{service: fraud-v2}\n  analysis: {metrics: [{latency: {histogram: 5, unit: s}}]}");
        assert!(told.len() == 1 && told[0].starts_with("spec.analysis.metrics[0].latency.histogram: is 5"), "{told:?}");
    }

    #[test]
    fn a_number_is_named_as_it_was_written() {
        for (subset, value) in [("1.10", "1.10"), ("007", "007"), ("2", "2")] {
            let wanted = format!(
                "spec.canary.subset: is {value}, which YAML reads as a number; must be a text: put it in quotes, subset: \"{value}\""
            );
            assert_eq!(told("scorer", subset), [wanted]);
        }
    }

    #[test]
    fn a_document_that_cannot_be_read_is_named_by_its_number_and_hides_no_other() {
        let good = manifest("scorer", "v2");
        let text = format!("# a comment\n---\n{good}---\nkind: Service\napiVersion: v1\n---\na: [1\nb: 2\n---\n{}", manifest("a/b", "v2"));
        let reports = check("f.yaml", &text, &Known::default());
        let found: Vec<_> = reports.iter().map(|report| (report.document, report.faults.len())).collect();
        assert_eq!(found, [(1, 0), (3, 1), (4, 1)]);
        let line = text.lines().position(|line| line == "b: 2").unwrap() + 1;
        assert!(reports[1].faults[0].path.starts_with(&format!("line {line}")), "{}", reports[1].faults[0].path);
    }
}
