//! The source of models of a Rollout: whether it answers, what it names, whether there is a place for it, and whether the controller may write it.

use serde_json::Value;

use super::{Finding, Level, Read};
use crate::plan::{Origin, SourcePlan};
use crate::source::{Model, held};

const CHECK: &str = "source";

/// What a registry said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// It was not asked: there are Jobs instead, or its settings are not known here.
    NotAsked,
    /// The configuration has no such server; these are there.
    NotFound(Vec<String>),
    /// It is not reached from here, or its secrets are not here.
    Unreachable(String),
    /// It answers, and not as it should.
    Failed(String),
    /// It answers: the version that the alias names, if it names one.
    Answered(Option<String>),
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Sourced<'a> {
    /// Namespace of the Rollout.
    pub namespace: &'a str,
    /// The source.
    pub plan: &'a SourcePlan,
    /// The canary's Deployment.
    pub deployment: Read<Value>,
    /// The registry.
    pub registry: Registry,
    /// Whether the controller may read and patch Deployments, and list Jobs where it must; `None`: that is not known.
    pub may: Option<bool>,
}

/// What is to be said of it.
pub fn source(sourced: &Sourced<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = registry(sourced).into_iter().collect();
    found.push(deployment(sourced));
    found.extend(right(sourced));
    found
}

fn registry(sourced: &Sourced<'_>) -> Option<Finding> {
    let Origin::Mlflow { server, model, alias, .. } = &sourced.plan.origin else { return None };
    Some(match &sourced.registry {
        Registry::NotAsked => {
            let fix = "--config FILE with the controller's configuration";
            Finding::warn(CHECK, format!("not checked: the settings of MLflow {server} are not known here"), fix)
        }
        Registry::NotFound(known) => {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let fix = format!("mlflow: {{{server}: {{url: \"http://mlflow.mlflow:5000\"}}}} in it; it has {known}");
            Finding::fail(CHECK, format!("the controller's configuration has no MLflow {server}"), fix)
        }
        Registry::Unreachable(why) => {
            Finding::warn(CHECK, format!("not checked: MLflow {server} is not reached from here, perhaps by the controller"), why.clone())
        }
        Registry::Failed(why) => Finding::saying(CHECK, Level::Fail, &format!("MLflow {server}: {why}")),
        Registry::Answered(None) => {
            let fix = format!("client.set_registered_model_alias(\"{model}\", \"{alias}\", VERSION)");
            Finding::warn(CHECK, format!("MLflow {server} has no model {model} with the alias {alias}"), fix)
        }
        Registry::Answered(Some(version)) => {
            Finding::ok(CHECK, format!("MLflow {server} names {} by {model}@{alias}", Model::in_mlflow(model, version).uri))
        }
    })
}

fn deployment(sourced: &Sourced<'_>) -> Finding {
    let (namespace, name) = (sourced.namespace, &sourced.plan.deployment);
    match &sourced.deployment {
        Read::Found(object) => match held(object, &sourced.plan.place) {
            Ok(held) => {
                let has = held.value.map_or_else(|| "nothing yet".to_owned(), |value| format!("\"{value}\""));
                Finding::ok(CHECK, format!("Deployment {name} has {has} where models are written"))
            }
            Err(fault) => Finding::saying(CHECK, Level::Fail, &format!("Deployment {name} {fault}")),
        },
        Read::Absent => {
            let fix = format!("kubectl -n {namespace} get deployments; then set spec.source.deployment");
            Finding::fail(CHECK, format!("there is no Deployment {name}"), fix)
        }
        Read::Forbidden => {
            let fix = format!("kubectl -n {namespace} get deployment {name}");
            Finding::warn(CHECK, format!("not checked: you may not read Deployment {name}"), fix)
        }
        Read::Failed(why) => Finding::saying(CHECK, Level::Warn, &format!("Deployment {name} was not read: {why}")),
    }
}

fn right(sourced: &Sourced<'_>) -> Option<Finding> {
    let namespace = sourced.namespace;
    Some(match sourced.may? {
        true => Finding::ok(CHECK, format!("the controller may write Deployments in {namespace}")),
        false => Finding::warn(
            CHECK,
            format!("new models are announced and not written: the controller lacks rights in {namespace}"),
            "kubectl apply -k deploy/model-source, or modelSource.enabled of the chart",
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Place;

    fn plan() -> SourcePlan {
        let (server, model) = ("default".to_owned(), "fraud".to_owned());
        let origin = Origin::Mlflow { server, model, alias: "challenger".into(), promoted: "champion".into() };
        SourcePlan { origin, deployment: "fraud-v2".into(), place: Place::Env { container: "model".into(), name: "MODEL_URI".into() } }
    }

    fn lines(registry: Registry, deployment: Read<Value>, may: Option<bool>) -> Vec<String> {
        let plan = plan();
        let found = source(&Sourced { namespace: "ml", plan: &plan, deployment, registry, may });
        found.iter().map(|finding| format!("{} {}", finding.level.word(), finding.fact)).collect()
    }

    #[test]
    fn server_alias_place_and_right_are_each_one_line() {
        let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "model", "env": [{"name": "MODEL_URI", "value": "models:/fraud/6"}]}]}}}});
        assert_eq!(
            lines(Registry::Answered(Some("7".into())), Read::Found(object), Some(true)),
            [
                "ok MLflow default names models:/fraud/7 by fraud@challenger",
                "ok Deployment fraud-v2 has \"models:/fraud/6\" where models are written",
                "ok the controller may write Deployments in ml",
            ]
        );
        let bare = json!({"spec": {"template": {"spec": {"containers": [{"name": "server"}]}}}});
        assert_eq!(
            lines(Registry::Answered(None), Read::Found(bare), Some(false)),
            [
                "warn MLflow default has no model fraud with the alias challenger",
                "fail Deployment fraud-v2 has no container model (it has server): set spec.source.write to one of them",
                "warn new models are announced and not written: the controller lacks rights in ml",
            ]
        );
        let found = lines(Registry::NotFound(vec!["prod".into()]), Read::Absent, None);
        assert_eq!(found, ["fail the controller's configuration has no MLflow default", "fail there is no Deployment fraud-v2"]);
        let found = lines(Registry::Unreachable("dns error".into()), Read::Forbidden, None);
        assert!(found.iter().all(|line| line.starts_with("warn not checked")), "{found:?}");
    }
}
