use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use kube::Client;
use serde_json::json;

use super::*;
use crate::clock::Clock;

const LEASE: Duration = Duration::from_secs(15);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn held(by: &str, renewed: i64) -> Lease {
    let mut lease = claimed("l", None, Claim::Create, by, LEASE, wall(renewed)).unwrap();
    lease.metadata.resource_version = Some(format!("{renewed}"));
    lease
}

#[test]
fn no_lease_is_created_with_no_transition() {
    assert_eq!(step(None, &Seen::default(), "a", LEASE, at(0)), Claim::Create);
    let lease = claimed("l", None, Claim::Create, "a", LEASE, wall(0)).unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("a"));
    assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(0), Some(15)));
    assert_eq!(lease.metadata.resource_version, None, "a create, not a replace");
}

#[test]
fn our_own_lease_is_renewed_and_keeps_what_it_said() {
    let lease = held("a", 0);
    let mut seen = Seen::default();
    seen.observe(Some(&lease), at(100));
    assert_eq!(step(Some(&lease), &seen, "a", LEASE, at(100)), Claim::Renew);
    let next = claimed("l", Some(&lease), Claim::Renew, "a", LEASE, wall(2)).unwrap();
    assert_eq!(next.metadata.resource_version, lease.metadata.resource_version, "compare and swap");
    let (old, new) = (lease.spec.unwrap(), next.spec.unwrap());
    assert_eq!(new.acquire_time, old.acquire_time);
    assert_eq!(new.lease_transitions, Some(0));
    assert_ne!(new.renew_time, old.renew_time);
}

#[test]
fn another_ones_lease_is_over_by_our_clock_only() {
    // The holder's wall clock is a day behind, then a day ahead: neither matters.
    for skew in [-86_400, 86_400] {
        let lease = held("b", skew);
        let mut seen = Seen::default();
        seen.observe(Some(&lease), at(100));
        assert_eq!(step(Some(&lease), &seen, "a", LEASE, at(100)), Claim::Wait(LEASE));
        seen.observe(Some(&lease), at(112));
        assert_eq!(step(Some(&lease), &seen, "a", LEASE, at(112)), Claim::Wait(at(3)));
        seen.observe(Some(&lease), at(115));
        assert_eq!(step(Some(&lease), &seen, "a", LEASE, at(115)), Claim::TakeOver);
    }
}

#[test]
fn a_renewal_starts_the_count_again_and_a_label_does_not() {
    let mut seen = Seen::default();
    let first = held("b", 0);
    seen.observe(Some(&first), at(100));
    let mut renewed = held("b", 2);
    seen.observe(Some(&renewed), at(114));
    assert_eq!(step(Some(&renewed), &seen, "a", LEASE, at(116)), Claim::Wait(at(13)));
    renewed.metadata.resource_version = Some("99".into());
    seen.observe(Some(&renewed), at(120));
    assert_eq!(step(Some(&renewed), &seen, "a", LEASE, at(129)), Claim::TakeOver);
}

#[test]
fn a_lease_that_was_given_back_is_free_at_once() {
    let lease = held("b", 0);
    assert_eq!(released(&lease, "a", wall(1)), None, "not ours to give");
    let free = released(&lease, "b", wall(1)).unwrap();
    let mut seen = Seen::default();
    seen.observe(Some(&free), at(0));
    assert_eq!(step(Some(&free), &seen, "a", LEASE, at(0)), Claim::TakeOver);
    let next = claimed("l", Some(&free), Claim::TakeOver, "a", LEASE, wall(2)).unwrap();
    assert_eq!(next.spec.unwrap().lease_transitions, Some(1));
    let bare = Lease { spec: None, ..held("x", 0) };
    assert_eq!(step(Some(&bare), &seen, "a", LEASE, at(0)), Claim::TakeOver);
}

#[test]
fn a_holder_that_declares_longer_is_granted_it() {
    let mut lease = held("b", 0);
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
    let mut seen = Seen::default();
    seen.observe(Some(&lease), at(0));
    assert_eq!(step(Some(&lease), &seen, "a", LEASE, at(15)), Claim::Wait(at(45)));
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(1);
    seen.observe(Some(&lease), at(100));
    assert_eq!(step(Some(&lease), &seen, "a", LEASE, at(110)), Claim::Wait(at(5)), "nor taken sooner than ours");
}

/// Plays two replicas, one of which freezes for a while, in steps of one second. A replica acts while less than ten seconds have passed
/// since the begin of its last good renewal.
#[test]
fn a_frozen_leader_never_acts_beside_its_successor() {
    for freeze_at in 0..20_u64 {
        for freeze_for in 0..40_u64 {
            let mut lease = held("b", 0);
            let mut version = 0;
            let mut seen = [Seen::default(), Seen::default()];
            let mut until = [at(0), at(10)];
            for second in 0..80_u64 {
                for (i, me) in ["a", "b"].into_iter().enumerate() {
                    let frozen = i == 1 && (freeze_at..freeze_at + freeze_for).contains(&second);
                    if frozen || second % 2 == 1 {
                        continue;
                    }
                    seen[i].observe(Some(&lease), at(second));
                    let claim = step(Some(&lease), &seen[i], me, LEASE, at(second));
                    if let Some(mut next) = claimed("l", Some(&lease), claim, me, LEASE, wall(second as i64)) {
                        version += 1;
                        next.metadata.resource_version = Some(format!("v{version}"));
                        seen[i].observe(Some(&next), at(second));
                        lease = next;
                        until[i] = at(second + 10);
                    } else {
                        until[i] = at(0);
                    }
                }
                let acting = [at(second) < until[0], at(second) < until[1]];
                assert!(acting != [true, true], "both act at {second} (frozen at {freeze_at} for {freeze_for})");
            }
            assert!(until[0] > at(80) || until[1] > at(80), "nobody leads in the end");
        }
    }
}

