//! The split as found.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    appliers::appliers,
    at,
    beside::{self, Beside},
    claim::{Claim, Claims},
    fault::RouteFault,
    own::{self, MatchConflict, Names, Own},
    rule::{self, Sibling},
};
use crate::api::{Destination, Match, RouteKind, RouteRef, Version, names::MANAGED};
use crate::gateway_api::status::{Programmed, programmed};
use crate::istio::{
    name::{Host, MESH, same_host},
    reach, split,
};
use crate::plan::Share;

/// The managed route as found.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The object that holds it.
    pub object: RouteRef,
    /// The namespace of the object.
    pub(super) namespace: String,
    /// The version that it was looked for with: all destinations are of its kind.
    pub canary: Destination,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Index in `spec.http`.
    pub index: usize,
    /// Key of the claim: the route's name, or `host/<host>` when it has none.
    pub key: String,
    /// The route's name.
    pub name: Option<String>,
    /// It had the name in `key` when we wrote it last, and was found by our claim and its destinations.
    pub renamed: bool,
    /// Other routes that fit as well, by name: this one was found by the claim on it.
    pub rivals: Option<String>,
    /// Host of the first destination, as written. With subsets it is that of every destination.
    pub host: String,
    /// Port of the destinations, as written.
    pub port: Option<Value>,
    /// Destinations in order.
    pub entries: Vec<Entry>,
    /// The route as it is.
    pub(super) raw: Value,
    /// Our own http routes beside it: at most one, but for what somebody copied.
    pub own: Vec<Own>,
    /// Http routes above it that leave no request for it, if there are such.
    pub above: Option<String>,
    /// The same, if this is the only port of the Service.
    pub above_at: Option<(u64, String)>,
    /// Other routes of the object that lead to the host.
    pub beside: Vec<Beside>,
    /// Our annotation's entry for this route.
    pub claim: Option<Claim>,
    /// All of the annotation, for writing it back.
    pub(super) claims: Claims,
    /// The annotation's text as read.
    pub(super) annotation: Option<String>,
    /// Whether the object has any annotation.
    pub(super) has_annotations: bool,
    /// Managers that own the routes by managedFields, ours left out, newest last.
    pub appliers: Vec<String>,
    /// How many routes the object has.
    pub(super) rules: usize,
    /// Of an HTTPRoute or GRPCRoute: the other rules.
    pub(super) siblings: Vec<Sibling>,
    /// Those that are ours, or another Rollout's own.
    pub(super) ours: Names,
    /// What the gateways say about it.
    pub programmed: Programmed,
}

/// One destination of the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its host as written.
    pub host: String,
    /// The version that it leads to: its subset, or its Service.
    pub name: String,
    /// What it gets in percent, as Istio reads the weights.
    pub weight: u8,
    /// Its weight as written.
    pub written: Option<u64>,
}

