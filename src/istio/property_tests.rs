//! The room against generated objects: what is resolved stays resolved, weights are percent or refused, at most one rule wins, and whoever is
//! said to be unreachable is reached by no request.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    name::{Host, gateway},
    reach::above,
    request::{Request, narrower},
    rule::{About, speaking},
    split::percents,
};

fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("fraud".to_owned()), Just("ml".to_owned()), Just("svc".to_owned()), Just("cluster".to_owned()), "[a-z]{1,4}"]
}

fn host() -> impl Strategy<Value = String> {
    let dotted = prop::collection::vec(label(), 1..6).prop_map(|labels| labels.join("."));
    let full = (label(), label()).prop_map(|(name, namespace)| format!("{name}.{namespace}.svc.cluster.local"));
    let wild =
        prop::collection::vec(label(), 0..4).prop_map(|labels| format!("*{}", labels.iter().map(|l| format!(".{l}")).collect::<String>()));
    prop_oneof![dotted, full, wild]
}

fn text() -> impl Strategy<Value = Value> {
    let value = prop_oneof![Just("a"), Just("ab"), Just("b"), Just("")];
    prop_oneof![
        value.clone().prop_map(|text| json!({ "exact": text })),
        value.prop_map(|text| json!({ "prefix": text })),
        Just(json!({"regex": ".*"})),
        Just(json!({"regex": "a.*"})),
        Just(json!({})),
    ]
}

fn header_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("x-a"), Just("X-A"), Just("x-b")]
}

fn one_match() -> impl Strategy<Value = Value> {
    let path = prop_oneof![Just("/"), Just("/a"), Just("/A"), Just("/ab")];
    let uri = prop_oneof![
        path.clone().prop_map(|p| json!({ "prefix": p })),
        path.prop_map(|p| json!({ "exact": p })),
        Just(json!({"regex": "/a.*"}))
    ];
    let headers = prop::option::of((header_name(), text()));
    let (without, query) = (prop::option::of((header_name(), text())), prop::option::of(text()));
    (prop::option::of(uri), headers, without, query, any::<bool>()).prop_map(|(uri, headers, without, query, no_case)| {
        let mut one = json!({});
        if let Some(uri) = uri {
            one["uri"] = uri;
            if no_case && one["uri"].get("regex").is_none() {
                one["ignoreUriCase"] = json!(true);
            }
        }
        if let Some((name, text)) = headers {
            one["headers"] = json!({ name: text });
        }
        if let Some((name, text)) = without {
            one["withoutHeaders"] = json!({ name: text });
        }
        if let Some(text) = query {
            one["queryParams"] = json!({ "v": text });
        }
        one
    })
}

fn request() -> impl Strategy<Value = Request> {
    let value = || prop::option::of(prop_oneof![Just("a"), Just("ab"), Just("b"), Just("c"), Just("")]);
    let path = prop_oneof![Just("/"), Just("/a"), Just("/A"), Just("/ab"), Just("/AB/c"), Just("/b")];
    (value(), value(), value(), path).prop_map(|(a, b, v, path)| {
        let pair = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
        Request {
            method: "GET".to_owned(),
            headers: [pair("x-a", a), pair("x-b", b)].into_iter().flatten().collect(),
            query: pair("v", v).into_iter().collect(),
            path: path.to_owned(),
        }
    })
}

