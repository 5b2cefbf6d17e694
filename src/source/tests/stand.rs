//! When a model is written, and what is reported to the registry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{applied, deployment, env};
use crate::api::{Destination, HistoryEntry, Outcome, Reason, RouteKind, RouteRef, SourceReason as Why, SourceState, Version as OfRollout};
use crate::plan::{Origin, Plan, SourcePlan};
use crate::route::{Sought, find};
use crate::seen::{Arm, Deployed, Holder, Observation};
use crate::source::*;
use crate::state::{Ended, Run, State};

/// v1 is stable, v2 is wanted and idle; MLflow names version 7.
struct Ground {
    plan: SourcePlan,
    offered: Offered,
    deployment: Result<Value, Unread>,
    seen: Observation,
    state: State,
    paused: bool,
    written: Option<String>,
}

fn arm(version: &str) -> Deployed {
    let labels = BTreeMap::from([("version".to_owned(), version.to_owned())]);
    let workloads = BTreeSet::from([format!("fraud-{version}")]);
    let revisions = BTreeSet::from([format!("{version}-hash")]);
    Deployed { declared: true, labels, revisions, workloads, arm: Arm::default(), ..Deployed::default() }
}

fn of_rollout(version: &str) -> OfRollout {
    OfRollout::new("fraud", &Destination::Subset(version.into()), format!("{version}-hash"))
}

impl Ground {
    fn new() -> Self {
        let spec = json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}},
            "source": {"mlflow": {"model": "fraud"}, "deployment": "fraud-v2", "write": {"env": {"container": "model", "name": "MODEL_URI"}}},
        });
        let spec = serde_json::from_value(spec).unwrap();
        let canary = Destination::Subset("v2".into());
        let sought = Sought { kind: RouteKind::VirtualService, route: None, canary: &canary };
        let route = json!({
            "metadata": {"name": "fraud", "resourceVersion": "1"},
            "spec": {"hosts": ["fraud"], "http": [{"name": "primary", "route": [{"destination": {"host": "fraud", "subset": "v1"}}]}]},
        });
        let seen = Observation {
            namespace: "ml".into(),
            name: "fraud".into(),
            uid: "uid".into(),
            generation: 1,
            deleting: false,
            finalizer: false,
            plan: Plan::parse(&spec).map_err(|faults| faults.to_string()),
            commands: Vec::new(),
            route: find(&route, sought),
            holder: Holder::Nobody,
            claimed: false,
            elsewhere: Vec::new(),
            one_port: false,
            rivals: Vec::new(),
            versions: [("v1".to_owned(), arm("v1")), ("v2".to_owned(), arm("v2"))].into(),
            look: None,
            config_problem: None,
            passes: 0,
            refusal: None,
            raise_refused: None,
            source: None,
            pending: None,
            fresh: false,
        };
        Self {
            plan: SourcePlan::parse(&spec).unwrap().unwrap(),
            offered: Offered::Model(Model::in_mlflow("fraud", "7")),
            deployment: Ok(deployment()),
            seen,
            state: State { stable: Some(of_rollout("v1")), ..State::default() },
            paused: false,
            written: None,
        }
    }

    fn given(&self) -> Given<'_> {
        Given {
            plan: &self.plan,
            offered: &self.offered,
            deployment: self.deployment.as_ref(),
            seen: &self.seen,
            state: &self.state,
            paused: self.paused,
            written: self.written.as_deref(),
            now: "2026-11-29T12:00:00Z".parse().unwrap(),
        }
    }

    fn stand(&self) -> (SourceState, Why, String, bool) {
        let stand = stand(&self.given());
        (stand.state, stand.why, stand.words, stand.patch.is_some())
    }

    fn ended(&mut self, outcome: Outcome, minutes: i64) {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let (at, plan) = (now - jiff::SignedDuration::from_mins(minutes), self.seen.plan.clone().ok());
        let (stable, canary) = (of_rollout("v1"), of_rollout("v2"));
        let reason = Reason::AnalysisFailed.into();
        let ended = Ended { outcome, reason, message: "drift: 29 % against 3 %".into(), at, stable, canary, plan, drained: true };
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at);
        let (started, ended_at) = (time.clone(), time);
        let entry = HistoryEntry {
            canary: ended.canary.clone(),
            stable: ended.stable.clone(),
            outcome,
            reason: ended.reason.clone(),
            message: ended.message.clone(),
            started,
            ended: ended_at,
            exposure: None,
        };
        self.state.history.insert(0, entry);
        if outcome == Outcome::Promoted {
            (self.state.stable, self.state.promoted) = (Some(ended.canary.clone()), Some(ended.clone()));
        }
        self.state.ended = Some(ended);
    }
}

