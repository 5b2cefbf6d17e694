//! Writes to the Rollout: its status, its finalizer. Guarded by the resourceVersion that was decided on.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf};
use kube::api::PatchParams;
use serde_json::{Value, json};

use super::{ActError, Desk, WRITE, within};
use crate::api::names::{FINALIZER, MANAGER};
use crate::api::{Rollout, RolloutStatus};

/// Replaces the whole status.
///
/// # Errors
/// `Stale` when the Rollout is another than the one decided on.
pub async fn store_status(desk: &Desk, rollout: &Rollout, status: &RolloutStatus) -> Result<Rollout, ActError> {
    let value = serde_json::to_value(status).map_err(|error| ActError::Refused(error.to_string()))?;
    let patch = Patch(vec![same_version(rollout), PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(["status"]), value })]);
    let name = rollout.metadata.name.clone().unwrap_or_default();
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let answer = within(WRITE, "the Rollout", desk.rollouts.patch_status(&name, &params, &kube::api::Patch::Json::<Rollout>(patch))).await;
    stale_if_refused(answer)
}

/// Adds our finalizer.
///
/// # Errors
/// `Stale` when the Rollout is another than the one decided on.
pub async fn add_finalizer(desk: &Desk, rollout: &Rollout) -> Result<Rollout, ActError> {
    let add = match &rollout.metadata.finalizers {
        Some(_) => AddOperation { path: PointerBuf::from_tokens(["metadata", "finalizers", "-"]), value: json!(FINALIZER) },
        None => AddOperation { path: PointerBuf::from_tokens(["metadata", "finalizers"]), value: json!([FINALIZER]) },
    };
    patch(desk, rollout, vec![same_version(rollout), PatchOperation::Add(add)]).await
}

/// Removes our finalizer.
///
/// # Errors
/// `Stale` when the Rollout is another than the one decided on.
pub async fn drop_finalizer(desk: &Desk, rollout: &Rollout) -> Result<Rollout, ActError> {
    let finalizers = rollout.metadata.finalizers.clone().unwrap_or_default();
    let Some(index) = finalizers.iter().position(|finalizer| finalizer == FINALIZER) else { return Ok(rollout.clone()) };
    let path = PointerBuf::from_tokens(["metadata", "finalizers", index.to_string().as_str()]);
    let test = PatchOperation::Test(TestOperation { path: path.clone(), value: json!(FINALIZER) });
    patch(desk, rollout, vec![same_version(rollout), test, PatchOperation::Remove(RemoveOperation { path })]).await
}

async fn patch(desk: &Desk, rollout: &Rollout, operations: Vec<PatchOperation>) -> Result<Rollout, ActError> {
    let name = rollout.metadata.name.clone().unwrap_or_default();
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let operations = kube::api::Patch::Json::<Rollout>(Patch(operations));
    let request = desk.rollouts.patch(&name, &params, &operations);
    stale_if_refused(within(WRITE, "the Rollout", request).await)
}

fn same_version(rollout: &Rollout) -> PatchOperation {
    let value = rollout.metadata.resource_version.clone().map_or(Value::Null, Value::String);
    PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(["metadata", "resourceVersion"]), value })
}

/// What kube-apiserver says of a patch whose `test` failed, and of nothing else that is written here.
const FAILED_TEST: &str = "the server rejected our request due to an error in our request";

/// A failed `test` answers 422 like a schema's refusal. The words of the two differ; a wrong guess only costs one more read.
fn stale_if_refused<T>(answer: Result<T, ActError>) -> Result<T, ActError> {
    match answer {
        Err(ActError::Refused(message)) if message == FAILED_TEST => Err(ActError::Stale(message)),
        other => other,
    }
}
