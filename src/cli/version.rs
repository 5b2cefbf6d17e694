//! `haldane version`: of this program, and of the controller where one can be asked.

use clap::Args;
use serde_json::json;

use super::{Environment, Exit, Failure, Global, cluster::Cluster, output::Output, read::Reader};
use crate::doctor::{
    Deployment, Held, Read,
    version::{Apart, apart, of_image},
};

const CLIENT: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    /// Only that of this program: no cluster is asked
    #[arg(long)]
    client: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = "haldane-system")]
    controller_namespace: String,
}

pub(super) async fn run(args: &VersionArgs, global: &Global, environment: &Environment, output: &Output) -> Result<Exit, Failure> {
    let controller = if args.client { Err("not asked".to_owned()) } else { controller(args, global, environment).await };
    let known = controller.as_ref().ok();
    let skew = known.and_then(|theirs| apart(CLIENT, theirs));
    let value = json!({
        "version": CLIENT,
        "controller": known,
        "skew": skew.map(|apart| match apart {
            Apart::Same => "same",
            Apart::Near => "near",
            Apart::Far => "far",
        }),
    });
    output.data("Version", &value, || match &controller {
        Ok(theirs) => format!("haldane {CLIENT}\ncontroller {theirs}\n"),
        Err(_) => format!("haldane {CLIENT}\n"),
    })?;
    match &controller {
        Ok(theirs) if skew == Some(Apart::Far) => {
            output.hint(&format!("warning: more than one minor version apart: install haldane {theirs} here, or upgrade the controller"));
        }
        Err(why) if !args.client => output.hint(&format!("the controller's version is not known: {why}")),
        _ => {}
    }
    Ok(Exit::Reached)
}

/// What the leader's Lease says, or else the tag of the Deployment's image.
async fn controller(args: &VersionArgs, global: &Global, environment: &Environment) -> Result<String, String> {
    let cluster = Cluster::connect(global, environment).await.map_err(|failure| failure.message)?;
    let (reader, home) = (Reader::new(cluster.client()), &args.controller_namespace);
    let lease = reader.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{home}/leases/haldane")).await;
    if let Some(version) = lease.found().and_then(|lease| Held::of(lease).version) {
        return Ok(version);
    }
    let list = format!("/apis/apps/v1/namespaces/{home}/deployments?labelSelector=app.kubernetes.io/name%3Dhaldane");
    match reader.list(&list).await {
        Read::Found(list) => {
            let image = list.first().map(|deployment| Deployment::of(deployment).image);
            let tag = image.as_deref().and_then(of_image).map(str::to_owned);
            tag.ok_or_else(|| format!("no controller in namespace {home} says it"))
        }
        Read::Absent => Err(format!("there is no controller in namespace {home}")),
        Read::Forbidden => Err(format!("you may read neither Lease nor Deployment of namespace {home}")),
        Read::Failed(why) => Err(why),
    }
}
