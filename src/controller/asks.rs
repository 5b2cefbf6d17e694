//! Asks for passes: of the Rollouts that a change may concern, and of no others, so that a change in a namespace full of Rollouts costs
//! one pass and not one for each.

use std::sync::{Arc, PoisonError, RwLock};

use kube::{
    Resource,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};
use tokio::sync::mpsc;

use crate::api::{Rollout, RouteKind, RouteRef, Version};
use crate::istio::name::{Host, meant};
use crate::observe::{
    kept,
    shelf::{Index, Place, Shelf, place},
};
use crate::state::{is_running, running_route};

/// Topic of the Rollouts under way.
const RUNNING: &str = "running";

/// Asks for passes.
#[derive(Clone)]
pub(super) struct Asks {
    pub(super) rollouts: Store<Rollout>,
    pub(super) slices: Shelf<kept::Slice>,
    pub(super) wake: mpsc::UnboundedSender<ObjectRef<Rollout>>,
    index: Arc<RwLock<Index>>,
}

impl Asks {
    /// Of these Rollouts, by these slices of endpoints.
    pub(super) fn new(rollouts: Store<Rollout>, slices: Shelf<kept::Slice>, wake: mpsc::UnboundedSender<ObjectRef<Rollout>>) -> Self {
        Self { rollouts, slices, wake, index: Arc::default() }
    }

    /// Takes up what the watch of the Rollouts tells, after the cache has.
    pub(super) fn note(&self, event: &Event<Rollout>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(rollout) | Event::InitApply(rollout) => index.set(place(rollout), topics(rollout)),
            Event::Delete(rollout) => index.remove(&place(rollout)),
            Event::InitDone => index.retain(|place| self.rollouts.get(&object_ref(place)).is_some()),
            Event::Init => {}
        }
    }

    /// This one.
    pub(super) fn one(&self, namespace: &str, name: &str) {
        let _ = self.wake.send(ObjectRef::new(name).within(namespace));
    }

    pub(super) fn all(&self) {
        for rollout in self.rollouts.state() {
            let _ = self.wake.send(ObjectRef::from_obj(rollout.as_ref()));
        }
    }

    /// Those that lead or led traffic through an object.
    pub(super) fn route(&self, kind: RouteKind, (namespace, name): &Place) {
        self.about([of_route(namespace, &RouteRef::new(kind, name.as_ref()))]);
    }

    /// Those whose route leads to a host; where that is not known yet, or where each version has a Service, too. A name that is no Service may be a wildcard, or the fault that a
    /// Rollout waits for.
    pub(super) fn host(&self, namespace: &str, host: &str) {
        let wanted = Host::of(host, namespace);
        if wanted.service_in(namespace).is_some() {
            return self.about([of_host(namespace, wanted), of_any_host(namespace)]);
        }
        if meant(host, namespace).is_some() || host.starts_with('*') {
            self.about([of_namespace(namespace)]);
        }
    }

    /// Those to whose Service a pod belongs.
    pub(super) fn pod(&self, (namespace, name): &Place) {
        for slice in self.slices.about([kept::Slice::with(namespace, name).as_str()]) {
            self.host(namespace, &slice.service);
        }
    }

    /// Whether any rollout is under way.
    pub(super) fn under_way(&self) -> bool {
        !self.index.read().unwrap_or_else(PoisonError::into_inner).about([RUNNING]).is_empty()
    }

    fn about<const N: usize>(&self, topics: [String; N]) {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        for place in index.about(topics.iter().map(String::as_str)) {
            let _ = self.wake.send(object_ref(place));
        }
    }
}

fn object_ref((namespace, name): &Place) -> ObjectRef<Rollout> {
    ObjectRef::new(name).within(namespace)
}

