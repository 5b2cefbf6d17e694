//! What the gateways say about a route: the conditions of each parent, for the generation they have seen.

use serde_json::Value;

use super::{
    name::{Ref, parents},
    namespace,
};

/// The conditions that must hold at every parent.
const CONDITIONS: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// Whether what is written is what the proxies are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programmed {
    /// Every parent has accepted this generation and found what it refers to.
    Accepted,
    /// These parents have said nothing about this generation; none: there is no parent.
    NotYet(Vec<String>),
    /// A parent refuses this generation.
    Refused {
        /// Which: `Gateway edge/public`.
        parent: String,
        /// `Accepted` or `ResolvedRefs`.
        condition: &'static str,
        /// The reason it gives: `NoMatchingParent`, `BackendNotFound`.
        reason: String,
        /// Its words.
        message: String,
    },
}

/// What the parents of a route say about its present generation. One that refuses is heard before those that have not spoken. A condition
/// without `observedGeneration` is about an unknown one.
pub fn programmed(route: &Value) -> Programmed {
    let generation = route.pointer("/metadata/generation").and_then(Value::as_i64);
    let said = route.pointer("/status/parents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (mut silent, mut asked) = (Vec::new(), false);
    for parent in parents(route) {
        asked = true;
        let mut held = [false; CONDITIONS.len()];
        for entry in said.iter().filter(|entry| Ref::parent(&entry["parentRef"], namespace(route)) == parent) {
            for (held, kind) in held.iter_mut().zip(CONDITIONS) {
                let conditions = entry["conditions"].as_array().into_iter().flatten();
                let mut current = conditions.filter(|one| one["type"] == kind && one["observedGeneration"].as_i64() >= generation);
                let Some(condition) = current.next() else { continue };
                let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
                match condition["status"].as_str() {
                    Some("True") => *held = true,
                    Some("False") => {
                        return Programmed::Refused {
                            parent: parent.to_string(),
                            condition: kind,
                            reason: text("reason"),
                            message: text("message"),
                        };
                    }
                    _ => {}
                }
            }
        }
        if held.contains(&false) {
            silent.push(parent.to_string());
        }
    }
    if asked && silent.is_empty() { Programmed::Accepted } else { Programmed::NotYet(silent) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(kind: &str, status: &str, generation: Option<i64>) -> Value {
        json!({"type": kind, "status": status, "reason": "BackendNotFound", "message": "no fraud-v2", "observedGeneration": generation})
    }

    fn route(said: &[(Value, Vec<Value>)]) -> Value {
        let parents: Vec<Value> = said.iter().map(|(parent, list)| json!({"parentRef": parent, "conditions": list})).collect();
        let refs = json!([{"name": "public", "namespace": "edge"}, {"group": "", "kind": "Service", "name": "fraud"}]);
        json!({"metadata": {"namespace": "ml", "generation": 3}, "spec": {"parentRefs": refs}, "status": {"parents": parents}})
    }

    /// These have said nothing yet.
    fn silent(parents: &[&str]) -> Programmed {
        Programmed::NotYet(parents.iter().map(|parent| (*parent).to_owned()).collect())
    }

    fn gateway() -> Value {
        json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "edge"})
    }

    fn service() -> Value {
        json!({"group": "", "kind": "Service", "name": "fraud", "namespace": "ml"})
    }

    fn both(status: &str, generation: i64) -> Vec<Value> {
        vec![condition("Accepted", "True", Some(generation)), condition("ResolvedRefs", status, Some(generation))]
    }

    #[test]
    fn a_route_is_accepted_when_every_parent_has_accepted_this_generation() {
        assert_eq!(programmed(&route(&[(gateway(), both("True", 3)), (service(), both("True", 3))])), Programmed::Accepted);
        assert_eq!(programmed(&route(&[(gateway(), both("True", 3)), (service(), both("True", 2))])), silent(&["Service ml/fraud"]));
        assert_eq!(programmed(&route(&[(gateway(), both("True", 3))])), silent(&["Service ml/fraud"]), "one says nothing");
        assert_eq!(programmed(&route(&[])), silent(&["Gateway edge/public", "Service ml/fraud"]), "nobody has spoken");
        assert_eq!(programmed(&json!({"metadata": {"generation": 1}})), silent(&[]), "attached to nobody");
        let unsaid = |status: &str, generation| vec![condition("Accepted", status, generation), condition("ResolvedRefs", "True", Some(3))];
        for (status, generation) in [("Unknown", Some(3)), ("True", None)] {
            let said = route(&[(gateway(), unsaid(status, generation)), (service(), both("True", 3))]);
            assert_eq!(programmed(&said), silent(&["Gateway edge/public"]), "{status} {generation:?}");
        }
    }

    #[test]
    fn a_refusal_is_heard_before_silence_and_an_old_one_is_not_heard() {
        let refused = programmed(&route(&[(service(), both("False", 3))]));
        let expected = Programmed::Refused {
            parent: "Service ml/fraud".into(),
            condition: "ResolvedRefs",
            reason: "BackendNotFound".into(),
            message: "no fraud-v2".into(),
        };
        assert_eq!(refused, expected);
        assert_eq!(programmed(&route(&[(gateway(), both("True", 3)), (service(), both("False", 2))])), silent(&["Service ml/fraud"]));
    }
}
