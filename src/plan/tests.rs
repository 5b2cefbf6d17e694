use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::api::{OnInconclusive, RolloutSpec, ThresholdAction};

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
            Metric::new("errorRate", MetricKind::ErrorRate { relative: 1.1, absolute: 0.0005, pass: 0.002 }),
            Metric::new("latency", MetricKind::Latency { stretch: 0.05, pass: 0.10 }),
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
    assert_eq!(plan.analysis.metrics[0].kind, MetricKind::Drift { source: counter, hold: 0.05, rollback: 0.15, pass: 0.10 });
    let histogram = DriftSource::Histogram { metric: "score".into() };
    assert_eq!(plan.analysis.metrics[1].kind, MetricKind::Drift { source: histogram, hold: 0.05, rollback: 0.2, pass: 0.10 });
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
    let threshold = |query: &str, min, max, seconds, action| MetricKind::Threshold {
        query: query.into(),
        min,
        max,
        lasting: Duration::from_secs(seconds),
        action,
    };
    let ratio = |bad, total, pass| MetricKind::Ratio { bad: counter(bad), total: counter(total), relative: 1.1, absolute: 0.0005, pass };
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
fn faults_of_own_metrics_are_told_at_once_with_what_there_is() {
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
fn every_fault_is_told_at_once_with_its_path_and_what_would_be_right() {
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

fn beta() -> Value {
    json!([{"headers": {"x-user-group": {"exact": "beta"}}}])
}

/// Name, weight, mirror, number of matches, whether a person is asked.
fn shape(plan: &Plan) -> Vec<(&str, u8, u8, usize, bool)> {
    let row = |step: &Step| (step.split.weight, step.split.mirror, step.split.matches.len(), step.approval);
    let named = plan.steps.iter().map(|step| (step.name.as_str(), row(step)));
    named.map(|(name, (weight, mirror, matches, approval))| (name, weight, mirror, matches, approval)).collect()
}

#[test]
fn a_shadow_is_one_step_that_mirrors_and_moves_no_user() {
    let plan = plan(json!({"shadow": {"acknowledgeSideEffects": true, "hold": "15m"}}), Value::Null);
    assert_eq!(shape(&plan), [("shadow", 0, 100, 0, false)]);
    assert_eq!(plan.steps[0].hold, MINUTE * 15);
    assert!(!plan.promotes() && !plan.steps[0].share().reaches_users());
}

#[test]
fn an_ab_test_is_a_cohort_and_then_what_follows_a_pass() {
    let of = |then: Value| {
        let mut strategy = json!({"abTest": {"match": beta(), "hold": "1h", "onInconclusive": "Rollback"}});
        if !then.is_null() {
            strategy["abTest"]["then"] = then;
        }
        plan(strategy, Value::Null)
    };
    assert_eq!(shape(&of(Value::Null)), [("cohort", 0, 0, 1, false), ("everybody", 100, 0, 0, true)], "Hold asks a person");
    assert_eq!(shape(&of(json!("Promote"))), [("cohort", 0, 0, 1, false), ("everybody", 100, 0, 0, false)]);
    let reverted = of(json!("Revert"));
    assert_eq!(shape(&reverted), [("cohort", 0, 0, 1, false)]);
    assert!(!reverted.promotes());
    assert_eq!((reverted.steps[0].hold, reverted.steps[0].on_inconclusive), (MINUTE * 60, OnInconclusive::Rollback));
}

#[test]
fn blue_green_previews_if_asked_and_switches_from_0_to_100() {
    let bare = plan(json!({"blueGreen": {"bake": "15m"}}), Value::Null);
    assert_eq!(shape(&bare), [("switch", 100, 0, 0, false)]);
    assert_eq!(bare.steps[0].hold, MINUTE * 15);
    let strategy = json!({"blueGreen": {"preview": beta(), "mirror": 20, "acknowledgeSideEffects": true, "hold": "10m", "bake": "3h", "without": ["latency"]}});
    let whole = plan(strategy, Value::Null);
    assert_eq!(shape(&whole), [("preview", 0, 20, 1, false), ("switch", 100, 0, 0, false)]);
    assert_eq!((whole.steps[0].hold, whole.steps[0].deadline), (MINUTE * 10, MINUTE * 60));
    assert_eq!((whole.steps[1].hold, whole.steps[1].deadline), (MINUTE * 180, MINUTE * 360));
    assert!(whole.steps.iter().all(|step| step.without == ["latency"]) && whole.promotes());
}

#[test]
fn a_composed_plan_goes_from_copies_to_a_cohort_to_weights() {
    let plan = plan(
        json!({"steps": [
            {"name": "shadow", "mirror": 100, "acknowledgeSideEffects": true, "hold": "15m"},
            {"name": "beta", "match": beta(), "hold": "30m"},
            {"weight": 5, "mirror": 10, "acknowledgeSideEffects": true, "match": beta()},
            {"weight": 50, "approval": true},
            {"weight": 100},
        ]}),
        Value::Null,
    );
    assert_eq!(
        shape(&plan),
        [("shadow", 0, 100, 0, false), ("beta", 0, 0, 1, false), ("3", 5, 10, 1, false), ("4", 50, 0, 0, true), ("5", 100, 0, 0, false)]
    );
}

#[test]
fn drift_does_not_gate_where_users_are_picked_by_a_match_unless_the_spec_says_so() {
    let metrics =
        json!({"metrics": [{"errorRate": {}}, {"drift": {"histogram": "score"}}, {"name": "mix", "drift": {"histogram": "mix"}}]});
    let ab = |extra: Value| {
        let mut strategy = json!({"abTest": {"match": beta()}});
        json_patch::merge(&mut strategy["abTest"], &extra);
        plan(strategy, metrics.clone())
    };
    assert_eq!(ab(json!({})).steps[0].without, ["drift", "mix"]);
    assert!(ab(json!({})).steps[1].without.is_empty(), "at 100 % nobody is picked");
    assert_eq!(ab(json!({"with": ["mix"]})).steps[0].without, ["drift"]);
    let told = |strategy: Value| faults(strategy, metrics.clone());
    assert_eq!(
        told(json!({"abTest": {"match": beta(), "with": ["errorRate", "mix"], "without": ["mix"]}})),
        [
            "spec.strategy.abTest.with[0]: \"errorRate\" is not a drift metric of the analysis, others gate anyway; there are drift, mix",
            "spec.strategy.abTest.with[1]: \"mix\" is in without too; in one of the two",
        ]
    );
    assert_eq!(
        told(json!({"steps": [{"weight": 100, "with": ["mix"]}]})),
        ["spec.strategy.steps[0].with: has no match beside it; without a match every metric gates: leave it out"]
    );
}

#[test]
fn whoever_mirrors_says_that_the_model_may_see_a_request_twice() {
    let why = "a mirrored request is a real one for the model, what it writes, bills or sends happens a second time: say true if it may";
    for (strategy, path, percent) in [
        (json!({"shadow": {}}), "spec.strategy.shadow", 100),
        (json!({"blueGreen": {"mirror": 5}}), "spec.strategy.blueGreen", 5),
        (json!({"steps": [{"mirror": 30}, {"weight": 100}]}), "spec.strategy.steps[0]", 30),
    ] {
        let told = faults(strategy, Value::Null);
        assert_eq!(told, [format!("{path}.acknowledgeSideEffects: is not true, but {percent} % of the requests are mirrored; {why}")]);
    }
    assert!(Plan::parse(&spec(json!({"steps": [{"weight": 50, "mirror": 0}, {"weight": 100}]}), Value::Null)).is_ok());
}

#[test]
fn faults_of_traffic_say_where_and_what_would_be_right() {
    let told = faults(
        json!({"steps": [
            {"weight": 5},
            {"mirror": 101, "acknowledgeSideEffects": true},
            {},
            {"match": [{}, {"headers": {"X-Group": {"exact": "a"}, "uri": {"exact": "b", "prefix": "c"}}, "uri": {"regex": "("}}], "weight": 100},
        ]}),
        Value::Null,
    );
    let wanted = [
        "spec.strategy.steps[1].weight: is missing, which would take users back from 5 %; give it one above 5, or put the step before the first weight",
        "spec.strategy.steps[2].weight: is missing, which would take users back from 5 %; give it one above 5, or put the step before the first weight",
        "spec.strategy.steps[1].mirror: is 101; must be from 0 to 100 (percent)",
        "spec.strategy.steps[2]: has no traffic; at least one of weight, match and mirror",
        "spec.strategy.steps[3].match[0]: is empty, so that every request would fit; headers, queryParams or uri",
        "spec.strategy.steps[3].match[1].headers: \"X-Group\" is not the name of a header; lower case letters, digits and '-', as proxies see it",
        "spec.strategy.steps[3].match[1].headers: Istio ignores a header called \"uri\"",
        "spec.strategy.steps[3].match[1].headers.uri: has exact and prefix; exactly one of exact, prefix and regex",
        "spec.strategy.steps[3].match[1].uri.regex: is not a regular expression; unclosed group",
        "spec.strategy.steps[3]: has match or mirror beside weight 100; at weight 100 every request goes to the canary: leave match and mirror out",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn what_has_nothing_to_do_is_a_fault() {
    assert_eq!(
        faults(json!({"blueGreen": {"hold": "1h", "deadline": "1m", "with": ["drift"]}}), Value::Null),
        [
            "spec.strategy.blueGreen.hold: has nothing to hold; hold is for what comes before the switch: it needs preview or mirror; bake is for what comes after it",
            "spec.strategy.blueGreen.deadline: is 1m; must not be shorter than the bake (5m)",
            "spec.strategy.blueGreen.with: has no preview beside it; without a match every metric gates: leave it out",
            "spec.strategy.blueGreen.with[0]: \"drift\" is not a drift metric of the analysis, others gate anyway; there is none",
        ]
    );
    assert_eq!(faults(json!({"abTest": {"match": []}}), Value::Null), ["spec.strategy.abTest.match: is empty; 1 to 10 of them"]);
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
fn another_mirror_or_match_starts_again_and_what_follows_a_pass_does_not() {
    let composed = |mirror: i32, group: &str| {
        let matches = json!([{"headers": {"x-user-group": {"exact": group}}}]);
        let shadow = json!({"name": "shadow", "mirror": mirror, "acknowledgeSideEffects": true});
        plan(json!({"steps": [shadow, {"name": "beta", "match": matches}, {"weight": 100}]}), Value::Null)
    };
    let old = composed(100, "beta");
    assert!(old.edit(&composed(100, "beta"), 0).restart.is_empty());
    let told = |new: &Plan| told(&old.edit(new, 0).restart);
    assert_eq!(
        told(&composed(50, "gold")),
        [
            "strategy shadow mirror of 100 %, beta match x-user-group=beta, 100 % -> shadow mirror of 50 %, beta match x-user-group=gold, 100 %"
        ]
    );
    let ab = |then: &str| plan(json!({"abTest": {"match": beta(), "then": then}}), Value::Null);
    let edit = ab("Hold").edit(&ab("Promote"), 0);
    assert!(edit.restart.is_empty());
    assert_eq!(edit.now.iter().map(Change::to_string).collect::<Vec<_>>(), ["approval of step everybody true -> false"]);
    assert!(!ab("Hold").edit(&ab("Revert"), 0).restart.is_empty());
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
    new.subset = "v3".into();
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
