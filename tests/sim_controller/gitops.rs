//! A tool that applies what git says, beside a rollout: what users see, what the tool says of the Rollout, how git gets its revert.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use haldane::{
    api::{Phase, Reason, RolloutStatus},
    config::WebhookFormat,
    sim::traffic::Behaviour,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::stage::{Stage, better, rollout};

/// What git has of the VirtualService: both destinations, and the first weights for ever.
fn in_git(stage: &Stage) -> Value {
    let mut spec = stage.world.virtual_service()["spec"].clone();
    let to = |subset: &str, weight: u8| json!({"destination": {"host": "fraud", "subset": subset}, "weight": weight});
    spec["http"][0]["route"] = json!([to("v1", 100), to("v2", 0)]);
    spec
}

/// Applies the VirtualService of git. One that ignores weights writes those that the cluster has.
async fn apply_route(stage: &Stage, manager: &str, spec: &Value, ignores_weights: bool) {
    let mut spec = spec.clone();
    if ignores_weights {
        let live = stage.world.virtual_service();
        for (http, there) in spec["http"].as_array_mut().unwrap().iter_mut().zip(live["spec"]["http"].as_array().unwrap()) {
            for (to, now) in http["route"].as_array_mut().unwrap().iter_mut().zip(there["route"].as_array().unwrap()) {
                to["weight"] = now["weight"].clone();
            }
        }
    }
    let kind = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(stage.world.client(), &kind);
    let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    api.patch("fraud", &params, &Patch::Merge(json!({ "spec": spec }))).await.unwrap();
}

/// Requests of users that failed, and those that found nobody.
fn harm(stage: &Stage) -> (u64, u64) {
    let served = stage.world.served();
    (served.values().map(|one| one.errors).sum(), served.get("").map_or(0, |nobody| nobody.requests))
}

async fn begun(seed: u64, behaviour: Behaviour, hold: &str) -> Stage {
    let mut stage = Stage::set(seed).await;
    let mut route = stage.world.virtual_service();
    route["spec"] = in_git(&stage);
    stage.world.objects().put(route).unwrap();
    stage.control(false);
    stage.world.deploy("v2", behaviour);
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": hold}}}))).await.unwrap();
    stage
}

#[tokio::test(start_paused = true)]
async fn an_applier_that_ignores_the_weights_each_minute_is_not_noticed() {
    let stage = begun(411, better(), "50s").await;
    let mut spec = in_git(&stage);
    for minute in 1..=4 {
        stage.seconds(60).await;
        // What else git changes gets through in the middle of the rollout.
        spec["http"][0]["timeout"] = format!("{minute}s").into();
        apply_route(&stage, "argocd-controller", &spec, true).await;
    }
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    assert_eq!(stage.world.virtual_service()["spec"]["http"][0]["timeout"], "4s");
    assert_eq!(harm(&stage).1, 0, "no request found nobody");
}

#[tokio::test(start_paused = true)]
async fn an_applier_that_resets_the_weights_each_minute_stops_the_rollout_at_stable_and_the_reason_names_it() {
    let stage = begun(412, better(), "50s").await;
    let spec = in_git(&stage);
    let mut before = 0;
    for minute in 1..=5 {
        stage.seconds(60).await;
        apply_route(&stage, "kustomize-controller", &spec, false).await;
        let served = stage.world.served().get("v2").map_or(0, |served| served.requests);
        // Requests that proxies had begun with are counted a little later.
        if minute == 2 {
            before = served;
        }
    }
    let status = stage.world.status();
    let decision = status.decision.unwrap();
    assert_eq!((status.phase, decision.reason.as_str()), (Some(Phase::Paused), "Contended"));
    assert!(decision.message.contains("kustomize-controller applies this object"), "{}", decision.message);
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0], "nobody fights: users are not moved to and fro");
    assert_eq!(stage.world.served()["v2"].requests, before, "everybody is at stable from the first reset on");
    assert_eq!(harm(&stage).1, 0, "no request found nobody");
    let alerts = stage.alerts();
    assert!(alerts.iter().filter(|text| text.contains("let your GitOps tool ignore the weights")).count() == 1, "{alerts:?}");
    // A person who resumes without the settings gets a minute of the step, no more.
    stage.say("resume", None).await;
    stage.seconds(30).await;
    apply_route(&stage, "kustomize-controller", &spec, false).await;
    stage.seconds(60).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0, 20, 0]);
}

