//! What an edit in the middle of a rollout does (design section 2): what restarts it, what is taken over in place, what waits.

use std::{fmt, fmt::Debug};

use super::{AnalysisPlan, Metric, MetricKind, Plan, span};
use crate::api::AppliedPreset;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field as it is called in the manifest; a step or metric by its name: `hold of step 2`.
    pub field: String,
    /// Value before.
    pub from: String,
    /// Value after.
    pub to: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.field, self.from, self.to)
    }
}

/// What an edit does to a rollout that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Changes of the plan itself (traffic, canary, the list of steps): stable first, then from the start. If there is any, the other two
    /// are empty: everything counts with the new start.
    pub restart: Vec<Change>,
    /// Taken over in place.
    pub now: Vec<Change>,
    /// Counts from the next rollout: looser limits, every other change of the analysis, fields of steps that have ended.
    pub later: Vec<Change>,
}

impl Plan {
    /// Whether both speak of the same http route. `capacity` is not part of it.
    pub fn same_route(&self, other: &Self) -> bool {
        self.object == other.object && self.route == other.route
    }

    /// What replacing this plan by `new` does while `step` (from 0) is the present step.
    pub fn edit(&self, new: &Self, step: usize) -> Edit {
        let restart = self.shape(new);
        if !restart.is_empty() {
            return Edit { restart, ..Edit::default() };
        }
        let adopted = self.adopt(new, step);
        Edit { restart, now: self.details(&adopted), later: adopted.details(new) }
    }

    /// The plan in force after an edit that restarts nothing: this one, with what an edit may change in place taken from `new`.
    ///
    /// Of an edit that does restart, what does not depend on the list of steps is taken over, so that the way down already follows it.
    #[must_use]
    pub fn adopt(&self, new: &Self, step: usize) -> Self {
        let mut plan = self.clone();
        plan.capacity = new.capacity;
        plan.paused = new.paused;
        plan.rollback_window = new.rollback_window;
        plan.alerts.clone_from(&new.alerts);
        let same = self.same_steps(new);
        for (mine, theirs) in plan.steps.iter_mut().zip(&new.steps).skip(step).filter(|_| same) {
            mine.hold = theirs.hold;
            mine.deadline = theirs.deadline;
            mine.approval = theirs.approval;
            mine.on_inconclusive = theirs.on_inconclusive;
            // A metric that gates again is stricter; one that is left out is looser.
            mine.without.retain(|name| theirs.without.contains(name));
        }
        let mine = self.analysis.preset.as_ref();
        for metric in &mut plan.analysis.metrics {
            let moved = new.analysis.preset_of(&metric.name).is_some_and(|theirs| !mine.is_some_and(|mine| mine.is_same(theirs)));
            let other = new.analysis.metrics.iter().find(|other| other.name == metric.name);
            // Nobody has edited what another version of a preset brings: it counts from the next rollout.
            if let Some(other) = other.filter(|_| !moved) {
                metric.kind.tighten(&other.kind);
            }
        }
        plan
    }

    fn same_steps(&self, other: &Self) -> bool {
        let list = |plan: &Self| plan.steps.iter().map(|step| (step.name.clone(), step.split.clone())).collect::<Vec<_>>();
        list(self) == list(other)
    }

    /// Changes that make it another plan.
    fn shape(&self, new: &Self) -> Vec<Change> {
        let mut list = List::default();
        let object = |object: &crate::api::RouteRef| object.name().to_owned();
        if self.object.kind() == new.object.kind() {
            list.add(&format!("traffic.{}", self.object.kind().field()), &self.object, &new.object, object);
        } else {
            list.add("traffic", &self.object, &new.object, ToString::to_string);
        }
        list.add("traffic.route", &self.route, &new.route, |route| route.clone().unwrap_or_else(|| "(the one that fits)".into()));
        if self.canary.field() == new.canary.field() {
            list.add(&format!("canary.{}", self.canary.field()), &self.canary, &new.canary, |canary| canary.name().to_owned());
        } else {
            list.add("canary", &self.canary, &new.canary, ToString::to_string);
        }
        if !self.same_steps(new) {
            list.add("strategy", &self.steps, &new.steps, |steps| {
                let step = |(i, step): (usize, &super::Step)| match step.name.parse::<usize>() {
                    Ok(number) if number == i + 1 => step.split.words(),
                    _ => format!("{} {}", step.name, step.split.words()),
                };
                steps.iter().enumerate().map(step).collect::<Vec<_>>().join(", ")
            });
        }
        list.0
    }

