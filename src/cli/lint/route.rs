//! A Rollout against the routes, the DestinationRules and the other Rollouts that stand in the same file.

use std::sync::Arc;

use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    api::{Destination, Rollout, RolloutSpec, RouteKind, names::GROUP},
    istio::{name::Host, rule::speaking},
    observe::{
        kept::Rule,
        mesh::{Declared, declared},
    },
    plan::{Fault, Plan},
    route::{Serving, Sought, View, find},
};

/// The longest name of a rule.
const MAX_NAME: usize = 253;

/// What stands in the way of a start, as far as the file says.
pub(super) fn faults(objects: &[Value], namespace: Option<&str>, name: Option<&str>, plan: &Plan) -> Vec<Fault> {
    let here = |kind: &'static str| of_kind(objects, kind, namespace);
    let kind = plan.object.kind();
    let object = here(kind.kind()).find(|object| text(object, "/metadata/name") == Some(plan.object.name()));
    let object = object.map(|object| placed(object, namespace));
    let shared = shared(objects, namespace, name, plan, object.as_ref());
    let Some(object) = object else { return shared.into_iter().collect() };
    let view = match find(&object, sought(plan)) {
        Ok(view) => view,
        Err(fault) => return vec![Fault::new("spec.traffic", fault.to_string(), "")],
    };
    let rules: Vec<Arc<Rule>> =
        here("DestinationRule").filter_map(|rule| Some(Arc::new(Rule::deserialize(placed(rule, namespace)).ok()?))).collect();
    let subset = subset(&view, &rules, namespace.unwrap_or("default"), plan);
    shared.into_iter().chain(rival(objects, namespace, kind, &object)).chain(subset).chain(route(&view, plan)).collect()
}

/// The version that the file's route leads to, if it is there and leads to one.
pub(super) fn stable(objects: &[Value], namespace: Option<&str>, plan: &Plan) -> Option<Destination> {
    let kind = plan.object.kind();
    let object = of_kind(objects, kind.kind(), namespace).find(|object| text(object, "/metadata/name") == Some(plan.object.name()))?;
    let view = find(&placed(object, namespace), sought(plan)).ok()?;
    let name = view.sole().filter(|stable| *stable != plan.canary.name())?.to_owned();
    Some(if plan.canary.field() == "subset" { Destination::Subset(name) } else { Destination::Service(name) })
}

/// An object with the namespace that it is applied to.
fn placed(object: &Value, namespace: Option<&str>) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), namespace.unwrap_or("default").into());
    }
    object
}

fn sought(plan: &Plan) -> Sought<'_> {
    Sought { kind: plan.object.kind(), route: plan.route.as_deref(), canary: &plan.canary }
}

/// Another Rollout of the file for the same route: the controller lets the first one have it.
fn shared(objects: &[Value], namespace: Option<&str>, name: Option<&str>, plan: &Plan, object: Option<&Value>) -> Option<Fault> {
    let group = format!("{GROUP}/");
    let rollouts = objects.iter().filter(|other| {
        text(other, "/kind") == Some(&*Rollout::kind(&()))
            && text(other, "/apiVersion").is_some_and(|version| version.starts_with(&group))
            && text(other, "/metadata/namespace") == namespace
    });
    let place = |plan: &Plan| find(object?, sought(plan)).ok().map(|view| view.index);
    let same = |other: &Plan| match (place(plan), place(other)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        // Without the object: of several routes that lead to Services, those to the canary's are meant.
        _ => object.is_none() && other.route == plan.route && (plan.route.is_some() || plan.canary.field() == "subset"),
    };
    let other = rollouts.filter(|other| text(other, "/metadata/name") != name).find(|other| {
        let spec = other.get("spec").and_then(|spec| RolloutSpec::deserialize(spec).ok());
        spec.and_then(|spec| Plan::parse(&spec).ok()).is_some_and(|other| other.object == plan.object && same(&other))
    })?;
    let message = format!("is the route of Rollout {} of this file too", text(other, "/metadata/name").unwrap_or("without a name"));
    Some(Fault::new("spec.traffic", message, "one Rollout steps a route: give each a route of its own"))
}