#[tokio::test(start_paused = true)]
async fn after_a_rollback_nothing_starts_however_often_git_says_v2() {
    let stage = begun(413, better().with_errors(0.05), "10s").await;
    stage.until_phase("v2", Phase::RolledBack).await;
    let (writes, manifest) = (stage.weights_of("v2"), rollout("v2", json!({})));
    stage.seconds(30).await;
    let served = stage.world.served()["v2"].requests;
    for _ in 0..20 {
        stage.seconds(60).await;
        stage.world.apply(&manifest).await.unwrap();
    }
    let status = stage.world.status();
    assert_eq!((status.phase, status.history.len()), (Some(Phase::RolledBack), 1));
    assert_eq!((stage.weights_of("v2"), stage.world.served()["v2"].requests), (writes, served));
    // A fixed build under the same name is another revision.
    stage.world.deploy("v2", better());
    stage.until_phase("v2", Phase::Promoted).await;
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git").current_dir(folder).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository as a team has it: the app, its Rollout at v1, a change to v2, and something else after it.
fn repository(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("apps")).unwrap();
    git(&folder, &["init", "-q", "-b", "main"]);
    git(&folder, &["config", "user.name", "A bot"]);
    git(&folder, &["config", "user.email", "bot@example.com"]);
    let manifest = |subset: &str| {
        format!(
            "apiVersion: haldane.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: fraud, namespace: ml}}\nspec:\n  traffic: {{virtualService: fraud}}\n  canary: {{subset: {subset}}}\n  strategy: {{canary: {{}}}}\n"
        )
    };
    for (path, text, message) in [
        ("apps/fraud.yaml", manifest("v1"), "fraud: v1"),
        ("apps/other.yaml", manifest("v2").replace("fraud", "churn"), "churn: v2"),
        ("apps/fraud.yaml", manifest("v2"), "fraud: v2"),
        ("README.md", "models\n".to_owned(), "a readme"),
    ] {
        fs::write(folder.join(path), text).unwrap();
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-q", "-m", message]);
    }
    folder
}

/// What `examples/gitops/revert.sh` answers: whether it ended well, and what it printed.
fn revert(folder: &Path, args: &[&str], notice: &[u8]) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gitops/revert.sh");
    let mut command = Command::new("bash");
    command.arg(script).args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(notice).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_notice_of_a_rollback_becomes_a_revert_on_a_branch() {
    let mut stage = Stage::set(414).await;
    stage.control_telling(WebhookFormat::Json);
    stage.world.deploy("v2", better().with_errors(0.05));
    stage.apply("v2").await;
    let epoch = stage.until_phase("v2", Phase::RolledBack).await.epoch;
    stage.seconds(10).await;
    let notices = stage.world.alerts().received();
    let notice = notices.iter().find(|notice| notice.body["record"]["outcome"] == "RolledBack").unwrap();

    let folder = repository("revert");
    let (remote, main) = (folder.join("remote.git"), git(&folder, &["rev-parse", "main"]));
    git(&folder, &["init", "-q", "--bare", remote.to_str().unwrap()]);
    git(&folder, &["remote", "add", "origin", remote.to_str().unwrap()]);
    let (done, said) = revert(&folder, &["--push", "origin"], &notice.raw);
    let branch = said.split_whitespace().next().unwrap_or_default().to_owned();
    assert!(done && branch.starts_with("haldane/revert-ml-fraud-") && said.ends_with("fraud: v2"), "{said}");
    let decided = notice.body["record"]["epoch"].as_i64().unwrap();
    assert!(branch.ends_with(&format!("-{decided}")) && decided <= epoch, "{branch}");
    let manifest = git(&folder, &["show", &format!("{branch}:apps/fraud.yaml")]);
    assert!(manifest.contains("canary: {subset: v1}"), "{manifest}");
    assert_eq!(git(&folder, &["diff", "--name-only", "main", &branch]), "apps/fraud.yaml", "the other Rollout stays at its v2");
    assert_eq!(git(&remote, &["rev-parse", &branch]), git(&folder, &["rev-parse", &branch]), "it was pushed");
    let written = git(&folder, &["log", "-1", "--format=%B", &branch]);
    assert!(written.contains("haldane rolled it back") && written.contains("ml/fraud: "), "{written}");
    let here = (git(&folder, &["rev-parse", "HEAD"]), git(&folder, &["status", "--porcelain", "--", "apps", "README.md"]));
    assert_eq!(here, (main, String::new()), "the checkout stays as it was");
    assert_eq!(git(&folder, &["worktree", "list"]).lines().count(), 1, "nothing is left behind");

    let (done, said) = revert(&folder, &[], &notice.raw);
    assert!(done && said == format!("nothing to do: branch {branch} is there already"), "{said}");
    git(&folder, &["merge", "-q", &branch]);
    git(&folder, &["branch", "-D", &branch]);
    let (done, said) = revert(&folder, &[], &notice.raw);
    assert!(done && said == "nothing to do: apps/fraud.yaml does not ask for v2 any more", "{said}");
}

