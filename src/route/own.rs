//! Our own http route: a copy of the managed one that takes only the requests of a match, and leads them to the canary.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{at, claim::Claims, find::View, rule};
use crate::api::{Match, RouteKind, names::GROUP};
use crate::istio::request;

/// Our route as found.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// Index in `spec.http`.
    pub index: usize,
    /// All of it.
    pub raw: Value,
}

/// A match of ours that cannot be joined with one of the managed route: one map holds one text for each name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.words())]
pub struct MatchConflict {
    /// Index of the managed route's match; `None`: no match of the route is in the way.
    pub theirs: Option<usize>,
    /// `header x-user-group`, `query parameter model`, `uri`; without a match of the route all that there is to say.
    pub what: String,
}

impl MatchConflict {
    fn words(&self) -> String {
        let Self { theirs: Some(theirs), what } = self else { return self.what.clone() };
        format!(
            "match[{theirs}] of the route asks for {what} in its own way, and a step's match asks for it too; ask for something else in the \
             step"
        )
    }
}

impl Own {
    /// What it was when it was written, in 16 hex digits (FNV-1a of its JSON, whose keys are sorted).
    pub fn print(&self) -> String {
        print(&self.raw)
    }
}

pub(super) fn print(route: &Value) -> String {
    let text = route.to_string();
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The name under which our route beside the route `key` is written. No route with such a name is a user's. The name of a rule is like that
/// of an object: it has no slash.
pub(super) fn name(kind: RouteKind, key: &str) -> String {
    if kind.is_gateway_api() { format!("{GROUP}.{}", key.replace('/', ".")) } else { format!("{GROUP}/{key}") }
}

/// The routes that are ours, or another Rollout's own, by name: those that a claim speaks of, and those that would be written beside routes
/// with these keys. Another one with a name like ours is a route like every other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn new<'k>(kind: RouteKind, claims: &Claims, keys: impl Iterator<Item = Cow<'k, str>>) -> Self {
        Self(claims.own_names().chain(keys.map(|key| name(kind, &key))).collect())
    }

    /// Whether a route is one of them.
    pub(super) fn has(&self, route: &Value) -> bool {
        route["name"].as_str().is_some_and(|name| self.0.contains(name))
    }
}

/// Our route as it must be: a copy of the managed one as it is now, with its timeouts, retries, rewrites and mirrors, each of its matches
/// joined with each of ours, and the canary as its one destination.
///
/// # Errors
/// When two matches cannot be joined.
pub(super) fn wanted(view: &View, name: &str, canary: &str, matches: &[Match]) -> Result<Value, MatchConflict> {
    let mut route = view.raw.as_object().cloned().unwrap_or_default();
    route.insert("name".to_owned(), json!(name));
    let (asks, joined) = match view.object.kind() {
        RouteKind::VirtualService => ("match", join(&view.raw, matches)?),
        RouteKind::HttpRoute | RouteKind::GrpcRoute => ("matches", rule::join(view, matches)?),
    };
    route.insert(asks.to_owned(), Value::Array(joined));
    let list = view.object.kind().destinations();
    let entry =
        view.raw.get(list).and_then(Value::as_array).into_iter().flatten().find(|entry| view.is_of(view.destination_in(entry), canary));
    let mut entry = entry.cloned().unwrap_or_else(|| view.entry(canary, 100));
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("weight".to_owned(), json!(100));
    }
    route.insert(list.to_owned(), json!([entry]));
    if view.is_rule() {
        rule::drop_copies(view, canary, &mut route);
        return Ok(Value::Object(route));
    }
    // The canary answers these requests: a copy for it as well would count them twice.
    if let Some(mirrors) = route.get_mut("mirrors").and_then(Value::as_array_mut) {
        mirrors.retain(|mirror| !view.is_of(&mirror["destination"], canary));
        if mirrors.is_empty() {
            route.remove("mirrors");
        }
    }
    if view.is_of(route.get("mirror").unwrap_or(&Value::Null), canary) {
        for field in super::mirror::SINGLE {
            route.remove(field);
        }
    }
    Ok(Value::Object(route))
}

/// Each match of the route (none is one that asks for nothing) joined with each of ours.
fn join(route: &Value, ours: &[Match]) -> Result<Vec<Value>, MatchConflict> {
    let all = [json!({})];
    let theirs = route["match"].as_array().filter(|list| !list.is_empty()).map_or(all.as_slice(), Vec::as_slice);
    let rewrites = !at(route, "/rewrite/uri").is_null();
    let mut joined = Vec::with_capacity(theirs.len() * ours.len());
    for (index, theirs) in theirs.iter().enumerate() {
        for ours in ours {
            let one = both(theirs, ours, rewrites).map_err(|what| MatchConflict { theirs: Some(index), what })?;
            joined.push(one);
        }
    }
    Ok(joined)
}

