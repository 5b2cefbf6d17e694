//! scratch
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use haldane::api::Rollout;
use haldane::plan::Plan;
use haldane::rehearse::*;
use std::time::Instant;

fn main() {
    let manifest = "
apiVersion: haldane.dev/v1alpha1
kind: Rollout
metadata: {name: fraud, namespace: ml}
spec:
  traffic: {virtualService: fraud}
  canary: {subset: v2}
  strategy: {canary: {hold: 15m, deadline: 15m}}
  analysis:
    metrics:
    - errorRate: {}
    - latency: {}
    - drift: {counter: c, class: class}
";
    let rollout: Rollout = serde_yaml::from_str(manifest).unwrap();
    let plan = Plan::parse(&rollout.spec).unwrap();
    let scenario = Scenario::read("", Some("100"), &[], &[]).unwrap();
    let metrics = plan.analysis.metrics.clone();
    let setup = Setup { plan, interval: 30.0, stable_pods: 10, canary_pods: 1, hands: Hands::PromoteAtDeadline };
    let n = 20;
    let (mut a, mut b, mut c) = (0.0, 0.0, 0.0);
    let mut played = Vec::new();
    for run in 0..n {
        let t = Instant::now();
        let mut world = World::new(&scenario, &metrics, 100.0, 30.0, seed_of(1, run));
        let history = world.history();
        a += t.elapsed().as_secs_f64();
        let t = Instant::now();
        let steps = haldane::observe::brief::terms(&setup.plan);
        let mut e = haldane::judge::Evidence::new(&metrics, 30.0);
        e.calibrate(&metrics, &history, &steps, 1);
        b += t.elapsed().as_secs_f64();
        let t = Instant::now();
        played.push(play(&setup, &history, &mut |s, e, k, w| Some(world.window(s, e, w, scenario.canary_pods(k))), false));
        c += t.elapsed().as_secs_f64();
    }
    println!("history {:.1} ms, calibrate {:.1} ms, play {:.1} ms", a / n as f64 * 1e3, b / n as f64 * 1e3, c / n as f64 * 1e3);
    println!("{:?}", Tally::of(100.0, 1, &played));
}