#[test]
fn a_notice_that_is_none_or_a_history_that_does_not_fit_reverts_nothing() {
    let folder = repository("revert-not");
    let record = json!({"outcome": "RolledBack", "epoch": 7, "message": "worse", "canary": {"name": "v2"}});
    let notice = |change: Value| {
        let mut notice = json!({"kind": "Decision", "namespace": "ml", "rollout": "fraud", "record": record});
        json_patch::merge(&mut notice, &change);
        notice.to_string().into_bytes()
    };
    let cases: [(Value, &[&str], bool, &str); 6] = [
        (json!({"record": {"outcome": "Promoted"}}), &[], true, "nothing to do: the decision is Promoted, not a rollback"),
        (json!({"record": {"canary": {"name": "v20"}}}), &[], true, "nothing to do: apps/fraud.yaml does not ask for v20 any more"),
        (json!({"kind": "Other"}), &[], false, "is not a notice of haldane"),
        (json!({"rollout": "scorer"}), &[], false, "0 manifests are of a Rollout scorer: name one (none)"),
        (json!({"rollout": "fraud; touch owned"}), &[], false, "is no name of a namespace"),
        (json!({}), &["apps/gone.yaml"], false, "there is no apps/gone.yaml at HEAD"),
    ];
    for (change, args, ends_well, wanted) in cases {
        let (done, said) = revert(&folder, args, &notice(change));
        assert!(done == ends_well && said.contains(wanted), "{said}");
    }
    // The line that asks for v2 has changed since, so the commit cannot be reverted.
    let manifest = folder.join("apps/fraud.yaml");
    let text = fs::read_to_string(&manifest).unwrap().replace("strategy: {canary: {}}", "strategy: {canary: {hold: 1m}}");
    fs::write(&manifest, text).unwrap();
    git(&folder, &["commit", "-q", "-am", "fraud: shorter holds"]);
    let (done, said) = revert(&folder, &[], &notice(json!({})));
    assert!(!done && said.contains("cannot be reverted without a conflict"), "{said}");
    assert_eq!(git(&folder, &["branch", "--format=%(refname:short)"]), "main");
    assert_eq!(git(&folder, &["worktree", "list"]).lines().count(), 1);
}

/// What Argo CD and Flux say in each phase, as the manual has it: phase to healths and results of kstatus.
fn promised() -> BTreeMap<String, [Vec<String>; 2]> {
    let manual = include_str!("../../docs/gitops.md");
    let section = manual.split("\n## What the tools say\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `") || line.starts_with("| any"));
    let words = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        words(cells[1]).into_iter().map(|phase| (phase, [words(cells[2]), words(cells[3])])).collect::<Vec<_>>()
    };
    rows.flat_map(row).collect()
}

/// The rules of kstatus for a kind that it does not know.
fn kstatus(object: &Value) -> &'static str {
    let conditions = || object["status"]["conditions"].as_array().into_iter().flatten();
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    for condition in conditions().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return "InProgress",
            Some("Stalled") => return "Failed",
            _ => {}
        }
    }
    match conditions().find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => "InProgress",
        _ => "Current",
    }
}

