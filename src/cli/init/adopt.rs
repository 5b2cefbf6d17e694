//! From the object of another controller to ours: what has an equivalent is translated, what has none is named with what to use instead,
//! and the order of the move is said. Pure.

mod argo;
mod condition;
mod flagger;
mod metrics;
mod parts;
mod steps;

use serde_json::Value;

use super::{
    draft::Draft,
    model::{Start, There, named},
};
use crate::cli::{Exit, Failure};

/// API group of Argo Rollouts.
pub(super) const ARGO: &str = "argoproj.io";
/// API group of Flagger.
pub(super) const FLAGGER: &str = "flagger.app";

/// The manifests for an object of another controller.
pub(super) fn draft(there: There<'_>, start: &Start, canary: Option<&str>) -> Result<Draft, Failure> {
    let group = if start.kind == "Canary" { FLAGGER } else { ARGO };
    let ours = |object: &&Value| {
        let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        version.split_once('/').is_some_and(|(of, _)| of == group)
    };
    let all = || there.of(start.kind).filter(ours);
    let Some(object) = all().find(|object| named(object) == start.name) else {
        let names: Vec<&str> = all().map(named).collect();
        let kind = format!("{}.{group}", start.kind);
        let fix = if names.is_empty() {
            format!("there is no {kind} at all; another namespace with -n?")
        } else {
            format!("one of {}", names.join(", "))
        };
        return Err(Failure::new(Exit::NotFound, format!("there is no {kind} {}", start.name), fix));
    };
    let draft = if group == FLAGGER { flagger::draft(there, object, canary) } else { argo::draft(there, object, canary) };
    draft.map(Draft::plain)
}

#[cfg(test)]
mod tests;
