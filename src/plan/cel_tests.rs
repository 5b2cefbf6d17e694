//! The rules of the schema and CEL, and those of [`Plan::parse`], say the same.

use std::fs;

use kube::core::cel::validate_cel;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{api::Rollout, cli};

fn manifest(spec: Value) -> Value {
    json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud"}, "spec": spec})
}

fn spec(strategy: Value, analysis: Value) -> Value {
    json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": strategy, "analysis": analysis})
}

/// What the CEL of the CRD says.
fn cel(object: &Value) -> Vec<String> {
    let rollout: Rollout = serde_json::from_value(object.clone()).unwrap();
    match validate_cel(&rollout) {
        Ok(()) => Vec::new(),
        Err(errors) => vec![errors.to_string()],
    }
}

/// What lint says: the shape of the schema, then `Plan::parse`.
fn lint(object: &Value) -> Vec<String> {
    let reports = cli::check("test", &object.to_string(), &cli::Known::default());
    reports.iter().flat_map(|report| &report.faults).map(Fault::to_string).collect()
}

#[test]
fn every_manifest_that_must_be_refused_is_refused() {
    let mut count = 0;
    for entry in fs::read_dir("tests/data/refused").unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let faults: Vec<_> = cli::check("test", &text, &cli::Known::default()).into_iter().flat_map(|report| report.faults).collect();
        assert!(!faults.is_empty(), "{} is accepted", path.display());
        assert!(faults.iter().all(|fault| !fault.path.is_empty() && !fault.message.is_empty()), "{}", path.display());
        count += 1;
    }
    assert!(count >= 67);
}

#[test]
fn the_shortest_manifest_has_no_fault() {
    let object = manifest(json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}}));
    assert_eq!(cel(&object), [""; 0]);
    assert_eq!(lint(&object), [""; 0]);
}

fn weight() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1..=100_i64, 1 => Just(100_i64)]
}

/// Mostly right, often enough not.
fn weights() -> impl Strategy<Value = Vec<i64>> {
    (proptest::collection::vec(weight(), 1..6), any::<u8>()).prop_map(|(mut weights, coin)| {
        if coin > 30 {
            weights.sort_unstable();
        }
        if coin > 60 {
            weights.dedup();
        }
        if coin > 90 {
            weights.retain(|weight| *weight < 100);
            weights.push(100);
        }
        weights
    })
}

fn optional(fields: Vec<(&'static str, Value)>) -> impl Strategy<Value = Value> {
    let count = fields.len();
    proptest::collection::vec(any::<bool>(), count).prop_map(move |there| {
        fields.iter().zip(there).filter(|(_, there)| *there).map(|((name, value), _)| ((*name).to_owned(), value.clone())).collect()
    })
}

fn duration() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec!["0s", "1s", "90s", "5m", "1h", "1h30m", "167h59m", "168h", "169h", "720h", "721h", "-5m"])
        .prop_map(Value::from)
}

fn merged(parts: Vec<Value>) -> Value {
    parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
}

fn times() -> impl Strategy<Value = Value> {
    (duration(), duration(), any::<[bool; 4]>()).prop_map(|(hold, deadline, coins)| {
        let mut fields = json!({});
        if coins[0] && coins[1] {
            fields["hold"] = hold;
        }
        if coins[2] && coins[3] {
            fields["deadline"] = deadline;
        }
        fields
    })
}

fn without() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!({})),
        1 => proptest::collection::vec(proptest::sample::select(vec!["errorRate", "latency", "drift", "scores", "ratio", "threshold"]), 0..3).prop_map(|names| json!({"without": names})),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!({"exact": "beta"})),
        2 => Just(json!({"prefix": "b"})),
        2 => Just(json!({"regex": "^(.*;)?group=beta(;.*)?$"})),
        1 => Just(json!({})),
        1 => Just(json!({"exact": "a", "prefix": "a"})),
    ]
}

