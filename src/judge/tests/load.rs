//! Like with like: what unequal load per pod explains is no slow-down of the version, and hides none for good.

use statrs::function::erf::erfc;

use super::*;

const BOUNDS: [f64; 6] = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0];
const STEPS: [f64; 3] = [0.05, 0.2, 0.5];

fn metrics() -> Vec<Metric> {
    with_load(0.10)
}

/// Latency alone, with the slow-down that a doubling of the load may explain.
fn with_load(load: f64) -> Vec<Metric> {
    let latency = Latency::default();
    let limits = crate::plan::StretchLimits { load, ..latency.limits };
    vec![Metric::new("latency", MetricKind::Latency(Latency { limits, ..latency }))]
}

fn terms() -> Vec<StepTerms> {
    let next = [0.2, 0.5, 1.0];
    STEPS.iter().zip(next).map(|(weight, next)| StepTerms::weighted(*weight, next, 10)).collect()
}

/// `n` requests of a version whose median is `median` ms: at 20 ms a third of them takes longer than 25 ms.
fn taking(n: u64, median: f64) -> Sample {
    let share = |bound: f64| 0.5 * erfc((bound / median).ln() / (0.507 * std::f64::consts::SQRT_2));
    let above = BOUNDS.iter().map(|bound| (n as f64 * share(*bound)).round() as u64).collect();
    BTreeMap::from([("latency".to_owned(), Counts::Histogram { bounds: BOUNDS.to_vec(), above, total: n })])
}

const USUAL: f64 = 20.0;
/// At this median 51 % take longer than 25 ms.
const COLD: f64 = 25.3;

/// One after the other: the windows of a rollout at 100 requests a second.
struct Played {
    metrics: Vec<Metric>,
    evidence: Evidence,
    step: usize,
    at: i64,
}

impl Played {
    fn new(metrics: Vec<Metric>) -> Self {
        Self::after(metrics, |_| 1.0)
    }

    /// With a past of twelve hours in which stable's load and latency at window `k` were so many times the usual ones.
    fn after(metrics: Vec<Metric>, load: impl Fn(usize) -> f64) -> Self {
        let pod = |k: usize| taking((1000.0 * load(k)) as u64, USUAL * load(k).powf(-0.2));
        let windows = (0..1440).map(|k| ["a", "b", "c"].map(|name| (name.to_owned(), pod(k))).into()).collect();
        let history = History { interval_seconds: 30.0, windows, by_pod: true };
        let mut evidence = Evidence::new(&metrics, 30.0);
        evidence.calibrate(&metrics, &history, &terms(), 3);
        let mut played = Self { metrics, evidence, step: 0, at: 0 };
        played.begin(0);
        played
    }

    fn begin(&mut self, step: usize) {
        self.step = step;
        self.evidence.begin_step(&self.metrics, &terms()[step]);
    }

    /// So many windows with these medians of stable and the canary on so many pods.
    fn windows(&mut self, count: usize, medians: [f64; 2], pods: [u32; 2]) -> Judgement {
        let (step, [stable, canary]) = (&terms()[self.step], medians);
        for _ in 0..count {
            let n = |share: f64| (3000.0 * share).round() as u64;
            let window = window(self.at, taking(n(1.0 - step.weight), stable), taking(n(step.weight), canary));
            self.at += 1;
            self.evidence.add(&self.metrics, step, &Window { stable_pods: pods[0], canary_pods: pods[1], weight: step.weight, ..window });
        }
        self.evidence.told(&self.metrics, step)
    }
}

#[test]
fn an_identical_version_with_a_nineteenth_of_the_load_is_not_rolled_back_for_its_cold_caches() {
    let judgement = Played::new(metrics()).windows(10, [USUAL, COLD], [3, 3]);
    let latency = found(&judgement, "latency");
    assert_ne!(judgement.verdict, Verdict::Fail, "{}", latency.message);
    assert!(latency.under_unequal_load && latency.load_margin.is_some_and(|load| load > 0.02), "{latency:?}");
    assert!(latency.message.contains("; unequal load may explain "), "{}", latency.message);
    let load = judgement.load.unwrap();
    assert_eq!((load.stable.pods, load.canary.pods), (3, 3));
    assert_eq!((load.stable.requests_per_pod, load.canary.requests_per_pod), (31.6667, 1.6667));
    // The same counts where the loads are equal, or where load explains nothing by the manifest.
    assert_eq!(Played::new(metrics()).windows(10, [USUAL, COLD], [57, 3]).verdict, Verdict::Fail);
    assert_eq!(Played::new(with_load(0.0)).windows(10, [USUAL, COLD], [3, 3]).verdict, Verdict::Fail);
}

