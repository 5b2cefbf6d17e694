//! The real parts themselves: what the other stories stand on.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    load::{band, failed, from_version},
    world::{PROMETHEUS, SOON, Shape, World, story},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn weights_reach_the_traffic_and_both_reporters_count_every_request_once() {
    story("stack", async |world| {
        world.models(Shape::Sidecars, &[("ERRORS", "0.2"), ("SHIFT", "2.5")]).await;
        let load = world.load(300.0);
        let record = world.record().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.set_weights("kubectl-edit", 80, 20).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let at = record.changes().last().copied().unwrap();
        assert_eq!(at.1, 20);
        let split = load.between(at.0 + Duration::from_secs(1), Instant::now());
        let (low, high) = band(split.len(), 0.2);
        assert!((low..=high).contains(&from_version(&split, "v2")), "{} of {}", from_version(&split, "v2"), split.len());
        let answers = load.stop().await;
        assert!(failed(&answers).iter().all(|a| a.version == "v2" && a.status == 500), "{:?}", failed(&answers).first());

        let (v1, v2) = (from_version(&answers, "v1") as f64, from_version(&answers, "v2") as f64);
        for reporter in ["source", "destination"] {
            for (workload, sent) in [("fraud-v1", v1), ("fraud-v2", v2)] {
                let series = format!(
                    "istio_requests_total{{reporter=\"{reporter}\",destination_workload=\"{workload}\",NS,request_protocol=\"http\"}}"
                );
                // The answers to /healthz, which say that the gateway knows the way, are counted too.
                until_value(world, &series, "destination_workload_namespace", |counted| (sent..=sent + 30.0).contains(&counted)).await;
            }
        }
        for (version, low, high) in [("v1", 0.15, 0.4), ("v2", 0.55, 0.95)] {
            let series = |class: &str| format!("model_prediction_class_total{{version=\"{version}\",NS{class}}}");
            let share = format!("sum({}) / sum({})", series(",class=\"fraud\""), series(""));
            until_value(world, &share, "namespace", |share| (low..high).contains(&share)).await;
        }
    })
    .await;
}

/// Asks Prometheus for one number; `NS` becomes a matcher of this namespace. NaN where there is none.
pub(super) async fn value(world: &World, query: &str, label: &str) -> f64 {
    let query = query.replace("NS", &format!("{label}=\"{}\"", world.namespace));
    let query = if query.starts_with("sum") { query } else { format!("sum({query})") };
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let answer = client.get(format!("{PROMETHEUS}/api/v1/query")).query(&[("query", &query)]).send().await;
    let body: Value = match answer {
        Ok(answer) => answer.json().await.unwrap_or_default(),
        Err(_) => Value::Null,
    };
    body["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok()).unwrap_or(f64::NAN)
}

/// The same, again and again.
pub(super) async fn until_value(world: &World, query: &str, label: &str, wanted: impl Fn(f64) -> bool) {
    let begin = Instant::now();
    loop {
        let value = value(world, query, label).await;
        if wanted(value) {
            return;
        }
        assert!(begin.elapsed() < SOON, "{query}: {value}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
