//! Simulated rollouts through [`Evidence`]: what the statistics promise, measured.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Binomial, Distribution, Poisson};

use super::*;
use crate::counts::Sample;
use crate::plan::DriftSource;

const BOUNDS: [f64; 14] = [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0];
const MIX: [f64; 5] = [0.50, 0.25, 0.15, 0.07, 0.03];

/// What one version does: error rate, latency (lognormal, p99 four times p50), classes.
#[derive(Clone)]
struct Version {
    errors: f64,
    p50: f64,
    added_ms: f64,
    mix: Vec<f64>,
}

fn healthy() -> Version {
    Version { errors: 0.001, p50: 100.0, added_ms: 0.0, mix: MIX.to_vec() }
}

#[derive(Clone)]
struct World {
    rps: f64,
    interval: f64,
    history: usize,
    /// Stable pods in the history; 0: they cannot be told apart.
    pods: usize,
    hold: u32,
    stable: Version,
    canary: Version,
    metrics: Vec<Metric>,
}

fn errors() -> Metric {
    Metric { name: "errorRate".into(), kind: MetricKind::ErrorRate { relative: 1.1, absolute: 0.0005, pass: 0.002 } }
}

fn latency() -> Metric {
    Metric { name: "latency".into(), kind: MetricKind::Latency { stretch: 0.05, pass: 0.10 } }
}

fn drift() -> Metric {
    let source = DriftSource::Counter { metric: "model_prediction_class_total".into(), class: "class".into() };
    Metric { name: "drift".into(), kind: MetricKind::Drift { source, hold: 0.05, rollback: 0.15, pass: 0.10 } }
}

fn world(rps: f64, interval: f64, history: usize, hold: u32) -> World {
    World { rps, interval, history, pods: 3, hold, stable: healthy(), canary: healthy(), metrics: vec![errors(), latency(), drift()] }
}

fn draw(rng: &mut SmallRng, n: u64, p: f64) -> u64 {
    Binomial::new(n, p.clamp(0.0, 1.0)).unwrap().sample(rng)
}

fn above(version: &Version, bound: f64) -> f64 {
    let bound = bound - version.added_ms;
    if bound <= 0.0 {
        1.0
    } else {
        0.5 * statrs::function::erf::erfc((bound / version.p50).ln() / (4f64.ln() / 2.326) / std::f64::consts::SQRT_2)
    }
}

