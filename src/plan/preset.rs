//! Presets: which metrics of a model server are judged, as data of the form that users write. Each file of `presets` cites where its names
//! come from, and has a version: whoever changes what is judged counts it up.

use serde::Deserialize;

use crate::api::{MetricSpec, names::PRESETS};

/// Names of all presets.
pub const NAMES: &[&str] = &PRESETS;

/// What a file holds.
const FILES: [(&str, &str); PRESETS.len()] = [
    ("bentoml", include_str!("presets/bentoml.yaml")),
    ("kserve", include_str!("presets/kserve.yaml")),
    ("mlserver", include_str!("presets/mlserver.yaml")),
    ("ray-serve", include_str!("presets/ray-serve.yaml")),
    ("seldon", include_str!("presets/seldon.yaml")),
    ("sglang", include_str!("presets/sglang.yaml")),
    ("tf-serving", include_str!("presets/tf-serving.yaml")),
    ("tgi", include_str!("presets/tgi.yaml")),
    ("torchserve", include_str!("presets/torchserve.yaml")),
    ("triton", include_str!("presets/triton.yaml")),
    ("trtllm", include_str!("presets/trtllm.yaml")),
    ("vllm", include_str!("presets/vllm.yaml")),
    ("vllm-0.10", include_str!("presets/vllm-0.10.yaml")),
];

/// The fields of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    version: i32,
    server: String,
    warm_up: Option<String>,
    metrics: Vec<MetricSpec>,
}

/// The metrics of a model server.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// Another version judges other metrics, or by other limits.
    pub version: i32,
    /// Which server, and which versions of it.
    pub server: String,
    /// Default of `spec.analysis.warmUp`.
    pub warm_up: Option<String>,
    /// What is judged, in the form of `spec.analysis.metrics`.
    pub metrics: Vec<MetricSpec>,
    text: &'static str,
}

impl Preset {
    /// What stands for it in `spec.analysis`, with the comments of its file: to be pasted there in place of the preset, and changed.
    pub fn yaml(&self) -> String {
        let (about, fields) = self.text.split_once("\nversion:").unwrap_or(("", self.text));
        // The first line is the version.
        let fields = fields.lines().skip(1).filter(|line| !line.starts_with("server:"));
        let fields: String = fields.map(|line| format!("{line}\n")).collect();
        format!("# preset {}, version {}: {}\n{about}\n{fields}", self.name, self.version, self.server)
    }
}

/// A preset by its name.
pub fn find(name: &str) -> Option<Preset> {
    let (name, text) = FILES.into_iter().find(|(known, _)| *known == name)?;
    let File { version, server, warm_up, metrics } = serde_yaml::from_str(text).ok()?;
    Some(Preset { name, version, server, warm_up, metrics, text })
}

