//! What models say about their own answers: metrics that were found on stable's pods, and the YAML that would judge them.

use std::collections::BTreeMap;

use super::{Finding, presets};
use crate::plan::{Counted, Plan};

/// What a metric could be judged as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// A counter of answers by this label.
    Classes(&'static str),
    /// A histogram of answers.
    Scores,
    /// A histogram of times in seconds.
    Times,
    /// A counter of what is bad, and that of all.
    Ratio(&'static str),
}

/// Names that model servers and the documents of haldane give, without `_bucket`.
const KNOWN: [(&str, &str, Use); 22] = [
    ("model_prediction_class_total", "classes", Use::Classes("class")),
    ("model_prediction_value", "scores", Use::Scores),
    ("model_prediction_confidence", "confidence", Use::Scores),
    ("model_prediction_score", "scores", Use::Scores),
    ("vllm:request_success_total", "finishReason", Use::Classes("finished_reason")),
    ("trtllm_request_success_total", "finishReason", Use::Classes("finished_reason")),
    ("vllm:request_generation_tokens", "outputLength", Use::Scores),
    ("tgi_request_generated_tokens", "outputLength", Use::Scores),
    ("dynamo_frontend_output_sequence_tokens", "outputLength", Use::Scores),
    ("llm_d_epp_request_output_tokens", "outputLength", Use::Scores),
    ("sglang:generation_tokens_histogram", "outputLength", Use::Scores),
    ("vllm:time_to_first_token_seconds", "ttft", Use::Times),
    ("sglang:time_to_first_token_seconds", "ttft", Use::Times),
    ("trtllm_time_to_first_token_seconds", "ttft", Use::Times),
    ("dynamo_frontend_time_to_first_token_seconds", "ttft", Use::Times),
    ("llm_d_epp_request_ttft_seconds", "ttft", Use::Times),
    ("vllm:request_time_per_output_token_seconds", "tpot", Use::Times),
    ("trtllm_time_per_output_token_seconds", "tpot", Use::Times),
    ("llm_d_epp_request_streaming_tpot_seconds", "tpot", Use::Times),
    ("tgi_request_duration", "duration", Use::Times),
    ("sglang:num_aborted_requests_total", "aborts", Use::Ratio("sglang:num_requests_total")),
    ("model_prediction_invalid_total", "invalid", Use::Ratio("model_prediction_class_total")),
];

/// Names to look for, as a regular expression: those that are known, those of presets, and whatever counts predictions.
pub fn names() -> String {
    let known: Vec<&str> = KNOWN.iter().map(|(name, ..)| *name).chain(["sglang:num_requests_total"]).collect();
    format!("({})(_bucket)?|{}|[a-zA-Z0-9_:]*prediction[a-zA-Z0-9_:]*(_total|_bucket)", known.join("|"), presets::pattern())
}

/// Labels that may hold the class of an answer.
pub const LABELS: [&str; 7] = ["class", "label", "prediction", "predicted_class", "finished_reason", "outcome", "category"];

/// A metric that stable's pods have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Name of its series: a histogram's ends in `_bucket`.
    pub name: String,
    /// How many values each of [`LABELS`] that it has takes.
    pub labels: BTreeMap<String, usize>,
}

impl Offered {
    /// The metrics behind label sets that hold the name under `__name__`.
    pub fn of(found: &[BTreeMap<String, String>]) -> Vec<Self> {
        let mut all: BTreeMap<&str, BTreeMap<&str, std::collections::BTreeSet<&str>>> = BTreeMap::new();
        for labels in found {
            let Some(name) = labels.get("__name__") else { continue };
            let of = all.entry(name).or_default();
            for (label, value) in labels.iter().filter(|(label, value)| *label != "__name__" && !value.is_empty()) {
                of.entry(label).or_default().insert(value);
            }
        }
        let counted = |labels: BTreeMap<&str, std::collections::BTreeSet<&str>>| {
            labels.into_iter().map(|(label, values)| (label.to_owned(), values.len())).collect()
        };
        all.into_iter().map(|(name, labels)| Self { name: name.to_owned(), labels: counted(labels) }).collect()
    }

    fn base(&self) -> &str {
        self.name.strip_suffix("_bucket").unwrap_or(&self.name)
    }

    /// What it could be judged as, by what name, and the entry of `spec.analysis.metrics`.
    fn entry(&self, all: &[Self]) -> Option<String> {
        let name = self.base();
        let has = |wanted: &str| all.iter().any(|other| other.name == wanted);
        let known = KNOWN.iter().find(|(known, ..)| *known == name).map(|(_, called, used)| (*called, *used));
        let classes = || LABELS.iter().find(|label| self.labels.contains_key(**label)).copied();
        let (called, used) = match known {
            Some(known) => known,
            // Times and counts of a server are no answers.
            None if presets::is_known(name) => return None,
            None if self.name.ends_with("_bucket") => ("answers", Use::Scores),
            None => ("answers", Use::Classes(classes()?)),
        };
        Some(match used {
            Use::Classes(class) => {
                let class = if self.labels.contains_key(class) { class } else { classes()? };
                format!("- {{name: {called}, drift: {{counter: \"{name}\", class: {class}}}}}")
            }
            Use::Scores => format!("- {{name: {called}, drift: {{histogram: \"{name}\"}}}}"),
            Use::Times => format!("- {{name: {called}, latency: {{histogram: \"{name}\", unit: s}}}}"),
            Use::Ratio(total) if has(total) => format!("- {{name: {called}, ratio: {{bad: \"{name}\", total: \"{total}\"}}}}"),
            Use::Ratio(_) => return None,
        })
    }
}

