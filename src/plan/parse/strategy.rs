//! Every strategy compiled to steps.

use std::{collections::BTreeMap, time::Duration};

use super::{HOUR, Parser, SECOND};
use crate::api::{
    AbTestStrategy, BlueGreenStrategy, CanaryStrategy, Match, OnInconclusive, RouteKind, ShadowStrategy, StepSpec, Strategy, StringMatch,
    Then,
};
use crate::plan::{Limits, Metric, Split, Step, span};

/// Weights of `canary: {}`.
const WEIGHTS: [i32; 4] = [5, 20, 50, 100];
/// Hold where none is given.
const HOLD: Duration = Duration::from_secs(300);
/// Deadline where none is given, unless the hold is so long that it would come too early.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Fields of Istio's match that stand beside its headers: as the name of a header Istio ignores them.
const NO_HEADERS: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// What strategies and steps have in common.
#[derive(Default)]
struct Terms<'a> {
    hold: Option<&'a str>,
    deadline: Option<&'a str>,
    on_inconclusive: Option<OnInconclusive>,
    without: &'a [String],
    with: &'a [String],
}

impl Parser {
    pub(super) fn strategy(&mut self, strategy: &Strategy, metrics: &[Metric]) -> Vec<Step> {
        let path = "spec.strategy";
        let kinds = [
            ("canary", strategy.canary.is_some()),
            ("shadow", strategy.shadow.is_some()),
            ("abTest", strategy.ab_test.is_some()),
            ("blueGreen", strategy.blue_green.is_some()),
            ("steps", strategy.steps.is_some()),
        ];
        let there: Vec<&str> = kinds.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        let which = "exactly one of canary, shadow, abTest, blueGreen and steps";
        match there.as_slice() {
            [] => self.fault(path, "is empty", format!("{which}, for example `canary: {{}}`")),
            [_] => {}
            [one, other] => self.fault(path, format!("has both {one} and {other}"), which),
            several => self.fault(path, format!("has {}", several.join(", ")), which),
        }
        if there.len() != 1 {
            return Vec::new();
        }
        let Strategy { canary, shadow, ab_test, blue_green, steps } = strategy;
        let mut compiled = Vec::new();
        compiled.extend(canary.iter().flat_map(|canary| self.canary(canary, metrics)));
        compiled.extend(shadow.iter().flat_map(|shadow| self.shadow(shadow, metrics)));
        compiled.extend(ab_test.iter().flat_map(|ab_test| self.ab_test(ab_test, metrics)));
        compiled.extend(blue_green.iter().flat_map(|blue_green| self.blue_green(blue_green, metrics)));
        compiled.extend(steps.iter().flat_map(|steps| self.steps(steps, metrics)));
        compiled
    }

    fn canary(&mut self, canary: &CanaryStrategy, metrics: &[Metric]) -> Vec<Step> {
        let path = "spec.strategy.canary";
        let weights = canary.weights.as_deref().unwrap_or(&WEIGHTS);
        let list: Vec<Option<i32>> = weights.iter().copied().map(Some).collect();
        self.weights(&format!("{path}.weights"), "", &list);
        let terms = Terms {
            hold: canary.hold.as_deref(),
            deadline: canary.deadline.as_deref(),
            on_inconclusive: canary.on_inconclusive,
            without: &canary.without,
            with: &[],
        };
        let step = self.step(path, &terms, Split::default(), metrics);
        let numbered =
            |(i, weight): (usize, &i32)| Step { name: (i + 1).to_string(), split: Split::weight(percent(*weight)), ..step.clone() };
        weights.iter().enumerate().map(numbered).collect()
    }

    fn shadow(&mut self, shadow: &ShadowStrategy, metrics: &[Metric]) -> Vec<Step> {
        let path = "spec.strategy.shadow";
        let mirror = self.mirror(path, "percent", shadow.percent.unwrap_or(100), 1, shadow.acknowledge_side_effects);
        let terms = Terms {
            hold: shadow.hold.as_deref(),
            deadline: shadow.deadline.as_deref(),
            on_inconclusive: shadow.on_inconclusive,
            without: &shadow.without,
            with: &[],
        };
        let step = self.step(path, &terms, Split { mirror, ..Split::default() }, metrics);
        vec![Step { name: "shadow".into(), ..step }]
    }

