//! `spec.strategy`: the ways to get a version to its users, and what they compile to: steps.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use std::collections::BTreeMap;

use kube::{KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ACKNOWLEDGE: &str = "acknowledgeSideEffects must be true: mirrored requests are real ones for the model, what it writes, bills or sends happens a second time";

fn hold_range() -> Rule {
    Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("a duration from 1s to 168h")
}

fn deadline_range() -> Rule {
    Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('720h')").message("a duration from 1s to 720h")
}

fn deadline_after_hold() -> Rule {
    Rule::new("!has(self.deadline) || duration(self.deadline) >= (has(self.hold) ? duration(self.hold) : duration('5m'))")
        .message("deadline must not be shorter than hold (5m if it is left out)")
}

/// Exactly one way to go.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.canary), has(self.shadow), has(self.abTest), has(self.blueGreen), has(self.steps)].filter(x, x).size() == 1").message("exactly one of canary, shadow, abTest, blueGreen and steps"))]
pub struct Strategy {
    /// Weights with the same hold and deadline. `canary: {}` is 5, 20, 50, 100 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStrategy>,
    /// The canary gets copies of requests; users get stable's answers alone. Ends Passed or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowStrategy>,
    /// Users whose requests match get the canary, everybody else stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ab_test: Option<AbTestStrategy>,
    /// From 0 to 100 % at once, after a preview if one is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenStrategy>,
    /// Each step on its own: mirror, match and weight in any order that never takes users back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.all(s, !has(s.weight)) || (has(self[self.size() - 1].weight) && self[self.size() - 1].weight == 100)").message("the last step must have weight 100, unless no step has a weight"))]
    #[x_kube(validation = Rule::new("self.all(s, !has(s.weight) || self.filter(t, has(t.weight) && t.weight == s.weight).size() == 1) && self.map(s, has(s.weight) ? s.weight : 0).isSorted()").message("weights must be strictly increasing, and steps without one come before those with one"))]
    #[x_kube(validation = Rule::new("self.filter(s, has(s.name)).all(s, self.filter(t, has(t.name) && t.name == s.name).size() == 1)").message("names of steps must differ"))]
    pub steps: Option<Vec<StepSpec>>,
}

/// Weights that share hold, deadline and policy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = deadline_after_hold())]
pub struct CanaryStrategy {
    /// Canary's share of the route's traffic at each step, in percent. Default: 5, 20, 50, 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(range(min = 1, max = 100)))]
    #[x_kube(validation = Rule::new("self.size() == 0 || self[self.size() - 1] == 100").message("the last weight must be 100"))]
    #[x_kube(validation = Rule::new("self.all(w, self.filter(v, v == w).size() == 1) && self.isSorted()").message("weights must be strictly increasing"))]
    pub weights: Option<Vec<i32>>,
    /// How long each weight is kept at least, from the moment the mesh object carries it. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = hold_range())]
    pub hold: Option<String>,
    /// How long a step may take before `onInconclusive` applies. Default: 1h, or twice the hold if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = deadline_range())]
    pub deadline: Option<String>,
    /// What the deadline brings. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// Metrics that do not gate these steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 63)))]
    pub without: Vec<String>,
}

/// Copies of requests for the canary; no user sees its answers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = deadline_after_hold())]
#[x_kube(validation = Rule::new("has(self.acknowledgeSideEffects) && self.acknowledgeSideEffects").message(ACKNOWLEDGE))]
pub struct ShadowStrategy {
    /// How many of the requests are copied, in percent. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<i32>,
    /// A mirrored request is a real one for the model: what it writes, bills or sends happens a second time. `true` says that this may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_side_effects: bool,
    /// How long requests are mirrored at least. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = hold_range())]
    pub hold: Option<String>,
    /// How long it may take before `onInconclusive` applies. Default: 1h, or twice the hold if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = deadline_range())]
    pub deadline: Option<String>,
    /// What the deadline brings. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// Metrics that do not gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 63)))]
    pub without: Vec<String>,
}

/// The canary for users whose requests match.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = deadline_after_hold())]
pub struct AbTestStrategy {
    /// A request goes to the canary if it fits one of these, and the managed route.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = 10))]
    pub matches: Vec<Match>,
    /// How long at least. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = hold_range())]
    pub hold: Option<String>,
    /// How long it may take before `onInconclusive` applies. Default: 1h, or twice the hold if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = deadline_range())]
    pub deadline: Option<String>,
    /// What the deadline brings. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// Metrics that do not gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 63)))]
    pub without: Vec<String>,
    /// Drift metrics that gate although the users of a match are not drawn at random: by default their drift is shown and does not gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 63)))]
    pub with: Vec<String>,
    /// What follows a Pass. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
}

/// What follows an A/B test that has passed.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// Everybody gets the canary.
    Promote,
    /// The users that match keep it, and a person is asked: `haldane promote` gives it to everybody.
    #[default]
    Hold,
    /// Everybody is back at stable; it has ended as Passed.
    Revert,
}

