//! Which rule a request reaches: of those that fit it the most specific one, wherever it stands.

use std::{cmp::Reverse, collections::BTreeSet};

use serde_json::Value;

use super::{Kind, namespace, rules};
use crate::istio::request::{Request, entirely};

/// How specific a match is: the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity([usize; 5]);

/// How specific a match of this kind of route is. For HTTP: an exact path, then a prefix, then a regular expression (the Gateway API leaves
/// its place open, this is Istio's); the longer path; a method; more headers; more query parameters. For gRPC: more characters of the
/// service, then of the method, then more headers.
pub fn specificity(kind: Kind, one: &Value) -> Specificity {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let count = |field: &str, any_case: bool| texts(&one[field], any_case).len();
    match kind {
        Kind::Http => {
            let (word, path) = path(one);
            let rank = match word {
                "Exact" => 2,
                "PathPrefix" => 1,
                _ => 0,
            };
            let method = usize::from(one["method"].is_string());
            Specificity([rank, path.chars().count(), method, count("headers", true), count("queryParams", false)])
        }
        Kind::Grpc => {
            let method = &one["method"];
            Specificity([length(&method["service"]), length(&method["method"]), count("headers", true), 0, 0])
        }
    }
}

/// Whether a request has all that a match asks for. A match that asks for what is not known here fits no request.
pub fn fits(kind: Kind, one: &Value, request: &Request) -> bool {
    let header = |name: &str| request.headers.get(&name.to_ascii_lowercase()).map(String::as_str);
    let query = |name: &str| request.query.get(name).map(String::as_str);
    let path_fits = kind == Kind::Grpc || {
        let (word, value) = path(one);
        match word {
            "Exact" => request.path == value,
            "PathPrefix" => under(&request.path, value),
            "RegularExpression" => entirely(value, &request.path),
            _ => false,
        }
    };
    let fields = one.as_object();
    path_fits
        && fields.into_iter().flatten().filter(|(_, asked)| !asked.is_null()).all(|(field, asked)| match (kind, field.as_str()) {
            (Kind::Http, "path") => true,
            (Kind::Http, "method") => *asked == request.method,
            (Kind::Grpc, "method") => calls(asked, &request.path),
            (_, "headers") => texts(asked, true).into_iter().all(|(name, entry)| header(name).is_some_and(|text| says(entry, text))),
            (Kind::Http, "queryParams") => {
                texts(asked, false).into_iter().all(|(name, entry)| query(name).is_some_and(|text| says(entry, text)))
            }
            _ => false,
        })
}

/// Whether some request may fit both matches. Where that is not plain, it is so.
pub fn may_share(kind: Kind, one: &Value, other: &Value) -> bool {
    let paths = kind == Kind::Grpc || {
        let ((word, path), (their_word, their_path)) = (self::path(one), self::path(other));
        match (word, their_word) {
            ("Exact", "Exact") => path == their_path,
            ("Exact", "PathPrefix") => under(path, their_path),
            ("PathPrefix", "Exact") => under(their_path, path),
            ("PathPrefix", "PathPrefix") => under(path, their_path) || under(their_path, path),
            _ => true,
        }
    };
    let exact = |entry: &Value| matches!(entry["type"].as_str(), None | Some("Exact"));
    let apart = |one: &Value, other: &Value, pointer: &str| {
        let text = |value: &Value| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        text(one).zip(text(other)).is_some_and(|(one, other)| one != other)
    };
    let methods = match kind {
        Kind::Http => !apart(one, other, "/method"),
        Kind::Grpc => {
            let both = exact(&one["method"]) && exact(&other["method"]);
            !both || !(apart(one, other, "/method/service") || apart(one, other, "/method/method"))
        }
    };
    let entries = |field: &str, any_case: bool| {
        let theirs = texts(&other[field], any_case);
        texts(&one[field], any_case).into_iter().all(|(name, entry)| {
            let same = |there: &&(&str, &Value)| if any_case { there.0.eq_ignore_ascii_case(name) } else { there.0 == name };
            let Some((_, there)) = theirs.iter().find(same) else { return true };
            match (exact(entry), exact(there)) {
                (true, _) => says(there, entry["value"].as_str().unwrap_or_default()),
                (_, true) => says(entry, there["value"].as_str().unwrap_or_default()),
                _ => true,
            }
        })
    };
    paths && methods && entries("headers", true) && entries("queryParams", false)
}

/// A match of a rule of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way<'v> {
    /// Place of the route.
    pub route: usize,
    /// Place of the rule in it.
    pub rule: usize,
    /// The match; null for a rule without one, which takes every request.
    pub one: &'v Value,
}

