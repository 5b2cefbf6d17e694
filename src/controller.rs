//! Puts the parts together: watches, passes, election, server, and an orderly end.

mod asks;
mod kinds;
mod together;
mod watches;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, future};
use kube::{
    Resource,
    runtime::{
        Controller, WatchStreamExt,
        controller::Config as ControllerConfig,
        reflector::{self, ObjectRef},
        watcher,
    },
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::api::Rollout;
use crate::clock::Clock;
use crate::command;
use crate::config::{ConfigError, ConfigHandle, Dashboard};
use crate::dashboard::{Door, Live, Records, Reviews, Settings, Site};
use crate::lease::{Election, LeaderHandle, Terms};
use crate::link::{Connect, Limits, Link};
use crate::metrics::Metrics;
use crate::observe::cluster::{Caches, RouteCaches};
use crate::observe::kept;
use crate::observe::providers::Providers;
use crate::observe::shelf::{About, Shelf, place};
use crate::reconcile::{Context, Memories, reconcile, retry};
use crate::recorder::Recorder;
use crate::server;
use crate::supplier::{self, Desk, Supplier, mlflow::Servers};
use crate::tell::{Courier, Teller, event::Events};
use crate::traces::{self, Traces};

use asks::Asks;
use kinds::Kinds;
use watches::{Changes, Watches};

/// Passes at the same time, of different Rollouts.
const CONCURRENCY: u16 = 32;
/// After SIGTERM a pass under way may take so long.
const ENDING: Duration = Duration::from_secs(8);
/// So long the records may take that are not written yet.
const CLOSING: Duration = Duration::from_secs(2);

/// What a controller is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Namespaces to watch; empty: all.
    pub namespaces: Vec<String>,
    /// Where probes and metrics are served.
    pub listen: Option<SocketAddr>,
    /// Election: namespace of the Lease and the name of this replica; `None`: this one acts alone.
    pub election: Option<(String, String)>,
    /// The configuration file; `None`: `config` stays as it is.
    pub config_file: Option<PathBuf>,
    /// The clock; `None`: the machine's. Another one is for simulations in virtual time.
    pub clock: Option<Clock>,
}

