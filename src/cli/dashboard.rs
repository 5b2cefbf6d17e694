//! `haldane dashboard`: the pages on loopback, with the rights of the kubeconfig.

use std::{net::Ipv4Addr, sync::Arc};

use clap::Args;
use futures::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Environment, Exit, Failure, Global, ask, cluster::Cluster, controller::signal, output::Output};
use crate::{
    clock::Clock,
    dashboard::{Door, Live, Local, Order, Orders, Records, Settings, Site},
    link::{Connect, Limits, Link},
    server,
    view::Tone,
    web::{Said, is_browsable, is_prefix},
};

#[derive(Debug, Args)]
pub(super) struct DashboardArgs {
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Port on 127.0.0.1; 0: a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Show only: no command can be given
    #[arg(long)]
    read_only: bool,
    /// Path before every address, for a proxy in front: /haldane
    #[arg(long, value_name = "PATH", default_value = "", value_parser = prefix, hide_default_value = true)]
    path_prefix: String,
    /// Name that a proxy in front is asked for, with its port; may be given several times
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Where the browser finds Prometheus: queries become links
    #[arg(long, value_name = "URL", value_parser = browsable)]
    prometheus: Option<String>,
}

/// A path without a slash at its end; `/` is none.
fn prefix(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    match path.is_empty() || is_prefix(path) {
        true => Ok(path.to_owned()),
        false => Err("must be a path of plain words, such as /haldane".to_owned()),
    }
}

/// The address of a page, without a slash at its end.
fn browsable(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    match is_browsable(url) {
        true => Ok(url.to_owned()),
        false => Err("must be http://host:port or https://host/path".to_owned()),
    }
}

pub(super) async fn run(
    args: &DashboardArgs,
    global: &Global,
    environment: &Environment,
    clock: Clock,
    output: &Output,
) -> Result<Exit, Failure> {
    let cluster = Cluster::connect(global, environment).await?;
    // What may not be listed is an error here, not an empty page.
    cluster.list(args.all_namespaces).await?;
    let namespace = (!args.all_namespaces).then(|| cluster.namespace.clone());
    let mut config = Cluster::config(global).await?.config;
    (config.read_timeout, config.default_retry) = (None, false); // the link bounds every answer
    let failed = |what: &str, error: &dyn std::error::Error| Failure::new(Exit::Error, format!("{what}: {error}"), "");
    let link = Link::new(Connect::to(config), clock, Limits::default()).map_err(|error| failed("no way to the cluster", &error))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    let (port, listener) = bound.map_err(|error| {
        Failure::new(Exit::Error, format!("cannot listen on 127.0.0.1:{}: {error}", args.port), "another --port, or none for a free one")
    })?;
    let (live, keeping) = Live::watching(&link, namespace.as_deref());
    let keeping = tokio::spawn(keeping.for_each(async |()| {}));
    let settings =
        Settings { prefix: args.path_prefix.clone(), cluster: cluster.context.clone(), namespace, prometheus: args.prometheus.clone() };
    let Some((local, mut links)) = Local::new(port, &args.path_prefix, &args.hosts, clock) else {
        return Err(Failure::new(Exit::Error, "the system gives no random numbers for the link", ""));
    };
    let records = Records::new(link.client(), clock);
    let site = Site::new(settings, clock, live, records, Door::Local(local), (!args.read_only).then(|| orders(cluster)));
    let mut serving = std::pin::pin!(server::run(listener, site.router(), signal(), "the dashboard"));
    let mut first = true;
    loop {
        tokio::select! {
            Some(url) = links.recv() => {
                output.data("Dashboard", &json!({ "url": url, "readOnly": args.read_only }), || format!("{url}\n"))?;
                if std::mem::take(&mut first) {
                    output.hint("the link opens once, in one browser; Ctrl-C ends the dashboard");
                }
            }
            () = &mut serving => break,
        }
    }
    keeping.abort();
    Ok(Exit::Reached)
}

/// Commands, given as the command line gives them.
fn orders(cluster: Cluster) -> Orders {
    Arc::new(move |order: Order| {
        let namespace = order.shown.metadata.namespace.clone().unwrap_or_default();
        let cluster = cluster.within(&namespace);
        Box::pin(async move {
            match ask::say(order.verb, order.reason.as_deref(), &order.shown, &cluster).await {
                Ok((tone, text)) => Said { tone, text, fix: String::new() },
                Err(failure) => Said { tone: Tone::Bad, text: failure.message, fix: failure.fix },
            }
        })
    })
}
