//! Asks for passes: of the Rollouts that a change may concern, and of no others, so that a change in a namespace full of Rollouts costs
//! one pass and not one for each.

use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::mpsc;

use crate::api::{Rollout, RouteKind, RouteRef, Version};
use crate::istio::name::{Host, meant};
use crate::observe::kept;
use crate::state::{is_running, running_route};

/// Asks for passes.
#[derive(Clone)]
pub(super) struct Asks {
    pub(super) rollouts: Store<Rollout>,
    pub(super) slices: Store<kept::Slice>,
    pub(super) wake: mpsc::UnboundedSender<ObjectRef<Rollout>>,
}

impl Asks {
    /// This one.
    pub(super) fn one(&self, namespace: &str, name: &str) {
        let _ = self.wake.send(ObjectRef::new(name).within(namespace));
    }

    pub(super) fn all(&self) {
        self.those(|_| true);
    }

    /// Those that lead or led traffic through an object.
    pub(super) fn route(&self, kind: RouteKind, (namespace, name): &(String, String)) {
        let object = RouteRef::new(kind, name);
        self.those(|rollout| {
            let running = || rollout.status.as_ref().and_then(running_route);
            here(rollout, namespace) && (rollout.spec.traffic.objects().any(|named| named == object) || running() == Some(object.clone()))
        });
    }

    /// Those whose route leads to a host; where that is not known yet, or where each version has a Service, too. A name that is no Service may be a wildcard, or the fault that a
    /// Rollout waits for.
    pub(super) fn host(&self, namespace: &str, host: &str) {
        let wanted = Host::of(host, namespace);
        let service = wanted.service_in(namespace);
        if service.is_none() && meant(host, namespace).is_none() && !host.starts_with('*') {
            return;
        }
        self.those(|rollout| {
            let stable = rollout.status.as_ref().and_then(|status| status.stable.as_ref());
            let of = |stable: &Version| service.is_none() || stable.subset.is_none() || Host::of(&stable.host, namespace) == wanted;
            here(rollout, namespace) && stable.is_none_or(of)
        });
    }

    /// Those to whose Service a pod belongs.
    pub(super) fn pod(&self, (namespace, name): &(String, String)) {
        let of =
            |slice: &kept::Slice| slice.meta().namespace.as_ref() == Some(namespace) && slice.pods.iter().any(|(pod, _)| **pod == **name);
        for slice in self.slices.state_filter(of) {
            self.host(namespace, &slice.service);
        }
    }

    /// Whether any rollout is under way.
    pub(super) fn under_way(&self) -> bool {
        !self.rollouts.state_filter(|rollout| rollout.status.as_ref().is_some_and(is_running)).is_empty()
    }

    fn those(&self, wanted: impl Fn(&Rollout) -> bool) {
        for rollout in self.rollouts.state_filter(wanted) {
            let _ = self.wake.send(ObjectRef::from_obj(rollout.as_ref()));
        }
    }
}

fn here(rollout: &Rollout, namespace: &str) -> bool {
    rollout.meta().namespace.as_deref() == Some(namespace)
}
