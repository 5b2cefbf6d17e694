//! The wanted split to a patch.

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Value, json};

use super::{
    at,
    claim::{Claim, Written},
    find::{Entry, View},
    own::{self, MatchConflict},
};
use crate::api::{Match, names::MANAGED};

/// The split wanted, with the claim that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Gets 100 - weight.
    pub stable: String,
    /// Gets `claim.share`.
    pub canary: String,
    /// The requests of our own route, where `claim.share` has one.
    pub matches: Vec<Match>,
    /// Written beside it.
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

/// The patch that brings the route to the wanted split: all weights (sum 100), our entry in `mirrors`, our own route and our annotation
/// in one write. What is already as wanted is not written; what is not wanted of them is taken away.
///
/// # Errors
/// When our own route is wanted and its matches cannot be joined with those of the managed one.
pub fn patch(view: &View, wanted: &Wanted, fence: Fence) -> Result<Patch, MatchConflict> {
    let mut claim = wanted.claim.clone();
    let weight = claim.share.weight.min(100);
    let own = match claim.share.matched {
        true => Some(own::wanted(view, &view.own_name(), &wanted.canary, &wanted.matches)?),
        false => None,
    };
    let mut ops = tests(view, fence);
    let mut made = 0;
    let mut added: Vec<String> =
        claim.original.added.iter().filter(|version| view.entries.iter().any(|e| e.name == **version)).cloned().collect();
    // Entries of ours that serve nobody any more; from the end, so that indices stay.
    let mut kept: Vec<&Entry> = view.entries.iter().collect();
    for (index, entry) in view.entries.iter().enumerate().rev() {
        if entry.weight == 0 && entry.name != wanted.stable && entry.name != wanted.canary && added.contains(&entry.name) {
            ops.push(remove(entry_at(view, index, &[])));
            kept.remove(index);
            added.retain(|version| *version != entry.name);
        }
    }
    for (version, share) in [(&wanted.canary, weight), (&wanted.stable, 100 - weight)] {
        if !kept.iter().any(|entry| entry.name == *version) && share > 0 {
            ops.push(add(pointer(view, &[view.object.kind().destinations(), "-"]), view.entry(version, share)));
            added.push(version.clone());
            made += 1;
        }
    }
    let share = |entry: &Entry| match () {
        () if entry.name == wanted.canary => weight,
        () if entry.name == wanted.stable => 100 - weight,
        () => 0,
    };
    // What is remembered is how it was under the stable version of now.
    let promoted = view.claim.as_ref().is_some_and(|claim| claim.canary.name() == wanted.stable);
    if promoted {
        claim.original.weights.clear();
    }
    // Weights of another sum than 100 count against each other: one that changes changes them all.
    if made > 0 || kept.iter().any(|entry| entry.weight != share(entry)) {
        for (index, entry) in
            kept.iter().enumerate().filter(|(_, entry)| entry.written.unwrap_or_else(|| view.unwritten()) != u64::from(share(entry)))
        {
            ops.push(add(entry_at(view, index, &["weight"]), json!(share(entry))));
            if !added.contains(&entry.name) {
                claim.original.weights.entry(entry.name.clone()).or_insert(entry.written);
            }
        }
    }
    claim.original.added = added;
    let before = view.claim.as_ref().map(|claim| claim.canary.name()).filter(|version| *version != wanted.canary);
    claim.original.mirrorless =
        mirrors(view, [Some(wanted.canary.as_str()), before], claim.share.mirror, claim.original.mirrorless, &mut ops);
    own_route(view, own.as_ref(), &mut ops);
    claim.own = own.map(|own| Written { name: view.own_name(), print: own::print(&own) });
    ops.extend(annotate(view, Some(&claim)));
    Ok(Patch(ops))
}

/// Brings the copies that lead to the first version to one of so many percent, and takes those to the second away. Gives
/// whether the field is ours.
fn mirrors(view: &View, of: [Option<&str>; 2], percent: u8, mirrorless: bool, ops: &mut Vec<PatchOperation>) -> bool {
    let [canary, before] = of;
    let mut found: Vec<(usize, u8)> = canary.into_iter().flat_map(|version| view.mirrors_of(version)).collect();
    let kept = (percent > 0).then(|| found.first().copied()).flatten();
    if kept.is_some() {
        found.remove(0);
    }
    found.extend(before.into_iter().flat_map(|version| view.mirrors_of(version)));
    found.sort_unstable();
    let copies = view.object.kind().copies();
    let list = view.raw.get(copies).and_then(Value::as_array);
    let of_entry = |index: usize, tail: &[&str]| {
        let mut place = pointer(view, &[copies, &index.to_string()]);
        tail.iter().for_each(|token| place.push_back(Token::new(*token)));
        place
    };
    let entry_of = |index: usize| list.and_then(|list| list.get(index)).unwrap_or(&Value::Null);
    let identity = |index: usize| {
        let field = view.mirror_identity();
        test(of_entry(index, field), at(entry_of(index), &format!("/{}", field.join("/"))).clone())
    };
    if let Some((index, there)) = kept
        && there != percent
    {
        ops.push(identity(index));
        let (place, value) = view.mirror_percent(percent);
        ops.push(add(of_entry(index, place), value));
        // Beside a percent there may be no fraction.
        let fraction = ["requestMirror", "fraction"];
        if !at(entry_of(index), &format!("/{}", fraction.join("/"))).is_null() {
            ops.push(remove(of_entry(index, &fraction)));
        }
    }
    let left = list.map_or(0, Vec::len) - found.len();
    for (index, _) in found.iter().rev() {
        ops.push(identity(*index));
        ops.push(remove(of_entry(*index, &[])));
    }
    if of.into_iter().flatten().any(|version| view.single_mirror(version).is_some()) {
        for field in super::mirror::SINGLE.iter().filter(|field| view.raw.get(**field).is_some()) {
            ops.push(remove(pointer(view, &[*field])));
        }
    }
    match (canary.filter(|_| percent > 0 && kept.is_none()), list) {
        (Some(version), None) => {
            ops.push(add(pointer(view, &[copies]), json!([view.mirror(version, percent)])));
            true
        }
        (Some(version), Some(_)) => {
            ops.push(add(pointer(view, &[copies, "-"]), view.mirror(version, percent)));
            mirrorless
        }
        (None, Some(_)) if left == 0 && mirrorless => {
            ops.push(remove(pointer(view, &[copies])));
            false
        }
        (None, _) => mirrorless && left > 0,
    }
}