#[test]
fn errors_are_judged_under_any_load_as_under_equal_load() {
    let metrics = vec![Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default()))];
    let of = |pods: u32| {
        let mut evidence = Evidence::new(&metrics, 30.0);
        evidence.calibrate(&metrics, &super::history(120), &terms(), 3);
        evidence.begin_step(&metrics, &terms()[0]);
        for k in 0..5 {
            let window = window(k, super::usual(2850), super::sample(150, 0.01, 0.05, &CLASSES));
            evidence.add(&metrics, &terms()[0], &Window { stable_pods: pods, canary_pods: 3, ..window });
        }
        let judgement = evidence.told(&metrics, &terms()[0]);
        (judgement.fail_evidence, judgement.verdict)
    };
    assert_eq!(of(3), of(57));
}

#[test]
fn what_load_does_not_explain_is_rolled_back_under_any_load() {
    assert_eq!(Played::new(metrics()).windows(10, [USUAL, 3.0 * USUAL], [3, 3]).verdict, Verdict::Fail);
}

#[test]
fn a_slow_version_that_little_load_made_look_fast_is_found_where_the_loads_are_equal() {
    let mut played = Played::new(metrics());
    for step in [0, 1] {
        played.begin(step);
        let judgement = played.windows(10, [USUAL, 0.6 * USUAL], [3, 3]);
        assert_eq!((judgement.verdict, found(&judgement, "latency").under_unequal_load), (Verdict::Pass, true));
    }
    played.begin(2);
    let judgement = played.windows(6, [USUAL, 1.3 * USUAL], [3, 3]);
    assert_eq!((judgement.verdict, found(&judgement, "latency").under_unequal_load), (Verdict::Fail, false));
}

#[test]
fn a_healthy_version_with_cold_caches_passes_each_step() {
    let mut played = Played::new(metrics());
    for (step, slower) in [1.25, 1.12, 1.0].into_iter().enumerate() {
        played.begin(step);
        let judgement = played.windows(10, [USUAL, slower * USUAL], [3, 3]);
        assert_eq!(judgement.verdict, Verdict::Pass, "{step}: {}", judgement.metrics[0].message);
    }
}

#[test]
fn a_slow_version_is_found_once_the_pods_are_made_equal() {
    let mut played = Played::new(metrics());
    assert_eq!(played.windows(9, [USUAL, 1.3 * USUAL], [57, 57]).verdict, Verdict::Pass);
    let judgement = played.windows(10, [USUAL, 1.3 * USUAL], [57, 3]);
    assert_eq!((judgement.verdict, found(&judgement, "latency").under_unequal_load), (Verdict::Fail, false));
}

#[test]
fn the_way_to_everybody_is_opened_by_the_margin_as_it_is() {
    let mut played = Played::new(metrics());
    played.begin(2);
    // Slower by what a sixteenth of the load may explain: no harm, and no proof either.
    let judgement = played.windows(30, [USUAL, 1.25 * USUAL], [3, 48]);
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "{}", judgement.metrics[0].message);
    assert_eq!(Played { step: 2, ..Played::new(metrics()) }.windows(30, [USUAL, USUAL], [3, 48]).verdict, Verdict::Pass);
}

#[test]
fn the_past_of_stable_says_what_its_load_explains() {
    let swinging = |k: usize| 2f64.powf((k as f64 / 100.0).sin());
    let margin = |played: Played, pods: [u32; 2]| {
        let mut played = played;
        let judgement = played.windows(3, [USUAL, USUAL], pods);
        found(&judgement, "latency").load_margin.unwrap_or_default()
    };
    // A sixth of stable's load: in the past durations grew by 15 % with each halving.
    let less = margin(Played::after(metrics(), swinging), [3, 1]);
    assert!((0.02..0.3).contains(&less), "{less}");
    // Half as much again as stable: the past shows that more load makes nothing slower. Beyond what it shows something is assumed.
    let most = |mut played: Played, pods| {
        played.begin(2);
        margin(played, pods)
    };
    assert_eq!(most(Played::after(metrics(), swinging), [3, 2]), 0.0);
    assert!(most(Played::new(metrics()), [3, 1]) > 0.0);
}

#[test]
fn the_checkpoint_keeps_what_is_known_of_load() {
    let mut played = Played::after(metrics(), |k| 2f64.powf((k as f64 / 100.0).sin()));
    played.windows(3, [USUAL, COLD], [3, 3]);
    let json = serde_json::to_string(&played.evidence).unwrap();
    let again: Evidence = serde_json::from_str(&json).unwrap();
    assert_eq!(again, played.evidence);
    let old = json.replace("\"load\":{", "\"other\":{");
    assert!(serde_json::from_str::<Evidence>(&old).is_ok(), "one of a version before");
}