/// What a change of may concern a Rollout.
fn topics(rollout: &Rollout) -> Vec<String> {
    let namespace = rollout.meta().namespace.as_deref().unwrap_or_default();
    let status = rollout.status.as_ref();
    let mut topics = vec![of_namespace(namespace)];
    topics.extend(rollout.spec.traffic.objects().chain(status.and_then(running_route)).map(|object| of_route(namespace, &object)));
    let stable = status.and_then(|status| status.stable.as_ref()).filter(|stable: &&Version| stable.subset.is_some());
    topics.push(stable.map_or_else(|| of_any_host(namespace), |stable| of_host(namespace, Host::of(&stable.host, namespace))));
    topics.extend(status.is_some_and(is_running).then(|| RUNNING.to_owned()));
    topics
}

fn of_namespace(namespace: &str) -> String {
    format!("namespace {namespace}")
}

fn of_route(namespace: &str, object: &RouteRef) -> String {
    format!("{} {namespace}/{}", object.kind().kind(), object.name())
}

fn of_host(namespace: &str, host: Host<'_>) -> String {
    format!("host {host} from {namespace}")
}

fn of_any_host(namespace: &str) -> String {
    format!("any host from {namespace}")
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use serde_json::{Value, json};

    use super::*;

    fn rollout(name: &str, status: Value) -> Rollout {
        let spec = json!({"traffic": {"virtualService": name}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
        let whole = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "ml", "name": name}, "spec": spec, "status": status});
        serde_json::from_value(whole).unwrap()
    }

    fn stable(host: &str) -> Value {
        json!({"stable": {"subset": "v1", "revision": "r", "host": host}})
    }

    /// Who is asked for a pass.
    fn asked(by: impl Fn(&Asks)) -> Vec<String> {
        let (rollouts, mut writer) = reflector::store();
        let (wake, mut woken) = mpsc::unbounded_channel();
        let slice = json!({"metadata": {"namespace": "ml", "name": "churn-x", "labels": {"kubernetes.io/service-name": "churn"}},
                           "endpoints": [{"targetRef": {"kind": "Pod", "name": "churn-0"}}]});
        let asks = Asks::new(rollouts, Shelf::of([serde_json::from_value(slice).unwrap()]), wake);
        let running = json!({"phase": "Progressing", "checkpoint": {"run": {"plan": {"virtualService": "old"}}}});
        let all = [
            rollout("fraud", stable("fraud")),
            rollout("churn", stable("churn.ml.svc.cluster.local")),
            rollout("new", json!({})),
            rollout("moved", running),
        ];
        for event in all.into_iter().map(Event::Apply) {
            writer.apply_watcher_event(&event);
            asks.note(&event);
        }
        by(&asks);
        let mut names = Vec::new();
        while let Ok(one) = woken.try_recv() {
            names.push(one.name);
        }
        names
    }

    fn at(namespace: &str, name: &str) -> Place {
        (namespace.into(), name.into())
    }

    #[test]
    fn a_change_asks_for_those_that_it_may_concern() {
        let virtual_service = |name: &str| asked(|asks| asks.route(RouteKind::VirtualService, &at("ml", name)));
        assert_eq!(virtual_service("fraud"), ["fraud"]);
        assert_eq!(virtual_service("old"), ["moved"], "the route of the plan under way");
        assert_eq!(asked(|asks| asks.route(RouteKind::VirtualService, &at("shop", "fraud"))).len(), 0);
        assert_eq!(asked(|asks| asks.host("ml", "churn")), ["churn", "moved", "new"], "those whose host is not known yet too");
        assert_eq!(asked(|asks| asks.pod(&at("ml", "churn-0"))), ["churn", "moved", "new"]);
        assert_eq!(asked(|asks| asks.host("ml", "*.ml.svc.cluster.local")).len(), 4);
        assert_eq!(asked(|asks| asks.host("ml", "fraud.shop.svc.cluster.local")).len(), 0);
        assert!(asked(|asks| assert!(asks.under_way())).is_empty());
    }

    #[test]
    fn what_changed_or_is_gone_is_forgotten() {
        let gone = |asks: &Asks| {
            asks.note(&Event::Delete(rollout("moved", json!({}))));
            asks.note(&Event::Apply(rollout("new", stable("other"))));
            assert!(!asks.under_way());
            asks.host("ml", "churn");
        };
        assert_eq!(asked(gone), ["churn"]);
    }
}
