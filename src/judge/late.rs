//! Whether a step has the time that a healthy canary needs (statistics 2g): the forecast beside hold and deadline, and the change that
//! would be enough.

use serde::{Deserialize, Serialize};

use crate::plan::Share;
use crate::words::at_least;

/// Which of the two limits of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// A healthy canary is proved good, but only after the hold.
    Hold,
    /// It is not proved good before the deadline.
    Deadline,
}

/// A step that is too short, and what would be enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Late {
    /// The limit that is too short.
    pub limit: Limit,
    /// The limit in minutes.
    pub minutes: f64,
    /// What the canary gets in the step.
    pub share: Share,
    /// Requests a second of both arms.
    pub rps: f64,
    /// The metric that is proved good last.
    pub metric: Option<String>,
    /// What it needs.
    pub need: Need,
    /// What would be enough.
    pub fix: Fix,
}

/// What a healthy canary needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// By the forecast so many minutes; `None`: no time would be enough.
    Forecast(Option<f64>),
    /// By what the present step has shown.
    Shown {
        /// Minutes that are still missing; `None`: no time would be enough.
        more: Option<f64>,
        /// Minutes with those that were shown.
        all: f64,
    },
}

/// What would be enough: any one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fix {
    /// A larger weight, in percent.
    pub weight: Option<u8>,
    /// A shadow step of so many minutes first, and the weight after it, in percent.
    pub shadow: Option<(f64, u8)>,
    /// A limit of so many minutes.
    pub longer: Option<f64>,
    /// Where nothing else is: so many requests a second.
    pub traffic: Option<f64>,
}

/// Which metric a healthy canary still waits for in a step, and how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slowest {
    /// Name of the metric.
    pub metric: String,
    /// Canary's part of what is counted, 0 to 1.
    pub weight: f64,
    /// What the canary gets.
    pub share: Share,
    /// Requests a second of both arms.
    pub rps: f64,
    /// Minutes of windows that this step has shown.
    pub shown: f64,
    /// Minutes that are still missing, above 0; `None`: no time would be enough at this weight.
    pub minutes: Option<f64>,
}

impl Slowest {
    /// Whether the step is too short for it: `held` minutes of it have gone by.
    pub fn late(&self, held: f64, hold: f64, deadline: f64) -> Option<Late> {
        let late = |limit: Limit, minutes: f64, all: f64, fix: Fix| Late {
            limit,
            minutes,
            share: self.share,
            rps: self.rps,
            metric: Some(self.metric.clone()),
            need: Need::Shown { more: self.minutes, all },
            fix,
        };
        let Some(more) = self.minutes else { return Some(late(Limit::Deadline, deadline, self.shown, Fix::default())) };
        let all = self.shown + more;
        if held + more > deadline {
            let fix = self.fix(all, deadline - (held - self.shown), 1.3 * (held + more));
            return Some(late(Limit::Deadline, deadline, all, fix));
        }
        (all > hold).then(|| late(Limit::Hold, hold, all, self.fix(all, hold, all)))
    }

    /// What would be enough, if the step took `all` minutes at its weight and has `limit`. What a window proves grows with w (1 - w).
    fn fix(&self, all: f64, limit: f64, longer: f64) -> Fix {
        let precision = |weight: f64| weight * (1.0 - weight);
        let weights = (1..=10).map(|twentieth: u8| (5 * twentieth, 0.05 * f64::from(twentieth)));
        let enough = |(_, weight): &(u8, f64)| *weight > self.weight && precision(*weight) * limit >= precision(self.weight) * all;
        // How many users a match picks, or what a copy costs, is not ours to say.
        let weighted = self.share == Share::weight(self.share.weight);
        let weight = weights.filter(|_| weighted && limit > 0.0).find(enough).map(|(percent, _)| percent);
        Fix { weight, longer: Some(at_least(60.0 * longer.ceil()) / 60.0), ..Fix::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::say;

    fn errors(shown: f64, minutes: Option<f64>) -> Slowest {
        Slowest { metric: "errorRate".into(), weight: 0.05, share: Share::weight(5), rps: 10.0, shown, minutes }
    }

    #[test]
    fn a_step_with_time_enough_is_not_late() {
        assert_eq!(errors(1.0, Some(4.0)).late(1.6, 5.0, 60.0), None);
    }

    #[test]
    fn a_deadline_that_is_too_short_is_reported_with_what_would_be_enough() {
        // 0.05 x 0.95 x 40 of 20 minutes asks for w (1 - w) of 0.095: more than 10 % has, 15 % has it.
        let late = errors(1.0, Some(39.0)).late(1.0, 5.0, 20.0).unwrap();
        let words = "errorRate at 5 % of 10.0 requests a second needs about 39m more, beyond the deadline of 20m; \
                     a weight of 15 % or a deadline of 52m would be enough";
        assert_eq!((late.limit, say::late(&late).as_str()), (Limit::Deadline, words));
        // Windows that were dropped are time that has gone by.
        assert_eq!(errors(1.0, Some(9.0)).late(12.0, 5.0, 20.0).unwrap().limit, Limit::Deadline);
        // No weight makes up for that.
        let late = errors(1.0, Some(600.0)).late(1.0, 5.0, 20.0).unwrap();
        assert_eq!((late.limit, late.fix.weight), (Limit::Deadline, None));
        assert!(say::late(&late).ends_with("; a deadline of 13h10m would be enough"), "{late:?}");
    }

    #[test]
    fn a_hold_that_is_too_short_is_reported_with_what_would_be_enough() {
        let late = errors(2.0, Some(7.0)).late(2.6, 5.0, 60.0).unwrap();
        let words = "errorRate at 5 % of 10.0 requests a second is proved after about 9m, later than the hold of 5m: the weight waits \
                     for the proof; a weight of 10 % or a hold of 9m would be enough";
        assert_eq!((late.limit, say::late(&late).as_str()), (Limit::Hold, words));
    }

    #[test]
    fn what_no_time_can_prove_is_late_whatever_the_deadline() {
        let late = errors(2.0, None).late(2.0, 5.0, 1e6).unwrap();
        assert_eq!(late.limit, Limit::Deadline);
        assert!(say::late(&late).contains("never proved good; more traffic"), "{late:?}");
    }
}
