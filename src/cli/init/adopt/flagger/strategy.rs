//! `analysis` of a Canary as a strategy of ours. Pure.

#![allow(clippy::indexing_slicing, reason = "what is indexed is JSON: a name that is not there answers null")]

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::{super::draft::Draft, metrics::duration, steps::Steps};
use crate::words::span;

/// What Flagger takes where nothing is said, and the least that it takes.
const INTERVAL: Duration = Duration::from_secs(60);
const FLOOR: Duration = Duration::from_secs(10);

/// `spec.strategy`.
pub(super) fn of(analysis: &Value, draft: &mut Draft) -> Value {
    let interval = duration(&analysis["interval"]).unwrap_or(INTERVAL).max(FLOOR);
    let gates = Gates::of(analysis, draft);
    if let Some(iterations) = analysis["iterations"].as_u64().filter(|iterations| *iterations > 0) {
        let hold = interval.saturating_mul(u32::try_from(iterations).unwrap_or(u32::MAX));
        return match matches(&analysis["match"], draft) {
            Some(matches) => ab_test(matches, hold, gates, draft),
            None => blue_green(analysis, hold, gates, draft),
        };
    }
    let mut steps = Steps::default();
    if gates.start {
        steps.ask();
    }
    if analysis["mirror"] == true {
        steps.mirror(analysis["mirrorWeight"].as_i64().unwrap_or(100));
        steps.hold(interval);
        steps.mirror(0);
        draft.lose("mirror: acknowledgeSideEffects is set, because a copy is a real request to the model, as it was before.");
    }
    for (index, weight) in weights(analysis, draft).into_iter().enumerate() {
        if gates.increase && index > 0 {
            steps.ask();
        }
        steps.weight(weight);
        steps.hold(interval);
    }
    if gates.promotion || gates.increase {
        steps.ask();
    }
    let made = steps.strategy(None);
    draft.lost.append(&mut steps.lost);
    made
}

/// Shares below everybody, as the ticks set them.
fn weights(analysis: &Value, draft: &mut Draft) -> Vec<i64> {
    if let Some(list) = analysis["stepWeights"].as_array() {
        let mut weights: Vec<i64> = Vec::new();
        for weight in list.iter().filter_map(Value::as_i64) {
            if weight > weights.last().copied().unwrap_or(0) && weight <= 100 {
                weights.push(weight);
            } else {
                draft.lose(format!("stepWeights {weight}: weights rise from step to step, up to 100."));
            }
        }
        return weights;
    }
    let (step, most) = (analysis["stepWeight"].as_i64().unwrap_or(0), analysis["maxWeight"].as_i64().unwrap_or(100));
    if step <= 0 {
        draft.lose("No stepWeight, stepWeights or iterations: the default steps 5, 20, 50, 100 % take their place.");
        return vec![5, 20, 50];
    }
    let mut weights: Vec<i64> = Vec::new();
    while weights.last().is_none_or(|last| *last < most && *last < 100) {
        weights.push((weights.last().copied().unwrap_or(0) + step).min(100));
    }
    if most < 100 {
        draft.lose(format!("maxWeight {most}: Flagger then replaces the pods of the primary. Here the canary gets everybody in the last step, and is compared there with what stable showed before."));
    }
    weights
}

/// The users of a match, until a person or the Pass gives the canary to everybody.
fn ab_test(matches: Vec<Value>, hold: Duration, gates: Gates, draft: &mut Draft) -> Value {
    if !gates.start && !gates.promotion {
        return json!({"abTest": {"match": matches, "hold": span(hold), "then": "Promote"}});
    }
    let mut steps = Steps::default();
    if gates.start {
        steps.ask();
    }
    steps.matches(matches);
    steps.hold(hold);
    if gates.promotion {
        steps.ask();
    }
    let made = steps.strategy(None);
    draft.lost.append(&mut steps.lost);
    made
}

