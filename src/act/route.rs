//! Writes to the object that holds the route: what [`RouteWrite`] says, with fresh reads where it leads up and a second look where it was refused.

use std::borrow::Cow;

use kube::{
    api::{Patch, PatchParams, ValidationDirective},
    core::DynamicObject,
};
use serde_json::Value;

use super::{ActError, Desk, READ, WRITE, within};
use crate::api::names::MANAGER;
use crate::api::{Rollout, RouteRef};
use crate::drive::{Refused, RouteWrite};
use crate::observe::mesh;
use crate::route::View;

/// What kube-apiserver says of a field that the schema does not have, where it is asked to be strict.
const UNKNOWN_FIELD: &str = "unknown field";

/// The object as it is now.
///
/// # Errors
/// `Gone` when it does not exist.
pub async fn read(desk: &Desk, object: &RouteRef) -> Result<Value, ActError> {
    let routes = desk.routes(object)?;
    let object = within(READ, &object.to_string(), routes.get(object.name())).await?;
    Ok(mesh::value(&object))
}

/// Writes. Before a write up the Rollout and the object are read again; if either is another than the one decided on, nothing is
/// written. `fresh`: the Rollout is what the server answered just now to a write that was guarded by its resourceVersion, which is a read as
/// good as another. After a 422 it looks and, where only others moved and it leads down, writes again at once.
///
/// # Errors
/// `Stale` when what was decided on is out of date, `Refused` when a webhook says no.
pub async fn write(desk: &Desk, rollout: &Rollout, fresh: bool, write: RouteWrite<'_>) -> Result<Value, ActError> {
    let view = if write.is_down() {
        Cow::Borrowed(write.view)
    } else {
        if !fresh {
            unchanged(desk, rollout).await?;
        }
        let now = write.find(&read(desk, &write.view.object).await?).map_err(ActError::Stale)?;
        if !write.still_fits(&now) {
            return Err(ActError::Stale(write.view.object.to_string()));
        }
        Cow::Owned(now)
    };
    let words = match send(desk, write, &view).await {
        Err(ActError::Refused(words)) => words,
        other => return other,
    };
    // 422 is a failed test as well as a refusal: only a look tells.
    match write.refused(&view, &read(desk, &view.object).await?, &words) {
        Refused::Stands => Err(ActError::Refused(words)),
        Refused::Stale(why) => Err(ActError::Stale(why)),
        Refused::Again(now) => send(desk, write, &now).await,
    }
}

/// The Rollout is the one decided on.
async fn unchanged(desk: &Desk, rollout: &Rollout) -> Result<(), ActError> {
    let name = rollout.metadata.name.clone().unwrap_or_default();
    let now = within(READ, "the Rollout", desk.rollouts.get(&name)).await?;
    let same = now.metadata.resource_version == rollout.metadata.resource_version && now.metadata.uid == rollout.metadata.uid;
    if same { Ok(()) } else { Err(ActError::Stale("the Rollout".to_owned())) }
}

/// A match that cannot be joined any more is something that changed meanwhile.
async fn send(desk: &Desk, write: RouteWrite<'_>, view: &View) -> Result<Value, ActError> {
    let kind = view.object.kind();
    // An older CRD drops a field that it does not know, and a mirror without its percent copies everything.
    let field_validation = (!write.is_down() && kind.is_gateway_api()).then_some(ValidationDirective::Strict);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), field_validation, ..PatchParams::default() };
    let patch = Patch::Json::<DynamicObject>(write.patch(view).map_err(|conflict| ActError::Stale(conflict.to_string()))?);
    let request = desk.routes(&view.object)?.patch(view.object.name(), &params, &patch);
    match within(WRITE, &view.object.to_string(), request).await {
        // Before it a server that refuses a patch repeats the whole object.
        Err(ActError::Refused(words)) if words.contains(UNKNOWN_FIELD) => Err(ActError::Refused(format!(
            "{}; the CRD of {} in this cluster is older than that field: install the CRDs of Gateway API v1.3 or newer",
            words.find(UNKNOWN_FIELD).and_then(|at| words.get(at..)).unwrap_or(&words),
            kind.kind()
        ))),
        answer => Ok(mesh::value(&answer?)),
    }
}
