use super::*;

/// The file of the documentation, every field in it.
const WHOLE: &str = "
rps: [10, 100]
window: 30s
history: 12h
stable: {pods: 10, errors: 0.001, latency: {p50: 100ms, p99: 400ms}, classes: [0.50, 0.25, 0.15, 0.07, 0.03]}
canary: {pods: [1, 2, 5], errors: 0.01, latency: {p50: 100ms, p99: 400ms}, classes: [0.50, 0.25, 0.15, 0.07, 0.03], from: 20m}
noise: {errorBurst: 3, latencySd: 0.03, classConcentration: 500, podErrorSd: 0.2, podLatencySd: 0.03, errorAr: {sd: 0.3, time: 5m}}
common:
- {from: 8m, to: 12m, errors: 0.10, latency: 1.5, skew: 0s}
- {from: 0m, to: 60m, errors: 0.009, ramp: true}
";

fn read(text: &str) -> Result<Scenario, Faults> {
    Scenario::read(text, None, &[], &[])
}

fn faults(text: &str) -> Vec<String> {
    read(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_whole_file_is_read() {
    let found = read(WHOLE).unwrap();
    assert_eq!((found.rps, found.window, found.history, found.from), (vec![10.0, 100.0], Some(30.0), 43_200.0, 1200.0));
    assert_eq!((found.stable_pods, found.canary_pods), (10, vec![1, 2, 5]));
    assert_eq!((found.canary.errors, found.canary.p99, found.stable.errors), (0.01, 400.0, 0.001));
    assert_eq!(found.noise.error_ar, Some(Ar { sd: 0.3, time: 300.0 }));
    assert_eq!((found.noise.error_burst, found.noise.class_concentration), (3.0, Some(500.0)));
    assert_eq!(found.common.len(), 2);
    assert_eq!((found.common[0].from, found.common[0].latency, found.common[1].ramp), (480.0, 1.5, true));
}

#[test]
fn an_empty_file_is_a_healthy_canary_without_noise() {
    let found = read("").unwrap();
    assert_eq!(found, Scenario::default());
    assert!(found.healthy());
}

#[test]
fn the_canary_is_as_stable_where_nothing_else_is_said() {
    let found = read("{stable: {errors: 0.02, classes: [0.9, 0.1]}, canary: {latency: {p99: 520ms}}}").unwrap();
    assert_eq!((found.canary.errors, found.canary.p50, found.canary.p99), (0.02, 100.0, 520.0));
    assert_eq!(found.canary.classes, [0.9, 0.1]);
    assert!(!found.healthy());
}

#[test]
fn flags_stand_in_for_fields_of_the_file() {
    let canary = ["errors=0.02,p99=520ms".to_owned(), "classes=0.45/0.30/0.15/0.07/0.03,pods=1/3,from=5m".to_owned()];
    let found = Scenario::read(WHOLE, Some("1000"), &["pods=4".to_owned()], &canary).unwrap();
    assert_eq!((found.rps, found.stable_pods, found.canary.errors), (vec![1000.0], 4, 0.02));
    assert_eq!((found.canary.p50, found.canary.p99, found.from, found.canary_pods), (100.0, 520.0, 300.0, vec![1, 3]));
    assert_eq!(found.canary.classes[1], 0.30);
}

#[test]
fn every_fault_is_reported_with_its_field_and_the_fix() {
    let found = faults(
        "
rps: [0, fast]
window: 30
history: 2d
stable: {pods: 0, errors: 2, latency: {p50: 400ms, p99: 100ms}, classes: [0.5, 0.6]}
canary: {pod: 3, classes: [0.5, 0.3, 0.2], from: -5m}
load: {coldCache: -1, queueing: 2, swing: fast, batch: 3}
coldStart: {latency: 0.5}
noise: {errorBurst: 0.5, bursts: 3, errorAr: {sd: 0.3}}
common:
- {from: 12m, to: 8m, errors: 0.1}
- {from: 1m, latency: quick}
- {from: 1m, to: 2m, ramp: maybe}
traffic: 100
",
    );
    let told = [
        "traffic: is not a field; there are rps, window, history, stable, canary, load, coldStart, noise, common",
        "rps[0]: is 0; must be from 0.001 to 1000000",
        "rps[1]: is \"fast\"; must be a number",
        "window: is 30; a duration is written 400ms, 30s or 12h",
        "history: is \"2d\"; a duration is written 400ms, 30s or 12h",
        "stable.errors: is 2; must be from 0 to 1",
        "stable.latency.p99: is 100 ms, below the median of 400 ms; give both, p99 not below p50",
        "stable.classes: sum up to 1.1000; must sum up to 1",
        "canary.pod: is not a field; there are pods, errors, latency, classes, from",
        "canary.classes: has 3 classes, stable has 2; as many for both; a class that one of them never predicts is 0",
        "stable.pods: is 0; must be from 1 to 100",
        "canary.from: is -5m; must be from 0s to 720h",
        "load.batch: is not a field; there are coldCache, queueing, swing",
        "load.coldCache: is -1; must be from 0 to 10",
        "load.queueing: is 2; must be from 0 to 0.9",
        "load.swing: is \"fast\"; must be a number",
        "coldStart.fades: is missing; the time in which two thirds of that are gone, for example 2m",
        "coldStart.latency: is 0.5; must be from 1 to 100",
        "noise.bursts: is not a field; there are errorBurst, latencySd, classConcentration, podErrorSd, podLatencySd, errorAr",
        "noise.errorBurst: is 0.5; must be from 1 to 1000",
        "noise.errorAr.time: is missing; the correlation time, for example 5m",
        "common[0].to: is not after from; an incident ends after it began",
        "common[1].to: is missing; when it ends, for example 12m",
        "common[1].latency: is \"quick\"; must be a number",
        "common[2].ramp: is \"maybe\"; must be true or false",
        "common[2]: changes nothing; give errors, latency or classes",
    ];
    assert_eq!(found, told);
}

#[test]
fn a_flag_that_is_not_understood_is_named() {
    let faults = Scenario::read("", Some("fast"), &[], &["error=1,p99=slow".to_owned(), "classes=a/b/c/d/e".to_owned()]).unwrap_err();
    let found: Vec<String> = faults.0.iter().map(|fault| fault.path.clone()).collect();
    assert_eq!(found[..4], ["rps[0]", "canary.error", "canary.latency.p99", "canary.classes[0]"]);
}

#[test]
fn what_is_no_yaml_or_no_mapping_is_reported() {
    assert!(faults("{rps: 100").concat().contains("cannot be read as YAML"));
    assert_eq!(
        faults("- 1"),
        ["(scenario): is a list; must be a mapping with rps, window, history, stable, canary, load, coldStart, noise, common"]
    );
    assert!(faults("{rps: [], stable: 3}").concat().contains("stable: is 3; must be a mapping"));
}
