//! `haldane controller`: the program that moves traffic.

use std::{net::SocketAddr, path::PathBuf};

use axum::http::{HeaderValue, header};
use clap::Args;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{Environment, Exit, Failure, Global};
use crate::config::ConfigHandle;
use crate::controller::{ControllerError, Options, run as control};
use crate::link::Connect;
use crate::telemetry;

/// Where a pod finds the name of its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Flags of `controller`. `--namespace` may name several, with commas; without it all are watched.
#[derive(Debug, Args)]
pub(super) struct ControllerArgs {
    /// The configuration file: Prometheus providers and alert sinks
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Namespace of the Lease that replicas elect their leader with. Default: the pod's own, else haldane-system
    #[arg(long, value_name = "NAME")]
    lease_namespace: Option<String>,
    /// What is logged, as JSON lines on stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: String,
}

pub(super) async fn run(args: &ControllerArgs, global: &Global, environment: &Environment) -> Result<Exit, Failure> {
    telemetry::init(&args.log).map_err(|error| Failure::new(Exit::Usage, error.to_string(), "--log info"))?;
    let config = ConfigHandle::load(args.config.clone()).await.map_err(|error| Failure::new(Exit::Usage, error.to_string(), ""))?;
    let cluster = cluster(global).await.map_err(|error| {
        Failure::new(Exit::Error, format!("no way to the Kubernetes API: {error}"), "give --kubeconfig, or run it in a pod")
    })?;
    let own = std::fs::read_to_string(OWN_NAMESPACE).ok().map(|name| name.trim().to_owned());
    let lease_namespace = args.lease_namespace.clone().or(own).unwrap_or_else(|| "haldane-system".to_owned());
    let me = format!("{}-{}", environment.host.as_deref().unwrap_or("haldane"), std::process::id());
    let namespaces = global.namespace.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    let options = Options {
        namespaces,
        listen: Some(args.listen),
        election: Some((lease_namespace, me)),
        config_file: Some(args.config.clone()),
        clock: None,
    };
    // On a worker, where its tasks are: whatever it waits for wakes it without a way from thread to thread.
    let ended = tokio::spawn(control(Connect::to(cluster), config, options, signal())).await;
    let ended = ended.map_err(|error| Failure::new(Exit::Error, format!("the controller ended: {error}"), ""))?;
    match ended {
        Ok(()) => Ok(Exit::Reached),
        Err(error @ ControllerError::Config(_)) => Err(Failure::new(Exit::Usage, error.to_string(), "")),
        Err(error) => Err(Failure::new(Exit::Error, error.to_string(), "")),
    }
}

/// kube's defaults wait for ever and retry for minutes inside one call: here every call has its own deadline, and a pass is what retries.
async fn cluster(global: &Global) -> Result<Config, Box<dyn std::error::Error + Send + Sync>> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &global.kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
        None if global.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(concat!("haldane/", env!("CARGO_PKG_VERSION")))));
    config.default_retry = false;
    config.read_timeout = None; // the link bounds every answer
    Ok(config)
}

/// SIGTERM, SIGINT.
pub(super) async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
