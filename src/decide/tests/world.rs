//! A route, pods and looks as values, and the loop around `decide` without any I/O: what an act does is done to the JSON.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{EvidenceReason, Exposure, Load, MetricEvidence, Phase, RolloutSpec, Verdict};
use crate::command::{Command, Verb};
use crate::decide::Decision;
use crate::drive::{Done, Objects, Task, Turn};
use crate::judge::{Evidence, Judgement, Slowest, incident::Incident};
use crate::plan::{Plan, Share};
use crate::route::{RouteFault, Sought, View, find};
use crate::seen::{Arm, ArmPod, Deployed, Holder, Look, Observation, Problem, Unanswered};
use crate::state::State;
use crate::view::{self, tests::long_sentences};

pub(super) struct World {
    pub(super) state: State,
    pub(super) route: Value,
    pub(super) spec: Value,
    pub(super) versions: BTreeMap<String, Deployed>,
    pub(super) commands: Vec<Command>,
    pub(super) now: Timestamp,
    pub(super) finalizer: bool,
    pub(super) deleting: bool,
    pub(super) refusal: Option<String>,
    pub(super) raise_refused: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) hold_limit: bool,
    /// The metric whose limit it is.
    pub(super) crossing: &'static str,
    pub(super) no_harm: bool,
    pub(super) incident: Option<Incident>,
    /// Requests per pod that the look tells.
    pub(super) load: Option<Load>,
    /// What a healthy canary would wait for.
    pub(super) slowest: Option<Slowest>,
    /// No look has come yet.
    pub(super) blind: bool,
    pub(super) windows: u32,
    pub(super) problem: Option<Problem>,
    /// What no workload answered.
    pub(super) unanswered: Option<Unanswered>,
    pub(super) config_problem: Option<Problem>,
    pub(super) passes: u32,
    /// Weights that the canary had, in order.
    pub(super) weights: Vec<u8>,
    /// All that the canary had, in order.
    pub(super) shares: Vec<Share>,
    /// Writes to the route.
    pub(super) writes: u32,
    pub(super) records: Vec<(crate::api::Outcome, crate::api::AnyReason)>,
    /// What the records say.
    pub(super) said: Vec<String>,
    pub(super) others: Vec<(String, String)>,
    /// Other VirtualServices for the same host.
    pub(super) rivals: Vec<String>,
    /// Other VirtualServices that lead to a subset, with the subset.
    pub(super) elsewhere: Vec<(String, String)>,
    /// What a source of models brings first.
    pub(super) pending: Option<String>,
    /// The VirtualService is not there.
    pub(super) gone: bool,
}

/// What somebody does to it.
pub(super) type Hand = fn(&mut World);

