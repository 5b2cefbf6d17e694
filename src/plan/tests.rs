use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::api::{Destination, OnInconclusive, RolloutSpec, ThresholdAction, TimeUnit};

mod traffic;

use traffic::beta;

fn spec(strategy: Value, analysis: Value) -> RolloutSpec {
    let mut spec = json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": strategy});
    if !analysis.is_null() {
        spec["analysis"] = analysis;
    }
    serde_json::from_value(spec).unwrap()
}

fn plan(strategy: Value, analysis: Value) -> Plan {
    Plan::parse(&spec(strategy, analysis)).unwrap()
}

fn faults(strategy: Value, analysis: Value) -> Vec<String> {
    Plan::parse(&spec(strategy, analysis)).unwrap_err().0.iter().map(Fault::to_string).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_shortest_manifest_has_every_default() {
    let plan = plan(json!({"canary": {}}), Value::Null);
    assert_eq!(plan.steps.iter().map(|step| step.split.weight).collect::<Vec<_>>(), [5, 20, 50, 100]);
    assert_eq!(plan.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert!(plan.steps.iter().all(|step| step.hold == MINUTE * 5 && step.deadline == MINUTE * 60 && !step.approval));
    assert!(plan.steps.iter().all(|step| step.on_inconclusive == OnInconclusive::Hold && step.without.is_empty()));
    assert_eq!(plan.analysis.prometheus, "default");
    assert_eq!((plan.analysis.interval, plan.analysis.warm_up), (MINUTE / 2, MINUTE));
    assert_eq!(
        plan.analysis.metrics,
        [
            Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default())),
            Metric::new("latency", MetricKind::Latency(Latency::default())),
        ]
    );
    assert_eq!((plan.route, plan.alerts, plan.paused), (None, None, false));
}

#[test]
fn both_strategies_compile_to_the_same_steps() {
    let canary =
        plan(json!({"canary": {"weights": [10, 100], "hold": "2m", "deadline": "30m", "onInconclusive": "Rollback"}}), Value::Null);
    let steps = plan(
        json!({"steps": [
            {"weight": 10, "hold": "2m", "deadline": "30m", "onInconclusive": "Rollback"},
            {"weight": 100, "hold": "2m", "deadline": "30m", "onInconclusive": "Rollback"},
        ]}),
        Value::Null,
    );
    assert_eq!(canary, steps);
}

#[test]
fn a_long_hold_moves_the_default_deadline_and_no_other() {
    let plan = plan(json!({"steps": [{"weight": 50, "hold": "2h"}, {"weight": 100, "hold": "2h", "deadline": "2h"}]}), Value::Null);
    assert_eq!(plan.steps[0].deadline, MINUTE * 240);
    assert_eq!(plan.steps[1].deadline, MINUTE * 120);
}

#[test]
fn drift_reads_a_counter_by_class_or_a_histogram() {
    let plan = plan(
        json!({"canary": {"without": ["scores"]}}),
        json!({"metrics": [{"drift": {"counter": "predictions_total", "class": "class"}},
                           {"name": "scores", "drift": {"histogram": "score", "rollback": 0.2}}]}),
    );
    let counter = DriftSource::Counter { metric: "predictions_total".into(), class: "class".into() };
    assert_eq!(plan.analysis.metrics[0].kind, MetricKind::Drift(Drift { source: counter, limits: DistanceLimits::default() }));
    let histogram = DriftSource::Histogram { metric: "score".into() };
    assert_eq!(
        plan.analysis.metrics[1].kind,
        MetricKind::Drift(Drift { source: histogram, limits: DistanceLimits { rollback: 0.2, ..DistanceLimits::default() } })
    );
    assert!(plan.steps.iter().all(|step| step.without == ["scores"]));
}

