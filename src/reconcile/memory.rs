//! What this process knows of a Rollout beside status and caches. All of it may be lost.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::Value;

use crate::api::Rollout;
use crate::observe::StepKey;
use crate::observe::sampler::Sampler;
use crate::observe::workload::ReadyLog;

/// Memory of one Rollout.
#[derive(Default)]
pub(super) struct Memory {
    /// The server's answer to our newest write, until the watch shows a newer one.
    pub(super) rollout: Option<Rollout>,
    /// The VirtualService as answered or read, until the watch shows a newer one.
    pub(super) route: Option<Value>,
    /// What refused the newest downward write.
    pub(super) refusal: Option<String>,
    /// Passes since the key began.
    pub(super) passes: Option<(StepKey, u32)>,
    /// Since when pods are ready.
    pub(super) ready: ReadyLog,
    /// The sampler, and what it was started for.
    pub(super) sampler: Option<(String, Sampler)>,
    /// When status was written last, on the monotonic clock.
    pub(super) written: Option<Duration>,
    /// Failures in a row.
    pub(super) failures: u32,
}

impl Memory {
    /// The newer of the cache's object and our own.
    pub(super) fn newest(&mut self, cached: &Rollout) -> Rollout {
        let own = self.rollout.take().filter(|own| own.uid() == cached.uid());
        let own = own.filter(|own| number(own.resource_version().as_deref()) > number(cached.resource_version().as_deref()));
        self.rollout.clone_from(&own);
        own.unwrap_or_else(|| cached.clone())
    }

    /// Our own VirtualService, if it is newer than the cache's and of the same name.
    pub(super) fn newest_route(&mut self, cached: Option<&Value>, name: &str) -> Option<Value> {
        let version = |object: &Value| number(object.pointer("/metadata/resourceVersion").and_then(Value::as_str));
        let own = self.route.take().filter(|own| own.pointer("/metadata/name").is_some_and(|own| own == name));
        let newer = own.filter(|own| cached.is_some_and(|cached| version(own) > version(cached)));
        self.route.clone_from(&newer);
        newer
    }

    /// Counts a pass of this key.
    pub(super) fn count(&mut self, key: Option<StepKey>) -> u32 {
        self.passes = key.map(|key| match self.passes {
            Some((known, passes)) if known == key => (key, passes.saturating_add(1)),
            _ => (key, 1),
        });
        self.passes.map_or(0, |(_, passes)| passes)
    }
}

/// resourceVersions of one object grow; Kubernetes promises since 1.35 that they may be compared as numbers.
fn number(version: Option<&str>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}