impl World {
    /// v1 serves everybody from ten pods, v2 has five and is wanted.
    pub(super) fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            route: json!({
                "metadata": {"name": "fraud", "resourceVersion": "1"},
                "spec": {"http": [{"name": "primary", "timeout": "3s", "route": [{"destination": {"host": "fraud", "subset": "v1"}}]}]}
            }),
            spec: json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {"hold": "1m", "deadline": "10m"}}}),
            versions: BTreeMap::new(),
            commands: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            finalizer: false,
            deleting: false,
            refusal: None,
            raise_refused: None,
            pending: None,
            verdict: Verdict::Inconclusive,
            hold_limit: false,
            crossing: "drift",
            no_harm: false,
            incident: None,
            load: None,
            slowest: None,
            blind: false,
            windows: 0,
            problem: None,
            unanswered: None,
            config_problem: None,
            passes: 0,
            weights: vec![0],
            shares: vec![Share::NONE],
            writes: 0,
            records: Vec::new(),
            said: Vec::new(),
            others: Vec::new(),
            rivals: Vec::new(),
            elsewhere: Vec::new(),
            gone: false,
        };
        world.pods("v1", "aaa", 10, 10);
        world.pods("v2", "bbb", 5, 5);
        world
    }

    /// The same by a rule of an HTTPRoute, with a Service for each version; every parent has accepted it.
    pub(super) fn of_http_route() -> Self {
        let mut world = Self::new();
        let parent = json!({"group": "", "kind": "Service", "name": "fraud"});
        world.route = json!({
            "metadata": {"name": "fraud", "namespace": "ml", "resourceVersion": "1"},
            "spec": {"parentRefs": [parent], "rules": [{"name": "primary", "backendRefs": [{"name": "fraud-v1", "port": 80}]}]}
        });
        world.spec["traffic"] = json!({"httpRoute": "fraud"});
        world.spec["canary"] = json!({"service": "fraud-v2"});
        world.heard("True");
        world.pods("fraud-v1", "aaa", 10, 10);
        world.pods("fraud-v2", "bbb", 5, 5);
        world
    }

    /// What the parent of the HTTPRoute says of it.
    pub(super) fn heard(&mut self, status: &str) {
        let of = |kind: &str| json!({"type": kind, "status": status, "reason": "Said", "message": "its words"});
        let parent = self.route["spec"]["parentRefs"][0].clone();
        self.route["status"] = json!({"parents": [{"parentRef": parent, "conditions": [of("Accepted"), of("ResolvedRefs")]}]});
    }

    pub(super) fn pods(&mut self, subset: &str, revision: &str, count: usize, ready: usize) {
        let born = self.now - SignedDuration::from_hours(1);
        let seen = self.now;
        let pod = |index: usize| ArmPod {
            name: format!("{subset}-{revision}-{index}"),
            created: born,
            ready_since: (index < ready).then_some(seen),
        };
        let arm = Arm {
            workload: format!("fraud-{subset}"),
            version: Some(subset.into()),
            pods: (0..count).map(pod).collect(),
            ..Arm::default()
        };
        let revisions = (count > 0).then(|| revision.to_owned()).into_iter().collect();
        self.versions.insert(subset.into(), Deployed { declared: true, revisions, arm, ..Deployed::default() });
    }

    pub(super) fn settling(&mut self, subset: &str, other: &str) {
        self.versions.get_mut(subset).unwrap().revisions.insert(other.into());
    }

    pub(super) fn say(&mut self, verb: Verb, id: &str) {
        self.commands.retain(|command| command.verb != verb); // one annotation for each verb
        self.commands.push(Command {
            verb,
            id: id.into(),
            step: None,
            reason: Some("a test".into()),
            by: Some("ana".into()),
            force: false,
            manager: Some("haldane-cli".into()),
        });
    }

    pub(super) fn seen(&self, fresh: bool) -> Observation {
        let spec: RolloutSpec = serde_json::from_value(self.spec.clone()).unwrap();
        let plan = Plan::parse(&spec).map_err(|faults| faults.to_string());
        let route = self.find();
        let alive = |name: &str, uid: &str| self.others.iter().any(|other| other.0 == name && other.1 == uid);
        let holder = Holder::of(&route, "uid", alive);
        let key = self.state.run.as_ref().map(|run| run.key());
        let look = key.filter(|_| !self.blind).map(|key| Look {
            key,
            window_end: Some(self.now - SignedDuration::from_secs(20)),
            evidence: Evidence::new(&[], 30.0).into(),
            judgement: Judgement {
                verdict: self.verdict,
                metrics: self.hold_limit.then(|| crossed(self.crossing)).into_iter().collect(),
                fail_evidence: 1.0,
                fail_at: 12.5,
                hold_limit: self.hold_limit,
                no_harm: self.no_harm,
                windows: self.windows,
                step_requests: 1000,
                exposure: Exposure::default(),
                slowest: self.slowest.clone(),
                incident: self.incident.clone(),
                load: self.load.clone(),
            },
            ready: self.problem.is_none(),
            problem: self.problem.clone(),
            canary_in_window: None,
            unanswered: self.unanswered.clone(),
            note: None,
            later: Default::default(),
        });
        let commands = self.commands.iter().filter(|command| self.state.handled.get(command.verb.name()) != Some(&command.id));
        Observation {
            namespace: "ml".into(),
            name: "fraud".into(),
            uid: "uid".into(),
            generation: 1,
            deleting: self.deleting,
            finalizer: self.finalizer,
            plan,
            commands: commands.cloned().map(Ok).collect(),
            route,
            holder,
            claimed: crate::route::claimed_by(&self.route, "uid"),
            rivals: self.rivals.clone(),
            elsewhere: self.elsewhere.clone(),
            one_port: false,
            versions: self.versions.clone(),
            look,
            config_problem: self.config_problem.clone(),
            passes: self.passes,
            refusal: self.refusal.clone(),
            raise_refused: self.raise_refused.clone(),
            source: None,
            pending: self.pending.clone(),
            fresh,
        }
    }

    /// One pass; what it decides is done.
    pub(super) fn pass(&mut self) -> Decision {
        let seen = self.seen(false);
        let turn = Turn::new(&self.state, &seen, self.now);
        if !matches!(turn.task(), Task::Read) {
            return self.perform(turn);
        }
        let seen = self.seen(true);
        self.perform(Turn::new(&self.state, &seen, self.now))
    }

    fn perform(&mut self, turn: Turn<'_>) -> Decision {
        // Whatever is decided is told in sentences that are read at one glance.
        let long: Vec<String> =
            turn.decision.records.iter().flat_map(|record| long_sentences(&view::View::decided("ml", "fraud", record))).collect();
        assert!(long.is_empty(), "{long:?}");
        let mut objects = Objects { route: self.route.clone(), finalizer: self.finalizer };
        let refused = matches!(turn.task(), Task::Route(write) if write.is_down()) && self.refusal.is_some();
        let done = if refused { Done::Read } else { objects.perform(&turn).unwrap() };
        (self.route, self.finalizer) = (objects.route, objects.finalizer);
        match done {
            Done::Store => self.keep(&turn.decision),
            Done::Route => {
                self.touch();
                self.writes += 1;
            }
            Done::Finalizer | Done::Read => {}
        }
        let found = self.found("v2");
        if self.weights.last() != Some(&found.weight) {
            self.weights.push(found.weight);
        }
        if self.shares.last() != Some(&found) {
            self.shares.push(found);
        }
        turn.decision
    }

    /// What status keeps goes through the checkpoint, as after a crash.
    fn keep(&mut self, decision: &Decision) {
        let State { refused, history, handled, rejected, decision: newest, .. } = decision.state.clone();
        let stored = decision.state.checkpoint().unwrap();
        self.state = State { refused, history, handled, rejected, decision: newest, ..serde_json::from_value(stored).unwrap() };
        self.said.extend(decision.records.iter().map(|record| record.message.clone()));
        self.records.extend(decision.records.iter().map(|record| (record.outcome, record.reason.clone())));
    }

    /// Somebody wrote the object.
    pub(super) fn touch(&mut self) {
        let version: u64 = self.route["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        self.route["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    }

    /// Somebody adds another route of the object that leads to the canary.
    pub(super) fn add_route_to_canary(&mut self) {
        let mine = json!({"name": "mine", "match": [{"port": 81}], "route": [{"destination": {"host": "fraud", "subset": "v2"}}]});
        self.route["spec"]["http"].as_array_mut().unwrap().insert(0, mine);
        self.touch();
    }

    /// The route, as the spec names it.
    fn find(&self) -> Result<View, RouteFault> {
        let spec: RolloutSpec = serde_json::from_value(self.spec.clone()).unwrap();
        let (object, canary) = (spec.traffic.object(), spec.canary.destination());
        if self.gone {
            return Err(RouteFault::NotFound(object));
        }
        find(&self.route, Sought { kind: object.kind(), route: spec.traffic.route.as_deref(), canary: &canary })
    }

    pub(super) fn share(&self, subset: &str) -> u8 {
        self.find().map_or(0, |view| view.share(subset))
    }

    pub(super) fn found(&self, subset: &str) -> Share {
        self.find().map_or(Share::NONE, |view| view.found(subset))
    }

    /// Passes until nothing changes.
    pub(super) fn settle(&mut self) -> Decision {
        for _ in 0..30 {
            let before = (self.state.clone(), self.route.clone(), self.finalizer);
            let decision = self.pass();
            if (self.state.clone(), self.route.clone(), self.finalizer) == before {
                return decision;
            }
        }
        panic!("it does not settle: {:?}", self.state);
    }

    pub(super) fn wait(&mut self, seconds: i64) -> Decision {
        self.now += SignedDuration::from_secs(seconds);
        self.settle()
    }

    /// Until the canary has this share, with every look a Pass.
    pub(super) fn reach(&mut self, weight: u8) {
        self.verdict = Verdict::Pass;
        self.windows = 9;
        self.settle();
        for _ in 0..20 {
            if self.share("v2") == weight {
                self.verdict = Verdict::Inconclusive;
                return;
            }
            self.wait(61);
        }
        panic!("{weight} % was never reached: {:?}", self.weights);
    }

    /// Until the canary has this, with every look a Pass.
    pub(super) fn reach_share(&mut self, share: Share) {
        self.verdict = Verdict::Pass;
        self.windows = 9;
        self.settle();
        for _ in 0..20 {
            if self.found("v2") == share {
                self.verdict = Verdict::Inconclusive;
                return;
            }
            self.wait(61);
        }
        panic!("{share:?} was never reached: {:?}", self.shares);
    }

    /// A rollout that passes, with every pass made twice from the same stored state: as after a crash before its effect was seen.
    pub(super) fn pass_all_twice(&mut self, times: usize) {
        for _ in 0..times {
            (self.verdict, self.windows) = (Verdict::Pass, 9);
            let stored = self.state.clone();
            self.pass();
            let moved = self.state.clone();
            self.state = stored;
            self.pass();
            if self.state.epoch < moved.epoch {
                self.state = moved;
            }
            self.now += jiff::SignedDuration::from_secs(7);
        }
    }

    /// The managed route.
    pub(super) fn managed(&mut self) -> &mut Value {
        let index = self.find().unwrap().index;
        &mut self.route["spec"]["http"][index]
    }

    /// Somebody sets the weights by hand.
    pub(super) fn by_hand(&mut self, v1: u8, v2: u8) {
        for entry in self.managed()["route"].as_array_mut().unwrap() {
            entry["weight"] = if entry["destination"]["subset"] == "v1" { json!(v1) } else { json!(v2) };
        }
        self.touch();
    }

    /// As by hand, where the canary has no destination yet.
    pub(super) fn by_hand_added(&mut self, v1: u8, v2: u8) {
        let route = self.route["spec"]["http"][0]["route"].as_array_mut().unwrap();
        route.push(json!({"destination": {"host": "fraud", "subset": "v2"}, "weight": 0}));
        self.by_hand(v1, v2);
    }

    pub(super) fn phase(&mut self) -> Phase {
        self.settle().stance.phase
    }
}

/// A metric whose limit that holds was crossed.
fn crossed(name: &str) -> MetricEvidence {
    MetricEvidence::new(name, Verdict::Inconclusive, Some(EvidenceReason::HoldLimit), format!("{name} is beyond its limit"))
}
