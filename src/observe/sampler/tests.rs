use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::response::{Html, IntoResponse, Response};
use axum::{Json, Router, extract::State, routing::post};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::api::Reason;
use crate::config::Provider;
use crate::judge::{Evidence, StepTerms};
use crate::plan::{
    AnalysisPlan, DistanceLimits, Drift, DriftSource, ErrorRate, Latency, Metric, MetricKind, RangeLimits, Share, Threshold,
};
use crate::seen::{Arm, ArmPod, StepKey};

mod arms;
mod joint;
mod limits;
mod own;
mod past;
mod unanswered;

const SCRAPE: i64 = 100;
/// How the question of a look at pods begins.
const LOOK: &str = r#"{__name__=~"up|istio_requests_total"#;

type Value = fn(f64) -> Option<f64>;

/// A Prometheus that knows the two shapes of query and scrapes each target ten times a second.
struct World {
    start: Timestamp,
    /// Milliseconds between two scrapes.
    scrape: i64,
    series: Vec<(BTreeMap<String, String>, Value)>,
    /// What it answers with instead of data.
    broken: Mutex<Option<&'static str>>,
    /// What `max(own{…})` gives; `None`: no answer at all.
    own: Mutex<Option<f64>>,
    asked: Mutex<Vec<(String, i64)>>,
    /// Of so many queries one is answered with 429; 0: none.
    busy: usize,
    /// More seconds than this in one query are answered with 422.
    longest: i64,
    received: Mutex<usize>,
    /// A question about several metrics is refused.
    one_metric: bool,
    /// Samples younger than so many milliseconds are not there yet.
    late: i64,
}