#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    writes: Arc<Mutex<Vec<&'static str>>>,
    reads: Arc<Mutex<u32>>,
    down: Arc<Mutex<bool>>,
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code.as_u16()});
    (code, Json(status)).into_response()
}

impl Server {
    fn store(&self, mut lease: Lease) -> Response {
        let mut held = self.lease.lock().unwrap();
        let before = held.as_ref().and_then(|l| l.metadata.resource_version.clone());
        if lease.metadata.resource_version != before {
            return refusal(StatusCode::CONFLICT, "Conflict");
        }
        let version = before.and_then(|v| v.parse::<u64>().ok()).unwrap_or_default() + 1;
        lease.metadata.resource_version = Some(version.to_string());
        *held = Some(lease.clone());
        Json(lease).into_response()
    }

    fn client(&self) -> Client {
        let path = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
        let one = get(|State(s): State<Server>, Path((_, _)): Path<(String, String)>| async move {
            if *s.down.lock().unwrap() {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
            }
            *s.reads.lock().unwrap() += 1;
            s.lease.lock().unwrap().clone().map_or_else(|| refusal(StatusCode::NOT_FOUND, "NotFound"), |l| Json(l).into_response())
        })
        .put(|State(s): State<Server>, Path((_, _)): Path<(String, String)>, Json(lease): Json<Lease>| async move {
            if *s.down.lock().unwrap() {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
            }
            s.writes.lock().unwrap().push("put");
            s.store(lease)
        });
        let all = axum::routing::post(|State(s): State<Server>, Path(_): Path<String>, Json(lease): Json<Lease>| async move {
            s.writes.lock().unwrap().push("post");
            s.store(lease)
        });
        let router = Router::new().route(path, all).route(&format!("{path}/{{name}}"), one).with_state(self.clone());
        Client::new(router, "default")
    }

    fn holder(&self) -> String {
        self.lease.lock().unwrap().as_ref().and_then(|l| l.spec.as_ref()?.holder_identity.clone()).unwrap_or_default()
    }
}

fn quick() -> Terms {
    Terms { duration: Duration::from_secs(1), renew_deadline: Duration::from_millis(600), retry: Duration::from_millis(100) }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn one_replica_leads_and_the_other_follows_when_it_leaves() {
    let server = Server::default();
    let elect = |me: &str| Election::new(server.client(), "haldane-system", "haldane", me, quick(), Clock::system());
    let (first, second) = (elect("a"), elect("b"));
    let (a, b) = (first.handle(), second.handle());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let first = tokio::spawn(first.run(async move {
        let _ = stopped.await;
    }));
    until("a leads", || a.is_leader()).await;
    let second = tokio::spawn(second.run(std::future::pending()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!b.is_leader());
    assert!(*a.changes().borrow() && !*b.changes().borrow());
    stop.send(()).unwrap();
    first.await.unwrap();
    assert!(!a.is_leader(), "it stops acting before it gives the lease back");
    until("b leads", || b.is_leader()).await;
    assert_eq!(server.holder(), "b");
    assert_eq!(server.writes.lock().unwrap()[0], "post");
    second.abort();
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_on_its_own() {
    let server = Server::default();
    let election = Election::new(server.client(), "haldane-system", "haldane", "a", quick(), Clock::system());
    let handle = election.handle();
    let task = tokio::spawn(election.run(std::future::pending()));
    until("a leads", || handle.is_leader()).await;
    *server.down.lock().unwrap() = true;
    until("a stops", || !handle.is_leader()).await;
    assert_eq!(server.holder(), "a", "the lease still names it");
    *server.down.lock().unwrap() = false;
    until("a leads again", || handle.is_leader()).await;
    task.abort();
}

#[tokio::test]
async fn a_leader_renews_with_one_write_and_reads_only_where_somebody_else_wrote() {
    let server = Server::default();
    let election = Election::new(server.client(), "haldane-system", "haldane", "a", quick(), Clock::system());
    let handle = election.handle();
    let task = tokio::spawn(election.run(std::future::pending()));
    let puts = || server.writes.lock().unwrap().iter().filter(|write| **write == "put").count();
    until("three renewals", || puts() >= 3).await;
    assert_eq!(*server.reads.lock().unwrap(), 1, "before it was created");
    {
        // A label, as somebody may put one on: the version is another one.
        let mut held = server.lease.lock().unwrap();
        let lease = held.as_mut().unwrap();
        lease.metadata.labels = Some([("seen-by".to_owned(), "backup".to_owned())].into());
        lease.metadata.resource_version = Some("1000".to_owned());
    }
    let renewed = puts();
    until("two renewals more", || puts() >= renewed + 3).await;
    assert!(handle.is_leader());
    assert_eq!(*server.reads.lock().unwrap(), 2, "once after the refusal");
    assert!(server.lease.lock().unwrap().as_ref().unwrap().metadata.labels.is_some(), "the label stays");
    task.abort();
}

#[tokio::test]
async fn a_controller_alone_always_leads() {
    assert!(LeaderHandle::alone(Clock::system()).is_leader());
}