/// Brings our own route to what is wanted, right before the managed one; or takes it away. Comes last: it moves the managed route's index.
fn own_route(view: &View, wanted: Option<&Value>, ops: &mut Vec<PatchOperation>) {
    let list = view.object.kind().list();
    let at = |index: usize| PointerBuf::from_tokens(["spec", list, index.to_string().as_str()]);
    let identity = |index: usize| test(PointerBuf::from_tokens(["spec", list, index.to_string().as_str(), "name"]), json!(view.own_name()));
    let kept = wanted.and_then(|_| view.own.iter().find(|own| view.is_reached(own)));
    if let (Some(own), Some(wanted)) = (kept, wanted)
        && own.raw != *wanted
    {
        ops.push(identity(own.index));
        ops.push(replace(at(own.index), wanted.clone()));
    }
    let mut index = view.index;
    for own in view.own.iter().rev().filter(|own| kept.is_none_or(|kept| kept.index != own.index)) {
        ops.push(identity(own.index));
        ops.push(remove(at(own.index)));
        index -= usize::from(own.index < view.index);
    }
    if let (None, Some(wanted)) = (kept, wanted) {
        ops.push(add(at(index), wanted.clone()));
    }
}

/// The patch that takes us out of the route: stable at 100 %, no copies, our own route gone, the original shape where nobody touched it, our
/// claim gone with its latch. `canary` is whose copies are taken away.
pub fn release(view: &View, stable: &str, canary: Option<&str>) -> Patch {
    let original = view.claim.as_ref().map(|claim| claim.original.clone()).unwrap_or_default();
    let mut ops = tests(view, Fence::Identity);
    let ours = |entry: &Entry| entry.name != stable && original.added.contains(&entry.name);
    for (index, _) in view.entries.iter().enumerate().rev().filter(|(_, entry)| ours(entry)) {
        ops.push(remove(entry_at(view, index, &[])));
    }
    let kept: Vec<&Entry> = view.entries.iter().filter(|entry| !ours(entry)).collect();
    let before: Vec<Option<u64>> = kept.iter().map(|entry| original.weights.get(&entry.name).copied().unwrap_or(entry.written)).collect();
    let percents = view.percents(&before).unwrap_or_default();
    let restores = kept.iter().zip(&percents).any(|(entry, percent)| entry.name == stable && *percent == 100);
    for (index, (entry, before)) in kept.iter().zip(before).enumerate() {
        let plain = Some(if entry.name == stable { 100 } else { 0 });
        let wanted = if restores { before } else { plain };
        let place = entry_at(view, index, &["weight"]);
        match wanted {
            _ if wanted == entry.written => {}
            Some(weight) => ops.push(add(place, json!(weight))),
            None => ops.push(remove(place)),
        }
    }
    let claimed = view.claim.as_ref().map(|claim| claim.canary.name());
    mirrors(view, [canary, claimed.filter(|claimed| Some(*claimed) != canary)], 0, original.mirrorless, &mut ops);
    own_route(view, None, &mut ops);
    ops.extend(annotate(view, None));
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
        for (field, value) in view.identity(entry) {
            ops.push(test(entry_at(view, index, &field), value));
        }
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
    let mut pointer = PointerBuf::from_tokens(["spec", view.object.kind().list(), index.as_str()]);
    for token in tail {
        pointer.push_back(Token::new(*token));
    }
    pointer
}

/// Something in an entry of the route.
fn entry_at(view: &View, index: usize, tail: &[&str]) -> PointerBuf {
    let mut place = pointer(view, &[view.object.kind().destinations(), &index.to_string()]);
    tail.iter().for_each(|token| place.push_back(Token::new(*token)));
    place
}

fn add(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path, value })
}

fn replace(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path, value })
}

fn remove(path: PointerBuf) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path })
}

fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}