/// The matches of routes of one kind that have the same parent and host, in the order in which they are tried: the most specific first; of
/// equal ones that of the oldest route, then of the first by namespace and name, then of the first rule.
pub fn ordered<'v>(kind: Kind, routes: &[&'v Value]) -> Vec<Way<'v>> {
    let mut ways = Vec::new();
    for (route, object) in routes.iter().enumerate() {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let age = (text("/metadata/creationTimestamp"), namespace(object), text("/metadata/name"));
        for (rule, entry) in rules(object).iter().enumerate() {
            let list = entry["matches"].as_array().filter(|list| !list.is_empty());
            let none = list.is_none().then_some(&Value::Null);
            for one in list.into_iter().flatten().chain(none) {
                ways.push(((Reverse(specificity(kind, one)), age, rule), Way { route, rule, one }));
            }
        }
    }
    ways.sort_by_key(|(key, _)| *key);
    ways.into_iter().map(|(_, way)| way).collect()
}

/// The match by which a request reaches its rule; none if no rule is for it.
pub fn reached<'v>(kind: Kind, routes: &[&'v Value], request: &Request) -> Option<Way<'v>> {
    ordered(kind, routes).into_iter().find(|way| fits(kind, way.one, request))
}

/// The path of an HTTP match: how it is compared, and with what.
fn path(one: &Value) -> (&str, &str) {
    let path = &one["path"];
    (path["type"].as_str().unwrap_or("PathPrefix"), path["value"].as_str().unwrap_or("/"))
}

/// Whether a path is below another, element by element: `/a/b` is below `/a` and `/a/`, `/ab` is not.
fn under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path (`/package.Service/Method`) calls the method that a gRPC match asks for.
fn calls(asked: &Value, path: &str) -> bool {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else { return false };
    let part = |field: &str, text: &str| {
        asked[field].as_str().filter(|wanted| !wanted.is_empty()).is_none_or(|wanted| match asked["type"].as_str() {
            None | Some("Exact") => wanted == text,
            Some("RegularExpression") => entirely(wanted, text),
            Some(_) => false,
        })
    };
    !method.contains('/') && part("service", service) && part("method", method)
}

/// Headers or parameters by name. Of several entries of one name only the first counts.
fn texts(list: &Value, any_case: bool) -> Vec<(&str, &Value)> {
    let mut names = BTreeSet::new();
    let named = list.as_array().into_iter().flatten().filter_map(|entry| Some((entry["name"].as_str()?, entry)));
    named.filter(|(name, _)| names.insert(if any_case { name.to_ascii_lowercase() } else { (*name).to_owned() })).collect()
}

