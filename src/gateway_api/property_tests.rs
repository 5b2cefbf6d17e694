//! The room against generated rules: percents keep the order of the weights, and the rule that is reached fits and is as specific as any.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Kind,
    request::{fits, may_share, reached, specificity},
    split::backends,
};
use crate::istio::request::Request;

fn entry() -> impl Strategy<Value = Value> {
    let word = prop_oneof![Just("Exact"), Just("RegularExpression")];
    (prop_oneof![Just("x-a"), Just("X-A"), Just("x-b")], word, prop_oneof![Just("a"), Just("a.*")])
        .prop_map(|(name, word, value)| json!({"name": name, "type": word, "value": value}))
}

fn http_match() -> impl Strategy<Value = Value> {
    let word = prop_oneof![Just("Exact"), Just("PathPrefix"), Just("RegularExpression")];
    let path = (word, prop_oneof![Just("/"), Just("/a"), Just("/a/"), Just("/a/b"), Just("/b")]);
    let method = prop::option::of(prop_oneof![Just("GET"), Just("POST")]);
    (prop::option::of(path), prop::collection::vec(entry(), 0..3), method).prop_map(|(path, headers, method)| {
        let mut one = json!({ "headers": headers });
        if let Some((word, value)) = path {
            one["path"] = json!({"type": word, "value": value});
        }
        if let Some(method) = method {
            one["method"] = json!(method);
        }
        one
    })
}

fn grpc_match() -> impl Strategy<Value = Value> {
    let part = || prop::option::of(prop_oneof![Just("a"), Just("b"), Just("ab")]);
    (part(), part(), prop::collection::vec(entry(), 0..3)).prop_map(|(service, method, headers)| {
        let mut one = json!({ "headers": headers });
        if service.is_some() || method.is_some() {
            one["method"] = json!({"service": service, "method": method});
        }
        one
    })
}

fn request() -> impl Strategy<Value = Request> {
    let path = prop_oneof![Just("/"), Just("/a"), Just("/ab"), Just("/a/b"), Just("/b/a")];
    let value = || prop::option::of(prop_oneof![Just("a"), Just("ab")]);
    (path, prop_oneof![Just("GET"), Just("POST")], value(), value()).prop_map(|(path, method, a, b)| {
        let pair = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
        let headers = [pair("x-a", a), pair("x-b", b)].into_iter().flatten().collect();
        Request { method: method.into(), headers, query: Default::default(), path: path.into() }
    })
}

/// Three routes of up to three rules, each with up to two matches.
fn routes(one: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Value>> {
    let rule = prop::collection::vec(one, 0..3).prop_map(|list| json!({ "matches": list }));
    prop::collection::vec((prop::collection::vec(rule, 0..4), 0..3), 3).prop_map(|routes| {
        let route = |(index, (rules, day)): (usize, (Vec<Value>, i32))| {
            let metadata =
                json!({"namespace": "ml", "name": format!("r{index}"), "creationTimestamp": format!("2026-11-0{day}T00:00:00Z")});
            json!({"metadata": metadata, "spec": {"rules": rules}})
        };
        routes.into_iter().enumerate().map(route).collect()
    })
}

fn nothing_that_fits_is_more_specific(kind: Kind, routes: &[Value], request: &Request) -> Result<(), TestCaseError> {
    let list: Vec<&Value> = routes.iter().collect();
    let matches = |rule: &Value| match rule["matches"].as_array().map(Vec::as_slice) {
        None | Some([]) => vec![json!({})],
        Some(list) => list.to_vec(),
    };
    let all = routes.iter().flat_map(|route| route["spec"]["rules"].as_array().unwrap()).flat_map(matches);
    let best = all.filter(|one| fits(kind, one, request)).map(|one| specificity(kind, &one)).max();
    let place = reached(kind, &list, request);
    prop_assert_eq!(place.map(|way| specificity(kind, way.one)), best);
    prop_assert!(place.is_none_or(|way| fits(kind, way.one, request)));
    let turned: Vec<&Value> = list.iter().rev().copied().collect();
    let back = reached(kind, &turned, request).map(|way| (list.len() - 1 - way.route, way.rule));
    prop_assert_eq!(place.map(|way| (way.route, way.rule)), back, "the order in which routes are listed does not count");
    Ok(())
}

proptest! {
    #[test]
    fn what_fits_two_matches_may_be_shared_by_them(
        one in http_match(), other in http_match(), grpc in (grpc_match(), grpc_match()), requests in prop::collection::vec(request(), 20),
    ) {
        for (kind, one, other) in [(Kind::Http, &one, &other), (Kind::Grpc, &grpc.0, &grpc.1)] {
            prop_assert_eq!(may_share(kind, one, other), may_share(kind, other, one));
            for request in &requests {
                prop_assert!(!(fits(kind, one, request) && fits(kind, other, request)) || may_share(kind, one, other), "{one} {other} {request:?}");
            }
        }
    }

    #[test]
    fn percents_sum_to_100_in_the_order_of_the_weights_or_all_are_0(
        weights in prop::collection::vec(prop::option::of(prop_oneof![0u64..4, 0u64..101, 0u64..1_000_001]), 0..17),
    ) {
        let refs: Vec<Value> = weights.iter().map(|weight| json!({"name": "a", "weight": weight})).collect();
        let rule = json!({ "backendRefs": refs });
        let found = backends(&rule, "ml");
        let sum: u32 = found.iter().map(|backend| u32::from(backend.percent)).sum();
        prop_assert_eq!(sum, if found.iter().any(|backend| backend.weight > 0) { 100 } else { 0 });
        prop_assert_eq!(found.len(), weights.len());
        for (one, written) in found.iter().zip(&weights) {
            prop_assert_eq!(one.weight, written.unwrap_or(1));
            prop_assert_eq!(one.percent == 0, one.weight == 0);
            prop_assert!(found.iter().all(|other| one.weight <= other.weight || one.percent >= other.percent));
        }
    }

    #[test]
    fn the_rule_that_is_reached_over_http_fits_and_none_that_fits_is_more_specific(routes in routes(http_match()), request in request()) {
        nothing_that_fits_is_more_specific(Kind::Http, &routes, &request)?;
    }

    #[test]
    fn the_rule_that_is_reached_over_grpc_fits_and_none_that_fits_is_more_specific(routes in routes(grpc_match()), request in request()) {
        nothing_that_fits_is_more_specific(Kind::Grpc, &routes, &request)?;
    }
}
