//! One value against limits that a user set, without a comparison with stable. One odd value does nothing: it must be beyond the limit at
//! every look over the time that the user gave.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{StepTerms, say, verdict::Answer};
use crate::api::{ArmValue, EvidenceReason, MetricEvidence, ThresholdAction, Verdict};
use crate::plan::{Metric, MetricKind, span};

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
pub struct Threshold {
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
    pub fn see(&mut self, kind: &MetricKind, at: Timestamp, seen: &Seen, interval_seconds: f64) {
        let MetricKind::Threshold { lasting, .. } = kind else { return };
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
                self.run = beyond(kind, *value).map(|_| self.run.map_or((at, 1), |(first, looks)| (first, looks + 1)));
                if let Some((first, looks)) = self.run.filter(|(first, _)| since(*first) >= lasting.as_secs_f64()) {
                    self.broken = Some(Broken { value: *value, seconds: since(first), looks });
                }
            }
        }
    }

    /// A step begins. A value that is beyond the limit is so in the next step too.
    pub fn begin_step(&mut self) {
        (self.looks, self.value, self.absent) = (0, None, None);
    }

    /// Whether the limit was broken, and this is what follows from it.
    pub fn broke(&self, kind: &MetricKind, wanted: ThresholdAction) -> bool {
        self.broken.is_some() && matches!(kind, MetricKind::Threshold { action, .. } if *action == wanted)
    }
}

/// The limit that a value is beyond, in words; `None`: within both.
fn beyond(kind: &MetricKind, value: f64) -> Option<(f64, &'static str)> {
    let MetricKind::Threshold { min, max, .. } = kind else { return None };
    let above = max.filter(|max| value > *max).map(|max| (max, "above"));
    above.or_else(|| min.filter(|min| value < *min).map(|min| (min, "below")))
}

/// What the threshold says at this step; `state` is absent before the first look.
pub fn answer(state: Option<&Threshold>, metric: &Metric, step: &StepTerms) -> Answer {
    let fresh = Threshold::default();
    let state = state.unwrap_or(&fresh);
    let asked = !step.without.contains(&metric.name);
    let value = state.value.filter(|_| state.looks > 0);
    let (verdict, reason, message) = words(state, value, metric, asked);
    let (MetricKind::Threshold { min, max, .. }, crossed) = (&metric.kind, value.and_then(|value| beyond(&metric.kind, value))) else {
        return Answer {
            evidence: MetricEvidence::new(&metric.name, verdict, reason, message),
            gates: false,
            within: true,
            windows_to_pass: None,
        };
    };
    let mut evidence = MetricEvidence::new(&metric.name, verdict, reason, message);
    evidence.canary = value.map(|value| ArmValue { value: Some(value), text: say::number(value), n: i64::from(state.looks) });
    evidence.limit = crossed.map(|(limit, _)| limit).or(*max).or(*min);
    Answer { evidence, gates: asked, within: value.is_some() && crossed.is_none(), windows_to_pass: Some(0.0) }
}

fn words(state: &Threshold, value: Option<f64>, metric: &Metric, asked: bool) -> (Verdict, Option<EvidenceReason>, String) {
    let Metric { name, kind, .. } = metric;
    let MetricKind::Threshold { min, max, lasting, action, .. } = kind else { return (Verdict::Inconclusive, None, String::new()) };
    let limits = [min.map(|min| format!("at least {}", say::number(min))), max.map(|max| format!("at most {}", say::number(max)))];
    let limits = limits.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if let Some(broken) = &state.broken {
        let (limit, side) = beyond(kind, broken.value).unwrap_or((max.or(*min).unwrap_or_default(), "beyond"));
        let long = span(Duration::try_from_secs_f64(broken.seconds.round()).unwrap_or_default());
        let looks = if broken.looks == 1 { "1 look".to_owned() } else { format!("{} looks in a row", broken.looks) };
        let (was, limit) = (say::number(broken.value), say::number(limit));
        let message = match value.filter(|now| beyond(kind, *now).is_none()) {
            None => format!("{name} {was} is {side} {limit} for {long}, at {looks}"),
            Some(now) => format!("{name} {was} was {side} {limit} for {long}, at {looks}; now {}", say::number(now)),
        };
        return match action {
            ThresholdAction::Rollback => (Verdict::Fail, Some(EvidenceReason::FailLimit), message),
            ThresholdAction::Hold => (Verdict::Inconclusive, Some(EvidenceReason::HoldLimit), message),
        };
    }
    let Some(value) = value else {
        let reason = if asked { EvidenceReason::NoValue } else { EvidenceReason::NotGating };
        let why = state.absent.clone().unwrap_or_else(|| "not asked yet in this step".to_owned());
        return (Verdict::Inconclusive, Some(reason), format!("{name} has no value ({limits}): {why}"));
    };
    match (beyond(kind, value), &state.run) {
        (Some((limit, side)), Some((_, looks))) => {
            let then = match action {
                ThresholdAction::Rollback => "rolls back",
                ThresholdAction::Hold => "holds",
            };
            let looks = if *looks == 1 { "1 look".to_owned() } else { format!("{looks} looks in a row") };
            let (value, limit) = (say::number(value), say::number(limit));
            let message = format!("{name} {value} is {side} {limit} at {looks}: it {then} when that lasts {}", span(*lasting));
            (Verdict::Inconclusive, Some(EvidenceReason::Beyond), message)
        }
        _ => (Verdict::Pass, None, format!("{name} {} ({limits})", say::number(value))),
    }
}
