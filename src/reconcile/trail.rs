//! What a pass adds to its trace: names of spans and their attributes, of OpenTelemetry's conventions where there is one. Without traces
//! all of it does nothing.

use super::{ReconcileError, memory::Memory};
use crate::act::ActError;
use crate::api::{DecisionRecord, Outcome};
use crate::decide::Act;
use crate::drive::Turn;
use crate::observe::sampler::Asked;
use crate::seen::{Look, Observation};
use crate::traces::{Span, Trace};

const OBSERVE: &str = "observe";
const ACT: &str = "act";
const READ_BACK: &str = "read back";

/// A pass begins. Gives a mark for [`idle`].
pub(super) fn begin(memory: &Memory) -> usize {
    memory.course.mark()
}

/// What is there is about to be looked at: after a write to the route, that is reading it back.
pub(super) fn observe(memory: &mut Memory) {
    let back = memory.course.is_open(ACT);
    memory.course.open(if back { READ_BACK } else { OBSERVE });
}

/// Decides, on what was seen.
pub(super) fn decide<'a>(memory: &mut Memory, seen: &Observation, decide: impl FnOnce() -> Turn<'a>) -> Turn<'a> {
    if !memory.course.follows() {
        return decide();
    }
    let (canary, asked) = (
        seen.route.as_ref().ok().map(|view| view.found(view.canary.name()).weight),
        memory.sampler.as_ref().and_then(|(_, sampler)| sampler.asked()),
    );
    memory.course.note(|span| {
        if let Some(weight) = canary {
            span.set("haldane.weight", i64::from(weight));
        }
        if let Err(fault) = &seen.route {
            span.error = Some(("route", fault.to_string()));
        }
    });
    memory.course.close();
    if memory.course.is_open(ACT) {
        memory.course.close();
    }
    if memory.sampler.is_none() {
        memory.look = None;
    }
    if let Some((asked, look)) = asked.zip(seen.look.as_ref()) {
        looked(memory, asked, look);
    }
    memory.course.open("decide");
    let turn = decide();
    memory.course.note(|span| {
        let stance = &turn.decision.stance;
        span.set("haldane.act", word(&turn.decision.act));
        span.set("haldane.phase", format!("{:?}", stance.phase).as_str());
        span.set("haldane.reason", stance.reason.as_str());
        span.set("haldane.message", stance.message.as_str());
    });
    memory.course.close();
    memory.course.root(|span| {
        span.set("k8s.namespace.name", seen.namespace.as_str());
        span.set("haldane.rollout", seen.name.as_str());
    });
    turn
}

/// The newest look was not seen before: it is part of this trace, and later decisions refer to it.
fn looked(memory: &mut Memory, asked: Asked, look: &Look) {
    let judgement = &look.judgement;
    memory.course.before("ask", asked.at, asked.answered, |span| {
        span.remote = true;
        span.set("haldane.look", asked.what);
        if let Some(problem) = &look.problem {
            span.set("haldane.reason", problem.reason.as_str());
            span.error = Some(("unusable", problem.message.clone()));
        }
    });
    memory.course.before("judge", asked.answered, asked.judged, |span| {
        verdict(span, look);
        span.set("haldane.windows", i64::from(judgement.windows));
        for metric in &judgement.metrics {
            let mut attributes = vec![
                ("haldane.metric", metric.metric.as_str().into()),
                ("haldane.verdict", format!("{:?}", metric.verdict).as_str().into()),
            ];
            attributes.push(("haldane.message", metric.message.as_str().into()));
            span.events.push(("metric", asked.judged, attributes));
        }
    });
    memory.course.root(|span| {
        if !span.name.starts_with(DECIDED) {
            span.name = "look".to_owned();
        }
        verdict(span, look);
        span.set("haldane.epoch", look.key.epoch);
        span.set("haldane.weight", i64::from(look.key.share.weight));
    });
    memory.look = memory.course.identity();
}

fn verdict(span: &mut Span, look: &Look) {
    span.set("haldane.verdict", format!("{:?}", look.judgement.verdict).as_str());
    span.set("haldane.evidence", look.judgement.fail_evidence);
    span.set("haldane.evidence.fails_at", look.judgement.fail_at);
}

