use super::*;
use crate::plan::Plan;
use serde_json::{Value, json};

fn plan(strategy: Value, metrics: Value) -> Plan {
    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": strategy, "analysis": {"metrics": metrics}
    });
    Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn canary(more: Value) -> Value {
    let mut strategy = json!({"canary": {"weights": [10, 50, 100], "hold": "3m", "deadline": "20m"}});
    strategy["canary"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    strategy
}

/// Half an hour of history, and one run.
fn run(plan: &Plan, scenario: &str, seed: u64) -> Played {
    rehearsed(plan, &Scenario { history: 3600.0, ..Scenario::read(scenario, None, &[], &[]).unwrap() }, seed)
}

fn rehearsed(plan: &Plan, scenario: &Scenario, seed: u64) -> Played {
    let interval = plan.analysis.interval.as_secs_f64();
    let setup = Setup { plan: plan.clone(), interval, stable_pods: 10, canary_pods: scenario.canary_pods(0), hands: Hands::Approve };
    let mut world = World::new(scenario, &plan.analysis.metrics, scenario.rps[0], interval, seed);
    let history = world.history();
    play(&setup, &history, &mut |start, end, step, split| Some(world.window(start, end, split, scenario.canary_pods(step))), true)
}

#[test]
fn a_healthy_canary_is_promoted_after_its_holds() {
    let played = run(&plan(canary(json!({})), json!([{"errorRate": {}}])), "rps: 500", 1);
    assert_eq!((played.ending, played.minutes, played.answers), (Ending::Promoted, 9.0, 0));
    assert_eq!(played.points.iter().map(|point| point.step).collect::<Vec<_>>(), [[0; 6], [1; 6], [2; 6]].concat());
    let expected = 500.0 * 180.0 * 1.6;
    assert!((played.canary_requests as f64 - expected).abs() < 6.0 * expected.sqrt(), "{}", played.canary_requests);
}

#[test]
fn a_bad_canary_is_rolled_back_by_the_metric_that_saw_it() {
    let own = json!({"name": "first", "latency": {"histogram": "first_token_seconds"}});
    let slow = run(&plan(canary(json!({})), json!([own])), "canary: {latency: {p50: 300ms, p99: 1200ms}}", 1);
    assert_eq!(slow.by.as_deref(), Some("first"), "{slow:?}");
    let plan = plan(canary(json!({})), json!([{"latency": {}}, {"errorRate": {}}]));
    for (scenario, by) in [("canary: {errors: 0.2}", "errorRate"), ("canary: {latency: {p50: 300ms, p99: 1200ms}}", "latency")] {
        let played = run(&plan, scenario, 2);
        assert_eq!((played.ending, played.by.as_deref()), (Ending::RolledBack, Some(by)));
        assert!(played.minutes <= 3.0 && played.canary_requests > 0, "{played:?}");
    }
}

/// Worlds with as much load per pod on both sides, with too many canary pods whose caches are cold, with too few whose requests queue, and
/// with pods that are slow at first.
const LOADS: [&str; 4] = [
    "canary: {pods: [1, 10]}",
    "{canary: {pods: 10}, load: {coldCache: 0.5}}",
    "{canary: {pods: [1, 2]}, load: {queueing: 0.1}}",
    "{canary: {pods: [1, 10]}, coldStart: {latency: 2, fades: 1m}}",
];

#[test]
fn a_healthy_version_is_promoted_whatever_load_its_pods_have_at_first() {
    let plan = plan(canary(json!({"hold": "5m", "deadline": "1h"})), json!([{"latency": {}}]));
    for (scenario, seed) in LOADS.into_iter().zip(1..).filter(|(scenario, _)| !scenario.contains("queueing")) {
        let played = run(&plan, scenario, seed);
        assert_eq!(played.ending, Ending::Promoted, "{scenario}: {played:?}");
    }
    // Where too few pods have the load of many it waits for more of them: what they show is no proof for everybody.
    let held = run(&plan, LOADS[2], 1);
    assert_eq!((held.ending, held.by.as_deref()), (Ending::Held, Some("latency")), "{held:?}");
}

#[test]
fn a_version_that_is_a_third_slower_is_rolled_back_whatever_load_its_pods_have() {
    let plan = plan(canary(json!({"hold": "15m", "deadline": "1h"})), json!([{"latency": {}}]));
    let slower = ["p50=130ms,p99=520ms".to_owned()];
    for (scenario, seed) in LOADS.into_iter().zip(1..) {
        let scenario = Scenario { history: 3600.0, ..Scenario::read(scenario, None, &[], &slower).unwrap() };
        let played = rehearsed(&plan, &scenario, seed);
        assert_eq!((played.ending, played.by.as_deref()), (Ending::RolledBack, Some("latency")), "{scenario:?}: {played:?}");
    }
}

#[test]
fn a_slow_down_of_young_pods_counts_once_it_is_known_to_stay() {
    let metrics = || json!([{"latency": {}}]);
    let ended = |scenario: &str, warm_up: u64| {
        let mut plan = plan(canary(json!({"hold": "10m", "deadline": "1h"})), metrics());
        plan.analysis.warm_up = std::time::Duration::from_secs(warm_up);
        run(&plan, scenario, 3)
    };
    let (start, slow) = ("coldStart: {latency: 2, fades: 1m}", "canary: {latency: {p50: 200ms, p99: 800ms}}");
    assert_eq!(ended(start, 60).ending, Ending::Promoted);
    assert_eq!(ended(start, 0).ending, Ending::RolledBack, "without a warm-up pods are never young");
    for warm_up in [0, 60] {
        let played = ended(slow, warm_up);
        assert!(played.ending == Ending::RolledBack && played.minutes <= 3.0, "{warm_up}: {played:?}");
    }
}

#[test]
fn a_regression_of_the_last_step_is_found_there() {
    let played = run(&plan(canary(json!({})), json!([{"errorRate": {}}])), "{rps: 500, canary: {errors: 0.3, from: 6m}}", 3);
    assert_eq!(played.ending, Ending::RolledBack);
    assert!(played.minutes > 6.0 && played.points.last().unwrap().step == 2, "{played:?}");
}

#[test]
fn deadlines_bring_what_the_plan_says() {
    // One request in two seconds: nothing is proved.
    let metrics = || json!([{"errorRate": {}}]);
    let scenario = "rps: 0.5";
    let held = run(&plan(canary(json!({})), metrics()), scenario, 4);
    assert_eq!((held.ending, held.minutes, held.by.as_deref()), (Ending::Held, 20.0, Some("errorRate")));
    let back = run(&plan(canary(json!({"onInconclusive": "Rollback"})), metrics()), scenario, 4);
    assert_eq!((back.ending, back.minutes, back.by.as_deref()), (Ending::RolledBack, 20.0, Some("deadline")));
    // Enough requests to see no harm, too few to prove it.
    let on = plan(canary(json!({"onInconclusive": "PromoteIfNoHarm", "deadline": "5m"})), json!([{"errorRate": {"pass": 0.0001}}]));
    let on = run(&on, "{rps: 20, stable: {errors: 0}}", 4);
    assert_eq!(on.ending, Ending::Promoted, "{on:?}");
    assert!(on.minutes >= 13.0, "both steps wait for their deadlines: {on:?}");
}

#[test]
fn an_approval_is_answered_at_once_and_counted() {
    let steps = json!({"steps": [{"weight": 20, "hold": "2m"}, {"weight": 100, "hold": "2m", "approval": true}]});
    let played = run(&plan(steps, json!([{"errorRate": {}}])), "rps: 500", 5);
    assert_eq!((played.ending, played.minutes, played.answers), (Ending::Promoted, 4.0, 1));
}

#[test]
fn a_drift_beyond_the_limit_that_holds_holds() {
    let drift = json!([{"drift": {"counter": "c", "class": "class", "hold": 0.02, "rollback": 0.9}}]);
    let played = run(&plan(canary(json!({})), drift), "{rps: 500, canary: {classes: [0.40, 0.35, 0.15, 0.07, 0.03]}}", 6);
    assert_eq!((played.ending, played.minutes, played.hold_limit), (Ending::Held, 20.0, true));
}

#[test]
fn a_metric_left_out_of_a_step_does_not_keep_it() {
    let steps = json!({"steps": [
        {"weight": 20, "hold": "2m", "deadline": "10m", "without": ["errorRate"]}, {"weight": 100, "hold": "2m"}
    ]});
    // Nothing would be proved at this traffic.
    let played = run(&plan(steps, json!([{"errorRate": {}}])), "rps: 1", 7);
    assert_eq!((played.ending, played.minutes), (Ending::Promoted, 4.0));
}

#[test]
fn without_metrics_the_holds_alone_decide() {
    let played = run(&plan(canary(json!({})), json!([])), "canary: {errors: 1}", 8);
    assert_eq!((played.ending, played.minutes), (Ending::Promoted, 9.0));
}

#[test]
fn the_same_seed_gives_the_same_rehearsal() {
    let plan = plan(canary(json!({})), json!([{"errorRate": {}}, {"latency": {}}]));
    let noisy = "noise: {errorBurst: 3, latencySd: 0.03, podErrorSd: 0.2, errorAr: {sd: 0.3, time: 5m}}";
    assert_eq!(run(&plan, noisy, 9), run(&plan, noisy, 9));
    assert_ne!(run(&plan, noisy, 9).canary_requests, run(&plan, noisy, 10).canary_requests);
}

mod worlds {
    use super::*;
    use crate::counts::{Counts, Sample};

    fn sums(samples: &[Sample]) -> (u64, u64, Vec<u64>, Vec<u64>) {
        let mut sums = (0, 0, Vec::new(), Vec::new());
        let add = |sum: &mut Vec<u64>, more: Vec<u64>| {
            sum.resize(more.len(), 0);
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        for counts in samples.iter().flat_map(|sample| sample.values()) {
            match counts {
                Counts::Events { total, bad } => (sums.0, sums.1) = (sums.0 + total, sums.1 + bad),
                Counts::Histogram { above, .. } => add(&mut sums.2, above.clone()),
                Counts::Classes(classes) => add(&mut sums.3, classes.values().copied().collect()),
            }
        }
        sums
    }

    fn everything() -> Plan {
        plan(canary(json!({})), json!([{"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "c", "class": "class"}}]))
    }

    /// Canary's and stable's sums of `count` windows from `start` on, half of the traffic each.
    fn windows(scenario: &str, start: f64, count: u32) -> [(u64, u64, Vec<u64>, Vec<u64>); 2] {
        let scenario = Scenario::read(scenario, Some("2000"), &[], &[]).unwrap();
        let plan = everything();
        let mut world = World::new(&scenario, &plan.analysis.metrics, 2000.0, 30.0, 11);
        let time = |k: u32| start + f64::from(k) * 30.0;
        let all: Vec<[Sample; 2]> = (0..count).map(|k| world.window(time(k), time(k + 1), [0.5, 0.5], 1).samples).collect();
        [0, 1].map(|side| sums(&all.iter().map(|both| both[side].clone()).collect::<Vec<_>>()))
    }

    fn near(count: u64, n: u64, share: f64) -> bool {
        let expected = n as f64 * share;
        (count as f64 - expected).abs() < 5.0 * (expected * (1.0 - share)).sqrt() + 5.0
    }

    #[test]
    fn counts_follow_what_was_declared() {
        let [stable, canary] =
            windows("canary: {errors: 0.02, latency: {p50: 125ms, p99: 500ms}, classes: [0.4, 0.3, 0.2, 0.07, 0.03]}", 0.0, 10);
        assert!(near(stable.1, stable.0, 0.001) && near(canary.1, canary.0, 0.02), "{stable:?} {canary:?}");
        // 1 % of the requests are above p99; stable's 400 ms lie between the bounds 250 and 500.
        assert!(near(canary.2[8], canary.0, 0.01) && near(stable.2[6], stable.0, 0.5));
        assert!(near(stable.3[0], stable.0, 0.5) && near(canary.3[0], canary.0, 0.4) && near(canary.3[1], canary.0, 0.3));
        assert_eq!(canary.3.iter().sum::<u64>(), canary.0);
    }

    #[test]
    fn before_its_time_the_canary_is_as_stable() {
        let scenario = "canary: {errors: 0.2, classes: [0.03, 0.07, 0.15, 0.25, 0.5], from: 5m}";
        let [_, early] = windows(scenario, 0.0, 10);
        let [_, late] = windows(scenario, 300.0, 10);
        assert!(near(early.1, early.0, 0.001) && near(late.1, late.0, 0.2));
        assert!(near(early.3[0], early.0, 0.5) && near(late.3[0], late.0, 0.03));
        let [_, between] = windows(scenario, 285.0, 1);
        assert!(near(between.1, between.0, 0.1005), "half of that window: {between:?}");
    }

    #[test]
    fn an_incident_hits_both_and_a_skewed_one_the_canary_first() {
        let scenario = "{canary: {errors: 0.011}, common: [{from: 2m, to: 4m, errors: 0.1, latency: 1.5, skew: 15s}]}";
        let [stable, canary] = windows(scenario, 120.0, 3);
        assert!(near(stable.1, stable.0, 0.1), "{stable:?}");
        let combined = 1.0 - (1.0 - 0.011) * (1.0 - 0.099 / 0.999);
        assert!(near(canary.1, canary.0, combined), "{canary:?} {combined}");
        // Half of the canary's window before is in it already, and nothing of stable's.
        let [stable, canary] = windows(scenario, 90.0, 1);
        assert!(near(stable.1, stable.0, 0.001) && near(canary.1, canary.0, 0.5 * (0.011 + combined)));
        let [stable, _] = windows(scenario, 300.0, 4);
        assert!(near(stable.1, stable.0, 0.001));
    }

    #[test]
    fn a_ramp_grows_to_its_end_and_moves_the_mix_of_both() {
        let scenario =
            "{stable: {errors: 0.003}, common: [{from: 0m, to: 60m, errors: 0.009, classes: [0.4, 0.35, 0.15, 0.07, 0.03], ramp: true}]}";
        let [stable, canary] = windows(scenario, 1785.0, 2);
        assert!(near(stable.1, stable.0, 0.006) && near(canary.1, canary.0, 0.006));
        assert!(near(stable.3[0], stable.0, 0.45) && near(canary.3[1], canary.0, 0.30));
    }

    #[test]
    fn the_past_reaches_back_as_far_as_the_controller_reads() {
        let windows = |history: &str, interval: f64| past_windows(&Scenario::read(history, None, &[], &[]).unwrap(), interval);
        assert_eq!((windows("history: 12h", 30.0), windows("history: 1h", 30.0), windows("history: 0s", 30.0)), (1440, 120, 0));
        assert_eq!(windows("history: 12h", 2.0), 1800, "an hour of short windows is enough");
    }

    #[test]
    fn noise_of_the_pods_is_in_the_past_and_in_the_rollout() {
        let scenario = Scenario { history: 3600.0, ..Scenario::read("noise: {podErrorSd: 0.5, latencySd: 0.1}", None, &[], &[]).unwrap() };
        let plan = everything();
        let mut world = World::new(&scenario, &plan.analysis.metrics, 20_000.0, 30.0, 12);
        let history = world.history();
        assert_eq!((history.windows.len(), history.by_pod), (120, true));
        let rate = |pod: &str| {
            let all: Vec<Sample> = history.windows.iter().map(|window| window[pod].clone()).collect();
            let (n, x, ..) = sums(&all);
            x as f64 / n as f64
        };
        let rates: Vec<f64> = (0..10).map(|pod| rate(&format!("pod-{pod}"))).collect();
        let spread = rates.iter().copied().fold(0.0, f64::max) / rates.iter().copied().fold(1.0, f64::min);
        assert!(spread > 1.5, "{rates:?}");
        let medians: Vec<f64> = history
            .windows
            .iter()
            .map(|window| {
                let (n, _, above, _) = sums(&[window["pod-0"].clone()]);
                above[6] as f64 / n as f64
            })
            .collect();
        let mean = medians.iter().sum::<f64>() / medians.len() as f64;
        let deviation = (medians.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / medians.len() as f64).sqrt();
        assert!(deviation > 0.04, "a shift of 10 % moves the share above the median by 7 points: {deviation}");
    }
}

mod recordings {
    use super::*;
    use crate::counts::History;

    fn recorded(hours: f64, rps: f64, scenario: &str) -> History {
        let scenario = Scenario { history: hours * 3600.0, ..Scenario::read(scenario, None, &[], &[]).unwrap() };
        let plan = plan(canary(json!({})), json!([{"errorRate": {}}]));
        World::new(&scenario, &plan.analysis.metrics, rps, 30.0, 13).history()
    }

    #[test]
    fn stable_split_against_itself_is_promoted() {
        let plan = plan(canary(json!({})), json!([{"errorRate": {}}]));
        let recording = Recording::new(recorded(4.0, 300.0, ""), &plan).unwrap();
        assert_eq!([0.01, 0.1, 0.5, 0.99, 1.0].map(|share| recording.canary_pods(share)), [1, 1, 5, 9, 10]);
        let played: Vec<Played> = (0..10).map(|run| recording.play(&plan, seed_of(1, run), Hands::Approve, false)).collect();
        let tally = Tally::of(300.0, 1, &played);
        assert_eq!((tally.promoted, tally.rolled_back, tally.cut_off), (10, 0, 0), "{tally:?}");
    }

    #[test]
    fn a_recording_that_ends_before_the_rollout_cuts_it_off() {
        let plan = plan(canary(json!({})), json!([{"errorRate": {"pass": 0.0001}}]));
        let recording = Recording::new(recorded(0.5, 20.0, "stable: {errors: 0}"), &plan).unwrap();
        assert_eq!(recording.play(&plan, 1, Hands::Approve, false).ending, Ending::CutOff);
    }

    #[test]
    fn what_cannot_be_split_is_refused_with_the_reason() {
        let plan = plan(canary(json!({})), json!([{"errorRate": {}}]));
        let blind = History { by_pod: false, ..recorded(1.0, 300.0, "") };
        assert!(Recording::new(blind, &plan).unwrap_err().to_string().contains("do not tell pods apart"));
        let alone = History { by_pod: true, ..recorded(1.0, 300.0, "stable: {pods: 1}") };
        assert_eq!(Recording::new(alone, &plan).unwrap_err(), Unsplittable::OnePod { pods: 1 });
        let short = Recording::new(recorded(0.2, 300.0, ""), &plan).unwrap_err();
        assert_eq!(short, Unsplittable::TooShort { windows: 24, needed: 38, before: 20, holds: 18 });
    }
}

#[test]
fn a_step_in_which_no_metric_gates_takes_its_hold_and_no_longer_as_in_the_controller() {
    let minutes = |metrics: Value| run(&plan(canary(json!({"hold": "1m"})), metrics), "rps: 500", 1).minutes;
    assert_eq!(minutes(json!([{"errorRate": {}, "gate": false}])), 3.0);
}
