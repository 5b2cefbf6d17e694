use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta, Time};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const UID: &str = "7c1c";

fn request() -> Request {
    Request {
        id: Some("a1".into()),
        uid: Some(UID.into()),
        epoch: Some(7),
        step: Some("2".into()),
        reason: Some("looks good".into()),
        by: Some("kim".into()),
        force: false,
    }
}

fn one(verb: Verb, request: &Request) -> Result<Command, RefusedCommand> {
    let mut commands = read(&BTreeMap::from([annotation(verb, request)]), &[], UID, 7, &BTreeMap::new());
    assert_eq!(commands.len(), 1);
    commands.remove(0)
}

#[test]
fn what_is_written_is_what_is_read() {
    for verb in Verb::ALL {
        let command = one(verb, &Request { force: verb == Verb::Abort, ..request() }).unwrap();
        assert_eq!((command.verb, command.id.as_str(), command.step.as_deref()), (verb, "a1", Some("2")));
        assert_eq!((command.reason.as_deref(), command.by.as_deref()), (Some("looks good"), Some("kim")));
        assert_eq!(command.force, verb == Verb::Abort);
    }
}

#[test]
fn abort_is_looked_at_first() {
    let annotations = Verb::ALL.iter().rev().map(|verb| annotation(*verb, &request())).collect();
    let verbs: Vec<Verb> = read(&annotations, &[], UID, 7, &BTreeMap::new()).into_iter().map(|command| command.unwrap().verb).collect();
    assert_eq!(verbs, [Verb::Abort, Verb::Rollback, Verb::Pause, Verb::Promote, Verb::Resume, Verb::Retry]);
}

#[test]
fn a_handled_command_is_not_returned_again() {
    let annotations = BTreeMap::from([annotation(Verb::Promote, &request()), annotation(Verb::Pause, &request())]);
    let handled = BTreeMap::from([("promote".to_owned(), "a1".to_owned())]);
    let commands = read(&annotations, &[], UID, 7, &handled);
    assert_eq!(commands.into_iter().map(|command| command.unwrap().verb).collect::<Vec<_>>(), [Verb::Pause]);
}

#[test]
fn an_old_command_is_refused_and_the_reason_names_both() {
    let refused = one(Verb::Promote, &Request { epoch: Some(6), ..request() }).unwrap_err();
    assert!(refused.reason.contains("epoch 6") && refused.reason.contains("present one is 7"), "{}", refused.reason);
    let refused = one(Verb::Retry, &Request { uid: Some("dead".into()), ..request() }).unwrap_err();
    assert!(refused.reason.contains("uid dead") && refused.reason.contains(UID), "{}", refused.reason);
    assert_eq!(refused.by.as_deref(), Some("kim"));
    for (missing, word) in [(Request { epoch: None, ..request() }, "no epoch"), (Request { uid: None, ..request() }, "no uid")] {
        assert!(one(Verb::Resume, &missing).unwrap_err().reason.contains(word));
    }
}

#[test]
fn abort_needs_the_uid_alone() {
    let command = one(Verb::Abort, &Request { uid: Some(UID.into()), ..Request::default() }).unwrap();
    assert!(command.id.starts_with("text-"));
    assert!(one(Verb::Abort, &Request { epoch: Some(1), ..request() }).is_ok());
    assert!(one(Verb::Abort, &Request { uid: Some("dead".into()), ..request() }).is_err());
    let newer = BTreeMap::from([(Verb::Abort.key(), json!({"uid": UID, "shade": 3}).to_string())]);
    assert!(read(&newer, &[], UID, 7, &BTreeMap::new())[0].is_ok());
}

#[test]
fn force_is_for_abort_alone() {
    assert!(one(Verb::Promote, &Request { force: true, ..request() }).unwrap_err().reason.contains("abort alone"));
}

#[test]
fn a_value_that_is_no_command_is_refused_once() {
    for text in ["", "yes", "null", "[]", "{", "{\"id\": 3}", "{\"uid\":\"7c1c\",\"epoch\":7,\"resaon\":\"x\"}"] {
        let annotations = BTreeMap::from([(Verb::Promote.key(), text.to_owned())]);
        let refused = read(&annotations, &[], UID, 7, &BTreeMap::new()).remove(0).unwrap_err();
        assert!(refused.reason.contains("haldane.dev/promote"), "{}", refused.reason);
        let handled = BTreeMap::from([("promote".to_owned(), refused.id)]);
        assert!(read(&annotations, &[], UID, 7, &handled).is_empty());
    }
}

#[test]
fn texts_are_bounded_and_on_one_line() {
    let command =
        one(Verb::Abort, &Request { reason: Some(format!("a\nb{}", "x".repeat(9000))), by: Some("y".repeat(9000)), ..request() }).unwrap();
    let reason = command.reason.unwrap();
    assert_eq!(reason.chars().count(), 500);
    assert!(reason.starts_with("a b"));
    assert_eq!(command.by.unwrap().len(), 120);
    let command = one(Verb::Pause, &Request { id: Some("i".repeat(65)), ..request() }).unwrap();
    assert!(command.id.starts_with("text-"));
}