fn matches() -> impl Strategy<Value = Value> {
    let one = prop_oneof![
        6 => text().prop_map(|text| json!({"headers": {"x-user-group": text}})),
        2 => text().prop_map(|text| json!({"queryParams": {"group": text}, "uri": {"prefix": "/v1"}})),
        1 => Just(json!({})),
    ];
    proptest::collection::vec(one, 1..3).prop_map(Value::from)
}

/// `mirror` with or without the word that it may be.
fn mirrored() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!({})),
        2 => Just(json!({"mirror": 100, "acknowledgeSideEffects": true})),
        1 => Just(json!({"mirror": 0})),
        1 => Just(json!({"mirror": 10})),
    ]
}

/// `match` or `preview`, and `with`.
fn picked(field: &'static str) -> impl Strategy<Value = Value> {
    let with =
        prop_oneof![3 => Just(json!({})), 1 => proptest::sample::select(vec!["drift", "latency"]).prop_map(|name| json!({"with": [name]}))];
    let picked = prop_oneof![2 => matches().prop_map(move |matches| json!({field: matches})), 1 => Just(json!({}))];
    (picked, with).prop_map(|(picked, with)| merged(vec![picked, with]))
}

fn other_strategy() -> impl Strategy<Value = Value> {
    let shadow = (times(), without(), optional(vec![("percent", json!(50)), ("acknowledgeSideEffects", json!(true))]));
    let ab_test = (times(), without(), matches(), picked("none"), optional(vec![("then", json!("Revert"))]));
    let blue_green = (times(), without(), mirrored(), picked("preview"), (any::<[bool; 2]>(), duration()));
    prop_oneof![
        shadow.prop_map(|(a, b, c)| json!({"shadow": merged(vec![a, b, c])})),
        ab_test.prop_map(|(a, b, matches, with, then)| {
            let with = with.get("with").map_or(json!({}), |with| json!({"with": with}));
            json!({"abTest": merged(vec![a, b, json!({"match": matches}), with, then])})
        }),
        blue_green.prop_map(|(a, b, c, d, (coins, bake))| {
            let bake = if coins[0] && coins[1] { json!({"bake": bake}) } else { json!({}) };
            json!({"blueGreen": merged(vec![a, b, c, d, bake])})
        }),
    ]
}

fn strategy() -> impl Strategy<Value = Value> {
    let canary = (weights(), times(), without(), any::<bool>())
        .prop_map(|(weights, times, without, given)| {
            let weights = if given { json!({"weights": weights}) } else { json!({}) };
            json!({"canary": merged(vec![weights, times, without])})
        })
        .boxed();
    let rest = optional(vec![("name", json!("a")), ("approval", json!(true))]);
    let step = (times(), without(), rest, any::<bool>(), mirrored(), picked("match"));
    let steps = (weights(), proptest::collection::vec(step, 6), 0..5_usize)
        .prop_map(|(weights, steps, unweighted)| {
            let steps = weights.into_iter().zip(steps).enumerate().map(|(i, (weight, (times, without, rest, named, mirror, picked)))| {
                // Those at the begin have traffic of another kind, those at the end a weight, mostly.
                let weight_too = if i < unweighted { json!({}) } else { json!({"weight": weight}) };
                let other = if i < unweighted || weight % 7 == 0 { merged(vec![mirror, picked]) } else { json!({}) };
                let mut step = merged(vec![weight_too, other, times, without, rest]);
                if named && step.get("name").is_some() {
                    step["name"] = json!(format!("step-{weight}"));
                }
                step
            });
            json!({"steps": steps.collect::<Vec<_>>()})
        })
        .boxed();
    let both = (canary.clone(), steps.clone()).prop_map(|(a, b)| merged(vec![a, b]));
    prop_oneof![4 => canary, 6 => steps, 6 => other_strategy().boxed(), 1 => Just(json!({})), 1 => both.boxed()]
}

