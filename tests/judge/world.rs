//! Simulated rollouts through [`Evidence`]: what the statistics promise, measured.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "the world of tests and of benches, none of which uses all of it"
)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use haldane::api::Verdict;
use haldane::counts::{History, Sample, Window};
use haldane::judge::{Evidence, StepTerms};
use haldane::plan::{DistanceLimits, Drift, DriftSource, ErrorRate, Latency, Metric, MetricKind, Share, ShareLimits, StretchLimits};

#[path = "noise.rs"]
pub(crate) mod noise;
pub(crate) use noise::{Arm, Noise, Version};

pub(crate) const MIX: [f64; 5] = [0.50, 0.25, 0.15, 0.07, 0.03];

pub(crate) fn healthy() -> Version {
    Version { errors: 0.001, p50: 100.0, added_ms: 0.0, mix: MIX.to_vec() }
}

/// Something that happens to both arms between two windows of the rollout, from 0.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub from: f64,
    pub to: f64,
    /// Error rate of both arms meanwhile.
    pub errors: f64,
    /// Factor of latency.
    pub latency: f64,
    /// Points of the first class that go to the second one.
    pub mix: f64,
    /// It grows from nothing at `from` to the whole at `to`.
    pub ramp: bool,
    /// The canary's counts show it so many windows earlier.
    pub skew: f64,
}

impl Common {
    /// 10 % errors and half as slow again, from minute 8 to 12 in windows of 30 s.
    pub(crate) fn incident() -> Self {
        Self { from: 16.0, to: 24.0, errors: 0.10, latency: 1.5, mix: 0.0, ramp: false, skew: 0.0 }
    }

    /// Errors from 0.3 to 0.9 %, 20 % slower and ten points of another mix, over 45 minutes.
    pub(crate) fn diurnal() -> Self {
        Self { from: 0.0, to: 90.0, errors: 0.009, latency: 1.2, mix: 0.10, ramp: true, skew: 0.0 }
    }

    /// What is left of `version` in a window.
    fn over(&self, version: &Version, at: f64, skew: f64) -> Version {
        let inside = |from: f64, to: f64| ((at + 1.0 + skew).min(to) - (at + skew).max(from)).clamp(0.0, 1.0);
        let part = if self.ramp { ((at + 0.5 - self.from) / (self.to - self.from)).clamp(0.0, 1.0) } else { inside(self.from, self.to) };
        let mut version = version.clone();
        version.errors += part * (self.errors - version.errors).max(0.0);
        version.p50 *= 1.0 + part * (self.latency - 1.0);
        version.mix[0] -= part * self.mix;
        version.mix[1] += part * self.mix;
        version
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub rps: f64,
    pub interval: f64,
    /// Windows of stable before the rollout.
    pub history: usize,
    /// Stable pods; 0: they cannot be told apart.
    pub pods: usize,
    /// Canary pods at each of the three steps.
    pub canary_pods: [usize; 3],
    /// Windows of the hold.
    pub hold: u32,
    pub stable: Version,
    pub canary: Version,
    /// The canary is like stable before this window.
    pub onset: u32,
    pub noise: Noise,
    pub common: Vec<Common>,
    pub metrics: Vec<Metric>,
}

pub(crate) fn errors() -> Metric {
    Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default()))
}

pub(crate) fn latency() -> Metric {
    Metric::new("latency", MetricKind::Latency(Latency::default()))
}

fn source() -> DriftSource {
    DriftSource::Counter { metric: "model_prediction_class_total".into(), class: "class".into() }
}

pub(crate) fn drift() -> Metric {
    Metric::new("drift", MetricKind::Drift(Drift { source: source(), limits: DistanceLimits::default() }))
}

