//! Whether the traffic is enough for a plan (statistics 2g), in words and numbers.

use std::time::Duration;

use serde::Serialize;

use crate::{
    judge::{Reach, StepTerms, forecast_plan},
    plan::{Plan, span},
    say,
    state::brief::terms,
};

/// What can be proved and seen at a rate of requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// Requests a second over both arms.
    pub rps: f64,
    /// Stable's share of failing requests.
    pub error_rate: f64,
    /// One for each step.
    pub steps: Vec<StepOutlook>,
    /// What of each metric is found by the end of the plan.
    pub reach: Vec<ReachOutlook>,
    /// Which step is too short at this traffic, by its deadline or else by its hold, with the change that would be enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<String>,
}

/// What of one metric is found by the end of the plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachOutlook {
    /// In numbers.
    #[serde(flatten)]
    pub found: Reach,
    /// The smallest regression found, in words.
    pub words: String,
}

/// What can be proved and seen in one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepOutlook {
    /// Name of the step.
    pub step: String,
    /// Canary's share in percent.
    pub weight: u8,
    /// All that the canary gets, in words.
    pub traffic: String,
    /// Whether a metric that gates is compared with stable in it.
    pub compares: bool,
    /// Minutes of the hold.
    pub hold_minutes: f64,
    /// Minutes until a healthy canary passes; absent: never. At 100 % the hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes_to_pass: Option<f64>,
    /// Minutes until twice stable's errors, a slow-down by 30 % or twice the drift limit is seen, the slowest of them; absent: never, or nothing
    /// is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes_to_detect: Option<f64>,
    /// The metric that passes last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest: Option<String>,
}

/// The outlook of a plan; none without metrics, where nothing is proved.
pub(super) fn outlook(plan: &Plan, rps: f64, error_rate: f64) -> Option<Outlook> {
    if plan.analysis.metrics.is_empty() {
        return None;
    }
    let seconds = |value: fn(&crate::plan::Step) -> Duration| plan.steps.iter().map(|step| value(step).as_secs_f64()).collect::<Vec<_>>();
    let (holds, deadlines) = (seconds(|step| step.hold), seconds(|step| step.deadline));
    let interval = plan.analysis.interval.as_secs_f64();
    let (metrics, terms) = (&plan.analysis.metrics, terms(plan));
    let found = forecast_plan(metrics, &terms, interval, rps, &holds, &deadlines, error_rate);
    let compares = |step: &StepTerms| metrics.iter().any(|metric| step.compares(metric));
    let steps = plan.steps.iter().zip(&terms).zip(found.steps).map(|((step, terms), found)| StepOutlook {
        step: step.name.clone(),
        weight: step.split.weight,
        traffic: step.split.words(),
        compares: compares(terms),
        hold_minutes: step.hold.as_secs_f64() / 60.0,
        minutes_to_pass: found.minutes_to_pass,
        minutes_to_detect: found.minutes_to_detect,
        slowest: found.slowest,
    });
    let reach = found.reach.into_iter().map(|found| {
        let metric = metrics.iter().find(|metric| metric.name == found.metric);
        ReachOutlook { words: metric.map_or_else(String::new, |metric| say::reach(metric, &found)), found }
    });
    let reach = reach.collect();
    Some(Outlook { rps, error_rate, steps: steps.collect(), reach, late: found.late.as_ref().map(say::late) })
}

