//! One value against limits that a user set, without a comparison with stable. One odd value does nothing: it must be beyond the limit at
//! every look over the time that the user gave.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::finding::{Range, Says, Side};
use super::{StepTerms, metric::MetricState, verdict::Answer};
use crate::api::{ArmValue, EvidenceReason, MetricEvidence, ThresholdAction, Verdict};
use crate::plan::{Limits, Metric, RangeLimits};

/// A look so many windows after the one before leaves looks out between them: what came before is no part of the run any more.
const GAP: f64 = 2.5;

/// What one look at a query gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// One finite number.
    Value(f64),
    /// An answer, but not one number: why.
    Nothing(String),
    /// No answer: why. That is no look.
    Unanswered(String),
}

/// All about one threshold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Threshold {
    /// The newest value.
    value: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    absent: Option<String>,
    /// Time of the newest look that was answered.
    at: Option<Timestamp>,
    /// Looks in this step.
    looks: u32,
    /// The first of the looks that were all beyond the limit, and how many they are.
    run: Option<(Timestamp, u32)>,
    /// It was beyond for long enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    broken: Option<Broken>,
}

/// How a limit was broken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Broken {
    value: f64,
    seconds: f64,
    looks: u32,
}

impl Threshold {
    /// Takes what one look gave. A look that was taken already changes nothing.
    pub(super) fn see(&mut self, limits: Limits, at: Timestamp, seen: &Seen, interval_seconds: f64) {
        let Limits::Range(limits) = limits else { return };
        if self.at.is_some_and(|last| at <= last) {
            return;
        }
        let since = |time: Timestamp| at.duration_since(time).as_secs_f64();
        if self.at.is_some_and(|last| since(last) > GAP * interval_seconds) {
            self.run = None;
        }
        match seen {
            Seen::Unanswered(why) => (self.value, self.absent) = (None, Some(why.clone())),
            Seen::Nothing(why) => (self.value, self.absent, self.run, self.at) = (None, Some(why.clone()), None, Some(at)),
            Seen::Value(value) => {
                (self.value, self.absent, self.at) = (Some(*value), None, Some(at));
                self.looks += 1;
                self.run = beyond(limits, *value).map(|_| self.run.map_or((at, 1), |(first, looks)| (first, looks + 1)));
                // Nothing was decided: where the versions can be compared again they are.
                if limits.action == ThresholdAction::Wait && self.run.is_none() {
                    self.broken = None;
                }
                if let Some((first, looks)) = self.run.filter(|(first, _)| since(*first) >= limits.lasting.as_secs_f64()) {
                    self.broken = Some(Broken { value: *value, seconds: since(first), looks });
                }
            }
        }
    }

    /// A step begins. A value that is beyond the limit is so in the next step too.
    pub(super) fn begin_step(&mut self) {
        (self.looks, self.value, self.absent) = (0, None, None);
    }

    /// Whether the limit was broken, and this is what follows from it.
    pub(super) fn broke(&self, limits: Limits, wanted: ThresholdAction) -> bool {
        self.broken.is_some() && matches!(limits, Limits::Range(limits) if limits.action == wanted)
    }
}

/// Whether times of the two versions cannot be compared now, because a threshold that waits is broken, or has no value in this step yet.
pub(super) fn apart(states: &[MetricState], metrics: &[Metric], step: &StepTerms) -> bool {
    let waits = |metric: &Metric| {
        step.asks(metric) && matches!(metric.kind.limits(), Limits::Range(limits) if limits.action == ThresholdAction::Wait)
    };
    let comparable = |state: &MetricState| state.threshold.as_ref().is_some_and(|seen| seen.value.is_some() && seen.broken.is_none());
    states.iter().zip(metrics).any(|(state, metric)| waits(metric) && !comparable(state))
}

/// The limit that a value is beyond; `None`: within both.
fn beyond(RangeLimits { min, max, .. }: RangeLimits, value: f64) -> Option<(f64, Side)> {
    let above = max.filter(|max| value > *max).map(|max| (max, Side::Above));
    above.or_else(|| min.filter(|min| value < *min).map(|min| (min, Side::Below)))
}