/// From 0 to 100 % in one write.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.hold) || has(self.preview) || (has(self.mirror) && self.mirror > 0)").message("hold is for what comes before the switch: it needs preview or mirror; bake is for what comes after it"))]
#[x_kube(validation = Rule::new("!has(self.deadline) || !(has(self.preview) || (has(self.mirror) && self.mirror > 0)) || duration(self.deadline) >= (has(self.hold) ? duration(self.hold) : duration('5m'))").message("deadline must not be shorter than hold (5m if it is left out)"))]
#[x_kube(validation = Rule::new("!has(self.deadline) || duration(self.deadline) >= (has(self.bake) ? duration(self.bake) : duration('5m'))").message("deadline must not be shorter than bake (5m if it is left out)"))]
#[x_kube(validation = Rule::new("!has(self.with) || has(self.preview)").message("with is for the users of a match: it needs preview"))]
#[x_kube(validation = Rule::new("!has(self.mirror) || self.mirror == 0 || (has(self.acknowledgeSideEffects) && self.acknowledgeSideEffects)").message(ACKNOWLEDGE))]
pub struct BlueGreenStrategy {
    /// Before the switch, requests that fit one of these go to the canary. Without `preview` and `mirror` nothing is judged before the
    /// switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10))]
    pub preview: Vec<Match>,
    /// Before the switch, so many of the requests are copied to the canary, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub mirror: Option<i32>,
    /// A mirrored request is a real one for the model: what it writes, bills or sends happens a second time. `true` says that this may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_side_effects: bool,
    /// How long preview and mirror take at least. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = hold_range())]
    pub hold: Option<String>,
    /// How long the canary serves everybody before it counts as stable. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = hold_range())]
    pub bake: Option<String>,
    /// How long each of the two may take before `onInconclusive` applies. Default: 1h, or twice the hold if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = deadline_range())]
    pub deadline: Option<String>,
    /// What the deadline brings. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// Metrics that do not gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 63)))]
    pub without: Vec<String>,
    /// Drift metrics that gate although the users of a match are not drawn at random: by default their drift is shown and does not gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 63)))]
    pub with: Vec<String>,
}

/// One step: at least one of `mirror`, `match` and `weight`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = deadline_after_hold())]
#[x_kube(validation = Rule::new("has(self.weight) || has(self.match) || (has(self.mirror) && self.mirror > 0)").message("a step needs traffic: weight, match or mirror"))]
#[x_kube(validation = Rule::new("!has(self.weight) || self.weight < 100 || (!has(self.match) && (!has(self.mirror) || self.mirror == 0))").message("at weight 100 every request goes to the canary: leave match and mirror out"))]
#[x_kube(validation = Rule::new("!has(self.with) || has(self.match)").message("with is for the users of a match: it needs match"))]
#[x_kube(validation = Rule::new("!has(self.mirror) || self.mirror == 0 || (has(self.acknowledgeSideEffects) && self.acknowledgeSideEffects)").message(ACKNOWLEDGE))]
pub struct StepSpec {
    /// Letters, digits, `.`, `_` and `-`, a letter first. Default: the step's number, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$"))]
    pub name: Option<String>,
    /// So many of the requests are copied to the canary, in percent; users get no answer of a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub mirror: Option<i32>,
    /// A mirrored request is a real one for the model: what it writes, bills or sends happens a second time. `true` says that this may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge_side_effects: bool,
    /// Requests that fit one of these, and the managed route, go to the canary.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10))]
    pub matches: Vec<Match>,
    /// Canary's share of the route's other traffic, in percent. Left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<i32>,
    /// How long the step takes at least. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = hold_range())]
    pub hold: Option<String>,
    /// How long the step may take before `onInconclusive` applies. Default: 1h, or twice the hold if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = deadline_range())]
    pub deadline: Option<String>,
    /// A person must say `promote` before this step's traffic is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// What the deadline brings. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// Metrics that do not gate this step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 63)))]
    pub without: Vec<String>,
    /// Drift metrics that gate although the users of a match are not drawn at random: by default their drift is shown and does not gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 63)))]
    pub with: Vec<String>,
}

/// What a step's deadline brings when there is evidence neither way.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInconclusive {
    /// Keep the weight, alert, go on judging; a later Pass still advances.
    #[default]
    Hold,
    /// Take the traffic back.
    Rollback,
    /// Go on if nothing points to harm; the record says "without proof". Else as Hold.
    PromoteIfNoHarm,
}

/// Which requests, in Istio's words. All that is given must fit.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.headers) || has(self.queryParams) || has(self.uri)").message("a match needs headers, queryParams or uri"))]
pub struct Match {
    /// Headers by their names in lower case; a cookie by a regular expression on `cookie`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    pub headers: BTreeMap<String, StringMatch>,
    /// Parameters of the query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    pub query_params: BTreeMap<String, StringMatch>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<StringMatch>,
}

/// How a text must be: exactly one of the three.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.exact), has(self.prefix), has(self.regex)].filter(x, x).size() == 1").message("exactly one of exact, prefix and regex"))]
pub struct StringMatch {
    /// The whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub exact: Option<String>,
    /// How the text begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub prefix: Option<String>,
    /// A regular expression (RE2) for the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub regex: Option<String>,
}
