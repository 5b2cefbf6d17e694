//! The commands against an API server that answers as one with a controller behind it would.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use std::{
    process::Output,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const NAMESPACE: &str = "/apis/haldane.dev/v1alpha1/namespaces/ml/rollouts";

/// One Rollout, and a controller that handles commands with one outcome, or is not there.
#[derive(Clone)]
struct Api {
    rollout: Arc<Mutex<Value>>,
    controller: Option<&'static str>,
}

impl Respond for Api {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut rollout = self.rollout.lock().unwrap();
        let failure = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                                "message": format!("{reason}: said by the server")});
            ResponseTemplate::new(code).set_body_json(status)
        };
        let path = request.url.path();
        if path.contains("/namespaces/secret/") {
            return failure(403, "Forbidden");
        }
        if path == NAMESPACE {
            let list = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "RolloutList", "metadata": {}, "items": [*rollout]});
            return ResponseTemplate::new(200).set_body_json(list);
        }
        if path != format!("{NAMESPACE}/fraud") {
            return failure(404, "NotFound");
        }
        if request.method.as_str() == "PATCH" {
            let patch: Value = serde_json::from_slice(&request.body).unwrap();
            let annotations = patch["metadata"]["annotations"].as_object().unwrap();
            rollout["metadata"]["annotations"] = annotations.clone().into();
            if let Some(outcome) = self.controller {
                let (key, value) = annotations.iter().next().unwrap();
                let command: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
                rollout["status"]["handled"][key.strip_prefix("haldane.dev/").unwrap()] = command["id"].clone();
                if outcome == "CommandRefused" {
                    let verb = key.strip_prefix("haldane.dev/").unwrap();
                    let message = format!("{verb} was refused as the controller says");
                    rollout["status"]["rejected"][verb] = json!({"id": command["id"], "message": message, "at": "2026-01-02T03:04:06Z"});
                } else {
                    rollout["status"]["decision"]["outcome"] = outcome.into();
                    rollout["status"]["decision"]["message"] = format!("{outcome} as the controller says").into();
                }
            }
        }
        ResponseTemplate::new(200).set_body_json(rollout.clone())
    }
}

fn rollout(phase: &str) -> Value {
    json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "fraud", "namespace": "ml", "uid": "u-1", "generation": 3, "resourceVersion": "9"},
        "spec": {"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}},
        "status": {
            "observedGeneration": 3, "phase": phase, "epoch": 7, "verdict": "Inconclusive", "checkpoint": {"version": 1},
            "stable": {"host": "fraud", "subset": "v1", "revision": "a"}, "canary": {"host": "fraud", "subset": "v2", "revision": "b"},
            "step": {"index": 1, "name": "2", "weight": 20, "heldSeconds": 60, "holdSeconds": 300},
            "evidence": [{"metric": "errorRate", "verdict": "Inconclusive", "message": "errors 0.12 % against 0.11 %, n 3,120 / 59,204"}],
            "decision": {"outcome": "Held", "reason": "HoldTime", "message": "the hold of step 2 is not over", "at": "2026-01-02T03:04:05Z",
                         "epoch": 7, "weight": 20, "next": "on to 50 %; `haldane abort fraud --reason TEXT` returns the traffic to stable"},
        },
    })
}

struct World {
    server: MockServer,
    api: Api,
    kubeconfig: std::path::PathBuf,
}