/// Why the controller cannot run.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The configuration file has faults.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API server.
    #[error("the Kubernetes API: {0}")]
    Kube(#[from] kube::Error),
    /// The custom resource is not installed.
    #[error("this cluster has no rollouts.haldane.dev: kubectl apply -k deploy/crd")]
    NoCrd,
    /// The address cannot be bound.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// Runs until `stop` is ready: then passes under way end, the lease is given back.
///
/// # Errors
/// When something needed at the start is missing.
pub async fn run(
    connect: impl Into<Connect>,
    config: ConfigHandle,
    options: Options,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ControllerError> {
    let clock = options.clock.unwrap_or_else(Clock::system);
    let link = Link::new(connect.into(), clock, Limits::default())?;
    let client = link.client();
    let metrics = Metrics::new();
    match client.list_api_group_resources("haldane.dev/v1alpha1").await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Err(ControllerError::NoCrd),
        Err(error) => return Err(error.into()),
    }
    let (wake, woken) = mpsc::unbounded_channel();
    let (stopping, stopped) = watch::channel(false);

    let (leader, election) = match &options.election {
        None => (LeaderHandle::alone(clock), None),
        Some((namespace, me)) => {
            let election = Election::new(client.clone(), namespace, "haldane", me, Terms::default(), clock);
            (election.handle(), Some(election))
        }
    };
    let courier = Courier::new();
    let (teller, mut delivered) = Teller::new(config.clone(), courier, clock, metrics.clone());
    let instance = options.election.as_ref().map_or_else(|| "haldane".to_owned(), |(_, me)| me.clone());
    let events = Events::new(client.clone(), &instance, metrics.clone());

    let busy = watch::Sender::new(false);
    let watches = Watches::new(&link, options.namespaces.clone(), busy.subscribe());
    let more = Watches::new(&link, options.namespaces.clone(), busy.subscribe());
    let (rollouts, rollout_writer) = reflector::store::<Rollout>();
    let (slices, pods, destination_rules) = (Shelf::default(), Shelf::default(), Shelf::default());
    let asks = Asks::new(rollouts.clone(), slices.clone(), wake.clone());
    let routes = RouteCaches::default();
    let mut kinds = Kinds::new(client.clone(), options.namespaces.clone(), more, routes.clone(), destination_rules.clone(), asks.clone());
    let caches = Caches { rollouts: rollouts.clone(), routes, destination_rules, slices, pods };

    let (supplier, inbox) = Supplier::new();
    let context = Arc::new(Context {
        caches: caches.clone(),
        leader: leader.clone(),
        clock,
        config: config.clone(),
        providers: Providers::new(metrics.clone()),
        teller,
        recorder: Recorder::new(client.clone(), events.clone()),
        traces: Traces::new(config.clone(), clock, metrics.clone(), &instance),
        supplier: supplier.clone(),
        client: client.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
        wake: wake.clone(),
        memories: Memories::default(),
    });

    // Caches beside the Rollouts: each change asks for a pass of the Rollouts that it may concern.
    let side = future::join(
        keep(watches.fixed(|_| {}), caches.slices.clone(), asks.clone(), |asks, slice: &kept::Slice| {
            asks.host(&place(slice).0, &slice.service);
        }),
        keep(watches.fixed(|_| {}), caches.pods.clone(), asks.clone(), |asks, pod: &kept::Pod| asks.pod(&place(pod))),
    );
    let side = tokio::spawn(side);

    let ready = {
        let caches = caches.clone();
        async move {
            // Not the Rollouts: they are read by the controller itself, which starts after these.
            kinds.first().await?;
            caches.slices.ready().await;
            caches.pods.ready().await;
            Ok::<_, kube::Error>(kinds)
        }
    };
    let health = server::Health::new(clock, link.watched());
    if let Some(address) = options.listen {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let hooks = supplier::router(supplier.clone(), config.clone(), leader.clone(), clock);
        tokio::spawn(server::serve(listener, metrics.clone(), health.clone(), hooks, wait(stopped.clone())));
    }
    let live = Live::new(rollouts.clone(), link.watched());
    if let Some(dashboard) = &config.current().config.dashboard {
        let site = dashboard_site(dashboard, &options.namespaces, clock, live.clone(), &link);
        let listener = tokio::net::TcpListener::bind(dashboard.listen).await?;
        tokio::spawn(server::run(listener, site.router(), wait(stopped.clone()), "the dashboard"));
    }
    if options.config_file.is_some() {
        tokio::spawn(config.clone().watch(Duration::from_secs(5)));
    }
    let campaign = election.map(|election| tokio::spawn(election.run(wait(stopped.clone()))));

    // Others ask for passes too: a delivered alert, a new configuration, a won or lost election, the sweep of what is gone.
    let errands = tokio::spawn({
        let (context, asks, mut changes, mut leads) = (context.clone(), asks.clone(), config.changes(), leader.changes());
        let (health, watched) = (health.clone(), link.watched());
        async move {
            let mut sweep = tokio::time::interval(server::BEAT);
            loop {
                tokio::select! {
                    Some((namespace, name)) = delivered.recv() => asks.one(&namespace, &name),
                    Ok(()) = changes.changed() => asks.all(),
                    Ok(()) = leads.changed() => {
                        let leading = *leads.borrow_and_update();
                        context.metrics.leader(leading);
                        if leading { asks.all() } else { context.step_down() }
                    }
                    _ = sweep.tick() => {
                        health.beat();
                        context.metrics.leader(context.leader.is_leader());
                        context.metrics.config(context.config.current().version, context.config.error().is_some());
                        context.metrics.watches(&watched.ages());
                        context.sweep();
                        busy.send_if_modified(|busy| std::mem::replace(busy, asks.under_way()) != *busy);
                    }
                }
            }
        }
    });

    let desk = Desk {
        client,
        caches,
        config: config.clone(),
        leader,
        clock,
        events,
        metrics: metrics.clone(),
        servers: Servers::default(),
        wake,
        supplier: supplier.clone(),
    };
    let stream = reflector::reflector(rollout_writer, watches.fixed(trim)).inspect_ok(move |event| {
        asks.note(event);
        if let watcher::Event::Apply(rollout) | watcher::Event::InitApply(rollout) | watcher::Event::Delete(rollout) = event {
            supplier.changed(rollout);
        }
        live.changed();
    });
    let stream = stream.applied_objects();
    let controller = Controller::for_stream(stream, rollouts)
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .reconcile_on(tokio_stream(woken))
        .graceful_shutdown_on(wait(stopped.clone()));
    let mut supplying = JoinSet::new(); // it ends with this function, also where that is dropped
    let passes = async {
        let kinds = ready.await?;
        health.ready();
        tracing::info!("caches are ready");
        let _looking = tokio::spawn(kinds.rest());
        supplying.spawn(supplier::run(desk, inbox));
        controller.run(reconcile, retry, context.clone()).for_each(|_| future::ready(())).await;
        Ok::<_, ControllerError>(())
    };
    tokio::pin!(passes);
    tokio::select! {
        () = stop => {}
        ended = &mut passes => ended?,
    }
    tracing::info!("stopping: passes under way end, then the lease is given back");
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(ENDING, &mut passes).await;
    future::join(context.recorder.close(CLOSING), context.traces.close(traces::CLOSING)).await;
    context.step_down();
    errands.abort();
    side.abort();
    if let Some(campaign) = campaign {
        let _ = tokio::time::timeout(Duration::from_secs(2), campaign).await;
    }
    Ok(())
}

/// The pages, read-only, for whom the API server knows.
fn dashboard_site(dashboard: &Dashboard, namespaces: &[String], clock: Clock, live: Live, link: &Link) -> Site {
    let settings = Settings {
        prefix: dashboard.path_prefix.clone(),
        cluster: dashboard.cluster.clone().unwrap_or_else(|| "this cluster".to_owned()),
        namespace: (!namespaces.is_empty()).then(|| namespaces.join(", ")),
        prometheus: dashboard.prometheus_url.clone(),
    };
    let (records, reviews) = (Records::new(link.client(), clock), Reviews::new(link.client(), clock));
    Site::new(settings, clock, live, records, Door::Tokens(reviews), None)
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn tokio_stream(receiver: mpsc::UnboundedReceiver<ObjectRef<Rollout>>) -> impl Stream<Item = ObjectRef<Rollout>> + Send {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

/// What no pass reads is not kept.
fn trim(rollout: &mut Rollout) {
    command::trim(rollout.meta_mut());
}

/// Keeps a cache, and asks for passes.
async fn keep<K: Resource + About>(mut events: Changes<K>, shelf: Shelf<K>, asks: Asks, changed: impl Fn(&Asks, &K)) {
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                let whole = matches!(event, watcher::Event::InitDone);
                if let Some(object) = shelf.take(event) {
                    changed(&asks, &object);
                }
                if whole {
                    asks.all();
                }
            }
            Ok(None) => return,
            Err(error) => tracing::warn!(error = %error, "a watch failed: it is opened again"),
        }
    }
}
