//! Requests per pod of both versions, as far as the file and the flags say how many pods there are.

use serde_json::Value;

use super::route::of_kind;
use crate::{
    api::Destination,
    judge::{UNEQUAL, equal_pods},
    plan::{Fault, Limits, Plan},
    state::brief::terms,
    words::number,
};

/// A version's Deployment: its name, if it is known, and its pods.
struct Sized {
    name: Option<String>,
    pods: u32,
}

/// Steps in which a pod of one version gets more than twice the requests of one of the other, with what would make it equal. `stable` is the
/// version that the file's route leads to; `pods` are those of stable and the canary, if they were given.
pub(super) fn warnings(
    objects: &[Value],
    namespace: Option<&str>,
    plan: &Plan,
    stable: Option<&Destination>,
    pods: Option<[u32; 2]>,
) -> Vec<Fault> {
    let named = |version: &Destination| deployment(objects, namespace, version);
    let (found_stable, found_canary) = (stable.and_then(named), named(&plan.canary));
    let given = pods.map(|[stable, canary]| {
        let name = |found: &Option<Sized>| found.as_ref().and_then(|found| found.name.clone());
        [Sized { name: name(&found_stable), pods: stable }, Sized { name: name(&found_canary), pods: canary }]
    });
    let Some([stable, canary]) = given.or(found_stable.zip(found_canary).map(|(stable, canary)| [stable, canary])) else {
        return Vec::new();
    };
    let timed = || plan.analysis.metrics.iter().filter(|metric| matches!(metric.kind.limits(), Limits::Stretch(_)));
    let steps =
        plan.steps.iter().zip(terms(plan)).filter(|(_, terms)| !terms.share.matched && timed().any(|metric| terms.compares(metric)));
    let warning = |(step, terms): (&crate::plan::Step, crate::judge::StepTerms)| {
        let [to_stable, to_canary] = terms.split();
        let ratio = (to_canary / f64::from(canary.pods)) / (to_stable / f64::from(stable.pods));
        if ratio.max(1.0 / ratio) <= UNEQUAL * (1.0 + 1e-9) {
            return None;
        }
        let part = if ratio < 1.0 {
            format!("1/{}", number((1.0 / ratio).round()))
        } else {
            format!("{} times", number((10.0 * ratio).round() / 10.0))
        };
        let message = format!(
            "a pod of the canary gets {part} the requests of a pod of stable ({} and {} pods), so latency tells load as well as versions: its limits are wider there",
            canary.pods, stable.pods
        );
        let need = equal_pods(stable.pods, to_canary / to_stable);
        let fix = if need == canary.pods {
            "whole pods come no nearer in this step: more pods of stable, or a larger weight".to_owned()
        } else {
            let of = namespace.map_or_else(String::new, |namespace| format!("-n {namespace} "));
            let name = canary.name.clone().unwrap_or_else(|| format!("THE-DEPLOYMENT-OF-{}", plan.canary.name()));
            format!("`kubectl {of}scale deployment {name} --replicas={need}` makes them as equal as whole pods are in this step")
        };
        Some(Fault::new(format!("spec.strategy, step {}", step.name), message, fix))
    };
    steps.filter_map(warning).collect()
}

/// The Deployment of the file that makes a version's pods, if exactly one does and says how many.
fn deployment(objects: &[Value], namespace: Option<&str>, version: &Destination) -> Option<Sized> {
    let labels = match version {
        Destination::Subset(name) => {
            let mut subsets =
                of_kind(objects, "DestinationRule", namespace).filter_map(|rule| rule.pointer("/spec/subsets")?.as_array()).flatten();
            subsets.find(|subset| subset.get("name").and_then(Value::as_str) == Some(name))?.get("labels")
        }
        Destination::Service(name) => {
            let named = |object: &&Value| {
                is(object, "Service", namespace) && object.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
            };
            objects.iter().find(named)?.pointer("/spec/selector")
        }
    };
    let labels = labels?.as_object().filter(|labels| !labels.is_empty())?;
    let makes = |object: &&Value| {
        let has = object.pointer("/spec/template/metadata/labels");
        is(object, "Deployment", namespace) && labels.iter().all(|(name, value)| has.and_then(|has| has.get(name)) == Some(value))
    };
    let mut all = objects.iter().filter(makes);
    let (one, None) = (all.next()?, all.next()) else { return None };
    let pods = u32::try_from(one.pointer("/spec/replicas")?.as_u64()?).ok().filter(|pods| *pods > 0)?;
    Some(Sized { name: one.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned), pods })
}