fn says(entry: &Value, text: &str) -> bool {
    let wanted = entry["value"].as_str().unwrap_or_default();
    match entry["type"].as_str() {
        None | Some("Exact") => wanted == text,
        Some("RegularExpression") => entirely(wanted, text),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn get(path: &str) -> Request {
        Request { method: "GET".into(), headers: Default::default(), query: Default::default(), path: path.into() }
    }

    fn http(one: Value, request: &Request) -> bool {
        fits(Kind::Http, &one, request)
    }

    #[test]
    fn a_prefix_goes_by_elements_and_no_path_is_every_path() {
        let prefix = |value: &str| json!({"path": {"type": "PathPrefix", "value": value}});
        for (value, path, fits) in [
            ("/", "/", true),
            ("/", "/a", true),
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a/", "/a", true),
            ("/a", "/ab", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(http(prefix(value), &get(path)), fits, "{path} below {value}");
        }
        assert!(http(json!({}), &get("/a")) && http(json!({"path": {"value": "/a"}}), &get("/a/b")));
    }

    #[test]
    fn exact_and_regular_expressions_are_for_the_whole_text() {
        let exact = json!({"path": {"type": "Exact", "value": "/a"}});
        assert!(http(exact.clone(), &get("/a")) && !http(exact, &get("/a/")));
        let regex = json!({"path": {"type": "RegularExpression", "value": "/v[0-9]"}});
        assert!(http(regex.clone(), &get("/v1")) && !http(regex, &get("/v1/a")));
    }

    #[test]
    fn headers_have_no_case_parameters_have_and_of_one_name_the_first_entry_counts() {
        let mut request = get("/");
        request.headers.insert("x-group".into(), "beta".into());
        request.query.insert("v".into(), "2".into());
        let header = |name: &str, value: &str| json!({"name": name, "value": value});
        assert!(http(json!({"headers": [header("X-Group", "beta")]}), &request));
        assert!(http(json!({"headers": [{"type": "RegularExpression", "name": "x-group", "value": "be.*"}]}), &request));
        assert!(!http(json!({"headers": [header("x-group", "beta"), header("x-other", "1")]}), &request));
        assert!(http(json!({"headers": [header("x-group", "beta"), header("X-GROUP", "gold")]}), &request));
        assert!(http(json!({"queryParams": [header("v", "2")]}), &request));
        assert!(!http(json!({"queryParams": [header("V", "2")]}), &request));
    }

    #[test]
    fn a_method_is_asked_for_and_what_is_not_known_fits_nobody() {
        assert!(http(json!({"method": "GET"}), &get("/")) && !http(json!({"method": "POST"}), &get("/")));
        assert!(!http(json!({"cookies": []}), &get("/")));
    }

    #[test]
    fn a_grpc_match_asks_for_a_service_a_method_or_both() {
        let call = get("/fraud.v1.Scorer/Predict");
        let asks = |method: Value| fits(Kind::Grpc, &json!({ "method": method }), &call);
        assert!(asks(json!({"service": "fraud.v1.Scorer"})) && asks(json!({"method": "Predict"})));
        assert!(asks(json!({"type": "Exact", "service": "fraud.v1.Scorer", "method": "Predict"})));
        assert!(!asks(json!({"service": "fraud.v1.Scorer", "method": "Explain"})) && !asks(json!({"service": "fraud"})));
        assert!(asks(json!({"type": "RegularExpression", "service": "fraud\\..*"})));
        assert!(fits(Kind::Grpc, &json!({}), &call), "without a method it is for every call");
        assert!(!fits(Kind::Grpc, &json!({"method": {"service": "a"}}), &get("/a")), "no call");
    }

    #[test]
    fn the_most_specific_match_wins_wherever_it_stands() {
        let path = |word: &str, value: &str| json!({"path": {"type": word, "value": value}});
        let with = |mut one: Value, field: &str, value: Value| {
            one[field] = value;
            one
        };
        let entries = json!([{"name": "a", "value": "1"}]);
        let ascending = [
            path("RegularExpression", "/long/expression.*"),
            json!({}),
            path("PathPrefix", "/a"),
            with(path("PathPrefix", "/a"), "queryParams", entries.clone()),
            with(path("PathPrefix", "/a"), "headers", entries.clone()),
            with(with(path("PathPrefix", "/a"), "headers", entries.clone()), "queryParams", entries),
            with(path("PathPrefix", "/a"), "method", json!("GET")),
            path("PathPrefix", "/a/b"),
            path("Exact", "/"),
        ];
        let ranks: Vec<Specificity> = ascending.iter().map(|one| specificity(Kind::Http, one)).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
        let method = |service: &str, method: &str| json!({"method": {"service": service, "method": method}});
        let ascending = [
            json!({}),
            json!({"headers": [{"name": "a", "value": "1"}]}),
            json!({"method": {"method": "Predict"}}),
            method("a", ""),
            method("a", "Predict"),
            method("a.b", "P"),
        ];
        let ranks: Vec<Specificity> = ascending.iter().map(|one| specificity(Kind::Grpc, one)).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
    }

    #[test]
    fn of_equal_matches_the_oldest_route_has_it_then_the_first_by_name_then_the_first_rule() {
        let route = |name: &str, created: &str, rules: Value| {
            let metadata = json!({"namespace": "ml", "name": name, "creationTimestamp": created});
            json!({"metadata": metadata, "spec": {"rules": rules}})
        };
        let all = json!([{"name": "one"}, {"name": "two"}]);
        let (old, new) = (route("b", "2026-11-01T00:00:00Z", all.clone()), route("a", "2026-11-02T00:00:00Z", all.clone()));
        let reach = |routes: &[&Value], request: &Request| reached(Kind::Http, routes, request).map(|way| (way.route, way.rule));
        assert_eq!(reach(&[&new, &old], &get("/")), Some((1, 0)));
        let twin = route("a", "2026-11-01T00:00:00Z", all);
        assert_eq!(reach(&[&old, &twin], &get("/")), Some((1, 0)));
        let narrow = json!([{}, {"matches": [{"path": {"value": "/x"}}, {"path": {"type": "Exact", "value": "/y"}}]}]);
        let narrow = route("c", "2026-12-01T00:00:00Z", narrow);
        assert_eq!(reach(&[&old, &narrow], &get("/y")), Some((1, 1)), "specific before old");
        assert_eq!(reach(&[&old, &narrow], &get("/z")), Some((0, 0)));
        let none = route("d", "2026-11-01T00:00:00Z", json!([{"matches": [{"method": "PUT"}]}]));
        assert_eq!(reach(&[&none], &get("/")), None);
    }
}