#[test]
fn own_metrics_have_their_names_beside_or_within_and_every_default() {
    let query = r#"max(mem{namespace="{{namespace}}",pod=~"{{canaryPods}}"})"#;
    let plan = plan(
        json!({"canary": {"without": ["invalid"]}}),
        json!({"metrics": [
            {"threshold": {"name": "gpu", "query": query, "max": 38000, "for": "2m", "action": "Rollback"}},
            {"name": "hits", "gate": false, "threshold": {"query": "min(x)", "min": 0.8}},
            {"ratio": {"name": "invalid", "bad": "bad_total{kind='nan'}", "total": "all_total", "pass": 0.01}},
            {"ratio": {"bad": "a_total", "total": "b_total"}},
        ]}),
    );
    let counter = |text: &str| promql::Counter::read(text).unwrap();
    let threshold = |query: &str, min, max, seconds, action| {
        MetricKind::Threshold(Threshold {
            query: query.into(),
            limits: RangeLimits { min, max, lasting: Duration::from_secs(seconds), action },
        })
    };
    let ratio = |bad, total, pass| {
        let limits = ShareLimits { pass, ..ShareLimits::default() };
        MetricKind::Ratio(Ratio { bad: counter(bad), total: counter(total), apart: false, limits })
    };
    assert_eq!(
        plan.analysis.metrics,
        [
            Metric::new("gpu", threshold(query, None, Some(38000.0), 120, ThresholdAction::Rollback)),
            Metric { gate: false, ..Metric::new("hits", threshold("min(x)", Some(0.8), None, 60, ThresholdAction::Hold)) },
            Metric::new("invalid", ratio("bad_total{kind=\"nan\"}", "all_total", 0.01)),
            Metric::new("ratio", ratio("a_total", "b_total", 0.002)),
        ]
    );
    let stored = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
}

