//! One rollout, as it is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::News;
use crate::api::{AnyReason, DecisionRecord, Exposure, MeasureKind, Outcome, TimeUnit, Verdict, Version};

/// One rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// When it began; no other of this Rollout began then.
    pub started: Timestamp,
    /// The version that served before.
    pub stable: Version,
    /// The version that was tried.
    pub canary: Version,
    /// Seconds between two windows, as the manifest says.
    pub interval: f64,
    /// The steps of its plan.
    pub steps: Vec<Planned>,
    /// What is measured: points of windows are in this order.
    pub metrics: Vec<Measured>,
    /// What the canary got, as read back from the route: an entry for each change, oldest first.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Windows of counts, oldest first. Where some are missing there was no data, or nobody to write it down.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Of metrics that compare distributions: both of them, at the last look of each step. Oldest step first.
    #[serde(default)]
    pub distributions: Vec<Distribution>,
    /// What was decided, oldest first. The older ones of a long rollout are without their metrics.
    #[serde(default)]
    pub decisions: Vec<DecisionRecord>,
    /// Who was touched so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// How it ended; not there while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Canary's share of the users in percent.
    pub weight: u8,
    /// All that the canary gets, where that is more than a weight: `match`, `mirror of 100 %`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
}

/// A metric of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// What is compared.
    pub kind: MeasureKind,
    /// Unit of its values where they are times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
    /// True: it is shown and decides nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
}

/// What the canary gets from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When it was read back from the route.
    pub at: Timestamp,
    /// Index of the step; none outside of the steps: before the first one, and once everybody is back at stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Canary's share of the users in percent.
    pub weight: u8,
    /// All that the canary gets, where that is more than a weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
}

/// The counts of both versions over the same time, and what the evidence was at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Begin.
    pub start: Timestamp,
    /// End.
    pub end: Timestamp,
    /// Index of the step.
    pub step: usize,
    /// Canary's programmed share of the users in percent.
    pub weight: u8,
    /// Requests that stable answered.
    pub stable: u64,
    /// Requests that the canary answered, copies among them.
    pub canary: u64,
    /// From so many windows it was joined.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub joined: u32,
    /// Each metric, in the order of [`Run::metrics`]; one without data is absent.
    pub points: Vec<Option<Point>>,
}

fn one() -> u32 {
    1
}

// serde asks for a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

/// One metric in one window. Its names are short where it is stored: there are many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Stable in this window alone.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Arm>,
    /// The canary in this window alone.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Arm>,
    /// The difference over the step so far, in the unit of [`crate::api::Effect`]. This and what follows is absent in windows that were
    /// read late, several at once.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Its confidence bounds, which hold at all looks of the step.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// The limit whose crossing fails, in the unit of the difference; of a threshold the limit itself.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Of latency: the difference is that of the requests slower than this bound. Of scores: the largest difference is above it.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Evidence of harm: 1 is none.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
    /// The evidence that rolls back, over all metrics together.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub fail_at: Option<f64>,
    /// What the metric says.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// One version in one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Requests counted; of a threshold looks.
    pub n: u64,
    /// Of errors and of a share of your own: the share. Of latency: upper bound of the bucket that the 99th percentile is in; absent above
    /// the last bound. Of a threshold: the value. Of distributions: absent.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// How the answers of both versions spread, over one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// Index of the step.
    pub step: usize,
    /// Index of the metric in [`Run::metrics`].
    pub metric: usize,
    /// End of the newest window in it.
    pub at: Timestamp,
    /// What the shares are shares of.
    pub columns: Columns,
    /// Requests of stable.
    pub stable_n: u64,
    /// Requests of the canary.
    pub canary_n: u64,
    /// Stable's shares, weighted as the canary's windows were: one for each column and one more, for all other classes or for what is above
    /// the last bound.
    pub stable: Vec<f64>,
    /// Canary's shares.
    pub canary: Vec<f64>,
}

/// Columns of a distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Columns {
    /// Classes by name; the last share is that of all others.
    Classes(Vec<String>),
    /// Bins up to each bound, ascending; the last share is that of what is above the last bound.
    Bins(Vec<f64>),
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why.
    pub reason: AnyReason,
    /// In words.
    pub message: String,
}

