mod stand;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::mlflow::{AnswerFault, Version, is_due, version};
use super::*;
use crate::api::SourceReason as Why;
use crate::plan::Place;

/// A real answer of MLflow: status, and body.
fn answer(file: &str) -> (u16, Vec<u8>) {
    let path = format!("{}/tests/data/mlflow/{file}.http", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap_or(0);
    (status, body.as_bytes().to_vec())
}

fn read(file: &str) -> Result<Version, AnswerFault> {
    let (status, body) = answer(file);
    version(status, &body, crate::http_access::said::of(&body, &[]).as_deref())
}

#[test]
fn the_real_answers_of_mlflow_are_understood() {
    let found = read("alias-found").unwrap();
    assert_eq!((found.number.as_str(), found.is_ready(), found.tags["git"].as_str()), ("2", true, "0a1b2c3"));
    assert_eq!(read("alias-after-move").unwrap().number, "1");
    assert_eq!(read("version-with-tags").unwrap().tags["haldane.reason"], "rolled back: errorRate 4.1 % against 0.2 %");
    let absent = |file| matches!(read(file), Err(AnswerFault::Absent(_)));
    assert!(absent("alias-not-found") && absent("unknown-model"), "both are 'not yet', one is a 400");
    let error = read("parameter-missing").unwrap_err();
    assert!(matches!(error, AnswerFault::Status(400, _)) && error.to_string().contains("Missing value"), "{error}");
    let error = read("wrong-host").unwrap_err().to_string();
    assert!(error.starts_with("HTTP 403: Invalid Host header") && error.contains("--allowed-hosts"), "{error}");
    assert_eq!(read("unknown-endpoint").unwrap_err().to_string(), "HTTP 404: 404 Not Found; is url the base of MLflow?");
}

#[test]
fn what_is_no_answer_of_mlflow_is_no_version() {
    let of = |body: &str| version(200, body.as_bytes(), None).unwrap_err().to_string();
    assert!(of("<html>").starts_with("the answer is not MLflow's"), "{}", of("<html>"));
    assert!(of(r#"{"model_version": {"version": "latest"}}"#).ends_with("a version is a number"));
    let least = version(200, br#"{"model_version": {"version": 12}}"#, None).unwrap();
    assert_eq!((least.number.as_str(), least.is_ready()), ("12", true));
    let pending = version(200, br#"{"model_version": {"version": "3", "status": "PENDING_REGISTRATION"}}"#, None).unwrap();
    assert!(!pending.is_ready());
}

#[test]
fn an_alias_that_a_person_moved_to_a_newer_version_stays() {
    let there = |number: &str| Version { number: number.into(), status: "READY".into(), tags: BTreeMap::new() };
    let ending = |outcome| Ending { version: "7".into(), outcome, reason: "it passed".into() };
    let due = |there: Option<Version>| is_due(there.as_ref(), &ending("promoted"));
    assert_eq!([due(None), due(Some(there("6"))), due(Some(there("7"))), due(Some(there("12")))], [true, true, false, false]);
    assert!(!is_due(None, &ending("rolled-back")));
    let mut known = there("7");
    assert!(!known.knows(&ending("promoted")));
    known.tags = [("haldane.outcome".to_owned(), "promoted".to_owned()), ("haldane.reason".to_owned(), "it passed".to_owned())].into();
    assert!(known.knows(&ending("promoted")) && !known.knows(&ending("rolled-back")));
}

/// A real delivery: its headers and body.
fn delivery(file: &str) -> (BTreeMap<String, String>, Vec<u8>) {
    let path = format!("{}/tests/data/mlflow/{file}.http", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    (headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(), body.as_bytes().to_vec())
}

#[test]
fn real_webhooks_of_mlflow_are_taken_and_forged_or_old_ones_are_not() {
    const SECRET: &[u8] = b"a-secret-of-the-webhook";
    for file in ["webhook-created", "webhook-deleted"] {
        let (headers, body) = delivery(file);
        let header = |name: &str| headers.get(name).map(String::as_str);
        let given = hook::Delivery {
            signature: header("x-mlflow-signature"),
            id: header("x-mlflow-delivery-id"),
            timestamp: header("x-mlflow-timestamp"),
            body: &body,
        };
        let sent: i64 = given.timestamp.unwrap().parse().unwrap();
        assert_eq!(hook::verify(SECRET, given, sent + 2), Ok(()));
        assert_eq!(hook::model(&body).as_deref(), Some("fraud"));
        assert_eq!(hook::verify(b"another", given, sent), Err(hook::Forged::Wrong));
        assert_eq!(hook::verify(SECRET, given, sent + 301), Err(hook::Forged::Old));
        assert_eq!(hook::verify(SECRET, given, sent - 301), Err(hook::Forged::Old));
        assert_eq!(hook::verify(SECRET, hook::Delivery { body: b"{}", ..given }, sent), Err(hook::Forged::Wrong));
        assert_eq!(hook::verify(SECRET, hook::Delivery { id: Some("other"), ..given }, sent), Err(hook::Forged::Wrong));
        let unsigned = [
            hook::Delivery { signature: None, ..given },
            hook::Delivery { signature: Some("v1,not base64"), ..given },
            hook::Delivery { signature: Some("v2,l8lztKjWZ19PI2ZnKyZYQTG3pEpSIa5XKvqyV+XU1Lc="), ..given },
            hook::Delivery { timestamp: Some("now"), ..given },
            hook::Delivery { timestamp: None, ..given },
            hook::Delivery { id: None, ..given },
        ];
        for given in unsigned {
            assert_eq!(hook::verify(SECRET, given, sent), Err(hook::Forged::Unsigned), "{given:?}");
        }
    }
}

fn env() -> Place {
    Place::Env { container: "model".into(), name: "MODEL_URI".into() }
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "fraud-v2", "resourceVersion": "41"},
        "spec": {"template": {
            "metadata": {"labels": {"app": "fraud", "version": "v2"}},
            "spec": {
                "containers": [{"name": "proxy"}, {"name": "model", "image": "m:1", "env": [{"name": "A", "value": "1"}, {"name": "MODEL_URI", "value": "models:/fraud/6"}]}],
                "initContainers": [{"name": "fetch"}],
            },
        }},
    })
}

fn applied(before: &Value, place: &Place, model: &Model) -> Value {
    let mut after = before.clone();
    json_patch::patch(&mut after, &patch(before, place, model).unwrap()).unwrap();
    after
}

#[test]
fn the_patch_writes_the_place_and_says_so_and_changes_nothing_else() {
    let (before, model) = (deployment(), Model::in_mlflow("fraud", "7"));
    let after = applied(&before, &env(), &model);
    let mut expected = before.clone();
    expected["spec"]["template"]["spec"]["containers"][1]["env"][1]["value"] = json!("models:/fraud/7");
    let annotation = r#"{"uri":"models:/fraud/7","version":"7"}"#;
    expected["spec"]["template"]["metadata"]["annotations"] = json!({"haldane.dev/model": annotation});
    assert_eq!(after, expected);
    let there = held(&after, &env()).unwrap();
    assert!(there.is(&model, &env()) && there.written(&env()) == Some(&model));
    assert!(!held(&before, &env()).unwrap().is(&model, &env()));

    let init = Place::Env { container: "fetch".into(), name: "MODEL_URI".into() };
    let after = applied(&before, &init, &model);
    assert_eq!(after["spec"]["template"]["spec"]["initContainers"][0]["env"], json!([{"name": "MODEL_URI", "value": "models:/fraud/7"}]));
    let other = Place::Env { container: "model".into(), name: "B".into() };
    assert_eq!(applied(&before, &other, &model)["spec"]["template"]["spec"]["containers"][1]["env"][2]["name"], "B");
    let annotation = Place::Annotation("example.com/model-uri".into());
    let after = applied(&before, &annotation, &model);
    assert_eq!(after["spec"]["template"]["metadata"]["annotations"]["example.com/model-uri"], "models:/fraud/7");
    assert!(held(&after, &annotation).unwrap().is(&model, &annotation));

    let digest = format!("sha256:{}", "ab".repeat(32));
    let image = Place::Image { container: "model".into() };
    let pinned = Model { uri: "registry.example.com/fraud".into(), version: None, digest: Some(digest.clone()) };
    let after = applied(&before, &image, &pinned);
    assert_eq!(after["spec"]["template"]["spec"]["containers"][1]["image"], format!("registry.example.com/fraud@{digest}"));
    let loose = Model { digest: None, ..pinned.clone() };
    let twice = Model { uri: format!("registry.example.com/fraud@{digest}"), ..pinned };
    assert_eq!([patch(&before, &image, &loose), patch(&before, &image, &twice)], [Err(PlaceFault::NotPinned), Err(PlaceFault::NotPinned)]);
}

#[test]
fn a_patch_for_a_deployment_that_changed_meanwhile_fails() {
    let model = Model::in_mlflow("fraud", "7");
    let patch = patch(&deployment(), &env(), &model).unwrap();
    let mut newer = deployment();
    newer["metadata"]["resourceVersion"] = json!("42");
    assert!(json_patch::patch(&mut newer, &patch).is_err());
}

#[test]
fn the_same_uri_with_another_digest_is_another_model() {
    let model =
        |digit: &str| Model { uri: "s3://models/latest".into(), version: None, digest: Some(format!("sha256:{}", digit.repeat(64))) };
    let after = applied(&deployment(), &env(), &model("a"));
    let there = held(&after, &env()).unwrap();
    assert!(there.is(&model("a"), &env()) && !there.is(&model("b"), &env()));
}

#[test]
fn a_place_that_is_not_there_is_named_with_the_fix() {
    let fault = |place: &Place, of: &Value| held(of, place).unwrap_err().to_string();
    let none = Place::Env { container: "server".into(), name: "MODEL_URI".into() };
    assert_eq!(fault(&none, &deployment()), "has no container server (it has proxy, model, fetch): set spec.source.write to one of them");
    let mut from = deployment();
    from["spec"]["template"]["spec"]["containers"][1]["env"][1] =
        json!({"name": "MODEL_URI", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "uri"}}});
    assert!(fault(&env(), &from).starts_with("fills MODEL_URI of container model with valueFrom"));
}

#[test]
fn the_line_for_a_person_writes_what_the_patch_writes() {
    let line = command("ml", "fraud-v2", &env(), &Model::in_mlflow("o'neil", "7"), None);
    let (before, patch) = line.split_once(" -p '").unwrap();
    assert_eq!(before, "kubectl -n ml patch deployment fraud-v2");
    let patch: Value = serde_json::from_str(&patch.strip_suffix('\'').unwrap().replace("'\\''", "'")).unwrap();
    let template = &patch["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["env"][0], json!({"name": "MODEL_URI", "value": "models:/o'neil/7"}));
    assert_eq!(template["metadata"]["annotations"]["haldane.dev/model"], r#"{"uri":"models:/o'neil/7","version":"7"}"#);
}

fn job(name: &str, done: &str, annotations: Value) -> Value {
    let status = json!({"completionTime": done, "conditions": [{"type": "Complete", "status": "True"}]});
    json!({"metadata": {"name": name, "annotations": annotations}, "status": status})
}

#[test]
fn the_newest_complete_job_that_announces_a_model_counts() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let says = |uri: &str, digit: &str| json!({"haldane.dev/model-uri": uri, "haldane.dev/model-digest": digest(digit)});
    let mut running = job("d", "2026-11-29T04:00:00Z", says("s3://m/d", "d"));
    running["status"] = json!({"active": 1});
    let jobs = [
        job("b", "2026-11-29T02:00:00Z", says("s3://m/b", "b")),
        job("a", "2026-11-29T01:00:00Z", says("s3://m/a", "a")),
        job("c", "2026-11-29T03:00:00Z", json!({})),
        running,
    ];
    let found = job::offered(&jobs, "the Jobs with app=train");
    assert_eq!(found, Offered::Model(Model { uri: "s3://m/b".into(), version: None, digest: Some(digest("b")) }));
    let words = |jobs: &[Value]| match job::offered(jobs, "the Jobs with app=train") {
        Offered::Not { why, words, .. } => (why, words),
        Offered::Model(model) => panic!("{model:?}"),
    };
    let (why, said) = words(&jobs[2..]);
    assert!(why == Why::NothingYet && said.starts_with("none of the Jobs with app=train is complete and has"), "{said}");
    let loose = job("e", "2026-11-29T05:00:00Z", json!({"haldane.dev/model-uri": "s3://m/e", "haldane.dev/model-digest": "latest"}));
    let (why, said) = words(&[jobs[0].clone(), loose]);
    assert!(
        why == Why::NotPinned && said.starts_with("Job e says haldane.dev/model-digest=\"latest\""),
        "the newest is not passed over: {said}"
    );
}