    /// All other changes. Steps are compared by index: call it on plans of the same shape.
    fn details(&self, new: &Self) -> Vec<Change> {
        let mut list = List::default();
        list.add("traffic.capacity", &self.capacity, &new.capacity, word);
        for (old, new) in self.steps.iter().zip(&new.steps) {
            let field = |name: &str| format!("{name} of step {}", old.name);
            list.add(&field("hold"), &old.hold, &new.hold, |hold| span(*hold));
            list.add(&field("deadline"), &old.deadline, &new.deadline, |deadline| span(*deadline));
            list.add(&field("approval"), &old.approval, &new.approval, bool::to_string);
            list.add(&field("onInconclusive"), &old.on_inconclusive, &new.on_inconclusive, word);
            list.add(&field("without"), &old.without, &new.without, |names| format!("[{}]", names.join(", ")));
        }
        let (old, other) = (&self.analysis, &new.analysis);
        list.add("analysis.prometheus", &old.prometheus, &other.prometheus, String::clone);
        list.add("analysis.interval", &old.interval, &other.interval, |value| span(*value));
        list.add("analysis.warmUp", &old.warm_up, &other.warm_up, |value| span(*value));
        let preset = |preset: &Option<AppliedPreset>| preset.as_ref().map_or_else(|| "(none)".to_owned(), ToString::to_string);
        let known = |analysis: &AnalysisPlan| analysis.preset.clone().map(|preset| AppliedPreset { metrics: Vec::new(), ..preset });
        list.add("analysis.preset", &known(old), &known(other), preset);
        let names = |metrics: &Vec<Metric>| format!("[{}]", metrics.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", "));
        if names(&old.metrics) != names(&other.metrics) {
            list.add("analysis.metrics", &old.metrics, &other.metrics, names);
        }
        for metric in &old.metrics {
            if let Some(other) = other.metrics.iter().find(|other| other.name == metric.name) {
                list.kinds(&metric.name, &metric.kind, &other.kind);
                list.add(&format!("gate of metric {}", metric.name), &metric.gate, &other.gate, bool::to_string);
            }
        }
        let sinks =
            |names: &Option<Vec<String>>| names.as_ref().map_or_else(|| "(default)".into(), |names| format!("[{}]", names.join(", ")));
        list.add("alerts", &self.alerts, &new.alerts, sinks);
        list.add("rollbackWindow", &self.rollback_window, &new.rollback_window, |window| span(*window));
        list.add("paused", &self.paused, &new.paused, bool::to_string);
        list.0
    }
}

fn word<T: Debug>(value: &T) -> String {
    format!("{value:?}")
}

#[derive(Default)]
struct List(Vec<Change>);

impl List {
    fn add<T: PartialEq>(&mut self, field: &str, from: &T, to: &T, text: impl Fn(&T) -> String) {
        if from != to {
            self.0.push(Change { field: field.into(), from: text(from), to: text(to) });
        }
    }

    fn kinds(&mut self, name: &str, old: &MetricKind, new: &MetricKind) {
        let (from, to) = (old.fields(), new.fields());
        if from.iter().map(|field| field.0).eq(to.iter().map(|field| field.0)) {
            for ((field, from), (_, to)) in from.iter().zip(&to) {
                self.add(&format!("{field} of metric {name}"), from, to, String::clone);
            }
        } else {
            let text =
                |fields: &Vec<(&str, String)>| fields.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
            self.add(&format!("kind of metric {name}"), &from, &to, text);
        }
    }
}
