use std::sync::atomic::AtomicBool;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Config,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;
use crate::sim::{
    apiserver::ApiServer,
    faults::{Fault, Rule, Verb},
};

/// A device on the way: what is open when it begins to swallow stays open and dead for ever, as does what is opened meanwhile.
struct Device {
    port: u16,
    swallows: Arc<AtomicBool>,
    number: Arc<watch::Sender<u64>>,
}

impl Device {
    async fn before(server: &ApiServer) -> Self {
        let target = server.url().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallows, number) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(0)));
        let (dead, numbers) = (swallows.clone(), number.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, dead, mut number) = (target.clone(), dead.load(Ordering::SeqCst), numbers.subscribe());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    if !dead {
                        tokio::select! {
                            biased;
                            _ = number.changed() => {}
                            _ = copy_bidirectional(&mut near, &mut far) => return,
                        }
                    }
                    std::future::pending::<()>().await;
                    drop((near, far));
                });
            }
        });
        Self { port, swallows, number }
    }

    fn swallow(&self) {
        self.swallows.store(true, Ordering::SeqCst);
        self.number.send_modify(|number| *number += 1);
    }

    fn heal(&self) {
        self.swallows.store(false, Ordering::SeqCst);
    }
}

fn key() -> Key {
    Key { resource: "pods".into(), namespace: "ml".into() }
}

fn link(url: &str, limits: Limits) -> Link {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(url.parse().unwrap());
    config.default_namespace = "ml".into();
    Link::new(Connect::to(config), Clock::system(), limits).unwrap()
}

fn short() -> Limits {
    let milliseconds = Duration::from_millis;
    Limits { answer: milliseconds(400), doubt: milliseconds(200), ..Limits::default() }
}

fn put(server: &ApiServer, name: &str) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ml"}, "spec": {"containers": []}});
    server.objects().put(pod).unwrap();
}