#[test]
fn what_is_new_is_written_to_the_idle_canary() {
    let ground = Ground::new();
    let words = "Deployment fraud-v2 has models:/fraud/7; its pods are not there yet";
    assert_eq!(ground.stand(), (SourceState::Waiting, Why::Starting, words.into(), true));
}

#[test]
fn what_is_in_place_is_not_written_again_whatever_else_is_so() {
    let mut ground = Ground::new();
    ground.deployment = Ok(applied(&deployment(), &env(), &Model::in_mlflow("fraud", "7")));
    assert_eq!((ground.stand().1, ground.stand().3), (Why::Starting, false), "the pods have the model before");
    ground.seen.versions.get_mut("v2").unwrap().models = BTreeSet::from([Model::in_mlflow("fraud", "7").text()]);
    assert_eq!(ground.stand(), (SourceState::InPlace, Why::AsWanted, "Deployment fraud-v2 has models:/fraud/7".into(), false));
    ground.paused = true;
    assert_eq!((ground.stand().1, ground.stand().3), (Why::AsWanted, false));
    ground.deployment.as_mut().unwrap()["spec"]["template"]["metadata"]["annotations"] = json!({});
    assert_eq!((ground.stand().1, ground.stand().3), (Why::AsWanted, false), "a person wrote it by hand");
}

#[test]
fn nothing_is_written_while_it_is_not_safe_and_the_sentence_says_what_ends_it() {
    type Hand = fn(&mut Ground);
    let cases: [(Hand, Why, &str); 12] = [
        (
            |g| {
                let (plan, now) = (g.seen.plan.clone().unwrap(), "2026-11-29T11:00:00Z".parse().unwrap());
                g.state.run = Some(Run::new(plan, of_rollout("v1"), of_rollout("v2"), now, 1));
            },
            Why::RolloutActive,
            "models:/fraud/7 follows once the rollout under way has ended",
        ),
        (|g| g.paused = true, Why::Paused, "models:/fraud/7 follows once spec.paused is false"),
        (|g| g.state.stable = None, Why::RouteUnknown, "which version is stable is not known yet"),
        (
            |g| g.state.stable = Some(of_rollout("v2")),
            Why::StableNow,
            "models:/fraud/7 waits: v2 is stable now; set spec.canary to the other version and spec.source.deployment to its Deployment",
        ),
        (
            |g| g.plan.deployment = "fraud-v1".into(),
            Why::StableNow,
            "models:/fraud/7 waits: the pods of stable, v1, are those of Deployment fraud-v1; name the Deployment of v2",
        ),
        (
            |g| g.deployment.as_mut().unwrap()["spec"]["template"]["metadata"]["labels"]["version"] = json!("v1"),
            Why::StableNow,
            "models:/fraud/7 waits: the pods of stable, v1, are those of Deployment fraud-v2; name the Deployment of v2",
        ),
        (
            |g| g.seen.elsewhere = vec![("VirtualService preview".into(), "v2".into())],
            Why::ServesTraffic,
            "models:/fraud/7 waits: VirtualService preview leads to v2 too",
        ),
        (
            |g| g.seen.versions.get_mut("v2").unwrap().workloads = BTreeSet::from(["fraud-v2".to_owned(), "fraud-v2-gpu".to_owned()]),
            Why::OtherPods,
            "models:/fraud/7 waits: the pods of v2 are those of fraud-v2-gpu, not of Deployment fraud-v2",
        ),
        (
            |g| {
                let v2 = g.seen.versions.get_mut("v2").unwrap();
                (v2.labels, v2.workloads) = (BTreeMap::new(), BTreeSet::new());
            },
            Why::OtherPods,
            "models:/fraud/7 waits: v2 has no pods that say whose they are; kubectl -n ml scale deployment fraud-v2 --replicas=1",
        ),
        (
            |g| {
                g.deployment.as_mut().unwrap()["spec"]["template"]["metadata"]["labels"]["version"] = json!("v3");
                g.seen.versions.get_mut("v2").unwrap().workloads.clear();
            },
            Why::OtherPods,
            "models:/fraud/7 waits: the pods of Deployment fraud-v2 are not those of v2",
        ),
        (
            |g| g.seen.plan = Err("spec.traffic: names no route".into()),
            Why::ManifestInvalid,
            "nothing is written while the manifest has faults: spec.traffic: names no route",
        ),
        (|g| g.deployment = Err(Unread::NotFound), Why::DeploymentNotFound, "there is no Deployment fraud-v2 in this namespace"),
    ];
    for (hand, why, words) in cases {
        let mut ground = Ground::new();
        hand(&mut ground);
        assert_eq!(ground.stand(), (SourceState::Waiting, why, words.into(), false));
    }
    let mut ground = Ground::new();
    let route = json!({
        "metadata": {"name": "fraud", "resourceVersion": "1"},
        "spec": {"hosts": ["fraud"], "http": [{"name": "primary", "route": [
            {"destination": {"host": "fraud", "subset": "v1"}, "weight": 95}, {"destination": {"host": "fraud", "subset": "v2"}, "weight": 5},
        ]}]},
    });
    let canary = Destination::Subset("v2".into());
    ground.seen.route = find(&route, Sought { kind: RouteKind::VirtualService, route: None, canary: &canary });
    let words = "models:/fraud/7 waits: v2 gets 5 % of VirtualService fraud";
    assert_eq!(ground.stand(), (SourceState::Waiting, Why::ServesTraffic, words.into(), false));
    let mut ground = Ground::new();
    ground.seen.route = Err(crate::route::RouteFault::NotFound(RouteRef::VirtualService("fraud".into())));
    assert_eq!((ground.stand().1, ground.stand().3), (Why::RouteUnknown, false));
}

