//! Requests that no workload answered, over HTTP.

use super::*;

/// Stable is counted at its pod and at a gateway that says for which service; a pod of the canary is scraped and has no request.
fn world(clock: &Clock, service: Option<&str>) -> World {
    let mut world = World::new(clock, 60);
    world.sidecar("v1", "v1-a", "200", |age| Some(750.0 * age));
    world.add("up", &[("job", "sidecars"), ("instance", "v2-a"), ("pod", "v2-a")], |_| Some(1.0));
    let mut sent = gateway("m-v1", "200", "-");
    sent.extend(service.map(|service| ("destination_service", service)));
    world.add("istio_requests_total", &sent, |age| Some(750.0 * age));
    world
}

fn gateway(workload: &'static str, code: &'static str, flags: &'static str) -> Vec<(&'static str, &'static str)> {
    let namespace = if workload == "unknown" { "unknown" } else { "ml" };
    vec![
        ("reporter", "source"),
        ("destination_workload_namespace", namespace),
        ("destination_workload", workload),
        ("response_code", code),
        ("response_flags", flags),
        ("job", "gateways"),
        ("instance", "gateway"),
    ]
}

fn at_25(clock: &Clock) -> Brief {
    let mut brief = step(brief(clock, vec![errors()]), 0, 25, clock.now());
    brief.steps[0].share = Share::weight(25);
    brief.canary.host = "fraud".into();
    brief
}

#[tokio::test]
async fn what_a_gateway_cannot_deliver_to_the_canary_counts_as_its_errors_and_is_reported() {
    let clock = Clock::system();
    let mut world = world(&clock, Some("fraud.ml.svc.cluster.local"));
    // No cluster: the gateway does not know the service. It began when the weight was set.
    let lost = [gateway("unknown", "503", "NC"), vec![("destination_service", "unknown")]].concat();
    world.add("istio_requests_total", &lost, |age| (age > 60.3).then_some(250.0 * (age - 60.3)));
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, at_25(&clock));
    let look = wait(&sampler, "a charge", |look| look.unanswered.is_some()).await;
    let lost = look.unanswered.unwrap();
    assert!(lost.dead && lost.requests > 0 && lost.flags == "NC" && lost.service == "fraud.ml.svc.cluster.local", "{lost:?}");
    let exposure = look.evidence.exposure(&[errors()]).unwrap();
    assert_eq!((exposure.canary_requests, exposure.canary_errors), (lost.requests as i64, Some(lost.requests as i64)));
    let query = look.judgement.metrics[0].query.clone().unwrap();
    assert!(
        query.contains(") or sum by (destination_service, response_flags) (increase(istio_requests_total{reporter=\"source\""),
        "{query}"
    );
    let asked = world.asked.lock().unwrap();
    let past = asked.iter().filter(|(query, _)| query.contains("response_flags") && query.contains("[18")).count();
    assert_eq!(past, 1, "what was before the raise is asked for once");
}

#[tokio::test]
async fn what_was_lost_before_the_raise_already_is_nobody_s() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    let service = vec![("destination_service", "fraud.ml.svc.cluster.local")];
    world.add("istio_requests_total", &[gateway("m-v1", "200", "-"), service.clone()].concat(), |age| Some(950.0 * age));
    world.add("istio_requests_total", &[gateway("unknown", "503", "UH"), service].concat(), |age| Some(200.0 * age));
    let (_world, prometheus) = world.serve().await;
    let mut start = step(brief(&clock, vec![errors()]), 0, 5, clock.now());
    start.canary.host = "fraud".into();
    let sampler = spawn(&prometheus, clock, start);
    let look = wait(&sampler, "ten windows", |look| look.judgement.windows >= 10).await;
    assert_eq!((look.unanswered, look.problem), (None, None));
}

#[tokio::test]
async fn where_senders_do_not_say_for_which_service_nothing_is_asked_and_nothing_held() {
    let clock = Clock::system();
    let mut world = world(&clock, None);
    world.add("istio_requests_total", &gateway("unknown", "503", "NC"), |age| (age > 60.3).then_some(250.0 * (age - 60.3)));
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, at_25(&clock));
    let look = wait(&sampler, "windows", |look| look.window_end.is_some()).await;
    assert_eq!((look.unanswered, look.problem), (None, None));
    assert!(!world.asked.lock().unwrap().iter().any(|(query, _)| query.contains("response_flags")));
}

/// Stable behind `fraud-v1`, the canary behind a Service of its own.
fn own_services(mut brief: Brief) -> Brief {
    (brief.stable.service, brief.canary.service) = (Some("fraud-v1".into()), Some("fraud-v2".into()));
    brief
}

fn to_the_canary(flags: &'static str) -> Vec<(&'static str, &'static str)> {
    let service = vec![("destination_service_name", "fraud-v2"), ("destination_service_namespace", "ml")];
    [gateway("unknown", "503", flags), service].concat()
}

#[tokio::test]
async fn what_is_sent_to_a_dead_canary_s_own_service_counts_against_it_at_once_whatever_was_before() {
    let clock = Clock::system();
    let mut world = world(&clock, None);
    world.add("istio_requests_total", &to_the_canary("UH"), |age| Some(250.0 * age));
    // Another namespace has a Service of that name too.
    let other = [gateway("unknown", "503", "UH"), vec![("destination_service_name", "fraud-v2"), ("destination_service_namespace", "b")]];
    world.add("istio_requests_total", &other.concat(), |age| Some(9000.0 * age));
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, own_services(at_25(&clock)));
    let look = wait(&sampler, "a charge", |look| look.unanswered.is_some()).await;
    let lost = look.unanswered.unwrap();
    assert!(lost.dead && lost.flags == "UH" && lost.service == "fraud-v2.ml", "{lost:?}");
    let exposure = look.evidence.exposure(&[errors()]).unwrap();
    assert_eq!((exposure.canary_requests, exposure.canary_errors), (lost.requests as i64, Some(lost.requests as i64)));
    assert!(lost.requests < lost.stable, "of this namespace alone: {lost:?}");
    assert!(!world.asked.lock().unwrap().iter().any(|(query, _)| query.contains("[18")), "what was before does not matter");
}

#[tokio::test]
async fn a_canary_that_loses_some_of_its_requests_is_charged_with_those_and_is_not_dead() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    world.add("istio_requests_total", &to_the_canary("UF,URX"), |age| Some(10.0 * age));
    let (_world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, own_services(step(brief(&clock, vec![errors()]), 0, 5, clock.now())));
    let look = wait(&sampler, "charges", |look| look.judgement.windows >= 5 && look.unanswered.is_some()).await;
    let lost = look.unanswered.unwrap();
    assert!(!lost.dead && lost.requests > 0 && lost.flags == "UF,URX", "{lost:?}");
    assert!(look.evidence.exposure(&[errors()]).unwrap().canary_errors >= Some(lost.requests as i64));
}