/// Opens a watch, and waits for its first object.
async fn watching(link: &Link, server: &ApiServer) -> impl Stream<Item = Result<Pod, watcher::Error>> + Unpin {
    put(server, "first");
    let api: Api<Pod> = Api::default_namespaced(link.watching(key(), watch::Sender::new(false).subscribe()));
    let mut pods = Box::pin(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    assert_eq!(pods.try_next().await.unwrap().unwrap().metadata.name.unwrap(), "first");
    // The list has been answered; wait for the watch itself.
    let opened = server.faults().clone();
    let _ = timeout(Duration::from_millis(300), pods.next()).await;
    assert!(opened.log().iter().any(|record| record.verb == Verb::Watch));
    pods
}

async fn second(pods: &mut (impl Stream<Item = Result<Pod, watcher::Error>> + Unpin)) {
    let found = async {
        loop {
            if let Some(Ok(pod)) = pods.next().await
                && pod.metadata.name.as_deref() == Some("second")
            {
                return;
            }
        }
    };
    timeout(Duration::from_secs(10), found).await.unwrap();
}

#[tokio::test]
async fn connections_that_freeze_are_replaced_and_a_watch_on_them_is_opened_again() {
    let server = ApiServer::start(Clock::system(), 0).await.unwrap();
    let device = Device::before(&server).await;
    let link = link(&format!("http://127.0.0.1:{}", device.port), short());
    let pods: Api<Pod> = Api::default_namespaced(link.client());
    let mut watched = watching(&link, &server).await;
    // Idle connections in the pool, all of them dead soon.
    futures::future::join_all((0..8).map(|_| pods.get("first"))).await.into_iter().for_each(|pod| drop(pod.unwrap()));

    device.swallow();
    put(&server, "second");
    let begun = Instant::now();
    let error = pods.get("first").await.unwrap_err();
    assert!(error.to_string().contains("no answer from the API server"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(pods.get("first").await.is_err(), "new connections are accepted, and nothing answers on them");
    device.heal();
    // The next request may still be on a connection that was opened before; no more than one is.
    let _ = pods.get("first").await;
    pods.get("first").await.unwrap();
    second(&mut watched).await;
}

#[tokio::test]
async fn a_request_that_its_caller_gave_up_is_held_against_the_connection() {
    let server = ApiServer::start(Clock::system(), 0).await.unwrap();
    let device = Device::before(&server).await;
    let link = link(&format!("http://127.0.0.1:{}", device.port), Limits { answer: Duration::from_secs(600), ..short() });
    let pods: Api<Pod> = Api::default_namespaced(link.client());
    let mut watched = watching(&link, &server).await;
    device.swallow();
    assert!(timeout(Duration::from_millis(300), pods.get("first")).await.is_err());
    device.heal();
    put(&server, "second");
    second(&mut watched).await;
}

#[tokio::test]
async fn a_slow_request_beside_others_that_are_answered_costs_no_connection() {
    let server = ApiServer::start(Clock::system(), 0).await.unwrap();
    put(&server, "slow");
    put(&server, "first");
    let link = link(&server.url(), short());
    let pods: Api<Pod> = Api::default_namespaced(link.client());
    server.faults().add(Rule::on(Verb::Get, "pods", Fault::Hang).name("slow").forever());
    let slow = async { pods.get("slow").await.unwrap_err() };
    let quick = async {
        for _ in 0..8 {
            pods.get("first").await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    futures::join!(slow, quick);
    assert_eq!(link.connections().0, 1);
}

#[tokio::test]
async fn a_watch_that_hears_nothing_is_opened_again() {
    let server = ApiServer::start(Clock::system(), 0).await.unwrap();
    let silence = Duration::from_millis(500);
    let link = link(&server.url(), Limits { silence: (silence, silence), ..Limits::default() });
    server.faults().add(Rule::on(Verb::Watch, "pods", Fault::Mute));
    let mut watched = watching(&link, &server).await;
    put(&server, "second");
    second(&mut watched).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_short_only_while_a_rollout_is_under_way() {
    let busy = watch::Sender::new(false);
    let within = |seconds| timeout(Duration::from_secs(seconds), over(busy.subscribe(), Duration::from_secs(60)));
    assert!(within(100_000).await.is_err(), "nothing is under way");
    busy.send_replace(true);
    assert!(within(59).await.is_err());
    assert!(within(61).await.is_ok());
    busy.send_replace(false);
    let old = tokio::spawn(over(busy.subscribe(), Duration::from_secs(60)));
    sleep(Duration::from_secs(200)).await;
    assert!(!old.is_finished());
    busy.send_replace(true);
    sleep(Duration::from_millis(1)).await;
    assert!(old.is_finished(), "one that is older ends when a rollout begins");
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_stale_when_its_watch_had_no_answer_for_longer_than_its_bound() {
    let clock = Clock::virtual_from("2026-11-28T12:00:00Z".parse().unwrap());
    let watched = Watched::new(clock, Duration::from_secs(13), Duration::from_secs(115));
    watched.begin(&key());
    sleep(Duration::from_secs(100)).await;
    assert_eq!(watched.stale(), [""; 0]);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(watched.stale(), ["the watch of pods in ml has had no answer for 120 s, since 2026-11-28T12:00:00Z"]);
    watched.answered(&key());
    assert_eq!((watched.stale().len(), watched.ages()[0].age), (0, Duration::ZERO));
    watched.asked(&key());
    watched.failed(&key(), "no answer from the API server within 10 s");
    sleep(Duration::from_secs(14)).await;
    watched.asked(&key());
    let said = "the watch of pods in ml has had no answer for 14 s, since 2026-11-28T12:02:00Z: no answer from the API server within 10 s";
    assert_eq!(watched.stale(), [said]);
}

#[tokio::test]
async fn a_list_whose_body_stops_is_an_error_in_time() {
    let server = ApiServer::start(Clock::system(), 0).await.unwrap();
    let link = link(&server.url(), short());
    server.faults().add(Rule::on(Verb::List, "pods", Fault::Mute));
    let pods: Api<Pod> = Api::default_namespaced(link.client());
    assert!(timeout(Duration::from_secs(5), pods.list(&ListParams::default())).await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_busy_flag_whose_owner_is_gone_lasts_for_the_time_and_not_longer() {
    let (sender, receiver) = watch::channel(true);
    drop(sender);
    let begun = Instant::now();
    over(receiver, Duration::from_secs(60)).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}
