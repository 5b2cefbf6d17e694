//! The http routes of a VirtualService, as a proxy reads them: the first whose match fits takes the request.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::text;

/// What a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Parameters of the query.
    pub query: BTreeMap<String, String>,
    /// The path.
    pub path: String,
}

impl Default for Request {
    fn default() -> Self {
        Self { headers: BTreeMap::new(), query: BTreeMap::new(), path: "/v1/predict".into() }
    }
}

/// Users whose requests carry the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Cohort {
    /// Their share of all requests, 0 to 1.
    pub share: f64,
    /// What their requests carry.
    pub request: Request,
}

impl Cohort {
    /// Users with one header.
    pub fn with_header(share: f64, name: &str, value: &str) -> Self {
        Self { share, request: Request { headers: [(name.to_owned(), value.to_owned())].into(), ..Request::default() } }
    }
}

/// All http routes, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// In order.
    pub list: Vec<HttpRoute>,
}

/// One http route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRoute {
    /// Any of them is enough; none: every request fits.
    pub matches: Vec<Value>,
    /// (host, subset, weight); weights as written, 100 for a single destination without one.
    pub destinations: Vec<(String, String, u64)>,
    /// (host, subset, share of the requests that are copied, 0 to 1).
    pub mirrors: Vec<(String, String, f64)>,
}

impl Routes {
    /// Those of a VirtualService.
    pub fn of(object: &Value) -> Self {
        let http = object.pointer("/spec/http").and_then(Value::as_array);
        Self { list: http.into_iter().flatten().map(HttpRoute::of).collect() }
    }

    /// The route that a request takes.
    pub fn takes(&self, request: &Request) -> Option<&HttpRoute> {
        self.list.iter().find(|route| route.matches.is_empty() || route.matches.iter().any(|one| fits(one, request)))
    }
}

impl HttpRoute {
    fn of(route: &Value) -> Self {
        let list = |field: &str| route.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |entry: &Value, field: &str| text(entry, &format!("/destination/{field}")).unwrap_or_default();
        let destinations = list("route");
        let alone = destinations.len() == 1;
        let destination = |entry: &Value| {
            let weight = entry.get("weight").and_then(Value::as_u64).filter(|weight| *weight > 0);
            (name(entry, "host"), name(entry, "subset"), weight.unwrap_or(if alone { 100 } else { 0 }))
        };
        let mirror = |entry: &Value| (name(entry, "host"), name(entry, "subset"), percent(entry.get("percentage")));
        let mut mirrors: Vec<_> = list("mirrors").iter().map(mirror).collect();
        if let Some(single) = route.get("mirror") {
            let field = |field: &str| text(single, &format!("/{field}")).unwrap_or_default();
            mirrors.push((field("host"), field("subset"), percent(route.get("mirrorPercentage"))));
        }
        Self { matches: list("match"), destinations: destinations.iter().map(destination).collect(), mirrors }
    }
}

/// No percentage is everything, one without a value nothing.
fn percent(percentage: Option<&Value>) -> f64 {
    let value = percentage.map(|percentage| percentage.get("value").and_then(Value::as_f64).unwrap_or(0.0));
    (value.unwrap_or(100.0) / 100.0).clamp(0.0, 1.0)
}

/// Whether a request has all that a match asks for. What is not simulated (ports, gateways, labels of the sender) fits nobody.
fn fits(one: &Value, request: &Request) -> bool {
    let all = |texts: &Value, found: &BTreeMap<String, String>| {
        texts.as_object().into_iter().flatten().all(|(name, wanted)| found.get(name).is_some_and(|value| says(wanted, value)))
    };
    one.as_object().into_iter().flatten().all(|(field, wanted)| match field.as_str() {
        "name" | "ignoreUriCase" => true,
        "uri" => says(wanted, &request.path),
        "headers" => all(wanted, &request.headers),
        "queryParams" => all(wanted, &request.query),
        "withoutHeaders" => wanted.as_object().into_iter().flatten().all(|(name, text)| {
            request.headers.get(name).is_none_or(|value| text.as_object().is_some_and(|text| !text.is_empty()) && !says(text, value))
        }),
        _ => false,
    })
}

/// Whether a text is as wanted; a regular expression is for the whole of it.
fn says(wanted: &Value, value: &str) -> bool {
    let word = |word: &str| wanted.get(word).and_then(Value::as_str);
    match (word("exact"), word("prefix"), word("regex")) {
        (Some(exact), _, _) => value == exact,
        (_, Some(prefix), _) => value.starts_with(prefix),
        (_, _, Some(regex)) => Regex::new(&format!("^(?:{regex})$")).is_ok_and(|regex| regex.is_match(value)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(http: Value, request: &Request) -> Option<String> {
        let routes = Routes::of(&json!({"spec": {"http": http}}));
        routes.takes(request).and_then(|route| route.destinations.first()).map(|(_, subset, _)| subset.clone())
    }

    fn to(subset: &str) -> Value {
        json!([{"destination": {"host": "a", "subset": subset}}])
    }

    #[test]
    fn the_first_route_that_fits_takes_the_request() {
        let http = json!([
            {"match": [{"headers": {"x-group": {"exact": "beta"}}}, {"queryParams": {"v": {"prefix": "2"}}}], "route": to("v2")},
            {"match": [{"headers": {"cookie": {"regex": "^(.*; )?group=gold(;.*)?$"}}, "uri": {"prefix": "/v1"}}], "route": to("v3")},
            {"match": [{"port": 80}], "route": to("v9")},
            {"route": to("v1")},
        ]);
        let with = |name: &str, value: &str| Cohort::with_header(1.0, name, value).request;
        assert_eq!(taken(http.clone(), &Request::default()).as_deref(), Some("v1"));
        assert_eq!(taken(http.clone(), &with("x-group", "beta")).as_deref(), Some("v2"));
        assert_eq!(taken(http.clone(), &with("x-group", "betas")).as_deref(), Some("v1"));
        assert_eq!(taken(http.clone(), &with("cookie", "a=b; group=gold; c=d")).as_deref(), Some("v3"));
        assert_eq!(taken(http.clone(), &with("cookie", "group=golden")).as_deref(), Some("v1"));
        let query = Request { query: [("v".to_owned(), "2.1".to_owned())].into(), ..Request::default() };
        assert_eq!(taken(http, &query).as_deref(), Some("v2"));
        assert_eq!(taken(json!([{"match": [{"uri": {"exact": "/other"}}], "route": to("v1")}]), &Request::default()), None);
    }

    #[test]
    fn copies_go_by_either_field() {
        let routes = |route: Value| Routes::of(&json!({"spec": {"http": [route]}})).list[0].mirrors.clone();
        let entry = json!({"destination": {"host": "a", "subset": "v2"}, "percentage": {"value": 10.0}});
        assert_eq!(routes(json!({"route": to("v1"), "mirrors": [entry]})), [("a".into(), "v2".into(), 0.1)]);
        let single = json!({"route": to("v1"), "mirror": {"host": "b"}, "mirrorPercentage": {"value": 50.0}});
        assert_eq!(routes(single), [("b".into(), String::new(), 0.5)]);
        assert_eq!(routes(json!({"route": to("v1"), "mirror": {"host": "b"}})), [("b".into(), String::new(), 1.0)]);
    }
}
