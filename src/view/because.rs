//! Why, in one clause.

use super::{View, text::visible};
use crate::api::{Actor, DecisionRecord, EvidenceReason, MeasureKind, MetricEvidence, Outcome, Phase, Reason, Verdict};

/// Longest word of a person in a headline.
const SAID: usize = 80;

/// Why this was decided: `because predictions shifted`, `by kim: scores look wrong`.
pub(super) fn of(record: &DecisionRecord) -> Option<String> {
    let reason = record.reason.known();
    match (record.outcome, reason) {
        (_, Some(Reason::AnalysisFailed | Reason::HoldLimit)) => deciding(record).map(|metric| format!("because {}", judged(metric))),
        (Outcome::Promoted | Outcome::Passed, _) if record.by.is_none() => Some("because every step passed".to_owned()),
        (_, Some(Reason::Aborted | Reason::RolledBackAfterPromotion | Reason::ManualPause | Reason::AsPlanned)) if record.by.is_some() => {
            record.by.as_ref().map(by)
        }
        (_, reason) => reason.and_then(clause).map(str::to_owned),
    }
}

/// The metric that decided, if metrics did.
pub(super) fn deciding(record: &DecisionRecord) -> Option<&MetricEvidence> {
    let gating = || record.why.iter().filter(|metric| !metric.advisory);
    let found = match record.reason.known() {
        Some(Reason::AnalysisFailed) => gating().find(|metric| metric.verdict == Verdict::Fail),
        Some(Reason::HoldLimit) => gating().find(|metric| metric.reason == Some(EvidenceReason::HoldLimit)),
        _ => return None,
    };
    found.or_else(|| gating().next())
}

/// What is wrong with the canary, by the metric that says so.
fn judged(metric: &MetricEvidence) -> String {
    let name = visible(&metric.metric);
    match metric.measure.as_ref().map(|measure| measure.kind) {
        Some(MeasureKind::Errors) => "more requests fail".to_owned(),
        Some(MeasureKind::Latency) => "it is slower".to_owned(),
        Some(MeasureKind::Classes) => "predictions shifted".to_owned(),
        Some(MeasureKind::Scores) => "scores shifted".to_owned(),
        Some(MeasureKind::AtMost) => format!("{name} is above its limit"),
        Some(MeasureKind::AtLeast) => format!("{name} is below its limit"),
        Some(MeasureKind::Share) | None => format!("{name} is worse"),
    }
}

fn by(actor: &Actor) -> String {
    let reason = actor.reason.as_ref().filter(|reason| !reason.is_empty());
    let reason = reason.map_or_else(String::new, |reason| format!(": {}", crate::words::shortened(&visible(reason), SAID)));
    format!("by {}{reason}", visible(&actor.name))
}

impl View {
    /// Why it stands where it stands.
    pub(super) fn stands(&mut self, phase: Option<Phase>, reason: Option<Reason>, evidence: &[MetricEvidence]) {
        let crossed = evidence.iter().find(|metric| metric.reason == Some(EvidenceReason::HoldLimit) && !metric.advisory);
        self.because = match (phase, reason) {
            // Before the start stable is measured: nothing is missing yet.
            (Some(Phase::Waiting), Some(Reason::MetricsUnavailable)) => Some("until stable is measured".to_owned()),
            (_, Some(Reason::HoldLimit)) => crossed.map(|metric| format!("because {}", judged(metric))),
            (_, reason) => reason.and_then(clause).map(str::to_owned),
        };
    }
}

/// A reason as a clause; nothing where it says no more than the outcome.
fn clause(reason: Reason) -> Option<&'static str> {
    use Reason as R;
    Some(match reason {
        R::AsPlanned | R::Drained | R::Passed | R::CommandRefused | R::AnalysisFailed | R::HoldLimit => return None,
        R::Invalid => "because the manifest has faults",
        R::Conflict => "because another Rollout owns the route",
        R::VirtualServiceNotFound => "because the VirtualService is missing",
        R::HTTPRouteNotFound => "because the HTTPRoute is missing",
        R::GRPCRouteNotFound => "because the GRPCRoute is missing",
        R::RouteNotFound => "because no route fits",
        R::RouteAmbiguous => "because several routes fit",
        R::RouteDelegated => "because the route delegates to another VirtualService",
        R::OwnedByAnotherController => "because another controller owns the route",
        R::ServiceNotFound => "because a Service is missing",
        R::SubsetNotFound => "because a subset is missing",
        R::ArmsOverlap => "because both versions select the same pods",
        R::NoCanaryEndpoint => "waiting for a ready canary pod",
        R::UnexpectedWeights => "because the route has unexpected weights",
        R::Settling => "waiting for its pods to settle",
        R::StableRedeployed => "because stable was redeployed",
        R::Refused => "because this revision was refused before",
        R::CanaryCapacity => "waiting for more ready canary pods",
        R::PlanAdopted => "after an edit of the manifest",
        R::CanaryUnavailable => "because it has no ready pod",
        R::StableUnavailable => "because stable has no ready pod",
        R::RouteRefused => "because the route refuses the write",
        R::RaiseRefused => "because the route refuses the next step",
        R::RouteNotAccepted => "because the gateway does not accept the route",
        R::ManualOverride => "because its share was lowered by hand",
        R::Contended => "because another applier writes the weights",
        R::ShareRaised => "because its share was raised by hand",
        R::ManualPause => "until a person resumes it",
        R::ApprovalRequired => "waiting for approval",
        R::Drifted => "because the weights were changed by hand",
        R::Draining => "while proxies still send requests to it",
        R::MetricsUnavailable => "because metrics are missing",
        R::NotComparable => "until both versions can be compared",
        R::ClockSkew => "because the clocks differ",
        R::ProviderNotFound => "because the metrics provider is not configured",
        R::ModelPending => "waiting for a new model",
        R::SinkNotFound => "because an alert sink is not configured",
        R::ArmsInseparable => "because no label tells the versions apart",
        R::DuplicateSeries => "because pods are counted twice",
        R::NoWorkloadAnswered => "because nothing answers its requests",
        R::NoCanaryTraffic => "because it gets no requests",
        R::Bypass => "because it gets more than its share",
        R::ShareMismatch => "because it gets less than its share",
        R::MirrorUnseen => "because copies are not counted",
        R::NoProxy => "because stable's traffic passes no proxy",
        R::GlobalIncident => "because stable itself is degraded",
        R::NotEnoughData => "waiting for evidence",
        R::HoldTime => "until its hold is over",
        R::TrafficTooLow => "because there is too little traffic",
        R::UnequalLoad => "because load per pod is unequal",
        R::DeadlineExceeded => "past its deadline without a verdict",
        R::Aborted => "because a person said so",
        R::SpecReverted => "because the manifest was set back",
        R::PlanChanged => "because the plan was edited",
        R::CanaryChanged => "because its pods changed",
        R::RolledBackAfterPromotion => "after its promotion",
        R::RouteUnreachable => "because no request reaches the route",
        R::HostShared => "because another VirtualService has the same host",
        R::HostElsewhere => "because the route leads to another namespace",
        R::MatchConflict => "because a step's match cannot be written",
        R::MirrorConflict => "because the route has a mirror of its own",
    })
}
