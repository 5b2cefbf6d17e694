//! A Rollout against the VirtualService and the DestinationRules that stand in the same file.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    api::{Destination, RouteKind},
    istio::{name::Host, rule::speaking},
    observe::{
        kept::Rule,
        mesh::{Declared, declared},
    },
    plan::{Fault, Plan},
    route::{Sought, View, find},
};

/// What stands in the way of a start, as far as the file says.
pub(super) fn faults(objects: &[Value], namespace: Option<&str>, plan: &Plan) -> Vec<Fault> {
    let here = |kind: &'static str| of_kind(objects, kind, namespace);
    let kind = plan.object.kind();
    let Some(object) = here(kind.kind()).find(|object| text(object, "/metadata/name") == Some(plan.object.name())) else {
        return Vec::new();
    };
    let named = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.unwrap_or("default").into());
        }
        object
    };
    let namespace = namespace.unwrap_or("default");
    let view = match find(&named(object), Sought { kind, route: plan.route.as_deref(), canary: &plan.canary }) {
        Ok(view) => view,
        Err(fault) => return vec![Fault::new("spec.traffic", fault.to_string(), "")],
    };
    let rules: Vec<Arc<Rule>> = here("DestinationRule").filter_map(|rule| Some(Arc::new(Rule::deserialize(named(rule)).ok()?))).collect();
    subset(&view, &rules, namespace, plan).into_iter().chain(route(&view, plan)).collect()
}

/// Objects of a kind of Istio's or of the Gateway API in a namespace.
fn of_kind<'o>(objects: &'o [Value], kind: &'o str, namespace: Option<&'o str>) -> impl Iterator<Item = &'o Value> {
    let groups = RouteKind::ALL.map(RouteKind::group);
    let known = move |object: &&Value| {
        let group = text(object, "/apiVersion").and_then(|version| version.split_once('/')).map(|(group, _)| group);
        group.is_some_and(|group| groups.contains(&group))
    };
    let here = move |object: &&Value| text(object, "/kind") == Some(kind) && text(object, "/metadata/namespace") == namespace;
    objects.iter().filter(known).filter(here)
}

fn text<'o>(object: &'o Value, pointer: &str) -> Option<&'o str> {
    object.pointer(pointer)?.as_str()
}

/// Whether the proxies have the canary's subset; nothing if the rule is in another file.
fn subset(view: &View, rules: &[Arc<Rule>], namespace: &str, plan: &Plan) -> Option<Fault> {
    let Destination::Subset(subset) = &plan.canary else { return None };
    let Declared::Not(why) = declared(rules, namespace, &view.host, subset) else { return None };
    let spoken_for = !speaking(rules, Host::of(&view.host, namespace), |rule| rule.about()).is_empty();
    let message = format!("no DestinationRule of this file has {subset} for host {}", view.host);
    (spoken_for || !why.is_empty()).then(|| Fault::new("spec.canary.subset", message, why))
}

fn route(view: &View, plan: &Plan) -> Vec<Fault> {
    let canary = plan.canary.name();
    let stable = view.sole().filter(|stable| *stable != canary).unwrap_or("stable's");
    let mut faults: Vec<Fault> =
        view.around(canary).map(|other| Fault::new("spec.traffic", other.words(&view.host, canary, stable), "")).collect();
    if let Some(above) = &view.above {
        let message =
            format!("{} {above} of {} takes every request that route {} could get", view.object.kind().rule(), view.object, view.key);
        faults.push(Fault::new("spec.traffic.route", message, "give it a match of its own, or put it below"));
    }
    for step in plan.steps.iter().filter(|step| !step.split.matches.is_empty()) {
        if let Err(conflict) = view.own_route(canary, &step.split.matches) {
            faults.push(Fault::new(format!("spec.strategy, step {}", step.name), conflict.to_string(), ""));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::check;

    #[test]
    fn a_file_with_its_route_and_rules_is_told_what_would_stand_in_the_way() {
        let told = |shape: &str| {
            let path = format!("{}/tests/data/routes/{shape}.yaml", env!("CARGO_MANIFEST_DIR"));
            let reports = check("f.yaml", &fs::read_to_string(path).unwrap(), None);
            reports
                .iter()
                .flat_map(|report| &report.faults)
                .map(|fault| format!("{}: {}; {}", fault.path, fault.message, fault.fix))
                .collect::<String>()
        };
        for (shape, words) in [
            (
                "cut-host",
                "spec.canary.subset: no DestinationRule of this file has v2 for host scorer; DestinationRule scorer-next has it for host scorer.vs30",
            ),
            ("no-subset", "set spec.http[0].route[0].destination.subset to v1"),
            ("beside-everything", "route api leads to v2 too"),
            ("nameless", "a name of its own"),
            ("left-out-header", "spec.strategy, step "),
            ("header-case", "header X-Group"),
        ] {
            let found = told(shape);
            assert!(found.contains(words), "{shape}: {found}");
        }
        for shape in
            ["four-routes", "every-host", "lone-zero", "missing-weight", "thousandths", "two-spellings", "lone-one", "beside-nothing"]
        {
            assert_eq!(told(shape), "", "{shape}");
        }
    }
}