impl World {
    async fn new(phase: &str, controller: Option<&'static str>) -> Self {
        let server = MockServer::start().await;
        let api = Api { rollout: Arc::new(Mutex::new(rollout(phase))), controller };
        Mock::given(any()).respond_with(api.clone()).mount(&server).await;
        let kubeconfig = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{}", server.address().port()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server.uri()}}],
            "users": [{"name": "kim", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "kim", "namespace": "ml"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { server, api, kubeconfig }
    }

    async fn run(&self, arguments: &str) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_haldane"));
        command.args(arguments.split(' ')).arg("--kubeconfig").arg(&self.kubeconfig).env_remove("KUBECONFIG");
        let Output { status, stdout, stderr } = command.output().await.unwrap();
        (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn annotation(&self, verb: &str) -> Value {
        let rollout = self.api.rollout.lock().unwrap();
        let text = rollout["metadata"]["annotations"][format!("haldane.dev/{verb}")].as_str().unwrap().to_owned();
        serde_json::from_str(&text).unwrap()
    }

    fn untouched(&self) -> bool {
        self.api.rollout.lock().unwrap()["metadata"]["annotations"].is_null()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

#[tokio::test]
async fn a_command_is_bound_to_what_it_saw_and_prints_what_the_controller_made_of_it() {
    let world = World::new("Progressing", Some("Advanced")).await;
    let (code, stdout, stderr) = world.run("promote fraud --reason ok --step 2").await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("ml/fraud   promote accepted\n") && stdout.contains("Advanced as the controller says"), "{stdout}");
    let value = world.annotation("promote");
    assert_eq!((&value["uid"], &value["epoch"], &value["step"]), (&json!("u-1"), &json!(7), &json!("2")));
    assert_eq!((&value["by"], &value["reason"], &value["force"]), (&json!("kim"), &json!("ok"), &Value::Null));
    assert_eq!(value["id"].as_str().unwrap().len(), 16);
    let requests = world.server.received_requests().await.unwrap();
    let patch = requests.iter().find(|request| request.method.as_str() == "PATCH").unwrap();
    assert!(patch.url.query().unwrap().contains("fieldManager=haldane-cli"));
}

#[tokio::test]
async fn a_refused_command_exits_8_and_says_why() {
    let world = World::new("Progressing", Some("CommandRefused")).await;
    let (code, stdout, _) = world.run("pause fraud -o json").await;
    assert_eq!(code, 8);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("cli.haldane.dev/v1"), &json!("CommandAnswer")));
    assert_eq!((&answer["answer"], &answer["verb"]), (&json!("refused"), &json!("pause")));
    assert_eq!(answer["refused"], "pause was refused as the controller says");
    let (_, stdout, _) = world.run("status fraud").await;
    assert!(stdout.contains("pause was refused") && stdout.contains("the hold of step 2 is not over"), "{stdout}");
}

#[tokio::test]
async fn a_command_is_not_taken_for_the_one_that_was_refused_beside_it() {
    let world = World::new("Progressing", Some("Aborted")).await;
    let other = json!({"promote": {"id": "1", "message": "promote was refused", "at": "2026-01-02T03:04:06Z"}});
    world.api.rollout.lock().unwrap()["status"]["rejected"] = other;
    let (code, stdout, _) = world.run("abort fraud --reason bad").await;
    assert!(code == 0 && stdout.starts_with("ml/fraud   abort accepted\n"), "{stdout}");
}

#[tokio::test]
async fn a_command_that_another_one_replaced_is_not_waited_for() {
    let world = World::new("Progressing", None).await;
    let other = json!({"haldane.dev/abort": "{\"id\": \"somebody else's\"}"});
    let rollout = world.api.rollout.clone();
    tokio::spawn(async move {
        for _ in 0..200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let mut rollout = rollout.lock().unwrap();
            if !rollout["metadata"]["annotations"].is_null() {
                rollout["metadata"]["annotations"] = other.clone();
            }
        }
    });
    let (code, stdout, _) = world.run("abort fraud --reason bad --wait 20s").await;
    assert!(code == 8 && stdout.contains("abort superseded"), "{code} {stdout}");
}

#[tokio::test]
async fn status_says_what_a_waiting_rollout_waits_for_and_says_it_once() {
    let world = World::new("Waiting", None).await;
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let why = "v3 has no pods: deploy the version, it starts automatically";
    let conditions = json!([
        condition("Ready", "False", "NoCanaryEndpoint", why),
        condition("Reconciling", "True", "NoCanaryEndpoint", why),
        condition("Stalled", "False", "NoCanaryEndpoint", why),
        condition("Paused", "False", "NoCanaryEndpoint", why),
    ]);
    {
        let mut rollout = world.api.rollout.lock().unwrap();
        rollout["status"]["conditions"] = conditions;
        rollout["spec"]["canary"]["subset"] = json!("v3");
    }
    let (_, stdout, _) = world.run("status fraud").await;
    assert!(stdout.starts_with("ml/fraud   v3 waiting to start   waiting for a ready canary pod\n"), "{stdout}");
    assert!(stdout.contains("because     v3 has no pods"), "{stdout}");
    {
        let mut rollout = world.api.rollout.lock().unwrap();
        rollout["status"]["phase"] = json!("Holding");
        for kind in [2, 3] {
            rollout["status"]["conditions"][kind]["status"] = json!("True");
        }
    }
    let (_, stdout, _) = world.run("status fraud").await;
    assert!(stdout.contains("v2 holding at 20 %   waiting for a ready canary pod"), "{stdout}");
    assert_eq!(stdout.matches("because").count(), 1, "{stdout}");
}

#[tokio::test]
async fn what_to_try_next_names_the_namespace() {
    let world = World::new("Idle", None).await;
    let (_, _, stderr) = world.run("promote fraud -n ml").await;
    assert!(stderr.contains("haldane status fraud -n ml"), "{stderr}");
    let (_, _, stderr) = world.run("abort fraud -n ml --reason x --wait 1s").await;
    assert!(stderr.contains("kubectl get events -n ml "), "{stderr}");
}

#[tokio::test]
async fn a_command_without_an_answer_exits_124_and_stays() {
    let world = World::new("Progressing", None).await;
    let (code, stdout, stderr) = world.run("abort fraud --reason bad --force --wait 1s").await;
    assert_eq!(code, 124);
    assert!(stdout.contains("written, not answered yet") && stderr.contains("is the controller running?"), "{stdout}{stderr}");
    assert_eq!(world.annotation("abort")["force"], json!(true));
    assert_eq!(world.run("abort fraud --reason bad --wait 0s").await.0, 0);
}

#[tokio::test]
async fn what_makes_no_sense_is_not_written() {
    let world = World::new("Idle", Some("Advanced")).await;
    for arguments in ["promote fraud", "pause fraud", "resume fraud", "retry fraud"] {
        let (code, stdout, stderr) = world.run(arguments).await;
        assert_eq!((code, stdout.as_str()), (8, ""), "{arguments}");
        assert!(stderr.contains("ml/fraud is Idle") && stderr.contains("hint: "), "{stderr}");
    }
    assert!(world.untouched());
    let world = World::new("Progressing", Some("Advanced")).await;
    let (code, _, stderr) = world.run("promote fraud --step 1").await;
    assert!(code == 8 && stderr.contains("not at step 1: the present step is 2, the next one 3"), "{stderr}");
    let (code, _, stderr) = world.run("rollback fraud --reason bad").await;
    assert!(code == 8 && stderr.contains("haldane abort fraud"), "{stderr}");
    assert!(world.untouched());
}

#[tokio::test]
async fn promote_names_the_step_that_it_approves() {
    let world = World::new("Paused", Some("Advanced")).await;
    let (code, stdout, _) = world.run("promote fraud --step 3 --reason seen").await;
    assert!(code == 0 && stdout.starts_with("ml/fraud   promote accepted\n"), "{stdout}");
    assert_eq!(world.annotation("promote")["step"], json!("3"));
    world.run("promote fraud").await;
    assert_eq!(world.annotation("promote")["step"], json!("2"), "without a name it is bound to the step that was seen");
    world.api.rollout.lock().unwrap()["status"]["step"] = json!({"index": -1, "name": "-", "weight": 0});
    world.run("promote fraud").await;
    assert_eq!(world.annotation("promote")["step"], Value::Null, "before the first step there is none to be bound to");
    assert_eq!(world.run("promote fraud --step 1").await.0, 0);
}

#[tokio::test]
async fn an_answer_to_an_older_question_is_no_approval_of_the_next_step() {
    let world = World::new("Paused", Some("Advanced")).await;
    world.api.rollout.lock().unwrap()["status"]["decision"]["reason"] = json!("ApprovalRequired");
    let (code, _, stderr) = world.run("promote fraud --step 2 --reason seen").await;
    assert!(code == 8 && stderr.contains("what asks for a person is step 3, not 2"), "{stderr}");
    assert!(stderr.contains("haldane promote fraud -n ml --step 3"), "{stderr}");
    assert!(world.untouched());
    assert_eq!(world.run("promote fraud --step 3").await.0, 0);
}

#[tokio::test]
async fn what_has_passed_may_be_tried_once_more() {
    let world = World::new("Passed", Some("Retried")).await;
    let (code, stdout, stderr) = world.run("retry fraud").await;
    assert!(code == 0 && stdout.starts_with("ml/fraud   retry accepted\n"), "{stdout}{stderr}");
}

#[tokio::test]
async fn rollback_is_bound_to_the_promotion_that_was_seen_and_prints_why_it_is_refused() {
    // Waiting: another version is wanted, and is not there yet.
    for phase in ["Promoted", "RolledBack", "Idle", "Waiting"] {
        let world = World::new(phase, Some("RolledBack")).await;
        let (code, stdout, _) = world.run("rollback fraud --reason bad").await;
        assert!(code == 0 && stdout.starts_with("ml/fraud   rollback accepted\n"), "{phase} {stdout}");
        let value = world.annotation("rollback");
        assert_eq!((&value["uid"], &value["epoch"], &value["reason"]), (&json!("u-1"), &json!(7), &json!("bad")));
    }
    let world = World::new("Promoted", Some("CommandRefused")).await;
    let (code, stdout, _) = world.run("rollback fraud").await;
    assert!(code == 8 && stdout.contains("rollback was refused as the controller says"), "{stdout}");
}

#[tokio::test]
async fn resume_names_what_ends_the_pauses_that_it_does_not() {
    let world = World::new("Paused", Some("Resumed")).await;
    world.api.rollout.lock().unwrap()["status"]["decision"]["reason"] = "ApprovalRequired".into();
    let (code, _, stderr) = world.run("resume fraud").await;
    assert!(code == 8 && stderr.contains("haldane promote fraud -n ml --step 3"), "{stderr}");
    world.api.rollout.lock().unwrap()["spec"]["paused"] = true.into();
    let (code, _, stderr) = world.run("resume fraud").await;
    assert!(code == 8 && stderr.contains("set spec.paused to false"), "{stderr}");
    assert!(world.untouched());
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_exits_7_and_names_what_is_there() {
    let world = World::new("Idle", None).await;
    let (code, _, stderr) = world.run("status frod").await;
    assert!(code == 7 && stderr.contains("no Rollout frod in namespace ml") && stderr.contains("one of fraud"), "{stderr}");
    let (code, _, stderr) = world.run("status fraud -n secret").await;
    assert!(code == 7 && stderr.contains("you may not get rollouts.haldane.dev in namespace secret"), "{stderr}");
    let (code, _, stderr) = world.run("list -n elsewhere").await;
    assert!(code == 7 && stderr.contains("haldane crd | kubectl apply"), "{stderr}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_shown_in_words() {
    let world = World::new("Idle", None).await;
    let config = std::fs::read_to_string(&world.kubeconfig).unwrap();
    std::fs::write(&world.kubeconfig, config.replace(&world.server.uri(), "http://127.0.0.1:1")).unwrap();
    let (code, _, stderr) = world.run("list").await;
    assert!(code == 1 && stderr.contains("the API server at http://127.0.0.1:1/ cannot be reached"), "{stderr}");
    let (code, _, stderr) = world.run("list --context prod").await;
    assert!(code == 2 && stderr.contains("no context prod") && stderr.contains("one of test"), "{stderr}");
}

#[tokio::test]
async fn status_fits_80_columns_and_says_what_comes_next() {
    let world = World::new("Holding", None).await;
    let (code, stdout, _) = world.run("status fraud").await;
    assert_eq!(code, 0);
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    for words in ["ml/fraud   v2 holding at 20 %", "2 of 4: 20 %", "1m of 5m", "errors 0.12 % against 0.11 %", "haldane abort fraud"] {
        assert!(stdout.contains(words), "{words}\n{stdout}");
    }
    assert!(!stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn status_as_json_has_the_identity_and_nothing_internal() {
    let world = World::new("Progressing", None).await;
    let (_, stdout, _) = world.run("status fraud -o json").await;
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&status["kind"], &status["uid"], &status["epoch"]), (&json!("RolloutStatus"), &json!("u-1"), &json!(7)));
    assert_eq!((&status["step"]["weight"], &status["phase"]), (&json!(20), &json!("Progressing")));
    assert!(status["checkpoint"].is_null() && status["handled"].is_null());
}

#[tokio::test]
async fn until_exits_with_the_code_of_the_end() {
    for (phase, goal, code) in [("RolledBack", "done", 3), ("Aborted", "promoted", 4), ("Paused", "paused", 0), ("Invalid", "done", 2)] {
        let world = World::new(phase, None).await;
        assert_eq!(world.run(&format!("status fraud --until {goal}")).await.0, code, "{phase} {goal}");
    }
    for (phase, code) in [("Paused", 5), ("Holding", 6), ("Progressing", 124)] {
        let world = World::new(phase, None).await;
        let (found, stdout, stderr) = world.run("status fraud --until done --timeout 300ms").await;
        assert_eq!(found, code, "{phase}");
        assert!(stdout.starts_with("ml/fraud") && stderr.contains("not done within 300ms"), "{stdout}{stderr}");
    }
}

#[tokio::test]
async fn until_follows_the_rollout_to_its_end() {
    let world = World::new("Progressing", None).await;
    let waiting = world.run("status fraud --until step=3 --timeout 30s");
    let moving = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let mut rollout = world.api.rollout.lock().unwrap();
        rollout["status"]["step"] = json!({"index": 2, "name": "3", "weight": 50});
    };
    let ((code, _, stderr), ()) = tokio::join!(waiting, moving);
    assert_eq!(code, 0);
    assert!(stderr.contains("step 2 20 %") && stderr.contains("step 3 50 %") && stderr.ends_with("at step 3\n"), "{stderr}");
}

#[tokio::test]
async fn another_version_wanted_meanwhile_is_a_conflict() {
    let world = World::new("Progressing", None).await;
    let waiting = world.run("status fraud --until promoted --timeout 30s");
    let editing = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        world.api.rollout.lock().unwrap()["spec"]["canary"]["subset"] = "v3".into();
    };
    let ((code, _, stderr), ()) = tokio::join!(waiting, editing);
    assert!(code == 8 && stderr.contains("superseded: v3 is wanted now, not v2"), "{stderr}");
}

#[tokio::test]
async fn list_and_explain_show_what_is_in_status() {
    let world = World::new("Progressing", None).await;
    let (code, stdout, _) = world.run("list").await;
    assert_eq!(code, 0);
    assert!(stdout.starts_with("NAME   PHASE        STEP  WEIGHT  STABLE  CANARY  VERDICT       SINCE"));
    let (code, stdout, _) = world.run("explain fraud").await;
    assert!(
        code == 0
            && stdout.contains("the canary holding at 20 %   until its hold is over")
            && stdout.contains("why         the hold of step 2 is not over"),
        "{stdout}"
    );
    let (_, stdout, _) = world.run("explain fraud -o yaml").await;
    assert!(stdout.contains("kind: Explanation") && stdout.contains("reason: HoldTime"), "{stdout}");
}

#[tokio::test]
async fn explain_and_history_answer_in_each_format() {
    let world = World::new("RolledBack", None).await;
    {
        let mut rollout = world.api.rollout.lock().unwrap();
        let version = |name: &str| json!({"host": "fraud", "subset": name, "revision": format!("{name}-a")});
        rollout["status"]["decision"]["canary"] = version("v2");
        rollout["status"]["history"] = json!([{
            "canary": version("v3"), "stable": version("v1"), "outcome": "RolledBack", "reason": "CanaryUnavailable", "message": "v3 lost its pods",
            "started": "2026-01-01T10:00:00Z", "ended": "2026-01-01T10:33:00Z",
            "exposure": {"canaryRequests": 3_120, "stableRequests": 59_204, "canaryErrors": 318, "seconds": 432},
        }]);
    }
    let (code, stdout, _) = world.run("explain fraud --format md").await;
    assert!(code == 0 && stdout.starts_with("### ml/fraud v2 holding at 20 %"), "{stdout}");
    let (_, stdout, _) = world.run("explain fraud --format json --revision v3").await;
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&value["apiVersion"], &value["kind"]), (&json!("cli.haldane.dev/v1"), &json!("Explanation")));
    assert_eq!((&value["decision"], &value["past"]["exposure"]["canaryRequests"]), (&Value::Null, &json!(3_120)));
    assert_eq!(value["view"]["outcome"], "v3 rolled back");
    let (code, _, stderr) = world.run("explain fraud --revision v9").await;
    assert!(code == 7 && stderr.contains("ml/fraud keeps no rollout of v9") && stderr.contains("v3 (v3-a)"), "{stderr}");
    let (code, _, stderr) = world.run("explain fraud --metric gpu").await;
    assert!(code == 2 && stderr.contains("no metric gpu") && stderr.contains("one of errorRate"), "{stderr}");
    let (code, stdout, _) = world.run("history fraud").await;
    assert!(code == 0 && stdout.contains("RolledBack") && stdout.contains("3,120") && stdout.contains("33m"), "{stdout}");
    let (_, stdout, _) = world.run("history fraud -o json").await;
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&value["kind"], &value["items"][0]["ended"]), (&json!("RolloutHistory"), &json!("2026-01-01T10:33:00Z")));
}

