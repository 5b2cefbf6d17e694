//! What [`decide`] sees of the world, and what its acts do to it: a route, pods that are ready, a person who answers at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::play::Hands;
use crate::api::{AnyReason, Capacity, DecisionRecord, Destination, Outcome, Reason, RouteRef};
use crate::command::{Command, Verb};
use crate::drive::{Done, Objects, Passes, Turn};
use crate::plan::{Plan, Step};
use crate::route::{RouteFault, Sought, find};
use crate::seen::{Arm, ArmPod, Brief, Deployed, Holder, Look, Observation, StepKey};
use crate::state::{State, brief::brief};

/// A rehearsal begins here; nothing depends on the date.
const BEGIN: i64 = 1_767_225_600;
/// Uid of the Rollout.
const UID: &str = "rehearsal";
/// Passes at one time after which something turns in a circle.
const MOST_PASSES: u32 = 64;

/// The stage of one rehearsal.
pub(super) struct Stage {
    pub(super) state: State,
    seen: Observation,
    objects: Objects,
    passes: Passes,
    wanted: Option<String>,
    hands: Hands,
    at: Timestamp,
    /// Approvals that were answered, and deadlines at which a person went on.
    pub(super) answers: u32,
    /// The wake that the newest decision asked for.
    pub(super) wake: Option<f64>,
}

/// What the passes at one time brought.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The rollout holds at its deadline.
    pub(super) at_deadline: bool,
    /// Reason of the way down, if it went down.
    pub(super) down: Option<AnyReason>,
}

impl Stage {
    /// Stable with so many pods serves everybody; the canary has all the room that the plan asks for.
    pub(super) fn new(plan: Plan, stable_pods: u32, hands: Hands) -> Self {
        // Which object the weights are in, and how it names the versions, is nothing to what is judged.
        let (canary, host) = (plan.canary.name().to_owned(), plan.object.name().to_owned());
        let plan = Plan { object: RouteRef::VirtualService(host.clone()), canary: Destination::Subset(canary.clone()), ..plan };
        let stable = if canary == "stable" { "present" } else { "stable" };
        let room = |step: &Step| (step.load() * stable_pods).div_ceil(200);
        let most = plan.steps.iter().map(room).max().unwrap_or(1).max(1);
        let canary_pods = if plan.capacity == Capacity::Any { 1 } else { most };
        let at = Timestamp::new(BEGIN, 0).unwrap_or(Timestamp::UNIX_EPOCH);
        let route = json!({
            "metadata": {"name": host, "resourceVersion": "1"},
            "spec": {"http": [{
                "name": plan.route.as_deref().unwrap_or("primary"),
                "route": [{"destination": {"host": host, "subset": stable}, "weight": 100}],
            }]},
        });
        let deployed = |name: &str, pods: u32| {
            let pod = |index: u32| ArmPod { name: format!("{name}-{index}"), created: before(at), ready_since: Some(before(at)) };
            let revision = format!("{name}-1");
            let arm = Arm {
                host: host.clone(),
                workload: name.to_owned(),
                version: Some(name.to_owned()),
                name: name.to_owned(),
                service: None,
                revision: revision.clone(),
                pods: (0..pods).map(pod).collect(),
            };
            (name.to_owned(), Deployed { declared: true, revisions: BTreeSet::from([revision]), arm, ..Deployed::default() })
        };
        let versions = BTreeMap::from([deployed(stable, stable_pods.max(1)), deployed(&canary, canary_pods)]);
        let wanted = plan.route.clone();
        let mut stage = Self {
            state: State::default(),
            seen: Observation {
                namespace: String::new(),
                name: host.clone(),
                uid: UID.to_owned(),
                generation: 1,
                deleting: false,
                finalizer: false,
                // What `spec.paused` would do is known: nothing.
                plan: Ok(Plan { paused: false, ..plan }),
                commands: Vec::new(),
                route: Err(RouteFault::NotFound(RouteRef::VirtualService(host.clone()))),
                holder: Holder::Nobody,
                claimed: false,
                rivals: Vec::new(),
                elsewhere: Vec::new(),
                one_port: false,
                versions,
                look: None,
                config_problem: None,
                passes: 0,
                refusal: None,
                raise_refused: None,
                source: None,
                pending: None,
                fresh: false,
            },
            objects: Objects { route, finalizer: false },
            passes: Passes::default(),
            wanted,
            hands,
            at,
            answers: 0,
            wake: None,
        };
        stage.read_route();
        stage
    }