#[test]
fn a_latency_reads_a_histogram_of_ones_own_in_its_unit_beside_the_mesh_s() {
    let plan = plan(
        json!({"canary": {"without": ["tokens"]}}),
        json!({"metrics": [{"latency": {}}, {"name": "first", "latency": {"histogram": "vllm:time_to_first_token_seconds"}},
                           {"name": "tokens", "latency": {"histogram": "token_ms", "unit": "ms", "stretch": 0.1}}]}),
    );
    let own = |name: &str, unit, stretch| {
        let limits = StretchLimits { stretch, ..StretchLimits::default() };
        MetricKind::Latency(Latency { histogram: Some(Times { name: name.into(), unit }), limits })
    };
    let [mesh, first, tokens] = plan.analysis.metrics.as_slice() else { panic!() };
    assert_eq!(
        (&first.kind, &tokens.kind),
        (&own("vllm:time_to_first_token_seconds", TimeUnit::S, 0.05), &own("token_ms", TimeUnit::Ms, 0.1))
    );
    assert_eq!(mesh.kind.counted(), Counted::Durations);
    assert_eq!(mesh.subject(Some(250.0)), "requests above 250 ms");
    assert_eq!(first.subject(Some(0.25)), "vllm:time_to_first_token_seconds above 0.25 s");
    let stored = serde_json::to_string(&plan).unwrap();
    assert!(stored.contains(r#""kind":{"latency":{"stretch":0.05,"pass":0.1}}"#), "as it was stored before: {stored}");
    assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
}

#[test]
fn faults_of_a_histogram_of_times_name_the_field_and_the_fix() {
    let told = faults(
        json!({"canary": {}}),
        json!({"metrics": [{"latency": {"unit": "s"}}, {"name": "a", "latency": {"histogram": "a_seconds_bucket"}},
                           {"name": "b", "latency": {"histogram": "sum(b)"}}, {"latency": {"histogram": "c"}}]}),
    );
    let wanted = [
        "spec.analysis.metrics[0].latency.unit: has no histogram beside it; leave it out: the mesh counts in milliseconds",
        "spec.analysis.metrics[1].latency.histogram: is a_seconds_bucket; the name without _bucket: a_seconds",
        "spec.analysis.metrics[2].latency.histogram: \"sum(b)\" is not a name; the name of a Prometheus metric, without labels",
        "spec.analysis.metrics[3].name: \"latency\" is the name of metrics[0] too; names of metrics must differ; a metric without a name is \
         called by its kind",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_unit_that_contradicts_the_name_is_doubted() {
    let doubt = |name: &str, unit| {
        let kind = MetricKind::Latency(Latency { histogram: Some(Times { name: name.into(), unit }), ..Latency::default() });
        kind.doubt(true).map(|doubt| doubt.to_string())
    };
    let told = "latency.unit: is s, but token_ms is named as if its bounds were in ms; `unit: ms`, if they are";
    assert_eq!(doubt("token_ms", TimeUnit::S).as_deref(), Some(told));
    assert_eq!([doubt("token_ms", TimeUnit::Ms), doubt("x_seconds", TimeUnit::S), doubt("x", TimeUnit::S)], [None, None, None]);
    assert!(doubt("x_seconds", TimeUnit::Ms).is_some());
}

#[test]
fn faults_of_own_metrics_are_reported_at_once_with_what_there_is() {
    let told = faults(
        json!({"canary": {}}),
        json!({"metrics": [
            {"threshold": {"query": "x{pod=\"{{canaryPods}}\",a=\"{{cluster}}\"}", "for": "25h"}},
            {"name": "a", "threshold": {"name": "b", "query": "", "min": 2, "max": 1}},
            {"ratio": {"bad": "sum(x)", "total": "y{pod=\"a\"}", "relative": 0.5}},
            {"name": "c", "ratio": {"bad": "x", "total": "x{}"}},
        ]}),
    );
    let wanted = [
        "spec.analysis.metrics[0].threshold.query: compares with {{canaryPods}} by =, but it stands for several names; write pod=~\"{{canaryPods}}\"",
        "spec.analysis.metrics[0].threshold.query: has {{cluster}}; there are {{namespace}}, {{name}}, {{canaryPods}}, {{stablePods}}, \
         {{canarySubset}}, {{stableSubset}}, {{canaryWorkload}}, {{stableWorkload}}, {{canaryRevision}}, {{stableRevision}}",
        "spec.analysis.metrics[0].threshold: has no limit; at least one of min and max",
        "spec.analysis.metrics[0].threshold.for: is 25h; must be from 0s to 24h",
        "spec.analysis.metrics[1].threshold.query: has 0 characters; 1 to 1000 of them",
        "spec.analysis.metrics[1].threshold.min: is 2; must be less than max (1)",
        "spec.analysis.metrics[1].threshold.name: is a second name; one name is enough",
        "spec.analysis.metrics[2].ratio.relative: is 0.5; must be from 1 to 10",
        "spec.analysis.metrics[2].ratio.bad: \"sum(x)\" is not a name; the name of a Prometheus counter",
        "spec.analysis.metrics[2].ratio.total: names the label pod; leave it out: haldane asks for the pods of both versions itself",
        "spec.analysis.metrics[3].ratio.bad: is x, as total is; a part of what total counts",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn every_fault_is_reported_at_once_with_its_path_and_what_would_be_right() {
    let told = faults(
        json!({"steps": [
            {"name": "first", "weight": 20, "hold": "0s"},
            {"name": "first", "weight": 20, "hold": "10m", "deadline": "5m"},
            {"weight": 90, "without": ["drift"]},
        ]}),
        json!({"interval": "2h", "metrics": [{}, {"latency": {"stretch": 11.0}}, {"errorRate": {}, "latency": {}},
                                             {"name": "latency", "drift": {"counter": "a b", "histogram": "c"}}]}),
    );
    let wanted = [
        "spec.strategy.steps[1].weight: is 20; must be greater than 20 (the weight before it)",
        "spec.strategy.steps[2].weight: the last weight is 90; must be 100: a rollout ends with all traffic at the canary",
        "spec.strategy.steps[0].hold: is 0s; must be from 1s to 168h",
        "spec.strategy.steps[1].name: \"first\" is the name of steps[0] too; names of steps must differ",
        "spec.strategy.steps[1].deadline: is 5m; must not be shorter than the hold (10m)",
        "spec.strategy.steps[2].without[0]: \"drift\" is not a metric of the analysis; there are latency",
        "spec.analysis.interval: is 2h; must be from 1s to 1h",
        "spec.analysis.metrics[0]: has no kind; exactly one of errorRate, latency, drift, ratio and threshold, for example `errorRate: {}`",
        "spec.analysis.metrics[1].latency.stretch: is 11; must be from 0 to 10",
        "spec.analysis.metrics[2]: has several kinds; exactly one of errorRate, latency, drift, ratio and threshold; another kind is another metric",
        "spec.analysis.metrics[3].drift.counter: \"a b\" is not a name; the name of a Prometheus metric, without labels",
        "spec.analysis.metrics[3].drift: has both counter and histogram; exactly one of counter (with class) and histogram",
        "spec.analysis.metrics[3].drift: has a counter but no class; class names the label that holds the predicted class",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_duration_that_nobody_can_read_is_a_fault_of_its_field_and_of_nothing_else() {
    let told = faults(json!({"canary": {"hold": "5min", "deadline": "99999999999999999999h"}}), json!({"interval": "", "warmUp": "-1s"}));
    let wanted = [
        "spec.strategy.canary.hold: is \"5min\"; a duration is written 90s, 5m or 1h30m",
        "spec.strategy.canary.deadline: is \"99999999999999999999h\"; a duration is written 90s, 5m or 1h30m",
        "spec.analysis.interval: is \"\"; a duration is written 90s, 5m or 1h30m",
        "spec.analysis.warmUp: is -1s; must be from 0s to 1h",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn a_strategy_is_exactly_one() {
    assert_eq!(
        faults(json!({}), Value::Null),
        ["spec.strategy: is empty; exactly one of canary, shadow, abTest, blueGreen and steps, for example `canary: {}`"]
    );
    let both = faults(json!({"canary": {}, "steps": [{"weight": 100}]}), Value::Null);
    assert_eq!(both, ["spec.strategy: has both canary and steps; exactly one of canary, shadow, abTest, blueGreen and steps"]);
    assert_eq!(faults(json!({"canary": {"weights": []}}), Value::Null), ["spec.strategy.canary.weights: has 0 entries; 1 to 20 of them"]);
}

#[test]
fn numbers_that_are_none_are_refused() {
    let mut spec = spec(json!({"canary": {}}), json!({"metrics": [{"errorRate": {}}]}));
    let metric = &mut spec.analysis.as_mut().unwrap().metrics.as_mut().unwrap()[0];
    metric.error_rate.as_mut().unwrap().absolute = Some(f64::NAN);
    metric.error_rate.as_mut().unwrap().relative = Some(f64::INFINITY);
    let told = Plan::parse(&spec).unwrap_err();
    assert_eq!(
        told.0.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(),
        ["spec.analysis.metrics[0].errorRate.relative", "spec.analysis.metrics[0].errorRate.absolute"]
    );
}

#[test]
fn a_plan_survives_being_stored() {
    for strategy in [json!({"canary": {"hold": "1500ms"}}), json!({"abTest": {"match": beta()}}), json!({"blueGreen": {"preview": beta()}})]
    {
        let plan = plan(strategy, Value::Null);
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }
}

#[test]
fn the_rollback_window_is_taken_over_in_place() {
    let old = plan(json!({"canary": {}}), Value::Null);
    let mut spec = spec(json!({"canary": {}}), Value::Null);
    spec.rollback_window = Some("2h".into());
    let new = Plan::parse(&spec).unwrap();
    assert_eq!((old.rollback_window, new.rollback_window), (MINUTE * 60, MINUTE * 120));
    assert_eq!(told(&old.edit(&new, 1).now), ["rollbackWindow 1h -> 2h"]);
    assert_eq!(old.adopt(&new, 1).rollback_window, MINUTE * 120);
    spec.rollback_window = Some("169h".into());
    assert_eq!(Plan::parse(&spec).unwrap_err().to_string(), "spec.rollbackWindow: is 169h; must be from 0s to 168h");
}

fn told(changes: &[Change]) -> Vec<String> {
    changes.iter().map(Change::to_string).collect()
}

#[test]
fn another_canary_route_or_list_of_steps_starts_again() {
    let old = plan(json!({"canary": {}}), Value::Null);
    let mut new = old.clone();
    new.canary = Destination::Subset("v3".into());
    new.route = Some("primary".into());
    new.steps = plan(json!({"steps": [{"name": "few", "weight": 10}, {"weight": 100}]}), Value::Null).steps;
    new.paused = true;
    let edit = old.edit(&new, 1);
    assert_eq!(
        told(&edit.restart),
        ["traffic.route (the one that fits) -> primary", "canary.subset v2 -> v3", "strategy 5 %, 20 %, 50 %, 100 % -> few 10 %, 100 %"]
    );
    assert!(edit.now.is_empty() && edit.later.is_empty());
    assert!(!old.same_route(&new));
    assert!(old.adopt(&new, 1).paused);
}

#[test]
fn the_same_weights_written_as_steps_start_nothing() {
    let old = plan(json!({"canary": {"weights": [50, 100]}}), Value::Null);
    let new = plan(json!({"steps": [{"weight": 50}, {"weight": 100, "approval": true}]}), Value::Null);
    let edit = old.edit(&new, 0);
    assert!(edit.restart.is_empty());
    assert_eq!(told(&edit.now), ["approval of step 2 false -> true"]);
}

#[test]
fn steps_that_have_ended_keep_what_they_ended_with() {
    let old = plan(json!({"canary": {}}), Value::Null);
    let new = plan(json!({"canary": {"hold": "10m"}}), Value::Null);
    let edit = old.edit(&new, 2);
    assert_eq!(told(&edit.now), ["hold of step 3 5m -> 10m", "hold of step 4 5m -> 10m"]);
    assert_eq!(told(&edit.later), ["hold of step 1 5m -> 10m", "hold of step 2 5m -> 10m"]);
    let adopted = old.adopt(&new, 2);
    assert_eq!(adopted.steps.iter().map(|step| step.hold.as_secs()).collect::<Vec<_>>(), [300, 300, 600, 600]);
}

#[test]
fn stricter_limits_count_at_once_and_looser_ones_later() {
    let old = plan(json!({"canary": {"without": ["latency"]}}), Value::Null);
    let new = plan(
        json!({"canary": {"without": ["errorRate"]}}),
        json!({"interval": "1m", "metrics": [{"errorRate": {"relative": 1.0, "absolute": 0.01}}, {"latency": {"stretch": 0.02}},
                                             {"drift": {"histogram": "score"}}]}),
    );
    let edit = old.edit(&new, 3);
    assert!(edit.restart.is_empty());
    assert_eq!(
        told(&edit.now),
        ["without of step 4 [latency] -> []", "relative of metric errorRate 1.1 -> 1", "stretch of metric latency 0.05 -> 0.02"]
    );
    assert_eq!(
        told(&edit.later),
        [
            "without of step 1 [latency] -> [errorRate]",
            "without of step 2 [latency] -> [errorRate]",
            "without of step 3 [latency] -> [errorRate]",
            "without of step 4 [] -> [errorRate]",
            "analysis.interval 30s -> 1m",
            "analysis.metrics [errorRate, latency] -> [errorRate, latency, drift]",
            "absolute of metric errorRate 0.0005 -> 0.01"
        ]
    );
}

#[test]
fn of_own_metrics_too_the_stricter_counts_at_once_and_another_source_or_gate_later() {
    let own = |threshold: Value, bad: &str, gate: bool| {
        let mut gpu = json!({"query": "x", "max": 5, "for": "2m"});
        json_patch::merge(&mut gpu, &threshold);
        plan(
            json!({"canary": {}}),
            json!({"metrics": [{"name": "gpu", "threshold": gpu}, {"name": "bad", "gate": gate, "ratio": {"bad": bad, "total": "t"}}]}),
        )
    };
    let old = own(json!({}), "b", true);
    let new = own(json!({"min": 1, "max": 6, "for": "1m", "action": "Rollback"}), "c", false);
    let edit = old.edit(&new, 0);
    assert!(edit.restart.is_empty());
    assert_eq!(told(&edit.now), ["min of metric gpu none -> 1", "for of metric gpu 2m -> 1m", "action of metric gpu Hold -> Rollback"]);
    assert_eq!(
        told(&edit.later),
        ["max of metric gpu 5 -> 6", "source of metric bad b of t -> c of t", "gate of metric bad true -> false"]
    );
    let back = new.edit(&old, 0);
    assert_eq!(told(&back.now), ["max of metric gpu 6 -> 5"]);
    let other = own(json!({"query": "y", "max": 1}), "b", true);
    assert_eq!(old.adopt(&other, 0), old, "another query is another metric");
}

#[test]
fn another_histogram_of_times_is_another_metric() {
    let of = |latency: Value| plan(json!({"canary": {}}), json!({"metrics": [{"name": "m", "latency": latency}]}));
    let old = of(json!({"histogram": "a"}));
    let edit = old.edit(&of(json!({"histogram": "b", "stretch": 0.0})), 0);
    assert!(edit.now.is_empty());
    assert_eq!(told(&edit.later), ["source of metric m histogram a in s -> histogram b in s", "stretch of metric m 0.05 -> 0"]);
    assert_eq!(told(&old.edit(&of(json!({"histogram": "a", "stretch": 0.0})), 0).now), ["stretch of metric m 0.05 -> 0"]);
}

#[test]
fn a_metric_of_another_kind_waits_for_the_next_rollout() {
    let old = plan(json!({"canary": {}}), json!({"metrics": [{"name": "m", "drift": {"histogram": "a"}}]}));
    let new = plan(json!({"canary": {}}), json!({"metrics": [{"name": "m", "latency": {"stretch": 0.0}}]}));
    let edit = old.edit(&new, 0);
    assert!(edit.now.is_empty());
    assert_eq!(told(&edit.later).len(), 1);
    assert!(told(&edit.later)[0].starts_with("kind of metric m source histogram a"));
    let other = plan(json!({"canary": {}}), json!({"metrics": [{"name": "m", "drift": {"histogram": "b", "hold": 0.01}}]}));
    assert_eq!(old.adopt(&other, 0), old);
}