/// The three metrics with fail margins of nothing.
pub(crate) fn strict() -> Vec<Metric> {
    vec![
        Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate(ShareLimits { relative: 1.0, absolute: 0.0, pass: 0.002 }))),
        Metric::new(
            "latency",
            MetricKind::Latency(Latency { limits: StretchLimits { stretch: 0.0, ..StretchLimits::default() }, ..Latency::default() }),
        ),
        Metric::new(
            "drift",
            MetricKind::Drift(Drift { source: source(), limits: DistanceLimits { rollback: 0.0, ..DistanceLimits::default() } }),
        ),
    ]
}

pub(crate) fn world(rps: f64, interval: f64, history: usize, hold: u32) -> World {
    World {
        rps,
        interval,
        history,
        pods: 3,
        canary_pods: [1; 3],
        hold,
        stable: healthy(),
        canary: healthy(),
        onset: 0,
        noise: Noise::default(),
        common: Vec::new(),
        metrics: vec![errors(), latency(), drift()],
    }
}

/// Windows of 30 s, an hour of history of ten pods, one, two and five of the canary.
pub(crate) fn ten_pods(rps: f64, hold: u32) -> World {
    World { pods: 10, canary_pods: [1, 2, 5], ..world(rps, 30.0, 120, hold) }
}

pub(crate) fn steps(hold: u32) -> Vec<StepTerms> {
    let step = |weight: f64, next_weight: f64| {
        let share = Share::weight((100.0 * weight).round() as u8);
        StepTerms { weight, next_weight, planned_windows: hold, without: Vec::new(), share, kind: 0 }
    };
    vec![step(0.05, 0.2), step(0.2, 0.5), step(0.5, 1.0), step(1.0, 1.0)]
}

/// How a rollout went: windows in each step until it passed with its hold over; the window (of all) in which it failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub passed: Vec<u32>,
    pub failed: Option<u32>,
    pub held: bool,
    /// The metric that failed it.
    pub by: String,
}

impl Run {
    pub(crate) fn promoted(&self) -> bool {
        self.failed.is_none() && self.passed.len() == 3
    }
}

/// The two arms of a rollout under way.
pub(crate) struct Arms {
    pub stable: Arm,
    pub canary: Arm,
}

impl Arms {
    pub(crate) fn new(world: &World, rng: &mut SmallRng) -> Self {
        let stable = Arm::new(world.pods.max(1), &world.noise, rng);
        let canary = Arm::new(*world.canary_pods.iter().max().unwrap(), &world.noise, rng);
        Self { stable, canary }
    }

    /// One window of both.
    pub(crate) fn window(&mut self, world: &World, rng: &mut SmallRng, at: u32, weight: f64) -> Window {
        let requests = world.rps * world.interval;
        let time = |k: u32| Timestamp::from_millisecond(1_700_000_000_000 + (f64::from(k) * world.interval * 1000.0) as i64).unwrap();
        let canary = if at < world.onset { &world.stable } else { &world.canary };
        let now = |version: &Version, early: bool| {
            let over = |version: Version, common: &Common| common.over(&version, f64::from(at), if early { common.skew } else { 0.0 });
            world.common.iter().fold(version.clone(), over)
        };
        let pods = world.canary_pods[if weight < 0.1 { 0 } else { usize::from(weight >= 0.35) + 1 }];
        let stable = self.stable.window(&now(&world.stable, false), &world.noise, requests * (1.0 - weight), world.pods.max(1), rng);
        let canary = self.canary.window(&now(canary, true), &world.noise, requests * weight, pods, rng);
        // Pods are not told: in these worlds latency does not depend on load.
        Window { start: time(at), end: time(at + 1), weight, stable: sum(stable), canary: sum(canary), stable_pods: 0, canary_pods: 0 }
    }
}

fn sum(pods: Vec<Sample>) -> Sample {
    pods.into_iter().reduce(noise::add).unwrap_or_default()
}

pub(crate) fn window(world: &World, rng: &mut SmallRng, at: u32, weight: f64) -> Window {
    Arms::new(world, rng).window(world, rng, at, weight)
}

