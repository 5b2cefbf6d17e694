//! Copies, cohorts, a switch at once, and all of it in one plan, on real proxies.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    climb::{climb, stalled, until, until_ended, while_it_had},
    commands::haldane,
    hands::paused_for,
    load::{Answer, Load, failed, from_version},
    promote::{baseline, condition},
    stack::until_value,
    ways::rule,
    world::{LATER, SOON, Shape, judged, pretty, rollout, story},
};

/// Time from a route in the API server to every request: istiod's debounce, and the watches on the way.
pub(super) const PROPAGATION: Duration = Duration::from_secs(2);

/// The users of the beta group.
pub(super) fn beta() -> Value {
    json!([{ "headers": { "x-user-group": { "exact": "beta" } } }])
}

/// Judged by nothing but the holds.
pub(super) fn by_holds(strategy: Value) -> Value {
    rollout(strategy, json!({ "interval": "2s", "warmUp": "0s", "metrics": [] }))
}

/// Copies of everything, judged by errors and predictions.
fn shadow(hold: &str) -> Value {
    let mut rollout = judged(hold);
    rollout["spec"]["strategy"] = json!({ "shadow": { "percent": 100, "acknowledgeSideEffects": true, "hold": hold } });
    rollout
}

/// All of what splits the traffic but our annotation and what the API server keeps of it, as text.
pub(super) fn bytes(object: &Value) -> String {
    let mut metadata = json!({ "labels": object["metadata"]["labels"], "annotations": object["metadata"]["annotations"] });
    if let Some(annotations) = metadata["annotations"].as_object_mut() {
        annotations.remove("haldane.dev/managed");
    }
    json!({ "metadata": metadata, "spec": object["spec"] }).to_string()
}

/// Requests sent in these times, each of which is taken to begin and to end so much later.
pub(super) fn sent(load: &Load, times: &[(Instant, Instant)], [begin, end]: [Duration; 2]) -> Vec<Answer> {
    times.iter().flat_map(|(from, to)| load.between(*from + begin, *to + end)).collect()
}