/// The route is about to be written.
pub(super) fn write(memory: &mut Memory, turn: &Turn<'_>) {
    let wanted = match &turn.decision.act {
        Act::Raise(wanted) | Act::Lower(wanted) => Some(i64::from(wanted.claim.share.weight)),
        _ => None,
    };
    let object = turn.seen.route.as_ref().ok().map(|view| view.object.to_string());
    memory.course.open(ACT);
    memory.course.open("write route");
    memory.course.note(|span| {
        span.remote = true;
        span.set("haldane.act", word(&turn.decision.act));
        if let Some(object) = &object {
            span.set("haldane.object", object.as_str());
        }
        if let Some(wanted) = wanted {
            span.set("haldane.weight.wanted", wanted);
        }
    });
    memory.course.root(|span| {
        if !span.name.starts_with(DECIDED) {
            span.name = format!("{DECIDED}{}", word(&turn.decision.act));
        }
        if let Some(wanted) = wanted {
            span.set("haldane.weight.wanted", wanted);
        }
    });
}

/// The route was written, or not. What was written is read back in the next pass.
pub(super) fn written(memory: &mut Memory, error: Option<&ActError>) {
    ended(memory, error);
    if error.is_some() {
        memory.course.close();
    }
}

/// Something else than the route is about to be written.
pub(super) fn send(memory: &mut Memory, what: &str) {
    memory.course.open(what);
    memory.course.note(|span| span.remote = true);
}

/// It was written, or not.
pub(super) fn sent(memory: &mut Memory, error: Option<&ActError>) {
    ended(memory, error);
}

fn ended(memory: &mut Memory, error: Option<&ActError>) {
    if let Some(error) = error {
        memory.course.note(|span| span.error = Some((error.kind(), error.to_string())));
    }
    memory.course.close();
}

/// How the name of a trace begins in which something was decided.
const DECIDED: &str = "rollout ";

/// Something was decided, and is stored.
pub(super) fn decided(memory: &mut Memory, key: &str, record: &DecisionRecord) {
    memory.course.root(|span| {
        let outcome = format!("{:?}", record.outcome);
        let at = record.at.0;
        let said = vec![
            ("haldane.outcome", outcome.as_str().into()),
            ("haldane.reason", record.reason.as_str().into()),
            ("haldane.message", record.message.as_str().into()),
        ];
        span.events.push(("decision", at, said));
        // What was refused decides nothing, where something else was decided.
        if record.outcome == Outcome::CommandRefused && span.name.starts_with(DECIDED) {
            return;
        }
        span.name = format!("{DECIDED}{outcome}");
        span.set("haldane.outcome", outcome.as_str());
        span.set("haldane.reason", record.reason.as_str());
        span.set("haldane.message", record.message.as_str());
        span.set("haldane.decision", key);
        span.set("haldane.epoch", record.epoch);
        span.set("haldane.weight", i64::from(record.weight));
        let versions = [("haldane.stable.revision", &record.stable), ("haldane.canary.revision", &record.canary)];
        for (name, version) in versions {
            if let Some(version) = version {
                span.set(name, version.revision.as_str());
            }
        }
        if let Some(step) = &record.step {
            span.set("haldane.step", step.as_str());
        }
        if let Some(exposure) = &record.exposure {
            span.set("haldane.requests", exposure.canary_requests);
        }
        if let Some(actor) = &record.by {
            span.set("haldane.by", actor.name.as_str());
        }
    });
}

/// A pass changed nothing: after another one it is no part of the trace.
pub(super) fn idle(memory: &mut Memory, mark: usize) {
    if mark > 1 {
        memory.course.forget(mark);
    }
}

/// The call is over. Gives a trace if something was decided, tried, or seen for the first time.
pub(super) fn end(memory: &mut Memory, error: Option<&ReconcileError>) -> Option<Trace> {
    let mut course = std::mem::take(&mut memory.course);
    let own = course.identity() == memory.look;
    if !own {
        course.decided_on(memory.look);
    }
    if let Some(error) = error {
        course.root(|span| span.error = Some((error.kind(), error.to_string())));
    }
    course.end().filter(|trace| own || trace.spans.first().is_some_and(|root| root.name.starts_with(DECIDED)))
}

fn word(act: &Act) -> &'static str {
    match act {
        Act::Nothing => "Nothing",
        Act::Raise(_) => "Raise",
        Act::Lower(_) => "Lower",
        Act::Release { .. } => "Release",
        Act::AddFinalizer => "AddFinalizer",
        Act::DropFinalizer => "DropFinalizer",
        Act::Reread => "Reread",
    }
}
