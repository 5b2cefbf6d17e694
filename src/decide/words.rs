//! Decision records: one value, one text, used in status, events, alerts, logs and `explain`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Pass;
use crate::api::{Actor, AnyReason, DecisionRecord, Exposure, Load, MetricEvidence, Outcome, Version};
use crate::seen::Look;
use crate::state::beyond_weight;
use crate::words;

impl Pass<'_> {
    /// A record of what was decided now, at the present epoch.
    pub(super) fn record(&mut self, outcome: Outcome, reason: impl Into<AnyReason>, message: String, next: String, by: Option<Actor>) {
        let run = self.state.run.as_ref();
        let ended = self.state.ended.as_ref();
        let canary = run.map(|run| run.canary.clone()).or_else(|| ended.map(|ended| ended.canary.clone()));
        let stable = run.map(|run| run.stable.clone()).or_else(|| ended.map(|ended| ended.stable.clone())).or(self.state.stable.clone());
        let record = DecisionRecord {
            outcome,
            reason: reason.into(),
            message,
            at: Time(self.now),
            epoch: self.state.epoch,
            canary,
            stable,
            step: run.and_then(|run| run.present()).map(|step| step.name.clone()),
            weight: run.map_or(0, |run| i32::from(run.share.weight)),
            traffic: run.and_then(|run| beyond_weight(run.share)),
            why: self.why(outcome),
            load: self.load(outcome),
            exposure: self.exposure(),
            by,
            next,
        };
        self.records.push(record);
    }

    /// The newest look's metrics, for decisions that rest on them.
    pub(super) fn why(&self, outcome: Outcome) -> Vec<MetricEvidence> {
        self.rests_on(outcome).map(|look| look.judgement.metrics.clone()).unwrap_or_default()
    }

    /// The requests per pod that were counted meanwhile.
    fn load(&self, outcome: Outcome) -> Option<Load> {
        self.rests_on(outcome)?.judgement.load.clone()
    }

    /// The newest look, if a decision rests on it.
    fn rests_on(&self, outcome: Outcome) -> Option<&Look> {
        let rests = matches!(
            outcome,
            Outcome::Advanced
                | Outcome::Held
                | Outcome::Promoted
                | Outcome::Passed
                | Outcome::Failed
                | Outcome::RolledBack
                | Outcome::Aborted
        );
        self.look().filter(|_| rests)
    }

    /// Who was touched so far.
    pub(super) fn exposure(&self) -> Option<Exposure> {
        let run = self.state.run.as_ref()?;
        let exposed = run.exposed?;
        // The newest look counts further than what was stored; nothing counted is not nobody.
        let evidence = self.seen.look.as_ref().map(|look| &look.evidence).or(run.evidence.as_ref())?;
        let mut exposure = evidence.exposure(&run.plan.analysis.metrics)?;
        exposure.seconds = self.now.duration_since(exposed).as_secs().max(0);
        Some(exposure)
    }

    /// What must be known of the traffic behind a verdict; nothing where users were drawn at random.
    pub(super) fn kind_words(&self) -> &'static str {
        match self.state.run.as_ref() {
            Some(run) if run.unseen() => " (mirrored, no user saw it)",
            Some(run) if run.share.matched => " (cohorts differ: users were picked by a match)",
            _ => "",
        }
    }

    /// `haldane VERB NAME -n NAMESPACE`.
    pub(super) fn command_line(&self, verb: &str) -> String {
        format!("haldane {verb} {} -n {}", self.seen.name, self.seen.namespace)
    }
}

/// `v2 (7d4b9c)`.
pub(super) fn version(version: &Version) -> String {
    format!("{} ({})", version.name, version.revision)
}

/// Text of bounded length, for annotations and status.
pub(super) fn bounded(text: &str) -> String {
    words::shortened(text, 600)
}