impl View {
    /// What finds this route again.
    pub fn wanted(&self) -> Sought<'_> {
        let route = (self.name.is_some() || self.renamed).then_some(self.key.as_str());
        Sought { kind: self.object.kind(), route, canary: &self.canary }
    }

    /// Share of a version in percent; 0 if it has no entry.
    pub fn share(&self, version: &str) -> u8 {
        self.entries.iter().filter(|entry| entry.name == version).fold(0, |sum, entry| sum.saturating_add(entry.weight))
    }

    /// All that a version gets of this route: its weight, copies, and our own route if it stands where requests reach it.
    pub fn found(&self, version: &str) -> Share {
        let matched = self.own.iter().any(|own| self.is_reached(own) && self.leads_to(own, version));
        Share { weight: self.share(version), mirror: self.mirrored(version), matched }
    }

    /// A version behind this route.
    pub fn version(&self, name: &str, revision: impl Into<String>) -> Version {
        Version::new(self.host_of(name), &self.canary.other(name), revision)
    }

    /// Whether it leads to a version, or may lead there: with subsets that is so for every one of the host.
    pub fn knows(&self, version: &Version) -> bool {
        match version.destination() {
            Destination::Subset(_) => self.canary.field() == "subset" && same_host(&version.host, &self.host, &self.namespace),
            Destination::Service(name) => self.entries.iter().any(|entry| entry.name == name),
        }
    }

    /// How our own route stands towards what it must be for these matches.
    ///
    /// # Errors
    /// When the matches cannot be joined with the route's own.
    pub fn own_route(&self, canary: &str, matches: &[Match]) -> Result<OwnRoute, MatchConflict> {
        let wanted = own::wanted(self, &self.own_name(), canary, matches)?;
        let Some(own) = self.own.iter().find(|own| self.is_reached(own) && self.leads_to(own, canary)) else { return Ok(OwnRoute::Absent) };
        if own.raw == wanted && self.own.len() == 1 {
            return Ok(OwnRoute::AsWanted);
        }
        let claimed = self.claim.as_ref().and_then(|claim| claim.own.as_ref());
        if claimed.is_some_and(|written| written.print == own.print()) && self.own.len() == 1 {
            return Ok(OwnRoute::Old);
        }
        let field = if self.is_rule() { "/matches" } else { "/match" };
        let asked = |route: &Value| at(route, field).as_array().cloned().unwrap_or_default();
        let (there, wanted) = (asked(&own.raw), asked(&wanted));
        let fewer = !there.is_empty() && there.len() < wanted.len() && there.iter().all(|one| wanted.contains(one));
        Ok(if fewer && self.own.len() == 1 { OwnRoute::Narrower } else { OwnRoute::Changed })
    }

    /// Name of our own route: the one that our claim says, else the one that we would write.
    pub(super) fn own_name(&self) -> String {
        let claimed = self.claim.as_ref().and_then(|claim| claim.own.as_ref()).map(|written| written.name.clone());
        claimed.unwrap_or_else(|| own::name(self.object.kind(), &self.key))
    }

    /// Whether two looks show the same destinations, weights, copies and route of ours, at the same places.
    pub fn same_split(&self, other: &Self) -> bool {
        let list = |view: &Self| view.raw.get(view.object.kind().copies()).cloned();
        self.index == other.index && self.entries == other.entries && self.own == other.own && list(self) == list(other)
    }

    /// The one version that has everything, if one has.
    pub fn sole(&self) -> Option<&str> {
        self.entries.iter().find(|entry| entry.weight == 100).map(|entry| entry.name.as_str()).filter(|_| self.sum() == 100)
    }

    /// Sum of the weights.
    pub fn sum(&self) -> u32 {
        self.entries.iter().map(|entry| u32::from(entry.weight)).sum()
    }

    /// The split in words: `v1 95 %, v2 5 %, match to v2, mirror of 10 % to v2`.
    pub fn words(&self) -> String {
        let weights = self.entries.iter().map(|entry| format!("{} {} %", entry.name, entry.weight));
        let mut parts: Vec<String> = weights.collect();
        let matched = self.own.iter().flat_map(|own| self.destinations_of(&own.raw));
        parts.extend(matched.map(|(version, _)| format!("match to {version}")));
        parts.extend(self.mirrors().map(|(version, percent)| format!("mirror of {percent} % to {version}")));
        parts.join(", ")
    }
}

/// How our own route is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRoute {
    /// Not there, or nothing reaches the canary by it.
    Absent,
    /// As it must be.
    AsWanted,
    /// As we wrote it; the route that it is a copy of has changed since.
    Old,
    /// Somebody took matches out of it.
    Narrower,
    /// Somebody made something else of it.
    Changed,
}

/// What a Rollout looks for in an object.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// The kind of the object.
    pub kind: RouteKind,
    /// Name of the route, if it names one.
    pub route: Option<&'a str>,
    /// Its canary: destinations of this kind can be stepped.
    pub canary: &'a Destination,
}

/// Every subset: with subsets the canary need not be named to find its route.
static SUBSET: Destination = Destination::Subset(String::new());

impl<'a> Sought<'a> {
    /// A route of a VirtualService whose destinations are subsets.
    pub fn subsets(route: Option<&'a str>) -> Self {
        Self { kind: RouteKind::VirtualService, route, canary: &SUBSET }
    }
}