fn is(object: &Value, kind: &str, namespace: Option<&str>) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    text("/kind") == Some(kind) && text("/metadata/namespace") == namespace
}

#[cfg(test)]
mod tests {
    use super::super::{Known, check};

    const FILE: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Rollout
metadata: {name: fraud, namespace: ml}
spec:
  traffic: {virtualService: fraud}
  canary: {subset: v2}
  strategy: {canary: {}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fraud, namespace: ml}
spec: {hosts: [fraud], http: [{name: primary, route: [{destination: {host: fraud, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: fraud, namespace: ml}
spec: {host: fraud, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
";

    fn deployment(version: &str, replicas: u32) -> String {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: fraud-{version}, namespace: ml}}\nspec: {{replicas: {replicas}, template: {{metadata: {{labels: {{app: fraud, version: {version}}}}}}}}}\n"
        )
    }

    fn told(text: &str, pods: Option<[u32; 2]>) -> Vec<String> {
        let reports = check("f.yaml", text, &Known { traffic: None, pods });
        reports
            .iter()
            .flat_map(|report| &report.warnings)
            .map(|warning| format!("{}: {}; {}", warning.path, warning.message, warning.fix))
            .collect()
    }

    #[test]
    fn unequal_load_is_told_with_the_deployment_and_its_size_for_the_step() {
        let found = told(&(FILE.to_owned() + &deployment("v1", 10) + &deployment("v2", 10)), None);
        assert_eq!(
            found,
            [
                "spec.strategy, step 1: a pod of the canary gets 1/19 the requests of a pod of stable (10 and 10 pods), so latency tells load as well as versions: its limits are wider there; `kubectl -n ml scale deployment fraud-v2 --replicas=1` makes them as equal as whole pods are in this step",
                "spec.strategy, step 2: a pod of the canary gets 1/4 the requests of a pod of stable (10 and 10 pods), so latency tells load as well as versions: its limits are wider there; `kubectl -n ml scale deployment fraud-v2 --replicas=3` makes them as equal as whole pods are in this step",
            ]
        );
        let few = told(&(FILE.to_owned() + &deployment("v1", 2) + &deployment("v2", 1)), None);
        assert!(
            few[0].contains("gets 1/10 the requests")
                && few[0].ends_with("whole pods come no nearer in this step: more pods of stable, or a larger weight"),
            "{few:?}"
        );
    }

    #[test]
    fn pods_that_are_not_known_are_told_nothing_and_given_ones_come_first() {
        assert_eq!(told(FILE, None), [""; 0]);
        assert_eq!(told(&(FILE.to_owned() + &deployment("v1", 10)), None), [""; 0]);
        let given = told(FILE, Some([4, 1]));
        assert_eq!(given.len(), 2, "{given:?}");
        assert!(given[1].starts_with("spec.strategy, step 3: a pod of the canary gets 4 times the requests"), "{given:?}");
        assert!(given[1].contains("scale deployment THE-DEPLOYMENT-OF-v2 --replicas=4"), "{given:?}");
        let file = FILE.replace("canary: {}}", "canary: {}}\n  analysis: {metrics: [{errorRate: {}}]}");
        assert_eq!(told(&file, Some([10, 10])), [""; 0], "errors do not depend on load");
    }
}
