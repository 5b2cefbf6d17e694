//! Who counts the arms, and by which label they are told apart, over HTTP.

use super::*;
use crate::observe::sampler::preflight::{Found, preflight};

/// Series of both arms at a reporter, with these further labels for stable and for the canary.
fn both(world: &mut World, reporter: &str, labels: [&[(&str, &str)]; 2]) {
    for (instance, own) in ["s", "c"].into_iter().zip(labels) {
        let mesh = [("reporter", reporter), ("destination_workload_namespace", "ml"), ("response_code", "200")];
        let target = [("job", reporter), ("instance", instance)];
        world.add("istio_requests_total", &[&mesh[..], &target[..], own].concat(), |age| Some(500.0 * age));
    }
}

async fn found(world: World, brief: &Brief, clock: &Clock) -> Found {
    let (_world, prometheus) = world.serve().await;
    preflight(&prometheus, brief, 2, clock.now() - SignedDuration::from_millis(100)).await.unwrap()
}

const WORKLOADS: [&[(&str, &str)]; 2] = [&[("destination_workload", "m-v1")], &[("destination_workload", "m-v2")]];

#[tokio::test]
async fn the_model_s_pod_counts_else_the_waypoint_else_the_sender_and_never_two() {
    let clock = Clock::system();
    for (there, wanted) in [
        (&["source"][..], "source"),
        (&["source", "waypoint"][..], "waypoint"),
        (&["waypoint"][..], "waypoint"),
        (&["waypoint", "source", "destination"][..], "destination"),
    ] {
        let mut world = World::new(&clock, 60);
        there.iter().for_each(|reporter| both(&mut world, reporter, WORKLOADS));
        let brief = brief(&clock, vec![errors()]);
        let found = found(world, &brief, &clock).await;
        assert_eq!((found.reporter, found.by_pod), (wanted, wanted == "destination"), "{there:?}");
    }
}

#[tokio::test]
async fn what_a_waypoint_counts_is_judged() {
    let clock = Clock::system();
    let mut world = World::new(&clock, 60);
    both(&mut world, "source", WORKLOADS);
    both(&mut world, "waypoint", WORKLOADS);
    let (world, prometheus) = world.serve().await;
    let mut brief = step(brief(&clock, vec![errors()]), 0, 50, clock.now());
    brief.steps[0].share = Share::weight(50);
    let sampler = spawn(&prometheus, clock, brief);
    let look = wait(&sampler, "two windows", |look| look.judgement.windows >= 2).await;
    assert_eq!(look.problem, None);
    let query = look.judgement.metrics[0].query.clone().unwrap();
    assert!(query.contains("reporter=\"waypoint\""), "{query}");
    let asked = world.asked.lock().unwrap();
    let counted = asked.iter().filter(|(query, _)| query.starts_with("istio_requests_total{") && !query.contains("response_flags"));
    assert!(counted.into_iter().all(|(query, _)| !query.contains("source") && !query.contains("destination\"")));
}

#[tokio::test]
async fn arms_of_one_workload_name_are_told_apart_by_their_services() {
    let clock = Clock::system();
    let mut arms = brief(&clock, vec![errors()]);
    (arms.stable.workload, arms.canary.workload) = ("m".into(), "m".into());
    (arms.stable.service, arms.canary.service) = (Some("m-v1".into()), Some("m-v2".into()));
    let services: [&[(&str, &str)]; 2] = [
        &[("destination_workload", "m"), ("destination_service_name", "m-v1"), ("destination_version", "v1")],
        &[("destination_workload", "m"), ("destination_service_name", "m-v2"), ("destination_version", "v2")],
    ];
    let mut world = World::new(&clock, 60);
    both(&mut world, "source", services);
    let own = found(world, &arms, &clock).await;
    assert_eq!((own.label, own.stable.as_str(), own.canary.as_str()), ("destination_service_name", "m-v1", "m-v2"));

    arms.canary.workload = "m-v2".into();
    let mut world = World::new(&clock, 60);
    both(&mut world, "source", services);
    assert_eq!(found(world, &arms, &clock).await.label, "destination_workload", "which differs, and is what there is");

    arms.canary.workload = "m".into();
    arms.canary.service = arms.stable.service.clone();
    let mut world = World::new(&clock, 60);
    let versions: [&[(&str, &str)]; 2] = [
        &[("destination_version", "v1"), ("destination_canonical_service", "m")],
        &[("destination_version", "v2"), ("destination_canonical_service", "m")],
    ];
    both(&mut world, "source", versions);
    assert_eq!(found(world, &arms, &clock).await.label, "destination_version", "one Service tells nobody apart");
}
