//! The record of a rollout: whole after a crash, nothing that anybody waits for, and nothing at rest.

use haldane::{
    api::{Outcome, Phase},
    record::{Record, Run, name},
    sim::{
        NAMESPACE,
        apiserver::{Refusal, Verb},
        faults::{Fault, Rule},
    },
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::stage::{Stage, better, rollout};

const CONFIG_MAPS: &str = "configmaps";

fn object(stage: &Stage) -> Option<ConfigMap> {
    let uid = stage.world.rollout()?.metadata.uid?;
    let object = stage.world.objects().get(CONFIG_MAPS, NAMESPACE, &name("fraud", &uid))?;
    serde_json::from_value((*object).clone()).unwrap()
}

fn recorded(stage: &Stage) -> Record {
    Record::from_config_map(&object(stage).expect("a record"), &stage.world.rollout().unwrap().metadata.uid.unwrap()).unwrap()
}

/// Requests for ConfigMaps so far, by verb.
fn asked(stage: &Stage) -> Vec<&'static str> {
    let log = stage.world.api().faults().log();
    log.iter().filter(|record| record.resource == CONFIG_MAPS).map(|record| record.verb.as_str()).collect()
}

fn warned(stage: &Stage) -> Vec<String> {
    let log = stage.world.api().faults().log();
    let events = log.iter().filter(|record| record.verb == Verb::Create && record.resource.starts_with("events"));
    let notes = events.filter(|event| event.body["reason"] == "RecordNotKept").map(|event| event.body["note"].as_str().unwrap().to_owned());
    notes.collect()
}

