//! `haldane explain`: the decision record.

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::{
    Exit, Failure,
    cluster::Cluster,
    output::Output,
    screen::{self, row},
};
use crate::api::{DecisionRecord, Destination, MetricEvidence, RolloutStatus, Version};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Name of the Rollout
    name: String,
}

pub(super) async fn run(args: &ExplainArgs, cluster: &Cluster, now: Timestamp, output: &Output) -> Result<Exit, Failure> {
    let rollout = cluster.get(&args.name).await?;
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    let value = json!({
        "namespace": rollout.namespace(),
        "name": rollout.name_any(),
        "phase": status.phase,
        "decision": status.decision,
        "evidence": status.evidence,
        "refused": status.refused,
    });
    if status.decision.is_none() {
        output.hint(&format!("nothing was decided yet for {}", screen::full_name(&rollout)));
    }
    output.data("Explanation", &value, || {
        let record = status.decision.as_ref().map_or_else(String::new, |decision| explained(&screen::full_name(&rollout), decision, now));
        record + &refused(status, now)
    })?;
    Ok(Exit::Reached)
}

fn explained(name: &str, decision: &DecisionRecord, now: Timestamp) -> String {
    let step = decision.step.as_ref().map_or_else(String::new, |step| format!(" at step {step}"));
    let traffic = decision.traffic.clone().unwrap_or_else(|| format!("{} %", decision.weight));
    let mut text = format!("{name}  {:?} ({}){step}, {traffic}\n", decision.outcome, decision.reason);
    text += &row("what", &decision.message);
    text += &row("when", &format!("{} ({} ago), epoch {}", decision.at.0, screen::age(decision.at.0, now), decision.epoch));
    for (label, version) in [("canary", &decision.canary), ("stable", &decision.stable)] {
        if let Some(version) = version {
            text += &row(label, &format!("{}, revision {}", called(version), version.revision));
        }
    }
    for metric in &decision.why {
        text += &why(metric);
    }
    if let Some(exposure) = &decision.exposure {
        // Of copies they are not counted here: nobody met them.
        let errors = exposure.canary_errors.filter(|_| exposure.canary_requests > 0);
        let errors = errors.map_or_else(String::new, |errors| format!(", {errors} of them errors"));
        let (canary, stable) = (exposure.canary_requests, exposure.stable_requests);
        let time = crate::words::time(exposure.seconds as f64);
        let mut words = format!("{canary} requests were answered by the canary in {time}{errors}; {stable} by stable");
        if let Some(copies) = exposure.mirrored_requests {
            words += &format!("; and {copies} copies of requests (mirrored, no user saw it)");
        }
        text += &row("impact", &words);
    }
    if let Some(by) = &decision.by {
        let manager = by.manager.as_ref().map_or_else(String::new, |manager| format!(", written by {manager}"));
        let reason = by.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        text += &row("who", &format!("{}{manager}{reason}", by.name));
    }
    text + &screen::next(decision)
}

fn why(metric: &MetricEvidence) -> String {
    let reason = metric.reason.map_or_else(String::new, |reason| format!(" ({reason:?})"));
    let shown = if metric.advisory { ", shown only" } else { "" };
    let mut text = row("why", &format!("{} {:?}{reason}{shown}: {}", metric.metric, metric.verdict, metric.message));
    for (label, arm) in [("canary", &metric.canary), ("stable", &metric.stable)] {
        if let Some(arm) = arm {
            text += &row("", &format!("{label} {}, n {}", arm.text, arm.n));
        }
    }
    if let Some(effect) = &metric.effect {
        let limit = metric.limit.map_or_else(String::new, |limit| format!(", limit {limit}"));
        text += &row("", &format!("effect {}{limit}", effect.text));
    }
    if let Some(noise) = &metric.noise {
        let words = format!("{} times that of independent requests, from {} windows of stable", noise.dispersion, noise.windows);
        text += &row("", &format!("noise {words}"));
    }
    if let (Some(evidence), Some(at)) = (metric.fail_evidence, metric.fail_at) {
        text += &row("", &format!("evidence of harm {evidence:.2}, rolls back at {at:.1}"));
    }
    if let Some(query) = &metric.query {
        // On one line, to be pasted.
        text += &format!("query     {query}\n");
    }
    text
}

fn refused(status: &RolloutStatus, now: Timestamp) -> String {
    let mut text = String::new();
    for refused in &status.refused {
        let at = screen::age(refused.at.0, now);
        let words = format!("{} revision {} ({}, {at} ago): {}", refused.name(), refused.revision, refused.reason, refused.message);
        text += &row("refused", &words);
    }
    text
}

/// `fraud subset v2`, or `Service fraud-v2`.
fn called(version: &Version) -> String {
    match version.destination() {
        Destination::Subset(subset) => format!("{} subset {subset}", version.host),
        service @ Destination::Service(_) => service.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ArmValue, Effect, Noise, Verdict};

    #[test]
    fn a_metric_is_explained_with_its_effect_its_noise_and_its_query() {
        let arm = |text: &str, n| Some(ArmValue { value: None, text: text.into(), n, quantiles: Vec::new() });
        let text = "+0.91 points (95 %: +0.31 to +1.90; stable against itself: 0.05)".to_owned();
        let metric = MetricEvidence {
            canary: arm("1.02 %", 3_120),
            stable: arm("0.11 %", 59_204),
            effect: Some(Effect { value: 0.0091, low: Some(0.0031), high: Some(0.019), by_chance: Some(0.0005), text }),
            noise: Some(Noise { windows: 1440, dispersion: 1.23 }),
            limit: Some(0.0006),
            query: Some("sum(x)".into()),
            ..MetricEvidence::new("errorRate", Verdict::Fail, None, "errors 1.02 % against 0.11 %".into())
        };
        let wanted = "\
why       errorRate Fail: errors 1.02 % against 0.11 %
          canary 1.02 %, n 3120
          stable 0.11 %, n 59204
          effect +0.91 points (95 %: +0.31 to +1.90; stable against itself:
          0.05), limit 0.0006
          noise 1.23 times that of independent requests, from 1440 windows of
          stable
query     sum(x)
";
        assert_eq!(why(&metric), wanted);
        let shown = MetricEvidence { advisory: true, ..MetricEvidence::new("gpu", Verdict::Pass, None, "gpu 1 (at most 2)".into()) };
        assert_eq!(why(&shown), "why       gpu Pass, shown only: gpu 1 (at most 2)\n");
    }
}