impl World {
    fn new(clock: &Clock, age: i64) -> Self {
        let start = clock.now() - SignedDuration::from_secs(age);
        let start = Timestamp::from_millisecond(start.as_millisecond() / SCRAPE * SCRAPE).unwrap();
        Self {
            start,
            scrape: SCRAPE,
            series: Vec::new(),
            broken: Mutex::new(None),
            own: Mutex::new(Some(1.0)),
            asked: Mutex::new(Vec::new()),
            busy: 0,
            longest: i64::MAX,
            received: Mutex::new(0),
            one_metric: false,
            late: 0,
        }
    }

    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: Value) {
        let mut all: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.insert("__name__".into(), name.into());
        self.series.push((all, value));
    }

    /// Requests and `up` of one pod of a model with a sidecar.
    fn sidecar(&mut self, version: &str, pod: &str, code: &str, value: Value) {
        let workload = format!("m-{version}");
        let target = [("job", "sidecars"), ("instance", pod), ("pod", pod)];
        let mesh = [
            ("reporter", "destination"),
            ("destination_workload_namespace", "ml"),
            ("destination_workload", workload.as_str()),
            ("response_code", code),
        ];
        self.add("istio_requests_total", &[&target[..], &mesh[..]].concat(), value);
        if code == "200" {
            self.add("up", &target, |_| Some(1.0));
        }
    }

    fn matching(&self, selector: &str) -> Vec<&(BTreeMap<String, String>, Value)> {
        let (name, rest) = selector.split_once('{').unwrap();
        let (rest, unwanted) = rest.split_once("reporter!=\"source\"").map_or((rest, None), |(rest, _)| (rest, Some("source")));
        let matchers: Vec<(&str, bool, Vec<String>)> = rest
            .trim_end_matches('}')
            .split("\",")
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (label, value) = part.split_once('=').unwrap();
                let regex = value.starts_with('~');
                let value = value.trim_start_matches('~').trim_matches('"').replace('\\', "");
                (label, regex, if regex { value.split('|').map(str::to_owned).collect() } else { vec![value] })
            })
            .collect();
        let fits = |labels: &BTreeMap<String, String>| {
            (name.is_empty() || labels.get("__name__").is_some_and(|n| n == name))
                && unwanted.is_none_or(|unwanted| labels.get("reporter").is_none_or(|reporter| reporter != unwanted))
                && matchers.iter().all(|(label, _, values)| values.contains(labels.get(*label).unwrap_or(&String::new())))
        };
        self.series.iter().filter(|(labels, _)| fits(labels)).collect()
    }

    fn samples(&self, value: Value, from: i64, to: i64) -> Vec<(f64, String)> {
        let first = from.div_euclid(self.scrape) + 1;
        let to = to.min(Clock::system().now().as_millisecond() - self.late);
        (first..=to.div_euclid(self.scrape))
            .map(|k| k * self.scrape)
            .filter_map(|ms| {
                let age = (ms - self.start.as_millisecond()) as f64 / 1000.0;
                (age >= 0.0).then(|| value(age)).flatten().map(|v| (ms as f64 / 1000.0, v.floor().to_string()))
            })
            .collect()
    }

    fn answer(&self, query: &str, at: i64) -> serde_json::Value {
        if let Some(rest) = query.strip_prefix("group by (") {
            let (by, rest) = rest.split_once(") (").unwrap();
            let mut rows: Vec<BTreeMap<String, String>> = Vec::new();
            for (labels, value) in self.matching(rest.trim_end_matches(')')) {
                if self.samples(*value, at - 300_000, at).is_empty() {
                    continue;
                }
                let row = by.split(", ").filter_map(|name| Some((name.to_owned(), labels.get(name)?.clone()))).collect();
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
            let result: Vec<_> = rows.into_iter().map(|row| json!({"metric": row, "value": [at as f64 / 1000.0, "1"]})).collect();
            return json!({"status": "success", "data": {"resultType": "vector", "result": result}});
        }
        let (selector, range) = query.rsplit_once('[').unwrap();
        let range: i64 = range.trim_end_matches("s]").parse().unwrap();
        let found = self.matching(selector).into_iter().map(|(labels, value)| (labels, self.samples(*value, at - range * 1000, at)));
        let result: Vec<_> = found
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(labels, samples)| json!({"metric": labels, "values": samples}))
            .collect();
        json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
    }

    async fn serve(self) -> (Arc<Self>, Arc<Prometheus>) {
        let scrape = self.scrape;
        let world = Arc::new(self);
        let app = Router::new().route("/api/v1/query", post(query)).with_state(world.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let provider = Provider {
            url,
            scrape_interval: Some(format!("{scrape}ms").parse().unwrap()),
            lag: Some("50ms".parse().unwrap()),
            ..Provider::default()
        };
        (world, Arc::new(Prometheus::new(&provider).unwrap()))
    }
}

async fn query(State(world): State<Arc<World>>, form: String) -> Response {
    let form = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
    let form: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    if let Some(page) = *world.broken.lock().unwrap() {
        return if page.starts_with('<') { Html(page).into_response() } else { page.into_response() };
    }
    let Some(time) = form.get("time") else {
        assert_eq!(form["query"], "vector(time())");
        let now = Clock::system().now().as_millisecond() as f64 / 1000.0;
        let result = json!([{"metric": {}, "value": [now, now.to_string()]}]);
        return Json(json!({"status": "success", "data": {"resultType": "vector", "result": result}})).into_response();
    };
    if let Some((status, said)) = world.refuses(&form["query"]) {
        return (status, said).into_response();
    }
    let at = (time.parse::<f64>().unwrap() * 1000.0).round() as i64;
    world.asked.lock().unwrap().push((form["query"].clone(), at));
    if form["query"].starts_with("max(own") {
        let Some(value) = *world.own.lock().unwrap() else { return std::future::pending().await };
        let data =
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [form["time"].parse::<f64>().unwrap(), value.to_string()]}]});
        return Json(json!({"status": "success", "data": data})).into_response();
    }
    Json(world.answer(&form["query"], at)).into_response()
}

