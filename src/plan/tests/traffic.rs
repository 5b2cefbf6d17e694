//! Copies, cohorts and switches, as manifests ask for them.

use super::*;

pub(super) fn beta() -> Value {
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
    assert_eq!(
        faults(json!({"abTest": {"match": [{"uri": {"prefix": "beta"}}]}}), Value::Null),
        ["spec.strategy.abTest.match[0].uri.prefix: is \"beta\", which is not a path; begin with '/'"]
    );
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

/// What is said about a match of one step for a kind of route.
fn told_of(traffic: Value, one: Value) -> Vec<String> {
    let (canary, strategy) = (json!({"service": "fraud-v2"}), json!({"abTest": {"match": [one]}}));
    let spec = serde_json::from_value(json!({"traffic": traffic, "canary": canary, "strategy": strategy})).unwrap();
    Plan::parse(&spec).err().into_iter().flat_map(|faults| faults.0).map(|fault| fault.to_string()).collect()
}

#[test]
fn a_grpc_route_can_ask_for_headers_alone() {
    let grpc = || json!({"grpcRoute": "fraud"});
    let fix = "ask for headers: the metadata of a call are headers";
    assert_eq!(
        told_of(grpc(), json!({"uri": {"prefix": "/fraud.Fraud/"}, "queryParams": {"v": {"exact": "2"}}})),
        ["queryParams", "uri"].map(|field| format!("spec.strategy.abTest.match[0].{field}: cannot be asked for by a GRPCRoute; {fix}"))
    );
    assert!(told_of(grpc(), json!({"headers": {"x-group": {"exact": "beta"}}})).is_empty());
}

#[test]
fn the_name_of_a_query_parameter_is_one_that_the_api_server_takes() {
    let v0 = || json!({"queryParams": {"v[0]": {"exact": "2"}}});
    let wanted = "spec.strategy.abTest.match[0].queryParams: \"v[0]\" is not the name of a query parameter; \
                  an HTTPRoute takes letters, digits and !#$%&'*+-.^_|~";
    assert_eq!(told_of(json!({"httpRoute": "fraud"}), v0()), [wanted]);
    assert!(told_of(json!({"virtualService": "fraud"}), v0()).is_empty());
}

#[test]
fn the_name_of_a_route_is_not_ours_and_leaves_room_for_ours() {
    let beta = || json!({"headers": {"x-group": {"exact": "beta"}}});
    for route in ["haldane.dev.primary", "haldane.dev/primary"] {
        let told = told_of(json!({"httpRoute": "fraud", "route": route}), beta());
        assert!(told.len() == 1 && told[0].starts_with("spec.traffic.route: begins with haldane.dev,"), "{told:?}");
    }
    assert!(told_of(json!({"httpRoute": "fraud", "route": "haldane.development"}), beta()).is_empty());
    let long = |kind: &str, length: usize| told_of(json!({kind: "fraud", "route": "r".repeat(length)}), beta());
    assert!(long("httpRoute", 241).is_empty() && long("virtualService", 253).is_empty());
    assert!(long("httpRoute", 242)[0].starts_with("spec.traffic.route: has 242 characters; at most 241"), "{:?}", long("httpRoute", 242));
    assert_eq!(long("httpRoute", 254).len(), 1);
}
