//! A rule of an HTTPRoute or GRPCRoute: whether it can be stepped, our own rule beside it, and which other rules lead to a version.

use regex::escape;
use serde_json::{Map, Value, json};

use super::{
    at,
    beside::Beside,
    find::{Entry, Fitting, View},
    own::{self, MatchConflict},
};
use crate::api::{Match, RouteKind, StringMatch};
use crate::gateway_api::{
    Kind,
    name::Ref,
    request::{may_share, specificity},
    split,
};
use crate::istio::request::entirely;

/// The API server takes no more rules in an object.
const RULES: usize = 16;
/// Nor more references, filters or headers in a rule.
const ENTRIES: usize = 16;
/// Nor more matches in a rule.
const MATCHES: usize = 64;

/// The destinations of a rule, if each is another Service of the namespace.
pub(super) fn fit(rule: &Value, namespace: &str) -> Option<Fitting> {
    let backends = split::backends(rule, namespace);
    let refs = rule["backendRefs"].as_array()?;
    let mut port = None;
    let mut entries: Vec<Entry> = Vec::with_capacity(backends.len());
    for (backend, written) in backends.iter().zip(refs) {
        let name = backend.to.service()?.service_in(namespace)?;
        if entries.iter().any(|known| known.name == name) {
            return None;
        }
        port = port.or_else(|| written.get("port").cloned());
        let weight = written["weight"].as_u64();
        entries.push(Entry { host: name.to_owned(), name: name.to_owned(), weight: backend.percent, written: weight });
    }
    let host = entries.first()?.host.clone();
    Some(Fitting { name: rule["name"].as_str().map(str::to_owned), host, port, entries })
}

/// Another rule of the object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sibling {
    index: usize,
    called: String,
    matches: Vec<Value>,
}

/// The rules beside one, without those that are ours.
pub(super) fn siblings(kind: RouteKind, rules: &[Value], index: usize, ours: &own::Names) -> Vec<Sibling> {
    let others = rules.iter().enumerate().filter(|(at, rule)| *at != index && !ours.has(rule));
    let called = |at: usize, rule: &Value| rule["name"].as_str().map_or_else(|| format!("spec.rules[{at}]"), |name| format!("rule {name}"));
    others.map(|(at, rule)| Sibling { index: at, called: called(at, rule), matches: asked(kind, rule) }).collect()
}

/// The rules by which every request of one goes elsewhere: those before it with the same matches. What asks for more takes only some.
pub(super) fn above(kind: RouteKind, rules: &[Value], index: usize, ours: &own::Names) -> Option<Vec<usize>> {
    let earlier: Vec<(usize, Vec<Value>)> =
        rules.iter().enumerate().take(index).filter(|(_, rule)| !ours.has(rule)).map(|(at, rule)| (at, asked(kind, rule))).collect();
    let mut covers = Vec::new();
    for one in asked(kind, rules.get(index)?) {
        covers.push(earlier.iter().find(|(_, theirs)| theirs.contains(&one))?.0);
    }
    covers.sort_unstable();
    covers.dedup();
    Some(covers)
}

/// Other rules of the object that lead to a version of the route, by a weight or by copies.
pub(super) fn beside(view: &View, rules: &[Value]) -> Vec<Beside> {
    let ours = |version: &str| version == view.canary.name() || view.entries.iter().any(|entry| entry.name == version);
    let namespace = view.namespace.as_str();
    let mut found: Vec<Beside> = Vec::new();
    for (index, rule) in rules.iter().enumerate().filter(|(index, rule)| *index != view.index && !view.ours.has(rule)) {
        let name = rule["name"].as_str();
        let mut add = |place: String, to: Ref<'_>, whole: bool| {
            let Some(version) = to.service().and_then(|host| host.service_in(namespace)).filter(|version| ours(version)) else { return };
            let claim = name.and_then(|name| view.claims.get(name)).filter(|claim| whole && claim.canary.name() == version);
            found.push(Beside {
                route: name.map_or_else(|| format!("rules[{index}]"), str::to_owned),
                place,
                version: Some(version.to_owned()),
                given_by: claim.filter(|claim| claim.share.weight == 100).map(|claim| (claim.rollout, claim.uid)),
                promoted: false,
            });
        };
        for (at, to) in split::backends(rule, namespace).into_iter().enumerate().filter(|(_, to)| to.weight > 0) {
            add(format!("spec.rules[{index}].backendRefs[{at}].name"), to.to, to.percent == 100);
        }
        for mirror in split::mirrors(rule, namespace).filter(|mirror| mirror.percent > 0.0) {
            add(format!("spec.rules[{index}].filters[{}].requestMirror.backendRef.name", mirror.index), mirror.to, false);
        }
    }
    found
}

