//! The API server, as the kubeconfig says; its errors in words, with what would fix them.

use std::{future::Future, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use super::{Environment, Exit, Failure, Global};
use crate::{
    api::Rollout,
    record::{self, Record},
    words::span,
};

/// Field manager of what people write by these commands.
const MANAGER: &str = "haldane-cli";

/// The API server and a namespace.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    /// Where the API server is.
    pub(super) server: String,
    /// What people call the cluster: the context, else the server.
    pub(super) context: String,
    /// No answer within this time is an error.
    timeout: Duration,
    /// Namespace that commands speak of.
    pub(super) namespace: String,
    /// Who calls: the user of the kubeconfig's context, else that of the environment.
    pub(super) user: Option<String>,
}

/// A way to an API server.
pub(super) struct Way {
    pub(super) config: Config,
    /// Whose it is.
    user: Option<String>,
    /// Name of the context.
    context: Option<String>,
}

impl Cluster {
    /// As the flags and the kubeconfig say; inside a cluster, as the service account.
    pub(super) async fn connect(global: &Global, environment: &Environment) -> Result<Self, Failure> {
        let Way { config, user, context } = Self::config(global).await?;
        let server = config.cluster_url.to_string();
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(no_config)?;
        let (timeout, user) = (global.request_timeout, user.or_else(|| environment.user.clone()));
        Ok(Self { client, context: context.unwrap_or_else(|| server.clone()), server, timeout, namespace, user })
    }

    /// What the flags and the kubeconfig say.
    pub(super) async fn config(global: &Global) -> Result<Way, Failure> {
        let options = KubeConfigOptions { context: global.context.clone(), ..Default::default() };
        let file = match &global.kubeconfig {
            Some(path) => Some(Kubeconfig::read_from(path).map_err(no_config)?),
            None => Kubeconfig::read().ok(),
        };
        if let (Some(file), Some(name)) = (&file, &global.context) {
            known_context(file, name)?;
        }
        let user = global.as_user.clone().or_else(|| user(file.as_ref()?, global.context.as_deref()));
        let context = global.context.clone().or_else(|| file.as_ref()?.current_context.clone());
        let mut config = match (file, &global.context) {
            (Some(file), _) => Config::from_custom_kubeconfig(file, &options).await.map_err(no_config)?,
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(no_config)?,
            (None, None) => Config::infer().await.map_err(no_config)?,
        };
        let timeout = global.request_timeout;
        config.connect_timeout = Some(timeout / 2);
        config.read_timeout = Some(timeout);
        config.write_timeout = Some(timeout);
        if let Some(user) = &global.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = (!global.as_group.is_empty()).then(|| global.as_group.clone());
        }
        Ok(Way { config, user, context })
    }

    /// The same in another namespace.
    pub(super) fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The client behind it.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    fn api(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All Rollouts of the namespace, or of all of them; by namespace and name.
    pub(super) async fn list(&self, everywhere: bool) -> Result<Vec<Rollout>, Failure> {
        let api: Api<Rollout> = if everywhere { Api::all(self.client.clone()) } else { self.api() };
        let list = self.answer("list", api.list(&ListParams::default())).await?;
        let mut items = list.items;
        items.sort_by_key(|rollout| (rollout.namespace(), rollout.name_any()));
        Ok(items)
    }

    /// One Rollout; if it is not there, the failure names those that are.
    pub(super) async fn get(&self, name: &str) -> Result<Rollout, Failure> {
        if let Some(rollout) = self.answer("get", self.api().get_opt(name)).await? {
            return Ok(rollout);
        }
        let message = format!("there is no Rollout {name} in namespace {}", self.namespace);
        // Listing may be forbidden where getting is not: then the names are not told.
        let names = self.list(false).await.map_or_else(|_| Vec::new(), |list| list.iter().map(ResourceExt::name_any).collect());
        let fix = match names.as_slice() {
            [] => "another namespace with -n, or `haldane list -A`".into(),
            names => format!("one of {}", names.join(", ")),
        };
        Err(Failure::new(Exit::NotFound, message, fix))
    }

    /// The course of the last rollouts of a Rollout, if there is any that this program may read and understands.
    pub(super) async fn record(&self, rollout: &Rollout) -> Option<Record> {
        let uid = rollout.uid()?;
        let name = record::name(&rollout.name_any(), &uid);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = tokio::time::timeout(self.timeout, api.get_opt(&name)).await.ok()?.ok()??;
        let mut record = Record::from_config_map(&object, &uid).ok()?;
        record.settle(rollout.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default());
        Some(record)
    }

    /// Writes one annotation.
    pub(super) async fn annotate(&self, name: &str, key: &str, value: &str) -> Result<Rollout, Failure> {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() };
        self.answer("patch", self.api().patch(name, &params, &Patch::Merge(&patch))).await
    }

    async fn answer<T>(&self, verb: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.in_words(verb, &error)),
            Err(_) => Err(self.unreachable(&format!("no answer within {}", span(self.timeout)))),
        }
    }

    fn unreachable(&self, why: &str) -> Failure {
        let fix = "is the cluster up, is it the right --context, is there a way to it (VPN, proxy)?";
        Failure::new(Exit::Error, format!("the API server at {} cannot be reached: {why}", self.server), fix)
    }

    fn in_words(&self, verb: &str, error: &kube::Error) -> Failure {
        let kube::Error::Api(status) = error else {
            return match error {
                kube::Error::SerdeError(error) => {
                    let fix = "is this version older than the CRD? compare `haldane version` with the controller's";
                    Failure::new(Exit::Error, format!("the API server's answer is not a Rollout as this version knows it: {error}"), fix)
                }
                error => self.unreachable(&chain(error)),
            };
        };
        let at = format!("rollouts.haldane.dev in namespace {}", self.namespace);
        match status.code {
            401 => Failure::new(Exit::NotFound, "the API server does not accept these credentials", "log in again, or another --context"),
            403 => {
                let fix = format!("ask for a Role that allows {verb} on {at}; `kubectl auth can-i {verb} rollouts.haldane.dev` tells");
                Failure::new(Exit::NotFound, format!("you may not {verb} {at}: {}", status.message), fix)
            }
            404 => Failure::new(
                Exit::NotFound,
                "this cluster does not know rollouts.haldane.dev",
                "`haldane crd | kubectl apply --server-side -f -`, or another --context",
            ),
            409 => Failure::new(Exit::Conflict, format!("conflict: {}", status.message), "run it again"),
            400 | 422 => Failure::new(Exit::Usage, format!("refused by the API server: {}", status.message), ""),
            code => Failure::new(Exit::Error, format!("the API server answered {code}: {}", status.message), "run it again later"),
        }
    }
}

fn known_context(file: &Kubeconfig, name: &str) -> Result<(), Failure> {
    let names: Vec<&str> = file.contexts.iter().map(|context| context.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("the kubeconfig has no context {name}"), format!("one of {}", names.join(", "))))
}

fn no_config(error: impl std::error::Error) -> Failure {
    let fix = "--kubeconfig FILE, --context NAME, or $KUBECONFIG; `kubectl config get-contexts` lists the contexts";
    Failure::new(Exit::Error, format!("no way to a cluster: {}", chain(&error)), fix)
}

/// An error with its causes, without those that its own text has already.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        cause = error.source();
    }
    text
}

/// Name of the user of a context.
fn user(file: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let name = context.or(file.current_context.as_deref())?;
    let context = file.contexts.iter().find(|context| context.name == name)?;
    context.context.as_ref()?.user.clone().filter(|user| !user.is_empty())
}
