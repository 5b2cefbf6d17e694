//! `haldane crd`.

use kube::CustomResourceExt;

use super::{
    Exit, Failure,
    output::{Format, Output},
};
use crate::api::Rollout;

const HEADER: &str = "\
# The custom resource of haldane. Written by `haldane crd`: change src/api, not this file.
#   kubectl apply --server-side -f rollout.yaml
# Removing it removes every Rollout; the traffic stays where it is.
";

/// The CustomResourceDefinition as YAML, with its header.
///
/// # Errors
/// The definition cannot be written as YAML.
pub fn text() -> Result<String, Failure> {
    let yaml = serde_yaml::to_string(&Rollout::crd()).map_err(|error| Failure::new(Exit::Error, error.to_string(), ""))?;
    Ok(format!("{HEADER}{yaml}"))
}

pub(super) fn run(output: &Output) -> Result<Exit, Failure> {
    match output.format() {
        // The definition itself, without a kind of ours around it: it is meant for kubectl.
        Format::Json => {
            let json = serde_json::to_string_pretty(&Rollout::crd()).map_err(|error| Failure::new(Exit::Error, error.to_string(), ""))?;
            output.raw(&(json + "\n"))?;
        }
        Format::Jsonl => {
            let json = serde_json::to_string(&Rollout::crd()).map_err(|error| Failure::new(Exit::Error, error.to_string(), ""))?;
            output.raw(&(json + "\n"))?;
        }
        Format::Name => output.raw("customresourcedefinition.apiextensions.k8s.io/rollouts.haldane.dev\n")?,
        Format::Text | Format::Wide | Format::Yaml => output.raw(&text()?)?,
    }
    Ok(Exit::Reached)
}