#[tokio::test]
async fn copies_and_cohorts_are_shown_as_what_they_are() {
    let world = World::new("Progressing", None).await;
    {
        let mut rollout = world.api.rollout.lock().unwrap();
        let steps = json!([
            {"name": "shadow", "mirror": 100, "acknowledgeSideEffects": true},
            {"name": "beta", "match": [{"headers": {"x-user-group": {"exact": "beta"}}}]},
            {"weight": 5}, {"weight": 100},
        ]);
        rollout["spec"]["strategy"] = json!({ "steps": steps });
        let step = json!({"index": 0, "name": "shadow", "weight": 0, "traffic": "mirror of 100 %", "heldSeconds": 60, "holdSeconds": 300});
        rollout["status"]["step"] = step;
        rollout["status"]["decision"]["exposure"] =
            json!({"canaryRequests": 0, "mirroredRequests": 5_000, "stableRequests": 5_010, "canaryErrors": 0, "seconds": 60});
    }
    let (_, stdout, _) = world.run("status fraud").await;
    assert!(stdout.contains("1 of 4 (shadow): mirror of 100 % to the canary"), "{stdout}");
    let (_, stdout, _) = world.run("list").await;
    assert!(stdout.contains("shadow  mirror of 100 %"), "{stdout}");
    let (_, stdout, _) = world.run("explain fraud").await;
    let flat = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("exposed 5,000 copies of requests in 1m, no user saw an answer"), "{stdout}");
    world.api.rollout.lock().unwrap()["status"]["step"] = json!({"index": 1, "name": "beta", "weight": 0, "traffic": "match"});
    let (_, stdout, _) = world.run("status fraud").await;
    assert!(stdout.contains("2 of 4 (beta): match to the canary"), "{stdout}");
}