/// Takes the copies for a version out of our own rule: it answers these requests, and a copy would count them twice.
pub(super) fn drop_copies(view: &View, version: &str, rule: &mut Map<String, Value>) {
    let copies: Vec<usize> = view.mirrors_of(version).map(|(index, _)| index).collect();
    if let Some(filters) = rule.get_mut("filters").and_then(Value::as_array_mut) {
        let mut index = 0;
        filters.retain(|_| {
            index += 1;
            !copies.contains(&(index - 1))
        });
        if filters.is_empty() {
            rule.remove("filters");
        }
    }
}

impl View {
    /// Why a version, its copies, or a rule of ours cannot be added to the object.
    pub fn too_full(&self, canary: &str, mirror: bool, matches: bool) -> Option<String> {
        if !self.is_rule() {
            return None;
        }
        let count = |field: &str| self.raw.get(field).and_then(Value::as_array).map_or(0, Vec::len);
        let added = usize::from(!self.entries.iter().any(|entry| entry.name == canary));
        let copies = usize::from(mirror && self.mirrored(canary) == 0);
        let full =
            |what: &str| Some(format!("{} of {} has {ENTRIES} {what}, and the API server takes no more", self.called(), self.object));
        if count("backendRefs") + added > ENTRIES {
            return full("backendRefs");
        }
        if count("filters") + copies > ENTRIES {
            return full("filters");
        }
        if matches && self.name.is_none() {
            return Some(format!(
                "a cohort needs a rule of ours, which is found by its name: give the rule a name (spec.rules[{}].name; the CRDs of Gateway API 1.4 \
                 and newer keep it)",
                self.index
            ));
        }
        if matches && self.own.is_empty() && self.rules + 1 > RULES {
            return Some(format!("{} has {RULES} rules, and the API server takes no more", self.object));
        }
        None
    }
}

/// The matches of a rule; none is one that asks for nothing, as the API server writes it.
fn asked(kind: RouteKind, rule: &Value) -> Vec<Value> {
    match rule["matches"].as_array().filter(|list| !list.is_empty()) {
        Some(list) => list.clone(),
        None if kind == RouteKind::HttpRoute => vec![json!({ "path": { "type": "PathPrefix", "value": "/" } })],
        None => vec![json!({})],
    }
}

/// Each match of the rule joined with each of ours.
pub(super) fn join(view: &View, ours: &[Match]) -> Result<Vec<Value>, MatchConflict> {
    let (kind, rule) = (view.object.kind(), &view.raw);
    if let (RouteKind::GrpcRoute, Some(what)) = (kind, beyond_headers(ours)) {
        let what = format!("a GRPCRoute cannot ask for a {what}: ask for headers in the step, the metadata of a call are headers");
        return Err(MatchConflict { theirs: None, what });
    }
    let theirs = asked(kind, rule);
    let rewrites = rule["filters"].as_array().into_iter().flatten().any(|filter| {
        let path = |filter: &str, of: &Value| at(of, &format!("/{filter}/path/type")) == "ReplacePrefixMatch";
        path("urlRewrite", filter) || path("requestRedirect", filter)
    });
    let mut joined = Vec::with_capacity(theirs.len() * ours.len());
    for (index, theirs) in theirs.iter().enumerate() {
        for ours in ours {
            let one = both(theirs, ours, rewrites).map_err(|what| MatchConflict { theirs: Some(index), what })?;
            if let Some(what) = takes_from(view, theirs, &one) {
                return Err(MatchConflict { theirs: None, what });
            }
            joined.push(one);
        }
    }
    if joined.len() > MATCHES {
        let what =
            format!("the matches of the route and of the step make {} together, and a rule takes {MATCHES}: ask for fewer", joined.len());
        return Err(MatchConflict { theirs: None, what });
    }
    Ok(joined)
}