/// What is to be said of the metrics of a model's own.
pub fn answers(offered: &[Offered], plan: &Plan) -> Vec<Finding> {
    const CHECK: &str = "answers";
    let counted: Vec<Counted<'_>> = plan.analysis.metrics.iter().map(|metric| metric.kind.counted()).collect();
    let judged = |name: &str| {
        counted.iter().any(|counted| match counted {
            Counted::Histogram(known) => *known == name,
            Counted::Classes { counter, .. } => *counter == name,
            Counted::Share { bad, total, .. } => bad.metric == name || total.metric == name,
            Counted::Value(query) => query.contains(name),
            Counted::Requests | Counted::Durations => false,
        })
    };
    let mut found = Vec::new();
    for one in offered.iter().filter(|one| judged(one.base())) {
        let classes = one.labels.iter().next().map_or_else(String::new, |(label, count)| format!(" ({label}: {count} values)"));
        found.push(Finding::ok(CHECK, format!("{} is there and judged{classes}", one.base())));
    }
    let exported = offered.iter().map(|one| one.base().to_owned()).collect();
    let fit = presets::fits(&exported, None).into_iter().find(presets::Fit::is_whole).filter(|_| plan.analysis.preset.is_none());
    let more = offered.iter().filter(|one| !(judged(one.base()) || fit.is_some() && presets::is_known(one.base())));
    let more: Vec<(&Offered, String)> = more.filter_map(|one| Some((one, one.entry(offered)?))).collect();
    if let Some(fit) = fit {
        let fact = format!("stable exports what preset {} judges: {}", fit.preset, fit.present.join(", "));
        let fix = format!("spec.analysis.preset: {0}, and `haldane presets show {0}` prints what it judges", fit.preset);
        found.push(Finding { fix, ..Finding::ok(CHECK, fact) });
    }
    if !more.is_empty() {
        let names: Vec<&str> = more.iter().map(|(one, _)| one.base()).take(4).collect();
        let rest = if more.len() > names.len() { format!(" and {} more", more.len() - names.len()) } else { String::new() };
        let entries: Vec<String> = more.iter().map(|(_, entry)| format!("  {entry}")).collect();
        let fix = format!("add to spec.analysis.metrics what should be judged:\n{}", entries.join("\n"));
        found.push(Finding { fix, ..Finding::ok(CHECK, format!("stable also exports {}{rest}", names.join(", "))) });
    }
    let own = counted.iter().any(|counted| !counted.is_of_mesh());
    if found.is_empty() && !own {
        let fact = "no metric of the model's answers was found: an answer that shifted would go unseen";
        let fix = "export a counter by class or a histogram of scores, for example model_prediction_class_total{class=...}; see docs/operations.md";
        found.push(Finding::warn(CHECK, fact, fix));
    }
    found
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::{Value, json};

    use super::*;

    fn plan(metrics: Value) -> Plan {
        let spec = json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}, "analysis": {"metrics": metrics},
        });
        Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn offered(list: &[(&str, &str, &str)]) -> Vec<Offered> {
        let labels = |(name, label, value): &(&str, &str, &str)| {
            BTreeMap::from([("__name__".to_owned(), (*name).to_owned()), ((*label).to_owned(), (*value).to_owned())])
        };
        Offered::of(&list.iter().map(labels).collect::<Vec<_>>())
    }

    #[test]
    fn every_known_name_is_asked_for_and_no_other_metric_is() {
        let names = Regex::new(&format!("^(?:{})$", names())).unwrap();
        for (name, _, used) in KNOWN {
            let series = if matches!(used, Use::Scores | Use::Times) { format!("{name}_bucket") } else { name.to_owned() };
            assert!(names.is_match(&series), "{series}");
        }
        assert!(!names.is_match("istio_requests_total") && !names.is_match("up"));
    }

    #[test]
    fn every_proposed_entry_is_one_that_a_plan_takes() {
        let all: Vec<Offered> = KNOWN
            .iter()
            .map(|(name, _, used)| match used {
                Use::Classes(class) => Offered { name: (*name).into(), labels: [((*class).to_owned(), 2)].into() },
                Use::Ratio(_) => Offered { name: (*name).into(), labels: BTreeMap::new() },
                _ => Offered { name: format!("{name}_bucket"), labels: BTreeMap::new() },
            })
            .chain([Offered { name: "sglang:num_requests_total".into(), labels: BTreeMap::new() }])
            .collect();
        for (one, (name, ..)) in all.iter().zip(KNOWN) {
            let entry = one.entry(&all).unwrap_or_else(|| panic!("{name}"));
            let metrics: Value = serde_yaml::from_str(&entry).unwrap();
            assert_eq!(plan(metrics).analysis.metrics.len(), 1, "{entry}");
        }
    }

    #[test]
    fn what_is_there_and_not_judged_comes_with_its_yaml() {
        let found = offered(&[
            ("model_prediction_class_total", "class", "fraud"),
            ("model_prediction_class_total", "class", "ok"),
            ("my_prediction_total", "label", "cat"),
            ("my_prediction_errors_total", "kind", "nan"),
        ]);
        let unused = answers(&found, &plan(json!([{"errorRate": {}}])));
        assert_eq!(unused.len(), 1, "{unused:?}");
        assert_eq!(unused[0].fact, "stable also exports model_prediction_class_total, my_prediction_total");
        assert!(unused[0].fix.contains("- {name: answers, drift: {counter: \"my_prediction_total\", class: label}}"), "{}", unused[0].fix);
        let used = answers(&found[..1], &plan(json!([{"drift": {"counter": "model_prediction_class_total", "class": "class"}}])));
        assert_eq!(used[0].fact, "model_prediction_class_total is there and judged (class: 2 values)");
        assert_eq!(used.len(), 1);
        assert!(answers(&[], &plan(json!([{"errorRate": {}}])))[0].fact.starts_with("no metric of the model's answers"));
    }
}
