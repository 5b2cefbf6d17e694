//! Who gets how much of a rule.

use serde_json::Value;

use super::name::Ref;
use crate::istio::split::parts;

/// A backend of a rule. Its place in the list is its place in `backendRefs`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backend<'v> {
    /// Whom it names.
    pub to: Ref<'v>,
    /// Weight as written, 1 if none is: a proportion of the sum.
    pub weight: u64,
    /// The same in percent. The percents of a rule sum to 100, or each is 0 and every request is answered 500.
    pub percent: u8,
}

/// A filter that copies requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror<'v> {
    /// Place in `filters`.
    pub index: usize,
    /// Who gets the copies.
    pub to: Ref<'v>,
    /// Percent of the requests that are copied.
    pub percent: f64,
}

/// The weights of a rule as written; 1 where none is.
pub fn weights(rule: &Value) -> Vec<u64> {
    let refs = rule["backendRefs"].as_array();
    refs.into_iter().flatten().map(|entry| entry["weight"].as_u64().unwrap_or(1)).collect()
}

/// The backends of a rule in a route of this namespace, with what they get. Unlike a VirtualService's, a lone one of weight 0 gets nothing.
pub fn backends<'v>(rule: &'v Value, namespace: &'v str) -> Vec<Backend<'v>> {
    let weights = weights(rule);
    let percents = parts(&weights).unwrap_or_else(|| vec![0; weights.len()]);
    let refs = rule["backendRefs"].as_array().into_iter().flatten();
    let found = refs.zip(weights).zip(percents);
    found.map(|((entry, weight), percent)| Backend { to: Ref::backend(entry, namespace), weight, percent }).collect()
}

/// The mirrors of a rule in a route of this namespace.
pub fn mirrors<'v>(rule: &'v Value, namespace: &'v str) -> impl Iterator<Item = Mirror<'v>> {
    let filters = rule["filters"].as_array().into_iter().flatten().enumerate();
    filters.filter(|(_, filter)| filter["type"] == "RequestMirror").map(move |(index, filter)| {
        let mirror = &filter["requestMirror"];
        Mirror { index, to: Ref::backend(&mirror["backendRef"], namespace), percent: percent(mirror) }
    })
}

/// Percent of the requests that a mirror copies: its fraction, else its percent, else all.
pub fn percent(mirror: &Value) -> f64 {
    let fraction = &mirror["fraction"];
    let fraction = fraction["numerator"].as_f64().map(|numerator| {
        let denominator = fraction["denominator"].as_f64().filter(|denominator| *denominator > 0.0);
        numerator * 100.0 / denominator.unwrap_or(100.0)
    });
    fraction.or_else(|| mirror["percent"].as_f64()).unwrap_or(100.0).clamp(0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn percents(weights: Value) -> Vec<u8> {
        let entry = |weight: &Value| json!({"name": "a", "weight": weight});
        let refs: Vec<Value> = weights.as_array().unwrap().iter().map(entry).collect();
        backends(&json!({ "backendRefs": refs }), "ml").iter().map(|backend| backend.percent).collect()
    }

    #[test]
    fn weights_are_proportions_and_one_that_is_not_written_is_1() {
        assert_eq!(percents(json!([100, 0])), [100, 0]);
        assert_eq!(percents(json!([1_000_000, 250_000])), [80, 20]);
        assert_eq!(percents(json!([null, null])), [50, 50]);
        assert_eq!(percents(json!([3, null])), [75, 25]);
        assert_eq!(percents(json!([7])), [100], "a lone one gets everything");
    }

    #[test]
    fn nobody_gets_anything_where_every_weight_is_0() {
        assert_eq!(percents(json!([0, 0])), [0, 0]);
        assert_eq!(percents(json!([0])), [0]);
        assert!(backends(&json!({}), "ml").is_empty());
    }

    #[test]
    fn a_backend_keeps_its_place_and_says_whom_it_names() {
        let rule = json!({"backendRefs": [{"name": "a", "kind": "Other"}, {"name": "b", "port": 80, "weight": 3}]});
        let found = backends(&rule, "ml");
        assert!(found[0].to.service().is_none() && found[1].to.service().is_some());
        assert_eq!((found[1].weight, found[1].percent, found[1].to.port), (3, 75, Some(80)));
    }

    #[test]
    fn a_mirror_copies_a_fraction_a_percent_or_everything() {
        let rule = json!({"filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b"}, "percent": 42}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "c"}, "fraction": {"numerator": 5}}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "d"}, "fraction": {"numerator": 1, "denominator": 1000}}},
        ]});
        let found: Vec<(usize, &str, f64)> = mirrors(&rule, "ml").map(|mirror| (mirror.index, mirror.to.name, mirror.percent)).collect();
        assert_eq!(found, [(1, "a", 100.0), (2, "b", 42.0), (3, "c", 5.0), (4, "d", 0.1)]);
    }
}
