//! What is plain is seen at once: half of the canary's requests fail from one moment on.

use std::time::Duration;

use haldane::{
    api::{Phase, Reason},
    sim::{apiserver::Verb, traffic::Behaviour},
};
use jiff::Timestamp;
use serde_json::json;

use crate::stage::{Stage, better, rollout};

/// A healthy v2 at 20 %, with windows of two scrapes and the default `lag`.
async fn at_twenty(seed: u64, scrape: u64, rps: f64, sidecars: bool) -> Stage {
    let mut stage = Stage::with(seed, |config| {
        (config.scrape_interval, config.rps, config.sidecars) = (Duration::from_secs(scrape), rps, sidecars);
        config.history = Duration::from_secs(250 * scrape); // 125 windows
    })
    .await;
    stage.control_late(Duration::from_secs(scrape + 5));
    stage.world.deploy("v2", better());
    let spec = json!({"strategy": {"canary": {"weights": [20, 100], "hold": "30m"}}, "analysis": {"interval": format!("{}s", 2 * scrape)}});
    stage.world.apply(&rollout("v2", spec)).await.unwrap();
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    stage
}

/// Seconds from the moment at which half of the canary's requests begin to fail to the patch that takes them away.
async fn until_back(seed: u64, scrape: u64, sidecars: bool) -> f64 {
    let stage = at_twenty(seed, scrape, 300.0, sidecars).await;
    // Not always at the same moment of a window.
    tokio::time::sleep(Duration::from_millis(1000 * 6 * scrape + seed * 7919 % (1000 * scrape))).await;
    let bad: Timestamp = stage.world.clock().now();
    stage.world.behave("v2", better().with_errors(0.5));
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    let decision = status.decision.unwrap();
    assert_eq!((stage.weights_of("v2"), decision.reason), (vec![0, 20, 0], Reason::AnalysisFailed.into()));
    let log = stage.world.api().faults().log();
    let written = log.iter().rfind(|r| r.verb == Verb::Patch && r.resource.starts_with("virtualservices")).unwrap();
    written.at.duration_since(bad).as_secs_f64()
}

async fn median_and_most(scrape: u64, sidecars: bool, seeds: std::ops::Range<u64>) -> (f64, f64) {
    let mut took = Vec::new();
    for seed in seeds {
        took.push(until_back(seed, scrape, sidecars).await);
    }
    took.sort_by(f64::total_cmp);
    println!("scrapes of {scrape} s, sidecars {sidecars}: {took:.1?}");
    (took[took.len() / 2], took[took.len() - 1])
}

#[tokio::test(start_paused = true)]
async fn half_of_the_requests_failing_is_back_after_a_scrape_or_two_whatever_the_lag() {
    let (median, most) = median_and_most(5, true, 300..305).await;
    assert!(median <= 8.5 && most <= 12.0, "{median} s, at most {most} s");
}

#[tokio::test(start_paused = true)]
async fn the_same_with_scrapes_of_fifteen_seconds_and_where_a_gateway_counts() {
    let (median, most) = median_and_most(15, true, 320..323).await;
    assert!(median <= 25.0 && most <= 32.0, "{median} s, at most {most} s");
    let (median, most) = median_and_most(5, false, 330..333).await;
    assert!(median <= 9.0 && most <= 12.0, "{median} s, at most {most} s");
}

#[tokio::test(start_paused = true)]
async fn what_was_plain_is_reported_with_its_numbers_and_counted_as_touched() {
    let stage = at_twenty(341, 5, 300.0, true).await;
    stage.seconds(31).await;
    stage.world.behave("v2", better().with_errors(0.5));
    let decision = stage.until_phase("v2", Phase::RolledBack).await.decision.unwrap();
    assert!(decision.message.contains(" s, at single scrapes, n "), "{}", decision.message);
    let (canary, exposure) = (decision.why[0].canary.clone().unwrap(), decision.exposure.unwrap());
    assert!(canary.n > 100 && exposure.canary_requests > canary.n && exposure.canary_errors > Some(20), "{canary:?} {exposure:?}");
}

#[tokio::test(start_paused = true)]
async fn what_hits_both_versions_is_not_plain_whoever_is_scraped_first() {
    for seed in 350..354 {
        let stage = at_twenty(seed, 5, 1000.0, true).await;
        // Six windows: it cannot come from the raise.
        tokio::time::sleep(Duration::from_millis(70_000 + seed * 7919 % 5000)).await;
        let breaks = |errors: f64| {
            stage.world.behave("v1", Behaviour::default().with_errors(errors));
            stage.world.behave("v2", better().with_errors(errors));
        };
        breaks(0.5);
        stage.seconds(3).await;
        breaks(0.0005);
        stage.seconds(60).await;
        let decision = stage.world.status().decision.map(|decision| decision.message);
        assert_eq!(stage.weights_of("v2"), [0, 20], "three seconds of a common incident, seed {seed}: {decision:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_query_for_each_scrape_is_all_that_it_costs_and_none_where_too_little_comes() {
    for (rps, most) in [(300.0, 8), (10.0, 0)] {
        let stage = at_twenty(360, 5, rps, true).await;
        stage.seconds(30).await;
        let before = stage.world.prometheus().asked().len();
        stage.seconds(60).await;
        let asked = stage.world.prometheus().asked();
        let glances =
            asked.iter().skip(before).filter(|asked| asked.query.contains("istio_requests_total") && asked.query.ends_with("[21s]"));
        let glances = glances.count();
        // Where a look is due as well, it does the work of a glance.
        assert!(glances <= most && 2 * glances >= most, "{glances} at {rps} requests a second");
    }
}
