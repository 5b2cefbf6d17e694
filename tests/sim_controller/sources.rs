//! Sources of models: an alias that moves, or a Job that is complete, ends in a rollout, and the registry hears how it ended.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use haldane::{
    api::{Phase, Rollout, SourceReason, SourceState, SourceStatus},
    config::MlflowServer,
    sim::{
        NAMESPACE,
        apiserver::Verb,
        faults::{Fault, Rule},
    },
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use ring::hmac;
use serde_json::{Value, json};

use crate::mlflow::{Mlflow, Trouble};
use crate::stage::{Stage, better, rollout};

const DEPLOYMENTS: &str = "deployments.apps";

fn with_source(spec: Value) -> Rollout {
    let write = json!({"env": {"container": "model", "name": "MODEL_URI"}});
    let source = json!({"mlflow": {"model": "fraud"}, "deployment": "fraud-v2", "write": write});
    let mut whole = json!({ "source": source });
    json_patch::merge(&mut whole, &spec);
    rollout("v2", whole)
}

fn server(mlflow: &Mlflow) -> MlflowServer {
    let minute = Duration::from_secs(60).into();
    MlflowServer { url: mlflow.url.clone(), poll: Some(minute), ..MlflowServer::default() }
}

async fn begin(seed: u64) -> (Stage, Mlflow) {
    let mut stage = Stage::set(seed).await;
    let mlflow = Mlflow::start().await;
    stage.world.deploy("v2", better());
    control(&mut stage, &mlflow);
    (stage, mlflow)
}

fn control(stage: &mut Stage, mlflow: &Mlflow) {
    let settings = server(mlflow);
    stage.control_configured(|config| {
        config.mlflow.insert("default".into(), settings);
    });
}