    fn ab_test(&mut self, ab_test: &AbTestStrategy, metrics: &[Metric]) -> Vec<Step> {
        let path = "spec.strategy.abTest";
        if ab_test.matches.is_empty() {
            self.fault(&format!("{path}.match"), "is empty", "1 to 10 of them");
        }
        self.matches(&format!("{path}.match"), &ab_test.matches);
        let terms = Terms {
            hold: ab_test.hold.as_deref(),
            deadline: ab_test.deadline.as_deref(),
            on_inconclusive: ab_test.on_inconclusive,
            without: &ab_test.without,
            with: &ab_test.with,
        };
        let split = Split { matches: ab_test.matches.clone(), ..Split::default() };
        let step = self.step(path, &terms, split, metrics);
        let cohort = Step { name: "cohort".into(), ..step };
        let approval = match ab_test.then.unwrap_or_default() {
            Then::Revert => return vec![cohort],
            Then::Promote => false,
            Then::Hold => true,
        };
        let everybody = Step {
            name: "everybody".into(),
            split: Split::weight(100),
            hold: HOLD,
            deadline: DEADLINE,
            approval,
            on_inconclusive: cohort.on_inconclusive,
            without: sorted(&ab_test.without),
        };
        vec![cohort, everybody]
    }

    fn blue_green(&mut self, blue_green: &BlueGreenStrategy, metrics: &[Metric]) -> Vec<Step> {
        let path = "spec.strategy.blueGreen";
        self.matches(&format!("{path}.preview"), &blue_green.preview);
        let mirror = self.mirror(path, "mirror", blue_green.mirror.unwrap_or(0), 0, blue_green.acknowledge_side_effects);
        let before = Split { weight: 0, mirror, matches: blue_green.preview.clone() };
        let previewed = !before.share().is_none();
        if blue_green.hold.is_some() && !previewed {
            let fix = "hold is for what comes before the switch: it needs preview or mirror; bake is for what comes after it";
            self.fault(&format!("{path}.hold"), "has nothing to hold", fix);
        }
        let hold = self.hold(path, "hold", blue_green.hold.as_deref());
        let bake = self.hold(path, "bake", blue_green.bake.as_deref());
        let held = [("hold", hold), ("bake", bake)];
        let deadline = self.deadline(path, blue_green.deadline.as_deref(), held.get(usize::from(!previewed)..).unwrap_or_default());
        let without = self.without(path, &blue_green.without, metrics);
        let switch = Step {
            name: "switch".into(),
            split: Split::weight(100),
            hold: bake,
            deadline: deadline.unwrap_or_else(|| DEADLINE.max(bake * 2)),
            approval: false,
            on_inconclusive: blue_green.on_inconclusive.unwrap_or_default(),
            without: without.clone(),
        };
        let drift = self.with(path, &blue_green.with, &blue_green.without, ("preview", !blue_green.preview.is_empty()), metrics);
        if !previewed {
            return vec![switch];
        }
        let preview = Step {
            name: "preview".into(),
            split: before,
            hold,
            deadline: deadline.unwrap_or_else(|| DEADLINE.max(hold * 2)),
            without: sorted(&[without, drift].concat()),
            ..switch.clone()
        };
        vec![preview, switch]
    }

    fn steps(&mut self, steps: &[StepSpec], metrics: &[Metric]) -> Vec<Step> {
        let list = "spec.strategy.steps";
        let weights: Vec<Option<i32>> = steps.iter().map(|step| step.weight).collect();
        self.weights(list, ".weight", &weights);
        let mut done: Vec<Step> = Vec::new();
        for (i, spec) in steps.iter().enumerate() {
            let path = format!("{list}[{i}]");
            if let Some(name) = &spec.name {
                let path = format!("{path}.name");
                self.name(&path, name);
                if let Some(first) = done.iter().position(|step| &step.name == name) {
                    self.fault(&path, format!("\"{name}\" is the name of steps[{first}] too"), "names of steps must differ");
                }
            }
            let mirror = self.mirror(&path, "mirror", spec.mirror.unwrap_or(0), 0, spec.acknowledge_side_effects);
            self.matches(&format!("{path}.match"), &spec.matches);
            let split = Split { weight: spec.weight.map_or(0, percent), mirror, matches: spec.matches.clone() };
            if spec.weight.is_none() && split.share().is_none() {
                self.fault(&path, "has no traffic", "at least one of weight, match and mirror");
            }
            if split.weight == 100 && split.share() != Split::weight(100).share() {
                let fix = "at weight 100 every request goes to the canary: leave match and mirror out";
                self.fault(&path, "has match or mirror beside weight 100", fix);
            }
            let terms = Terms {
                hold: spec.hold.as_deref(),
                deadline: spec.deadline.as_deref(),
                on_inconclusive: spec.on_inconclusive,
                without: &spec.without,
                with: &spec.with,
            };
            let step = self.step(&path, &terms, split, metrics);
            let name = spec.name.clone().unwrap_or_else(|| (i + 1).to_string());
            done.push(Step { name, approval: spec.approval, ..step });
        }
        done
    }