#[tokio::test]
async fn watch_prints_a_line_for_each_change_and_ends_with_the_code_of_the_end() {
    let world = World::new("Progressing", None).await;
    let watching = world.run("watch fraud --until done --timeout 30s");
    let moving = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        world.api.rollout.lock().unwrap()["status"]["evidence"][0]["verdict"] = "Fail".into();
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        world.api.rollout.lock().unwrap()["status"]["phase"] = "RolledBack".into();
    };
    let ((code, stdout, stderr), ()) = tokio::join!(watching, moving);
    assert_eq!((code, stderr.as_str()), (3, "rolled back by analysis\n"), "{stdout}");
    let lines: Vec<&str> = stdout.lines().map(|line| line.split_once("Z  ").unwrap().1).collect();
    let wanted = [
        "Progressing step 2 20 %: the canary holding at 20 %, until its hold is over; errors undecided",
        "Progressing step 2 20 %: the canary holding at 20 %, until its hold is over; errors worse",
        "RolledBack step 2 20 %: the canary holding at 20 %, until its hold is over; errors worse",
    ];
    assert_eq!(lines, wanted, "a look that changes nothing is no line");
}

#[tokio::test]
async fn watch_prints_json_lines_and_stops_where_nobody_reads() {
    let world = World::new("Progressing", None).await;
    let watching = world.run("watch fraud -o jsonl --until paused --timeout 30s");
    let moving = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        world.api.rollout.lock().unwrap()["status"]["phase"] = "Paused".into();
    };
    let ((code, stdout, _), ()) = tokio::join!(watching, moving);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (0, 2), "{stdout}");
    assert!(lines.iter().all(|line| line["apiVersion"] == "cli.haldane.dev/v1" && line["kind"] == "RolloutStatus"), "{stdout}");
    assert_eq!((&lines[0]["phase"], &lines[1]["phase"]), (&json!("Progressing"), &json!("Paused")));
    assert!(lines[0]["view"]["rows"].is_array() && lines[0]["checkpoint"].is_null(), "{stdout}");

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_haldane"));
    command.args(["watch", "fraud", "--plain", "--kubeconfig"]).arg(&world.kubeconfig).env_remove("KUBECONFIG");
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    // The reader is gone after its first line, as `head -1` is.
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut first).unwrap();
    world.api.rollout.lock().unwrap()["status"]["phase"] = "Holding".into();
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(first.contains("Paused step 2 20 %") && ended.code() == Some(0), "{first}");
}

