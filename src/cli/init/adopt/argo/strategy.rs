//! Steps of Argo Rollouts as a strategy of ours. Pure.

#![allow(
    clippy::indexing_slicing,
    reason = "what is indexed is JSON: a name that is not there answers null, and what is written to is an object"
)]

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    super::{
        super::{draft::Draft, model::There},
        metrics::{Metrics, duration},
        steps::Steps,
    },
    analysis::{self, Analysis},
};

/// The requests that see the new version before the switch, where only a Service led to it.
const PREVIEW: (&str, &str) = ("x-preview", "true");

/// `strategy.canary`, with what its analyses ask for.
pub(super) fn canary(there: There<'_>, rollout: &Value, metrics: &mut Metrics, draft: &mut Draft) -> Value {
    let strategy = &rollout["spec"]["strategy"]["canary"];
    let mut steps = Steps::default();
    let written = strategy["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    for step in written {
        one(there, rollout, step, &mut steps, metrics, draft);
    }
    if strategy["analysis"].is_object() {
        let read = analysis::read(there, rollout, &strategy["analysis"], metrics);
        if !strategy["analysis"]["startingStep"].is_null() {
            draft.lose("analysis.startingStep: every step is judged from its first window on; `without` leaves a metric out of a step.");
        }
        lose_delay(&read, draft);
    }
    draft.lost.append(&mut steps.lost);
    if written.is_empty() {
        draft.lose("No steps: Argo Rollouts shifts everything at once then. The default steps 5, 20, 50, 100 % take their place.");
        return json!({"canary": {}});
    }
    let made = steps.strategy(None);
    draft.lost.append(&mut steps.lost);
    made
}

fn one(there: There<'_>, rollout: &Value, step: &Value, steps: &mut Steps, metrics: &mut Metrics, draft: &mut Draft) {
    if let Some(weight) = step["setWeight"].as_i64() {
        steps.weight(weight);
    } else if step.get("pause").is_some() {
        match &step["pause"]["duration"] {
            Value::Null => steps.ask(),
            written => match duration(written) {
                Some(hold) => steps.hold(hold),
                None => draft.lose(format!("pause {written}: this is no duration.")),
            },
        }
    } else if step["setHeaderRoute"].is_object() {
        steps.matches(headers(&step["setHeaderRoute"]));
    } else if step["setMirrorRoute"].is_object() {
        let mirror = &step["setMirrorRoute"];
        let matches = mirror["match"].as_array().is_some_and(|matches| !matches.is_empty());
        if !matches {
            return steps.mirror(0);
        }
        if !everything(&mirror["match"]) {
            draft.lose("setMirrorRoute.match: a mirror copies a share of all requests of the route; put a match on your own route where only some are to be copied.");
        }
        draft.lose("setMirrorRoute: acknowledgeSideEffects is set, because a copy is a real request to the model, as it was before.");
        steps.mirror(mirror["percentage"].as_i64().unwrap_or(100));
    } else if step["analysis"].is_object() {
        let read = analysis::read(there, rollout, &step["analysis"], metrics);
        draft.lose("A step with an analysis: its metrics are judged in every step. `without` leaves a metric out of the others.");
        lose_delay(&read, draft);
        steps.hold(read.lasts);
    } else if step["setCanaryScale"].is_object() {
        draft.lose("setCanaryScale: the canary's Deployment is yours to scale. A weight that needs more ready pods waits for them.");
    } else if step["experiment"].is_object() {
        draft.lose("A step with an experiment: it starts pods of its own. A first step with `mirror` or `match` shows the canary to copies or to a cohort, and compares it with stable.");
    } else if step["plugin"].is_object() {
        let name = step["plugin"]["name"].as_str().unwrap_or("without a name");
        draft.lose(format!(
            "Step plugin {name}: haldane runs no plugins. A step with `approval: true` waits until your script says `haldane promote`."
        ));
    } else {
        draft.lose(format!("Step {step}: unknown."));
    }
}

/// The matches of a header route, one of which must fit; none removes the route.
fn headers(route: &Value) -> Vec<Value> {
    let one = |one: &Value| {
        let name = one["headerName"].as_str()?.to_lowercase();
        let value = one["headerValue"].as_object()?.iter().find(|(how, _)| ["exact", "prefix", "regex"].contains(&how.as_str()))?;
        let (how, text) = value;
        Some(json!({"headers": {name: {how: text}}}))
    };
    route["match"].as_array().into_iter().flatten().filter_map(one).collect()
}

/// Whether a mirror's match is every path, method and header.
fn everything(matches: &Value) -> bool {
    matches.as_array().into_iter().flatten().any(|one| {
        let path = &one["path"];
        let all_paths = path.is_null() || path["prefix"] == "/" || path["regex"] == ".*";
        all_paths && one["method"].is_null() && one["headers"].is_null()
    })
}

/// `strategy.blueGreen`, with what its analyses ask for.
pub(super) fn blue_green(there: There<'_>, rollout: &Value, metrics: &mut Metrics, draft: &mut Draft) -> Value {
    let strategy = &rollout["spec"]["strategy"]["blueGreen"];
    let mut asked = |field: &str| {
        let read = strategy[field].is_object().then(|| analysis::read(there, rollout, &strategy[field], metrics));
        read.inspect(|read| lose_delay(read, draft))
    };
    let (before, after) = (asked("prePromotionAnalysis"), asked("postPromotionAnalysis"));
    let by_hand = strategy["autoPromotionEnabled"] == false;
    let promoted_after = duration(&strategy["autoPromotionSeconds"]);
    let preview = before.is_some() || promoted_after.is_some() || (by_hand && !strategy["previewService"].is_null());
    let bake = after.map(|after| after.lasts).filter(|lasts| !lasts.is_zero());
    let (header, value) = PREVIEW;
    if preview {
        draft.ask(format!("Which requests see the new version before the switch? Those with the header {header}: {value} are proposed, in the place of Service {}.", strategy["previewService"].as_str().unwrap_or("previewService")));
    }
    let matches = vec![json!({"headers": {header: {"exact": value}}})];
    let hold = before.map(|before| before.lasts).into_iter().chain(promoted_after).max().filter(|hold| !hold.is_zero());
    if by_hand {
        let mut steps = Steps::default();
        if preview {
            steps.matches(matches);
            steps.hold(hold.unwrap_or_default());
        }
        steps.ask();
        let made = steps.strategy(bake);
        draft.lost.append(&mut steps.lost);
        return made;
    }
    let mut made = Map::new();
    let written = |hold: Duration| Value::from(crate::words::span(hold));
    if preview {
        made.insert("preview".into(), matches.into());
        made.extend(hold.map(|hold| ("hold".to_owned(), written(hold))));
    }
    made.extend(bake.map(|bake| ("bake".to_owned(), written(bake))));
    json!({ "blueGreen": made })
}

fn lose_delay(read: &Analysis, draft: &mut Draft) {
    if let Some(delay) = read.delay {
        draft.lose(format!(
            "initialDelay {}: analysis.warmUp (default 60s) leaves the first time of each canary pod out.",
            crate::words::span(delay)
        ));
    }
}
