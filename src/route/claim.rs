//! Our annotation on the VirtualService: the claim, and the latch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{Actor, AnyReason, Destination, Outcome, names::MANAGED};
use crate::plan::Share;

/// What we say of a route, in the same patch as its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Name of the Rollout, same namespace.
    pub rollout: String,
    /// Its uid: a claim of another uid with this name is void.
    pub uid: String,
    /// Epoch of the write.
    pub epoch: i64,
    /// The canary at the write.
    #[serde(flatten)]
    pub canary: Destination,
    /// Canary's revision at the write.
    pub revision: String,
    /// Name of the step; absent when nothing is stepped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What the canary gets, as written beside it.
    #[serde(flatten)]
    pub share: Share,
    /// Our own http route, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Written>,
    /// Why the share was lowered without a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowered: Option<AnyReason>,
    /// A rollback or an abort: in force until a `retry` with a higher epoch is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latch: Option<Latch>,
    /// What was there before us.
    #[serde(default)]
    pub original: Original,
}

/// Our own http route as we wrote it: what it is found by, and whether somebody changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its content in 16 hex digits.
    pub print: String,
}

/// The decision that rides on the write which executes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latch {
    /// The revision rolled back.
    pub revision: String,
    /// How the route named it.
    #[serde(flatten)]
    pub canary: Destination,
    /// Epoch of the decision.
    pub epoch: i64,
    /// RolledBack, Failed or Aborted.
    pub outcome: Outcome,
    /// Why.
    pub reason: AnyReason,
    /// In words, bounded.
    pub message: String,
    /// Who, for a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// Id of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What was there before us, to be put back by a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Original {
    /// Versions whose destination entries are ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Weights, as written, of the other entries that we changed, by version; null where there was none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, Option<u64>>,
    /// The route had no `mirrors`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrorless: bool,
}

/// Whether a Rollout with this uid has given something to a canary in a route of an object, found or not.
pub fn claimed_by(object: &serde_json::Value, uid: &str) -> bool {
    let annotation = object.pointer("/metadata/annotations").and_then(|all| all.get(MANAGED)).and_then(serde_json::Value::as_str);
    Claims::parse(annotation).are_of(uid)
}

/// Epochs are counted up by one: this is a thousand changes a second for many thousand years.
const MAX_EPOCH: i64 = 1 << 53;

/// All claims of a VirtualService, by route key. Entries that cannot be read are kept as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims {
    entries: BTreeMap<String, serde_json::Value>,
}

impl Claims {
    /// Reads the annotation's text. Text that is no JSON object counts as no claim.
    pub(super) fn parse(text: Option<&str>) -> Self {
        let entries = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self { entries }
    }

    /// The claim on a route. One with an epoch that nobody can have counted to is not ours: it cannot be read.
    pub(super) fn get(&self, key: &str) -> Option<Claim> {
        let claim: Claim = self.entries.get(key).and_then(|value| serde_json::from_value(value.clone()).ok())?;
        let epochs = [Some(claim.epoch), claim.latch.as_ref().map(|latch| latch.epoch)];
        epochs.into_iter().flatten().all(|epoch| (0..MAX_EPOCH).contains(&epoch)).then_some(claim)
    }

    /// Names of the routes of ours that the claims speak of.
    pub(super) fn own_names(&self) -> impl Iterator<Item = String> {
        self.entries.keys().filter_map(|key| Some(self.get(key)?.own?.name))
    }

    /// Whether by the claim of a Rollout with this uid a canary gets something.
    fn are_of(&self, uid: &str) -> bool {
        self.entries.keys().any(|key| self.get(key).is_some_and(|claim| claim.uid == uid && !claim.share.is_none()))
    }

    /// A claim whose route nobody finds any more becomes that of this one, if it belongs to it: the route was renamed, or got a name.
    pub(super) fn follow(&mut self, key: &str, present: impl Fn(&str) -> bool, belongs: impl Fn(&Claim) -> bool) {
        let lost = |old: &&String| !present(old) && self.get(old).is_some_and(|claim| belongs(&claim));
        let mut lost = self.entries.keys().filter(lost);
        if let (false, Some(old), None) = (self.entries.contains_key(key), lost.next().cloned(), lost.next())
            && let Some(claim) = self.entries.remove(&old)
        {
            self.entries.insert(key.to_owned(), claim);
        }
    }

    /// The annotation's text with this route's claim set or taken away; `None` when nothing is left.
    pub(super) fn with(&self, key: &str, claim: Option<&Claim>) -> Option<String> {
        let mut entries = self.entries.clone();
        match claim.map(serde_json::to_value) {
            Some(Ok(value)) => {
                entries.insert(key.to_owned(), value);
            }
            _ => {
                entries.remove(key);
            }
        }
        if entries.is_empty() { None } else { serde_json::to_string(&entries).ok() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_with_an_epoch_that_no_controller_wrote_is_no_claim() {
        for epoch in [-1, i64::MAX, 1 << 60] {
            let claim = json!({"primary": {"rollout": "fraud", "uid": "1", "epoch": epoch, "subset": "v2", "revision": "x", "weight": 5}});
            assert_eq!(Claims::parse(Some(&claim.to_string())).get("primary"), None, "{epoch}");
        }
        let latch = json!({"revision": "x", "subset": "v2", "epoch": i64::MAX, "outcome": "Aborted", "reason": "Aborted", "message": ""});
        let claim =
            json!({"primary": {"rollout": "fraud", "uid": "1", "epoch": 5, "subset": "v2", "revision": "x", "weight": 5, "latch": latch}});
        assert_eq!(Claims::parse(Some(&claim.to_string())).get("primary"), None);
    }
}