    /// A step without its name.
    fn step(&mut self, path: &str, terms: &Terms<'_>, split: Split, metrics: &[Metric]) -> Step {
        let hold = self.hold(path, "hold", terms.hold);
        let deadline = self.deadline(path, terms.deadline, &[("hold", hold)]);
        let without = self.without(path, terms.without, metrics);
        let drift = self.with(path, terms.with, terms.without, ("match", !split.matches.is_empty()), metrics);
        Step {
            name: String::new(),
            split,
            hold,
            deadline: deadline.unwrap_or_else(|| DEADLINE.max(hold * 2)),
            approval: false,
            on_inconclusive: terms.on_inconclusive.unwrap_or_default(),
            without: sorted(&[without, drift].concat()),
        }
    }

    /// One to 20 of them, from 1 to 100, strictly increasing, the last is 100. A step without a weight takes no users back: it comes
    /// before those with one; where none has a weight, none is asked for.
    fn weights(&mut self, list: &str, field: &str, weights: &[Option<i32>]) {
        if weights.is_empty() || weights.len() > 20 {
            self.fault(list, format!("has {} entries", weights.len()), "1 to 20 of them");
        }
        let mut before = None;
        for (i, weight) in weights.iter().enumerate() {
            let path = format!("{list}[{i}]{field}");
            let Some(weight) = *weight else {
                if let Some(before) = before {
                    let above = if before < 100 { format!("give it one above {before}, or ") } else { String::new() };
                    let fix = format!("{above}put the step before the first weight");
                    self.fault(&path, format!("is missing, which would take users back from {before} %"), fix);
                }
                continue;
            };
            if !(1..=100).contains(&weight) {
                self.fault(&path, format!("is {weight}"), "must be from 1 to 100 (percent)");
            }
            match before {
                Some(before) if weight <= before => {
                    let message = format!("is {weight}");
                    self.fault(&path, message, format!("must be greater than {before} (the weight before it)"));
                }
                _ => {}
            }
            if i + 1 == weights.len() && weight != 100 && (1..=100).contains(&weight) {
                self.fault(&path, format!("the last weight is {weight}"), "must be 100: a rollout ends with all traffic at the canary");
            }
            before = Some(weight);
        }
    }

    fn hold(&mut self, path: &str, field: &str, hold: Option<&str>) -> Duration {
        self.duration(&format!("{path}.{field}"), hold, SECOND..=HOUR * 168).unwrap_or(HOLD)
    }

    /// What was given, not shorter than any of these.
    fn deadline(&mut self, path: &str, deadline: Option<&str>, held: &[(&str, Duration)]) -> Option<Duration> {
        let field = format!("{path}.deadline");
        let deadline = self.duration(&field, deadline, SECOND..=HOUR * 720)?;
        for (name, hold) in held.iter().filter(|(_, hold)| deadline < *hold) {
            self.fault(&field, format!("is {}", span(deadline)), format!("must not be shorter than the {name} ({})", span(*hold)));
        }
        Some(deadline)
    }