impl Window {
    /// The canary's share of the requests, 0 to 1, as counted; none without requests.
    pub fn observed(&self) -> Option<f64> {
        let all = self.stable.saturating_add(self.canary);
        (all > 0).then(|| self.canary as f64 / all as f64)
    }
}

impl Run {
    /// Whether it is under way, as far as this record knows.
    pub fn is_under_way(&self) -> bool {
        self.end.is_none()
    }

    /// Index of a metric by its name.
    pub fn metric(&self, name: &str) -> Option<usize> {
        self.metrics.iter().position(|metric| metric.name == name)
    }

    /// The points of a metric, oldest first, with their windows.
    pub fn points(&self, metric: usize) -> impl Iterator<Item = (&Window, &Point)> {
        self.windows.iter().filter_map(move |window| Some((window, window.points.get(metric)?.as_ref()?)))
    }

    /// The decision that ended it, or else the newest one.
    pub fn last_decision(&self) -> Option<&DecisionRecord> {
        let of_end = |record: &&DecisionRecord| self.end.as_ref().is_some_and(|end| end.outcome == record.outcome);
        self.decisions.iter().rev().find(of_end).or(self.decisions.last())
    }

    /// All of it as news.
    pub(super) fn into_news(mut self) -> News {
        News {
            changes: std::mem::take(&mut self.changes),
            windows: std::mem::take(&mut self.windows),
            distributions: std::mem::take(&mut self.distributions),
            decisions: std::mem::take(&mut self.decisions),
            history: Vec::new(),
            head: self,
        }
    }

    /// Takes over what is new, and makes room for it.
    pub(super) fn note(&mut self, news: News) {
        let News { head, changes, windows, distributions, decisions, history: _ } = news;
        self.exposure = head.exposure.or(self.exposure.take());
        self.end = self.end.take().or(head.end);
        changes.into_iter().for_each(|change| self.change(change));
        windows.into_iter().for_each(|window| self.count(window));
        for new in distributions {
            self.distributions.retain(|known| (known.step, known.metric) != (new.step, new.metric));
            self.distributions.push(new);
        }
        for decision in decisions {
            let known = |one: &DecisionRecord| {
                (one.epoch, one.outcome, one.at.0.as_second()) == (decision.epoch, decision.outcome, decision.at.0.as_second())
            };
            if !self.decisions.iter().any(known) {
                self.decisions.push(decision);
            }
        }
        self.decisions.sort_by_key(|decision| decision.at.0);
        self.make_room();
    }

    fn change(&mut self, change: Change) {
        let known = |last: &Change| {
            change.at <= last.at || (last.step, last.weight, &last.traffic) == (change.step, change.weight, &change.traffic)
        };
        if !self.changes.last().is_some_and(known) {
            self.changes.push(change);
        }
    }

    /// Adds a window in its place. One that was read again after a restart replaces what was known of it.
    fn count(&mut self, window: Window) {
        let later = self.windows.iter().rev().take_while(|known| known.end > window.start).count();
        let at = self.windows.len() - later;
        let met = self.windows.iter().skip(at).take_while(|known| known.start < window.end).count();
        match self.windows.get_mut(at) {
            Some(known) if met == 1 && known.joined == 1 => {
                let points = known.points.iter().cloned().zip(window.points).map(|(old, new)| Point::newer(old, new)).collect();
                *known = Window { points, ..window };
            }
            // What is joined already has it, or most of it.
            _ if met > 0 => {}
            _ => self.windows.insert(at, window),
        }
    }
}

impl Point {
    /// The newer one; evidence that it does not have is still that of the older one.
    fn newer(old: Option<Self>, new: Option<Self>) -> Option<Self> {
        match (old, new) {
            (Some(old), Some(new)) if new.difference.is_none() && new.evidence.is_none() => {
                Some(Self { stable: new.stable, canary: new.canary, ..old })
            }
            (old, new) => new.or(old),
        }
    }
}
