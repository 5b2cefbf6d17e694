//! The http routes of a VirtualService, as a proxy reads them: the first whose match fits takes the request.

use serde_json::Value;

use crate::istio::split;

pub use crate::istio::request::Request;

impl Default for Request {
    fn default() -> Self {
        Self { method: "POST".into(), headers: Default::default(), query: Default::default(), path: "/v1/predict".into() }
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
    /// (host, subset, weight), as Istio reads the weights.
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
        self.list.iter().find(|route| route.matches.is_empty() || route.matches.iter().any(|one| request.fits(one)))
    }
}

impl HttpRoute {
    fn of(route: &Value) -> Self {
        let subset = |subset: Option<&str>| subset.unwrap_or_default().to_owned();
        let copy = |(to, percent): (&Value, f64)| {
            let (host, named) = split::named(to).unwrap_or_default();
            (host.to_owned(), subset(named), percent / 100.0)
        };
        Self {
            matches: route["match"].as_array().cloned().unwrap_or_default(),
            destinations: split::destinations(route).into_iter().map(|to| (to.host.to_owned(), subset(to.subset), to.weight)).collect(),
            mirrors: split::copies(route).map(copy).collect(),
        }
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
}