/// Another object of the file for the same host, so that a VirtualService has no effect, or perhaps none. Of rules that ask for the same the
/// older object's count, and no file says which that is.
fn rival(objects: &[Value], namespace: Option<&str>, kind: RouteKind, object: &Value) -> Option<Fault> {
    if kind.is_gateway_api() {
        return None;
    }
    let ours = Serving::of(object);
    let others = RouteKind::ALL.into_iter().flat_map(|kind| {
        let near = of_kind(objects, kind.kind(), namespace).map(|other| placed(other, namespace));
        let elsewhere = objects.iter().filter_map(|other| text(other, "/metadata/namespace")).filter(|there| Some(*there) != namespace);
        let far = elsewhere.flat_map(move |there| of_kind(objects, kind.kind(), Some(there)).cloned());
        near.chain(far)
    });
    let rival = others.map(|other| Serving::of(&other)).find_map(|other| ours.rival(&other))?;
    // Which of two is older, no file says either.
    let known = [", now ", ": now "].into_iter().find_map(|now| rival.split_once(now)).map_or(rival.as_str(), |(known, _)| known);
    Some(Fault::new("spec.traffic", known, "put the routes of both into one of them"))
}

/// Objects of a kind of Istio's or of the Gateway API in a namespace.
pub(super) fn of_kind<'o>(objects: &'o [Value], kind: &'o str, namespace: Option<&'o str>) -> impl Iterator<Item = &'o Value> {
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
            format!("{} {above} of {} takes every request that {} could get", view.object.kind().rule(), view.object, view.called());
        faults.push(Fault::new("spec.traffic.route", message, "give it a match of its own, or put it below"));
    }
    if view.sole().is_none() && view.claim.is_none() {
        let what = view.canary.field();
        let message = format!("{} of {} has {}, so that no {what} is stable", view.called(), view.object, view.words());
        faults.push(Fault::new("spec.traffic", message, format!("one {what} must have 100 % before a rollout starts")));
    }
    let matched = plan.steps.iter().any(|step| !step.split.matches.is_empty());
    let most = MAX_NAME - GROUP.len() - 1;
    if let Some(name) = view.name.as_ref().filter(|name| matched && view.object.kind().is_gateway_api() && name.len() > most) {
        let message = format!("the name of the rule that is stepped has {} characters", name.len());
        faults.push(Fault::new("spec.traffic", message, format!("at most {most}: a match gets a rule of its own named {GROUP}.NAME")));
    }
    let full = plan.steps.iter().find_map(|step| view.too_full(canary, step.split.mirror > 0, !step.split.matches.is_empty()));
    faults.extend(full.map(|message| Fault::new("spec.traffic", message, "")));
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

    use super::super::{Known, check};

    /// What lint says of every Rollout in a file.
    fn told(text: &str) -> Vec<String> {
        let reports = check("f.yaml", text, &Known::default());
        let faults = reports.iter().flat_map(|report| &report.faults);
        faults.map(|fault| format!("{}: {}; {}", fault.path, fault.message, fault.fix)).collect()
    }

    fn rollout(name: &str, traffic: &str, strategy: &str) -> String {
        format!(
            "---\napiVersion: haldane.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec:\n  traffic: {traffic}\n  canary: {{service: fraud-v2}}\n  strategy: {strategy}\n"
        )
    }

    fn http_route(rules: &str) -> String {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: fraud}}\nspec:\n  parentRefs: [{{group: \"\", kind: Service, name: fraud}}]\n  rules: {rules}\n"
        )
    }

    const RULE: &str = "[{name: primary, backendRefs: [{name: fraud-v1, port: 80}]}]";

    #[test]
    fn a_route_without_a_stable_version_is_reported() {
        let file = |rules: &str| rollout("fraud", "{httpRoute: fraud}", "{canary: {}}") + &http_route(rules);
        let split = "[{name: primary, backendRefs: [{name: fraud-v1, port: 80, weight: 3}, {name: fraud-v2, port: 80, weight: 1}]}]";
        let wanted = "spec.traffic: route primary of HTTPRoute fraud has fraud-v1 75 %, fraud-v2 25 %, so that no service is stable; one service must have 100 % before a rollout starts";
        assert_eq!(told(&file(split)), [wanted]);
        assert_eq!(told(&file(RULE)), [""; 0]);
    }

    #[test]
    fn two_rollouts_on_one_route_are_reported() {
        let two = |one: &str, other: &str| rollout("a", one, "{canary: {}}") + &rollout("b", other, "{canary: {}}");
        let wanted = ["b", "a"].map(|other| {
            format!(
                "spec.traffic: is the route of Rollout {other} of this file too; one Rollout steps a route: give each a route of its own"
            )
        });
        let whole = two("{httpRoute: fraud}", "{httpRoute: fraud, route: primary}") + &http_route(RULE);
        assert_eq!(told(&whole), wanted);
        assert_eq!(told(&two("{httpRoute: fraud, route: primary}", "{httpRoute: fraud, route: primary}")), wanted);
        assert_eq!(told(&two("{httpRoute: fraud, route: primary}", "{httpRoute: fraud, route: other}")), [""; 0]);
        assert_eq!(told(&two("{httpRoute: fraud}", "{grpcRoute: fraud}")), [""; 0]);
    }

    #[test]
    fn a_virtual_service_beside_another_object_for_the_same_host_is_reported() {
        let service = |name: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{hosts: [fraud], http: [{{route: [{{destination: {{host: fraud-v1}}}}]}}]}}\n"
            )
        };
        let file = rollout("fraud", "{virtualService: fraud}", "{canary: {}}") + &service("fraud");
        let fix = "put the routes of both into one of them";
        let host = "is for host fraud.default.svc.cluster.local in the mesh too, and";
        assert_eq!(told(&file), [""; 0]);
        assert_eq!(
            told(&(file.clone() + &http_route(RULE))),
            [format!("spec.traffic: HTTPRoute fraud {host} Istio takes that one alone; {fix}")]
        );
        assert_eq!(
            told(&(file.clone() + &service("old"))),
            [format!("spec.traffic: VirtualService old {host} sidecars take only one of the two; {fix}")]
        );
        assert_eq!(told(&(file + &service("old").replace("hosts: [fraud]", "hosts: [other]"))), [""; 0]);
        let rule = rollout("fraud", "{httpRoute: fraud}", "{canary: {}}") + &http_route(RULE) + &service("old");
        assert_eq!(told(&rule), [""; 0], "the VirtualService is the one without effect");
    }

    #[test]
    fn a_rule_whose_name_leaves_no_room_for_ours_is_reported() {
        let named = |length: usize| http_route(&RULE.replace("primary", &"r".repeat(length)));
        let strategy = "{abTest: {match: [{headers: {x-group: {exact: beta}}}]}}";
        let file = |length: usize| rollout("fraud", "{httpRoute: fraud}", strategy) + &named(length);
        assert_eq!(told(&file(241)), [""; 0]);
        assert!(told(&file(242))[0].starts_with("spec.traffic: the name of the rule that is stepped has 242 characters; at most 241"));
    }

    #[test]
    fn a_file_with_its_route_and_rules_is_checked_for_what_would_stand_in_the_way() {
        let told = |shape: &str| {
            let path = format!("{}/tests/data/routes/{shape}.yaml", env!("CARGO_MANIFEST_DIR"));
            told(&fs::read_to_string(path).unwrap()).concat()
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
