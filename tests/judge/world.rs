//! Simulated rollouts through [`Evidence`]: what the statistics promise, measured.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the world of tests and a bench")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Binomial, Distribution, Poisson};

use haldane::api::Verdict;
use haldane::counts::{Counts, History, Sample, Window};
use haldane::judge::{Evidence, StepTerms};
use haldane::plan::{DriftSource, Metric, MetricKind, Share};

pub const BOUNDS: [f64; 14] = [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0];
pub const MIX: [f64; 5] = [0.50, 0.25, 0.15, 0.07, 0.03];

/// What one version does: error rate, latency (lognormal, p99 four times p50), classes.
#[derive(Clone)]
pub struct Version {
    pub errors: f64,
    pub p50: f64,
    pub added_ms: f64,
    pub mix: Vec<f64>,
}

pub fn healthy() -> Version {
    Version { errors: 0.001, p50: 100.0, added_ms: 0.0, mix: MIX.to_vec() }
}

#[derive(Clone)]
pub struct World {
    pub rps: f64,
    pub interval: f64,
    pub history: usize,
    /// Stable pods in the history; 0: they cannot be told apart.
    pub pods: usize,
    pub hold: u32,
    pub stable: Version,
    pub canary: Version,
    pub metrics: Vec<Metric>,
}

pub fn errors() -> Metric {
    Metric { name: "errorRate".into(), kind: MetricKind::ErrorRate { relative: 1.1, absolute: 0.0005, pass: 0.002 } }
}

pub fn latency() -> Metric {
    Metric { name: "latency".into(), kind: MetricKind::Latency { stretch: 0.05, pass: 0.10 } }
}

pub fn drift() -> Metric {
    let source = DriftSource::Counter { metric: "model_prediction_class_total".into(), class: "class".into() };
    Metric { name: "drift".into(), kind: MetricKind::Drift { source, hold: 0.05, rollback: 0.15, pass: 0.10 } }
}

pub fn world(rps: f64, interval: f64, history: usize, hold: u32) -> World {
    World { rps, interval, history, pods: 3, hold, stable: healthy(), canary: healthy(), metrics: vec![errors(), latency(), drift()] }
}

pub fn draw(rng: &mut SmallRng, n: u64, p: f64) -> u64 {
    Binomial::new(n, p.clamp(0.0, 1.0)).unwrap().sample(rng)
}

pub fn above(version: &Version, bound: f64) -> f64 {
    let bound = bound - version.added_ms;
    if bound <= 0.0 {
        1.0
    } else {
        0.5 * statrs::function::erf::erfc((bound / version.p50).ln() / (4f64.ln() / 2.326) / std::f64::consts::SQRT_2)
    }
}

/// A sample with the given expected number of requests.
pub fn sample(rng: &mut SmallRng, version: &Version, mean: f64) -> Sample {
    let n = if mean > 0.0 { Poisson::new(mean).unwrap().sample(rng) as u64 } else { 0 };
    let bad = draw(rng, n, version.errors);
    let (mut left, mut share, mut counts) = (n, 1.0, Vec::new());
    for bound in BOUNDS {
        let next = above(version, bound);
        left = draw(rng, left, if share > 0.0 { next / share } else { 0.0 });
        counts.push(left);
        share = next;
    }
    let (mut rest, mut mass, mut classes) = (n, 1.0, BTreeMap::new());
    for (at, p) in version.mix.iter().enumerate() {
        let count = draw(rng, rest, if mass > 0.0 { p / mass } else { 0.0 });
        classes.insert(format!("class-{at}"), count);
        rest -= count;
        mass -= p;
    }
    BTreeMap::from([
        ("errorRate".into(), Counts::Events { total: n, bad }),
        ("latency".into(), Counts::Histogram { bounds: BOUNDS.to_vec(), above: counts, total: n }),
        ("drift".into(), Counts::Classes(classes)),
    ])
}

pub fn steps(hold: u32) -> Vec<StepTerms> {
    let step = |weight: f64, next_weight: f64| {
        let share = Share::weight((100.0 * weight).round() as u8);
        StepTerms { weight, next_weight, planned_windows: hold, without: Vec::new(), share, kind: 0 }
    };
    vec![step(0.05, 0.2), step(0.2, 0.5), step(0.5, 1.0), step(1.0, 1.0)]
}

/// How a rollout went: windows in each step until it passed with its hold over; the window (of all) in which it failed.
#[derive(Debug, Default)]
pub struct Run {
    pub passed: Vec<u32>,
    pub failed: Option<u32>,
    pub held: bool,
    by: String,
}

pub fn window(world: &World, rng: &mut SmallRng, at: u32, weight: f64) -> Window {
    let requests = world.rps * world.interval;
    let time = |k: u32| Timestamp::from_millisecond(1_700_000_000_000 + (f64::from(k) * world.interval * 1000.0) as i64).unwrap();
    Window {
        start: time(at),
        end: time(at + 1),
        weight,
        stable: sample(rng, &world.stable, requests * (1.0 - weight)),
        canary: sample(rng, &world.canary, requests * weight),
        stable_pods: 3,
        canary_pods: 1,
    }
}

pub fn begin(world: &World, rng: &mut SmallRng) -> Evidence {
    let mut evidence = Evidence::new(&world.metrics, world.interval);
    let several = world.pods.max(1);
    let pod = |rng: &mut SmallRng, at: usize| {
        let name = if world.pods == 0 { String::new() } else { format!("pod-{at}") };
        (name, sample(rng, &world.stable, world.rps * world.interval / several as f64))
    };
    let windows = (0..world.history).map(|_| (0..several).map(|at| pod(rng, at)).collect()).collect();
    let history = History { interval_seconds: world.interval, windows, by_pod: world.pods > 0 };
    evidence.calibrate(&world.metrics, &history, &steps(world.hold), 1);
    evidence
}

/// At most `deadline` windows a step.
pub fn rollout(world: &World, seed: u64, deadline: u32) -> Run {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut evidence = begin(world, &mut rng);
    let mut run = Run::default();
    let mut at = 0;
    for step in steps(world.hold) {
        evidence.begin_step(&world.metrics, &step);
        let mut passed = false;
        for k in 1..=(if step.weight < 1.0 { deadline } else { world.hold }) {
            let window = window(world, &mut rng, at, step.weight);
            at += 1;
            evidence.add(&world.metrics, &step, &window);
            let judgement = evidence.judge(&world.metrics, &step);
            run.held |= judgement.hold_limit;
            if judgement.verdict == Verdict::Fail {
                run.failed = Some(at);
                run.by.clone_from(&judgement.metrics[0].metric);
                return run;
            }
            if k >= world.hold && judgement.verdict == Verdict::Pass {
                run.passed.push(k);
                passed = true;
                break;
            }
        }
        if !passed && step.weight < 1.0 {
            return run;
        }
    }
    run
}

pub fn median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(u32::MAX)
}

/// Runs, those that failed, and the median window of the failure.
pub fn detected(world: &World, runs: u64, deadline: u32) -> (usize, u32) {
    let failed: Vec<u32> = (0..runs).filter_map(|seed| rollout(world, seed, deadline).failed).collect();
    (failed.len(), median(failed))
}
