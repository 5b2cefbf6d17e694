//! Both versions side by side, the steps, and how long still.

use maud::{Markup, html};

use super::{class, svg};
use crate::api::{Rollout, RolloutStatus, names::condition};
use crate::view::{Mark, View, moving, steps, visible, weight};
use crate::words::{span, whole};

/// What each version has.
pub(super) fn arms(rollout: &Rollout, view: &View) -> Markup {
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    let Some(stable) = &view.stable else { return html! {} };
    let canary = weight(status);
    let step = status.step.as_ref().filter(|step| step.index >= 0 && moving(status.phase));
    let beside = step.and_then(|step| step.traffic.clone()).unwrap_or_else(|| format!("{canary} %"));
    html! {
        dl.arms {
            div { dt { "stable " b { (visible(stable)) } } dd { (svg::share(100 - canary, "plain")) span.num { (100 - canary) " %" } } }
            @if let Some(name) = &view.canary {
                div { dt { "canary " b { (visible(name)) } } dd { (svg::share(canary, class(view.tone))) span.num { (beside) } } }
            }
        }
        @if step.is_some() && view.canary.is_some() { p.shares { (shares(status, view)) } }
    }
}

/// What the mesh was given, and what was counted.
fn shares(status: &RolloutStatus, view: &View) -> Markup {
    let Some(step) = &status.step else { return html! {} };
    let wanted = step.traffic.clone().unwrap_or_else(|| format!("{} %", step.weight));
    let unset = status.conditions.iter().any(|one| one.type_ == condition::TRAFFIC_PROGRAMMED && one.status == "False");
    // Copies and the users of a match are no share of what is counted, at 100 % there is nothing beside it, and before the first window the
    // numbers are still of the step before.
    let counted = step.traffic.is_none() && step.weight < 100 && step.windows > 0;
    html! {
        @if unset { span.wait { (wanted) " wanted, not programmed" } } @else { "programmed " (wanted) }
        @if counted {
            " · "
            @match view.observed() {
                Some((share, all)) => { "observed " (format!("{:.1} %", 100.0 * share)) " of " (whole(all)) " requests" }
                None => { span.wait { "observed NO DATA" } }
            }
        }
    }
}

/// The steps of the plan, and the hold of the present one.
pub(super) fn plan(rollout: &Rollout, view: &View) -> Markup {
    let steps = steps(rollout);
    let step = rollout.status.as_ref().filter(|status| moving(status.phase)).and_then(|status| status.step.as_ref());
    html! {
        @if !steps.is_empty() {
            ol.steps aria-label="Steps" {
                @for step in &steps {
                    @let (name, word) = match step.mark { Mark::Behind => ("behind", "done"), Mark::Present => ("present", "now"), Mark::Ahead => ("ahead", "to come") };
                    li class=(format!("{name} {}", if step.mark == Mark::Present { class(view.tone) } else { "" }).trim_end().to_owned()) aria-current=[(step.mark == Mark::Present).then_some("step")] {
                        @if let Some(own) = &step.name { span.own { (visible(own)) } }
                        b { (step.share) }
                        span.word { (word) @if step.approval && step.mark == Mark::Ahead { ", needs approval" } }
                    }
                }
            }
        }
        @if let Some(step) = step.filter(|step| step.hold_seconds > 0) {
            @let seconds = |value: i64| span(std::time::Duration::from_secs(value.max(0).unsigned_abs()));
            p.hold {
                span { "hold" } (svg::hold(step.held_seconds, step.hold_seconds))
                span.num { (seconds(step.held_seconds.min(step.hold_seconds))) " of " (seconds(step.hold_seconds)) ", " (step.windows) @if step.windows == 1 { " window" } @else { " windows" } }
            }
        }
    }
}
