//! What Argo CD runs: the scripts of `deploy/argocd`, in Lua 5.1 with the few libraries that it gives them.

use haldane::{
    api::{Phase, Reason, RolloutStatus},
    sim::traffic::Behaviour,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mlua::{Lua, LuaOptions, StdLib};
use serde_json::{Map, Value, json};

use crate::stage::{Stage, better, rollout};

const HEALTH: &str = include_str!("../../deploy/argocd/health.lua");
const DISCOVERY: &str = include_str!("../../deploy/argocd/discovery.lua");
const ACTION: &str = include_str!("../../deploy/argocd/action.lua");

/// Runs a script on an object. Of the libraries it has the base and tables: no strings, no files, no network.
fn run<R>(script: &str, object: &Value, read: impl FnOnce(mlua::Value) -> R) -> R {
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).unwrap();
    lua.globals().set("obj", given(&lua, object)).unwrap();
    read(lua.load(script).eval().unwrap())
}

fn given(lua: &Lua, value: &Value) -> mlua::Value {
    match value {
        Value::Null => mlua::Value::Nil,
        Value::Bool(bool) => mlua::Value::Boolean(*bool),
        Value::Number(number) => mlua::Value::Number(number.as_f64().unwrap()),
        Value::String(text) => mlua::Value::String(lua.create_string(text).unwrap()),
        Value::Array(items) => mlua::Value::Table(lua.create_sequence_from(items.iter().map(|item| given(lua, item))).unwrap()),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            mlua::Value::Table(lua.create_table_from(fields.map(|(name, value)| (name.as_str(), given(lua, value)))).unwrap())
        }
    }
}

/// An answer as JSON.
fn taken(value: &mlua::Value) -> Value {
    match value {
        mlua::Value::Boolean(bool) => (*bool).into(),
        mlua::Value::Integer(number) => (*number).into(),
        mlua::Value::Number(number) => (*number).into(),
        mlua::Value::String(text) => text.to_string_lossy().into(),
        mlua::Value::Table(table) if table.raw_len() > 0 => {
            table.sequence_values::<mlua::Value>().map(|item| taken(&item.unwrap())).collect()
        }
        mlua::Value::Table(table) => {
            let pairs = table.pairs::<String, mlua::Value>().map(Result::unwrap);
            pairs.map(|(name, value)| (name, taken(&value))).collect::<Map<String, Value>>().into()
        }
        _ => Value::Null,
    }
}

/// What Lua cannot tell apart is the same: 1 and 1.0, an empty list and an empty object, null and nothing.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) if items.is_empty() => json!({}),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// The health of a Rollout.
pub(crate) fn health(object: &Value) -> String {
    run(HEALTH, object, |answer| taken(&answer))["status"].as_str().unwrap().to_owned()
}

/// The actions that are offered.
fn offered(object: &Value) -> Vec<String> {
    let all = run(DISCOVERY, object, |answer| taken(&answer));
    let all = all.as_object().unwrap();
    assert_eq!(all.len(), 6);
    all.iter().filter(|(_, action)| action["disabled"] == false).map(|(verb, _)| verb.clone()).collect()
}

/// The object that an action makes of another.
fn acted(verb: &str, object: &Value) -> Value {
    run(&ACTION.replace("VERB", verb), object, |answer| taken(&answer))
}

/// The newest state of the Rollout.
fn live(stage: &Stage) -> Value {
    serde_json::to_value(stage.world.rollout().unwrap()).unwrap()
}

/// A press of the button: Argo CD patches what the script has changed.
async fn press(stage: &Stage, verb: &str, shown: &Value) {
    let made = acted(verb, shown);
    let patch = json!({"metadata": {"annotations": made["metadata"]["annotations"]}});
    let mut alone = shown.clone();
    json_patch::merge(&mut alone, &patch);
    assert_eq!(plain(&made), plain(&alone), "an action changes its annotation and nothing else");
    let api: Api<haldane::api::Rollout> = Api::default_namespaced(stage.world.client());
    let params = PatchParams { field_manager: Some("argocd-server".into()), ..PatchParams::default() };
    api.patch("fraud", &params, &Patch::Merge(patch)).await.unwrap();
}

async fn begun(seed: u64, behaviour: Behaviour, steps: Value) -> Stage {
    let mut stage = Stage::set(seed).await;
    stage.control(false);
    stage.world.deploy("v2", behaviour);
    stage.world.apply(&crate::strategies::with("v2", json!({ "steps": steps }))).await.unwrap();
    stage
}

fn at(weight: i32) -> impl Fn(&RolloutStatus) -> bool {
    move |status| status.phase == Some(Phase::Progressing) && status.step.as_ref().is_some_and(|step| step.weight == weight)
}

#[tokio::test(start_paused = true)]
async fn the_actions_of_argo_cd_lead_a_rollout_from_its_start_to_its_end_and_back() {
    let steps = json!([{"name": "few", "weight": 5, "hold": "60s"}, {"name": "half", "weight": 50, "hold": "10s", "approval": true}, {"weight": 100, "hold": "10s"}]);
    let stage = begun(431, better(), steps).await;
    stage.until("at 5 %", at(5)).await;
    assert_eq!(offered(&live(&stage)), ["abort", "pause", "promote"]);
    press(&stage, "pause", &live(&stage)).await;
    stage.until("paused", |s| s.phase == Some(Phase::Paused)).await;
    assert_eq!(offered(&live(&stage)), ["abort", "resume"]);
    press(&stage, "resume", &live(&stage)).await;
    let asked =
        |s: &RolloutStatus| s.phase == Some(Phase::Paused) && s.decision.as_ref().is_some_and(|d| d.reason == Reason::ApprovalRequired);
    stage.until("asked", asked).await;
    assert_eq!(offered(&live(&stage)), ["abort", "promote"]);
    press(&stage, "promote", &live(&stage)).await;
    let status = stage.until("at 50 %", at(50)).await;
    let by = status.decision.unwrap().by.unwrap();
    assert!(serde_json::to_string(&by).unwrap().contains("argocd-server"), "{by:?}");
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(offered(&live(&stage)), ["rollback"]);
    press(&stage, "rollback", &live(&stage)).await;
    stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(offered(&live(&stage)), ["retry"]);
    press(&stage, "retry", &live(&stage)).await;
    stage.until("again at 5 %", at(5)).await;
    press(&stage, "abort", &live(&stage)).await;
    stage.until_phase("v2", Phase::Aborted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 50, 100, 0, 5, 0]);
    assert_eq!(stage.world.status().rejected.len(), 0, "each of them was taken");
}

#[tokio::test(start_paused = true)]
async fn an_action_on_a_page_that_is_old_does_nothing() {
    let mut stage = Stage::set(432).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": "30s"}}}))).await.unwrap();
    stage.until("at 5 %", at(5)).await;
    let shown = live(&stage);
    stage.until("at 20 %", at(20)).await;
    press(&stage, "promote", &shown).await;
    stage.seconds(5).await;
    let status = stage.world.status();
    assert_eq!(status.step.unwrap().weight, 20, "it was meant for the step before");
    assert!(status.rejected["promote"].message.contains("something has happened since"), "{:?}", status.rejected);
    // The same press twice is one command.
    let shown = live(&stage);
    assert_eq!(acted("pause", &shown), acted("pause", &shown));
}
