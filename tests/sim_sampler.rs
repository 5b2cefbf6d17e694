//! The sampler alone against the simulated Prometheus, in virtual time: what a restart rebuilds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use haldane::{
    api::RolloutSpec,
    clock::Clock,
    judge::{Evidence, StepTerms},
    observe::{
        prometheus::Prometheus,
        sampler::{Sampler, Source},
    },
    plan::{Plan, Share},
    seen::{Arm, ArmPod, Brief, Look, StepKey},
    sim::{NAMESPACE, World, WorldConfig, prometheus::Mode, traffic::Behaviour},
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// v1 and v2 with a route at 95 and 5, and a sampler's brief about them.
async fn stage(seed: u64) -> (World, Clock, Brief) {
    let v2 = Behaviour::default().with_errors(0.002).with_invalid(0.004).with_memory(30_000.0);
    let metrics = json!([
        {"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}},
        {"name": "scores", "drift": {"histogram": "model_prediction_value"}},
        {"ratio": {"name": "invalid", "bad": "model_prediction_invalid_total", "total": "model_prediction_class_total"}},
        {"threshold": {"name": "gpu", "query": "max(DCGM_FI_DEV_FB_USED{pod=~\"{{canaryPods}}\"})", "max": 38000, "for": "10s"}},
    ]);
    staged(seed, [Behaviour::default(), v2], metrics, Duration::from_secs(300)).await
}

async fn staged(seed: u64, [v1, v2]: [Behaviour; 2], metrics: Value, history: Duration) -> (World, Clock, Brief) {
    let clock = Clock::virtual_from("2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap());
    let mut config = WorldConfig::new(clock, seed);
    (config.rps, config.history) = (400.0, history);
    let world = World::start(config).await.unwrap();
    world.behave("v1", v1);
    world.deploy("v2", v2);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut route = world.virtual_service();
    let destination = |subset: &str, weight: u8| json!({"destination": {"host": "fraud", "subset": subset}, "weight": weight});
    route["spec"]["http"][0]["route"] = json!([destination("v1", 95), destination("v2", 5)]);
    world.objects().put(route).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}},
        "analysis": {"interval": "2s", "warmUp": "0s", "metrics": metrics},
    });
    let analysis = Plan::parse(&serde_json::from_value::<RolloutSpec>(spec).unwrap()).unwrap().analysis;
    let step = |weight: f64, next_weight: f64| StepTerms::weighted(weight, next_weight, 20);
    let evidence = Arc::new(Evidence::new(&analysis.metrics, 2.0));
    let now = clock.now();
    let brief = Brief {
        namespace: NAMESPACE.into(),
        name: "fraud".into(),
        key: StepKey { epoch: 1, step: Some(0), share: Share::weight(5) },
        analysis,
        steps: vec![step(0.05, 0.5), step(0.5, 1.0)],
        stable: arm(&world, "v1", now),
        canary: arm(&world, "v2", now),
        since: Some(now),
        evidence,
        resume_after: None,
    };
    (world, clock, brief)
}

fn arm(world: &World, version: &str, now: Timestamp) -> Arm {
    let pods = world.objects().store().read(|tables| tables.list("pods", Some(NAMESPACE)));
    let of = |pod: &Value| {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
        let created = text("/metadata/creationTimestamp")?.parse().ok()?;
        let ours = text("/metadata/labels/version") == Some(version);
        ours.then(|| ArmPod { name: text("/metadata/name").unwrap().to_owned(), created, ready_since: Some(now) })
    };
    let pods: Vec<ArmPod> = pods.iter().filter_map(|pod| of(pod)).collect();
    assert_eq!(pods.len(), 3);
    Arm { workload: format!("fraud-{version}"), version: Some(version.into()), pods, ..Arm::default() }
}

fn prometheus(world: &World) -> Arc<Prometheus> {
    let provider = world.controller_config(Duration::from_secs(1)).prometheus.remove("default").unwrap();
    Arc::new(Prometheus::new(&provider).unwrap())
}