#[test]
fn a_canary_without_pods_is_written_to_where_its_labels_say_whose_it_is() {
    let mut ground = Ground::new();
    ground.seen.versions.get_mut("v2").unwrap().workloads.clear();
    assert!(ground.stand().3, "{:?}", ground.stand());
    // Another Deployment with the same label, whose pods serve somebody else.
    ground.deployment.as_mut().unwrap()["status"] = json!({"replicas": 2});
    assert_eq!((ground.stand().1, ground.stand().3), (Why::OtherPods, false), "{:?}", ground.stand());
}

#[test]
fn a_deployment_that_has_the_model_and_is_not_the_canarys_is_named_as_that() {
    let mut ground = Ground::new();
    ground.deployment = Ok(applied(&deployment(), &env(), &Model::in_mlflow("fraud", "7")));
    assert_eq!(ground.stand().1, Why::Starting, "{:?}", ground.stand());
    ground.seen.versions.get_mut("v2").unwrap().workloads = BTreeSet::from(["fraud-v1".to_owned()]);
    let (_, why, words, _) = ground.stand();
    assert_eq!(why, Why::OtherPods);
    assert!(words.contains("set spec.source.deployment"), "{words}");
}

#[test]
fn the_way_back_of_a_promotion_stays_as_it_is_until_its_time_is_over() {
    let mut ground = Ground::new();
    // v2 was stable, v1 was promoted, and v2 is wanted again.
    ground.ended(Outcome::Promoted, 20);
    let promoted = ground.state.promoted.as_mut().unwrap();
    (promoted.stable, promoted.canary) = (of_rollout("v2"), of_rollout("v1"));
    ground.state.stable = Some(of_rollout("v1"));
    let (_, why, words, patch) = ground.stand();
    assert_eq!((why, patch), (Why::RollbackWindow, false));
    assert_eq!(words, "models:/fraud/7 waits: until 2026-11-29T12:40:00Z `haldane rollback` needs v2 as it is");
    ground.state.promoted.as_mut().unwrap().at = "2026-11-29T10:59:00Z".parse().unwrap();
    assert!(ground.stand().3);
    // The window of the spec counts, as it does for the command.
    ground.seen.plan.as_mut().unwrap().rollback_window = std::time::Duration::from_secs(24 * 3600);
    assert_eq!((ground.stand().1, ground.stand().3), (Why::RollbackWindow, false));
}

