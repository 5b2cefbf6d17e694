//! Writes to the object that holds the route. Up needs fresh reads and loses against anything newer; down survives foreign edits.

use kube::{
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::Value;

use super::{ActError, Desk, READ, WRITE, version_of, within};
use crate::api::names::MANAGER;
use crate::api::{Rollout, RouteRef};
use crate::observe::mesh;
use crate::route::{self, Fence, View, Wanted};

/// The object as it is now.
///
/// # Errors
/// `Gone` when it does not exist.
pub async fn read(desk: &Desk, object: &RouteRef) -> Result<Value, ActError> {
    let routes = desk.routes(object)?;
    let object = within(READ, &object.to_string(), routes.get(object.name())).await?;
    Ok(mesh::value(&object))
}

/// Raises the canary's share. The Rollout and the VirtualService are read again; if either is another than the one decided on, nothing is
/// written. `fresh`: the Rollout is what the server answered just now to a write that was guarded by its resourceVersion, which is a read
/// as good as another.
///
/// # Errors
/// `Stale` with what was decided on out of date, `Refused` when a webhook says no.
pub async fn raise(desk: &Desk, rollout: &Rollout, fresh: bool, view: &View, wanted: &Wanted) -> Result<Value, ActError> {
    if !fresh {
        let name = rollout.metadata.name.clone().unwrap_or_default();
        let now = within(READ, "the Rollout", desk.rollouts.get(&name)).await?;
        if now.metadata.resource_version != rollout.metadata.resource_version || now.metadata.uid != rollout.metadata.uid {
            return Err(ActError::Stale("the Rollout".to_owned()));
        }
    }
    let object = read(desk, &view.object).await?;
    let now = find(&object, view)?;
    if !now.same_split(view) || now.claim != view.claim {
        return Err(ActError::Stale(view.object.to_string()));
    }
    match write(desk, view, patch(&now, wanted, Fence::Version)?).await {
        // 422 is a failed test as well as a refusal: only a look tells.
        Err(ActError::Refused(message)) => {
            let after = read(desk, &view.object).await?;
            if version_of(&after) == now.resource_version { Err(ActError::Refused(message)) } else { Err(ActError::Stale(message)) }
        }
        other => other,
    }
}

/// Lowers the canary's share. After a 422 it looks and, if only others moved meanwhile, writes again at once.
///
/// # Errors
/// `Stale` when a newer controller wrote meanwhile, `Refused` when a webhook says no.
pub async fn lower(desk: &Desk, view: &View, wanted: &Wanted) -> Result<Value, ActError> {
    match write(desk, view, patch(view, wanted, Fence::Identity)?).await {
        Err(ActError::Refused(message)) => {
            let object = read(desk, &view.object).await?;
            let now = find(&object, view)?;
            if now.claim.as_ref().is_some_and(|claim| claim.uid == wanted.claim.uid && claim.epoch >= wanted.claim.epoch) {
                return Err(ActError::Stale("a newer write is there".to_owned()));
            }
            if now.claim != view.claim {
                return Err(ActError::Stale("our annotation changed".to_owned()));
            }
            if now.same_split(view) && now.resource_version == view.resource_version {
                return Err(ActError::Refused(message));
            }
            write(desk, &now, patch(&now, wanted, Fence::Identity)?).await
        }
        other => other,
    }
}

/// Takes us out of the route.
///
/// # Errors
/// As [`lower`].
pub async fn release(desk: &Desk, view: &View, stable: &str, canary: Option<&str>) -> Result<Value, ActError> {
    match write(desk, view, route::release(view, stable, canary)).await {
        Err(ActError::Refused(message)) => {
            let now = find(&read(desk, &view.object).await?, view)?;
            if now.resource_version == view.resource_version {
                return Err(ActError::Refused(message));
            }
            write(desk, &now, route::release(&now, stable, canary)).await
        }
        other => other,
    }
}

/// A match that cannot be joined any more is something that changed meanwhile.
fn patch(view: &View, wanted: &Wanted, fence: Fence) -> Result<json_patch::Patch, ActError> {
    route::patch(view, wanted, fence).map_err(|conflict| ActError::Stale(conflict.to_string()))
}

fn find(object: &Value, view: &View) -> Result<View, ActError> {
    route::find(object, view.wanted()).map_err(|fault| ActError::Stale(fault.to_string()))
}

async fn write(desk: &Desk, view: &View, patch: json_patch::Patch) -> Result<Value, ActError> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Json::<DynamicObject>(patch);
    let request = desk.routes(&view.object)?.patch(view.object.name(), &params, &patch);
    Ok(mesh::value(&within(WRITE, &view.object.to_string(), request).await?))
}