/// Everything that status said in a story, one object for each write, against what the manual promises. The phases that were seen.
fn as_promised(stage: &Stage, seen: &mut BTreeMap<String, usize>) {
    let promised = promised();
    for object in stage.rollouts() {
        let (health, kstatus) = (crate::argocd::health(&object), kstatus(&object));
        let Some(phase) = object["status"]["phase"].as_str() else {
            assert_eq!(health, "Progressing", "{object}");
            continue;
        };
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            assert_eq!((health.as_str(), kstatus), ("Progressing", "InProgress"), "the spec is newer than the status");
            continue;
        }
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let stalled = conditions.iter().any(|condition| condition["type"] == "Stalled" && condition["status"] == "True");
        let [healths, results] = if stalled { &promised["Stalled"] } else { &promised[phase] };
        assert!(healths.contains(&health) && results.iter().any(|result| result == kstatus), "{phase}: {health}, {kstatus}: {object}");
        *seen.entry(phase.to_owned()).or_default() += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn argo_cd_and_flux_say_in_every_phase_what_the_manual_promises() {
    let mut seen = BTreeMap::new();
    let pending =
        |s: &RolloutStatus| s.phase == Some(Phase::Paused) && s.decision.as_ref().is_some_and(|d| d.reason == Reason::ApprovalRequired);

    // Nothing to do, a version that is not there yet, an approval, a promotion, the way back.
    let mut stage = Stage::set(421).await;
    stage.control(false);
    let steps = json!({"steps": [{"weight": 5, "hold": "10s"}, {"weight": 100, "hold": "10s", "approval": true}]});
    stage.world.apply(&crate::strategies::with("v1", steps.clone())).await.unwrap();
    stage.until("idle", |s| s.phase == Some(Phase::Idle)).await;
    stage.world.apply(&crate::strategies::with("v2", steps)).await.unwrap();
    stage.until("waiting", |s| s.phase == Some(Phase::Waiting)).await;
    stage.world.deploy("v2", better());
    stage.until("asked", pending).await;
    stage.say("promote", Some("2")).await;
    stage.until_phase("v2", Phase::Promoted).await;
    stage.say("rollback", None).await;
    stage.until_phase("v2", Phase::RolledBack).await;
    as_promised(&stage, &mut seen);

    // A pause, an abort that waits for stable's pods, a manifest with a fault.
    let stage = begun(422, better(), "30s").await;
    stage.until("at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    stage.say("pause", None).await;
    stage.until("paused", |s| s.phase == Some(Phase::Paused)).await;
    stage.world.set_healthy("v1", false);
    stage.seconds(5).await;
    stage.say("abort", None).await;
    stage.until("on its way back, with nobody there to take the users", |s| s.phase == Some(Phase::RollingBack)).await;
    stage.world.set_healthy("v1", true);
    stage.until_phase("v2", Phase::Aborted).await;
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": "5min"}}}))).await.unwrap();
    stage.until("invalid", |s| s.phase == Some(Phase::Invalid)).await;
    as_promised(&stage, &mut seen);

    // A shadow that ends well, and one that does not.
    for (seed, behaviour, phase) in [(423, better(), Phase::Passed), (424, better().with_errors(0.05), Phase::Failed)] {
        let stage = crate::strategies::stage(seed, behaviour, &crate::strategies::shadow("v2")).await;
        stage.until_phase("v2", phase).await;
        as_promised(&stage, &mut seen);
    }

    // Too little traffic for its deadline.
    let mut stage = Stage::with(425, |config| config.rps = 1.0).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": "10s", "deadline": "60s"}}}))).await.unwrap();
    stage.until_phase("v2", Phase::Holding).await;
    as_promised(&stage, &mut seen);

    let missing: Vec<String> = promised().into_keys().filter(|phase| phase != "Stalled" && !seen.contains_key(phase)).collect();
    assert_eq!(missing, [""; 0], "of these phases nothing was said: {seen:?}");
}
