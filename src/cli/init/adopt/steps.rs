//! What another controller's steps set, one after the other, as steps of ours. Pure.
//!
//! There a step sets something and the next one waits; here a step is a kind of traffic with its hold. What is set before a wait is one step.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::words::span;

/// Most steps of a plan.
const MOST: usize = 20;
/// Longest hold that is taken.
const LONGEST: Duration = Duration::from_secs(168 * 3600);
const ALL: i64 = 100;

/// What the canary gets.
#[derive(Clone, Debug, Default, PartialEq)]
struct Traffic {
    weight: i64,
    matches: Vec<Value>,
    mirror: i64,
}

impl Traffic {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Steps as they are found.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Map<String, Value>>,
    now: Traffic,
    last: Traffic,
    hold: Duration,
    waited: bool,
    approval: bool,
    /// What has no place in our steps, and why.
    pub(super) lost: Vec<String>,
}

impl Steps {
    /// The canary's share from here on.
    pub(super) fn weight(&mut self, weight: i64) {
        if weight < self.now.weight {
            self.lost.push(format!(
                "setWeight: {weight} after {}: a plan only leads up. On the way down everything goes to stable in one write.",
                self.now.weight
            ));
            return;
        }
        if self.now.weight != self.last.weight && weight != self.now.weight {
            self.close();
        }
        self.change(|now| now.weight = weight.min(ALL));
    }

    /// Whose requests go to the canary whatever the weight says.
    pub(super) fn matches(&mut self, matches: Vec<Value>) {
        self.change(|now| now.matches = matches);
    }

    /// How many requests are copied.
    pub(super) fn mirror(&mut self, percent: i64) {
        self.change(|now| now.mirror = percent.clamp(0, ALL));
    }

    /// A wait.
    pub(super) fn hold(&mut self, hold: Duration) {
        self.waited = true;
        self.hold = self.hold.saturating_add(hold);
    }

    /// A wait for a person.
    pub(super) fn ask(&mut self) {
        self.close();
        self.approval = true;
    }

    fn change(&mut self, change: impl FnOnce(&mut Traffic)) {
        if self.waited {
            self.close();
        }
        change(&mut self.now);
    }

    /// Ends what was set before as a step.
    fn close(&mut self) {
        let (hold, waited) = (std::mem::take(&mut self.hold), std::mem::take(&mut self.waited));
        if self.now.is_none() {
            if waited && !hold.is_zero() {
                self.lost.push(format!(
                    "A wait of {} before any traffic: there is nothing to compare, so the first step follows at once.",
                    span(hold)
                ));
            }
            return;
        }
        if self.now.weight > 0 && self.now.weight == self.last.weight {
            if self.now != self.last {
                self.lost.push(format!(
                    "A match or mirror that changes while the weight stays {} %: a step with a weight needs a higher one than the step before. Put it into a step of its own before the first weight.",
                    self.now.weight
                ));
            }
            self.longer(hold);
            return;
        }
        if self.now == self.last {
            self.longer(hold);
            return;
        }
        let mut step = Map::new();
        if self.now.mirror > 0 {
            step.insert("mirror".into(), self.now.mirror.into());
            step.insert("acknowledgeSideEffects".into(), true.into());
        }
        if !self.now.matches.is_empty() {
            step.insert("match".into(), self.now.matches.clone().into());
        }
        if self.now.weight > 0 {
            step.insert("weight".into(), self.now.weight.into());
        } else {
            let kind = if self.now.matches.is_empty() { "mirror" } else { "match" };
            let same = self
                .steps
                .iter()
                .filter(|step| step.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(kind)))
                .count();
            step.insert("name".into(), if same == 0 { kind.to_owned() } else { format!("{kind}-{}", same + 1) }.into());
        }
        if self.now.weight == ALL && step.len() > 1 {
            step.retain(|field, _| field == "weight");
        }
        if let Some(hold) = written(hold, &mut self.lost) {
            step.insert("hold".into(), hold);
        }
        if std::mem::take(&mut self.approval) {
            step.insert("approval".into(), true.into());
        }
        self.steps.push(step);
        self.last = self.now.clone();
    }

    /// A wait at a step that is closed already.
    fn longer(&mut self, by: Duration) {
        let Some(step) = self.steps.last_mut().filter(|_| !by.is_zero()) else { return };
        let before =
            step.get("hold").and_then(Value::as_str).and_then(crate::plan::read_span).map_or(Duration::ZERO, Duration::from_secs_f64);
        if let Some(hold) = written(before.saturating_add(by), &mut self.lost) {
            step.insert("hold".into(), hold);
        }
    }

    /// `spec.strategy`. Everybody gets the canary in the end.
    pub(super) fn strategy(&mut self, bake: Option<Duration>) -> Value {
        self.close();
        if self.last.weight < ALL {
            self.now = Traffic { weight: ALL, ..Traffic::default() };
            self.hold = bake.unwrap_or_default();
            self.close();
        }
        self.thin();
        let weights: Option<Vec<&Value>> = self
            .steps
            .iter()
            .map(|step| step.get("weight").filter(|_| step.keys().all(|field| field == "weight" || field == "hold")))
            .collect();
        let mut holds = self.steps.iter().rev().skip(1).map(|step| step.get("hold"));
        let first = self.steps.first().and_then(|step| step.get("hold")).filter(|_| self.steps.len() > 1);
        let bake = self.steps.last().and_then(|step| step.get("hold"));
        match weights {
            Some(weights) if holds.all(|hold| hold == first) && (bake.is_none() || bake == first) => {
                let mut canary = json!({ "weights": weights });
                if let (Some(first), Some(canary)) = (first, canary.as_object_mut()) {
                    canary.insert("hold".into(), first.clone());
                }
                json!({ "canary": canary })
            }
            _ => json!({ "steps": self.steps }),
        }
    }

    /// No more steps than a plan takes: some in the middle are left out.
    fn thin(&mut self) {
        let count = self.steps.len();
        if count <= MOST {
            return;
        }
        self.lost
            .push(format!("{count} steps: a plan has at most {MOST}. Some in the middle are left out, the first and the last are kept."));
        let kept = |index: usize| (0..MOST).any(|one| one * (count - 1) / (MOST - 1) == index);
        let mut index = 0;
        self.steps.retain(|_| {
            index += 1;
            kept(index - 1)
        });
    }
}

