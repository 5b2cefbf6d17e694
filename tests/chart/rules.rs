//! What the chart has for Prometheus and Grafana: alerts, each tested in virtual time, and dashboards.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{
    helm::{root, tool},
    mode,
};

fn alerts() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&fs::read_to_string(root("deploy/chart/files/rules.yaml")).unwrap()).unwrap();
    file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn names() -> BTreeSet<String> {
    alerts().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should() {
    let path = |path: &str| root(path).display().to_string();
    tool("promtool", &["check", "rules", "--lint=all", "--lint-fatal", &path("deploy/chart/files/rules.yaml")])
        .unwrap_or_else(|said| panic!("{said}"));
    let tests = path("tests/data/rules/alerts.yaml");
    tool("promtool", &["test", "rules", &tests]).unwrap_or_else(|said| panic!("{said}"));
    let written: Value = serde_yaml::from_str(&fs::read_to_string(tests).unwrap()).unwrap();
    let cases = written["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let fired: BTreeSet<String> =
        cases.filter(|case| !case["exp_alerts"].is_null()).map(|case| case["alertname"].as_str().unwrap().to_owned()).collect();
    assert_eq!(fired, names(), "an alert that no test sees firing");
}

#[test]
fn grafana_has_a_schema_for_everything_in_the_dashboards() {
    let files = fs::read_dir(root("deploy/chart/dashboards")).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let files: Vec<String> = files.collect();
    tool("dashboard-schema", &files.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_or_else(|said| panic!("{said}"));
    let broken = std::env::temp_dir().join(format!("haldane-dashboard-{}.json", std::process::id()));
    fs::write(&broken, fs::read_to_string(&files[0]).unwrap().replace("\"gridPos\"", "\"position\"")).unwrap();
    let said = tool("dashboard-schema", &[&broken.display().to_string()]).expect_err("it sees a field that is not there");
    let _ = fs::remove_file(&broken);
    assert!(said.contains("position"), "{said}");
}

#[test]
fn the_rules_arrive_in_the_cluster_as_they_are_written() {
    let rules = mode("default").only("PrometheusRule")["spec"]["groups"].clone();
    let written: Value = serde_yaml::from_str(&fs::read_to_string(root("deploy/chart/files/rules.yaml")).unwrap()).unwrap();
    assert_eq!(rules, written["groups"]);
}