fn metric(name: &str, kind: MetricKind) -> Metric {
    Metric::new(name, kind)
}

fn errors() -> Metric {
    metric("errorRate", MetricKind::ErrorRate(ErrorRate::default()))
}

fn drift() -> Metric {
    let source = DriftSource::Counter { metric: "model_class_total".into(), class: "class".into() };
    metric("drift", MetricKind::Drift(Drift { source, limits: DistanceLimits::default() }))
}

fn arm(version: &str, pods: &[&str], since: Timestamp) -> Arm {
    let pod = |name: &&str| ArmPod { name: (*name).to_owned(), created: since, ready_since: Some(since) };
    Arm { workload: format!("m-{version}"), version: Some(version.into()), pods: pods.iter().map(pod).collect(), ..Arm::default() }
}

fn brief(clock: &Clock, metrics: Vec<Metric>) -> Brief {
    let old = clock.now() - SignedDuration::from_hours(2);
    let analysis = AnalysisPlan {
        prometheus: "default".into(),
        interval: Duration::from_millis(200),
        warm_up: Duration::ZERO,
        metrics: metrics.clone(),
        preset: None,
    };
    let steps = [5_u8, 50, 100].map(|percent| {
        let (weight, share) = (f64::from(percent) / 100.0, Share::weight(percent));
        StepTerms { weight, next_weight: 1.0, planned_windows: 10, without: Vec::new(), share, kind: 0 }
    });
    Brief {
        namespace: "ml".into(),
        name: "m".into(),
        key: StepKey { epoch: 1, step: None, share: Share::NONE },
        analysis,
        steps: steps.to_vec(),
        stable: arm("v1", &["v1-a"], old),
        canary: arm("v2", &["v2-a"], old),
        since: None,
        evidence: Arc::new(Evidence::new(&metrics, 0.2)),
        resume_after: None,
    }
}

/// The first look that fits, within a generous time.
async fn wait(sampler: &Sampler, what: &str, fits: impl Fn(&Look) -> bool) -> Look {
    let mut looks = sampler.looks();
    let found = tokio::time::timeout(Duration::from_secs(30), looks.wait_for(|look| look.as_ref().is_some_and(&fits))).await;
    match found {
        Ok(Ok(look)) => look.clone().unwrap(),
        _ => panic!("no look with {what}; newest: {:?}", sampler.newest()),
    }
}

fn spawn(prometheus: &Arc<Prometheus>, clock: Clock, brief: Brief) -> Sampler {
    Sampler::spawn(Source::Found(prometheus.clone()), clock, brief, || {})
}

fn healthy(clock: &Clock, age: i64) -> World {
    let mut world = World::new(clock, age);
    world.sidecar("v1", "v1-a", "200", |age| Some(950.0 * age));
    world.sidecar("v2", "v2-a", "200", |age| Some(50.0 * age));
    world
}

fn step(mut brief: Brief, step: usize, weight: u8, since: Timestamp) -> Brief {
    brief.key = StepKey { epoch: 2 + step as i64, step: Some(step), share: Share::weight(weight) };
    brief.since = Some(since);
    brief
}