/// A hold as it is written; nothing where none is asked for.
fn written(hold: Duration, lost: &mut Vec<String>) -> Option<Value> {
    if hold > LONGEST {
        lost.push(format!("A wait of {}: a hold is at most {}.", span(hold), span(LONGEST)));
    }
    let hold = hold.min(LONGEST);
    (!hold.is_zero()).then(|| span(Duration::from_secs(hold.as_secs().max(1))).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn weights_with_the_same_wait_are_a_canary() {
        let mut steps = Steps::default();
        for weight in [5, 20, 50] {
            steps.weight(weight);
            steps.hold(minutes(10));
        }
        assert_eq!(steps.strategy(None), json!({"canary": {"weights": [5, 20, 50, 100], "hold": "10m"}}));
        assert_eq!(steps.lost, [""; 0]);
    }

    #[test]
    fn a_wait_for_a_person_is_an_approval_of_the_next_step() {
        let mut steps = Steps::default();
        steps.weight(20);
        steps.ask();
        steps.hold(minutes(3));
        steps.weight(50);
        steps.hold(minutes(1));
        steps.ask();
        let wanted =
            json!([{"weight": 20, "hold": "3m"}, {"weight": 50, "hold": "1m", "approval": true}, {"weight": 100, "approval": true}]);
        assert_eq!(steps.strategy(None), json!({ "steps": wanted }));
    }

    #[test]
    fn a_header_and_copies_come_before_the_weights_that_follow_them() {
        let beta = vec![json!({"headers": {"x-user": {"exact": "beta"}}})];
        let mut steps = Steps::default();
        steps.mirror(50);
        steps.hold(minutes(5));
        steps.mirror(0);
        steps.matches(beta.clone());
        steps.ask();
        steps.weight(10);
        steps.hold(minutes(5));
        steps.matches(Vec::new());
        steps.hold(minutes(2));
        let wanted = json!([
            {"name": "mirror", "mirror": 50, "acknowledgeSideEffects": true, "hold": "5m"},
            {"name": "match", "match": beta},
            {"weight": 10, "match": beta, "hold": "7m", "approval": true},
            {"weight": 100},
        ]);
        assert_eq!(steps.strategy(None), json!({ "steps": wanted }));
        assert!(steps.lost.len() == 1 && steps.lost[0].contains("while the weight stays 10 %"), "{:?}", steps.lost);
    }

    #[test]
    fn what_leads_down_or_nowhere_is_named() {
        let mut steps = Steps::default();
        steps.hold(minutes(5));
        steps.weight(40);
        steps.hold(minutes(1));
        steps.weight(10);
        steps.hold(Duration::from_secs(1_000_000));
        assert_eq!(steps.strategy(None)["canary"]["weights"], json!([40, 100]));
        assert_eq!(steps.lost.len(), 3, "{:?}", steps.lost);
    }

    #[test]
    fn no_more_steps_than_a_plan_takes() {
        let mut steps = Steps::default();
        for weight in 1..=50 {
            steps.weight(2 * weight - 1);
            steps.hold(minutes(1));
        }
        let made = steps.strategy(None);
        let weights = made["canary"]["weights"].as_array().unwrap();
        assert!(weights.len() == 20 && weights[0] == 1 && weights[19] == 100, "{weights:?}");
    }
}
