//! The source of models of one Rollout: its server, its alias, its Deployment, and the controller's rights.

use kube::ResourceExt;

use super::scan;
use crate::{
    api::Rollout,
    cli::read::Reader,
    config::Config,
    doctor::{Control, Finding, JOBS, MODEL_SOURCE, Registry, Sourced, source},
    plan::{Origin, SourcePlan},
    supplier::mlflow::{Server, Silence},
};

/// What is to be said of it; nothing of a Rollout without a source, or with faults in it, which the line of its manifest has.
pub(super) async fn findings(reader: &Reader, control: &Control, config: Option<&Config>, rollout: &Rollout) -> Vec<Finding> {
    let Ok(Some(plan)) = SourcePlan::parse(&rollout.spec) else { return Vec::new() };
    let namespace = rollout.namespace().unwrap_or_default();
    let deployment = reader.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/{}", plan.deployment)).await;
    let mut may = Some(true);
    let jobs = JOBS.iter().filter(|_| matches!(plan.origin, Origin::Job(_)));
    for right in MODEL_SOURCE.iter().chain(jobs) {
        let granted = scan::controller_may(reader, control, *right, &namespace).await;
        may = may.and_then(|may| granted.map(|granted| granted && may));
    }
    let registry = registry(config, &plan).await;
    source(&Sourced { namespace: &namespace, plan: &plan, deployment, registry, may })
}

async fn registry(config: Option<&Config>, plan: &SourcePlan) -> Registry {
    let (Origin::Mlflow { server, model, alias, .. }, Some(config)) = (&plan.origin, config) else { return Registry::NotAsked };
    let Some(settings) = config.mlflow.get(server) else { return Registry::NotFound(config.mlflow.keys().cloned().collect()) };
    let asked = match Server::new(settings) {
        Ok(server) => server.alias(model, alias).await,
        Err(silence) => Err(silence),
    };
    match asked {
        Ok(version) => Registry::Answered(version.map(|version| version.number)),
        // Secrets are beside the controller, and only the cluster knows its names.
        Err(silence @ (Silence::Unreachable(_) | Silence::Timeout | Silence::Access(_))) => Registry::Unreachable(silence.to_string()),
        Err(silence) => Registry::Failed(silence.to_string()),
    }
}