#[tokio::test]
async fn preflight_then_windows_at_the_ends_of_the_grid() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let before = brief(&clock, vec![errors()]);
    let woken = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = woken.clone();
    let sampler = Sampler::spawn(Source::Found(prometheus.clone()), clock, before.clone(), move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let ready = wait(&sampler, "ready", |look| look.ready).await;
    assert_eq!((ready.problem, ready.window_end), (None, None));
    assert!(woken.load(std::sync::atomic::Ordering::Relaxed) > 0);
    assert!(world.asked.lock().unwrap().iter().any(|(query, _)| query.starts_with("istio_requests_total{")), "the past was asked for");

    let since = clock.now();
    let now = step(before, 0, 5, since);
    sampler.tell(now.clone());
    let look = wait(&sampler, "a window", |look| look.key == now.key && look.window_end.is_some()).await;
    let end = look.window_end.unwrap().as_millisecond() - since.as_millisecond();
    assert_eq!((end - 100).rem_euclid(200), 0, "one scrape after the weight, then every interval: {end}");
    assert_eq!(look.problem, None);
    let canary = look.canary_in_window.unwrap();
    assert!((4..=16).contains(&canary), "50 a second in 0.2 s: {canary}");

    // The next step counts from its own begin.
    let later = step(now, 1, 50, clock.now());
    sampler.tell(later.clone());
    let look = wait(&sampler, "a window of the next step", |look| look.key == later.key && look.window_end > later.since).await;
    let end = look.window_end.unwrap().as_millisecond() - later.since.unwrap().as_millisecond();
    assert_eq!((end - 100).rem_euclid(200), 0);
}

#[tokio::test]
async fn every_query_of_a_window_has_the_same_time() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    for (pod, class) in [("v1-a", "cat"), ("v2-a", "cat")] {
        let target = [("job", "models"), ("instance", pod), ("pod", pod), ("namespace", "ml")];
        world.add("model_class_total", &[&target[..], &[("class", class)]].concat(), |age| Some(10.0 * age));
        world.add("up", &target, |_| Some(1.0));
    }
    let (world, prometheus) = world.serve().await;
    let start = step(brief(&clock, vec![errors(), drift()]), 0, 5, clock.now());
    let sampler = spawn(&prometheus, clock, start);
    let look = wait(&sampler, "two windows", |look| look.window_end.is_some()).await;
    let end = look.window_end.unwrap().as_millisecond();
    let asked = world.asked.lock().unwrap();
    let at_end: Vec<&str> = asked.iter().filter(|(_, at)| *at == end).map(|(query, _)| query.split(',').next().unwrap()).collect();
    assert_eq!(at_end, [format!("{LOOK}\"").as_str(), "model_class_total{namespace=\"ml\""]);
}

#[tokio::test]
async fn a_broken_prometheus_is_reported_and_what_was_missed_is_asked_for_again() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let start = step(brief(&clock, vec![errors()]), 0, 5, clock.now());
    let sampler = spawn(&prometheus, clock, start);
    let good = wait(&sampler, "a window", |look| look.window_end.is_some()).await.window_end.unwrap();
    *world.broken.lock().unwrap() = Some("<html>log in</html>");
    let look = wait(&sampler, "a problem", |look| look.problem.is_some()).await;
    let problem = look.problem.unwrap();
    assert_eq!((problem.reason, problem.unavailable), (Reason::MetricsUnavailable, true));
    assert!(problem.message.contains("HTML") && problem.message.contains("default"), "{}", problem.message);
    tokio::time::sleep(Duration::from_millis(900)).await;
    world.asked.lock().unwrap().clear();
    *world.broken.lock().unwrap() = None;
    let back = wait(&sampler, "windows again", |look| look.problem.is_none() && look.window_end > Some(good)).await;
    let last = look.window_end.unwrap().as_millisecond();
    let asked = world.asked.lock().unwrap();
    let times: Vec<i64> = asked.iter().filter(|(query, _)| query.starts_with(LOOK)).map(|(_, at)| *at - last).collect();
    assert!(times.len() >= 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 200) && times[0] == 200, "each at its own time: {times:?}");
    assert!(back.canary_in_window.unwrap() < 30, "no window holds the whole outage");
}