/// What the threshold says at this step; `state` is absent before the first look.
pub(super) fn answer(state: Option<&Threshold>, metric: &Metric, limits: RangeLimits, step: &StepTerms) -> Answer {
    let fresh = Threshold::default();
    let state = state.unwrap_or(&fresh);
    let asked = !step.without.contains(&metric.name);
    let value = state.value.filter(|_| state.looks > 0);
    let (verdict, reason, range) = found(state, value, limits, asked);
    let crossed = value.and_then(|value| beyond(limits, value));
    let mut evidence = MetricEvidence::new(&metric.name, verdict, reason, String::new());
    evidence.canary =
        value.map(|value| ArmValue { value: Some(value), text: String::new(), n: i64::from(state.looks), quantiles: Vec::new() });
    evidence.limit = crossed.map(|(limit, _)| limit).or(limits.max).or(limits.min);
    Answer {
        evidence,
        says: Says::Range { range, value },
        missing: 0,
        history: None,
        gates: asked,
        within: value.is_some() && crossed.is_none() && state.broken.is_none(),
        windows_to_pass: Some(0.0),
    }
}

fn found(state: &Threshold, value: Option<f64>, limits: RangeLimits, asked: bool) -> (Verdict, Option<EvidenceReason>, Range) {
    if let Some(Broken { value: was, seconds, looks }) = state.broken {
        let (limit, side) = match beyond(limits, was) {
            Some((limit, side)) => (limit, Some(side)),
            None => (limits.max.or(limits.min).unwrap_or_default(), None),
        };
        let now = value.filter(|now| beyond(limits, *now).is_none());
        let range = Range::Broken { was, limit, side, seconds, looks, now };
        return match limits.action {
            ThresholdAction::Rollback => (Verdict::Fail, Some(EvidenceReason::FailLimit), range),
            ThresholdAction::Hold => (Verdict::Inconclusive, Some(EvidenceReason::HoldLimit), range),
            ThresholdAction::Wait => (Verdict::Inconclusive, Some(EvidenceReason::NotComparable), range),
        };
    }
    let Some(value) = value else {
        let reason = if asked { EvidenceReason::NoValue } else { EvidenceReason::NotGating };
        return (Verdict::Inconclusive, Some(reason), Range::Absent(state.absent.clone()));
    };
    match (beyond(limits, value), state.run) {
        (Some((limit, side)), Some((_, looks))) => {
            (Verdict::Inconclusive, Some(EvidenceReason::Beyond), Range::Beyond { value, limit, side, looks })
        }
        _ => (Verdict::Pass, None, Range::Within(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::time::Duration;

    use super::*;
    use crate::counts::{Counts, REQUESTS, Window};
    use crate::judge::{Evidence, Judgement};
    use crate::plan::MetricKind;

    fn gpu(max: f64, seconds: u64, action: ThresholdAction) -> Metric {
        let lasting = Duration::from_secs(seconds);
        Metric::new(
            "gpu",
            MetricKind::Threshold(crate::plan::Threshold {
                query: "max(x)".into(),
                limits: RangeLimits { min: None, max: Some(max), lasting, action },
            }),
        )
    }

    fn step(weight: f64) -> StepTerms {
        StepTerms::weighted(weight, 1.0, 10)
    }

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    /// What is said after looks at these times.
    fn after(metric: &Metric, looks: &[(i64, Seen)]) -> Judgement {
        let metrics = [metric.clone()];
        let mut evidence = Evidence::new(&metrics, 30.0);
        evidence.begin_step(&metrics, &step(0.05));
        for (at, seen) in looks {
            evidence.observe(&metrics, &step(0.05), t(*at), &[(0, seen.clone())]);
            let again = serde_json::from_str::<Evidence>(&serde_json::to_string(&evidence).unwrap()).unwrap();
            assert_eq!(again, evidence, "a restart changes nothing");
        }
        evidence.told(&metrics, &step(0.05))
    }

    fn values(looks: &[(i64, f64)]) -> Vec<(i64, Seen)> {
        looks.iter().map(|(at, value)| (*at, Seen::Value(*value))).collect()
    }

    fn said(judgement: &Judgement) -> (Verdict, Option<EvidenceReason>, &str) {
        let metric = &judgement.metrics[0];
        (judgement.verdict, metric.reason, &metric.message)
    }

    #[test]
    fn a_limit_that_is_broken_for_as_long_as_was_said_fails_with_its_numbers() {
        let gpu = gpu(38_000.0, 60, ThresholdAction::Rollback);
        let looks = values(&[(0, 30_000.0), (30, 38_500.0), (60, 39_000.0), (90, 39_120.5)]);
        let found = after(&gpu, &looks[..3]);
        let text = "gpu 39,000 is above 38,000 at 2 looks in a row: it rolls back when that lasts 1m";
        assert_eq!(said(&found), (Verdict::Inconclusive, Some(EvidenceReason::Beyond), text));
        let found = after(&gpu, &looks);
        let text = "gpu 39,120.5 is above 38,000 for 1m, at 3 looks in a row";
        assert_eq!(said(&found), (Verdict::Fail, Some(EvidenceReason::FailLimit), text));
        assert_eq!((found.metrics[0].canary.as_ref().unwrap().value, found.metrics[0].limit), (Some(39_120.5), Some(38_000.0)));
        let stays = after(&gpu, &[looks, values(&[(120, 1.0)])].concat());
        assert_eq!(said(&stays).0, Verdict::Fail, "a failure stands");
    }

    #[test]
    fn one_spike_does_nothing() {
        let looks = values(&[(0, 1.0), (30, 99.0), (60, 1.0), (90, 99.0), (120, 99.0), (150, 1.0)]);
        let found = after(&gpu(38.0, 60, ThresholdAction::Rollback), &looks);
        assert_eq!(said(&found), (Verdict::Pass, None, "gpu 1 (at most 38)"));
    }

    #[test]
    fn a_limit_that_holds_stays_crossed_until_a_person_says_otherwise() {
        let found = after(&gpu(38.0, 0, ThresholdAction::Hold), &values(&[(0, 99.0), (30, 1.0)]));
        let text = "gpu 99 was above 38 for 0s, at 1 look; now 1";
        assert_eq!(said(&found), (Verdict::Inconclusive, Some(EvidenceReason::HoldLimit), text));
        assert!(found.hold_limit);
    }

    #[test]
    fn what_is_not_one_value_decides_nothing_and_ends_the_run() {
        let gpu = gpu(38.0, 60, ThresholdAction::Rollback);
        let gone = Seen::Nothing("the query gave 2 series".into());
        let looks = [values(&[(0, 99.0), (30, 99.0)]), vec![(60, gone)], values(&[(90, 99.0)])].concat();
        let found = after(&gpu, &looks[..3]);
        let text = "gpu has no value (at most 38): the query gave 2 series";
        assert_eq!(said(&found), (Verdict::Inconclusive, Some(EvidenceReason::NoValue), text));
        assert!(!found.no_harm);
        assert_eq!(said(&after(&gpu, &looks)).1, Some(EvidenceReason::Beyond), "it counts again");
    }

    #[test]
    fn a_query_that_was_not_answered_once_neither_counts_nor_ends_the_run_and_a_longer_gap_ends_it() {
        let gpu = gpu(38.0, 60, ThresholdAction::Rollback);
        let lost = || Seen::Unanswered("no answer within 10 s".into());
        let looks = [values(&[(0, 99.0)]), vec![(30, lost())], values(&[(60, 99.0)])].concat();
        assert_eq!(said(&after(&gpu, &looks[..2])).1, Some(EvidenceReason::NoValue));
        assert_eq!(said(&after(&gpu, &looks)).0, Verdict::Fail);
        let looks = [values(&[(0, 99.0)]), vec![(30, lost()), (60, lost())], values(&[(90, 99.0)])].concat();
        assert_eq!(said(&after(&gpu, &looks)).1, Some(EvidenceReason::Beyond));
    }

    #[test]
    fn a_look_that_was_taken_already_changes_nothing() {
        let gpu = gpu(38.0, 60, ThresholdAction::Rollback);
        let looks = values(&[(0, 99.0), (30, 99.0), (0, 1.0), (30, 1.0), (60, 99.0)]);
        assert_eq!(said(&after(&gpu, &looks)).0, Verdict::Fail);
    }

    #[test]
    fn a_metric_that_does_not_gate_is_shown_and_decides_nothing() {
        for action in [ThresholdAction::Hold, ThresholdAction::Rollback] {
            let found = after(&Metric { gate: false, ..gpu(38.0, 0, action) }, &values(&[(0, 99.0)]));
            assert_eq!((found.verdict, found.hold_limit), (Verdict::Pass, false), "nothing gates: the hold alone decides");
            assert!(found.metrics[0].advisory && found.metrics[0].verdict != Verdict::Pass);
        }
    }

    #[test]
    fn a_step_passes_only_with_a_value_of_its_own_and_goes_on_counting_what_was_beyond() {
        let metrics = [gpu(38.0, 60, ThresholdAction::Rollback)];
        let mut evidence = Evidence::new(&metrics, 30.0);
        evidence.begin_step(&metrics, &step(0.05));
        evidence.observe(&metrics, &step(0.05), t(0), &[(0, Seen::Value(1.0))]);
        assert_eq!(evidence.told(&metrics, &step(0.05)).verdict, Verdict::Pass);
        evidence.observe(&metrics, &step(0.05), t(30), &[(0, Seen::Value(99.0))]);
        evidence.begin_step(&metrics, &step(1.0));
        assert_eq!(evidence.told(&metrics, &step(1.0)).metrics[0].reason, Some(EvidenceReason::NoValue));
        evidence.observe(&metrics, &step(1.0), t(60), &[(0, Seen::Value(99.0))]);
        evidence.observe(&metrics, &step(1.0), t(90), &[(0, Seen::Value(99.0))]);
        assert_eq!(evidence.told(&metrics, &step(1.0)).verdict, Verdict::Fail, "at 100 % too");
    }

    #[test]
    fn a_limit_that_waits_is_over_when_the_value_is_within_it() {
        let queue = gpu(10.0, 0, ThresholdAction::Wait);
        let looks = values(&[(0, 40.0), (30, 40.0), (60, 3.0)]);
        let text = "gpu 40 is above 10: until it is within the limit no step ends and times are not judged";
        assert_eq!(said(&after(&queue, &looks[..2])), (Verdict::Inconclusive, Some(EvidenceReason::NotComparable), text));
        assert_eq!(said(&after(&queue, &looks)), (Verdict::Pass, None, "gpu 3 (at most 10)"));
        let lasting = gpu(10.0, 60, ThresholdAction::Wait);
        assert_eq!(said(&after(&lasting, &looks[..2])).2, "gpu 40 is above 10 at 2 looks in a row: it waits when that lasts 1m");
    }

    #[test]
    fn times_are_not_judged_while_a_threshold_waits_or_has_no_value_yet() {
        let latency = Metric::new("latency", MetricKind::Latency(Default::default()));
        let errors = Metric::new("errors", MetricKind::ErrorRate(Default::default()));
        let metrics = [errors, latency, gpu(10.0, 0, ThresholdAction::Wait)];
        let mut evidence = Evidence::new(&metrics, 30.0);
        evidence.begin_step(&metrics, &step(0.05));
        let arm = |total: u64| {
            let times = Counts::Histogram { bounds: vec![10.0, 100.0], above: vec![total / 2, total / 10], total };
            BTreeMap::from([("errors".to_owned(), Counts::Events { total, bad: 0 }), ("latency".to_owned(), times)])
        };
        let mut counted = Vec::new();
        for (at, value) in [(0, None), (30, Some(40.0)), (60, Some(3.0)), (90, Some(3.0))] {
            let window =
                Window { start: t(at), end: t(at + 30), weight: 0.05, stable: arm(950), canary: arm(50), stable_pods: 3, canary_pods: 1 };
            if let Some(value) = value {
                evidence.observe(&metrics, &step(0.05), t(at), &[(2, Seen::Value(value))]);
            }
            evidence.add(&metrics, &step(0.05), &window);
            let says = |name: &str| evidence.told(&metrics, &step(0.05)).metrics.iter().find(|one| one.metric == name).unwrap().reason;
            counted.push([says("errors"), says("latency")]);
        }
        let (none, some) = (Some(EvidenceReason::NoData), Some(EvidenceReason::Calibrating));
        assert_eq!(counted, [[some, none], [some, none], [some, some], [some, some]]);
    }

    #[test]
    fn windows_and_requests_are_counted_where_nothing_is_compared() {
        let metrics = [gpu(38.0, 60, ThresholdAction::Hold)];
        let mut evidence = Evidence::new(&metrics, 30.0);
        let arm = |total: u64| BTreeMap::from([(REQUESTS.to_owned(), Counts::Events { total, bad: 0 })]);
        let (stable, canary) = (arm(950), arm(50));
        let window = Window { start: t(0), end: t(30), weight: 0.05, stable, canary, stable_pods: 3, canary_pods: 1 };
        evidence.add(&metrics, &step(0.05), &window);
        let found = evidence.told(&metrics, &step(0.05));
        assert_eq!((found.windows, found.step_requests, found.exposure.stable_requests), (1, 50, 950));
    }
}
