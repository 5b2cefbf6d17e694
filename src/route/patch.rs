//! The wanted split to a patch.

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Value, json};

use super::{
    claim::Claim,
    find::{Entry, View},
};
use crate::api::names::MANAGED;

/// The split wanted, with the claim that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Gets 100 - weight.
    pub stable: String,
    /// Gets `claim.weight`.
    pub canary: String,
    /// Written beside the weights.
    pub claim: Claim,
}

/// What a patch is guarded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Upward: the resourceVersion of a fresh read, so that a frozen old leader or a late request loses.
    Version,
    /// Downward: the route's identity, its destinations and our annotation as read; foreign edits elsewhere do not delay it.
    Identity,
}

/// The patch that brings the route to the wanted split: all weights and our annotation in one write, sum 100. What is already as
/// wanted is not written.
pub fn patch(view: &View, wanted: &Wanted, fence: Fence) -> Patch {
    let mut claim = wanted.claim.clone();
    let weight = claim.weight.min(100);
    let mut ops = tests(view, fence);
    let mut added: Vec<String> =
        claim.original.added.iter().filter(|subset| view.entries.iter().any(|e| e.subset == **subset)).cloned().collect();
    // Entries of ours that serve nobody any more; from the end, so that indices stay.
    let mut kept: Vec<&Entry> = view.entries.iter().collect();
    for (index, entry) in view.entries.iter().enumerate().rev() {
        if entry.weight == 0 && entry.subset != wanted.stable && entry.subset != wanted.canary && added.contains(&entry.subset) {
            ops.push(remove(pointer(view, &["route", &index.to_string()])));
            kept.remove(index);
            added.retain(|subset| *subset != entry.subset);
        }
    }
    for (subset, share) in [(&wanted.canary, weight), (&wanted.stable, 100 - weight)] {
        if !kept.iter().any(|entry| entry.subset == *subset) && (share > 0 || *subset == wanted.canary && weight > 0) {
            let mut destination = json!({ "host": view.host, "subset": subset });
            if let (Some(port), Some(object)) = (&view.port, destination.as_object_mut()) {
                object.insert("port".to_owned(), port.clone());
            }
            ops.push(add(pointer(view, &["route", "-"]), json!({ "destination": destination, "weight": share })));
            added.push(subset.clone());
        }
    }
    for (index, entry) in kept.iter().enumerate() {
        let share = if entry.subset == wanted.canary {
            weight
        } else if entry.subset == wanted.stable {
            100 - weight
        } else {
            0
        };
        if !entry.weighted || entry.weight != share {
            ops.push(add(pointer(view, &["route", &index.to_string(), "weight"]), json!(share)));
            claim.original.unweighted |= !entry.weighted && entry.subset == wanted.stable;
        }
    }
    claim.original.added = added;
    ops.extend(annotate(view, Some(&claim)));
    Patch(ops)
}

/// The patch that takes us out of the route: stable at 100 %, the original shape where nobody touched it, our claim gone. A latch that
/// is there is kept, so that a Rollout made anew finds it.
pub fn release(view: &View, stable: &str) -> Patch {
    let original = view.claim.as_ref().map(|claim| claim.original.clone()).unwrap_or_default();
    let mut ops = tests(view, Fence::Identity);
    let mut left = view.entries.len();
    for (index, entry) in view.entries.iter().enumerate().rev() {
        if entry.subset != stable && original.added.contains(&entry.subset) {
            ops.push(remove(pointer(view, &["route", &index.to_string()])));
            left -= 1;
        }
    }
    let kept = view.entries.iter().filter(|entry| entry.subset == stable || !original.added.contains(&entry.subset));
    for (index, entry) in kept.enumerate() {
        let share = if entry.subset == stable { 100 } else { 0 };
        if left == 1 && original.unweighted && entry.weighted {
            ops.push(remove(pointer(view, &["route", &index.to_string(), "weight"])));
        } else if entry.weight != share || !entry.weighted && left > 1 {
            ops.push(add(pointer(view, &["route", &index.to_string(), "weight"]), json!(share)));
        }
    }
    let remaining = view.claim.clone().filter(|claim| claim.latch.is_some()).map(|mut claim| {
        claim.weight = 0;
        claim.step = None;
        claim
    });
    ops.extend(annotate(view, remaining.as_ref()));
    Patch(ops)
}

fn tests(view: &View, fence: Fence) -> Vec<PatchOperation> {
    let mut ops = Vec::new();
    if fence == Fence::Version {
        ops.push(test(PointerBuf::from_tokens(["metadata", "resourceVersion"]), json!(view.resource_version)));
    }
    if let Some(name) = &view.name {
        ops.push(test(pointer(view, &["name"]), json!(name)));
    }
    for (index, entry) in view.entries.iter().enumerate() {
        ops.push(test(pointer(view, &["route", &index.to_string(), "destination", "subset"]), json!(entry.subset)));
        ops.push(test(pointer(view, &["route", &index.to_string(), "destination", "host"]), json!(view.host)));
    }
    if let (Fence::Identity, Some(text)) = (fence, &view.annotation) {
        ops.push(test(annotation(), json!(text)));
    }
    ops
}

fn annotate(view: &View, claim: Option<&Claim>) -> Option<PatchOperation> {
    let text = view.claims.with(&view.key, claim);
    match text {
        Some(text) if view.annotation.as_ref() == Some(&text) => None,
        Some(text) if view.has_annotations => Some(add(annotation(), json!(text))),
        Some(text) => Some(add(PointerBuf::from_tokens(["metadata", "annotations"]), json!({ (MANAGED): text }))),
        None => view.annotation.as_ref().map(|_| remove(annotation())),
    }
}

fn annotation() -> PointerBuf {
    PointerBuf::from_tokens(["metadata", "annotations", MANAGED])
}

fn pointer(view: &View, tail: &[&str]) -> PointerBuf {
    let index = view.index.to_string();
    let mut pointer = PointerBuf::from_tokens(["spec", "http", index.as_str()]);
    for token in tail {
        pointer.push_back(Token::new(*token));
    }
    pointer
}

fn add(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

fn remove(path: PointerBuf) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path })
}

fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}
