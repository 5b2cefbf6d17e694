//! What `spec.source` means, with every default resolved.

use std::collections::BTreeMap;

use super::Faults;
use super::parse::Parser;
use crate::api::names::GROUP;
use crate::api::{JobSpec, MlflowSpec, RolloutSpec, SourceSpec, WriteSpec};

/// Server, and aliases, where none are given.
const SERVER: &str = "default";
const WANTED: &str = "challenger";
const PROMOTED: &str = "champion";

/// A source of models, and where they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    /// Where models come from.
    pub origin: Origin,
    /// Name of the canary's Deployment.
    pub deployment: String,
    /// Where in it they are written.
    pub place: Place,
}

/// Where models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An alias in MLflow's registry.
    Mlflow {
        /// Name of the server in the controller's configuration.
        server: String,
        /// The registered model.
        model: String,
        /// The alias that names the version wanted.
        alias: String,
        /// The alias of what was promoted.
        promoted: String,
    },
    /// The newest complete Job with these labels.
    Job(BTreeMap<String, String>),
}

/// Where in a Deployment a model is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A variable of a container's environment.
    Env {
        /// The container.
        container: String,
        /// The variable.
        name: String,
    },
    /// The image of a container.
    Image {
        /// The container.
        container: String,
    },
    /// An annotation of the pod template.
    Annotation(String),
}

impl SourcePlan {
    /// What the spec says of a source; `None`: it has none.
    ///
    /// # Errors
    /// Every fault of `spec.source`. They are among those of [`Plan::parse`](super::Plan::parse) too.
    pub fn parse(spec: &RolloutSpec) -> Result<Option<Self>, Faults> {
        let Some(source) = &spec.source else { return Ok(None) };
        let mut parser = Parser::new(spec.traffic.object().kind());
        let plan = parser.source(source);
        if parser.faults.is_empty() { Ok(plan) } else { Err(Faults(parser.faults)) }
    }
}

impl Origin {
    /// In words: `MLflow's fraud@challenger`.
    pub fn words(&self) -> String {
        match self {
            Self::Mlflow { model, alias, .. } => format!("MLflow's {model}@{alias}"),
            Self::Job(labels) => format!("the Jobs with {}", selector(labels)),
        }
    }
}

/// `app=train,team=risk`, as the API takes it.
pub fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

impl Parser {
    /// The source, if it is one.
    pub(super) fn source(&mut self, spec: &SourceSpec) -> Option<SourcePlan> {
        let path = "spec.source";
        let origin = match (&spec.mlflow, &spec.job) {
            (Some(mlflow), None) => Some(self.mlflow(&format!("{path}.mlflow"), mlflow)),
            (None, Some(job)) => Some(self.job(&format!("{path}.job.selector.matchLabels"), job)),
            (mlflow, _) => {
                let message = if mlflow.is_some() { "names both mlflow and job" } else { "names no source" };
                self.fault(path, message, "set exactly one of mlflow and job");
                None
            }
        };
        self.object(&format!("{path}.deployment"), &spec.deployment);
        let place = self.place(&format!("{path}.write"), &spec.write);
        if let (Some(Origin::Mlflow { .. }), Some(Place::Image { .. })) = (&origin, &place) {
            let fix = "use env or annotation; an image comes from a Job, with its digest";
            self.fault(&format!("{path}.write.image"), "goes with job: a version in MLflow is no image", fix);
        }
        Some(SourcePlan { origin: origin?, deployment: spec.deployment.clone(), place: place? })
    }