/// A sample with the given expected number of requests.
fn sample(rng: &mut SmallRng, version: &Version, mean: f64) -> Sample {
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

fn steps(hold: u32) -> Vec<StepTerms> {
    let step = |weight: f64, next_weight: f64| StepTerms { weight, next_weight, planned_windows: hold, without: Vec::new() };
    vec![step(0.05, 0.2), step(0.2, 0.5), step(0.5, 1.0), step(1.0, 1.0)]
}

/// How a rollout went: windows in each step until it passed with its hold over; the window (of all) in which it failed.
#[derive(Debug, Default)]
struct Run {
    passed: Vec<u32>,
    failed: Option<u32>,
    held: bool,
    by: String,
}

fn window(world: &World, rng: &mut SmallRng, at: u32, weight: f64) -> Window {
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

fn begin(world: &World, rng: &mut SmallRng) -> Evidence {
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
fn rollout(world: &World, seed: u64, deadline: u32) -> Run {
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

fn median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(u32::MAX)
}

/// Runs, those that failed, and the median window of the failure.
fn detected(world: &World, runs: u64, deadline: u32) -> (usize, u32) {
    let failed: Vec<u32> = (0..runs).filter_map(|seed| rollout(world, seed, deadline).failed).collect();
    (failed.len(), median(failed))
}

/// The figures of docs/statistics.md: `cargo test --lib judge::simulated::figures -- --ignored --nocapture`.
#[test]
#[ignore = "prints the figures of docs/statistics.md"]
fn figures() {
    for (rps, interval, hold, deadline) in [(300.0, 2.0, 10, 900), (300.0, 2.0, 5, 900), (100.0, 30.0, 10, 120)] {
        for history in [0, 60, 120] {
            let base = world(rps, interval, history, hold);
            let runs: Vec<Run> = (0..40).map(|seed| rollout(&base, seed, deadline)).collect();
            let step = |at: usize| f64::from(median(runs.iter().filter_map(|run| run.passed.get(at)).copied().collect())) * interval;
            let most = |at: usize| f64::from(runs.iter().filter_map(|run| run.passed.get(at)).copied().max().unwrap_or(0)) * interval;
            let promoted = runs.iter().filter(|run| run.passed.len() == 3 && run.failed.is_none()).count();
            println!(
                "{rps} rps, windows {interval} s, hold {hold}, history {history}: healthy promoted {promoted}/40, failed {}, held {}; seconds per step {} / {} / {} (most {} / {} / {})",
                runs.iter().filter(|run| run.failed.is_some()).count(),
                runs.iter().filter(|run| run.held).count(),
                step(0),
                step(1),
                step(2),
                most(0),
                most(1),
                most(2)
            );
            let bad: [(&str, Version); 7] = [
                ("errors 1 %", Version { errors: 0.01, ..healthy() }),
                ("errors 10 %", Version { errors: 0.10, ..healthy() }),
                ("errors 100 %", Version { errors: 1.0, ..healthy() }),
                ("+150 ms", Version { added_ms: 150.0, ..healthy() }),
                ("x1.3", Version { p50: 130.0, ..healthy() }),
                ("mix 20 points", Version { mix: vec![0.30, 0.45, 0.15, 0.07, 0.03], ..healthy() }),
                ("mix 30 points", Version { mix: vec![0.20, 0.55, 0.15, 0.07, 0.03], ..healthy() }),
            ];
            for (name, canary) in bad {
                let (count, at) = detected(&World { canary, ..base.clone() }, 20, deadline);
                println!("    {name}: {count}/20 rolled back, median {} s", f64::from(at) * interval);
            }
        }
    }
}

/// How soon a regression is seen that begins when the planned windows of a step are over: `cargo test --lib judge::simulated::late -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn late() {
    for (name, canary) in [
        ("errors 1 %", Version { errors: 0.01, ..healthy() }),
        ("errors 10 %", Version { errors: 0.1, ..healthy() }),
        ("+150 ms", Version { added_ms: 150.0, ..healthy() }),
        ("mix 30 points", Version { mix: vec![0.20, 0.55, 0.15, 0.07, 0.03], ..healthy() }),
    ] {
        for onset in [0, 5, 40, 200] {
            let mut found = Vec::new();
            for seed in 0..20 {
                let base = world(300.0, 2.0, 120, 10);
                let bad = World { canary: canary.clone(), ..base.clone() };
                let mut rng = SmallRng::seed_from_u64(seed);
                let mut evidence = begin(&base, &mut rng);
                let step = &steps(10)[0];
                evidence.begin_step(&base.metrics, step);
                for k in 0..onset + 1000 {
                    evidence.add(&base.metrics, step, &window(if k < onset { &base } else { &bad }, &mut rng, k, 0.05));
                    if evidence.judge(&base.metrics, step).verdict == Verdict::Fail {
                        found.push(k + 1 - onset);
                        break;
                    }
                }
            }
            println!("{name} from window {onset}: {}/20, median {} windows", found.len(), median(found));
        }
    }
}

#[test]
fn a_healthy_binary_classifier_with_rare_positives_is_hardly_ever_rolled_back() {
    let version = Version { errors: 0.001, p50: 100.0, added_ms: 0.0, mix: vec![0.995, 0.005] };
    let base = World { stable: version.clone(), canary: version, ..world(100.0, 30.0, 60, 10) };
    let failed = (0..1000).filter(|seed| rollout(&base, *seed, 40).failed.is_some()).count();
    assert!(failed <= 10, "{failed} of 1000 rolled back");
}

#[test]
fn healthy_canaries_at_100_requests_a_second_are_promoted_mostly_within_the_holds() {
    let base = world(100.0, 30.0, 120, 10);
    let runs: Vec<Run> = (0..60).map(|seed| rollout(&base, seed, 120)).collect();
    let promoted = runs.iter().filter(|run| run.failed.is_none() && run.passed.len() == 3).count();
    let windows = median(runs.iter().map(|run| run.passed.iter().sum()).collect());
    assert!(promoted >= 57, "{promoted} of 60");
    assert!(windows <= 36, "median {windows} windows; the holds are 30");
}

#[test]
fn errors_from_a_tenth_to_one_percent_are_found_within_four_minutes() {
    let base = world(100.0, 30.0, 120, 30);
    let (count, at) = detected(&World { canary: Version { errors: 0.01, ..healthy() }, ..base }, 60, 120);
    assert!(count == 60 && at <= 9, "{count} of 60, median window {at}");
}

#[test]
fn twenty_points_of_another_mix_are_found_quickly() {
    let canary = Version { mix: vec![0.30, 0.45, 0.15, 0.07, 0.03], ..healthy() };
    let (count, at) = detected(&World { canary, ..world(100.0, 30.0, 120, 10) }, 60, 120);
    assert!(count == 60 && at <= 14, "{count} of 60, median window {at}");
}

#[test]
fn ten_percent_errors_at_300_requests_a_second_are_found_in_the_first_windows_of_two_seconds() {
    let canary = Version { errors: 0.10, ..healthy() };
    let (count, at) = detected(&World { canary, ..world(300.0, 2.0, 120, 10) }, 60, 120);
    assert!(count == 60 && at <= 3, "{count} of 60, median window {at}");
}

#[test]
fn without_history_a_bad_canary_is_found_soon_after_calibration() {
    let canaries = [
        Version { errors: 0.10, ..healthy() },
        Version { added_ms: 150.0, ..healthy() },
        Version { mix: vec![0.20, 0.55, 0.15, 0.07, 0.03], ..healthy() },
    ];
    for canary in canaries {
        let (count, at) = detected(&World { canary, ..world(300.0, 2.0, 0, 10) }, 30, 120);
        assert!(count == 30 && at <= 45, "{count} of 30, median window {at}");
    }
}

#[test]
fn where_pods_cannot_be_told_apart_bad_canaries_are_found_and_good_ones_promoted() {
    let base = World { pods: 0, ..world(300.0, 2.0, 120, 10) };
    let canaries = [
        (Version { errors: 0.10, ..healthy() }, 15),
        (Version { added_ms: 150.0, ..healthy() }, 15),
        (Version { mix: vec![0.20, 0.55, 0.15, 0.07, 0.03], ..healthy() }, 45),
    ];
    for (canary, most) in canaries {
        let (count, at) = detected(&World { canary, ..base.clone() }, 20, 120);
        assert!(count == 20 && at <= most, "{count} of 20, median window {at}");
    }
    let runs: Vec<Run> = (0..20).map(|seed| rollout(&base, seed, 300)).collect();
    assert!(runs.iter().all(|run| run.failed.is_none() && run.passed.len() == 3), "{runs:?}");
}

#[test]
fn a_canary_that_only_fails_ends_at_once_even_before_calibration() {
    let canary = Version { errors: 1.0, ..healthy() };
    let (count, at) = detected(&World { canary, ..world(300.0, 2.0, 0, 10) }, 10, 40);
    assert!(count == 10 && at <= 4, "{count} of 10, median window {at}");
}

#[test]
fn a_common_incident_rolls_nobody_back() {
    let base = world(100.0, 30.0, 120, 10);
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut evidence = begin(&base, &mut rng);
        let step = &steps(10)[0];
        evidence.begin_step(&base.metrics, step);
        for k in 0..30 {
            let broken = Version { errors: if (10..18).contains(&k) { 0.1 } else { 0.001 }, ..healthy() };
            let world = World { stable: broken.clone(), canary: broken, ..base.clone() };
            evidence.add(&base.metrics, step, &window(&world, &mut rng, k, 0.05));
        }
        assert_ne!(evidence.judge(&base.metrics, step).verdict, Verdict::Fail);
    }
}

#[test]
fn at_full_weight_a_canary_that_breaks_is_found_against_stable_before_the_switch() {
    let base = world(100.0, 30.0, 120, 10);
    let mut rng = SmallRng::seed_from_u64(7);
    let mut evidence = begin(&base, &mut rng);
    let all = steps(10);
    evidence.begin_step(&base.metrics, &all[2]);
    for k in 0..10 {
        evidence.add(&base.metrics, &all[2], &window(&base, &mut rng, k, 0.5));
    }
    evidence.begin_step(&base.metrics, &all[3]);
    for k in 10..14 {
        evidence.add(&base.metrics, &all[3], &window(&base, &mut rng, k, 1.0));
    }
    let judgement = evidence.judge(&base.metrics, &all[3]);
    assert_eq!((judgement.verdict, judgement.metrics[0].reason), (Verdict::Inconclusive, Some(EvidenceReason::Bake)));
    let broken = World { canary: Version { errors: 0.10, ..healthy() }, ..base.clone() };
    for k in 14..19 {
        evidence.add(&base.metrics, &all[3], &window(&broken, &mut rng, k, 1.0));
    }
    let judgement = evidence.judge(&base.metrics, &all[3]);
    assert_eq!((judgement.verdict, judgement.metrics[0].metric.as_str()), (Verdict::Fail, "errorRate"));
    assert!(judgement.metrics[0].message.contains("before the switch"), "{}", judgement.metrics[0].message);
}