/// Each decision, each weight, each window and each distribution of a promotion in four steps.
fn is_whole(run: &Run) {
    let outcomes: Vec<Outcome> =
        run.decisions.iter().map(|decision| decision.outcome).filter(|outcome| *outcome != Outcome::Held).collect();
    assert_eq!(outcomes, [Outcome::Started, Outcome::Advanced, Outcome::Advanced, Outcome::Advanced, Outcome::Promoted]);
    let weights: Vec<(Option<usize>, u8)> = run.changes.iter().map(|change| (change.step, change.weight)).collect();
    assert_eq!(weights, [(Some(0), 5), (Some(1), 20), (Some(2), 50), (Some(3), 100), (None, 100)]);
    for (one, next) in run.windows.iter().zip(run.windows.iter().skip(1)).filter(|(one, next)| one.step == next.step) {
        assert_eq!(one.end, next.start, "a window is missing in step {}", one.step);
    }
    let sum: u64 = run.windows.iter().map(|window| window.canary).sum();
    assert_eq!(i64::try_from(sum).unwrap(), run.exposure.as_ref().unwrap().canary_requests, "every request of the canary is in a window");
    let drifts: Vec<usize> = run.distributions.iter().map(|one| one.step).collect();
    assert_eq!(drifts, [0, 1, 2], "at 100 % nothing is compared");
    for one in &run.distributions {
        assert!((one.stable.iter().sum::<f64>() - 1.0).abs() < 1e-3 && (one.canary.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{one:?}");
    }
    let judged = run.points(0).filter(|(_, point)| point.interval.is_some() && point.verdict.is_some()).count();
    assert!(2 * judged > run.windows.len(), "{judged} of {} windows were looked at when they ended", run.windows.len());
    let end = run.end.as_ref().unwrap();
    assert_eq!((end.outcome, run.last_decision().unwrap().outcome), (Outcome::Promoted, Outcome::Promoted));
}

async fn begin(stage: &mut Stage, hold: &str) {
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": hold}}}))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_controller_killed_in_the_middle_loses_nothing_of_the_record() {
    let mut stage = Stage::set(71).await;
    begin(&mut stage, "60s").await;
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    stage.seconds(42).await;
    let before = recorded(&stage).newest().unwrap().clone();
    assert!(before.is_under_way() && before.windows.last().unwrap().step == 1);
    stage.kill();
    stage.seconds(3).await;
    stage.control(false);
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(5).await;
    let record = recorded(&stage);
    let run = record.newest().unwrap();
    assert_eq!((record.runs.len(), run.started), (1, before.started), "the same rollout");
    is_whole(run);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_no_controller_lived_to_write_down_is_taken_from_status_by_the_next_rollout() {
    let mut stage = Stage::set(72).await;
    begin(&mut stage, "10s").await;
    stage.until("at 50 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 50)).await;
    stage.seconds(2).await;
    // What is written from here on is lost, and the controller with it.
    stage.world.api().faults().add(Rule::on(Verb::Patch, CONFIG_MAPS, Fault::Hang).agent("replica-1").forever());
    stage.until_phase("v2", Phase::Promoted).await;
    stage.kill();
    assert!(recorded(&stage).newest().unwrap().is_under_way());
    stage.control(false);
    stage.world.deploy("v3", better().with_errors(0.2));
    stage.world.apply(&rollout("v3", json!({}))).await.unwrap();
    stage.until_phase("v3", Phase::RolledBack).await;
    stage.seconds(5).await;
    let record = recorded(&stage);
    let ends: Vec<Outcome> = record.runs.iter().map(|run| run.end.as_ref().unwrap().outcome).collect();
    assert_eq!(ends, [Outcome::RolledBack, Outcome::Promoted], "the newest first");
    let last = record.newest().unwrap().last_decision().unwrap();
    assert_eq!((last.outcome, last.why.len()), (Outcome::RolledBack, 3), "with the numbers that decided");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_config_maps_is_told_once_and_delays_nothing() {
    for (seed, refused, says) in [
        (73, Rule::on(Verb::Get, CONFIG_MAPS, Fault::forbidden()), "The controller may not get ConfigMaps in namespace ml"),
        (74, Rule::on(Verb::Create, CONFIG_MAPS, Fault::forbidden()), "The controller may not create ConfigMaps in namespace ml"),
        (
            75,
            Rule::on(
                Verb::Create,
                CONFIG_MAPS,
                Fault::Answer(Refusal::new(
                    403,
                    "Forbidden",
                    "configmaps \"x\" is forbidden: exceeded quota: objects, used: count/configmaps=9",
                )),
            ),
            "The quota of namespace ml is used up",
        ),
    ] {
        let mut stage = Stage::set(seed).await;
        stage.world.api().faults().add(refused.forever());
        begin(&mut stage, "10s").await;
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
        stage.seconds(1_300).await;
        let warned = warned(&stage);
        assert!(warned.len() == 1 && warned[0].contains(says), "{warned:?}");
        assert!(asked(&stage).len() <= 4 && object(&stage).is_none(), "{:?}", asked(&stage));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_or_written_at_rest() {
    let mut stage = Stage::set(76).await;
    begin(&mut stage, "10s").await;
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(5).await;
    is_whole(recorded(&stage).newest().unwrap());
    let before = asked(&stage);
    println!("for one rollout: {before:?}");
    stage.seconds(900).await;
    stage.kill();
    stage.control(false);
    stage.seconds(900).await;
    assert_eq!(asked(&stage), before);
}

#[tokio::test(start_paused = true)]
async fn windows_are_written_each_half_minute_and_not_each() {
    let mut stage = Stage::set(77).await;
    begin(&mut stage, "5m").await;
    stage.until("at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    stage.seconds(10).await;
    let before = asked(&stage).len();
    stage.seconds(270).await;
    let writes = asked(&stage).len() - before;
    assert!((8..=10).contains(&writes), "{writes} requests in 270 s and 135 windows");
}

#[tokio::test(start_paused = true)]
async fn what_others_write_and_what_is_lost_on_the_way_leaves_the_record_whole() {
    for (seed, fault) in [(78, Fault::DropAfter), (79, Fault::DropBefore), (80, Fault::internal()), (81, Fault::conflict())] {
        let mut stage = Stage::set(seed).await;
        let name = format!("{fault:?}");
        let faults = stage.world.api().faults();
        let armed = [Verb::Create, Verb::Patch].map(|verb| faults.add(Rule::on(verb, CONFIG_MAPS, fault.clone()).every(2).times(40)));
        begin(&mut stage, "30s").await;
        stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        stage.seconds(20).await;
        // Somebody puts a label on it.
        let mut labelled = object(&stage).expect("a record");
        labelled.metadata.labels.get_or_insert_default().insert("team".to_owned(), "fraud".to_owned());
        labelled.metadata.resource_version = None;
        let mut value = serde_json::to_value(&labelled).unwrap();
        (value["apiVersion"], value["kind"]) = (json!("v1"), json!("ConfigMap"));
        stage.world.objects().put(value).unwrap();
        stage.until_phase("v2", Phase::Promoted).await;
        stage.seconds(60).await;
        is_whole(recorded(&stage).newest().unwrap());
        let kept = object(&stage).unwrap();
        assert_eq!(kept.metadata.labels.unwrap()["team"], "fraud", "{name}");
        assert!(armed.iter().map(|armed| armed.hits()).sum::<u64>() >= 3, "{name}");
        assert_eq!(warned(&stage), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_of_another_rollout_of_that_name_is_left_alone_and_no_address_gets_into_ours() {
    let mut stage = Stage::set(82).await;
    let owner = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "name": "fraud", "uid": "another"});
    let metadata = json!({"name": "fraud-haldane-record", "namespace": NAMESPACE, "ownerReferences": [owner]});
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"settings": "ours"}});
    stage.world.objects().put(foreign).unwrap();
    begin(&mut stage, "30s").await;
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    assert_eq!(object(&stage).unwrap().data.unwrap()["settings"], "ours");
    assert_eq!(warned(&stage).len(), 1, "{:?}", warned(&stage));
    // The garbage collector takes it away.
    stage.world.objects().remove(CONFIG_MAPS, NAMESPACE, "fraud-haldane-record").unwrap();
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(300).await;
    is_whole(recorded(&stage).newest().unwrap());
    let text = serde_json::to_string(&object(&stage).unwrap().data).unwrap();
    assert!(!text.contains("http://") && !text.contains("127.0.0.1"), "{text}");
}