/// Finds the route that a Rollout manages. An http route of a VirtualService fits when all of its destinations have one host and a subset each; or,
/// where each version has a Service, when each destination is another Service of the namespace. So does a rule of an HTTPRoute or GRPCRoute.
///
/// # Errors
/// When none or several fit, or another controller owns the object.
pub fn find(object: &Value, sought: Sought<'_>) -> Result<View, RouteFault> {
    let Sought { kind, route: wanted, canary } = sought;
    let (whole, metadata) = (object, at(object, "/metadata"));
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let object = RouteRef::new(kind, name.clone());
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    if let Some(owner) = metadata["ownerReferences"].as_array().into_iter().flatten().find(|owner| owner["controller"] == true) {
        let owner = format!("{} {}", owner["kind"].as_str().unwrap_or("?"), owner["name"].as_str().unwrap_or("?"));
        return Err(RouteFault::Owned { object, owner });
    }
    let routes = at(whole, "/spec").get(kind.list()).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let annotations = metadata["annotations"].as_object();
    let annotation = annotations.and_then(|all| all.get(MANAGED)).and_then(Value::as_str).map(str::to_owned);
    let mut claims = Claims::parse(annotation.as_deref());
    let names = routes.iter().filter_map(|route| match route["name"].as_str() {
        Some(name) => Some(Cow::Borrowed(name)),
        None => Some(Cow::Owned(fit(kind, route, namespace, canary)?.key())),
    });
    let ours = Names::new(kind, &claims, names);
    let theirs = routes.iter().enumerate().filter(|(_, route)| !ours.has(route));
    let fitting: Vec<(usize, Fitting)> = theirs.filter_map(|(index, route)| Some((index, fit(kind, route, namespace, canary)?))).collect();
    let keys: Vec<String> = fitting.iter().map(|(_, fitting)| fitting.key()).collect();
    // A route with only copies for the canary, or with a route of ours before it, has no entry for it.
    let belongs = |index: usize, fitting: &Fitting, claim: &Claim| {
        let before = index.checked_sub(1).and_then(|before| routes.get(before)).and_then(|route| route["name"].as_str());
        let beside = claim.own.as_ref().is_some_and(|own| before == Some(own.name.as_str()));
        fitting.serves(claim.canary.name())
            || beside
            || routes.get(index).is_some_and(|route| copies_to(kind, route, namespace, &claim.canary))
    };
    let (mut renamed, mut rivals) = (false, None);
    let chosen: Vec<_> = match wanted {
        Some(wanted) => {
            let named = routes.iter().filter(|route| route["name"] == wanted).count();
            let claimed = claims.get(wanted).filter(|_| named == 0);
            let ours = |(index, fitting): &(usize, Fitting)| claimed.as_ref().is_some_and(|claim| belongs(*index, fitting, claim));
            renamed = fitting.iter().filter(|route| ours(route)).count() == 1;
            let chosen: Vec<_> =
                fitting.into_iter().filter(|route| if renamed { ours(route) } else { route.1.name.as_deref() == Some(wanted) }).collect();
            let delegated = routes.iter().find(|route| route["name"] == wanted && !route["delegate"].is_null());
            if let Some(route) = delegated.filter(|_| chosen.is_empty()) {
                return Err(delegated_by(&name, route));
            }
            if named > 0 && chosen.is_empty() {
                return Err(RouteFault::NoRoute(format!(
                    "{} {wanted} of {object} cannot be stepped: every destination needs {}",
                    kind.rule(),
                    needs(canary)
                )));
            }
            if chosen.is_empty() {
                let names: Vec<_> = routes.iter().filter_map(|route| route["name"].as_str()).collect();
                let names = if names.is_empty() {
                    format!("none of its {}s has a name", kind.rule())
                } else {
                    format!("it has {}", names.join(", "))
                };
                return Err(RouteFault::NoRoute(format!("{object} has no {} named {wanted}: {names}", kind.rule())));
            }
            chosen
        }
        None => {
            let (ours, others): (Vec<_>, Vec<_>) = fitting.into_iter().partition(|(_, fitting)| claims.get(&fitting.key()).is_some());
            if ours.len() == 1 {
                let others = others.into_iter().filter(|(_, fitting)| fitting.may_mean(canary)).collect::<Vec<_>>();
                rivals = (!others.is_empty()).then(|| names_of(kind, &others));
                ours
            } else {
                leading_to(canary, ours.into_iter().chain(others).collect())
            }
        }
    };
    let count = chosen.len();
    if count > 1 {
        return Err(RouteFault::Ambiguous { object, count, names: names_of(kind, &chosen), fix: one_of(kind, &chosen) });
    }
    let Some((index, fitting)) = chosen.into_iter().next() else {
        if let Some(route) = routes.iter().find(|route| !route["delegate"].is_null()) {
            return Err(delegated_by(&name, route));
        }
        return Err(RouteFault::NoRoute(format!(
            "no {rule} of {object} can be stepped: every destination of one needs {}",
            needs(canary),
            rule = kind.rule()
        )));
    };
    let key = match wanted.filter(|_| renamed) {
        Some(wanted) => wanted.to_owned(),
        None => fitting.key(),
    };
    if fitting.name.is_none() && keys.iter().filter(|other| **other == key).count() > 1 {
        let names = format!("without a name, all lead to {} first", fitting.host);
        let fix = "give each of them a name, and set spec.traffic.route to the one that is to be stepped".to_owned();
        return Err(RouteFault::Ambiguous { object, count: keys.iter().filter(|other| **other == key).count(), names, fix });
    }
    claims.follow(&key, |old| keys.iter().any(|key| key == old), |claim| belongs(index, &fitting, claim));
    let claim = claims.get(&key);
    let own_name =
        claim.as_ref().and_then(|claim| claim.own.as_ref()).map_or_else(|| own::name(kind, &key), |written| written.name.clone());
    let own = routes.iter().enumerate().filter(|(_, route)| route["name"] == own_name.as_str());
    let spec = at(whole, "/spec");
    let called = |indices: Vec<usize>| {
        indices
            .into_iter()
            .map(|at| routes.get(at).map_or_else(String::new, |route| called(kind, route, at)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let above = match kind {
        RouteKind::VirtualService => reach::above(spec, namespace, index, None, |route| ours.has(route)),
        RouteKind::HttpRoute | RouteKind::GrpcRoute => rule::above(kind, routes, index, &ours),
    };
    let above_at = match kind {
        RouteKind::VirtualService => fitting.port_above(spec, namespace, index, above.is_some(), &ours),
        RouteKind::HttpRoute | RouteKind::GrpcRoute => None,
    };
    let programmed = if kind.is_gateway_api() { programmed(whole) } else { Programmed::Accepted };
    let mut view = View {
        object,
        namespace: namespace.to_owned(),
        canary: canary.clone(),
        resource_version: metadata["resourceVersion"].as_str().unwrap_or_default().to_owned(),
        index,
        raw: routes.get(index).cloned().unwrap_or_default(),
        own: own.map(|(index, raw)| Own { index, raw: raw.clone() }).collect(),
        above: above.map(called),
        above_at: above_at.map(|(port, indices)| (port, called(indices))),
        beside: Vec::new(),
        claim,
        key,
        name: fitting.name,
        renamed,
        rivals,
        host: fitting.host,
        port: fitting.port,
        entries: fitting.entries,
        claims,
        annotation,
        has_annotations: annotations.is_some(),
        appliers: appliers(metadata, &format!("f:{}", kind.list())),
        rules: routes.len(),
        siblings: if kind.is_gateway_api() { rule::siblings(kind, routes, index, &ours) } else { Vec::new() },
        ours,
        programmed,
    };
    view.beside = if kind.is_gateway_api() { rule::beside(&view, routes) } else { beside::beside(&view, spec) };
    Ok(view)
}

/// What each destination must be.
fn needs(canary: &Destination) -> &'static str {
    match canary {
        Destination::Subset(_) => "the same host and a subset of its own",
        Destination::Service(_) => "a Service of this namespace of its own and no subset",
    }
}

/// Whether a route copies requests to a version.
fn copies_to(kind: RouteKind, route: &Value, namespace: &str, version: &Destination) -> bool {
    let Destination::Service(service) = version else {
        return split::copies(route).any(|(to, _)| split::named(to).is_some_and(|(_, subset)| subset == Some(version.name())));
    };
    if kind.is_gateway_api() {
        let copies = crate::gateway_api::split::mirrors(route, namespace);
        return copies.filter_map(|copy| copy.to.service()?.service_in(namespace)).any(|name| name == service);
    }
    split::copies(route).filter_map(|(to, _)| Host::of(split::named(to)?.0, namespace).service_in(namespace)).any(|name| name == service)
}

/// Where several routes fit that lead to Services, those that lead to the canary's are meant.
fn leading_to(canary: &Destination, routes: Vec<(usize, Fitting)>) -> Vec<(usize, Fitting)> {
    let leads = |(_, fitting): &(usize, Fitting)| matches!(canary, Destination::Service(name) if fitting.serves(name));
    if routes.iter().any(leads) { routes.into_iter().filter(leads).collect() } else { routes }
}

/// The names of routes; where one has none or shares it, its place too.
fn names_of(kind: RouteKind, routes: &[(usize, Fitting)]) -> String {
    let list = kind.list();
    let name = |(index, fitting): &(usize, Fitting)| match &fitting.name {
        None => format!("{list}[{index}] without a name"),
        Some(name) if routes.iter().filter(|(_, other)| other.name.as_ref() == Some(name)).count() > 1 => {
            format!("{name} ({list}[{index}])")
        }
        Some(name) => name.clone(),
    };
    routes.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// How to say which of several routes is meant.
fn one_of(kind: RouteKind, routes: &[(usize, Fitting)]) -> String {
    let own = |(_, fitting): &(usize, Fitting)| {
        fitting.name.is_some() && routes.iter().filter(|(_, other)| other.name == fitting.name).count() == 1
    };
    match routes.iter().find(|route| !own(route)) {
        None => "name one in spec.traffic.route".to_owned(),
        Some((index, _)) => format!(
            "give the one that is to be stepped a name of its own (for example spec.{}[{index}].name: stepped), and set spec.traffic.route to it",
            kind.list()
        ),
    }
}

fn delegated_by(virtual_service: &str, route: &Value) -> RouteFault {
    let name = at(route, "/delegate/name").as_str().unwrap_or("?");
    let delegate = at(route, "/delegate/namespace").as_str().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
    let route = route["name"].as_str().unwrap_or("without a name").to_owned();
    RouteFault::Delegated { virtual_service: virtual_service.to_owned(), route, delegate }
}

/// What a route is called in messages.
fn called(kind: RouteKind, route: &Value, index: usize) -> String {
    route["name"].as_str().map_or_else(|| format!("{}[{index}]", kind.list()), str::to_owned)
}

/// A route whose destinations are versions.
pub(super) struct Fitting {
    pub(super) name: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<Value>,
    pub(super) entries: Vec<Entry>,
}

impl Fitting {
    /// What a claim on it is found by.
    fn key(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("host/{}", self.host))
    }

    /// Whether a Rollout of this canary may mean it beside the one that it has claimed.
    fn may_mean(&self, canary: &Destination) -> bool {
        matches!(canary, Destination::Subset(_)) || self.serves(canary.name())
    }

    fn serves(&self, version: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == version)
    }

    /// The port, and the routes that leave nothing for this one, if the Service has that port alone. Only in the mesh are the ports of the
    /// Service those that clients see, and only at its own host.
    fn port_above(&self, spec: &Value, namespace: &str, index: usize, already: bool, ours: &Names) -> Option<(u64, Vec<usize>)> {
        let mut hosts = spec["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mesh = reach::gateways(spec, namespace) == [MESH] && hosts.all(|host| same_host(host, &self.host, namespace));
        let routes = spec["http"].as_array().into_iter().flatten().take(index);
        let ports = routes.flat_map(|route| route["match"].as_array().into_iter().flatten()).filter_map(|one| one["port"].as_u64());
        let mut ports = ports.filter(|_| mesh && !already);
        ports.find_map(|port| Some((port, reach::above(spec, namespace, index, Some(port), |route| ours.has(route))?)))
    }
}

/// The destinations of a route, if each is another version of the kind wanted and Istio takes their weights.
fn fit(kind: RouteKind, route: &Value, namespace: &str, canary: &Destination) -> Option<Fitting> {
    if kind.is_gateway_api() {
        return rule::fit(route, namespace);
    }
    let destinations = route["route"].as_array()?;
    let written = split::written(route);
    // All zero is refused by Istio; where it got in nevertheless, the way down must find the route.
    let percents = split::percents(&written).unwrap_or_else(|| vec![0; written.len()]);
    let (first, _) = split::named(destinations.first()?.get("destination")?)?;
    let mut port = None;
    let mut entries: Vec<Entry> = Vec::with_capacity(destinations.len());
    for (entry, (written, weight)) in destinations.iter().zip(written.into_iter().zip(percents)) {
        let (host, subset) = split::named(&entry["destination"])?;
        let name = match canary {
            Destination::Subset(_) => subset.filter(|_| same_host(first, host, namespace))?,
            Destination::Service(_) => Host::of(host, namespace).service_in(namespace).filter(|_| subset.is_none())?,
        };
        if entries.iter().any(|known| known.name == name) {
            return None;
        }
        port = port.or_else(|| entry["destination"].get("port").cloned());
        entries.push(Entry { host: host.to_owned(), name: name.to_owned(), weight, written });
    }
    Some(Fitting { name: route["name"].as_str().map(str::to_owned), host: first.to_owned(), port, entries })
}