proptest! {
    #[test]
    fn a_resolved_host_is_resolved_to_itself_wherever_it_is_written(host in host(), namespace in label(), elsewhere in label()) {
        let once = Host::of(&host, &namespace).to_string();
        let again = Host::of(&once, &elsewhere);
        prop_assert_eq!(again.to_string(), once.clone());
        prop_assert_eq!(Host::of(&host, &namespace), Host::of(&once, &namespace));
        prop_assert!(Host::of(&host, &namespace).service_in(&namespace).is_none() || once.ends_with(".svc.cluster.local"));
    }

    #[test]
    fn a_resolved_gateway_is_resolved_to_itself(name in prop_oneof![label(), host(), (label(), label()).prop_map(|(a, b)| format!("{a}/{b}"))], namespace in label()) {
        let once = gateway(&name, &namespace);
        prop_assert_eq!(gateway(&once, "elsewhere"), once);
    }

    #[test]
    fn weights_become_percent_that_sum_to_100_in_their_order_or_are_refused(
        weights in prop::collection::vec(prop::option::of(prop_oneof![0u64..4, 0u64..101, 0u64..2_000_000_000]), 0..8),
    ) {
        let Some(percents) = percents(&weights) else {
            prop_assert!(weights.len() != 1 && weights.iter().all(|weight| weight.unwrap_or(0) == 0));
            return Ok(());
        };
        prop_assert_eq!(percents.iter().map(|percent| u32::from(*percent)).sum::<u32>(), 100);
        let read = |index: usize| if weights.len() == 1 { 100 } else { weights[index].unwrap_or(0) };
        for (a, share) in percents.iter().enumerate() {
            prop_assert_eq!(*share == 0, read(a) == 0);
            for (b, other) in percents.iter().enumerate() {
                prop_assert!(read(a) <= read(b) || share >= other, "{weights:?} became {percents:?}");
            }
        }
        if weights.iter().map(|weight| weight.unwrap_or(0)).sum::<u64>() == 100 && weights.len() > 1 {
            prop_assert!(percents.iter().enumerate().all(|(index, percent)| u64::from(*percent) == read(index)));
        }
    }

    #[test]
    fn the_rules_that_speak_for_a_host_have_one_host_and_do_not_depend_on_the_order_they_come_in(
        rules in prop::collection::vec((host(), 0i64..4, any::<bool>()), 0..8).prop_shuffle(),
        wanted in host(),
    ) {
        let rules: Vec<(String, String, i64, bool)> =
            rules.into_iter().enumerate().map(|(index, (host, at, some))| (format!("r{index}"), host, at, some)).collect();
        fn about(rule: &(String, String, i64, bool)) -> About<'_> {
            About { host: &rule.1, namespace: "ml", name: &rule.0, created: rule.2, for_some: rule.3, export_to: std::collections::BTreeSet::new() }
        }
        let found = speaking(&rules, Host::of(&wanted, "ml"), about);
        let mut turned = rules.clone();
        turned.reverse();
        prop_assert_eq!(&found, &speaking(&turned, Host::of(&wanted, "ml"), about));
        let hosts: Vec<Host<'_>> = found.iter().map(|rule| Host::of(&rule.1, "ml")).collect();
        prop_assert!(hosts.windows(2).all(|pair| pair[0] == pair[1]));
        prop_assert!(found.iter().all(|rule| !rule.3));
        let exact = rules.iter().any(|rule| !rule.3 && Host::of(&rule.1, "ml") == Host::of(&wanted, "ml"));
        prop_assert!(!exact || hosts.iter().all(|host| *host == Host::of(&wanted, "ml")));
    }

    #[test]
    fn what_fits_the_narrower_match_fits_the_wider_one(inner in one_match(), outer in one_match(), requests in prop::collection::vec(request(), 20)) {
        if narrower(&inner, &outer) {
            for request in requests {
                prop_assert!(!request.fits(&inner) || request.fits(&outer), "{inner} is said to be within {outer}, but {request:?}");
            }
        }
    }

    #[test]
    fn no_request_reaches_a_route_that_has_others_above_it_which_take_everything(
        routes in prop::collection::vec(prop::collection::vec(one_match(), 0..3), 2..5),
        requests in prop::collection::vec(request(), 20),
    ) {
        let http: Vec<Value> = routes.iter().map(|list| json!({ "match": list })).collect();
        let last = http.len() - 1;
        let spec = json!({ "http": http });
        if above(&spec, "ml", last, None, |_| false).is_some() {
            for request in requests {
                let fits = |list: &Vec<Value>| list.is_empty() || list.iter().any(|one| request.fits(one));
                prop_assert_ne!(routes.iter().position(fits), Some(last), "{} by {:?}", spec, request);
            }
        }
    }
}
