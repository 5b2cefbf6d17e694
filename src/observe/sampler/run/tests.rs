use std::sync::Arc;

use super::*;
use crate::config::Provider;
use crate::counts::Dropped;
use crate::judge::{Evidence, StepTerms};
use crate::plan::{AnalysisPlan, ErrorRate, Metric, MetricKind, Share};

fn prometheus() -> Prometheus {
    let url = "http://127.0.0.1:1".to_owned();
    let provider = Provider { url, ..Provider::default() };
    Prometheus::new(&provider).unwrap()
}

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn run(interval: u64, since: Option<i64>, resume: Option<i64>, now: i64) -> Run {
    let kind = MetricKind::ErrorRate(ErrorRate::default());
    let metrics = vec![Metric::new("errorRate", kind)];
    let brief = Brief {
        namespace: "ml".into(),
        name: "m".into(),
        key: StepKey { epoch: 1, step: since.map(|_| 0), share: Share::weight(if since.is_some() { 5 } else { 0 }) },
        steps: vec![StepTerms {
            weight: 0.05,
            next_weight: 1.0,
            planned_windows: 10,
            without: Vec::new(),
            share: Share::weight(5),
            kind: 0,
        }],
        stable: Arm::default(),
        canary: Arm::default(),
        since: since.map(t),
        evidence: Arc::new(Evidence::new(&metrics, 30.0)),
        resume_after: resume.map(t),
        analysis: AnalysisPlan {
            prometheus: "default".into(),
            interval: Duration::from_secs(interval),
            warm_up: Duration::ZERO,
            metrics,
            preset: None,
        },
    };
    let mut run = Run::new(brief, t(now));
    run.calibrated = true;
    run.found = Some(Found {
        reporter: "source",
        label: "destination_workload",
        stable: "a".into(),
        canary: "b".into(),
        service: None,
        by_pod: false,
        named: false,
        has_up: false,
        pod_jobs: Default::default(),
        hosts: Default::default(),
        mesh_in_pod_jobs: false,
        apart: false,
        mixed: None,
        native: Default::default(),
    });
    run
}

/// The next look, without the glances before it.
fn look(run: &mut Run, clock: &Clock) -> Option<(Job, Duration)> {
    assert!(!run.take(Answer::Glance(t(1_000_000), Err(QueryError::Timeout)), &prometheus(), clock));
    run.next(&prometheus(), clock)
}

#[tokio::test(start_paused = true)]
async fn the_first_look_of_a_step_is_one_scrape_after_its_weight_and_waits_for_the_lag() {
    let clock = Clock::virtual_from(t(0));
    assert_eq!(look(&mut run(30, Some(0), None, 0), &clock), Some((Job::Look(t(15)), Duration::from_secs(35))));
}

#[tokio::test(start_paused = true)]
async fn between_two_looks_there_is_a_glance_for_each_scrape_and_none_where_errors_do_not_gate() {
    let clock = Clock::virtual_from(t(0));
    let mut run = run(30, Some(0), None, 0);
    let first = run.next(&prometheus(), &clock);
    assert_eq!(first, Some((Job::Glance, Duration::from_secs(15))), "a scrape after the weight, whatever the lag");
    // One that is not answered is asked for again at the next scrape, and is no problem.
    assert!(!run.take(Answer::Glance(t(15), Err(QueryError::Timeout)), &prometheus(), &clock));
    assert_eq!(run.next(&prometheus(), &clock), Some((Job::Glance, Duration::from_secs(30))));
    assert_eq!(run.look().problem, None);
    let mut brief = run.ledger.brief().clone();
    brief.steps[0].without = vec!["errorRate".into()];
    run.adopt(brief, t(0));
    assert_eq!(run.next(&prometheus(), &clock), Some((Job::Look(t(15)), Duration::from_secs(35))));
}