/// A match that asks for what both ask for, or what stands in the way.
fn both(theirs: &Value, ours: &Match, rewrites: bool) -> Result<Value, String> {
    let mut joined: Map<String, Value> = theirs.as_object().cloned().unwrap_or_default();
    let ours = serde_json::to_value(ours).unwrap_or_default();
    for (field, what) in [("headers", "header"), ("queryParams", "query parameter")] {
        for (name, text) in ours.get(field).and_then(Value::as_object).into_iter().flatten() {
            let Some(fields) = joined.entry(field).or_insert_with(|| json!({})).as_object_mut() else { continue };
            let header = field == "headers";
            if header && request::leaves_out(theirs, name, text) {
                return Err(format!("{what} {name} (which it leaves out by withoutHeaders)"));
            }
            // The name of a header has no case: the key that is there is the one to keep.
            let known = if header { request::header(fields, name).map(|(key, _)| key.clone()) } else { None };
            let key = known.unwrap_or_else(|| name.clone());
            match fields.get(&key) {
                Some(there) if request::within(there, text) => {}
                Some(there) if !request::within(text, there) => return Err(format!("{what} {key}")),
                _ => {
                    fields.insert(key, text.clone());
                }
            }
        }
    }
    if let Some(uri) = ours.get("uri") {
        let uri_too = match joined.get("uri") {
            Some(there) => there == uri || (!rewrites && begins(there, uri) && theirs["ignoreUriCase"] != true),
            // The rewrite takes the place of what matched: with our longer prefix it would cut off more.
            None => !rewrites,
        };
        if !uri_too {
            let rewritten = if rewrites { "uri (which it also rewrites)" } else { "uri" };
            return Err(rewritten.to_owned());
        }
        joined.insert("uri".to_owned(), uri.clone());
    }
    Ok(Value::Object(joined))
}

/// Whether every path that fits `inner` begins as `outer` wants it.
fn begins(outer: &Value, inner: &Value) -> bool {
    let Some(prefix) = outer["prefix"].as_str() else { return false };
    ["exact", "prefix"].iter().filter_map(|word| inner[*word].as_str()).any(|text| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(theirs: Value, ours: Value, rewrites: bool) -> Result<Value, String> {
        both(&theirs, &serde_json::from_value(ours).unwrap(), rewrites)
    }

    #[test]
    fn both_are_asked_for() {
        let theirs = json!({"name": "api", "uri": {"prefix": "/api"}, "headers": {"x-tenant": {"exact": "a"}}, "port": 80});
        let ours = json!({"headers": {"x-user-group": {"exact": "beta"}}, "queryParams": {"v": {"regex": "[0-9]+"}}});
        let wanted = json!({"name": "api", "uri": {"prefix": "/api"}, "port": 80,
                            "headers": {"x-tenant": {"exact": "a"}, "x-user-group": {"exact": "beta"}}, "queryParams": {"v": {"regex": "[0-9]+"}}});
        assert_eq!(joined(theirs, ours, true), Ok(wanted));
    }

    #[test]
    fn what_is_asked_for_in_two_ways_cannot_be_joined() {
        let header = |value: &str| json!({"headers": {"x-user-group": {"exact": value}}});
        assert_eq!(joined(header("beta"), header("beta"), false), Ok(header("beta")));
        assert_eq!(joined(header("gold"), header("beta"), false), Err("header x-user-group".into()));
        let query = |value: &str| json!({"queryParams": {"v": {"prefix": value}}});
        assert_eq!(joined(query("1"), query("2"), false), Err("query parameter v".into()));
    }

    #[test]
    fn the_name_of_a_header_has_no_case() {
        let header = |name: &str, value: &str| json!({"headers": {name: {"exact": value}}});
        assert_eq!(joined(header("X-Group", "gold"), header("x-group", "beta"), false), Err("header X-Group".into()));
        assert_eq!(joined(header("X-Group", "beta"), header("x-group", "beta"), false), Ok(header("X-Group", "beta")));
        let any = json!({"headers": {"X-Group": {}}});
        assert_eq!(joined(any, header("x-group", "beta"), false), Ok(header("X-Group", "beta")), "the narrower of the two");
    }

    #[test]
    fn what_the_route_leaves_out_cannot_be_asked_for() {
        let asked = json!({"headers": {"x-group": {"exact": "beta"}}});
        let without = |text: Value| json!({"withoutHeaders": {"X-Group": text}});
        let left_out = Err("header x-group (which it leaves out by withoutHeaders)".into());
        assert_eq!(joined(without(json!({})), asked.clone(), false), left_out);
        assert_eq!(joined(without(json!({"prefix": "b"})), asked.clone(), false), left_out);
        assert!(joined(without(json!({"exact": "gold"})), asked, false).is_ok());
    }

    #[test]
    fn a_path_within_the_route_s_own_is_narrower() {
        let uri = |word: &str, text: &str| json!({"uri": {word: text}});
        assert_eq!(joined(uri("prefix", "/api"), uri("exact", "/api/beta"), false), Ok(uri("exact", "/api/beta")));
        assert_eq!(joined(uri("prefix", "/api"), uri("prefix", "/web"), false), Err("uri".into()));
        assert_eq!(joined(uri("exact", "/api"), uri("prefix", "/api"), false), Err("uri".into()));
        assert_eq!(joined(uri("prefix", "/api"), uri("regex", "/api.*"), false), Err("uri".into()));
        assert_eq!(joined(json!({}), uri("prefix", "/beta"), false), Ok(uri("prefix", "/beta")));
    }

    #[test]
    fn a_path_beside_a_rewrite_would_cut_off_more_than_the_route_does() {
        let uri = |text: &str| json!({"uri": {"prefix": text}});
        assert_eq!(joined(uri("/api"), uri("/api/beta"), true), Err("uri (which it also rewrites)".into()));
        assert_eq!(joined(json!({}), uri("/beta"), true), Err("uri (which it also rewrites)".into()));
        assert_eq!(joined(uri("/api"), uri("/api"), true), Ok(uri("/api")));
    }
}