#[test]
fn without_the_right_no_line_is_given_for_a_deployment_that_serves() {
    let mut ground = Ground::new();
    ground.deployment = Err(Unread::Forbidden);
    assert_eq!(ground.stand().1, Why::NoRight);
    ground.state.stable = Some(of_rollout("v2"));
    let (state, why, words, _) = ground.stand();
    assert_eq!((state, why), (SourceState::Waiting, Why::StableNow), "{words}");
    assert!(!words.contains("patch deployment"), "{words}");
}

#[test]
fn without_the_right_a_person_gets_the_line_until_the_pods_have_the_model() {
    let mut ground = Ground::new();
    ground.deployment = Err(Unread::Forbidden);
    let (state, why, words, patch) = ground.stand();
    assert_eq!((state, why, patch), (SourceState::Announced, Why::NoRight, false));
    assert!(words.contains("kubectl -n ml patch deployment fraud-v2 -p '{"), "{words}");
    ground.seen.versions.get_mut("v2").unwrap().models = BTreeSet::from([Model::in_mlflow("fraud", "7").text()]);
    assert_eq!((ground.stand().0, ground.stand().1), (SourceState::InPlace, Why::AsWanted));
}

#[test]
fn what_somebody_removed_is_not_written_twice() {
    let mut ground = Ground::new();
    ground.written = Some(Model::in_mlflow("fraud", "7").text());
    assert_eq!((ground.stand().1, ground.stand().3), (Why::Reverted, false));
    ground.offered = Offered::Model(Model::in_mlflow("fraud", "8"));
    assert!(ground.stand().3, "the next version is tried");
}

#[test]
fn a_source_without_an_answer_is_shown_as_that() {
    let mut ground = Ground::new();
    ground.offered = Offered::Not { model: None, why: Why::NoAnswer, words: "MLflow default: no answer within 10 s".into() };
    assert_eq!(ground.stand(), (SourceState::Unavailable, Why::NoAnswer, "MLflow default: no answer within 10 s".into(), false));
}

#[test]
fn how_a_rollout_ended_is_reported_of_the_model_that_its_pods_have() {
    let model = Model::in_mlflow("fraud", "7");
    let tried = |outcome| {
        let mut ground = Ground::new();
        ground.deployment = Ok(applied(&deployment(), &env(), &model));
        ground.seen.versions.get_mut("v2").unwrap().models = BTreeSet::from([model.text()]);
        ground.ended(outcome, 5);
        ground
    };
    let of = |ground: &Ground| ending(&ground.given()).map(|ending| (ending.version, ending.outcome, ending.reason));
    let said = |outcome| Some(("7".to_owned(), outcome, "drift: 29 % against 3 %".to_owned()));
    assert_eq!(of(&tried(Outcome::Promoted)), said("promoted"));
    assert_eq!(of(&tried(Outcome::RolledBack)), said("rolled-back"));
    assert_eq!(of(&tried(Outcome::Aborted)), said("aborted"));
    assert_eq!(of(&tried(Outcome::Lowered)), None, "nothing was decided");

    let mut other = tried(Outcome::Promoted);
    other.seen.versions.get_mut("v2").unwrap().models = BTreeSet::from([Model::in_mlflow("fraud", "6").text()]);
    assert_eq!(of(&other), None, "these pods have another model");
    let mut by_hand = tried(Outcome::Promoted);
    by_hand.deployment.as_mut().unwrap()["spec"]["template"]["spec"]["containers"][1]["env"][1]["value"] = json!("models:/fraud/9");
    assert_eq!(of(&by_hand), None, "somebody wrote another one beside the annotation");
    let mut settling = tried(Outcome::Promoted);
    settling.seen.versions.get_mut("v2").unwrap().revisions.insert("newer".into());
    assert_eq!(of(&settling), None);
    let mut not_stable = tried(Outcome::Promoted);
    not_stable.state.stable = Some(of_rollout("v1"));
    assert_eq!(of(&not_stable), None, "it was promoted and rolled back");
    let mut job = tried(Outcome::RolledBack);
    job.plan.origin = Origin::Job(BTreeMap::new());
    assert!(of(&job).is_some(), "whom it is reported to is the supplier's matter");
}