#[test]
fn the_newest_manager_of_the_annotation_is_named() {
    let entry = |manager: &str, at: &str, key: &str| ManagedFieldsEntry {
        manager: Some(manager.into()),
        time: Some(Time(at.parse().unwrap())),
        fields_v1: Some(FieldsV1(json!({"f:metadata": {"f:annotations": {key: {}}}}))),
        ..Default::default()
    };
    let fields = [
        entry("old", "2026-01-01T00:00:00Z", "f:haldane.dev/pause"),
        entry("kubectl-annotate", "2026-01-02T00:00:00Z", "f:haldane.dev/pause"),
        entry("other", "2026-01-03T00:00:00Z", "f:haldane.dev/abort"),
    ];
    let commands = read(&BTreeMap::from([annotation(Verb::Pause, &request())]), &fields, UID, 7, &BTreeMap::new());
    assert_eq!(commands[0].as_ref().unwrap().manager.as_deref(), Some("kubectl-annotate"));
}

#[test]
fn what_no_command_is_read_from_is_not_kept() {
    let (key, text) = annotation(Verb::Pause, &request());
    let entry = |manager: &str, fields: serde_json::Value| ManagedFieldsEntry {
        manager: Some(manager.into()),
        fields_v1: Some(FieldsV1(fields)),
        ..Default::default()
    };
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let field = format!("f:{key}");
    let annotations = BTreeMap::from([(applied.to_owned(), "{}".to_owned()), (key, text)]);
    let mut metadata = ObjectMeta {
        name: Some("fraud".into()),
        annotations: Some(annotations),
        managed_fields: Some(vec![
            entry(
                "kubectl-client-side-apply",
                json!({"f:metadata": {"f:annotations": {".": {}, format!("f:{applied}"): {}}}, "f:spec": {"f:canary": {}}}),
            ),
            entry("kubectl-annotate", json!({"f:metadata": {"f:annotations": {&field: {}, "f:other": {}}, "f:labels": {}}})),
            entry("haldane", json!({"f:status": {"f:phase": {}}})),
        ]),
        ..ObjectMeta::default()
    };
    let read = |metadata: &ObjectMeta| {
        let fields = metadata.managed_fields.as_deref().unwrap_or_default();
        let commands = read(metadata.annotations.as_ref().unwrap(), fields, UID, 7, &BTreeMap::new());
        commands.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let before = read(&metadata);
    trim(&mut metadata);
    assert_eq!(read(&metadata), before);
    assert_eq!(before[0].manager.as_deref(), Some("kubectl-annotate"));
    let own = json!({"f:metadata": {"f:annotations": {field: {}}}});
    assert_eq!(metadata.managed_fields.as_deref(), Some(&[entry("kubectl-annotate", own)][..]));
    assert_eq!(metadata.annotations.map(|annotations| annotations.len()), Some(1));

    let mut plain = ObjectMeta { annotations: Some(BTreeMap::from([(applied.to_owned(), "{}".to_owned())])), ..ObjectMeta::default() };
    trim(&mut plain);
    assert_eq!(plain, ObjectMeta::default());
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".into()),
        any::<i64>().prop_map(|n| n.to_string()),
        "\"\\PC{0,40}\"",
        "\"7c1c\"",
        "7"
    ];
    let key = prop_oneof!["id", "uid", "epoch", "step", "reason", "by", "force", "[a-z]{1,5}"];
    let object = proptest::collection::vec((key, leaf), 0..9)
        .prop_map(|fields| format!("{{{}}}", fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect::<Vec<_>>().join(",")));
    prop_oneof![3 => object, 1 => "\\PC{0,200}", 1 => proptest::string::string_regex("(?s).{0,80}").unwrap()]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_runs_without_the_present_uid(text in value(), verb in proptest::sample::select(&Verb::ALL[..]), epoch: i64) {
        let annotations = BTreeMap::from([(verb.key(), text.clone())]);
        let first = read(&annotations, &[], UID, epoch, &BTreeMap::new());
        prop_assert_eq!(first.len(), 1);
        let id = match &first[0] {
            Ok(command) => {
                prop_assert!(text.contains(UID));
                prop_assert!(verb == Verb::Abort || text.contains(&epoch.to_string()));
                &command.id
            }
            Err(refused) => {
                prop_assert!(refused.reason.chars().count() < 400);
                &refused.id
            }
        };
        prop_assert!(!id.is_empty() && id.chars().count() <= 64);
        let handled = BTreeMap::from([(verb.name().to_owned(), id.clone())]);
        prop_assert!(read(&annotations, &[], UID, epoch, &handled).is_empty());
    }
}
