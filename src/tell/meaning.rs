//! What a decision means to people: the one table behind titles, Kubernetes events and alerts, and behind the table in the manual. Pure.

use crate::api::{DecisionRecord, Outcome, Reason};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look today.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Severity {
    /// The word used in Alertmanager's label `severity`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Alertmanager's `alertname`.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
}

/// What a decision means to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// How the title begins.
    pub headline: &'static str,
    /// Reason of the Kubernetes event; `None`: that of the decision.
    pub event: Option<&'static str>,
    /// The alert; `None`: it does not alert (steps, commands, holds that end automatically).
    pub alert: Option<Alert>,
}

impl Meaning {
    const fn new(headline: &'static str) -> Self {
        Self { headline, event: None, alert: None }
    }

    const fn event(self, event: &'static str) -> Self {
        Self { event: Some(event), ..self }
    }

    const fn alert(self, severity: Severity, name: &'static str) -> Self {
        Self { alert: Some(Alert { name, severity }), ..self }
    }
}

/// Whether such a decision speaks of a state that lasts until something ends it.
pub fn lasts(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Held | Outcome::Paused | Outcome::Lowered)
}

/// What this decision means to people.
pub fn of(record: &DecisionRecord) -> Meaning {
    meaning(record.outcome, record.reason.known())
}