fn metric() -> impl Strategy<Value = Value> {
    let drift = prop_oneof![
        3 => Just(json!({"counter": "predictions_total", "class": "class"})),
        3 => Just(json!({"histogram": "score"})),
        2 => optional(vec![("counter", json!("a")), ("class", json!("b")), ("histogram", json!("c"))]),
    ];
    let histogram = prop_oneof![3 => Just("vllm:first_seconds"), 1 => Just("first_seconds_bucket")];
    let times = (proptest::option::weighted(0.7, histogram), proptest::option::of(Just("ms"))).prop_map(|(histogram, unit)| {
        let field = |name: &str, value: Option<&str>| value.map_or(json!({}), |value| json!({name: value}));
        merged(vec![field("histogram", histogram), field("unit", unit)])
    });
    let name = prop_oneof![3 => Just(json!({})), 1 => Just(json!({"name": "scores"})), 1 => Just(json!({"name": "latency"}))];
    let kind = prop_oneof![
        4 => Just(json!({"errorRate": {}})),
        4 => Just(json!({"latency": {"pass": 0.2}})),
        3 => times.prop_map(|times| json!({"latency": times})),
        6 => drift.prop_map(|drift| json!({"drift": drift})),
        3 => Just(json!({"ratio": {"bad": "a_total", "total": "b_total"}})),
        4 => threshold().prop_map(|threshold| json!({"threshold": threshold})),
        1 => Just(json!({})),
        1 => Just(json!({"errorRate": {}, "latency": {}})),
        1 => Just(json!({"ratio": {"bad": "a", "total": "b"}, "threshold": {"query": "x", "max": 1}})),
        1 => prop_oneof![Just(0.0), Just(0.0001), Just(0.001)].prop_map(|pass| json!({"errorRate": {"pass": pass}})),
    ];
    (name, kind).prop_map(|(name, kind)| merged(vec![name, kind]))
}

fn threshold() -> impl Strategy<Value = Value> {
    let queries =
        ["x", "max(x{pod=~\"{{canaryPods}}\"})", "x{a=\"{{ namespace }}\"}", "x{a=\"{{cluster}}\"}", "x{a=\"{{namespace\"}", "x{{{name}}}"];
    let query = proptest::sample::select(queries.to_vec()).prop_map(|query| json!({"query": query}));
    let limits = (proptest::option::of(-2..3), proptest::option::weighted(0.8, -2..3)).prop_map(|(min, max)| {
        let limit = |name: &str, value: Option<i32>| value.map_or(json!({}), |value| json!({name: value}));
        merged(vec![limit("min", min), limit("max", max)])
    });
    let name = prop_oneof![2 => Just(json!({})), 1 => Just(json!({"name": "scores"})), 1 => Just(json!({"name": "errorRate"}))];
    let lasting = prop_oneof![4 => Just(json!({})), 1 => Just(json!({"for": "0s"})), 1 => Just(json!({"for": "25h"}))];
    (query, limits, name, lasting).prop_map(|(a, b, c, d)| merged(vec![a, b, c, d]))
}

fn analysis() -> impl Strategy<Value = Value> {
    let metrics = proptest::collection::vec(metric(), 0..4).prop_map(|metrics| json!({"metrics": metrics}));
    let interval = prop_oneof![4 => Just(json!({})), 1 => duration().prop_map(|interval| json!({"interval": interval}))];
    let warm_up = prop_oneof![4 => Just(json!({})), 1 => duration().prop_map(|warm_up| json!({"warmUp": warm_up}))];
    (prop_oneof![Just(json!({})), metrics.boxed()], interval, warm_up).prop_map(|(a, b, c)| merged(vec![a, b, c]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_cel_accepts_is_a_plan_and_what_it_refuses_is_not(strategy in strategy(), analysis in analysis()) {
        let object = manifest(spec(strategy, analysis));
        let (cel, lint) = (cel(&object), lint(&object));
        prop_assert_eq!(cel.is_empty(), lint.is_empty(), "CEL: {:?}\nparse: {:?}\n{}", cel, lint, object);
    }
}
