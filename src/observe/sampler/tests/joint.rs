//! Several metrics in one question.

use super::*;
use crate::clock::Clock;

#[tokio::test]
async fn a_store_that_takes_one_metric_at_a_time_is_asked_for_one_at_a_time() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    world.one_metric = true;
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let look = wait(&sampler, "two windows", |look| look.judgement.windows >= 2).await;
    assert_eq!(look.problem, None);
    let asked = world.asked.lock().unwrap();
    assert!(asked.iter().any(|(query, _)| query.starts_with("up{")) && !asked.iter().any(|(query, _)| query.starts_with(LOOK)));
}

#[tokio::test]
async fn of_what_a_pod_counts_only_requests_to_the_arm_are_taken() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    let target = [("job", "sidecars"), ("instance", "v2-a"), ("pod", "v2-a"), ("response_code", "200")];
    let of = |reporter, namespace, workload| {
        [("reporter", reporter), ("destination_workload_namespace", namespace), ("destination_workload", workload)]
    };
    // What the canary's pod asks of others, a pod of the same name elsewhere, and another workload behind the same proxy.
    for mesh in [of("source", "ml", "m-v2"), of("destination", "b", "m-v2"), of("destination", "ml", "m-v3")] {
        world.add("istio_requests_total", &[&target[..], &mesh[..]].concat(), |age| Some(9000.0 * age));
    }
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let look = wait(&sampler, "a window", |look| look.canary_in_window.is_some()).await;
    assert!(world.asked.lock().unwrap().iter().any(|(query, _)| query.starts_with(LOOK)));
    assert!(look.canary_in_window.unwrap() < 100, "{:?}", look.canary_in_window);
}