    /// It is so many seconds after the begin.
    pub(super) fn set_time(&mut self, seconds: f64) {
        self.at = time(seconds);
    }

    /// The newest look at the metrics.
    pub(super) fn show(&mut self, look: Option<Look>) {
        self.seen.look = look;
    }

    /// The look that is shown.
    pub(super) fn look(&self) -> Option<&Look> {
        self.seen.look.as_ref()
    }

    /// What a sampler works from now.
    pub(super) fn brief(&self) -> Option<Brief> {
        brief(&self.state, &self.seen.versions, &self.seen.namespace, &self.seen.name, self.at)
    }

    /// The time.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    fn key(&self) -> Option<StepKey> {
        self.state.run.as_ref().map(|run| run.key())
    }

    /// Passes until nothing is to be done at this time.
    pub(super) fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        for _ in 0..MOST_PASSES {
            let watched = self.key();
            self.seen.passes = self.passes.count(watched);
            let turn = Turn::new(&self.state, &self.seen, self.at);
            for record in &turn.decision.records {
                heard(record, &mut settled);
            }
            self.wake = turn.decision.wake;
            // A match of the stage's route asks for nothing, so that every other one can be joined with it.
            let done = self.objects.perform(&turn).unwrap_or(Done::Read);
            match done {
                Done::Store => self.state = turn.decision.state,
                Done::Finalizer => self.seen.finalizer = self.objects.finalizer,
                Done::Route => self.read_route(),
                Done::Read => self.seen.fresh = true,
            }
            let acted = done != Done::Store;
            let answered = self.answer(&settled);
            if answered {
                settled.at_deadline = false;
            }
            let intends = self.state.run.as_ref().is_some_and(|run| run.intent.is_some());
            let begun = watched.is_none() && self.state.ended.is_none();
            if self.state.ended.is_some() || !(acted || answered || intends || begun) {
                break;
            }
        }
        settled
    }

    fn read_route(&mut self) {
        self.seen.route = find(&self.objects.route, Sought::subsets(self.wanted.as_deref()));
        self.seen.holder = Holder::of(&self.seen.route, UID, |_, _| false);
        self.seen.fresh = false;
    }

    /// A person who is asked says yes at once; at a deadline only where the rehearsal says so.
    fn answer(&mut self, settled: &Settled) -> bool {
        self.seen.commands.clear();
        let Some(run) = &self.state.run else { return false };
        let asked = run.pause.as_ref().is_some_and(|pause| pause.reason == Reason::ApprovalRequired);
        let overdue = settled.at_deadline && self.hands == Hands::PromoteAtDeadline;
        if !asked && !overdue {
            return false;
        }
        self.answers += 1;
        self.seen.commands.push(Ok(Command {
            verb: Verb::Promote,
            id: self.answers.to_string(),
            step: None,
            reason: None,
            by: Some("the rehearsal".to_owned()),
            force: false,
            manager: None,
        }));
        true
    }
}

fn heard(record: &DecisionRecord, settled: &mut Settled) {
    match record.outcome {
        Outcome::Held if record.reason == Reason::DeadlineExceeded => settled.at_deadline = true,
        Outcome::RolledBack | Outcome::Failed => settled.down = Some(record.reason.clone()),
        _ => {}
    }
}

/// The time so many seconds after the begin.
pub(super) fn time(seconds: f64) -> Timestamp {
    let since = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    Timestamp::new(BEGIN, 0).unwrap_or(Timestamp::UNIX_EPOCH).saturating_add(since).unwrap_or(Timestamp::MAX)
}

/// Seconds after the begin of a time.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.duration_since(Timestamp::new(BEGIN, 0).unwrap_or(Timestamp::UNIX_EPOCH)).as_secs_f64()
}

fn before(time: Timestamp) -> Timestamp {
    time.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(time)
}
