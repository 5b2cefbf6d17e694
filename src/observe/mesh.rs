//! The mesh objects, read from caches as untyped JSON: what is not read cannot be lost.

use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::Value;

use super::kept::{Labels, Rule};
use crate::istio::{
    name::{Host, meant},
    rule::speaking,
};

/// A mesh object as one JSON value.
pub fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// What the DestinationRules of the namespace say of a subset of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared<'r> {
    /// The proxies have it, with these labels.
    As(&'r Labels),
    /// They do not; in words, why a rule that has it is of no use, and the fix. Empty: no rule has it.
    Not(String),
}

/// Looks for a subset among the rules that speak for its host.
pub fn declared<'r>(rules: &'r [Arc<Rule>], namespace: &str, host: &str, subset: &str) -> Declared<'r> {
    let wanted = Host::of(host, namespace);
    let speaking = speaking(rules, wanted, |rule| rule.about());
    if let Some(labels) = speaking.iter().find_map(|rule| rule.subset(subset)) {
        return Declared::As(labels);
    }
    let service = wanted.service_in(namespace).unwrap_or(host);
    let why = |rule: &Rule| {
        let (name, host) = (rule.name(), &rule.host);
        if meant(host, namespace).as_deref() == Some(service) {
            return Some(format!(
                "DestinationRule {name} has it for host {host}, and Istio takes a name with a dot as it is, so that no proxy has the subset: set its spec.host to {service}"
            ));
        }
        let (ours, under) = (Host::of(host, namespace) == wanted, wanted.is_under(host));
        if rule.about().for_some && (ours || under) {
            return Some(format!(
                "DestinationRule {name} has it, but only for the clients of its workloadSelector: put the subset into one without spec.workloadSelector"
            ));
        }
        let before = speaking.first().filter(|_| under).map(|first| first.name());
        before.map(|first| {
            format!("DestinationRule {name} has it for {host}, but {first} is more exact and speaks alone: put the subset into {first}")
        })
    };
    Declared::Not(rules.iter().filter(|rule| rule.subset(subset).is_some()).find_map(|rule| why(rule)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(list: &[(&str, Value)]) -> Vec<Arc<Rule>> {
        let rule = |(name, spec): &(&str, Value)| json!({"metadata": {"name": name, "namespace": "ml"}, "spec": spec});
        list.iter().map(|one| Arc::new(serde_json::from_value::<Rule>(rule(one)).unwrap())).collect()
    }

    fn with(host: &str, version: &str) -> Value {
        json!({"host": host, "subsets": [{"name": "v2", "labels": {"version": version}}]})
    }

    #[test]
    fn subset_labels_come_from_the_rule_of_the_host() {
        let rules = rules(&[("other", with("other", "wrong")), ("full", with("fraud.ml.svc.cluster.local", "v2"))]);
        assert_eq!(declared(&rules, "ml", "fraud", "v2"), Declared::As(&[("version", "v2")].into_iter().collect()));
        assert_eq!(declared(&rules, "ml", "fraud", "v3"), Declared::Not(String::new()));
    }

    #[test]
    fn a_rule_that_no_proxy_applies_to_the_host_is_named_with_its_fix() {
        let why = |list: &[(&str, Value)]| match declared(&rules(list), "ml", "fraud", "v2") {
            Declared::Not(why) => why,
            Declared::As(labels) => panic!("{labels:?}"),
        };
        for host in ["fraud.ml", "fraud.ml.svc"] {
            let told = why(&[("first", json!({"host": "fraud"})), ("next", with(host, "v2"))]);
            assert!(told.starts_with(&format!("DestinationRule next has it for host {host}, and Istio takes")), "{told}");
            assert!(told.ends_with("set its spec.host to fraud"), "{told}");
        }
        let mut some = with("fraud", "v2");
        some["workloadSelector"] = json!({"matchLabels": {"app": "web"}});
        assert!(why(&[("some", some)]).contains("workloadSelector"));
        let told = why(&[("all", with("*.ml.svc.cluster.local", "v2")), ("first", json!({"host": "fraud"}))]);
        assert!(told.ends_with("put the subset into first"), "{told}");
    }
}
