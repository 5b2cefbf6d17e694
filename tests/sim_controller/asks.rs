//! What one update asks Prometheus.

use std::collections::BTreeMap;

use haldane::api::Phase;
use serde_json::json;

use crate::stage::{Stage, better, rollout};

#[tokio::test(start_paused = true)]
async fn an_update_of_four_steps_with_looks_each_10_s_asks_few_questions() {
    let mut stage = Stage::set(71).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    let metrics = json!([{"errorRate": {}}, {"latency": {}}]);
    let spec = json!({"strategy": {"canary": {"hold": "10s"}}, "analysis": {"interval": "10s", "metrics": metrics}});
    stage.world.apply(&rollout("v2", spec)).await.unwrap();
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let asked = stage.world.prometheus().asked();
    for asked in &asked {
        let kind = match asked.query.as_str() {
            query if query.contains("response_flags") => "requests that nobody answered",
            query if query.starts_with("{__name__=~\"up|") => "looks",
            query if query.starts_with("vector(") || query.starts_with("group") || query.starts_with("up{") => "preflight",
            query if query.starts_with("istio_requests_total") => "glances",
            query if query.contains("pod=~") => "history",
            _ => "preflight",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("{} questions: {kinds:?}", asked.len());
    let looks = kinds["looks"];
    assert!(kinds["preflight"] <= 4, "{kinds:?}");
    assert!(kinds["history"] <= 2, "{kinds:?}");
    // Not where the canary answered its share.
    assert!(3 * kinds["requests that nobody answered"] <= 2 * looks, "{kinds:?}");
    // Two looks of a step show a window, at least; in virtual time none waits for a machine.
    let glances = kinds["glances"];
    assert!(3 * (asked.len() - glances) <= 18 + 5 * looks && looks <= 24, "{} questions: {kinds:?}", asked.len());
    // Scrapes are a second apart here; at 100 % there is nothing to glance at.
    assert!(glances <= 10 * looks, "{kinds:?}");
}
