//! What the demo plays: for each strategy a good version and what is wrong with another one.

use clap::ValueEnum;

use crate::{
    api::Phase,
    command::Verb,
    sim::{APP, RouteKind, mesh::routes::Cohort, traffic::Behaviour},
};

/// What the demo rolls out: what a user would write, with clocks for people who watch.
const MANIFEST: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Rollout
metadata: {name: fraud, namespace: ml}
spec:
  traffic: {OBJECT: fraud}
  canary: {NAMED: ARM}
  strategy: STRATEGY
  analysis:
    interval: 2s
    warmUp: 2s
    metrics:
    - errorRate: {}
    - latency: {}
    - drift: {counter: model_prediction_class_total, class: class}
";

/// How versions are rolled out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Story {
    /// 5, 20, 50, 100 % of the users
    #[default]
    Canary,
    /// Copies of all requests; no user sees an answer
    Shadow,
    /// The users of one header, then a person is asked
    Ab,
    /// A preview, everybody at once, and the way back
    Bluegreen,
    /// Copies, a cohort, weights and an approval in one object
    Composed,
}

/// One act.
pub(super) struct Act {
    /// What it shows.
    pub(super) title: &'static str,
    /// The versions that are compared: stable, canary.
    pub(super) arms: [&'static str; 2],
    /// How it begins.
    pub(super) begin: Begin,
    /// From this step on the canary behaves otherwise.
    pub(super) turns: Option<(&'static str, Behaviour)>,
    /// How it must end.
    pub(super) ends: Phase,
    /// No user may have seen the canary.
    pub(super) unseen: bool,
    /// What the canary goes through, and a remark, for the end.
    pub(super) path: &'static str,
    /// Said behind the end.
    pub(super) remark: &'static str,
}

/// How an act begins.
pub(super) enum Begin {
    /// The canary is deployed, and asked for.
    Deploy(Box<Behaviour>),
    /// Somebody gives a command, with a reason.
    Command(Verb, &'static str),
}

fn good() -> Behaviour {
    Behaviour::default().with_errors(0.0007).with_latency(37.0, 165.0)
}

/// Answers 200 to everything, as fast as before.
fn drifting() -> Behaviour {
    good().with_classes(&[("legit", 0.62), ("review", 0.10), ("fraud", 0.28)]).with_scores(0.25, 1.0)
}

impl Act {
    fn deploys(title: &'static str, arms: [&'static str; 2], behaviour: Behaviour, ends: Phase, path: &'static str) -> Self {
        Self { title, arms, begin: Begin::Deploy(Box::new(behaviour)), turns: None, ends, unseen: false, path, remark: "" }
    }
}

impl Story {
    /// One user in five carries `x-user-group: beta`, where a strategy asks for it.
    pub(super) fn cohorts(self) -> Vec<Cohort> {
        match self {
            Self::Canary | Self::Shadow => Vec::new(),
            Self::Ab | Self::Bluegreen | Self::Composed => vec![Cohort::with_header(0.20, "x-user-group", "beta")],
        }
    }

    fn strategy(self) -> &'static str {
        match self {
            Self::Canary => "{canary: {hold: 10s}}",
            Self::Shadow => "{shadow: {percent: 100, acknowledgeSideEffects: true, hold: 10s}}",
            // What `abTest` with `then: Hold` means, with a bake that nobody has to wait for.
            Self::Ab => {
                "
    steps:
    - {name: cohort, match: [{headers: {x-user-group: {exact: beta}}}], hold: 10s}
    - {name: everybody, weight: 100, approval: true, hold: 10s}"
            }
            Self::Bluegreen => "{blueGreen: {preview: [{headers: {x-user-group: {exact: beta}}}], hold: 10s, bake: 10s}}",
            Self::Composed => {
                "
    steps:
    - {name: shadow, mirror: 100, acknowledgeSideEffects: true, hold: 8s}
    - {name: beta, match: [{headers: {x-user-group: {exact: beta}}}], hold: 8s}
    - {name: few, weight: 5, hold: 8s}
    - {name: half, weight: 50, approval: true, hold: 8s}
    - {name: all, weight: 100, hold: 8s}"
            }
        }
    }

    /// The Rollout, as YAML.
    pub(super) fn manifest(self, kind: RouteKind) -> String {
        let (object, named) = match kind {
            RouteKind::Subsets => ("virtualService", "subset"),
            RouteKind::Services => ("virtualService", "service"),
            RouteKind::HttpRoute => ("httpRoute", "service"),
            RouteKind::GrpcRoute => ("grpcRoute", "service"),
        };
        let manifest = MANIFEST.replace("STRATEGY", self.strategy()).replace("OBJECT", object);
        manifest.replace("NAMED", named).replace("ARM", &kind.arm(APP, "v2"))
    }

    /// The acts in order.
    pub(super) fn acts(self) -> Vec<Act> {
        match self {
            Self::Canary => vec![
                Act::deploys(
                    "v2 is a good build: as right as v1, and a little faster",
                    ["v1", "v2"],
                    good(),
                    Phase::Promoted,
                    "5 -> 20 -> 50 -> 100 %",
                ),
                Act {
                    remark: ": all 200, predictions shifted",
                    ..Act::deploys(
                        "v3 answers 200 to everything, as fast as before; its predictions have shifted",
                        ["v2", "v3"],
                        drifting(),
                        Phase::RolledBack,
                        "5 %",
                    )
                },
            ],
            Self::Shadow => vec![
                Act {
                    unseen: true,
                    remark: ": on copies, no user saw it",
                    ..Act::deploys(
                        "v2 is a good build: it gets a copy of every request, and its answers are thrown away",
                        ["v1", "v2"],
                        good(),
                        Phase::Passed,
                        "mirror of 100 %",
                    )
                },
                Act {
                    unseen: true,
                    remark: ": predictions shifted, no user saw it",
                    ..Act::deploys(
                        "v3 answers 200 to every copy, as fast as before; its predictions have shifted",
                        ["v1", "v3"],
                        drifting(),
                        Phase::Failed,
                        "mirror of 100 %",
                    )
                },
            ],
            Self::Ab => vec![
                Act {
                    remark: ": after the beta users, with an approval",
                    ..Act::deploys(
                        "v2 is a good build: the users with x-user-group: beta get it, one in five",
                        ["v1", "v2"],
                        good(),
                        Phase::Promoted,
                        "match -> 100 %",
                    )
                },
                Act {
                    remark: ": only beta users met its errors",
                    ..Act::deploys(
                        "v3 fails one request in twenty: again the beta users get it first",
                        ["v2", "v3"],
                        good().with_errors(0.05),
                        Phase::RolledBack,
                        "match",
                    )
                },
            ],
            Self::Bluegreen => vec![
                Act::deploys(
                    "v2 is a good build: previewed by one user in five, then everybody at once",
                    ["v1", "v2"],
                    good(),
                    Phase::Promoted,
                    "match -> 100 %",
                ),
                Act {
                    title: "a customer complains of v2, though no metric shows it: haldane rollback",
                    arms: ["v1", "v2"],
                    begin: Begin::Command(Verb::Rollback, "a customer complains"),
                    turns: None,
                    ends: Phase::RolledBack,
                    unseen: false,
                    path: "100 % -> 0 %",
                    remark: ": after its promotion, in one write",
                },
                Act {
                    turns: Some(("switch", good().with_errors(0.20))),
                    remark: ": in its bake, by what was seen before the switch",
                    ..Act::deploys(
                        "v3 is as good in its preview, and fails one request in five under everybody's load",
                        ["v1", "v3"],
                        good(),
                        Phase::RolledBack,
                        "match -> 100 % -> 0 %",
                    )
                },
            ],
            Self::Composed => vec![
                Act {
                    remark: ": half of the users after an approval",
                    ..Act::deploys(
                        "v2 is a good build: copies first, then the beta users, then everybody step by step",
                        ["v1", "v2"],
                        good(),
                        Phase::Promoted,
                        "mirror -> match -> 5 -> 50 -> 100 %",
                    )
                },
                Act {
                    unseen: true,
                    remark: ": on copies, no user saw it",
                    ..Act::deploys(
                        "v3 fails one request in twenty: copies are enough to see it",
                        ["v2", "v3"],
                        good().with_errors(0.05),
                        Phase::RolledBack,
                        "mirror",
                    )
                },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Rollout,
        plan::{Plan, Share},
    };

    #[test]
    fn the_manifests_of_the_demo_have_no_fault_and_lead_where_their_acts_say() {
        for (story, kind) in Story::value_variants().iter().flat_map(|story| RouteKind::ALL.map(|kind| (story, kind))) {
            let rollout: Rollout = serde_yaml::from_str(&story.manifest(kind)).unwrap();
            let plan = Plan::parse(&rollout.spec).unwrap();
            assert_eq!(plan.analysis.metrics.len(), 3);
            let ends = if plan.promotes() { Phase::Promoted } else { Phase::Passed };
            assert_eq!(story.acts().first().map(|act| act.ends), Some(ends), "{story:?}");
            let first = plan.steps.first().map(|step| step.share()).unwrap_or_default();
            let unseen = story.acts().iter().any(|act| act.unseen);
            assert_eq!(unseen, first == Share { mirror: 100, ..Share::NONE }, "{story:?}: who begins with copies shows nobody");
        }
    }

    #[test]
    fn the_story_of_the_demo_is_a_canary_where_none_is_named() {
        let rollout: Rollout = serde_yaml::from_str(&Story::default().manifest(RouteKind::Subsets)).unwrap();
        let plan = Plan::parse(&rollout.spec).unwrap();
        assert_eq!(plan.steps.iter().map(|s| s.split.weight).collect::<Vec<_>>(), [5, 20, 50, 100]);
    }
}
