//! A write to the route, as a patch: up loses against anything newer, down survives foreign edits.

use json_patch::Patch;
use serde_json::Value;

use crate::decide::Act;
use crate::route::{self, Fence, MatchConflict, View};

/// A write to the route that was decided on what a view shows.
#[derive(Clone, Copy, Debug)]
pub struct RouteWrite<'a> {
    act: &'a Act,
    /// The route as it was decided on.
    pub view: &'a View,
}

/// What a look at an object says of a write that it refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// The same write would be refused again.
    Stands,
    /// What was decided on is not so any more.
    Stale(String),
    /// Only others moved: write again, on this.
    Again(Box<View>),
}

impl<'a> RouteWrite<'a> {
    pub(super) fn new(act: &'a Act, view: &'a View) -> Self {
        Self { act, view }
    }

    /// Whether it takes traffic from the canary.
    pub fn is_down(&self) -> bool {
        !matches!(self.act, Act::Raise(_))
    }

    /// The guarded patch of the route as `view` shows it.
    ///
    /// # Errors
    /// When the wanted match cannot be joined with the route's own any more.
    pub fn patch(&self, view: &View) -> Result<Patch, MatchConflict> {
        match self.act {
            Act::Raise(wanted) => route::patch(view, wanted, Fence::Version),
            Act::Lower(wanted) => route::patch(view, wanted, Fence::Identity),
            Act::Release { stable, canary } => Ok(route::release(view, stable, canary.as_deref())),
            Act::Nothing | Act::AddFinalizer | Act::DropFinalizer | Act::Reread => Ok(Patch(Vec::new())),
        }
    }

    /// The route in a fresh read of its object.
    ///
    /// # Errors
    /// In words, when it is not there any more.
    pub fn find(&self, object: &Value) -> Result<View, String> {
        route::find(object, self.view.wanted()).map_err(|fault| fault.to_string())
    }

    /// Whether what was decided on is what a fresh read shows.
    pub fn still_fits(&self, now: &View) -> bool {
        now.same_split(self.view) && now.claim == self.view.claim
    }

    /// What the object says after it refused the patch of `written` with these words: a failed `test` is reported as a refusal.
    pub fn refused(&self, written: &View, object: &Value, words: &str) -> Refused {
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let unmoved = version == written.resource_version;
        if let Act::Raise(_) = self.act {
            return if unmoved { Refused::Stands } else { Refused::Stale(words.to_owned()) };
        }
        let now = match self.find(object) {
            Ok(now) => now,
            Err(fault) => return Refused::Stale(fault),
        };
        if let Act::Lower(wanted) = self.act {
            if now.claim.as_ref().is_some_and(|claim| claim.uid == wanted.claim.uid && claim.epoch >= wanted.claim.epoch) {
                return Refused::Stale("a newer write is there".to_owned());
            }
            if now.claim != written.claim {
                return Refused::Stale("our annotation changed".to_owned());
            }
        }
        if unmoved { Refused::Stands } else { Refused::Again(Box::new(now)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Destination;
    use crate::plan::Share;
    use crate::route::{Claim, Original, Sought, Wanted, find};

    fn wanted(weight: u8, epoch: i64) -> Wanted {
        let claim = Claim {
            rollout: "fraud".into(),
            uid: "u".into(),
            epoch,
            canary: Destination::Subset("v2".into()),
            revision: "abc".into(),
            step: None,
            share: Share::weight(weight),
            own: None,
            lowered: None,
            latch: None,
            original: Original::default(),
        };
        Wanted { stable: "v1".into(), canary: "v2".into(), matches: Vec::new(), claim }
    }

    /// An object after the canary got 5 % at epoch 3.
    fn object() -> Value {
        let route = json!([{"destination": {"host": "fraud", "subset": "v1"}}]);
        let mut object =
            json!({"metadata": {"name": "fraud", "resourceVersion": "1"}, "spec": {"http": [{"name": "primary", "route": route}]}});
        write(&mut object, &Act::Raise(wanted(5, 3)));
        object
    }

    /// Another version of the object, with this write on it.
    fn write(object: &mut Value, act: &Act) {
        let view = find(object, Sought::subsets(None)).unwrap();
        json_patch::patch(object, &RouteWrite::new(act, &view).patch(&view).unwrap()).unwrap();
        touch(object);
    }

    fn touch(object: &mut Value) {
        let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    }

    /// What the object says of this act, decided on it and refused after `meanwhile`.
    fn refused(act: &Act, meanwhile: impl FnOnce(&mut Value)) -> Refused {
        let mut object = object();
        let view = find(&object, Sought::subsets(None)).unwrap();
        meanwhile(&mut object);
        RouteWrite::new(act, &view).refused(&view, &object, "denied")
    }

    #[test]
    fn what_an_object_that_nobody_moved_refuses_is_refused() {
        let release = Act::Release { stable: "v1".into(), canary: Some("v2".into()) };
        for act in [Act::Raise(wanted(50, 4)), Act::Lower(wanted(0, 4)), release] {
            assert_eq!(refused(&act, |_| {}), Refused::Stands, "{act:?}");
        }
    }

    #[test]
    fn a_raise_loses_against_anything_newer() {
        assert_eq!(refused(&Act::Raise(wanted(50, 4)), touch), Refused::Stale("denied".into()));
    }

    #[test]
    fn a_way_down_is_written_again_on_what_others_left() {
        let by_hand = |object: &mut Value| {
            object["spec"]["http"][0]["timeout"] = json!("9s");
            touch(object);
        };
        let release = Act::Release { stable: "v1".into(), canary: None };
        for act in [Act::Lower(wanted(0, 4)), release] {
            let Refused::Again(now) = refused(&act, by_hand) else { panic!("{act:?}") };
            assert_eq!(now.resource_version, "3", "{act:?}");
        }
    }

    #[test]
    fn a_way_down_yields_to_a_newer_write_and_to_a_changed_claim() {
        let lower = Act::Lower(wanted(0, 4));
        let stale = |why: &str| Refused::Stale(why.into());
        assert_eq!(refused(&lower, |object| write(object, &Act::Raise(wanted(50, 9)))), stale("a newer write is there"));
        let unclaimed = |object: &mut Value| object["metadata"]["annotations"] = json!({});
        assert_eq!(refused(&lower, unclaimed), stale("our annotation changed"));
    }
}