pub(crate) fn begin(world: &World, rng: &mut SmallRng) -> Evidence {
    let mut stable = Arm::new(world.pods.max(1), &world.noise, rng);
    begin_with(world, &mut stable, rng)
}

fn begin_with(world: &World, stable: &mut Arm, rng: &mut SmallRng) -> Evidence {
    let mut evidence = Evidence::new(&world.metrics, world.interval);
    let several = world.pods.max(1);
    let mut window = || -> BTreeMap<String, Sample> {
        let pods = stable.window(&world.stable, &world.noise, world.rps * world.interval, several, rng);
        let name = |at: usize| if world.pods == 0 { String::new() } else { format!("pod-{at}") };
        pods.into_iter().enumerate().map(|(at, sample)| (name(at), sample)).collect()
    };
    let windows = (0..world.history).map(|_| window()).collect();
    let history = History { interval_seconds: world.interval, windows, by_pod: world.pods > 0 };
    evidence.calibrate(&world.metrics, &history, &steps(world.hold), world.canary_pods[0] as u32);
    evidence
}

/// At most `deadline` windows a step.
pub(crate) fn rollout(world: &World, seed: u64, deadline: u32) -> Run {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut arms = Arms::new(world, &mut rng);
    let mut evidence = begin_with(world, &mut arms.stable, &mut rng);
    let mut run = Run::default();
    let mut at = 0;
    for step in steps(world.hold) {
        evidence.begin_step(&world.metrics, &step);
        let mut passed = false;
        for k in 1..=(if step.weight < 1.0 { deadline } else { world.hold }) {
            let window = arms.window(world, &mut rng, at, step.weight);
            at += 1;
            evidence.add(&world.metrics, &step, &window);
            let judgement = evidence.judge(&world.metrics, &step);
            run.held |= judgement.hold_limit;
            if judgement.verdict == Verdict::Fail {
                run.failed = Some(at);
                run.by.clone_from(&judgement.metrics[0].evidence.metric);
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

/// A rollout whose steps last as long as their holds, whatever is proved: the window in which it failed, and the metric.
pub(crate) fn scheduled(world: &World, seed: u64) -> Run {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut arms = Arms::new(world, &mut rng);
    let mut evidence = begin_with(world, &mut arms.stable, &mut rng);
    let mut run = Run::default();
    for (index, step) in steps(world.hold).iter().enumerate().take(3) {
        evidence.begin_step(&world.metrics, step);
        for k in 0..world.hold {
            let at = index as u32 * world.hold + k;
            evidence.add(&world.metrics, step, &arms.window(world, &mut rng, at, step.weight));
            let judgement = evidence.judge(&world.metrics, step);
            run.held |= judgement.hold_limit;
            if judgement.verdict == Verdict::Fail {
                (run.failed, run.by) = (Some(at + 1), judgement.metrics[0].evidence.metric.clone());
                return run;
            }
        }
    }
    run
}

/// The window in which a rollout that stays in its first step fails.
pub(crate) fn in_first_step(world: &World, seed: u64, most: u32) -> Option<u32> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut arms = Arms::new(world, &mut rng);
    let mut evidence = begin_with(world, &mut arms.stable, &mut rng);
    let step = &steps(world.hold)[0];
    evidence.begin_step(&world.metrics, step);
    (1..=most).find(|at| {
        evidence.add(&world.metrics, step, &arms.window(world, &mut rng, at - 1, step.weight));
        evidence.judge(&world.metrics, step).verdict == Verdict::Fail
    })
}

pub(crate) fn median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(u32::MAX)
}

/// Runs, those that failed, and the median window of the failure.
pub(crate) fn detected(world: &World, runs: u64, deadline: u32) -> (usize, u32) {
    let failed: Vec<u32> = (0..runs).filter_map(|seed| rollout(world, seed, deadline).failed).collect();
    (failed.len(), median(failed))
}
