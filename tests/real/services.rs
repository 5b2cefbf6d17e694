//! A Service per version: the whole life of a Rollout, by a VirtualService of two hosts and by routes of Gateway API. The acts of a life stand in
//! one world, so that the minute of history that a judge needs is waited for once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    climb::{climb, stalled, until_ended, while_it_had},
    hands::paused_for,
    load::{Answer, Load, failed, from_version},
    promote::{condition, splits_are_as_programmed},
    stack::value,
    strategies::{PROPAGATION, beta, by_holds, bytes, sent},
    ways::Way,
    world::{LATER, SOON, Shape, World, judged, pretty, story_by},
};

/// Requests a second of those who are nobody in particular.
const RATE: f64 = 150.0;
/// Calls a second over gRPC, which cost their client and the model several times as much.
const GRPC_RATE: f64 = 80.0;
/// History before the first judgement: twenty windows.
const HISTORY: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_virtual_service_of_two_hosts_leads_through_a_whole_life() {
    story_by(Way::Hosts, "hosts", async |world| life(world, Shape::Gateway).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_http_route_at_the_gateway_leads_through_a_whole_life() {
    story_by(Way::Gateway, "httproute", async |world| life(world, Shape::Gateway).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_http_route_in_the_mesh_leads_through_a_whole_life() {
    story_by(Way::Mesh, "meshroute", async |world| life(world, Shape::Mesh).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_grpc_route_promotes_a_healthy_version_with_each_weights_split() {
    story_by(Way::Grpc, "grpcroute", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let before = bytes(&world.route().await);
        let _controller = world.controller();
        let load = world.load(GRPC_RATE);
        tokio::time::sleep(HISTORY).await;
        promoted(world, &load, &weighted(world, "5s")).await;
        assert_eq!(but_for_weights(&before), but_for_weights(&bytes(&world.route().await)));
    })
    .await;
}

/// Two groups of users.
struct Users {
    everybody: Load,
    beta: Load,
}

async fn life(world: &World, shape: Shape) {
    world.models(shape, &[]).await;
    let before = bytes(&world.route().await);
    let _controller = world.controller();
    let (users, began) = (Users { everybody: world.load(RATE), beta: world.load_with(30.0, &[("x-user-group", "beta")]) }, Instant::now());
    let told = |act: &str| println!("{act}: {:.0} s after the first request", began.elapsed().as_secs_f64());
    copies_then_a_cohort_then_an_abort(world, &users).await;
    assert_eq!(bytes(&world.route().await), before, "after an abort");
    told("aborted");
    deleted_under_weight(world, &users).await;
    assert_eq!(bytes(&world.route().await), before, "after a delete");
    told("deleted");
    tokio::time::sleep(HISTORY.saturating_sub(began.elapsed())).await;

    world.redeploy("fraud-v2", &[("ERRORS", "0.1")]).await;
    world.ready("fraud-v2").await;
    rolled_back(world, &users).await;
    assert_eq!(bytes(&world.route().await), before, "after a rollback");
    told("rolled back");
    world.redeploy("fraud-v2", &[("ERRORS", "0")]).await;
    world.ready("fraud-v2").await;
    promoted(world, &users.everybody, &weighted(world, "5s")).await;
    told("promoted");
    switched_to_v1(world, &users).await;
    assert_eq!(bytes(&world.route().await), before, "v1 has all of it again");
    told("switched");
    without_endpoints(world, &users).await;
    assert_eq!(bytes(&world.route().await), before, "after a canary has died");
    told("sent to 0");
}

/// The strategy of a life: three weights, judged by errors and predictions.
fn weighted(world: &World, hold: &str) -> Value {
    let mut rollout = judged(hold);
    rollout["spec"]["strategy"] = json!({ "canary": { "weights": [20, 50, 100], "hold": hold } });
    world.way.aimed(rollout, "v2")
}

async fn copies_then_a_cohort_then_an_abort(world: &World, users: &Users) {
    let (record, since) = (world.record().await, Instant::now());
    let steps = json!({ "steps": [
        { "name": "shadow", "mirror": 100, "acknowledgeSideEffects": true, "hold": "6s" },
        { "name": "beta", "match": beta(), "hold": "6s" },
        { "name": "all", "weight": 100, "approval": true },
    ] });
    world.apply(&world.way.aimed(by_holds(steps), "v2"));
    world.until("a question for approval", SOON, |r| paused_for(r, "ApprovalRequired")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.order("abort", "enough seen").await;
    world.until_phase("Aborted", SOON).await;
    assert_eq!(climb(&record), ["0 %", "mirror of 100 %", "match", "0 %"]);

    let (copied, matched) = (while_it_had(&record, "mirror of 100 %"), while_it_had(&record, "match"));
    for load in [&users.everybody, &users.beta] {
        let during = load.between(since, matched[0].0);
        assert_eq!((from_version(&during, "v2"), failed(&during).len()), (0, 0), "every answer is v1's while v2 has copies");
    }
    let of_beta = sent(&users.beta, &matched, [PROPAGATION, Duration::ZERO]);
    assert!(of_beta.len() > 50, "{}", of_beta.len());
    assert_eq!((from_version(&of_beta, "v1"), failed(&of_beta).len()), (0, 0), "all of the cohort");
    let others = users.everybody.between(since, Instant::now());
    assert_eq!(from_version(&others, "v2"), 0, "and nobody else");
    none_failed(&others);
    // What v2 itself counted is the cohort and copies of everything.
    let least = [&users.everybody, &users.beta].map(|load| sent(load, &copied, [PROPAGATION, Duration::ZERO]).len()).iter().sum::<usize>();
    let least = least as f64 * 0.99 + of_beta.len() as f64;
    let counted = value(world, "sum(model_prediction_class_total{version=\"v2\",NS})", "namespace").await;
    assert!(counted >= least, "v2 predicted {counted} times, and should have at least {least} times");
}

async fn deleted_under_weight(world: &World, users: &Users) {
    let since = Instant::now();
    world.apply(&world.way.aimed(by_holds(json!({ "canary": { "weights": [20, 100], "hold": "300s" } })), "v2"));
    world.order("retry", "the same version once more").await;
    world.until_weight(20, SOON).await;
    tokio::time::sleep(PROPAGATION).await;
    world.kubectl(&["delete", "rollouts.haldane.dev", "fraud", "--timeout=60s"]);
    assert_eq!(world.route().await["metadata"]["annotations"].get("haldane.dev/managed"), None);
    none_failed(&users.everybody.between(since, Instant::now()));
}

async fn rolled_back(world: &World, users: &Users) {
    let record = world.record().await;
    world.apply(&weighted(world, "10s"));
    let rollout = until_ended(world, "RolledBack").await;
    let status = &rollout["status"];
    assert_eq!(status["decision"]["why"][0]["metric"], "errorRate", "{}", pretty(status));
    assert_eq!(status["decision"]["why"][0]["verdict"], "Fail", "{}", pretty(status));
    tokio::time::sleep(2 * PROPAGATION).await;
    assert_eq!(climb(&record), ["0 %", "20 %", "0 %"], "at its first step, and it is not retried");
    let back = record.changes().last().unwrap().0;
    let after = users.everybody.between(back + PROPAGATION, Instant::now());
    assert!(after.len() > 100, "{}", after.len());
    assert_eq!((from_version(&after, "v2"), failed(&after).len()), (0, 0));
}

async fn promoted(world: &World, load: &Load, rollout: &Value) {
    let (record, since) = (world.record().await, Instant::now());
    world.apply(rollout);
    let rollout = until_ended(world, "Promoted").await;
    tokio::time::sleep(PROPAGATION).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(climb(&record), ["0 %", "20 %", "50 %", "100 %"]);
    none_failed(&load.between(since, Instant::now()));
    splits_are_as_programmed(&record, load);
    assert_eq!(rollout["status"]["stable"]["name"], "fraud-v2", "{}", pretty(&rollout["status"]));
    assert!(condition(&rollout, "Ready").is_some_and(|c| c["status"] == "True"), "{}", pretty(&rollout["status"]));
}

/// A third version, where the first one was.
async fn switched_to_v1(world: &World, users: &Users) {
    world.redeploy("fraud-v1", &[("ERRORS", "0")]).await;
    world.ready("fraud-v1").await;
    // The version of the health checks must not be the canary: a Rollout says so, and moves nothing.
    health_of(world, "fraud-v2");
    let (record, since) = (world.record().await, Instant::now());
    world.apply(&world.way.aimed(by_holds(json!({ "blueGreen": { "preview": beta(), "hold": "4s", "bake": "4s" } })), "v1"));
    world.until("v1 promoted", LATER, |r| r["status"]["phase"] == "Promoted" && r["status"]["stable"]["name"] == "fraud-v1").await;
    tokio::time::sleep(PROPAGATION).await;
    health_of(world, "fraud-v1");
    assert_eq!(record.weights(), [100, 0], "all at once");
    let switched = record.changes().last().unwrap().0;
    let after = users.everybody.between(switched + PROPAGATION, Instant::now());
    assert!(after.len() > 100, "{}", after.len());
    assert_eq!(from_version(&after, "v2"), 0);
    for load in [&users.everybody, &users.beta] {
        let answers = load.between(since, Instant::now());
        none_failed(&answers);
    }
}

/// Every request was answered with 200, or too late on a machine that stalls.
fn none_failed(answers: &[Answer]) {
    let failed = failed(answers);
    assert!(failed.is_empty(), "{} of {}, from {:?} to {:?}", failed.len(), answers.len(), failed.first(), failed.last());
}

/// Sends the health checks, a rule that is not ours, to one version.
fn health_of(world: &World, service: &str) {
    let (kind, pointer) = match world.way {
        Way::Hosts => ("virtualservice", "/spec/http/0/route/0/destination/host"),
        _ => ("httproute", "/spec/rules/0/backendRefs/0/name"),
    };
    let patch = json!([{ "op": "replace", "path": pointer, "value": service }]);
    world.kubectl(&["patch", kind, "fraud", "--type", "json", "-p", &patch.to_string()]);
}

/// A canary that loses its last endpoint while users are sent to it.
async fn without_endpoints(world: &World, users: &Users) {
    world.redeploy("fraud-v2", &[("ERRORS", "0.0")]).await;
    world.ready("fraud-v2").await;
    world.apply(&world.way.aimed(by_holds(json!({ "canary": { "weights": [25, 100], "hold": "300s" } })), "v2"));
    let at = world.until_weight(25, SOON).await;
    tokio::time::sleep(PROPAGATION).await;
    let (died, stalls) = (Instant::now(), stalled());
    world.kubectl(&["scale", "deployment/fraud-v2", "--replicas=0"]);
    let back = world.until_weight(0, SOON).await;
    let took = (back - died).saturating_sub(stalled() - stalls);
    println!("without endpoints for {:?} until it had nothing", back - died);
    assert!(took < Duration::from_secs(4), "{took:?}");
    tokio::time::sleep(2 * PROPAGATION).await;
    let after = users.everybody.between(back + PROPAGATION, Instant::now());
    assert_eq!((from_version(&after, "v2"), failed(&after).len()), (0, 0));
    assert!(from_version(&users.everybody.between(at, died), "v2") > 0);
}

/// All of an object but the numbers of its weights.
fn but_for_weights(text: &str) -> String {
    text.split("\"weight\":").map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect()
}
