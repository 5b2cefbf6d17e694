//! The dashboards and the alert rules of the chart on the real Prometheus, while a version is judged and after its rollback.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{
    climb::until_ended,
    hands::paused_for,
    promote::baseline,
    queries::{Query, queries},
    world::{LATER, PROMETHEUS, Shape, World, rollout, story},
};

/// Requests a second.
const RATE: f64 = 150.0;
/// Until what just happened is scraped, and scraped again.
const SCRAPED: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_query_of_the_dashboards_is_answered_while_a_version_is_judged_and_after_its_rollback() {
    story("dashboards", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let load = world.load(RATE);
        baseline().await;
        world.apply(&with_an_approval());
        world.until("a question for approval", LATER, |rollout| paused_for(rollout, "ApprovalRequired")).await;
        tokio::time::sleep(SCRAPED).await;
        let under_way = empty(world).await;
        let rollout: Vec<&Query> = under_way.iter().filter(|query| query.dashboard == "rollout").collect();
        assert!(rollout.is_empty(), "a rollout is under way, and nothing is shown of it by {rollout:#?}");
        assert!(!fires("HaldaneRolloutRolledBack", world).await);

        world.redeploy("fraud-v2", &[("ERRORS", "0.2")]).await;
        until_ended(world, "RolledBack").await;
        tokio::time::sleep(SCRAPED).await;
        let after = empty(world).await;
        let never: Vec<&Query> = under_way.intersection(&after).collect();
        assert!(never.is_empty(), "nothing is ever shown by {never:#?}");
        assert!(fires("HaldaneRolloutRolledBack", world).await);
        drop(load);
    })
    .await;
}

/// 20 %, then a person is asked. Latency is shown without weight.
fn with_an_approval() -> Value {
    let metrics = json!([
        { "errorRate": { "pass": 0.02 } },
        { "drift": { "counter": "model_prediction_class_total", "class": "class", "pass": 0.3 } },
        { "latency": { "stretch": 0.5, "pass": 1.0 }, "gate": false },
    ]);
    let steps =
        json!([{ "weight": 20, "hold": "10s" }, { "name": "half", "weight": 50, "hold": "10s", "approval": true }, { "weight": 100 }]);
    rollout(json!({ "steps": steps }), json!({ "interval": "2s", "warmUp": "1s", "metrics": metrics }))
}

/// The queries without an answer.
async fn empty(world: &World) -> BTreeSet<Query> {
    let mut without = BTreeSet::new();
    for query in queries() {
        if ask(&query.expr, world).await.is_empty() {
            println!("nothing is shown by {query:?}");
            without.insert(query);
        }
    }
    without
}

/// Does the expression of an alert rule give something for this Rollout?
async fn fires(alert: &str, world: &World) -> bool {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart/files/rules.yaml")).unwrap();
    let file: Value = serde_yaml::from_str(&text).unwrap();
    let mut rules = file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let expr = rules.find(|rule| rule["alert"] == alert).unwrap()["expr"].as_str().unwrap().to_owned();
    ask(&expr, world).await.iter().any(|series| series["metric"]["namespace"] == world.namespace.as_str())
}

/// Asks Prometheus with Grafana's variables filled in: series with a number.
async fn ask(expr: &str, world: &World) -> Vec<Value> {
    let filled = [
        ("$__rate_interval", "20s"),
        ("$__range", "10m"),
        ("$cluster", ".*"),
        ("$namespace", world.namespace.as_str()),
        ("$rollout", "fraud"),
        ("$metric", ".+"),
        ("$workload", ".*"),
        ("$reporter", "source"),
    ];
    let query = filled.iter().fold(expr.to_owned(), |query, (variable, value)| query.replace(variable, value));
    assert!(!query.contains('$'), "a variable that the test does not know: {query}");
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let answer = client.post(format!("{PROMETHEUS}/api/v1/query")).form(&[("query", query.as_str())]).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let series = answer["data"]["result"].as_array().unwrap().iter();
    series.filter(|series| series["value"][1] != "NaN").cloned().collect()
}
