//! Where new models come from, and where in the canary's Deployment they are written.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A source of new models, and the Deployment that gets them: exactly one of `mlflow` and `job`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.mlflow) != has(self.job)").message("exactly one of mlflow and job"))]
#[x_kube(validation = Rule::new("!has(self.mlflow) || !has(self.write.image)").message("write.image goes with job: a version in MLflow is no image"))]
pub struct SourceSpec {
    /// A model in MLflow's registry: whatever version the alias names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<MlflowSpec>,
    /// The newest Job of this namespace that is complete and has the annotations `haldane.dev/model-uri` and `haldane.dev/model-digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
    /// The canary's Deployment, in this namespace. It is written to while no rollout is under way and none of its pods serves.
    #[schemars(length(min = 1, max = 253))]
    pub deployment: String,
    /// Where in it the model is written.
    pub write: WriteSpec,
}

/// A model in MLflow's registry.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MlflowSpec {
    /// A server named under `mlflow` in the controller's configuration. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub server: Option<String>,
    /// Name of the registered model.
    #[schemars(length(min = 1, max = 250))]
    #[x_kube(validation = Rule::new("!self.contains('/') && !self.contains(':') && !self.contains('@')").message("a name without / : and @"))]
    pub model: String,
    /// The alias that names the version wanted. Default: `challenger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub alias: Option<String>,
    /// The alias that a version gets once it is promoted. Default: `champion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub promoted_alias: Option<String>,
}

/// Jobs that announce a model.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// Which Jobs.
    pub selector: JobSelector,
}

/// Jobs by their labels.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSelector {
    /// Labels that a Job must have. A CronJob gives its Jobs those of its `jobTemplate`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// Where in the Deployment's pod template the model is written: exactly one of `env`, `image` and `annotation`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.env), has(self.image), has(self.annotation)].filter(x, x).size() == 1").message("exactly one of env, image and annotation"))]
pub struct WriteSpec {
    /// A variable of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvTarget>,
    /// The image of a container: `URI@DIGEST` of a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageTarget>,
    /// An annotation of the pod template, for example `example.com/model-uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 317),
        regex(pattern = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
    )]
    #[x_kube(validation = Rule::new("!self.startsWith('haldane.dev/')").message("haldane.dev/ is haldane's own: name one of yours"))]
    pub annotation: Option<String>,
}

/// A variable of a container's environment.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvTarget {
    /// Name of the container, or of an init container.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
    /// Name of the variable.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    pub name: String,
}

/// The image of a container.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageTarget {
    /// Name of the container, or of an init container.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
}