/// All presets, by name.
pub fn all() -> impl Iterator<Item = Preset> {
    NAMES.iter().filter_map(|name| find(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::RolloutSpec;
    use crate::cli;
    use crate::plan::{Faults, Plan};

    fn spec(analysis: serde_json::Value) -> RolloutSpec {
        let whole = json!({
            "traffic": {"virtualService": "llm"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}, "analysis": analysis,
        });
        serde_json::from_value(whole).unwrap()
    }

    fn plan(analysis: serde_json::Value) -> Plan {
        Plan::parse(&spec(analysis)).unwrap()
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.analysis.metrics.iter().map(|metric| metric.name.as_str()).collect()
    }

    #[test]
    fn each_preset_is_read_whole_and_lint_has_nothing_to_say() {
        assert_eq!(FILES.map(|(name, _)| name), PRESETS);
        for (name, text) in FILES {
            serde_yaml::from_str::<File>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(text.starts_with("# Names: "), "{name} cites no source");
            let manifest = format!(
                "apiVersion: haldane.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: llm}}\nspec:\n  traffic: {{virtualService: llm}}\n  canary: \
                 {{subset: v2}}\n  strategy: {{canary: {{}}}}\n  analysis: {{preset: {name}}}\n"
            );
            let report = cli::check("f.yaml", &manifest, &cli::Known::default()).remove(0);
            assert!(report.faults.is_empty() && report.warnings.is_empty(), "{name}: {report:?}");
        }
    }

    #[test]
    fn what_is_shown_can_be_pasted_in_place_of_the_preset() {
        for preset in all() {
            let pasted: serde_json::Value = serde_yaml::from_str(&preset.yaml()).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            let (mut with, without) = (plan(json!({"preset": preset.name})), plan(pasted));
            assert_eq!(with.analysis.preset.take().map(|applied| applied.metrics.len()), Some(preset.metrics.len()));
            assert_eq!(with, without, "{}", preset.name);
        }
    }

    #[test]
    fn what_each_preset_shows() {
        for preset in all() {
            insta::assert_snapshot!(preset.name, preset.yaml());
        }
    }

    #[test]
    fn what_each_preset_judges() {
        let fields = |preset: Preset| {
            let line = |metric: crate::plan::Metric| {
                let fields = metric.kind.fields().into_iter().map(|(name, value)| format!("    {name}: {value}\n"));
                format!("  {}\n{}", metric.name, fields.collect::<String>())
            };
            format!("{} {}\n{}", preset.name, preset.version, preset.parsed().into_iter().map(line).collect::<String>())
        };
        insta::assert_snapshot!("judged", all().map(fields).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_metric_of_the_same_name_stands_in_its_place_and_others_come_behind() {
        let plan = plan(json!({"preset": "tgi", "metrics": [
            {"latency": {}}, {"name": "tpot", "latency": {"histogram": "tgi_request_duration", "stretch": 0.2}},
        ]}));
        assert_eq!(names(&plan), ["errorRate", "tpot", "outputLength", "failures", "queue", "latency"]);
        let preset = plan.analysis.preset.clone().unwrap();
        assert_eq!((preset.to_string().as_str(), preset.metrics.contains(&"tpot".to_owned())), ("tgi version 1", false));
        assert!(plan.analysis.metrics[1].kind.fields()[0].1.contains("tgi_request_duration"));
        assert_eq!(plan.analysis.warm_up, std::time::Duration::from_secs(120));
        assert_eq!(super::tests::plan(json!({"preset": "tgi", "warmUp": "5s"})).analysis.warm_up, std::time::Duration::from_secs(5));
    }

    #[test]
    fn a_preset_that_does_not_exist_and_too_many_metrics_are_faults() {
        let faults = |analysis| Plan::parse(&spec(analysis)).unwrap_err().to_string();
        assert!(faults(json!({"preset": "vlm"})).starts_with("spec.analysis.preset: is \"vlm\"; must be one of bentoml, kserve"));
        let own: Vec<_> = (0..8).map(|i| json!({"name": format!("m{i}"), "latency": {}})).collect();
        let Faults(many) = Plan::parse(&spec(json!({"preset": "vllm", "metrics": own}))).unwrap_err();
        assert_eq!(
            many.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["spec.analysis.metrics: has 16 metrics, 8 of them from preset vllm; at most 14"]
        );
    }

    #[test]
    fn metrics_of_a_preset_may_be_left_out_of_a_step() {
        let mut spec = spec(json!({"preset": "vllm"}));
        spec.strategy = serde_json::from_value(json!({"canary": {"without": ["cache", "ttft"]}})).unwrap();
        assert_eq!(Plan::parse(&spec).unwrap().steps[0].without, ["cache", "ttft"]);
        let rollout = crate::api::Rollout { spec, ..crate::api::Rollout::new("llm", super::tests::spec(json!({}))) };
        assert!(kube::core::cel::validate_cel(&rollout).is_ok());
    }

    #[test]
    fn another_version_of_a_preset_counts_from_the_next_rollout() {
        let old = plan(json!({"preset": "vllm"}));
        let mut new = plan(json!({"preset": "vllm", "metrics": [{"errorRate": {"absolute": 0.0001}}]}));
        let newer = |plan: &mut Plan| plan.analysis.preset.iter_mut().for_each(|preset| preset.version += 1);
        newer(&mut new);
        let ttft = |plan: &Plan| plan.analysis.metrics[1].kind.clone();
        let stricter =
            plan(json!({"metrics": [{"latency": {"histogram": "vllm:time_to_first_token_seconds", "stretch": 0.01, "load": 0.05}}]}));
        new.analysis.metrics[1].kind = stricter.analysis.metrics[0].kind.clone();
        let adopted = old.adopt(&new, 0);
        assert_eq!(ttft(&adopted), ttft(&old), "nobody edited it");
        assert_ne!(adopted.analysis.metrics[0], old.analysis.metrics[0], "the user's own limit is stricter");
        let later: Vec<String> = old.edit(&new, 0).later.iter().map(ToString::to_string).collect();
        assert_eq!(later[0], "analysis.preset vllm version 1 -> vllm version 2");
        let mut same = new.clone();
        same.analysis.preset = old.analysis.preset.clone();
        assert_eq!(ttft(&old.adopt(&same, 0)), ttft(&new), "an edit of one version is taken over as ever");
    }
}