impl Outlook {
    pub(super) fn text(&self) -> String {
        let mut text = format!("  at {} requests a second, of which stable fails {} %:\n", self.rps, self.error_rate * 100.0);
        let longest = |of: fn(&StepOutlook) -> &String| self.steps.iter().map(|step| of(step).chars().count()).max().unwrap_or_default();
        let (width, traffic) = (longest(|step| &step.step), longest(|step| &step.traffic));
        for step in &self.steps {
            let name = format!("           {:width$}  {:>traffic$}  ", step.step, step.traffic);
            let words = match (step.weight, step.minutes_to_pass) {
                (100, _) => format!("nothing to compare with: the hold of {}", minutes(step.hold_minutes)),
                _ if !step.compares => format!("nothing is compared in this step: the hold of {}", minutes(step.hold_minutes)),
                (_, None) => format!("never proved good{}; {}", slowest(step), seen(step)),
                (_, Some(pass)) => format!("proved good after {}{}; {}", minutes(pass.max(step.hold_minutes)), slowest(step), seen(step)),
            };
            text += &format!("{name}{words}\n");
        }
        if self.steps.iter().any(|step| step.compares) {
            text += "           harm: twice stable's errors, 30 % slower or twice the drift limit, whichever shows last\n";
        }
        if !self.reach.is_empty() {
            let reach: Vec<String> = self.reach.iter().map(|reach| format!("{} {}", reach.found.metric, reach.words)).collect();
            text += &format!("           detectable with 90 % power by the end of the plan: {}\n", reach.join("; "));
        }
        text
    }
}

fn slowest(step: &StepOutlook) -> String {
    let slower = step.minutes_to_pass.is_none_or(|pass| pass > step.hold_minutes);
    step.slowest.as_ref().filter(|_| slower).map_or_else(String::new, |slowest| format!(" ({slowest})"))
}

fn seen(step: &StepOutlook) -> String {
    let end = step.minutes_to_pass.map_or(f64::INFINITY, |pass| pass.max(step.hold_minutes));
    match step.minutes_to_detect {
        Some(detect) if detect <= end => format!("harm seen after {}", minutes(detect)),
        Some(detect) => format!("harm seen after {}: not in this step", minutes(detect)),
        None => "harm not seen here".into(),
    }
}

/// Rounded up: to half minutes below an hour, to minutes above.
fn minutes(value: f64) -> String {
    let value = value.clamp(0.0, 1e7);
    let rounded = if value < 60.0 { (value * 2.0).ceil() / 2.0 } else { value.ceil() };
    span(Duration::from_secs_f64(rounded * 60.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(analysis: &serde_json::Value, steps: &serde_json::Value) -> Outlook {
        let spec = serde_json::json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"steps": steps}, "analysis": analysis,
        });
        outlook(&Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap(), 100.0, 0.001).unwrap()
    }

    #[test]
    fn where_nothing_is_compared_no_time_is_reported_after_which_harm_is_seen() {
        let steps = serde_json::json!([{"weight": 50}, {"weight": 100}]);
        let shown = serde_json::json!({"metrics": [{"name": "errors", "errorRate": {}, "gate": false}]});
        let threshold = serde_json::json!({"metrics": [{"name": "gpu", "threshold": {"query": "max(x)", "max": 1.0}}]});
        for analysis in [shown, threshold] {
            let found = of(&analysis, &steps);
            assert_eq!(found.steps[0].minutes_to_detect, None, "{analysis}");
            let text = found.text();
            assert!(text.contains("50 %  nothing is compared in this step: the hold of 5m\n"), "{text}");
            assert!(!text.contains("harm"), "{text}");
        }
    }

    #[test]
    fn a_step_that_leaves_every_metric_out_compares_nothing_and_the_next_one_does() {
        let steps = serde_json::json!([{"weight": 20, "without": ["errors"]}, {"weight": 50}, {"weight": 100}]);
        let found = of(&serde_json::json!({"metrics": [{"name": "errors", "errorRate": {}}]}), &steps);
        assert_eq!(found.steps[0].minutes_to_detect, None);
        assert!(found.steps[1].minutes_to_detect.is_some_and(|minutes| minutes > 0.0));
        let text = found.text();
        assert_eq!(text.matches("nothing is compared in this step").count(), 1, "{text}");
        assert_eq!(text.matches("harm seen after").count(), 1, "{text}");
        assert_eq!(text.matches("harm: twice").count(), 1, "{text}");
    }
}
