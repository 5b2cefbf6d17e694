//! Prints the figures of docs/statistics.md: `cargo bench --bench figures`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench, with the world of the tests")]

#[path = "../tests/judge/world.rs"]
mod world;

use haldane::api::Verdict;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use world::*;

fn main() {
    figures();
    late();
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
