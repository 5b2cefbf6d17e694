//! `haldane doctor` against real parts: nothing is wrong with a healthy stage, and a subset that is taken away is named.

use serde_json::{Value, json};

use super::{
    commands::haldane,
    promote::baseline,
    world::{PROMETHEUS, SOON, Shape, World, judged, story},
};

/// The findings of one level, as `check: fact`.
async fn found(world: &World, level: &str) -> (i32, Vec<String>) {
    let (code, out, err) = haldane(world, &["doctor", "--prometheus", PROMETHEUS, "-o", "json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let of = |list: &Value| list.as_array().unwrap().clone();
    let rollouts = of(&report["rollouts"]);
    let all = of(&report["cluster"]).into_iter().chain(rollouts.iter().flat_map(|one| of(&one["findings"])));
    let all = all.filter(|finding| finding["level"] == level);
    (code, all.map(|one| format!("{}: {}", one["check"].as_str().unwrap(), one["fact"].as_str().unwrap())).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_stage_has_no_failure_and_a_subset_that_is_gone_is_named() {
    story("doctor", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let _load = world.load(100.0);
        baseline().await;
        let mut plan = judged("6s");
        plan["spec"]["canary"]["subset"] = json!("v1");
        world.apply(&plan);
        world.until_phase("Idle", SOON).await;
        let (code, fails) = found(world, "fail").await;
        assert_eq!((code, fails), (0, vec![]));
        let (_, fine) = found(world, "ok").await;
        for check in
            ["crd", "controller", "version", "rights", "istio", "prometheus", "status", "route", "start", "proxies", "series", "answers"]
        {
            assert!(fine.iter().any(|one| one.starts_with(&format!("{check}: "))), "{check} of {fine:#?}");
        }

        let rule = json!({ "spec": { "subsets": [{ "name": "v1", "labels": { "version": "v1" } }] } });
        world.kubectl(&["patch", "destinationrule", "fraud", "--type", "merge", "--patch", &rule.to_string()]);
        world.edit(json!({ "spec": { "canary": { "subset": "v2" } } })).await;
        world.until_phase("Waiting", SOON).await;
        let (code, fails) = found(world, "fail").await;
        assert_eq!(code, 1);
        assert!(fails.iter().any(|one| one.starts_with("versions: canary is subset v2, which no DestinationRule of")), "{fails:#?}");
    })
    .await;
}
