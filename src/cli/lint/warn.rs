//! What works, but perhaps not as meant.

use std::time::Duration;

use crate::{
    api::OnInconclusive,
    plan::{Fault, Metric, Plan, Step, span},
};

/// A step ends after this many used windows at the soonest (design section 2).
const LEAST_WINDOWS: u32 = 4;

/// What works, but perhaps not as meant.
pub(super) fn warnings(plan: &Plan) -> Vec<Fault> {
    let mut warnings: Vec<Fault> = Vec::new();
    let interval = plan.analysis.interval;
    let soonest = interval * LEAST_WINDOWS;
    let metrics = &plan.analysis.metrics;
    let judged = metrics.iter().any(|metric| metric.gate);
    for step in &plan.steps {
        let mut warn = |message: String, fix: String| match warnings.iter_mut().find(|other| other.message == message && other.fix == fix) {
            Some(other) => other.path += &format!(", {}", step.name),
            None => warnings.push(Fault::new(format!("spec.strategy, step {}", step.name), message, fix)),
        };
        let gates = judged && metrics.iter().any(|metric| step.asks(metric));
        if judged && step.hold < soonest {
            let message =
                format!("the hold is {}, but a step takes {LEAST_WINDOWS} windows of {} at least", span(step.hold), span(interval));
            warn(message, format!("expect {}, or set a shorter analysis.interval", span(soonest)));
        }
        if judged && step.deadline < soonest + interval * 2 {
            let message = format!("the deadline of {} leaves no time to judge", span(step.deadline));
            warn(message, format!("at least {} with windows of {}", span(soonest + interval * 2), span(interval)));
        }
        if judged && !gates {
            warn("without leaves no metric: the hold alone decides".into(), "leave out fewer metrics".into());
        }
        if !judged && step.on_inconclusive != OnInconclusive::Hold {
            warn("onInconclusive has nothing to decide: no metric gates".into(), "leave it out".into());
        }
    }
    if let [step] = plan.steps.as_slice()
        && plan.promotes()
    {
        let message = format!("all users see the canary at once, at step {}: there is nothing to compare it with", step.name);
        warnings.push(Fault::new("spec.strategy", message, "put a smaller weight, a match or a mirror before it"));
    }
    if !judged && !metrics.is_empty() {
        let message = "all have gate: false: they are shown, and the holds alone decide";
        warnings.push(Fault::new("spec.analysis.metrics", message, "let one of them gate"));
    } else if !judged {
        let message = "is empty: the canary is not compared with anything, the holds alone decide";
        warnings.push(Fault::new("spec.analysis.metrics", message, "leave the field out for error rate and latency"));
    } else if interval < Duration::from_secs(10) {
        let message = format!("is {}: that needs a scrape every {} or faster", span(interval), span(interval / 2));
        warnings.push(Fault::new("spec.analysis.interval", message, "else the controller raises it to two scrapes"));
    }
    for (i, metric) in metrics.iter().enumerate() {
        let doubt = metric.kind.doubt(metric.gate);
        // Beside a preset the place in the plan is not the one in the manifest.
        let at = if plan.analysis.preset.is_some() { metric.name.clone() } else { i.to_string() };
        warnings.extend(doubt.map(|doubt| Fault { path: format!("spec.analysis.metrics[{at}].{}", doubt.path), ..doubt }));
    }
    if plan.paused {
        warnings.push(Fault::new("spec.paused", "is true: nothing advances", "set it to false to go on; `haldane resume` does not end it"));
    }
    warnings
}

/// The plan in one line.
pub(super) fn summary(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(word).collect::<Vec<_>>().join(" -> ");
    let soonest: Duration = plan.steps.iter().map(|step| step.hold).sum();
    let called = |metric: &Metric| if metric.gate { metric.name.clone() } else { format!("{} (shown only)", metric.name) };
    let metrics = plan.analysis.metrics.iter().map(called).collect::<Vec<_>>().join(", ");
    let metrics = if metrics.is_empty() { "no metrics".into() } else { metrics };
    let preset = plan.analysis.preset.as_ref().map(|preset| match preset.metrics.len() {
        all if all == plan.analysis.metrics.len() => format!(" (of preset {preset})"),
        _ => format!(" ({} of preset {preset})", preset.metrics.join(", ")),
    });
    let metrics = metrics + &preset.unwrap_or_default();
    format!("{} to {}: {steps}; {} at least; {metrics}", plan.object.name(), plan.canary.name(), span(soonest))
}

fn word(step: &Step) -> String {
    let approval = if step.approval { " (approval first)" } else { "" };
    format!("{}{approval}", step.split.words())
}
