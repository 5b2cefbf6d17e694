//! A corpus of both controllers' manifests: what is printed passes `lint`, and reads as its snapshot.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;
use crate::cli::{Known, check};

fn files(of: &str) -> Vec<(String, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/adopt").join(of);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), serde_yaml::from_multiple(&fs::read_to_string(path).unwrap()).unwrap())).collect()
}

fn corpus(of: &str) -> Vec<(String, Draft)> {
    let made = files(of).into_iter().map(|(name, objects)| {
        let kind = if of == "argo" { "rollout.argoproj.io" } else { "canary.flagger.app" };
        let start = Start::parse(&format!("{kind}/{}", named(&objects[0]))).unwrap();
        let there = There { objects: &objects, namespace: Some("ml") };
        (name.clone(), draft(there, &start, None).unwrap_or_else(|failure| panic!("{name}: {failure}")))
    });
    made.collect()
}

/// One of a corpus.
fn one(of: &str, name: &str) -> Draft {
    corpus(of).into_iter().find(|(file, _)| file == name).unwrap().1
}

fn object<'a>(draft: &'a Draft, kind: &str, name: &str) -> &'a Value {
    let found = draft.documents.iter().map(|document| &document.object).find(|object| object["kind"] == kind && named(object) == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn says(lines: &[String], part: &str) -> bool {
    lines.iter().any(|line| line.contains(part))
}

#[test]
fn what_is_printed_passes_lint_and_every_version_is_one_deployment_behind_one_route() {
    let mut count = 0;
    for (of, least) in [("argo", 6), ("flagger", 6)] {
        let corpus = corpus(of);
        assert!(corpus.len() >= least, "{of}");
        for (name, made) in corpus {
            let reports = check(&name, &made.text(), &Known::default());
            let faults: Vec<String> =
                reports.iter().flat_map(|r| &r.faults).map(|f| format!("{}: {}; {}", f.path, f.message, f.fix)).collect();
            assert_eq!((reports.len(), faults), (1, Vec::new()), "{of}/{name}");
            let of_kind = |kind: &str| made.documents.iter().filter(|document| document.object["kind"] == kind).count();
            assert_eq!((of_kind("Deployment"), of_kind("Rollout")), (2, 1), "{of}/{name}");
            assert_eq!(of_kind("VirtualService") + of_kind("HTTPRoute") + of_kind("GRPCRoute"), 1, "{of}/{name}");
            assert!(made.order.len() >= 5 && made.order.last().unwrap().contains("the rollout starts"), "{of}/{name}");
            let text = made.text();
            assert!(!text.contains("rollouts-pod-template-hash:"), "{of}/{name}: a label of the old controller");
            count += 1;
        }
    }
    assert!(count >= 12);
}

#[test]
fn what_is_printed_reads_as_its_snapshot() {
    for of in ["argo", "flagger"] {
        for (name, made) in corpus(of) {
            insta::assert_snapshot!(format!("{of}-{name}"), made.text());
        }
    }
}

#[test]
fn the_pods_of_the_new_deployments_are_found_by_no_selector_of_the_old_ones() {
    // The template has the version already: without a label of its own the Deployment would adopt the old ReplicaSets.
    let made = one("argo", "pods-only");
    let stable = object(&made, "Deployment", "ranker-v3");
    assert_eq!(stable["spec"]["selector"]["matchLabels"]["haldane.dev/deployment"], "ranker-v3");
    assert_eq!(stable["spec"]["template"]["metadata"]["labels"]["haldane.dev/deployment"], "ranker-v3");
    let canary = object(&made, "Deployment", "ranker-v4");
    assert_eq!(canary["spec"]["selector"]["matchLabels"], json!({"app": "ranker", "version": "v4"}));
    assert!(says(&made.questions, "status.stableRS is 11aa"), "{:?}", made.questions);
}

#[test]
fn the_image_of_the_canary_is_a_question_and_no_pod_starts_without_an_answer() {
    for of in ["argo", "flagger"] {
        for (name, made) in corpus(of) {
            let canary = made.documents.iter().rfind(|document| document.object["kind"] == "Deployment").unwrap();
            let image = canary.object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
            assert!(image.starts_with("IMAGE_OF_") && says(&made.questions, image), "{of}/{name}: {image}");
        }
    }
}

#[test]
fn names_of_the_canary_in_queries_become_placeholders() {
    let query = |made: &Draft, rollout: &str, index: usize| {
        object(made, "Rollout", rollout)["spec"]["analysis"]["metrics"][index]["threshold"]["query"].as_str().unwrap().to_owned()
    };
    let host = query(&one("argo", "host-level"), "fraud", 2);
    assert!(host.contains(r#"destination_service=~"{{canarySubset}}.ml.svc.cluster.local""#), "{host}");
    let everything = query(&one("argo", "everything"), "embed", 2);
    assert!(everything.contains(r#"workload="{{canaryWorkload}}""#), "{everything}");
    let blue_green = query(&one("argo", "blue-green"), "price", 2);
    assert!(blue_green.contains(r#"pod_template_hash="{{canaryRevision}}""#), "{blue_green}");
    let steps = query(&one("flagger", "step-weights"), "churn", 2);
    assert!(steps.contains(r#"destination_workload="{{canaryWorkload}}""#) && steps.contains("{{stableWorkload}}"), "{steps}");
    assert!(steps.contains(r#"direction="inbound""#) && steps.contains("[2m]"), "{steps}");
}

#[test]
fn what_has_no_equivalent_is_named_with_what_to_use() {
    let argo = one("argo", "everything").lost;
    for part in [
        "experiment",
        "acme/approval",
        "Kayenta",
        "score of",
        "over HTTP",
        "Prometheus alone",
        "nginx",
        "dynamicStableScale",
        "`result[0] == 1`",
        "argument token",
        "setWeight: 30",
    ] {
        assert!(says(&argo, part), "{part}: {argo:#?}");
    }
    let flagger = one("flagger", "gates").lost;
    for part in ["confirm-rollout", "confirm-traffic-increase", "rollback", "event", "MetricTemplate gone", "datadog", "no thresholdRange"]
    {
        assert!(says(&flagger, part), "{part}: {flagger:#?}");
    }
    let istio = one("flagger", "istio").lost;
    for part in ["maxWeight 50", "load-test", "pre-rollout", "autoscalerRef fraud", "threshold 5"] {
        assert!(says(&istio, part), "{part}: {istio:#?}");
    }
}

#[test]
fn what_cannot_be_begun_with_says_what_is_missing() {
    let (_, objects) = files("argo").into_iter().find(|(name, _)| name == "subset-level").unwrap();
    let without = |kind: &str| -> Vec<Value> { objects.iter().filter(|object| object["kind"] != kind).cloned().collect() };
    let start = Start::parse("ro/churn").unwrap();
    for (kind, wanted) in [
        ("Deployment", "there is no Deployment churn"),
        ("DestinationRule", "there is no DestinationRule churn"),
        ("Rollout", "there is no Rollout.argoproj.io churn"),
    ] {
        let objects = without(kind);
        let failure = draft(There { objects: &objects, namespace: Some("ml") }, &start, None).unwrap_err();
        assert!(failure.exit == Exit::NotFound && failure.message == wanted, "{failure}");
    }
    // A Rollout of ours by that name is another object.
    let ours = [json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "churn"}})];
    assert!(draft(There { objects: &ours, namespace: None }, &start, None).is_err());
}