/// What the environment of a version's pods says, and the annotation beside it.
fn held(stage: &Stage, version: &str) -> (Value, Value) {
    let deployment = stage.world.objects().get(DEPLOYMENTS, NAMESPACE, &format!("fraud-{version}")).unwrap();
    let template = &deployment["spec"]["template"];
    let entries = template["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let entry = entries.into_iter().find(|entry| entry["name"] == "MODEL_URI").unwrap_or_default();
    (entry["value"].clone(), template["metadata"]["annotations"]["haldane.dev/model"].clone())
}

/// Patches of Deployments so far, with their answers.
fn written(stage: &Stage) -> Vec<(String, Option<u16>)> {
    let log = stage.world.api().faults().log();
    let patches = log.iter().filter(|record| record.verb == Verb::Patch && record.resource == DEPLOYMENTS);
    patches.map(|record| (record.name.clone(), record.code)).collect()
}

/// Reason and note of the events about models so far.
fn said(stage: &Stage) -> Vec<(String, String)> {
    let log = stage.world.api().faults().log();
    let events = log.iter().filter(|record| record.verb == Verb::Create && record.resource.starts_with("events"));
    let of = |field: &str, body: &Value| body[field].as_str().unwrap_or_default().to_owned();
    let about = events.map(|event| (of("reason", &event.body), of("note", &event.body)));
    about.filter(|(reason, _)| reason.starts_with("Model")).collect()
}

async fn until(stage: &Stage, what: &str, wanted: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
    stage.until(what, |status| status.source.as_ref().is_some_and(&wanted)).await.source.unwrap()
}

/// The first rollout of v2, as it was deployed by hand, is over, and v2 is idle again: what it had was rolled back.
async fn idle(stage: &Stage) {
    stage.world.behave("v2", better().with_errors(0.3));
    stage.until_phase("v2", Phase::RolledBack).await;
    stage.world.behave("v2", better());
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_moves_ends_in_a_promotion_and_the_alias_of_what_was_promoted() {
    let (stage, mlflow) = begin(501).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    let source = until(&stage, "waiting for an alias", |source| source.reason == SourceReason::NothingYet).await;
    assert_eq!(source.message, "MLflow default has no model fraud with the alias challenger");
    assert_eq!(written(&stage), []);

    mlflow.move_alias("champion", "3");
    mlflow.move_alias("challenger", "7");
    let source = until(&stage, "in place", |source| source.state == SourceState::InPlace).await;
    assert_eq!((source.uri.as_deref(), source.version.as_deref()), (Some("models:/fraud/7"), Some("7")));
    let annotation = r#"{"uri":"models:/fraud/7","version":"7"}"#;
    assert_eq!(held(&stage, "v2"), (json!("models:/fraud/7"), json!(annotation)));
    assert_eq!(held(&stage, "v1"), (Value::Null, Value::Null), "stable is never written");
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2").iter().rev().take(4).rev().copied().collect::<Vec<_>>(), [5, 20, 50, 100]);
    stage.seconds(5).await;
    assert_eq!(mlflow.alias("champion").as_deref(), Some("7"));
    assert_eq!(mlflow.tag("7", "haldane.outcome").as_deref(), Some("promoted"));
    assert!(mlflow.tag("7", "haldane.reason").is_some_and(|reason| !reason.is_empty()));
    assert_eq!(written(&stage), [("fraud-v2".to_owned(), Some(200))]);
    assert_eq!(said(&stage).len(), 1, "{:?}", said(&stage));

    // A person moves both on: nobody moves the champion back, and what is stable now is not written.
    mlflow.move_alias("champion", "9");
    mlflow.move_alias("challenger", "8");
    let source = until(&stage, "v2 is stable", |source| source.reason == SourceReason::StableNow).await;
    assert!(source.message.starts_with("models:/fraud/8 waits: v2 is stable now; set spec.canary to the other version"), "{source:?}");
    stage.seconds(300).await;
    assert_eq!((mlflow.alias("champion").as_deref(), written(&stage).len()), (Some("9"), 1));
    let waiting: Vec<String> = said(&stage).into_iter().filter(|(reason, _)| reason == "ModelWaiting").map(|(_, note)| note).collect();
    assert_eq!(waiting.len(), 1, "said once: {waiting:?}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_worse_is_rolled_back_and_tagged_and_stays_refused_until_the_alias_moves_on() {
    let (stage, mlflow) = begin(502).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    let epoch = stage.world.status().epoch;
    stage.world.behave("v2", better().with_errors(0.2));
    mlflow.move_alias("challenger", "7");
    stage.until("rolled back again", |status| status.phase == Some(Phase::RolledBack) && status.epoch > epoch).await;
    stage.seconds(10).await;
    assert_eq!(mlflow.tag("7", "haldane.outcome").as_deref(), Some("rolled-back"));
    let reason = mlflow.tag("7", "haldane.reason").unwrap();
    assert!(reason.contains("error") && reason.chars().count() <= 250, "{reason}");
    assert_eq!(mlflow.alias("champion"), None);
    // A crash in the mean time changes nothing: it is in place, and refused.
    stage.seconds(300).await;
    assert_eq!((stage.world.status().phase, written(&stage).len()), (Some(Phase::RolledBack), 1));

    stage.world.behave("v2", better());
    mlflow.move_alias("challenger", "8");
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(5).await;
    assert_eq!(mlflow.alias("champion").as_deref(), Some("8"));
    assert_eq!(mlflow.tag("7", "haldane.outcome").as_deref(), Some("rolled-back"), "what was said of another version stays");
}

#[tokio::test(start_paused = true)]
async fn without_the_right_an_event_has_the_line_once_and_whoever_writes_it_gets_the_rollout() {
    let (stage, mlflow) = begin(503).await;
    for verb in [Verb::Get, Verb::Patch] {
        stage.world.api().faults().add(Rule::on(verb, DEPLOYMENTS, Fault::forbidden()).agent("replica-1").forever());
    }
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    mlflow.move_alias("challenger", "7");
    let source = until(&stage, "announced", |source| source.state == SourceState::Announced).await;
    assert_eq!(source.reason, SourceReason::NoRight);
    stage.seconds(600).await;
    let said = said(&stage);
    assert_eq!(said.len(), 1, "{said:?}");
    let (reason, note) = said.first().unwrap();
    assert_eq!(reason, "ModelWaiting");
    let line = note.split_once(": ").unwrap().1;
    let patch = line.strip_prefix("kubectl -n ml patch deployment fraud-v2 -p '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
    let mut patch: Value = serde_json::from_str(patch).unwrap();
    // kubectl's strategic merge joins lists by name, which the simulated API server does not.
    let deployment = stage.world.objects().get(DEPLOYMENTS, NAMESPACE, "fraud-v2").unwrap();
    let mut container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
    json_patch::merge(&mut container, &patch["spec"]["template"]["spec"]["containers"][0]);
    patch["spec"]["template"]["spec"]["containers"] = json!([container]);
    let api: kube::Api<k8s_openapi::api::apps::v1::Deployment> = kube::Api::default_namespaced(stage.world.client());
    api.patch("fraud-v2", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    assert_eq!(held(&stage, "v2").0, "models:/fraud/7");
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(120).await;
    assert_eq!(mlflow.alias("champion").as_deref(), Some("7"), "the pods say which version they have");
}

#[tokio::test(start_paused = true)]
async fn a_controller_killed_between_the_write_and_the_rollout_writes_nothing_twice() {
    let (mut stage, mlflow) = begin(504).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    // The write is done and its answer never comes.
    let mut armed = stage.world.api().faults().add(Rule::on(Verb::Patch, DEPLOYMENTS, Fault::HangAfter).agent("replica-1"));
    mlflow.move_alias("challenger", "7");
    armed.struck(1).await;
    stage.kill();
    control(&mut stage, &mlflow);
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(5).await;
    assert_eq!(written(&stage).len(), 1);
    assert_eq!(mlflow.alias("champion").as_deref(), Some("7"));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_mlflow_was_not_there_to_hear_is_reported_by_the_next_controller() {
    let (mut stage, mlflow) = begin(505).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    mlflow.move_alias("challenger", "7");
    stage.until("at 50 %", |status| status.step.as_ref().is_some_and(|step| step.weight == 50)).await;
    mlflow.trouble(Trouble::Hangs);
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(30).await;
    let source = until(&stage, "unavailable", |source| source.state == SourceState::Unavailable).await;
    assert!(source.message.starts_with("MLflow default: "), "{source:?}");
    stage.kill();
    mlflow.trouble(Trouble::None);
    control(&mut stage, &mlflow);
    stage.seconds(60).await;
    assert_eq!(mlflow.alias("champion").as_deref(), Some("7"));
    assert_eq!(mlflow.tag("7", "haldane.outcome").as_deref(), Some("promoted"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_mlflow_delays_no_rollout_and_is_asked_less_and_less() {
    for (seed, trouble) in [(506, Trouble::Hangs), (507, Trouble::Fails), (508, Trouble::Page)] {
        let (stage, mlflow) = begin(seed).await;
        mlflow.trouble(trouble);
        stage.world.apply(&with_source(json!({}))).await.unwrap();
        stage.until_phase("v2", Phase::Promoted).await;
        stage.seconds(1200).await;
        let asked = mlflow.asked().len();
        assert!((3..30).contains(&asked), "{trouble:?}: {asked} questions in twenty minutes");
        assert_eq!(stage.world.status().source.unwrap().state, SourceState::Unavailable, "{trouble:?}");
        assert_eq!(written(&stage), []);
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_model_goes_to_the_other_deployment_and_what_that_had_before_is_never_rolled_out() {
    let (stage, mlflow) = begin(509).await;
    stage.world.behave("v1", better());
    mlflow.move_alias("challenger", "7");
    stage.world.apply(&with_source(json!({"rollbackWindow": "5m"}))).await.unwrap();
    // What was deployed by hand waits too: the source is asked first.
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!((held(&stage, "v2").0, stage.world.status().history.len()), (json!("models:/fraud/7"), 1));
    mlflow.move_alias("challenger", "8");
    until(&stage, "v2 is stable", |source| source.reason == SourceReason::StableNow).await;

    let api: kube::Api<Rollout> = kube::Api::default_namespaced(stage.world.client());
    let flip = json!({"spec": {"canary": {"subset": "v1"}, "source": {"deployment": "fraud-v1"}}});
    api.patch("fraud", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(flip)).await.unwrap();
    until(&stage, "in the window", |source| source.reason == SourceReason::RollbackWindow).await;
    stage.seconds(30).await;
    let status = stage.world.status();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((status.phase, ready.reason.as_str()), (Some(Phase::Waiting), "ModelPending"));
    assert!(ready.message.contains("`haldane rollback` needs v1 as it is"), "{}", ready.message);
    assert_eq!((stage.world.weights().get("v2"), held(&stage, "v1").0), (Some(&100), Value::Null));

    stage.until_phase("v1", Phase::Promoted).await;
    stage.seconds(5).await;
    assert_eq!((held(&stage, "v1").0, held(&stage, "v2").0), (json!("models:/fraud/8"), json!("models:/fraud/7")));
    assert_eq!(stage.world.status().history.len(), 2, "the model that fraud-v1 had before was not tried");
    assert_eq!(mlflow.alias("champion").as_deref(), Some("8"));
}

#[tokio::test(start_paused = true)]
async fn a_complete_job_ends_in_a_rollout_of_the_image_that_it_pinned() {
    let (stage, _mlflow) = begin(510).await;
    let job = json!({"selector": {"matchLabels": {"app": "train-fraud"}}});
    let source = json!({"mlflow": null, "job": job, "write": {"env": null, "image": {"container": "model"}}});
    stage.world.apply(&with_source(json!({ "source": source }))).await.unwrap();
    idle(&stage).await;
    let digest = format!("sha256:{}", "5f".repeat(32));
    let annotations = json!({"haldane.dev/model-uri": "registry.example.com/fraud", "haldane.dev/model-digest": digest});
    let job = |name: &str, status: Value, labels: Value| {
        let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}, "status": status})
    };
    let complete = json!({"completionTime": "2026-11-23T12:03:00Z", "conditions": [{"type": "Complete", "status": "True"}]});
    stage.world.objects().put(job("other", complete.clone(), json!({"app": "other"}))).unwrap();
    stage.world.objects().put(job("train-1", json!({"active": 1}), json!({"app": "train-fraud"}))).unwrap();
    stage.seconds(90).await;
    assert_eq!(written(&stage), [], "it is not complete");
    stage.world.objects().put(job("train-1", complete, json!({"app": "train-fraud"}))).unwrap();
    stage.until_phase("v2", Phase::Promoted).await;
    let deployment = stage.world.objects().get(DEPLOYMENTS, NAMESPACE, "fraud-v2").unwrap();
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], format!("registry.example.com/fraud@{digest}"));
    assert_eq!(written(&stage).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_jobs_may_not_be_listed_loses_nothing_but_the_source() {
    let (stage, _mlflow) = begin(511).await;
    stage.world.api().faults().add(Rule::on(Verb::List, "jobs.batch", Fault::forbidden()).forever());
    let job = json!({"selector": {"matchLabels": {"app": "train-fraud"}}});
    stage.world.apply(&with_source(json!({"source": {"mlflow": null, "job": job}}))).await.unwrap();
    stage.until_phase("v2", Phase::Promoted).await;
    let source = stage.world.status().source.unwrap();
    assert_eq!((source.state, source.reason), (SourceState::Waiting, SourceReason::NoRight));
    assert!(source.message.contains("kubectl apply -k deploy/model-source"), "{source:?}");
}

#[tokio::test(start_paused = true)]
async fn a_signed_webhook_hastens_the_poll_and_a_forged_one_does_nothing() {
    let mut stage = Stage::set(512).await;
    let mlflow = Mlflow::start().await;
    stage.world.deploy("v2", better());
    let folder = std::env::temp_dir().join(format!("haldane-hook-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let secret = folder.join("secret");
    std::fs::write(&secret, "a secret of the webhook\n").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    stage.listen = Some(free);
    let settings = MlflowServer { poll: Some(Duration::from_secs(3600).into()), webhook_secret_file: Some(secret), ..server(&mlflow) };
    stage.control_configured(|config| {
        config.mlflow.insert("default".into(), settings);
    });
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    stage.seconds(30).await;
    mlflow.move_alias("challenger", "7");
    let asked = mlflow.asked().len();

    let body =
        r#"{"entity": "model_version_alias", "action": "created", "data": {"name": "fraud", "alias": "challenger", "version": "7"}}"#;
    let http = reqwest::Client::new();
    let send = async |name: &str, secret: &str, body: &str| {
        let at = stage.world.clock().now().as_second().to_string();
        let signed = format!("delivery-1.{at}.{body}");
        let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes()));
        let request = http.post(format!("http://{free}/hooks/mlflow/{name}")).header("X-MLflow-Delivery-Id", "delivery-1");
        let request = request.header("X-MLflow-Timestamp", at).header("X-MLflow-Signature", format!("v1,{signature}"));
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("default", "another secret", body).await, 401);
    assert_eq!(send("other", "a secret of the webhook", body).await, 401, "no such server");
    assert_eq!(send("default", "a secret of the webhook", &"x".repeat(70_000)).await, 413);
    stage.seconds(30).await;
    assert_eq!((mlflow.asked().len(), written(&stage).len()), (asked, 0), "nobody was asked");

    assert_eq!(send("default", "a secret of the webhook", body).await, 204);
    stage.seconds(5).await;
    assert_eq!(held(&stage, "v2").0, "models:/fraud/7", "long before the next poll");
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_applier_removes_is_not_fought() {
    let (stage, mlflow) = begin(513).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    stage.world.behave("v2", better().with_errors(0.3));
    mlflow.move_alias("challenger", "7");
    stage.until("written", |_| held(&stage, "v2").0 == "models:/fraud/7").await;
    let api: kube::Api<k8s_openapi::api::apps::v1::Deployment> = kube::Api::default_namespaced(stage.world.client());
    let back = json!([{"op": "remove", "path": "/spec/template/spec/containers/0/env"}]);
    let back: json_patch::Patch = serde_json::from_value(back).unwrap();
    let params = kube::api::PatchParams::default();
    api.patch("fraud-v2", &params, &kube::api::Patch::Json::<()>(back)).await.unwrap();
    let source = until(&stage, "reverted", |source| source.reason == SourceReason::Reverted).await;
    assert!(source.message.contains("removed again"), "{source:?}");
    stage.seconds(600).await;
    let ours = written(&stage).len() - 1;
    assert_eq!((ours, held(&stage, "v2").0), (1, Value::Null));
}

#[tokio::test(start_paused = true)]
async fn how_a_version_ended_is_reported_before_the_next_one_is_written() {
    let (stage, mlflow) = begin(521).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    stage.world.behave("v2", better().with_errors(0.3));
    mlflow.trouble(Trouble::Writes);
    mlflow.move_alias("challenger", "7");
    until(&stage, "in place", |source| source.uri.as_deref() == Some("models:/fraud/7") && source.state == SourceState::InPlace).await;
    stage.until_phase("v2", Phase::RolledBack).await;
    mlflow.move_alias("challenger", "8");
    stage.seconds(600).await;
    assert_eq!(written(&stage).len(), 1, "{:?}", written(&stage));
    assert_eq!(mlflow.tag("7", "haldane.outcome"), None);
    mlflow.trouble(Trouble::None);
    until(&stage, "the next one", |source| source.uri.as_deref() == Some("models:/fraud/8") && source.state == SourceState::InPlace).await;
    assert_eq!(mlflow.tag("7", "haldane.outcome").as_deref(), Some("rolled-back"));
}

#[tokio::test(start_paused = true)]
async fn two_rollouts_that_name_one_deployment_do_not_write_over_each_other() {
    let (stage, mlflow) = begin(522).await;
    stage.world.apply(&with_source(json!({}))).await.unwrap();
    idle(&stage).await;
    let mut other = with_source(json!({}));
    other.metadata.name = Some("other".into());
    let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
    api.create(&PostParams::default(), &other).await.unwrap();
    mlflow.move_alias("challenger", "7");
    let source = until(&stage, "waiting for the other", |source| source.reason == SourceReason::OtherPods).await;
    assert_eq!(source.message, "Rollout other names Deployment fraud-v2 too: give each a Deployment of its own");
    stage.seconds(300).await;
    assert_eq!(written(&stage), []);
    api.delete("other", &DeleteParams::default()).await.unwrap();
    until(&stage, "in place", |source| source.state == SourceState::InPlace).await;
}
