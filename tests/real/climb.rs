//! What is right on a machine that stalls, in one place.
//!
//! When both versions get slower right after a raise, haldane goes one step back, waits until stable is as before, and goes up again; the second
//! time it asks a person. That makes a healthy promotion slower, and no story fails for it. A rollback of a healthy version, a step that was
//! skipped, or a lower share without that reason, still does.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    hands::paused_for,
    recorder::Recorder,
    world::{SOON, World, pretty},
};

/// The reason of a step back.
const INCIDENT: &str = "GlobalIncident";
/// Phases in which a rollout has ended.
const ENDS: [&str; 5] = ["Promoted", "Passed", "Failed", "RolledBack", "Aborted"];
/// How long a judged rollout may take, with its steps back.
const JUDGED: Duration = Duration::from_secs(480);

/// All that v2 had in turn, without the steps back: each must lead to what v2 had before, and say why.
pub(super) fn climb(record: &Recorder) -> Vec<String> {
    let mut way: Vec<String> = Vec::new();
    for share in record.shares() {
        if share.lowered.as_deref() == Some(INCIDENT) {
            let from = way.pop();
            println!("stepped back from {from:?} to {}", share.words);
            assert_eq!(way.last(), Some(&share.words), "a step back goes one step back: {:?}", record.shares());
        } else {
            way.push(share.words);
        }
    }
    way
}

/// Waits until the rollout has ended in this phase.
pub(super) async fn until_ended(world: &World, phase: &str) -> Value {
    let rollout = until(world, &format!("phase {phase}"), |_| false).await;
    assert_eq!(rollout["status"]["phase"], phase, "{}", pretty(&rollout["status"]));
    rollout
}

/// Waits until a judged rollout is at this weight.
pub(super) async fn until_at(world: &World, weight: i64) {
    let rollout = until(world, &format!("the step of {weight} %"), |r| r["status"]["step"]["weight"] == weight).await;
    assert_eq!(rollout["status"]["step"]["weight"], weight, "{}", pretty(&rollout["status"]));
}

/// Waits until a judged rollout satisfies `done`, or has ended. After a second step back, the person who is asked lets it go on.
pub(super) async fn until(world: &World, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    let asked = |r: &Value| paused_for(r, INCIDENT);
    let ended = |r: &Value| ENDS.iter().any(|end| r["status"]["phase"] == *end);
    loop {
        let rollout = world.until(what, JUDGED.saturating_sub(begin.elapsed()), |r| done(r) || ended(r) || asked(r)).await;
        if !asked(&rollout) {
            return rollout;
        }
        println!("after a second step back: resumed");
        world.order("resume", "it is the machine that stalls").await;
        world.until("the end of the pause", SOON, |r| !asked(r)).await;
    }
}

/// How long something on this machine has waited for a core so far. A bound on a time that is right on an idle machine is longer by what was added
/// meanwhile; where the kernel does not count it, nothing is.
pub(super) fn stalled() -> Duration {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let micros = text.split_whitespace().find_map(|word| word.strip_prefix("total=")?.parse().ok());
    Duration::from_micros(micros.unwrap_or_default())
}

/// From when to when v2 had this, as the API server reported it: once, and once more after each step back.
pub(super) fn while_it_had(record: &Recorder, words: &str) -> Vec<(Instant, Instant)> {
    let shares = record.shares();
    let ends = shares.iter().skip(1).map(|share| share.at).chain([Instant::now()]);
    let times: Vec<_> = shares.iter().zip(ends).filter(|(share, _)| share.words == words).map(|(share, end)| (share.at, end)).collect();
    assert!(!times.is_empty(), "never {words}: {shares:?}");
    times
}
