//! What the judge promises, measured on simulated rollouts.

#[path = "judge/world.rs"]
mod world;

use haldane::{
    api::{EvidenceReason, Verdict},
    say,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use world::*;

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
    let world = World { canary: Version { errors: 0.01, ..healthy() }, ..base };
    let (count, at) = detected(&world, 60, 120);
    assert!(count == 60 && at <= 8, "{count} of 60, median window {at}");
    let (count, at) = detected(&World { metrics: strict(), ..world }, 60, 120);
    assert!(count == 60 && at <= 6, "without margins: {count} of 60, median window {at}");
}

#[test]
fn five_points_of_another_mix_are_found_within_six_minutes_without_margins() {
    let canary = Version { mix: vec![0.45, 0.30, 0.15, 0.07, 0.03], ..healthy() };
    let (count, at) = detected(&World { canary, metrics: strict(), ..world(100.0, 30.0, 120, 30) }, 40, 120);
    assert!(count == 40 && at <= 12, "{count} of 40, median window {at}");
}

#[test]
fn small_effects_are_found_before_the_plan_ends() {
    let version = |errors: f64| Version { errors, ..healthy() };
    let world = World { stable: version(0.01), canary: version(0.012), metrics: strict(), ..ten_pods(100.0, 30) };
    let found = (0..40).filter(|seed| scheduled(&world, *seed).failed.is_some()).count();
    assert!(found >= 33, "{found} of 40; benches/figures.rs measures it on many more");
}

#[test]
fn healthy_canaries_are_left_alone_in_every_world_without_margins() {
    let base = World { metrics: strict(), ..ten_pods(100.0, 15) };
    let with = |errors: f64, p50: f64, noise: Noise, common: Vec<Common>| {
        let version = Version { errors, p50, ..healthy() };
        World { stable: version.clone(), canary: version, noise, common, ..base.clone() }
    };
    let worlds = [
        with(0.001, 100.0, Noise::default(), vec![]),
        with(0.001, 75.0, Noise::default(), vec![]),
        with(0.01, 100.0, Noise::default(), vec![]),
        with(0.001, 100.0, Noise::bursty(), vec![]),
        with(0.01, 100.0, Noise::bursty(), vec![]),
        with(0.001, 100.0, Noise::default(), vec![Common::incident()]),
        with(0.003, 100.0, Noise::default(), vec![Common::diurnal()]),
        World { metrics: vec![errors(), latency(), drift()], ..with(0.001, 100.0, Noise::of_pods(), vec![]) },
    ];
    let failed: Vec<usize> = worlds.iter().map(|world| (0..8).filter(|seed| scheduled(world, *seed).failed.is_some()).count()).collect();
    assert!(failed.iter().sum::<usize>() <= 3, "{failed:?} of 8 each");
}

#[test]
fn an_incident_that_one_arm_shows_half_a_window_earlier_rolls_nobody_back() {
    let common = vec![Common { skew: 0.5, ..Common::incident() }];
    let base = World { common, metrics: strict(), ..ten_pods(1000.0, 15) };
    let failed = (0..12).filter(|seed| scheduled(&base, *seed).failed.is_some()).count();
    assert!(failed <= 1, "{failed} of 12");
}

#[test]
fn the_answers_of_a_healthy_binary_classifier_hold_nothing() {
    for positives in [0.005, 0.05, 0.5] {
        let version = Version { mix: vec![1.0 - positives, positives], ..healthy() };
        let base = World { stable: version.clone(), canary: version, metrics: vec![drift()], ..ten_pods(100.0, 10) };
        let held = (0..30).filter(|seed| scheduled(&base, *seed).held).count();
        assert!(held <= 1, "{held} of 30 held at {positives}");
    }
}

#[test]
fn a_shift_that_begins_long_after_the_planned_windows_is_found_soon() {
    let canary = Version { mix: vec![0.20, 0.55, 0.15, 0.07, 0.03], ..healthy() };
    let base = World { canary, onset: 200, ..world(300.0, 2.0, 120, 10) };
    let windows: Vec<u32> = (0..10).filter_map(|seed| in_first_step(&base, seed, 400)).map(|at| at - base.onset).collect();
    assert!(windows.len() == 10 && median(windows.clone()) <= 40, "{windows:?}");
}

#[test]
fn half_of_the_history_makes_healthy_steps_hardly_slower() {
    let base = world(100.0, 30.0, 60, 10);
    let windows = median((0..20).filter_map(|seed| rollout(&base, seed, 120).passed.first().copied()).collect());
    assert!(windows <= 12, "median {windows} windows; the hold is 10");
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
        let mut seen = false;
        for k in 0..30 {
            let broken = Version { errors: if (10..18).contains(&k) { 0.1 } else { 0.001 }, ..healthy() };
            let world = World { stable: broken.clone(), canary: broken, ..base.clone() };
            evidence.add(&base.metrics, step, &window(&world, &mut rng, k, 0.05));
            seen |= evidence.in_incident();
        }
        assert_ne!(evidence.judge(&base.metrics, step).verdict, Verdict::Fail);
        assert!(seen, "it is seen for what it is");
        assert!(!evidence.in_incident(), "and is over");
    }
}

#[test]
fn in_a_common_incident_nothing_passes_and_afterwards_the_step_is_judged_again() {
    let base = world(100.0, 30.0, 120, 10);
    let mut rng = SmallRng::seed_from_u64(3);
    let mut evidence = begin(&base, &mut rng);
    let step = &steps(10)[0];
    evidence.begin_step(&base.metrics, step);
    let mut said = Vec::new();
    for k in 0..40 {
        let errors = if (12..20).contains(&k) { 0.1 } else { 0.001 };
        let version = Version { errors, ..healthy() };
        let world = World { stable: version.clone(), canary: version, ..base.clone() };
        evidence.add(&base.metrics, step, &window(&world, &mut rng, k, 0.05));
        let judgement = evidence.judge(&base.metrics, step);
        assert!(judgement.incident.is_none() || judgement.verdict != Verdict::Pass);
        said.push((judgement.incident.map(|incident| incident.after_raise), judgement.windows, judgement.verdict));
    }
    assert_eq!(said[11], (None, 12, Verdict::Pass));
    let degraded: Vec<usize> = (0..40).filter(|k| said[*k].0.is_some()).collect();
    assert_eq!(degraded, (13..24).collect::<Vec<_>>(), "two windows show it, five as before end it");
    assert_eq!((said[13].0, said[24].1), (Some(false), 0));
    assert_eq!(said[39].2, Verdict::Pass);
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
    assert_eq!((judgement.verdict, judgement.metrics[0].evidence.reason), (Verdict::Inconclusive, Some(EvidenceReason::Bake)));
    let broken = World { canary: Version { errors: 0.10, ..healthy() }, ..base.clone() };
    for k in 14..19 {
        evidence.add(&base.metrics, &all[3], &window(&broken, &mut rng, k, 1.0));
    }
    let judgement = say::judged(evidence.judge(&base.metrics, &all[3]), &base.metrics);
    assert_eq!((judgement.verdict, judgement.metrics[0].metric.as_str()), (Verdict::Fail, "errorRate"));
    assert!(judgement.metrics[0].message.contains("before the switch"), "{}", judgement.metrics[0].message);
}