/// What such a decision means to people. No reason: one that this version does not have.
pub fn meaning(outcome: Outcome, reason: Option<Reason>) -> Meaning {
    use Outcome as O;
    use Reason as R;
    use Severity::{Critical, Info, Warning};
    let is = Meaning::new;
    match (outcome, reason) {
        (O::Started, _) => is("Started").event("RolloutStarted").alert(Info, "RolloutStarted"),
        (O::Advanced, _) => is("Advanced").event("StepPassed"),
        (O::Promoted, _) => is("Promoted").event("Promoted").alert(Info, "RolloutPromoted"),
        (O::Passed, _) => is("Passed").event("Passed").alert(Info, "RolloutPassed"),
        (O::Failed, _) => is("Failed").event("Failed").alert(Warning, "RolloutFailed"),
        (O::RolledBack, Some(R::RolledBackAfterPromotion)) => {
            is("Rolled back after its promotion").event("RolledBack").alert(Warning, "RolloutRolledBack")
        }
        (O::RolledBack, _) => is("Rolled back").event("RolledBack").alert(Critical, "RolloutRolledBack"),
        (O::Aborted, _) => is("Aborted").event("AbortedByUser").alert(Warning, "RolloutAborted"),
        (O::Resumed, _) => is("Resumed").event("Resumed"),
        (O::Restored, _) => is("Canary share restored").event("WeightProgrammed"),
        (O::CommandRefused, _) => is("Command refused").event("CommandRefused"),
        (O::Retried, _) => is("May be retried").event("Retried"),
        (O::Edited, _) => is("Manifest edited"),
        (O::Paused, Some(R::ApprovalRequired)) => {
            is("Waiting for approval").event("ApprovalRequired").alert(Warning, "RolloutApprovalRequired")
        }
        (O::Paused, Some(R::ManualOverride)) => {
            is("Paused, canary share lowered by hand").event("RouteEdited").alert(Warning, "RolloutOverridden")
        }
        (O::Paused, Some(R::Contended)) => {
            is("Paused, another applier writes the weights").event("RouteEdited").alert(Warning, "RolloutOverridden")
        }
        (O::Paused, Some(R::GlobalIncident)) => is("Paused").event("Paused").alert(Warning, "RolloutNeedsPerson"),
        (O::Paused, _) => is("Paused").event("Paused"),
        (O::Lowered, Some(R::CanaryUnavailable)) => is("Canary share lowered").alert(Warning, "RolloutCanaryUnavailable"),
        (O::Lowered, Some(R::GlobalIncident)) => is("Canary share lowered").alert(Warning, "RolloutGlobalIncident"),
        (O::Lowered, Some(R::PlanChanged | R::CanaryChanged)) => is("Canary share lowered").event("Superseded"),
        (O::Lowered, Some(R::ShareRaised)) => is("Canary share lowered").event("RouteEdited"),
        (O::Lowered, _) => is("Canary share lowered"),
        (O::Held, Some(R::StableUnavailable)) => {
            is("Cannot return the traffic: stable has no ready endpoint").alert(Critical, "RolloutStableUnavailable")
        }
        (O::Held, Some(R::RouteRefused)) => is("The route refuses the change").alert(Critical, "RolloutRouteRefused"),
        (O::Held, Some(R::RaiseRefused | R::MatchConflict)) => is("The route refuses the next step").alert(Warning, "RolloutRouteRefused"),
        (O::Held, Some(R::Drifted)) => is("Weights drifted").event("RouteEdited").alert(Warning, "RolloutDrifted"),
        (O::Held, Some(R::DeadlineExceeded)) => is("Holding past the deadline").event("NotEnoughData").alert(Warning, "RolloutNeedsPerson"),
        (O::Held, Some(R::HoldLimit)) => is("Holding, a limit was crossed").event("GuardFailed").alert(Warning, "RolloutNeedsPerson"),
        (O::Held, Some(R::CanaryCapacity)) => is("Holding").alert(Warning, "RolloutNeedsPerson"),
        (O::Held, Some(R::GlobalIncident)) => is("Holding, stable itself is degraded").alert(Warning, "RolloutGlobalIncident"),
        (O::Held, Some(R::MetricsUnavailable)) => is("Holding, metrics are missing").alert(Warning, "RolloutMetricsMissing"),
        (O::Held, Some(R::ClockSkew | R::ProviderNotFound | R::ArmsInseparable | R::DuplicateSeries | R::NoCanaryTraffic)) => {
            is("Holding").alert(Warning, "RolloutMetricsMissing")
        }
        (O::Held, Some(R::Bypass | R::ShareMismatch)) => is("Holding").alert(Warning, "RolloutShareMismatch"),
        (O::Held, _) => is("Holding"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(outcome: Outcome, reason: Reason) -> Option<&'static str> {
        meaning(outcome, Some(reason)).alert.map(|alert| alert.name)
    }

    #[test]
    fn what_ends_a_rollout_or_needs_a_person_alerts_and_steps_do_not() {
        for (outcome, reason, name) in [
            (Outcome::RolledBack, Reason::AnalysisFailed, "RolloutRolledBack"),
            (Outcome::RolledBack, Reason::CanaryUnavailable, "RolloutRolledBack"),
            (Outcome::Aborted, Reason::SpecReverted, "RolloutAborted"),
            (Outcome::Promoted, Reason::AsPlanned, "RolloutPromoted"),
            (Outcome::Held, Reason::DeadlineExceeded, "RolloutNeedsPerson"),
            (Outcome::Held, Reason::HoldLimit, "RolloutNeedsPerson"),
            (Outcome::Held, Reason::MetricsUnavailable, "RolloutMetricsMissing"),
            (Outcome::Held, Reason::StableUnavailable, "RolloutStableUnavailable"),
            (Outcome::Held, Reason::RouteRefused, "RolloutRouteRefused"),
            (Outcome::Held, Reason::RaiseRefused, "RolloutRouteRefused"),
            (Outcome::Held, Reason::Drifted, "RolloutDrifted"),
            (Outcome::Paused, Reason::ApprovalRequired, "RolloutApprovalRequired"),
            (Outcome::Paused, Reason::Contended, "RolloutOverridden"),
        ] {
            assert_eq!(alert(outcome, reason), Some(name), "{outcome:?} {reason}");
        }
        for (outcome, reason) in [
            (Outcome::Advanced, Reason::AsPlanned),
            (Outcome::Held, Reason::HoldTime),
            (Outcome::Held, Reason::NotEnoughData),
            (Outcome::Held, Reason::Settling),
            (Outcome::Paused, Reason::ManualPause),
            (Outcome::CommandRefused, Reason::CommandRefused),
            (Outcome::Restored, Reason::AsPlanned),
            (Outcome::Lowered, Reason::PlanChanged),
        ] {
            assert_eq!(alert(outcome, reason), None, "{outcome:?} {reason}");
        }
    }

    #[test]
    fn a_reason_of_another_version_means_what_its_decision_means() {
        assert_eq!(meaning(Outcome::RolledBack, None), meaning(Outcome::RolledBack, Some(Reason::AnalysisFailed)));
        assert_eq!(meaning(Outcome::Held, None), meaning(Outcome::Held, Some(Reason::Settling)));
    }
}