fn blue_green(analysis: &Value, hold: Duration, gates: Gates, draft: &mut Draft) -> Value {
    let mirror = (analysis["mirror"] == true).then(|| analysis["mirrorWeight"].as_i64().unwrap_or(100).clamp(1, 100));
    match mirror {
        Some(_) => draft.lose("mirror: acknowledgeSideEffects is set, because a copy is a real request to the model, as it was before."),
        None => draft.lose("iterations without match or mirror: only the load of webhooks reached the canary before the switch. Nothing is judged before it here; `preview` or `mirror` shows it real requests."),
    }
    if gates.start || gates.promotion {
        let mut steps = Steps::default();
        if gates.start {
            steps.ask();
        }
        if let Some(mirror) = mirror {
            steps.mirror(mirror);
            steps.hold(hold);
        }
        if gates.promotion {
            steps.ask();
        }
        let made = steps.strategy(mirror.is_none().then_some(hold));
        draft.lost.append(&mut steps.lost);
        return made;
    }
    let mut made = Map::new();
    match mirror {
        Some(mirror) => {
            made.insert("mirror".into(), mirror.into());
            made.insert("acknowledgeSideEffects".into(), true.into());
            made.insert("hold".into(), span(hold).into());
        }
        None => {
            made.insert("bake".into(), span(hold).into());
        }
    }
    json!({ "blueGreen": made })
}

/// `match` of an A/B test in our words; `None`: there is none.
fn matches(written: &Value, draft: &mut Draft) -> Option<Vec<Value>> {
    let list = written.as_array().filter(|list| !list.is_empty())?;
    let mut made = Vec::new();
    for one in list {
        let mut ours = Map::new();
        for (field, lower) in [("headers", true), ("queryParams", false)] {
            let words = one[field].as_object().into_iter().flatten();
            let words: Map<String, Value> =
                words.filter_map(|(name, text)| Some((if lower { name.to_lowercase() } else { name.clone() }, string(text)?))).collect();
            if !words.is_empty() {
                ours.insert(field.into(), words.into());
            }
        }
        if let Some(uri) = string(&one["uri"]) {
            ours.insert("uri".into(), uri);
        }
        if one["sourceLabels"].is_object() {
            draft.lose("match.sourceLabels: a match asks for headers, queryParams and uri. Let the callers send a header.");
        }
        if !ours.is_empty() {
            made.push(ours.into());
        }
    }
    (!made.is_empty()).then_some(made)
}

/// How a text must be. Istio has no suffix.
fn string(text: &Value) -> Option<Value> {
    let (how, text) = text.as_object()?.iter().find(|(_, text)| text.is_string())?;
    let text = text.as_str()?;
    match how.as_str() {
        "exact" | "prefix" | "regex" => Some(json!({ how: text })),
        "suffix" => Some(json!({"regex": format!(".*{}", regex::escape(text))})),
        _ => None,
    }
}

/// Webhooks that wait for a person.
#[derive(Clone, Copy, Debug, Default)]
struct Gates {
    start: bool,
    increase: bool,
    promotion: bool,
}

impl Gates {
    fn of(analysis: &Value, draft: &mut Draft) -> Self {
        let mut gates = Self::default();
        for hook in analysis["webhooks"].as_array().into_iter().flatten() {
            let (kind, name) = (hook["type"].as_str().unwrap_or("rollout"), hook["name"].as_str().unwrap_or_default());
            let approval = "an approval in its place: `haldane promote`, by hand or by whatever the webhook asked";
            match kind {
                "confirm-rollout" => gates.start = true,
                "confirm-traffic-increase" => gates.increase = true,
                "confirm-promotion" => gates.promotion = true,
                _ => {}
            }
            draft.lose(match kind {
                "confirm-rollout" | "confirm-traffic-increase" | "confirm-promotion" => format!("Webhook {name} ({kind}): {approval}."),
                "pre-rollout" => format!("Webhook {name} (pre-rollout): haldane calls nobody. Run the check before the release, or begin with an approval step and let it say `haldane promote`."),
                "rollback" => format!("Webhook {name} (rollback): whatever it asked says `haldane abort` instead. That is served at once, not at the next tick."),
                "post-rollout" | "event" => format!("Webhook {name} ({kind}): a sink of the controller's configuration gets every decision as signed JSON."),
                _ => format!("Webhook {name} ({kind}): haldane calls nobody between its looks. A load test is not needed for a comparison; where there is too little traffic, `mirror` or a longer hold helps."),
            });
        }
        gates
    }
}