    fn without(&mut self, path: &str, without: &[String], metrics: &[Metric]) -> Vec<String> {
        let path = format!("{path}.without");
        if without.len() > 10 {
            self.fault(&path, format!("has {} names", without.len()), "at most 10");
        }
        let known: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        for (i, name) in without.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let fix = if known.is_empty() { "there are none".into() } else { format!("there are {}", known.join(", ")) };
                self.fault(&format!("{path}[{i}]"), format!("\"{name}\" is not a metric of the analysis"), fix);
            }
        }
        sorted(without)
    }

    /// Drift metrics that do not gate: all of them where users are picked by a match, but those that `with` names.
    fn with(&mut self, path: &str, with: &[String], without: &[String], (field, matched): (&str, bool), metrics: &[Metric]) -> Vec<String> {
        let path = format!("{path}.with");
        if with.len() > 10 {
            self.fault(&path, format!("has {} names", with.len()), "at most 10");
        }
        if !with.is_empty() && !matched {
            self.fault(&path, format!("has no {field} beside it"), "without a match every metric gates: leave it out");
        }
        let drifts: Vec<&str> = metrics
            .iter()
            .filter(|metric| matches!(metric.kind.limits(), Limits::Distance(_)))
            .map(|metric| metric.name.as_str())
            .collect();
        for (i, name) in with.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if !drifts.contains(&name.as_str()) {
                let fix = if drifts.is_empty() { "there is none".into() } else { format!("there are {}", drifts.join(", ")) };
                self.fault(&path, format!("\"{name}\" is not a drift metric of the analysis, others gate anyway"), fix);
            }
            if without.contains(name) {
                self.fault(&path, format!("\"{name}\" is in without too"), "in one of the two");
            }
        }
        drifts.into_iter().filter(|name| matched && !with.iter().any(|with| with == name)).map(str::to_owned).collect()
    }

    /// Percent of requests that are copied. Whoever asks for copies says that the model may see a request twice.
    fn mirror(&mut self, path: &str, field: &str, percent: i32, least: i32, acknowledged: bool) -> u8 {
        if !(least..=100).contains(&percent) {
            self.fault(&format!("{path}.{field}"), format!("is {percent}"), format!("must be from {least} to 100 (percent)"));
        }
        if percent > 0 && !acknowledged {
            let fix =
                "a mirrored request is a real one for the model, what it writes, bills or sends happens a second time: say true if it may";
            let message = format!("is not true, but {percent} % of the requests are mirrored");
            self.fault(&format!("{path}.acknowledgeSideEffects"), message, fix);
        }
        self::percent(percent)
    }

    fn matches(&mut self, path: &str, matches: &[Match]) {
        if matches.len() > 10 {
            self.fault(path, format!("has {} entries", matches.len()), "at most 10");
        }
        for (i, one) in matches.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if one.headers.is_empty() && one.query_params.is_empty() && one.uri.is_none() {
                self.fault(&path, "is empty, so that every request would fit", "headers, queryParams or uri");
            }
            for name in one.headers.keys() {
                let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
                if name.is_empty() || !plain {
                    let fix = "lower case letters, digits and '-', as proxies see it";
                    self.fault(&format!("{path}.headers"), format!("\"{name}\" is not the name of a header"), fix);
                } else if NO_HEADERS.contains(&name.as_str()) {
                    self.fault(&format!("{path}.headers"), format!("Istio ignores a header called \"{name}\""), "");
                }
            }
            self.texts(&format!("{path}.headers"), &one.headers);
            self.not_by_grpc(&path, one);
            let tokens = self.kind == RouteKind::HttpRoute;
            for name in one.query_params.keys().filter(|name| tokens && !is_token(name)) {
                let fix = "an HTTPRoute takes letters, digits and !#$%&'*+-.^_|~";
                self.fault(&format!("{path}.queryParams"), format!("\"{name}\" is not the name of a query parameter"), fix);
            }
            self.texts(&format!("{path}.queryParams"), &one.query_params);
            if let Some(uri) = &one.uri {
                self.string_match(&format!("{path}.uri"), uri);
                for (word, text) in [("exact", &uri.exact), ("prefix", &uri.prefix)] {
                    if let Some(text) = text.as_ref().filter(|text| !text.is_empty() && !text.starts_with('/')) {
                        self.fault(&format!("{path}.uri.{word}"), format!("is \"{text}\", which is not a path"), "begin with '/'");
                    }
                }
            }
        }
    }

    /// A GRPCRoute can ask for headers alone: there is nothing that could take the rest of a match.
    fn not_by_grpc(&mut self, path: &str, one: &Match) {
        if self.kind != RouteKind::GrpcRoute {
            return;
        }
        let asked = [("queryParams", !one.query_params.is_empty()), ("uri", one.uri.is_some())];
        for (field, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            let fix = "ask for headers: the metadata of a call are headers";
            self.fault(&format!("{path}.{field}"), "cannot be asked for by a GRPCRoute", fix);
        }
    }

    fn texts(&mut self, path: &str, texts: &BTreeMap<String, StringMatch>) {
        if texts.len() > 8 {
            self.fault(path, format!("has {} entries", texts.len()), "at most 8");
        }
        for (name, text) in texts {
            self.string_match(&format!("{path}.{name}"), text);
        }
    }

    fn string_match(&mut self, path: &str, text: &StringMatch) {
        let words = [("exact", &text.exact), ("prefix", &text.prefix), ("regex", &text.regex)];
        let there: Vec<(&str, &String)> = words.into_iter().filter_map(|(word, text)| Some((word, text.as_ref()?))).collect();
        match there.as_slice() {
            [] => self.fault(path, "is empty", "exactly one of exact, prefix and regex"),
            [_] => {}
            several => {
                let names: Vec<&str> = several.iter().map(|(word, _)| *word).collect();
                self.fault(path, format!("has {}", names.join(" and ")), "exactly one of exact, prefix and regex");
            }
        }
        for (word, value) in there {
            let path = format!("{path}.{word}");
            self.text(&path, value, 512);
            if let Some(Err(error)) = (word == "regex").then(|| regex::Regex::new(value)) {
                let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.fault(&path, "is not a regular expression", why);
            }
        }
    }
}

/// Whether the API server takes this as the name of a header or query parameter in a route of the Gateway API.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~".contains(c))
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

/// A percentage that was checked, or was reported as a fault.
fn percent(percent: i32) -> u8 {
    u8::try_from(percent.clamp(0, 100)).unwrap_or(100)
}
