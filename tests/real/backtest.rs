//! `haldane rehearse --prometheus`: a plan played on what the real Prometheus recorded.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::world::{PROMETHEUS, Shape, World, pretty, story};

const PLAN: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Rollout
metadata: {name: fraud, namespace: NAMESPACE}
spec:
  traffic: {virtualService: fraud}
  canary: {subset: v2}
  strategy: {canary: {weights: [34, 67, 100], hold: 10s, deadline: 1m}}
  analysis:
    interval: 2s
    metrics:
    - errorRate: {pass: 0.02}
    - drift: {counter: model_prediction_class_total, class: class, pass: 0.3}
";

/// Plays the plan on the last `seconds`. Exit code, standard output, standard error.
async fn rehearse(world: &World, seconds: u32, runs: u32) -> (i32, String, String) {
    let file = world.file("plan.yaml", &PLAN.replace("NAMESPACE", &world.namespace));
    let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
    command.args(["rehearse", "--prometheus", PROMETHEUS, "--scrape-interval", "1s", "-o", "json"]).arg("-f").arg(file);
    command.args(["--from", &format!("{seconds}s"), "--runs", &runs.to_string()]).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_prometheus_recorded_of_stable_is_split_against_itself_and_left_alone() {
    story("backtest", async |world| {
        world.models(Shape::Sidecars, &[]).await;
        world.kubectl(&["scale", "deployment/fraud-v1", "--replicas=3"]);
        world.ready("fraud-v1").await;
        let load = world.load(150.0);
        tokio::time::sleep(Duration::from_secs(130)).await;
        let (code, out, err) = rehearse(world, 110, 20).await;
        load.stop().await;
        assert_eq!(code, 0, "{out}{err}");
        let found: Value = serde_json::from_str(&out).unwrap();
        let tally = &found["items"][0];
        println!("{}", pretty(tally));
        let count = |field: &str| tally[field].as_u64().unwrap();
        assert_eq!((found["kind"].as_str(), count("runs")), (Some("Backtest"), 20));
        assert!(count("rolledBack") <= 2 && count("promoted") >= 10, "stable is no worse than itself: {}", pretty(&found));
        assert_eq!((found["recorded"]["workload"].as_str(), found["recorded"]["pods"].as_u64()), (Some("fraud-v1"), Some(3)));
        assert!(found["recorded"]["windows"].as_u64().unwrap() >= 45, "{}", pretty(&found));
        assert!((120.0..240.0).contains(&tally["rps"].as_f64().unwrap()), "{}", pretty(&found));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_of_a_gateway_tell_no_pods_apart_and_cannot_be_split() {
    story("backtest-gateway", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let load = world.load(100.0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let (code, out, err) = rehearse(world, 20, 5).await;
        load.stop().await;
        assert_eq!(code, 1, "{out}{err}");
        assert!(err.contains("fraud-v1 cannot be split: the counts do not tell pods apart"), "{err}");
    })
    .await;
}