/// What a match of ours, made of one of the rule, would take from another rule: requests that reach the other one as long as ours is not there.
fn takes_from(view: &View, theirs: &Value, ours: &Value) -> Option<String> {
    let kind = if view.object.kind() == RouteKind::GrpcRoute { Kind::Grpc } else { Kind::Http };
    let place = view.own.first().map_or(view.index, |own| own.index);
    let [before, after] = [theirs, ours].map(|one| specificity(kind, one));
    for Sibling { index, called, matches } in &view.siblings {
        for one in matches {
            let rank = specificity(kind, one);
            let had = rank > before || (rank == before && *index < view.index);
            let fix = match () {
                () if !had || !may_share(kind, one, ours) => continue,
                () if after > rank => format!("ask for less in the step, or for more in {called}"),
                () if after == rank && place <= *index => format!("put {called} above it"),
                () => continue,
            };
            return Some(format!(
                "{called} asks for more than the rule that is stepped, and with the step's match its requests would reach the canary: {fix}"
            ));
        }
    }
    None
}

/// What these ask for beside headers.
fn beyond_headers(matches: &[Match]) -> Option<&'static str> {
    let query = matches.iter().any(|one| !one.query_params.is_empty()).then_some("query parameter");
    query.or_else(|| matches.iter().any(|one| one.uri.is_some()).then_some("uri"))
}

/// A match that asks for what both ask for, or what stands in the way. Every default is written, as the API server keeps it.
fn both(theirs: &Value, ours: &Match, rewrites: bool) -> Result<Value, String> {
    let mut joined: Map<String, Value> = theirs.as_object().cloned().unwrap_or_default();
    let params = ours.query_params.iter().map(|(name, text)| ("queryParams", "query parameter", name, text));
    for (field, what, name, text) in ours.headers.iter().map(|(name, text)| ("headers", "header", name, text)).chain(params) {
        let Some(list) = joined.entry(field).or_insert_with(|| json!([])).as_array_mut() else { continue };
        let same = |there: &str| if field == "headers" { there.eq_ignore_ascii_case(name) } else { there == name };
        let (word, value) = written(text);
        let asked = |name: &Value| json!({ "name": name, "type": word, "value": value });
        let full = list.len() >= ENTRIES;
        match list.iter_mut().find(|entry| entry["name"].as_str().is_some_and(same)) {
            None if full => return Err(format!("{what} {name} beside {ENTRIES} others (a match has no more)")),
            None => list.push(asked(&json!(name))),
            Some(there) => match (there["type"].as_str().unwrap_or("Exact"), there["value"].as_str().unwrap_or_default()) {
                (theirs, known) if (theirs, known) == (word, value.as_str()) => {}
                ("Exact", known) if word != "Exact" && entirely(&value, known) => {}
                ("RegularExpression", known) if word == "Exact" && entirely(known, &value) => *there = asked(&there["name"].clone()),
                _ => return Err(format!("{what} {name}")),
            },
        }
    }
    if let Some(uri) = &ours.uri {
        let (word, value) = path(uri);
        let there = at(theirs, "/path");
        let (known, place) = (there["type"].as_str().unwrap_or("PathPrefix"), there["value"].as_str().unwrap_or("/"));
        let within = known == "PathPrefix" && word != "RegularExpression" && under(&value, place);
        // The rewrite takes the place of what matched: with our longer prefix it would cut off more.
        if (known, place) != (word, value.as_str()) && (rewrites || !(within || (known, place) == ("PathPrefix", "/"))) {
            return Err(if rewrites { "uri (which it also rewrites)" } else { "uri" }.to_owned());
        }
        joined.insert("path".to_owned(), json!({ "type": word, "value": value }));
    }
    Ok(Value::Object(joined))
}

/// A text as a rule asks for it. There is no word for a prefix: an expression for the whole of the text says the same.
fn written(text: &StringMatch) -> (&'static str, String) {
    match text {
        StringMatch { exact: Some(exact), .. } => ("Exact", exact.clone()),
        StringMatch { prefix: Some(prefix), .. } => ("RegularExpression", format!("{}.*", escape(prefix))),
        StringMatch { regex, .. } => ("RegularExpression", regex.clone().unwrap_or_default()),
    }
}

/// A path as a rule asks for it. A prefix is one of whole elements.
fn path(text: &StringMatch) -> (&'static str, String) {
    match text {
        StringMatch { prefix: Some(prefix), .. } => ("PathPrefix", prefix.clone()),
        other => written(other),
    }
}

/// Whether a path lies under a prefix of whole elements.
fn under(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
