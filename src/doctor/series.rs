//! What Prometheus has of the two versions: who counts them, by which label they differ, how often and how late.

use std::time::Duration;

use super::{Finding, Histogram, Level, Offered};
use crate::plan::Plan;
use crate::seen::Problem;
use crate::words::{count, span};

/// A pace measured may be longer than the one configured by this.
const PACE: f64 = 1.25;

/// What was measured where everything needed was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Who counts the requests: `destination`, `waypoint` or `source`.
    pub reporter: String,
    /// Label that tells the versions apart.
    pub label: String,
    /// Its value for stable and for the canary.
    pub values: [String; 2],
    /// Series of requests of each in the last five minutes.
    pub series: [usize; 2],
    /// Requests a second of each.
    pub rates: [f64; 2],
    /// Share of stable's requests that failed.
    pub errors: f64,
    /// Time between two scrapes, if two were seen.
    pub scrape: Option<Duration>,
    /// Age of the newest sample.
    pub age: Option<Duration>,
    /// Time between two scrapes as the provider says.
    pub configured: Duration,
    /// Its lag.
    pub lag: Duration,
    /// Histograms that are judged.
    pub histograms: Vec<Histogram>,
    /// Metrics of the model's own that could be judged.
    pub offered: Vec<Offered>,
}

impl Measured {
    /// Requests a second over both versions.
    pub fn rps(&self) -> f64 {
        self.rates.iter().sum()
    }
}

/// What preflight says when it does not end.
pub fn unmeasured(problem: &Problem) -> Finding {
    Finding::saying("series", Level::Fail, &problem.message)
}

/// What is to be said of the series of a Rollout. `share`: the canary has traffic as its route says. `deployed`: it has pods.
pub fn series(measured: &Measured, plan: &Plan, share: bool, deployed: bool) -> Vec<Finding> {
    let mut found = vec![present(measured, share, deployed)];
    if deployed {
        let [stable, canary] = &measured.values;
        found.push(Finding::ok("labels", format!("{} tells the versions apart: {stable} and {canary}", measured.label)));
    }
    found.extend(pace(measured, plan));
    found.extend(lateness(measured));
    found
}

fn present(measured: &Measured, share: bool, deployed: bool) -> Finding {
    const CHECK: &str = "series";
    let [stable, canary] = measured.rates;
    let at = format!("at reporter {}", measured.reporter);
    if stable <= 0.0 && canary <= 0.0 {
        let fact = format!("stable has had no request in the last five minutes, {at}");
        return Finding::fail(CHECK, fact, "send requests through the route; without them nothing is compared");
    }
    let rate = |rate: f64| format!("{} requests/s", if rate < 10.0 { format!("{rate:.1}") } else { count(rate) });
    match measured.series {
        [_, 0] if share => {
            let label = &measured.label;
            let fact = format!("stable has {} {at}, and the canary none although its route gives it a share", rate(stable));
            let query = format!("sum by ({label}, reporter) (rate(istio_requests_total[5m]))");
            Finding::fail(
                CHECK,
                fact,
                format!("ask Prometheus for `{query}`: is the canary scraped, is its {label} {}?", measured.values[1]),
            )
        }
        [_, 0] if !deployed => Finding::ok(CHECK, format!("stable has {} {at}", rate(stable))),
        [_, 0] => Finding::ok(CHECK, format!("stable has {} {at}; the canary none, as its weight of 0 says", rate(stable))),
        _ => Finding::ok(CHECK, format!("stable has {} {at}, the canary {}", rate(stable), rate(canary))),
    }
}

fn pace(measured: &Measured, plan: &Plan) -> Option<Finding> {
    const CHECK: &str = "scrape";
    let scrape = measured.scrape?;
    let shown = span(Duration::from_millis(u64::try_from(scrape.as_millis()).unwrap_or(u64::MAX) / 100 * 100));
    if scrape.as_secs_f64() > PACE * measured.configured.as_secs_f64() {
        let provider = &plan.analysis.prometheus;
        let fact = format!("targets are scraped every {shown}, and provider {provider} says {}", span(measured.configured));
        return Some(Finding::warn(
            CHECK,
            fact,
            format!("prometheus: {{{provider}: {{scrapeInterval: {shown}}}}} in the controller's configuration"),
        ));
    }
    let interval = plan.analysis.interval;
    if scrape * 2 > interval.mul_f64(PACE) {
        let fact = format!("targets are scraped every {shown}: too rarely for windows of {}", span(interval));
        return Some(Finding::warn(
            CHECK,
            fact,
            format!("spec.analysis.interval: {}; or scrape more often", span(measured.configured * 2)),
        ));
    }
    Some(Finding::ok(CHECK, format!("targets are scraped every {shown}, for windows of {}", span(interval))))
}

fn lateness(measured: &Measured) -> Option<Finding> {
    const CHECK: &str = "age";
    let (age, lag) = (measured.age?, measured.lag);
    let shown = span(Duration::from_secs(age.as_secs()));
    if age <= lag + Duration::from_secs(1) {
        return Some(Finding::ok(CHECK, format!("the newest sample is {shown} old, within the lag of {}", span(lag))));
    }
    let fact = format!("the newest sample is {shown} old, and windows are asked for after {}", span(lag));
    let fix = format!(
        "lag: {} in the provider's settings, if samples come that late; else see why the scrape stopped",
        span(Duration::from_secs(age.as_secs() + 5))
    );
    Some(Finding::warn(CHECK, fact, fix))
}