#[tokio::test]
async fn a_restart_asks_for_the_windows_since_the_checkpoint() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let since = clock.now() - SignedDuration::from_secs(10);
    let checkpoint = since + SignedDuration::from_millis(100 + 200 * 30);
    let mut start = step(brief(&clock, vec![errors()]), 0, 5, since);
    start.resume_after = Some(checkpoint);
    let sampler = spawn(&prometheus, clock, start);
    let look = wait(&sampler, "the newest window", |look| look.window_end > Some(since + SignedDuration::from_secs(10))).await;
    let asked = world.asked.lock().unwrap();
    assert!(asked.iter().all(|(query, _)| !query.starts_with("istio_requests_total{")), "no calibration again");
    let mut times: Vec<i64> =
        asked.iter().filter(|(query, _)| query.starts_with(LOOK)).map(|(_, at)| at - checkpoint.as_millisecond()).collect();
    times.retain(|at| *at <= look.window_end.unwrap().as_millisecond() - checkpoint.as_millisecond());
    assert_eq!(times[0], 0, "the end of the newest window is where the next one begins");
    assert!(times.len() > 15 && times.windows(2).all(|pair| pair[1] - pair[0] == 200), "{times:?}");
}

#[tokio::test]
async fn at_the_gateway_arms_are_told_apart_by_workload_and_no_pod_is_needed() {
    let clock = Clock::system();
    let mut world = World::new(&clock, 60);
    let all: [(&str, Value); 2] = [("m-v1", |age| Some(500.0 * age)), ("m-v2", |age| Some(500.0 * age))];
    for (workload, value) in all {
        let labels = [
            ("reporter", "source"),
            ("destination_workload_namespace", "ml"),
            ("destination_workload", workload),
            ("job", "envoy"),
            ("instance", "127.0.0.1:15000"),
            ("response_code", "200"),
        ];
        world.add("istio_requests_total", &labels, value);
    }
    let (_world, prometheus) = world.serve().await;
    let start = step(brief(&clock, vec![errors()]), 1, 50, clock.now());
    let sampler = spawn(&prometheus, clock, start);
    let look = wait(&sampler, "a window", |look| look.window_end.is_some()).await;
    assert_eq!(look.problem, None);
    assert!(look.canary_in_window.unwrap() > 50);
}