#[tokio::test(start_paused = true)]
async fn an_interval_shorter_than_two_scrapes_is_raised() {
    let clock = Clock::virtual_from(t(100));
    let mut run = run(5, Some(0), None, 100);
    assert_eq!(run.next(&prometheus(), &clock), Some((Job::Look(t(15)), Duration::ZERO)));
    run.ledger.looked(t(15));
    assert_eq!(run.next(&prometheus(), &clock), Some((Job::Look(t(45)), Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_looks_go_on_where_they_ended_or_from_now_if_too_many_are_missing() {
    let clock = Clock::virtual_from(t(3620));
    let mut near = run(30, Some(0), Some(2025), 3620);
    assert_eq!(near.next(&prometheus(), &clock), Some((Job::Look(t(2025)), Duration::ZERO)));
    near.ledger.looked(t(2025));
    assert_eq!(near.next(&prometheus(), &clock), Some((Job::Look(t(2055)), Duration::ZERO)));

    let clock = Clock::virtual_from(t(36_020));
    let mut far = run(30, Some(0), Some(2025), 36_020);
    let (job, wait) = far.next(&prometheus(), &clock).unwrap();
    let Job::Look(at) = job else { panic!("{job:?}") };
    assert!(wait.is_zero() && at <= t(36_000) && at > t(35_970), "{at}");
    assert_eq!((at.as_second() - t(15).as_second()) % 30, 0);
    assert_eq!(far.next(&prometheus(), &clock).unwrap().0, job, "and stays there");
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_came_back_from_status_in_whole_seconds_is_the_same() {
    let mut run = run(30, Some(100), None, 100);
    run.ledger.looked(t(145));
    let mut brief = run.ledger.brief().clone();
    let clock = Clock::virtual_from(t(150));
    let next = |run: &mut Run| look(run, &clock).map(|(job, _)| job);
    brief.since = Timestamp::from_millisecond(t(100).as_millisecond() + 999).ok();
    run.adopt(brief.clone(), t(150));
    assert!(matches!(next(&mut run), Some(Job::Look(at)) if at.as_second() == t(175).as_second()), "{:?}", next(&mut run));
    brief.since = Some(t(140));
    run.adopt(brief, t(150));
    assert_eq!(next(&mut run), Some(Job::Look(t(155))));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_set_back_does_not_stop_the_looks() {
    let mut run = run(30, Some(0), None, 7200);
    run.ledger.looked(t(7185));
    let clock = Clock::virtual_from(t(-3600));
    let (_, wait) = look(&mut run, &clock).unwrap();
    assert!(wait <= Duration::from_secs(35), "{wait:?}");
}

#[test]
fn one_missed_scrape_is_no_outage() {
    let stale = Dropped::NothingRead;
    assert!(!said(&stale, 1).unavailable);
    assert!(said(&stale, 2).unavailable);
    let warm = Dropped::WarmUp { pod: "p".into(), until: t(0) };
    assert!(!said(&warm, 9).unavailable);
}

#[test]
fn istio_11093_23496_where_only_senders_count_no_copy_is_judged_by_them() {
    let mirror = Share { mirror: 100, ..Share::NONE };
    let mut run = run(30, Some(0), None, 100);
    assert_eq!(run.look().problem, None, "a weight is seen by the senders");
    let mut brief = run.ledger.brief().clone();
    brief.steps.push(StepTerms { weight: 0.5, share: mirror, kind: 1, ..brief.steps[0].clone() });
    run.adopt(brief.clone(), t(100));
    let problem = run.look().problem.unwrap();
    assert_eq!((problem.reason, problem.unavailable), (Reason::MirrorUnseen, false));
    assert!(problem.message.contains("reporter source alone") && problem.message.contains("sidecars"), "{}", problem.message);
    brief.steps[1].without = vec!["errorRate".into()];
    run.adopt(brief.clone(), t(100));
    assert_eq!(run.look().problem, None, "nothing of the mesh gates the copies");
    brief.steps[1].without.clear();
    run.adopt(brief, t(100));
    let found = run.found.as_mut().unwrap();
    (found.reporter, found.by_pod) = ("destination", true);
    assert_eq!(run.look().problem, None, "the model's sidecar counts them");
}
