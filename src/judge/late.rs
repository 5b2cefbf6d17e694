//! Whether a step has the time that a healthy canary needs (statistics 2g): the forecast beside hold and deadline, and the change that
//! would be enough.

use serde::{Deserialize, Serialize};

use super::say;
use crate::plan::Share;
use crate::words::{at_least, time};

/// A step that is too short, in words with numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Late {
    /// A healthy canary is not proved good before the deadline.
    Deadline(String),
    /// It is, but only after the hold.
    Hold(String),
}

impl Late {
    /// The words.
    pub fn words(&self) -> &str {
        let (Self::Deadline(words) | Self::Hold(words)) = self;
        words
    }
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
        let at = format!("{} at {} of {:.1} requests a second", self.metric, self.share.words(), self.rps);
        let Some(more) = self.minutes else {
            return Some(Late::Deadline(format!("{at} is never proved good; more traffic, or `without` for this metric, would be enough")));
        };
        let all = self.shown + more;
        if held + more > deadline {
            let fix = self.fix(all, deadline - (held - self.shown), "deadline", 1.3 * (held + more));
            let limit = say::minutes(deadline);
            return Some(Late::Deadline(format!("{at} needs about {} more, beyond the deadline of {limit}; {fix}", say::minutes(more))));
        }
        (all > hold).then(|| {
            let fix = self.fix(all, hold, "hold", all);
            let (all, hold) = (say::minutes(all), say::minutes(hold));
            Late::Hold(format!("{at} is proved after about {all}, later than the hold of {hold}: the weight waits for the proof; {fix}"))
        })
    }

    /// What would be enough, if the step took `all` minutes at its weight and has `limit`. What a window proves grows with w (1 - w).
    fn fix(&self, all: f64, limit: f64, name: &str, longer: f64) -> String {
        let precision = |weight: f64| weight * (1.0 - weight);
        let weights = (1..=10).map(|twentieth| 0.05 * f64::from(twentieth));
        let enough = |weight: &f64| *weight > self.weight && precision(*weight) * limit >= precision(self.weight) * all;
        // How many users a match picks, or what a copy costs, is not ours to say.
        let weighted = self.share == Share::weight(self.share.weight);
        let weight = weights.filter(|_| weighted && limit > 0.0).find(enough).map(|weight| format!("a weight of {:.0} %", 100.0 * weight));
        let longer = format!("a {name} of {}", time(at_least(60.0 * longer.ceil())));
        let fixes: Vec<String> = weight.into_iter().chain([longer]).collect();
        format!("{} would be enough", fixes.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(shown: f64, minutes: Option<f64>) -> Slowest {
        Slowest { metric: "errorRate".into(), weight: 0.05, share: Share::weight(5), rps: 10.0, shown, minutes }
    }

    #[test]
    fn a_step_with_time_enough_is_not_late() {
        assert_eq!(errors(1.0, Some(4.0)).late(1.6, 5.0, 60.0), None);
    }

    #[test]
    fn a_deadline_that_is_too_short_is_told_with_what_would_be_enough() {
        // 0.05 x 0.95 x 40 of 20 minutes asks for w (1 - w) of 0.095: more than 10 % has, 15 % has it.
        let late = errors(1.0, Some(39.0)).late(1.0, 5.0, 20.0);
        let words = "errorRate at 5 % of 10.0 requests a second needs about 39m more, beyond the deadline of 20m; \
                     a weight of 15 % or a deadline of 52m would be enough";
        assert_eq!(late, Some(Late::Deadline(words.into())));
        // Windows that were dropped are time that has gone by.
        assert!(matches!(errors(1.0, Some(9.0)).late(12.0, 5.0, 20.0), Some(Late::Deadline(_))));
        // No weight makes up for that.
        let Some(Late::Deadline(words)) = errors(1.0, Some(600.0)).late(1.0, 5.0, 20.0) else { panic!("it is late") };
        assert!(words.ends_with("; a deadline of 13h10m would be enough"), "{words}");
    }

    #[test]
    fn a_hold_that_is_too_short_is_told_with_what_would_be_enough() {
        let words = "errorRate at 5 % of 10.0 requests a second is proved after about 9m, later than the hold of 5m: the weight waits \
                     for the proof; a weight of 10 % or a hold of 9m would be enough";
        assert_eq!(errors(2.0, Some(7.0)).late(2.6, 5.0, 60.0), Some(Late::Hold(words.into())));
    }

    #[test]
    fn what_no_time_can_prove_is_late_whatever_the_deadline() {
        let Some(Late::Deadline(words)) = errors(2.0, None).late(2.0, 5.0, 1e6) else { panic!("it is late") };
        assert!(words.contains("never proved good; more traffic"), "{words}");
    }
}
