//! The CRD and the examples that users apply.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use haldane::{
    api::{Destination, Rollout, RouteKind},
    cli,
    plan::Plan,
    rehearse::{Ending, Hands, Played, Scenario, Setup, World, can_draw, play},
    route::{Sought, find},
};
use serde_json::Value;

fn examples() -> Vec<(PathBuf, String)> {
    let paths = fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::from_multiple(text).unwrap()
}

#[test]
fn the_crd_in_the_repository_is_the_one_that_haldane_prints() {
    let written = fs::read_to_string("crds/rollout.yaml").unwrap();
    assert_eq!(written, cli::crd_text().unwrap(), "write it again: cargo run -- crd > crds/rollout.yaml");
    // A copy: a chart is made of the files in its own folder, and Flux takes no links.
    let charted = fs::read_to_string("deploy/chart/files/rollout.yaml").unwrap();
    assert!(charted == written, "copy it again: cp crds/rollout.yaml deploy/chart/files/");
}

#[test]
fn the_crd_has_no_format_that_the_api_server_warns_of() {
    fn formats(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(format)) = fields.get("format") {
                    found.insert(format.clone());
                }
                fields.values().for_each(|value| formats(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| formats(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    documents(&cli::crd_text().unwrap()).iter().for_each(|document| formats(document, &mut found));
    let known = ["date-time", "double", "int32", "int64"].map(str::to_owned);
    assert!(found.iter().all(|format| known.contains(format)), "{found:?}");
}

/// While the CRD is newer than the controller, as in the middle of an upgrade, what that controller stores must still be taken.
#[test]
fn the_schema_takes_a_status_of_the_version_before() {
    let crd = documents(&cli::crd_text().unwrap()).remove(0);
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    for version in ["stable", "canary"] {
        assert_eq!(status[version]["required"], serde_json::json!(["host", "revision"]), "{version}");
    }
    let required = status["refused"]["items"]["required"].as_array().unwrap();
    assert!(!required.iter().any(|field| field == "service"), "{required:?}");
}

#[test]
fn every_example_is_a_plan_without_a_fault_or_a_warning() {
    let mut rollouts = 0;
    for (path, text) in examples() {
        for report in cli::check(&path.display().to_string(), &text, &cli::Known::default()) {
            assert_eq!((report.faults, report.warnings), (Vec::new(), Vec::new()), "{}", path.display());
        }
        for document in documents(&text).into_iter().filter(|document| document["kind"] == "Rollout") {
            let rollout: Rollout = serde_json::from_value(document).unwrap();
            let plan = Plan::parse(&rollout.spec).unwrap();
            assert!(!plan.steps.is_empty());
            rollouts += 1;
        }
    }
    assert!(rollouts >= 4);
}

#[test]
fn the_route_of_the_examples_is_the_one_that_they_bring() {
    let all: Vec<Value> = examples().iter().flat_map(|(_, text)| documents(text)).collect();
    let named = |kind: &str, name: &str| all.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    let mut checked = BTreeMap::new();
    for document in all.iter().filter(|document| document["kind"] == "Rollout") {
        let rollout: Rollout = serde_json::from_value(document.clone()).unwrap();
        let (object, canary) = (rollout.spec.traffic.object(), rollout.spec.canary.destination());
        let Some(route) = named(object.kind().kind(), object.name()) else { continue };
        let view = find(route, Sought { kind: object.kind(), route: rollout.spec.traffic.route.as_deref(), canary: &canary }).unwrap();
        assert!(view.sole().is_some_and(|stable| stable != canary.name()), "{object}: {}", view.words());
        match &canary {
            Destination::Subset(subset) => {
                let subsets = named("DestinationRule", &view.host).unwrap()["spec"]["subsets"].as_array().unwrap();
                assert!(subsets.iter().any(|there| there["name"] == *subset), "{object}");
            }
            Destination::Service(service) => assert!(named("Service", service).is_some(), "{object}"),
        }
        *checked.entry((object.kind(), canary.field())).or_insert(0) += 1;
    }
    assert!(checked.len() == 4 && checked[&(RouteKind::VirtualService, "subset")] >= 3, "{checked:?}");
}

/// One rehearsal of an example at 500 requests a second, what a scenario cannot draw left out.
fn rehearsed(example: &str, scenario: &str) -> Played {
    let text = fs::read_to_string(format!("examples/{example}.yaml")).unwrap();
    let rollout: Rollout = serde_yaml::from_str(&text).unwrap();
    let mut plan = Plan::parse(&rollout.spec).unwrap();
    plan.analysis.metrics.retain(|metric| can_draw(&metric.kind));
    let scenario = Scenario { history: 3600.0, ..Scenario::read(scenario, Some("500"), &[], &[]).unwrap() };
    let interval = plan.analysis.interval.as_secs_f64();
    let setup = Setup { plan, interval, stable_pods: 10, canary_pods: scenario.canary_pods(0), hands: Hands::Approve };
    let mut world = World::new(&scenario, &setup.plan.analysis.metrics, 500.0, interval, 11);
    let history = world.history();
    play(&setup, &history, &mut |start, end, step, split| Some(world.window(start, end, split, scenario.canary_pods(step))), false)
}

#[test]
fn the_example_of_every_strategy_promotes_a_healthy_canary_and_takes_back_one_that_errs() {
    for example in ["minimal", "shadow", "ab-test", "blue-green", "composed", "steps"] {
        let healthy = rehearsed(example, "");
        assert_eq!(healthy.ending, Ending::Promoted, "{example}: {healthy:?}");
        let errs = rehearsed(example, "canary: {errors: 0.05}");
        assert_eq!((errs.ending, errs.by.as_deref()), (Ending::RolledBack, Some("errorRate")), "{example}: {errs:?}");
        assert!(errs.minutes <= 6.0, "{example}: {errs:?}");
    }
}
