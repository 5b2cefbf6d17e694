//! `haldane rehearse --prometheus`, against the simulated Prometheus.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use std::{process::Output, time::Duration};

use haldane::clock::Clock;
use haldane::sim::{World, WorldConfig};
use serde_json::Value;
use tokio::process::Command;

const MANIFEST: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Rollout
metadata: {name: fraud, namespace: ml}
spec:
  traffic: {virtualService: fraud}
  canary: {subset: v2}
  strategy: {canary: {weights: [20, 50, 100], hold: 20s, deadline: 2m}}
  analysis:
    interval: 2s
    metrics:
    - errorRate: {}
    - latency: {}
    - drift: {counter: model_prediction_class_total, class: class}
";

async fn world(change: impl FnOnce(&mut WorldConfig)) -> World {
    let mut config = WorldConfig::new(Clock::system(), 7);
    (config.history, config.replicas) = (Duration::from_secs(900), 5);
    change(&mut config);
    World::start(config).await.unwrap()
}

/// Rehearses the manifest with these flags, in a folder of its own.
async fn rehearse(name: &str, manifest: &str, flags: &[&str]) -> Output {
    let file = std::env::temp_dir().join(format!("haldane-backtest-{}-{name}.yaml", std::process::id()));
    std::fs::write(&file, manifest).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
    let output = command.arg("rehearse").arg("-f").arg(&file).args(flags).output().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn stable_split_against_itself_is_left_alone() {
    let world = world(|_| {}).await;
    let url = world.prometheus().url();
    let flags = ["--prometheus", &url, "--from", "14m", "--scrape-interval", "1s", "--runs", "20", "-o", "json"];
    let output = rehearse("alone", MANIFEST, &flags).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tally = &found["items"][0];
    let count = |field: &str| tally[field].as_u64().unwrap_or(0);
    assert_eq!((found["kind"].as_str(), count("runs"), count("seed")), (Some("Backtest"), 20, 1));
    assert_eq!(count("promoted") + count("rolledBack") + count("held") + count("cutOff"), 20, "{found}");
    assert!(count("rolledBack") <= 2 && count("promoted") >= 14, "{found}");
    assert!((270.0..330.0).contains(&tally["rps"].as_f64().unwrap()), "{found}");
    let recorded = &found["recorded"];
    assert_eq!((recorded["workload"].as_str(), recorded["pods"].as_u64()), (Some("fraud-v1"), Some(5)));
    assert!((380..=420).contains(&recorded["windows"].as_u64().unwrap()), "{recorded}");
    assert!(found["notes"].to_string().contains("not independent"), "{found}");

    let again = rehearse("text", MANIFEST, &["--prometheus", &url, "--from", "14m", "--scrape-interval", "1s", "--runs", "5"]).await;
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(text.contains("fraud-v1 in ml, 5 pods"), "{text}");
    assert!(text.contains("1 at 20 %, 3 at 50 %, 5 at 100 %") && text.contains("false rollback"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_pods_cannot_be_told_apart_it_refuses_and_says_so() {
    let world = world(|config| config.sidecars = false).await;
    let url = world.prometheus().url();
    let output = rehearse("gateway", MANIFEST, &["--prometheus", &url, "--from", "14m", "--scrape-interval", "1s"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("fraud-v1 cannot be split: the counts do not tell pods apart"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_played_is_reported_with_the_fix() {
    let world = world(|config| config.history = Duration::from_secs(120)).await;
    let url = world.prometheus().url();
    let base = ["--prometheus", &url, "--scrape-interval", "1s"];
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--from", "80s"], 1, "but the plan needs 50: 20 before the rollout and 30 for its holds"),
        (&["--from", "110s", "--workload", "other"], 1, "no request to workload other in namespace ml"),
        (&["--from", "yesterday"], 2, "--from is \"yesterday\""),
        (&["--from", "1m", "--to", "2m"], 2, "--from is not before --to"),
        (&["--from", "300h"], 2, "at most 10000 are read"),
        (&["--from", "1h", "--rps", "10"], 2, "cannot be used with"),
    ];
    for (flags, code, words) in cases {
        let flags: Vec<&str> = base.iter().chain(flags).copied().collect();
        let output = rehearse("faults", MANIFEST, &flags).await;
        let text = said(&output);
        assert!(text.contains(words), "{flags:?}: {text}");
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text}");
    }
    let output = rehearse("down", MANIFEST, &["--prometheus", "http://127.0.0.1:1", "--from", "1h"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("Prometheus cannot be reached"), "{}", said(&output));
}