#[tokio::test]
async fn a_canary_with_more_than_its_share_is_a_bypass() {
    let clock = Clock::system();
    let mut world = World::new(&clock, 60);
    world.sidecar("v1", "v1-a", "200", |age| Some(500.0 * age));
    world.sidecar("v2", "v2-a", "200", |age| Some(500.0 * age));
    let (_world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let look = wait(&sampler, "a problem", |look| look.problem.is_some()).await;
    let problem = look.problem.unwrap();
    assert_eq!((problem.reason, problem.unavailable), (Reason::Bypass, false));
    assert!(look.window_end.is_some(), "the counts stay evidence");
}

#[tokio::test]
async fn what_preflight_misses_is_named() {
    let clock = Clock::system();

    let (_world, prometheus) = World::new(&clock, 60).serve().await;
    let sampler = spawn(&prometheus, clock, brief(&clock, vec![errors()]));
    let problem = wait(&sampler, "a problem", |look| look.problem.is_some()).await.problem.unwrap();
    assert_eq!(problem.reason, Reason::MetricsUnavailable);
    assert!(problem.message.contains("destination_workload=\"m-v1\"") && problem.message.contains("namespace ml"), "{}", problem.message);

    let (_world, prometheus) = healthy(&clock, 60).serve().await;
    let sampler = spawn(&prometheus, clock, brief(&clock, vec![errors(), drift()]));
    let look = wait(&sampler, "a problem", |look| look.problem.is_some()).await;
    let problem = look.problem.unwrap();
    assert!(!look.ready && problem.unavailable);
    assert!(problem.message.contains("model_class_total") && problem.message.contains("namespace and pod"), "{}", problem.message);

    let mut world = healthy(&clock, 60);
    let target = [("job", "models"), ("instance", "v1-a"), ("pod", "v1-a"), ("namespace", "ml")];
    world.add("model_class_total", &[&target[..], &[("label", "cat")]].concat(), Some);
    let (_world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, brief(&clock, vec![errors(), drift()]));
    let problem = wait(&sampler, "a problem", |look| look.problem.is_some()).await.problem.unwrap();
    assert!(problem.message.contains("has no label class"), "{}", problem.message);

    let mut world = healthy(&clock, 60);
    let twice = [
        ("reporter", "destination"),
        ("destination_workload_namespace", "ml"),
        ("destination_workload", "m-v1"),
        ("job", "second"),
        ("instance", "v1-a:15090"),
        ("pod", "v1-a"),
    ];
    world.add("istio_requests_total", &twice, Some);
    let (_world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, brief(&clock, vec![errors()]));
    let problem = wait(&sampler, "a problem", |look| look.problem.is_some()).await.problem.unwrap();
    assert_eq!(problem.reason, Reason::DuplicateSeries);
    assert!(problem.message.contains("second, sidecars"), "{}", problem.message);

    let mut same = brief(&clock, vec![errors()]);
    same.canary = same.stable.clone();
    let (_world, prometheus) = healthy(&clock, 60).serve().await;
    let sampler = spawn(&prometheus, clock, same);
    let problem = wait(&sampler, "a problem", |look| look.problem.is_some()).await.problem.unwrap();
    assert_eq!(problem.reason, Reason::ArmsInseparable);
}

#[tokio::test]
async fn traffic_that_no_proxy_reads_is_shown_as_such() {
    let clock = Clock::system();
    let stable = [("destination_workload_namespace", "ml"), ("destination_workload", "m-v1"), ("job", "j"), ("instance", "i")];
    let mut world = World::new(&clock, 60);
    world.add("istio_tcp_connections_opened_total", &[&stable[..], &[("reporter", "destination")]].concat(), Some);
    let (_world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, brief(&clock, vec![errors()]));
    let problem = wait(&sampler, "a problem", |look| look.problem.is_some()).await.problem.unwrap();
    assert_eq!(problem.reason, Reason::NoProxy);
    assert!(problem.message.contains("counted in TCP connections alone"), "{}", problem.message);
}

#[tokio::test]
async fn a_provider_that_is_not_configured_is_reported_with_those_that_are_and_taken_up_when_it_comes() {
    let clock = Clock::system();
    let source = Source::NotFound { name: "prod".into(), known: vec!["default".into()] };
    let sampler = Sampler::spawn(source, clock, brief(&clock, vec![errors()]), || {});
    let problem = wait(&sampler, "a problem", |look| look.problem.is_some()).await.problem.unwrap();
    assert_eq!(problem.reason, Reason::ProviderNotFound);
    assert!(problem.message.contains("prod") && problem.message.contains("default"));
    let (_world, prometheus) = healthy(&clock, 60).serve().await;
    sampler.set_source(Source::Found(prometheus));
    assert_eq!(wait(&sampler, "ready", |look| look.ready).await.problem, None);
}

#[tokio::test]
async fn without_metrics_nothing_is_asked() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let sampler = spawn(&prometheus, clock, brief(&clock, vec![]));
    assert!(wait(&sampler, "ready", |look| look.ready).await.problem.is_none());
    assert!(world.asked.lock().unwrap().is_empty());
    drop(sampler);
}

#[tokio::test]
async fn while_draining_only_the_canary_s_requests_are_reported() {
    let clock = Clock::system();
    let mut world = World::new(&clock, 60);
    world.sidecar("v1", "v1-a", "200", |age| Some(950.0 * age));
    world.sidecar("v2", "v2-a", "200", |_| Some(77.0));
    let (_world, prometheus) = world.serve().await;
    let mut draining = brief(&clock, vec![errors()]);
    draining.since = Some(clock.now());
    let sampler = spawn(&prometheus, clock, draining);
    let look = wait(&sampler, "counts", |look| look.canary_in_window.is_some()).await;
    assert_eq!((look.canary_in_window, look.window_end, look.problem), (Some(0), None, None));
}