fn spawn(world: &World, clock: Clock, brief: Brief) -> Sampler {
    Sampler::spawn(Source::Found(prometheus(world)), clock, brief, || {})
}

async fn until(sampler: &Sampler, windows: u32) -> Look {
    for _ in 0..4000 {
        if let Some(look) = sampler.newest().filter(|look| look.judgement.windows >= windows) {
            return look;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not {windows} windows: {:?}", sampler.newest().map(|look| look.problem));
}

/// Numbers that differ by more than a billionth, and everything else that differs at all.
fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            if (a - b).abs() > 1e-9 * a.abs().max(1.0) {
                found.push(format!("{path}: {a} and {b}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(at, (a, b))| differences(&format!("{path}[{at}]"), a, b, found));
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).for_each(|((key, a), b)| differences(&format!("{path}.{key}"), a, b, found));
        }
        _ if one == other => {}
        _ => found.push(format!("{path}: {one} and {other}")),
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_evidence_is_rebuilt_from_prometheus_as_it_was() {
    let (world, clock, brief) = stage(51).await;
    let first = spawn(&world, clock, brief.clone());
    let checkpoint = until(&first, 12).await;
    until(&first, 60).await;
    // What status kept, and a controller that knows nothing else.
    let stored: Evidence = serde_json::from_str(&serde_json::to_string(checkpoint.evidence.as_ref()).unwrap()).unwrap();
    let second = spawn(&world, clock, Brief { evidence: stored.into(), resume_after: checkpoint.window_end, ..brief });
    // The query of a threshold is asked a moment after the counters: both looks are the same once both have both.
    let json = |look: &Look| {
        let mut evidence = json!(look.evidence);
        // How often was glanced cannot be read from counters: it goes on from what status kept.
        evidence.as_object_mut().unwrap().remove("glances");
        json!({"evidence": evidence, "judgement": look.judgement})
    };
    let (mut found, mut compared) = (Vec::new(), 0);
    let one = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let looks = first.newest().zip(second.newest());
        let same = |(one, two): &(Look, Look)| one.judgement.windows >= 70 && one.window_end == two.window_end;
        let Some((one, two)) = looks.filter(same) else { continue };
        assert!(two.judgement.windows > checkpoint.judgement.windows + 40, "{} windows", two.judgement.windows);
        found.clear();
        differences("", &json(&one), &json(&two), &mut found);
        compared += 1;
        if found.is_empty() || compared == 200 {
            break one;
        }
    };
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(one.judgement.metrics.iter().all(|metric| metric.reason != Some(haldane::api::EvidenceReason::NoData)), "{:?}", one.judgement);
}

#[tokio::test(start_paused = true)]
async fn a_first_token_that_is_late_fails_by_its_own_histogram_and_in_its_own_unit() {
    let [v1, v2] = [300.0, 500.0].map(|p50| Behaviour::default().with_first_token(p50, 3.0 * p50));
    let metrics = json!([
        {"latency": {}},
        {"name": "firstToken", "latency": {"histogram": "vllm:time_to_first_token_seconds", "unit": "s", "load": 0}},
    ]);
    let (world, clock, brief) = staged(52, [v1, v2], metrics, Duration::from_secs(300)).await;
    let look = until(&spawn(&world, clock, brief), 40).await;
    let of = |name: &str| look.judgement.metrics.iter().find(|metric| metric.metric == name).unwrap();
    let (mesh, own) = (of("latency"), of("firstToken"));
    assert!(own.fail_evidence > own.fail_at && mesh.fail_evidence < mesh.fail_at, "{:?} {:?}", own.fail_evidence, mesh.fail_evidence);
    assert!(own.message.starts_with("vllm:time_to_first_token_seconds above 0."), "{}", own.message);
    assert!(own.message.contains("] s"), "{}", own.message);
    let query = own.query.as_deref().unwrap();
    assert!(query.starts_with("sum by (pod, le) (increase(vllm:time_to_first_token_seconds_bucket{"), "{query}");
}

/// Rollouts that begin in the same moment, and when each of them could start.
struct Crowd {
    samplers: Vec<(Sampler, Brief)>,
    started: Vec<Option<f64>>,
    begun: Timestamp,
}

impl Crowd {
    fn begin(prometheus: &Arc<Prometheus>, clock: Clock, brief: &Brief, names: std::ops::Range<usize>) -> Self {
        let samplers: Vec<(Sampler, Brief)> = names
            .map(|name| {
                let key = StepKey { epoch: 1, step: None, share: Share::NONE };
                let brief = Brief { name: format!("fraud-{name}"), key, since: None, ..brief.clone() };
                (Sampler::spawn(Source::Found(prometheus.clone()), clock, brief.clone(), || {}), brief)
            })
            .collect();
        Self { started: vec![None; samplers.len()], samplers, begun: clock.now() }
    }

    /// Lets those begin their first step whose history is there. Gives how many seconds after a window's end its look came at the latest.
    fn go_on(&mut self, clock: Clock, seen: &mut BTreeMap<String, Timestamp>) -> f64 {
        let mut latest: f64 = 0.0;
        for ((sampler, brief), started) in self.samplers.iter_mut().zip(&mut self.started) {
            let Some(look) = sampler.newest() else { continue };
            assert_eq!(look.problem.as_ref().filter(|problem| problem.unavailable), None);
            if started.is_none() && look.ready {
                *started = Some(clock.now().duration_since(self.begun).as_secs_f64());
                brief.key = StepKey { epoch: 1, step: Some(0), share: Share::weight(5) };
                brief.since = Some(clock.now());
                sampler.tell(brief.clone());
            }
            let Some(end) = look.window_end.filter(|end| seen.get(&brief.name) != Some(end)) else { continue };
            seen.insert(brief.name.clone(), end);
            latest = latest.max(clock.now().duration_since(end).as_secs_f64());
        }
        latest
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_that_start_at_once_begin_within_two_windows_and_delay_no_look_although_an_answer_takes_200_ms() {
    const WINDOW: f64 = 30.0;
    let metrics = json!([{"errorRate": {}}, {"latency": {}}]);
    let (world, clock, mut brief) = staged(54, [Behaviour::default(), Behaviour::default()], metrics, Duration::from_secs(600)).await;
    brief.analysis.interval = Duration::from_secs_f64(WINDOW);
    world.prometheus().set_mode(Mode::Slow(Duration::from_millis(200)));
    let prometheus = prometheus(&world);
    // Twenty more come with their histories when the first are at their first step.
    let mut crowds = vec![Crowd::begin(&prometheus, clock, &brief, 0..50)];
    let (mut seen, mut latest) = (BTreeMap::new(), 0.0_f64);
    for tenth in 0..1300 {
        if tenth == 600 {
            crowds.push(Crowd::begin(&prometheus, clock, &brief, 50..70));
        }
        latest = crowds.iter_mut().map(|crowd| crowd.go_on(clock, &mut seen)).fold(latest, f64::max);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for crowd in &crowds {
        let started: Vec<f64> = crowd.started.iter().map(|started| started.expect("every history is read")).collect();
        let (first, last) = (started.iter().copied().fold(f64::INFINITY, f64::min), started.iter().copied().fold(0.0, f64::max));
        println!("{} at once: the first can start after {first:.1} s, the last after {last:.1} s", started.len());
        // Preflight and one look, however long the histories take.
        assert!(first < WINDOW / 3.0 && last < WINDOW / 2.0, "{first} s, {last} s");
    }
    // Its samples are there a second after its end.
    println!("the latest look came {latest:.1} s after the end of its window, of {}", seen.len());
    assert_eq!(seen.len(), 70);
    assert!(latest < 1.0 + WINDOW, "{latest} s");
}
