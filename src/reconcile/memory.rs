//! What this process knows of a Rollout beside status and caches. All of it may be lost.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use serde_json::Value;

use crate::api::{OpenAlert, Rollout, RouteRef};
use crate::command;
use crate::decide::RETRY_REFUSED;
use crate::drive::Passes;
use crate::observe::sampler::Sampler;
use crate::observe::workload::ReadyLog;
use crate::state::{CheckpointError, State, restore};
use crate::traces::Course;

/// Memory of one Rollout.
#[derive(Default)]
pub(super) struct Memory {
    /// The server's answer to our newest write, until the watch shows a newer one.
    pub(super) rollout: Option<Arc<Rollout>>,
    /// Its resourceVersion, and when that write was sent, on the monotonic clock.
    answered: Option<(String, Duration)>,
    /// The state in status, by the resourceVersion that it was read from.
    state: Option<(String, Arc<State>)>,
    /// The object that holds the route as answered or read, until the watch shows a newer one.
    pub(super) route: Option<Value>,
    /// What refused the newest downward write.
    pub(super) refusal: Option<String>,
    /// What refused the newest upward write, and when, on the monotonic clock.
    pub(super) raise_refused: Option<(String, Duration)>,
    /// Passes since the key began.
    pub(super) passes: Passes,
    /// Since when pods are ready.
    pub(super) ready: ReadyLog,
    /// The sampler, and what it was started for.
    pub(super) sampler: Option<(String, Sampler)>,
    /// When status was written last, on the monotonic clock.
    pub(super) written: Option<Duration>,
    /// Alerts whose states last, as status has them: with the Rollout they end too.
    pub(super) alerting: Vec<OpenAlert>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// What the call under way does, where traces are wanted.
    pub(super) course: Course,
    /// The trace with the newest look.
    pub(super) look: Option<(u128, u64)>,
}

/// So long the answer to a guarded write of the Rollout is as good as a fresh read of it: the passes of one call follow each other at once.
const FRESH: Duration = Duration::from_secs(1);

impl Memory {
    /// Keeps the server's answer to a write of the Rollout that was sent at `sent` and guarded by its resourceVersion.
    pub(super) fn wrote(&mut self, mut answer: Rollout, sent: Duration) {
        command::trim(&mut answer.metadata);
        self.answered = answer.resource_version().map(|version| (version, sent));
        self.rollout = Some(Arc::new(answer));
    }

    /// Whether this is what the server said of the Rollout just now.
    pub(super) fn fresh(&self, rollout: &Rollout, now: Duration) -> bool {
        let said = self.answered.as_ref().filter(|(version, _)| rollout.resource_version().as_ref() == Some(version));
        said.is_some_and(|(_, sent)| now.saturating_sub(*sent) <= FRESH)
    }

    /// What was decided on turned out to be old: nothing counts as fresh before it is read.
    pub(super) fn doubt(&mut self) {
        self.answered = None;
    }

    /// The newer of the cache's object and our own.
    pub(super) fn newest(&mut self, cached: &Arc<Rollout>) -> Arc<Rollout> {
        let own = self.rollout.take().filter(|own| own.uid() == cached.uid());
        let own = own.filter(|own| number(own.resource_version().as_deref()) > number(cached.resource_version().as_deref()));
        self.rollout.clone_from(&own);
        own.unwrap_or_else(|| cached.clone())
    }

    /// The state in the status of this Rollout. It is read once for each version of the object.
    pub(super) fn state(&mut self, rollout: &Rollout) -> Result<Arc<State>, CheckpointError> {
        let version = rollout.resource_version();
        if let Some((known, state)) = &self.state
            && version.as_ref() == Some(known)
        {
            return Ok(state.clone());
        }
        let state = Arc::new(restore(rollout.status.as_ref())?);
        self.state = version.map(|version| (version, state.clone()));
        Ok(state)
    }

    /// What refused the newest upward write, until it is time to try again.
    pub(super) fn refused_raise(&self, now: Duration) -> Option<String> {
        let (words, at) = self.raise_refused.as_ref()?;
        (now.saturating_sub(*at) < Duration::from_secs_f64(RETRY_REFUSED)).then(|| words.clone())
    }

    /// The object that holds the route as we know it, if that is newer than the cache's.
    pub(super) fn newest_route(&mut self, cached: Option<&Value>, object: &RouteRef) -> Option<Value> {
        let version = |object: &Value| number(object.pointer("/metadata/resourceVersion").and_then(Value::as_str));
        let is = |own: &Value, pointer: &str, wanted: &str| own.pointer(pointer).is_some_and(|there| there == wanted);
        let same = |own: &Value| is(own, "/metadata/name", object.name()) && is(own, "/kind", object.kind().kind());
        let own = self.route.take().filter(same);
        let newer = own.filter(|own| cached.is_some_and(|cached| version(own) > version(cached)));
        self.route.clone_from(&newer);
        newer
    }
}

/// resourceVersions of one object grow; Kubernetes promises since 1.35 that they may be compared as numbers.
fn number(version: Option<&str>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(version: &str) -> Rollout {
        let spec = serde_json::json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
        let metadata = serde_json::json!({"name": "fraud", "resourceVersion": version});
        serde_json::from_value(
            serde_json::json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": metadata, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn an_answer_is_a_fresh_read_of_that_version_for_a_second_and_until_something_was_old() {
        let at = Duration::from_millis;
        let mut memory = Memory::default();
        assert!(!memory.fresh(&rollout("7"), at(0)), "what came from the watch is read again");
        memory.wrote(rollout("7"), at(5_000));
        assert!(memory.fresh(&rollout("7"), at(6_000)));
        assert!(!memory.fresh(&rollout("7"), at(6_001)), "a process that was frozen");
        assert!(!memory.fresh(&rollout("8"), at(5_010)), "somebody wrote since");
        memory.doubt();
        assert!(!memory.fresh(&rollout("7"), at(5_010)));
    }

    #[test]
    fn a_status_is_read_once_for_each_version() {
        let mut memory = Memory::default();
        let first = memory.state(&rollout("7")).unwrap();
        assert!(Arc::ptr_eq(&first, &memory.state(&rollout("7")).unwrap()));
        assert!(!Arc::ptr_eq(&first, &memory.state(&rollout("8")).unwrap()));
    }
}