#[tokio::test]
async fn watch_says_that_it_is_stale_and_goes_on_once_the_server_answers() {
    let world = World::new("Progressing", None).await;
    let watching = world.run("watch fraud --until promoted --timeout 60s");
    let failing = async {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        world.server.reset().await;
        let away = ResponseTemplate::new(500)
            .set_body_json(json!({"kind": "Status", "status": "Failure", "code": 500, "message": "etcd is away"}));
        Mock::given(any()).respond_with(away).mount(&world.server).await;
        tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
        world.api.rollout.lock().unwrap()["status"]["phase"] = "Promoted".into();
        world.server.reset().await;
        Mock::given(any()).respond_with(world.api.clone()).mount(&world.server).await;
    };
    let ((code, stdout, stderr), ()) = tokio::join!(watching, failing);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stderr.matches("stale: the API server answered 500: etcd is away; trying again\n").count(), 1, "{stderr}");
    assert!(stderr.contains("connected again\n") && stdout.lines().last().unwrap().contains("Promoted"), "{stdout}{stderr}");
}

#[tokio::test]
async fn watch_of_what_is_not_there_fails_at_once() {
    let world = World::new("Idle", None).await;
    let (code, _, stderr) = world.run("watch frod").await;
    assert!(code == 7 && stderr.contains("no Rollout frod in namespace ml"), "{stderr}");
    let (code, _, stderr) = world.run("watch fraud -o yaml").await;
    assert!(code == 2 && stderr.contains("-o jsonl"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let link = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl-haldane");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_haldane"), &link).unwrap();
    let output = std::process::Command::new(&link).args(["status", "--help"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: kubectl haldane status"));
}

#[test]
fn two_files_of_a_rehearsal_cannot_both_be_standard_input() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_haldane"));
    command.args(["rehearse", "-f", "-", "--scenario", "-", "--runs", "1"]);
    let manifest = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml")).unwrap();
    let output = command.stdin(manifest).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{stderr}");
    assert!(stderr.starts_with("error: -f - and --scenario - both read standard input\n  hint: "), "{stderr}");
}

#[tokio::test]
async fn whoever_is_acted_as_is_told_to_the_server_and_is_who_asked() {
    let world = World::new("Progressing", Some("Advanced")).await;
    let (code, _, stderr) = world.run("promote fraud --as deployer --as-group ci --as-group ops").await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(world.annotation("promote")["by"], json!("deployer"));
    let requests = world.server.received_requests().await.unwrap();
    let headers = |name: &str| requests[0].headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(headers("impersonate-user"), ["deployer"]);
    assert_eq!(headers("impersonate-group"), ["ci", "ops"]);
    let (code, _, stderr) = world.run("list --as-group ci").await;
    assert!(code == 2 && stderr.contains("--as <USER>"), "{stderr}");
    let (code, _, stderr) = world.run("list --request-timeout 0s").await;
    assert!(code == 2 && stderr.contains("must be above 0"), "{stderr}");
}

#[tokio::test]
async fn rollouts_are_printed_by_name_and_line_by_line() {
    let world = World::new("Progressing", None).await;
    assert_eq!(world.run("list -o name").await.1, "rollout.haldane.dev/fraud\n");
    assert_eq!(world.run("status fraud -o name").await.1, "rollout.haldane.dev/fraud\n");
    let (_, lines, _) = world.run("list -o jsonl").await;
    let line: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!((&line["apiVersion"], &line["kind"], &line["name"]), (&json!("cli.haldane.dev/v1"), &json!("Rollout"), &json!("fraud")));
    let (_, narrow, _) = world.run("list").await;
    let (_, wide, _) = world.run("list -o wide").await;
    assert!(wide.lines().next().unwrap().contains("VERDICT"), "{wide}");
    assert!(narrow.len() <= wide.len(), "{narrow}{wide}");
    let (code, _, stderr) = world.run("explain fraud -o name").await;
    assert!(code == 2 && stderr.contains("-o name is for commands that print Rollouts"), "{stderr}");
}
