//! What the control plane says about an HTTPRoute or a GRPCRoute: the conditions of each parent, a moment after the route was written or a
//! Service came or went.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Watched;
use crate::{
    gateway_api::{
        name::Ref,
        namespace, rules,
        split::{backends, mirrors},
    },
    sim::{
        objects::{Objects, seconds_text},
        store::Tables,
    },
};

/// Why the gateways take no route from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason: `NotAllowedByListeners`.
    pub reason: String,
    /// Its words.
    pub message: String,
}

/// The writer of conditions.
#[derive(Debug, Default)]
pub struct Conditions {
    refusal: Option<Refusal>,
    /// Revision of the store at which nothing was left to say.
    settled: u64,
    due: Option<Timestamp>,
}

impl Conditions {
    /// Lets the gateways refuse every route, or take them again.
    pub fn set_refusal(&mut self, refusal: Option<Refusal>) {
        self.refusal = refusal;
        self.settled = 0;
    }

    /// Says what there is to say, once it has waited for `delay`.
    pub fn sync(&mut self, objects: &Objects, watched: &Watched, delay: Duration, now: Timestamp) {
        let revision = objects.store().read(Tables::revision);
        if watched.kind.gateway_api().is_none() || (self.due.is_none() && revision == self.settled) {
            return;
        }
        let (resource, space) = (watched.kind.resource(), watched.namespace.as_str());
        let services: Vec<String> =
            objects.list("services", space).iter().map(|service| text(service, "/metadata/name").to_owned()).collect();
        let said = |route: &Value| self.said(route, &services, now);
        let new = objects.get(&resource, space, &watched.route).is_some_and(|route| route.get("status") != Some(&said(&route)));
        match self.due {
            None if new => self.due = Some(now + SignedDuration::try_from(delay).unwrap_or(SignedDuration::ZERO)),
            Some(at) if new && at > now => {}
            due => {
                if new && due.is_some() {
                    objects.set_status(&resource, space, &watched.route, said);
                }
                (self.due, self.settled) = (None, objects.store().read(Tables::revision));
            }
        }
    }

    fn said(&self, route: &Value, services: &[String], now: Timestamp) -> Value {
        let refs = route.pointer("/spec/parentRefs").and_then(Value::as_array);
        let unresolved = unresolved(route, services);
        let parent = |written: &Value| {
            let parent = Ref::parent(written, namespace(route));
            let refusal = self.refusal.as_ref().filter(|_| parent.is_gateway());
            let accepted = refusal.map_or(("True", "Accepted", "Route was valid"), |refusal| ("False", &refusal.reason, &refusal.message));
            let resolved = match &unresolved {
                None => ("True", "ResolvedRefs", "All references resolved"),
                Some((reason, message)) => ("False", *reason, message.as_str()),
            };
            let controller = if parent.is_gateway() { "istio.io/gateway-controller" } else { "istio.io/mesh-controller" };
            let before = before(route, written);
            let conditions = [condition(route, before, "Accepted", accepted, now), condition(route, before, "ResolvedRefs", resolved, now)];
            json!({"parentRef": written, "controllerName": controller, "conditions": conditions})
        };
        json!({"parents": refs.into_iter().flatten().map(parent).collect::<Vec<Value>>()})
    }
}

/// The first reference of a route that leads nowhere: the reason, and the words. What gets nothing is not looked for.
fn unresolved(route: &Value, services: &[String]) -> Option<(&'static str, String)> {
    let home = namespace(route);
    rules(route).iter().find_map(|rule| {
        let used = backends(rule, home).into_iter().filter(|arm| arm.weight > 0).map(|arm| arm.to);
        used.chain(mirrors(rule, home).map(|mirror| mirror.to)).find_map(|to| match to.service() {
            None => Some(("InvalidKind", format!("referencing unsupported backendRef: group {:?} kind {:?}", to.group, to.kind))),
            Some(host) if !services.iter().any(|name| *name == to.name && to.namespace == home) => {
                Some(("BackendNotFound", format!("backend({host}) not found")))
            }
            Some(_) => None,
        })
    })
}

/// What was said before about a parent.
fn before<'v>(route: &'v Value, parent: &Value) -> Option<&'v Value> {
    let said = route.pointer("/status/parents").and_then(Value::as_array);
    said.into_iter().flatten().find(|entry| entry["parentRef"] == *parent)
}

fn condition(route: &Value, before: Option<&Value>, kind: &str, (status, reason, message): (&str, &str, &str), now: Timestamp) -> Value {
    let old = before.and_then(|entry| entry["conditions"].as_array()).into_iter().flatten().find(|one| one["type"] == kind);
    let since = old.filter(|old| old["status"] == status).map_or_else(|| json!(seconds_text(now)), |old| old["lastTransitionTime"].clone());
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        "observedGeneration": route.pointer("/metadata/generation"),
    })
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