    fn mlflow(&mut self, path: &str, spec: &MlflowSpec) -> Origin {
        if let Some(server) = &spec.server {
            self.text(&format!("{path}.server"), server, 63);
        }
        self.text(&format!("{path}.model"), &spec.model, 250);
        if spec.model.contains(['/', ':', '@']) {
            let fix = "the name of the registered model alone: the alias goes into alias, the server into the controller's configuration";
            self.fault(&format!("{path}.model"), format!("is \"{}\"", spec.model), fix);
        }
        for (field, alias) in [("alias", &spec.alias), ("promotedAlias", &spec.promoted_alias)] {
            let Some(alias) = alias else { continue };
            self.text(&format!("{path}.{field}"), alias, 255);
            if !alias.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
                self.fault(&format!("{path}.{field}"), format!("is \"{alias}\""), "letters, digits, _ and -, as MLflow has it");
            }
        }
        let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        let (alias, promoted) = (or(&spec.alias, WANTED), or(&spec.promoted_alias, PROMOTED));
        if alias == promoted {
            let fix = "two aliases: one names what is to be tried, the other what has passed";
            self.fault(&format!("{path}.promotedAlias"), format!("is {promoted}, as alias is"), fix);
        }
        Origin::Mlflow { server: or(&spec.server, SERVER), model: spec.model.clone(), alias, promoted }
    }

    fn job(&mut self, path: &str, spec: &JobSpec) -> Origin {
        let labels = &spec.selector.match_labels;
        if labels.is_empty() || labels.len() > 16 {
            self.fault(path, format!("has {} labels", labels.len()), "1 to 16: every Job of the namespace is never meant");
        }
        for (name, value) in labels {
            let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
            let of_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || !name.chars().all(of_name) || value.len() > 63 || !value.chars().all(of_value) {
                self.fault(&format!("{path}.{name}"), format!("is \"{value}\""), "the name and the value of a label");
            }
        }
        Origin::Job(labels.clone())
    }

    fn place(&mut self, path: &str, spec: &WriteSpec) -> Option<Place> {
        match (&spec.env, &spec.image, &spec.annotation) {
            (Some(env), None, None) => {
                self.text(&format!("{path}.env.container"), &env.container, 63);
                self.text(&format!("{path}.env.name"), &env.name, 253);
                Some(Place::Env { container: env.container.clone(), name: env.name.clone() })
            }
            (None, Some(image), None) => {
                self.text(&format!("{path}.image.container"), &image.container, 63);
                Some(Place::Image { container: image.container.clone() })
            }
            (None, None, Some(annotation)) => {
                self.text(&format!("{path}.annotation"), annotation, 317);
                if annotation.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/')) {
                    let fix = "an annotation of yours, as example.com/model-uri";
                    self.fault(&format!("{path}.annotation"), format!("begins with {GROUP}/, which is haldane's own"), fix);
                }
                Some(Place::Annotation(annotation.clone()))
            }
            (None, None, None) => {
                self.fault(path, "names no place", "set exactly one of env, image and annotation");
                None
            }
            _ => {
                self.fault(path, "names several places", "set exactly one of env, image and annotation");
                None
            }
        }
    }

    /// The name of an object.
    fn object(&mut self, path: &str, name: &str) {
        self.text(path, name, 253);
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if !name.is_empty() && !name.chars().all(inner) {
            self.fault(path, format!("is \"{name}\""), "the name of a Deployment of this namespace");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(source: Value) -> RolloutSpec {
        serde_json::from_value(json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}, "source": source,
        }))
        .unwrap()
    }

    fn faults(source: Value) -> Vec<String> {
        let spec = spec(source);
        let own = SourcePlan::parse(&spec).unwrap_err().to_string();
        let all = super::super::Plan::parse(&spec).unwrap_err().to_string();
        assert_eq!(own, all, "a fault of the source is a fault of the manifest");
        own.lines().map(str::to_owned).collect()
    }

    #[test]
    fn of_a_source_in_mlflow_the_model_is_enough() {
        let write = json!({"env": {"container": "model", "name": "MODEL_URI"}});
        let plan = SourcePlan::parse(&spec(json!({"mlflow": {"model": "fraud"}, "deployment": "fraud-v2", "write": write}))).unwrap();
        let (server, model) = ("default".to_owned(), "fraud".to_owned());
        let origin = Origin::Mlflow { server, model, alias: "challenger".into(), promoted: "champion".into() };
        let place = Place::Env { container: "model".into(), name: "MODEL_URI".into() };
        assert_eq!(plan, Some(SourcePlan { origin, deployment: "fraud-v2".into(), place }));
        let none: RolloutSpec =
            serde_json::from_value(json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}}))
                .unwrap();
        assert_eq!(SourcePlan::parse(&none).unwrap(), None);
    }

    #[test]
    fn every_fault_of_a_source_is_reported_at_once_with_its_field_and_the_fix() {
        assert_eq!(
            faults(json!({"deployment": "Fraud", "write": {}})),
            [
                "spec.source: names no source; set exactly one of mlflow and job",
                "spec.source.deployment: is \"Fraud\"; the name of a Deployment of this namespace",
                "spec.source.write: names no place; set exactly one of env, image and annotation",
            ]
        );
        let mlflow = json!({"model": "models:/fraud@challenger", "alias": "champion"});
        let found = faults(json!({"mlflow": mlflow, "deployment": "fraud-v2", "write": {"image": {"container": "model"}}}));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("spec.source.mlflow.model: is \"models:/fraud@challenger\"; the name of the registered model alone"));
        assert!(found[1].starts_with("spec.source.mlflow.promotedAlias: is champion, as alias is; two aliases"));
        assert!(found[2].starts_with("spec.source.write.image: goes with job: a version in MLflow is no image; use env or annotation"));
        let job = json!({"selector": {"matchLabels": {}}});
        let found = faults(json!({"job": job, "deployment": "d", "write": {"annotation": "haldane.dev/model"}}));
        assert!(found[0].starts_with("spec.source.job.selector.matchLabels: has 0 labels; 1 to 16"), "{found:?}");
        assert!(found[1].starts_with("spec.source.write.annotation: begins with haldane.dev/, which is haldane's own"), "{found:?}");
    }
}
