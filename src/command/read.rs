//! Annotations to commands.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value, json};

use super::{Command, RefusedCommand, Request, Verb};

const MAX_ID: usize = 64;
const MAX_STEP: usize = 63;
const MAX_BY: usize = 120;
const MAX_REASON: usize = 500;
/// Longest excerpt of somebody else's text in a message.
const MAX_EXCERPT: usize = 80;

/// The commands that were not handled yet, in the order in which they are to be looked at, abort first; each accepted, or refused with the
/// reason.
///
/// `handled` is `status.handled`: the last id of each verb. What is refused must be recorded there as well, or it is returned again.
pub fn read(
    annotations: &BTreeMap<String, String>,
    managed_fields: &[ManagedFieldsEntry],
    uid: &str,
    epoch: i64,
    handled: &BTreeMap<String, String>,
) -> Vec<Result<Command, RefusedCommand>> {
    let mut commands = Vec::new();
    for verb in Verb::ALL {
        let key = verb.key();
        let Some(text) = annotations.get(&key) else { continue };
        let manager = manager(managed_fields, &key);
        let command = command(verb, text, uid, epoch, manager);
        let id = match &command {
            Ok(command) => &command.id,
            Err(refused) => &refused.id,
        };
        if handled.get(verb.name()) != Some(id) {
            commands.push(command);
        }
    }
    commands
}

/// Takes away what no command is read from: all other annotations, and who wrote all other fields. They can be longer than the rest of a
/// Rollout: `kubectl apply` keeps the whole object in an annotation.
pub fn trim(metadata: &mut ObjectMeta) {
    let keys = Verb::ALL.map(Verb::key);
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|key, _| keys.contains(key));
    }
    metadata.annotations.take_if(|annotations| annotations.is_empty());
    if let Some(entries) = &mut metadata.managed_fields {
        entries.retain_mut(|entry| {
            let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:metadata")?.get("f:annotations"));
            let own = |key: &String| Some((format!("f:{key}"), fields?.get(format!("f:{key}"))?.clone()));
            let own: Map<String, Value> = keys.iter().filter_map(own).collect();
            let any = !own.is_empty();
            entry.fields_v1 = Some(FieldsV1(json!({"f:metadata": {"f:annotations": own}})));
            any
        });
    }
    metadata.managed_fields.take_if(|entries| entries.is_empty());
}

fn command(verb: Verb, text: &str, uid: &str, epoch: i64, manager: Option<String>) -> Result<Command, RefusedCommand> {
    let request = match parse(verb, text) {
        Ok(request) => request,
        Err(fault) => {
            let reason = format!(
                "the value of {} is not a command ({fault}): it must be JSON with id, uid, epoch and reason, as `haldane {verb}` writes it",
                verb.key()
            );
            return Err(RefusedCommand { verb, id: derived(text), reason, by: None, manager });
        }
    };
    let by = request.by.as_deref().and_then(|by| clean(by, MAX_BY));
    // An id that cannot be kept in status as it is, or is not there, is replaced by one that is the same at every look.
    let id = match &request.id {
        Some(id) if clean(id, MAX_ID).as_ref() == Some(id) => id.clone(),
        _ => derived(text),
    };
    if let Err(reason) = bound(verb, &request, uid, epoch) {
        return Err(RefusedCommand { verb, id, reason, by, manager });
    }
    Ok(Command {
        verb,
        id,
        step: request.step.as_deref().and_then(|step| clean(step, MAX_STEP)),
        reason: request.reason.as_deref().and_then(|reason| clean(reason, MAX_REASON)),
        by,
        force: request.force,
        manager,
    })
}

/// What may stand in the value. An abort with a field that is not known is an abort all the same.
fn parse(verb: Verb, text: &str) -> Result<Request, String> {
    let known = ["id", "uid", "epoch", "step", "reason", "by", "force"];
    let fault = |error: serde_json::Error| excerpt(&error.to_string());
    // A map first: a list would be read as the fields in their order.
    let mut value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(fault)?;
    if verb == Verb::Abort {
        value.retain(|key, _| known.contains(&key.as_str()));
    }
    serde_json::from_value(value.into()).map_err(fault)
}

fn bound(verb: Verb, request: &Request, uid: &str, epoch: i64) -> Result<(), String> {
    let again = format!("look at `haldane status` and give the command again with `haldane {verb}`");
    match &request.uid {
        None => return Err(format!("it names no uid; this Rollout is {uid}: {again}")),
        Some(named) if named != uid => {
            return Err(format!("it is for uid {}, this Rollout is {uid} (deleted and created again since?): {again}", excerpt(named)));
        }
        Some(_) => {}
    }
    if verb == Verb::Abort {
        return Ok(());
    }
    match request.epoch {
        None => return Err(format!("it names no epoch; the present one is {epoch}: {again}")),
        Some(named) if named != epoch => {
            return Err(format!("it was given at epoch {named}, the present one is {epoch} (something has happened since): {again}"));
        }
        Some(_) => {}
    }
    if request.force {
        return Err("force is for abort alone: leave it out".into());
    }
    Ok(())
}

/// The newest manager whose fields hold the annotation.
fn manager(managed_fields: &[ManagedFieldsEntry], key: &str) -> Option<String> {
    let field = format!("f:{key}");
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.and_then(|fields| fields.get("f:metadata")?.get("f:annotations")?.get(&field)).is_some()
    };
    let newest = managed_fields.iter().filter(owns).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    newest.manager.as_deref().and_then(|manager| clean(manager, MAX_BY))
}

/// Bounded, without control characters (which could forge a line of a log); `None` if nothing is left.
fn clean(text: &str, max: usize) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect();
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

fn excerpt(text: &str) -> String {
    clean(text, MAX_EXCERPT).unwrap_or_else(|| "\"\"".into())
}

/// An id from the text itself (FNV-1a, 64 bits): the same text is recorded once.
fn derived(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("text-{hash:016x}")
}
