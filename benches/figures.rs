//! Prints figures of docs/statistics.md: `cargo bench --bench figures`; names (`history`, `late`, `small`, `healthy`, `look`) choose some.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench, with the world of the tests")]

#[path = "../tests/judge/world.rs"]
mod world;

use haldane::api::Verdict;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use world::*;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let parts: [(&str, fn()); 5] = [("history", figures), ("late", late), ("small", small), ("healthy", passing), ("look", look)];
    for (name, part) in parts {
        if asked.is_empty() || asked.iter().any(|one| one == name) {
            part();
        }
    }
}

/// 1 to 1.2 % errors at 100 requests a second, 15 minutes at each of three weights, no margins, an hour of history.
fn small() {
    let version = |errors: f64| Version { errors, ..healthy() };
    let world = World { stable: version(0.01), canary: version(0.012), metrics: strict(), ..ten_pods(100.0, 30) };
    let failed: Vec<u32> = (0..500).filter_map(|seed| scheduled(&world, seed).failed).collect();
    println!("1 to 1.2 % at 100 rps: {:.1} % of 500 found, median {} min", failed.len() as f64 / 5.0, f64::from(median(failed)) / 2.0);
}

/// Healthy canaries, hold 5 min, deadline 1 h, default limits.
fn passing() {
    for (name, noise) in [("quiet", Noise::default()), ("bursty", Noise::bursty())] {
        for (rps, errors) in [(10.0, 0.001), (10.0, 0.01), (50.0, 0.001), (50.0, 0.01), (100.0, 0.001), (100.0, 0.01)] {
            let version = Version { errors, ..healthy() };
            let world = World { stable: version.clone(), canary: version, noise: noise.clone(), ..ten_pods(rps, 10) };
            let runs: Vec<Run> = (0..200).map(|seed| rollout(&world, seed, 120)).collect();
            let promoted: Vec<u32> = runs.iter().filter(|run| run.promoted()).map(|run| run.passed.iter().sum()).collect();
            let by_holds = runs.iter().filter(|run| run.promoted() && run.passed.iter().all(|windows| *windows == 10)).count();
            println!(
                "{name}, {rps} rps, errors {} %: {:.1} % of 200 promoted, median {} min; in {:.1} % no step took longer than its hold; {} rolled back, {} held",
                100.0 * errors,
                promoted.len() as f64 / 2.0,
                f64::from(median(promoted)) / 2.0,
                by_holds as f64 / 2.0,
                runs.iter().filter(|run| run.failed.is_some()).count(),
                runs.iter().filter(|run| run.held).count(),
            );
        }
    }
}

/// One look of one rollout: three metrics, 20 buckets, 10 classes. The quickest of many, which is what the machine takes when it is left alone.
fn look() {
    let bounds: Vec<f64> = (1..=20).map(|bound| 5.0 * 1.45f64.powi(bound)).collect();
    let classes = [0.30, 0.20, 0.15, 0.10, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01];
    let base = World {
        stable: Version { mix: classes.to_vec(), ..healthy() },
        canary: Version { mix: classes.to_vec(), ..healthy() },
        ..ten_pods(100.0, 30)
    };
    let mut rng = SmallRng::seed_from_u64(1);
    let with_bounds = |mut window: haldane::counts::Window, rng: &mut SmallRng| {
        for sample in [&mut window.stable, &mut window.canary] {
            if let Some(haldane::counts::Counts::Histogram { bounds: kept, above, total }) = sample.get_mut("latency") {
                let mut left = *total;
                let counts = bounds.iter().map(|bound| {
                    left = left.min(noise::draw(rng, *total, noise::above(&base.stable, *bound)));
                    left
                });
                (*above, *kept) = (counts.collect(), bounds.clone());
            }
        }
        window
    };
    let step = &steps(30)[0];
    let windows: Vec<_> = (0..120).map(|at| with_bounds(window(&base, &mut rng, at, 0.05), &mut rng)).collect();
    let mut evidence = haldane::judge::Evidence::new(&base.metrics, 30.0);
    evidence.calibrate(&base.metrics, &haldane::counts::History::default(), &steps(30), 1);
    evidence.begin_step(&base.metrics, step);
    windows.iter().take(25).for_each(|window| evidence.add(&base.metrics, step, window));
    let clock = haldane::clock::Clock::system();
    let once = || {
        let (mut evidence, begin) = (evidence.clone(), clock.elapsed());
        for window in &windows[25..] {
            evidence.add(&base.metrics, step, window);
            std::hint::black_box(evidence.judge(&base.metrics, step));
        }
        (clock.elapsed() - begin).as_secs_f64() / 95.0
    };
    let quickest = (0..100).map(|_| once()).fold(f64::MAX, f64::min);
    println!("one look: {:.0} microseconds", 1e6 * quickest);
    assert!(quickest < 1e-4, "a look of one rollout must take at most 100 microseconds");
}

/// The tables.
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

/// How soon a regression is seen that begins when the planned windows of a step are over.
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