/// Requests of v2 by a reporter.
fn requests(reporter: &str) -> String {
    format!("sum(istio_requests_total{{reporter=\"{reporter}\",destination_workload=\"fraud-v2\",NS}}) or vector(0)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_users_are_answered_by_v1_while_v2_gets_copies_and_passes() {
    story("shadow", async |world| {
        world.models(Shape::Sidecars, &[]).await;
        let before = bytes(&world.route().await);
        let _controller = world.controller();
        let load = world.load(150.0);
        baseline().await;
        let record = world.record().await;
        world.apply(&shadow("72s"));
        let rollout = until_ended(world, "Passed").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let answers = load.stop().await;

        assert_eq!(climb(&record), ["0 %", "mirror of 100 %", "0 %"]);
        let times = while_it_had(&record, "mirror of 100 %");
        let during = sent(&load, &times, [Duration::ZERO; 2]);
        assert!(during.len() >= 10_000, "{} requests while v2 had copies", during.len());
        assert_eq!((from_version(&answers, "v2"), failed(&answers).len()), (0, 0), "every user's answer is v1's");
        assert_eq!(bytes(&world.route().await), before);

        // Copies are counted where they arrive and nowhere else.
        let least = sent(&load, &times, [PROPAGATION, Duration::ZERO]).len() as f64;
        let most = sent(&load, &times, [Duration::ZERO, PROPAGATION]).len() as f64 + 150.0; // and those of the second before it was seen
        until_value(world, &requests("destination"), "destination_workload_namespace", |n| (0.99 * least..=most).contains(&n)).await;
        until_value(world, &requests("source"), "destination_workload_namespace", |n| n == 0.0).await;

        let status = &rollout["status"];
        let decision = &status["decision"];
        assert!(decision["message"].as_str().unwrap().contains("(mirrored, no user saw it)"), "{}", pretty(status));
        assert_eq!(decision["exposure"]["canaryRequests"], 0, "{}", pretty(status));
        assert!(decision["exposure"]["mirroredRequests"].as_i64().is_some_and(|n| n > 5_000), "{}", pretty(status));
        assert_eq!(status["stable"]["subset"], "v1", "{}", pretty(status));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_that_errs_fails_on_copies_and_no_user_saw_it() {
    story("shadowed", async |world| {
        world.models(Shape::Sidecars, &[("ERRORS", "0.1")]).await;
        let before = bytes(&world.route().await);
        let _controller = world.controller();
        let load = world.load(150.0);
        baseline().await;
        let record = world.record().await;
        world.apply(&shadow("60s"));
        let rollout = until_ended(world, "Failed").await;
        let alert = world.until_alert("of the failure", SOON, |alert| alert["labels"]["alertname"] == "RolloutFailed").await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(climb(&record), ["0 %", "mirror of 100 %", "0 %"], "and it is not retried");
        let answers = load.stop().await;
        assert_eq!((from_version(&answers, "v2"), failed(&answers).len()), (0, 0));
        assert_eq!(bytes(&world.route().await), before);
        assert_eq!(rollout["status"]["decision"]["why"][0]["metric"], "errorRate", "{}", pretty(&rollout["status"]));
        assert!(alert["annotations"].to_string().contains("no user saw an answer"), "{alert}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_the_gateway_alone_counts_nothing_is_mirrored_and_the_reason_says_why() {
    story("unseen", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let load = world.load(150.0);
        baseline().await;
        let record = world.record().await;
        world.apply(&shadow("10s"));
        let unseen = |r: &Value| condition(r, "Ready").is_some_and(|c| c["reason"] == "MirrorUnseen");
        let rollout = world.until("MirrorUnseen", SOON, unseen).await;
        assert_eq!(rollout["status"]["phase"], "Waiting");
        let message = condition(&rollout, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("sidecars (reporter destination)") && message.contains("`without`"), "{message}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(climb(&record), ["0 %"]);
        // The model's own counter sees copies.
        world.edit(json!({ "spec": { "strategy": { "shadow": { "without": ["errorRate"] } } } })).await;
        until_ended(world, "Passed").await;
        assert_eq!(climb(&record), ["0 %", "mirror of 100 %", "0 %"]);
        assert_eq!(from_version(&load.stop().await, "v2"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_what_a_client_in_the_mesh_sends_are_judged_at_the_models_sidecars() {
    story("mesh", async |world| {
        world.models(Shape::Mesh, &[]).await;
        let before = bytes(&world.route().await);
        let _controller = world.controller();
        let load = world.client_load(150.0);
        baseline().await;
        let record = world.record().await;
        world.apply(&shadow("20s"));
        until_ended(world, "Passed").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let answers = load.stop().await;
        assert_eq!((from_version(&answers, "v2"), failed(&answers).len()), (0, 0));
        assert_eq!(bytes(&world.route().await), before);
        let least = sent(&load, &while_it_had(&record, "mirror of 100 %"), [PROPAGATION, Duration::ZERO]).len() as f64;
        until_value(world, &requests("destination"), "destination_workload_namespace", |n| n >= 0.99 * least).await;
        until_value(world, &requests("source"), "destination_workload_namespace", |n| n == 0.0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_header_cohort_and_only_it_reaches_v2_at_no_weight() {
    story("cohort", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let object = world.route().await;
        let _controller = world.controller();
        let (everybody, cohort) = (world.load(150.0), world.load_with(60.0, &[("x-user-group", "beta")]));
        let others = world.load_with(20.0, &[("x-user-group", "gold")]);
        let record = world.record().await;
        world.apply(&by_holds(json!({ "abTest": { "match": beta(), "hold": "8s", "then": "Hold" } })));
        world.until("an approval is asked for", SOON, |r| paused_for(r, "ApprovalRequired")).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let of_cohort = sent(&cohort, &while_it_had(&record, "match"), [PROPAGATION, Duration::ZERO]);
        assert!(of_cohort.len() > 300, "{}", of_cohort.len());
        assert_eq!(from_version(&of_cohort, "v1"), 0, "all of the cohort");
        assert_eq!((from_version(&everybody.answers(), "v2"), from_version(&others.answers(), "v2")), (0, 0), "and nobody else");
        assert_eq!(record.weights(), [0]);

        // Our route is a copy of the managed one.
        let now = world.route().await;
        let (own, managed) = (rule(&now, "haldane.dev/primary"), rule(&object, "primary"));
        assert_eq!((&own["timeout"], &own["retries"]), (&managed["timeout"], &managed["retries"]));

        let (code, out, err) = haldane(world, &["promote", "--step", "everybody", "--reason", "beta is content"]).await;
        assert_eq!(code, 0, "{out}{err}");
        world.until_weight(100, SOON).await;
        world.order("abort", "enough seen").await;
        world.until_phase("Aborted", SOON).await;
        assert_eq!(climb(&record), ["0 %", "match", "100 %", "0 %"]);
        assert_eq!(bytes(&world.route().await), bytes(&object));
        for load in [everybody, cohort, others] {
            assert!(failed(&load.stop().await).is_empty());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_switch_under_load_fails_no_request_and_the_way_back_takes_less_than_a_second() {
    story("switch", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let before = bytes(&world.route().await);
        let _controller = world.controller();
        let load = world.load(300.0);
        let record = world.record().await;
        world.apply(&by_holds(json!({ "blueGreen": { "preview": beta(), "hold": "5s", "bake": "8s" } })));
        world.until_phase("Promoted", LATER).await;
        let kept = |r: &Value| condition(r, "Ready").is_some_and(|c| c["message"].to_string().contains("keep v1 running until"));
        world.until("until when v1 is needed", SOON, kept).await;
        assert_eq!(climb(&record), ["0 %", "match", "100 %"]);
        let (switched, _) = while_it_had(&record, "100 %")[0];
        let after = load.between(switched + PROPAGATION, Instant::now());
        assert!(after.len() > 300, "{}", after.len());
        assert_eq!((from_version(&after, "v1"), failed(&after).len()), (0, 0));

        let (said, stalls) = (Instant::now(), stalled());
        let (code, out, err) = haldane(world, &["rollback", "--reason", "a customer complains"]).await;
        assert_eq!(code, 0, "{out}{err}");
        world.until_phase("RolledBack", SOON).await;
        let (back, weight) = record.changes().last().copied().unwrap();
        println!("from the command to the patch: {:?}", back - said);
        assert_eq!(weight, 0);
        assert!(back - said < Duration::from_secs(1) + (stalled() - stalls), "{:?}", back - said);
        tokio::time::sleep(Duration::from_secs(8)).await;
        let after = load.between(back + PROPAGATION, Instant::now());
        assert_eq!((from_version(&after, "v2"), failed(&after).len()), (0, 0));
        let answers = load.stop().await;
        assert!(failed(&answers).is_empty(), "{} of {}: {:?}", failed(&answers).len(), answers.len(), failed(&answers).first());
        assert_eq!(bytes(&world.route().await), before);
        assert_eq!(record.weights(), [0, 100, 0], "it is refused from now on");
        let status = &world.rollout().await.unwrap()["status"];
        assert_eq!(status["refused"][0]["reason"], "RolledBackAfterPromotion", "{}", pretty(status));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_then_a_cohort_then_weights_lead_to_the_end_with_one_approval() {
    story("composed", async |world| {
        world.models(Shape::Sidecars, &[]).await;
        let _controller = world.controller();
        let (load, cohort) = (world.load(110.0), world.load_with(40.0, &[("x-user-group", "beta")]));
        baseline().await;
        let record = world.record().await;
        let mut rollout = judged("8s");
        rollout["spec"]["strategy"] = json!({ "steps": [
            { "name": "shadow", "mirror": 100, "acknowledgeSideEffects": true, "hold": "8s" },
            { "name": "beta", "match": beta(), "hold": "8s" },
            { "name": "few", "weight": 5, "match": beta(), "mirror": 20, "acknowledgeSideEffects": true, "hold": "8s" },
            { "name": "half", "weight": 50, "approval": true, "hold": "8s" },
            { "name": "all", "weight": 100, "hold": "8s" },
        ] });
        world.apply(&rollout);
        let asked = |r: &Value| paused_for(r, "ApprovalRequired");
        let mut rollout = until(world, "a question for approval", asked).await;
        assert!(asked(&rollout), "{}", pretty(&rollout["status"]));
        while asked(&rollout) {
            // Once, and once more after a step back.
            let (code, out, err) = haldane(world, &["promote", "--step", "half", "--reason", "looks good"]).await;
            assert_eq!(code, 0, "{out}{err}");
            world.until("the end of the pause", SOON, |r| !asked(r)).await;
            rollout = until(world, "the end", asked).await;
        }
        assert_eq!(rollout["status"]["phase"], "Promoted", "{}", pretty(&rollout["status"]));
        assert_eq!(climb(&record), ["0 %", "mirror of 100 %", "match", "5 % + match + mirror of 20 %", "50 %", "100 %"]);
        let times = while_it_had(&record, "match");
        let of_cohort = sent(&cohort, &times, [PROPAGATION, Duration::ZERO]);
        assert_eq!(from_version(&of_cohort, "v1"), 0);
        assert_eq!(from_version(&sent(&load, &times, [PROPAGATION, Duration::ZERO]), "v2"), 0);
        for load in [load, cohort] {
            assert!(failed(&load.stop().await).is_empty());
        }
        let spec = &world.route().await["spec"];
        assert_eq!(spec["http"].as_array().unwrap().len(), 2, "our route is gone: {}", pretty(spec));
        assert_eq!(rule(&world.route().await, "primary")["mirrors"], Value::Null);
        let status = &rollout["status"];
        assert!(status["history"][0]["exposure"]["mirroredRequests"].as_i64().is_some_and(|n| n > 500), "{}", pretty(status));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abort_in_each_kind_of_step_leaves_the_virtual_service_as_it_was() {
    story("aborted", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let before = bytes(&world.route().await);
        let _controller = world.controller();
        let load = world.load(100.0);
        let together = json!([
            { "name": "few", "weight": 5, "match": beta(), "mirror": 20, "acknowledgeSideEffects": true, "hold": "300s" },
            { "name": "all", "weight": 100 },
        ]);
        let kinds = [
            (json!({ "shadow": { "acknowledgeSideEffects": true, "hold": "300s" } }), "mirror of 100 %"),
            (json!({ "abTest": { "match": beta(), "hold": "300s" } }), "match"),
            (json!({ "steps": together }), "5 % + match + mirror of 20 %"),
            (json!({ "blueGreen": { "bake": "300s" } }), "100 %"),
        ];
        for (number, (strategy, share)) in kinds.into_iter().enumerate() {
            let record = world.record().await;
            world.apply(&by_holds(strategy));
            if number > 0 {
                world.order("retry", "another kind of step").await;
            }
            let begun = |r: &Value| r["status"]["step"]["index"] == 0 && r["status"]["phase"] == "Progressing";
            world.until(share, SOON, begun).await;
            tokio::time::sleep(PROPAGATION).await;
            world.order("abort", "a test").await;
            world.until_phase("Aborted", SOON).await;
            assert_eq!(climb(&record), ["0 %", share, "0 %"]);
            assert_eq!(bytes(&world.route().await), before, "{share}");
            let since = Instant::now();
            tokio::time::sleep(2 * PROPAGATION).await;
            assert_eq!(from_version(&load.between(since + PROPAGATION, Instant::now()), "v2"), 0, "{share}");
        }
        assert!(failed(&load.stop().await).is_empty());
    })
    .await;
}
