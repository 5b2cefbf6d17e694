use super::*;
use crate::api::{ArmValue, Destination, MetricEvidence, Phase, Reason, StepStatus, Verdict, Version};
use crate::link::Key;

fn status() -> RolloutStatus {
    let version = |subset: &str| Some(Version::new("fraud", &Destination::Subset(subset.into()), format!("{subset}-hash")));
    RolloutStatus {
        phase: Some(Phase::Progressing),
        stable: version("v1"),
        canary: version("v2"),
        step: Some(StepStatus {
            index: 1,
            name: "2".into(),
            weight: 20,
            traffic: None,
            since: None,
            held_seconds: 0,
            hold_seconds: 300,
            windows: 3,
        }),
        evidence: vec![MetricEvidence {
            stable: Some(ArmValue { value: Some(0.001), text: String::new(), n: 4_000, quantiles: Vec::new() }),
            canary: Some(ArmValue { value: None, text: String::new(), n: 1_000, quantiles: Vec::new() }),
            limit: Some(0.0017),
            fail_evidence: Some(1.5),
            fail_at: Some(40.0),
            ..MetricEvidence::new("errorRate", Verdict::Inconclusive, None, String::new())
        }],
        ..RolloutStatus::default()
    }
}

#[test]
fn a_rollout_is_reported_and_gone_when_the_object_is() {
    let metrics = Metrics::new();
    metrics.rollout("ml", "fraud", &status());
    let text = metrics.encode();
    for line in [
        r#"haldane_rollout_info{namespace="ml",name="fraud",phase="Progressing",stable="v1",stable_revision="v1-hash",canary="v2",canary_revision="v2-hash"} 1"#,
        r#"haldane_rollout_weight{namespace="ml",name="fraud",role="canary",kind="programmed"} 20"#,
        r#"haldane_rollout_step{namespace="ml",name="fraud"} 1"#,
        r#"haldane_guard_verdict{namespace="ml",name="fraud",metric="errorRate",verdict="Inconclusive"} 1"#,
        r#"haldane_guard_value{namespace="ml",name="fraud",metric="errorRate",role="stable"} 0.001"#,
        r#"haldane_guard_samples{namespace="ml",name="fraud",metric="errorRate",role="canary"} 1000"#,
        r#"haldane_guard_limit{namespace="ml",name="fraud",metric="errorRate"} 0.0017"#,
        r#"haldane_guard_fail_evidence{namespace="ml",name="fraud",metric="errorRate"} 1.5"#,
    ] {
        assert!(text.lines().any(|l| l == line || l == format!("{line}.0")), "missing {line}\n{text}");
    }
    assert!(!text.contains(r#"metric="errorRate",role="canary"} NaN"#), "an arm without a value is absent");
    assert!(text.ends_with("# EOF\n"));

    metrics.rollout("ml", "fraud", &RolloutStatus::default());
    assert!(!metrics.encode().contains("errorRate"), "old series do not stay");
    metrics.gone("ml", "fraud");
    assert!(!metrics.encode().contains("fraud"));
}

#[test]
fn a_condition_is_reported_with_its_reason_and_since_when() {
    let metrics = Metrics::new();
    let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::from_second(1_700_000_000).unwrap());
    let paused = k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
        type_: "Paused".into(),
        status: "True".into(),
        reason: Reason::ApprovalRequired.to_string(),
        message: "waiting".into(),
        last_transition_time: since,
        observed_generation: Some(1),
    };
    metrics.rollout("ml", "fraud", &RolloutStatus { conditions: vec![paused], ..RolloutStatus::default() });
    let line = r#"haldane_rollout_condition_timestamp_seconds{namespace="ml",name="fraud",type="Paused",status="True",reason="ApprovalRequired"} 1700000000.0"#;
    let text = metrics.encode();
    assert!(text.lines().any(|l| l == line), "missing {line}\n{text}");
}

#[test]
fn a_replica_that_acts_no_more_says_nothing_of_rollouts_and_keeps_its_counters() {
    let metrics = Metrics::new();
    metrics.leader(true);
    metrics.rollout("ml", "fraud", &status());
    metrics.ended(Outcome::Promoted, &Reason::AsPlanned.into(), 5);
    metrics.leader(false);
    let text = metrics.encode();
    assert!(!text.contains("fraud"), "what it says would stay for ever: {text}");
    assert!(text.contains(r#"haldane_rollouts_total{outcome="Promoted"} 1"#));
}

#[test]
fn ends_are_counted_with_their_reason_and_exposure() {
    let metrics = Metrics::new();
    metrics.ended(Outcome::RolledBack, &Reason::AnalysisFailed.into(), 118);
    metrics.ended(Outcome::RolledBack, &Reason::AnalysisFailed.into(), 2);
    metrics.ended(Outcome::Promoted, &Reason::AsPlanned.into(), 5_000);
    let text = metrics.encode();
    for line in [
        r#"haldane_rollbacks_total{reason="AnalysisFailed"} 2"#,
        r#"haldane_rollouts_total{outcome="Promoted"} 1"#,
        r#"haldane_exposed_requests_total{outcome="RolledBack"} 120"#,
        r#"haldane_rollouts_total{outcome="Aborted"} 0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "missing {line}\n{text}");
    }
}

#[test]
fn the_controllers_own_state_is_reported() {
    let metrics = Metrics::new();
    metrics.leader(true);
    metrics.config(3, true);
    metrics.watches(&[Age { key: Key { resource: "pods".into(), namespace: "ml".into() }, age: Duration::from_millis(1500) }]);
    metrics.notified("oncall", false);
    metrics.event(true);
    metrics.queried("default", [Duration::from_millis(5), Duration::from_millis(20)], Some("Timeout"));
    metrics.reconciled(Duration::from_millis(3), true);
    metrics.routed(Duration::from_millis(40));
    let text = metrics.encode();
    for line in [
        "haldane_leader 1",
        "haldane_config_error 1",
        r#"haldane_watch_age_seconds{resource="pods",namespace="ml"} 1.5"#,
        "haldane_config_version 3",
        r#"haldane_notifications_total{sink="oncall",result="error"} 1"#,
        r#"haldane_notifications_total{sink="oncall",result="ok"} 0"#,
        r#"haldane_events_total{result="ok"} 1"#,
        r#"haldane_prometheus_wait_seconds_count{provider="default"} 1"#,
        r#"haldane_events_total{result="error"} 0"#,
        r#"haldane_prometheus_query_failures_total{provider="default",reason="Timeout"} 1"#,
        r#"haldane_prometheus_query_failures_total{provider="default",reason="Status"} 0"#,
        r#"haldane_reconcile_duration_seconds_count{result="ok"} 1"#,
        "haldane_verdict_to_routed_seconds_count 1",
    ] {
        assert!(text.lines().any(|l| l == line), "missing {line}\n{text}");
    }
}
