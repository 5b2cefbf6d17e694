//! Queries of the user's own.

use super::*;
use crate::api::{EvidenceReason, ThresholdAction, Verdict};

fn own(lasting: Duration, action: ThresholdAction) -> Metric {
    let query = r#"max(own{namespace="{{namespace}}",pod=~"{{canaryPods}}",name="{{name}}",rev="{{canaryRevision}}"})"#.to_owned();
    metric("own", MetricKind::Threshold(Threshold { query, limits: RangeLimits { min: None, max: Some(5.0), lasting, action } }))
}

fn begin(clock: &Clock, metrics: Vec<Metric>) -> Brief {
    let mut brief = brief(clock, metrics);
    brief.canary.revision = "7d4".into();
    step(brief, 0, 5, clock.now())
}

fn found<'a>(look: &'a Look, name: &str) -> &'a crate::api::MetricEvidence {
    look.judgement.metrics.iter().find(|metric| metric.metric == name).unwrap()
}

#[tokio::test]
async fn a_query_is_asked_at_the_time_of_each_window_with_the_names_of_today() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let start = begin(&clock, vec![errors(), own(Duration::ZERO, ThresholdAction::Rollback)]);
    let sampler = spawn(&prometheus, clock, start);
    let look = wait(&sampler, "a value", |look| found(look, "own").verdict == Verdict::Pass).await;
    let query = r#"max(own{namespace="ml",pod=~"v2-a",name="m",rev="7d4"})"#;
    assert_eq!(found(&look, "own").query.as_deref(), Some(query));
    let times = |name: &str| -> Vec<i64> {
        world.asked.lock().unwrap().iter().filter(|(query, _)| query.starts_with(name)).map(|(_, at)| *at).collect()
    };
    let (own, windows) = (times("max(own"), times(LOOK));
    assert!(own.iter().all(|at| windows.contains(at)), "{own:?} {windows:?}");
    *world.own.lock().unwrap() = Some(6.0);
    let look = wait(&sampler, "a failure", |look| look.judgement.verdict == Verdict::Fail).await;
    assert_eq!((found(&look, "own").reason, look.judgement.metrics[0].metric.as_str()), (Some(EvidenceReason::FailLimit), "own"));
}

#[tokio::test]
async fn a_query_that_hangs_delays_no_window_and_decides_nothing() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let sampler = spawn(&prometheus, clock, begin(&clock, vec![errors(), own(Duration::from_secs(1), ThresholdAction::Rollback)]));
    wait(&sampler, "a value", |look| found(look, "own").verdict == Verdict::Pass).await;
    *world.own.lock().unwrap() = None;
    let look = wait(&sampler, "a problem", |look| look.problem.is_some()).await;
    let problem = look.problem.clone().unwrap();
    assert!(problem.message.starts_with("metric own has no value: no answer within 1 s; the query is max(own{"), "{}", problem.message);
    assert_eq!((problem.reason, problem.unavailable), (Reason::MetricsUnavailable, true));
    assert_eq!(found(&look, "own").reason, Some(EvidenceReason::NoValue));
    let before = look.judgement.windows;
    let look = wait(&sampler, "more windows", |look| look.judgement.windows >= before + 5).await;
    assert_ne!(look.judgement.verdict, Verdict::Fail);
    *world.own.lock().unwrap() = Some(1.0);
    wait(&sampler, "a value again", |look| look.problem.is_none() && found(look, "own").verdict == Verdict::Pass).await;
}

#[tokio::test]
async fn without_canary_pods_there_is_no_query_to_ask() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    let mut start = begin(&clock, vec![errors(), own(Duration::ZERO, ThresholdAction::Rollback)]);
    start.canary.pods.clear();
    let sampler = spawn(&prometheus, clock, start);
    let look = wait(&sampler, "a problem", |look| look.problem.is_some()).await;
    let problem = look.problem.unwrap().message;
    assert!(problem.contains("there is nothing to put for {{canaryPods}}: is there a pod?"), "{problem}");
    assert!(!world.asked.lock().unwrap().iter().any(|(query, _)| query.starts_with("max(own")));
}

#[tokio::test]
async fn while_a_canary_pod_warms_up_nothing_is_asked() {
    let clock = Clock::system();
    let (world, prometheus) = healthy(&clock, 60).serve().await;
    *world.own.lock().unwrap() = Some(99.0);
    let mut start = begin(&clock, vec![errors(), own(Duration::ZERO, ThresholdAction::Rollback)]);
    start.analysis.warm_up = Duration::from_secs(2);
    start.canary.pods[0].ready_since = Some(clock.now());
    let until = clock.now() + SignedDuration::from_secs(2);
    let sampler = spawn(&prometheus, clock, start);
    wait(&sampler, "a failure", |look| look.judgement.verdict == Verdict::Fail).await;
    let asked = world.asked.lock().unwrap();
    let first = asked.iter().find(|(query, _)| query.starts_with("max(own")).unwrap().1;
    assert!(first >= until.as_millisecond(), "{first} {until}");
}
