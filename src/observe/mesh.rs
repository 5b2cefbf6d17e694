//! The mesh objects, read from caches as untyped JSON: what is not read cannot be lost.

use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::Value;

use super::Holder;
use super::kept::{Labels, Rule};
use crate::route::View;

/// A mesh object as one JSON value.
pub fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// Labels of a subset, from the DestinationRules of the namespace whose host is this one. `None`: no rule declares it.
pub fn subset_labels<'a>(rules: &'a [Arc<Rule>], namespace: &str, host: &str, subset: &str) -> Option<&'a Labels> {
    let service = service_of(host, namespace)?;
    rules.iter().filter(|rule| service_of(&rule.host, namespace) == Some(service)).find_map(|rule| rule.subset(subset))
}

/// Name of the Service that a host stands for, if it is one of this namespace: `fraud`, `fraud.ml`, `fraud.ml.svc.cluster.local`.
pub fn service_of<'a>(host: &'a str, namespace: &str) -> Option<&'a str> {
    let mut parts = host.splitn(3, '.');
    let service = parts.next().filter(|service| !service.is_empty())?;
    match (parts.next(), parts.next()) {
        (None, _) => Some(service),
        (Some(ns), None) => (ns == namespace).then_some(service),
        (Some(ns), Some(rest)) => (ns == namespace && (rest == "svc" || rest.starts_with("svc."))).then_some(service),
    }
}

/// Whose claim is on the route. `alive` says whether a Rollout of this namespace with that name and uid exists.
pub fn holder(view: &View, uid: &str, alive: impl Fn(&str, &str) -> bool) -> Holder {
    match &view.claim {
        None => Holder::Nobody,
        Some(claim) if claim.uid == uid => Holder::Us,
        Some(claim) if alive(&claim.rollout, &claim.uid) => Holder::Other(claim.rollout.clone()),
        Some(_) => Holder::Gone,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_stands_for_a_service_of_its_own_namespace_only() {
        assert_eq!(service_of("fraud", "ml"), Some("fraud"));
        assert_eq!(service_of("fraud.ml.svc.cluster.local", "ml"), Some("fraud"));
        assert_eq!(service_of("fraud.ml", "ml"), Some("fraud"));
        assert_eq!(service_of("fraud.other.svc.cluster.local", "ml"), None);
        assert_eq!(service_of("api.example.com", "ml"), None);
    }

    #[test]
    fn subset_labels_come_from_the_rule_of_the_host() {
        let rules = [
            json!({"metadata": {}, "spec": {"host": "other", "subsets": [{"name": "v2", "labels": {"version": "wrong"}}]}}),
            json!({"metadata": {}, "spec": {"host": "fraud.ml.svc.cluster.local", "subsets": [{"name": "v2", "labels": {"version": "v2"}}]}}),
        ];
        let rules = rules.map(|rule| Arc::new(serde_json::from_value::<Rule>(rule).unwrap()));
        assert_eq!(subset_labels(&rules, "ml", "fraud", "v2"), Some(&[("version", "v2")].into_iter().collect()));
        assert_eq!(subset_labels(&rules, "ml", "fraud", "v3"), None);
    }
}
