//! The routes of an object, as a proxy reads them: in the order in which they are tried, so that the first whose match fits takes the
//! request.

use std::sync::Arc;

use serde_json::Value;

use super::Watched;
use crate::{
    gateway_api::{
        self,
        name::{Ref, parents},
        request::{fits, ordered},
        split::{backends, mirrors},
    },
    istio::split,
    sim::route_kind::RouteKind,
};

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

/// All routes of an object, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// In order.
    pub list: Vec<HttpRoute>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRoute {
    /// Any of them is enough; none: every request fits.
    pub matches: Vec<Match>,
    /// (host, subset, weight), as the control plane reads the weights.
    pub destinations: Vec<(String, String, u64)>,
    /// (host, subset, share of the requests that are copied, 0 to 1).
    pub mirrors: Vec<(String, String, f64)>,
}

/// What a route asks of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// In the words of a VirtualService.
    Istio(Value),
    /// In the words of an HTTPRoute or a GRPCRoute.
    GatewayApi(gateway_api::Kind, Value),
}

impl Match {
    fn fits(&self, request: &Request) -> bool {
        match self {
            Self::Istio(one) => request.fits(one),
            Self::GatewayApi(kind, one) => fits(*kind, one, request),
        }
    }
}

impl Routes {
    /// Those of an object of this kind.
    pub fn of(kind: RouteKind, object: &Value) -> Self {
        let Some(kind) = kind.gateway_api() else {
            let http = object.pointer("/spec/http").and_then(Value::as_array);
            return Self { list: http.into_iter().flatten().map(HttpRoute::of).collect() };
        };
        let (rules, namespace) = (gateway_api::rules(object), gateway_api::namespace(object));
        let ways = ordered(kind, &[object]).into_iter();
        Self { list: ways.filter_map(|way| Some(HttpRoute::of_rule(kind, way.one, rules.get(way.rule)?, namespace))).collect() }
    }

    /// Those of the gateway, and those of the mesh's clients. A route of the Gateway API is for who is among its parents: without it a gateway
    /// knows nobody, and a client calls the Service as it is.
    pub fn by_proxy(watched: &Watched, object: &Value) -> [Arc<Self>; 2] {
        let read = Arc::new(Self::of(watched.kind, object));
        if watched.kind.gateway_api().is_none() {
            return [Arc::clone(&read), read];
        }
        let called = |parent: Ref<'_>| parent.service().is_some_and(|host| host.service_in(&watched.namespace) == Some(&watched.service));
        let gateway = if parents(object).any(Ref::is_gateway) { Arc::clone(&read) } else { Arc::default() };
        let direct = HttpRoute { destinations: vec![(watched.service.clone(), String::new(), 1)], ..HttpRoute::default() };
        let mesh = if parents(object).any(called) { read } else { Arc::new(Self { list: vec![direct] }) };
        [gateway, mesh]
    }

    /// The route that a request takes.
    pub fn takes(&self, request: &Request) -> Option<&HttpRoute> {
        self.list.iter().find(|route| route.matches.is_empty() || route.matches.iter().any(|one| one.fits(request)))
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
            matches: route["match"].as_array().into_iter().flatten().cloned().map(Match::Istio).collect(),
            destinations: split::destinations(route).into_iter().map(|to| (to.host.to_owned(), subset(to.subset), to.weight)).collect(),
            mirrors: split::copies(route).map(copy).collect(),
        }
    }

    /// One match of a rule. A backend that is no Service is a host that nobody has.
    fn of_rule(kind: gateway_api::Kind, one: &Value, rule: &Value, namespace: &str) -> Self {
        let host = |to: Ref<'_>| to.service().map_or_else(|| to.to_string(), |host| host.to_string());
        let arms = backends(rule, namespace).into_iter().filter(|arm| arm.weight > 0);
        Self {
            matches: vec![Match::GatewayApi(kind, one.clone())],
            destinations: arms.map(|arm| (host(arm.to), String::new(), arm.weight)).collect(),
            mirrors: mirrors(rule, namespace).map(|mirror| (host(mirror.to), String::new(), mirror.percent / 100.0)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(http: Value, request: &Request) -> Option<String> {
        let routes = Routes::of(RouteKind::Subsets, &json!({"spec": {"http": http}}));
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
    fn the_most_specific_rule_takes_the_request() {
        let refs = |name: &str| json!([{"name": name, "port": 80}]);
        let header = json!([{"name": "X-Group", "value": "beta"}]);
        let rules = json!([
            {"backendRefs": [{"name": "a", "weight": 9}, {"name": "b", "weight": 0}, {"name": "c"}]},
            {"matches": [{"path": {"value": "/v1"}, "headers": header}], "backendRefs": refs("beta")},
            {"matches": [{"path": {"type": "Exact", "value": "/none"}}]},
        ]);
        let route = json!({"metadata": {"namespace": "ml"}, "spec": {"rules": rules}});
        let routes = Routes::of(RouteKind::HttpRoute, &route);
        let to = |request: &Request| routes.takes(request).map(|route| route.destinations.clone()).unwrap();
        let full = |name: &str, weight: u64| (format!("{name}.ml.svc.cluster.local"), String::new(), weight);
        assert_eq!(to(&Request::default()), [full("a", 9), full("c", 1)], "weight 0 is not there");
        assert_eq!(to(&Cohort::with_header(1.0, "x-group", "beta").request), [full("beta", 1)]);
        assert!(to(&Request { path: "/none".into(), ..Request::default() }).is_empty());
    }
}
