//! Glances at single scrapes, drawn scrape by scrape: what is plain, and what only looks so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use haldane::counts::{Begin, Counts, Glances, History, Pod, Sample, Scope, Series, Side};
use haldane::judge::{Evidence, StepTerms};
use haldane::plan::{ErrorRate, Metric, MetricKind};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Geometric, Poisson};

/// Seconds between two scrapes.
const PACE: f64 = 5.0;
/// Glances of a rollout: 45 minutes.
const GLANCES: usize = 540;

/// Who fails.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Whose {
    Nobody,
    Both,
    Canary,
    OneOfStable,
    OneOfTheCanary,
    /// One pod of each arm: they share a node.
    OneOfEach,
}

/// A world of errors.
#[derive(Clone, Copy)]
pub(crate) struct World {
    pub name: &'static str,
    pub errors: f64,
    /// Mean length of a burst.
    pub burst: f64,
    /// Whether the history has them too.
    pub known: bool,
    /// More errors: whose, which share, from when on (seconds, at a random moment of a scrape), for how long, how often.
    pub more: (Whose, f64, f64),
    pub times: usize,
}

const fn world(name: &'static str, errors: f64, burst: f64, known: bool, more: (Whose, f64, f64), times: usize) -> World {
    World { name, errors, burst, known, more, times }
}

const QUIET: (Whose, f64, f64) = (Whose::Nobody, 0.0, 0.0);

/// Nothing is wrong with the version.
pub(crate) const HEALTHY: [World; 12] = [
    world("0.1 %", 0.001, 1.0, true, QUIET, 0),
    world("1 %", 0.01, 1.0, true, QUIET, 0),
    world("0.1 %, bursts of three", 0.001, 3.0, true, QUIET, 0),
    world("1 %, bursts of three", 0.01, 3.0, true, QUIET, 0),
    world("1 %, bursts of ten", 0.01, 10.0, true, QUIET, 0),
    world("0.1 %, bursts of two that the history has not", 0.001, 2.0, false, QUIET, 0),
    world("0.1 %, bursts of three that the history has not", 0.001, 3.0, false, QUIET, 0),
    world("10 % fail in both for 4 min", 0.001, 1.0, true, (Whose::Both, 0.1, 240.0), 1),
    world("half fails in both for 3 s, thirty times", 0.001, 1.0, true, (Whose::Both, 0.5, 3.0), 30),
    world("all fails in both for 1 s, thirty times", 0.001, 1.0, true, (Whose::Both, 1.0, 1.0), 30),
    world("a pod of stable fails for 30 s, ten times", 0.001, 1.0, true, (Whose::OneOfStable, 1.0, 30.0), 10),
    world("a pod of each version fails for 10 s, ten times", 0.001, 1.0, true, (Whose::OneOfEach, 1.0, 10.0), 10),
];

/// The canary has several pods, and one of them fails.
pub(crate) const ONE_POD: World =
    world("a pod of the canary fails for 10 s, ten times", 0.001, 1.0, true, (Whose::OneOfTheCanary, 1.0, 10.0), 10);
/// Half of the canary's requests fail from one moment on.
pub(crate) const HALF: World = world("half of the canary's fail", 0.001, 1.0, true, (Whose::Canary, 0.5, 1e9), 1);

/// The rollout of a world.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub rps: f64,
    pub weight: f64,
    pub pods: [usize; 2],
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_millis((seconds * 1000.0).round() as i64)
}

struct PodCounts {
    name: String,
    side: Side,
    phase: f64,
    rate: f64,
    sums: [f64; 2],
    samples: [Vec<(Timestamp, f64)>; 2],
}

struct Play {
    rng: SmallRng,
    world: World,
    pods: Vec<PodCounts>,
    /// Begins of what fails.
    begins: Vec<f64>,
}

impl Play {
    fn new(world: World, size: Size, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut pods = Vec::new();
        for (side, share, count) in [(Side::Stable, 1.0 - size.weight, size.pods[0]), (Side::Canary, size.weight, size.pods[1])] {
            for pod in 0..count {
                let name = format!("{}-{pod}", if side == Side::Stable { "v1" } else { "v2" });
                let (phase, rate) = (rng.random::<f64>() * PACE, size.rps * share / count as f64);
                pods.push(PodCounts { name, side, phase, rate, sums: [0.0; 2], samples: Default::default() });
            }
        }
        let begins = (0..world.times).map(|_| (40.0 + rng.random::<f64>() * (GLANCES as f64 * PACE - 80.0)).min(2600.0)).collect();
        Self { rng, world, pods, begins }
    }

    fn errors(&mut self, n: f64, share: f64) -> f64 {
        let world = self.world;
        let bursts = poisson(&mut self.rng, n * share / world.burst);
        if world.burst <= 1.0 {
            return bursts.min(n);
        }
        let law = Geometric::new(1.0 / world.burst).unwrap();
        (0..bursts as u64).map(|_| 1.0 + law.sample(&mut self.rng) as f64).sum::<f64>().min(n)
    }

    /// Plays the time up to the scrapes of `[from, to)`.
    fn scrape(&mut self, from: f64, to: f64) {
        for at in 0..self.pods.len() {
            let pod = &self.pods[at];
            let (side, rate, phase) = (pod.side, pod.rate, pod.phase);
            let first = self.pods.iter().position(|pod| pod.side == side) == Some(at);
            let mut now = phase + ((from - phase) / PACE).ceil() * PACE;
            while now < to {
                let n = poisson(&mut self.rng, rate * PACE);
                let world = self.world;
                let (whose, more, long) = world.more;
                let hit = match whose {
                    Whose::Nobody => false,
                    Whose::Both => true,
                    Whose::Canary => side == Side::Canary,
                    Whose::OneOfStable => side == Side::Stable && first,
                    Whose::OneOfTheCanary => side == Side::Canary && first,
                    Whose::OneOfEach => first,
                };
                let over = |begin: &f64| (now.min(begin + long) - (now - PACE).max(*begin)).max(0.0) / PACE;
                let part = if hit { self.begins.iter().map(over).sum::<f64>().min(1.0) } else { 0.0 };
                let usual = self.errors(n, world.errors);
                let extra = poisson(&mut self.rng, n * part * more);
                let bad = (usual + extra).min(n);
                let pod = &mut self.pods[at];
                for (code, gained) in [n - bad, bad].into_iter().enumerate() {
                    pod.sums[code] += gained;
                    // A counter is there from its first increment on.
                    if pod.sums[code] > 0.0 {
                        pod.samples[code].push((time(now), pod.sums[code]));
                        let old = pod.samples[code].len().saturating_sub(5);
                        pod.samples[code].drain(..old);
                    }
                }
                now += PACE;
            }
        }
    }

    fn series(&self) -> Vec<Series> {
        let of = |pod: &PodCounts| {
            let version = &pod.name[..2];
            ["200", "500"].map(|code| {
                let labels = [
                    ("job", "proxies"),
                    ("instance", &pod.name),
                    ("pod", &pod.name),
                    ("destination_workload", version),
                    ("response_code", code),
                ];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
                Series { labels, samples: pod.samples[usize::from(code == "500")].clone() }
            })
        };
        self.pods.iter().flat_map(of).filter(|series| !series.samples.is_empty()).collect()
    }

    fn scope(&self) -> Scope {
        let long_ago = time(-100_000.0);
        let pod = |pod: &PodCounts| (pod.name.clone(), Pod { side: pod.side, created: long_ago, ready_since: Some(long_ago) });
        Scope {
            label: "destination_workload".into(),
            stable: "v1".into(),
            canary: "v2".into(),
            namespace: "ml".into(),
            pod_jobs: BTreeSet::new(),
            pods: self.pods.iter().map(pod).collect(),
            by_pod: true,
            named: true,
            needs_stable: true,
            warm_up: Duration::ZERO,
            aside: BTreeSet::new(),
        }
    }

    /// Windows of two scrapes of stable's pods, an hour of them.
    fn history(&mut self, size: Size) -> History {
        let windows = (3600.0 / (2.0 * PACE)) as usize;
        let mut burst = self.world.burst;
        if !self.world.known {
            std::mem::swap(&mut burst, &mut self.world.burst);
            self.world.burst = 1.0;
        }
        let each = size.rps / size.pods[0] as f64 * 2.0 * PACE;
        let mut window = || -> BTreeMap<String, Sample> {
            let pod = |pod: usize, play: &mut Self| {
                let n = poisson(&mut play.rng, each);
                let bad = play.errors(n, play.world.errors);
                let counts = Counts::Events { total: n as u64, bad: bad as u64 };
                (format!("v1-{pod}"), Sample::from([("errorRate".to_owned(), counts)]))
            };
            (0..size.pods[0]).map(|at| pod(at, self)).collect()
        };
        let windows = (0..windows).map(|_| window()).collect();
        if !self.world.known {
            self.world.burst = burst;
        }
        History { interval_seconds: 2.0 * PACE, windows, by_pod: true }
    }
}

fn poisson(rng: &mut SmallRng, mean: f64) -> f64 {
    if mean > 0.0 { Poisson::new(mean).unwrap().sample(rng) } else { 0.0 }
}

/// Seconds from the begin of what fails (or of the rollout) to the glance at which it is plain; `None`: at no glance.
pub(crate) fn played(world: World, size: Size, seed: u64) -> Option<f64> {
    let mut play = Play::new(world, size, seed);
    let metrics = [Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default()))];
    let mut step = StepTerms::weighted(size.weight, 1.0, 270);
    step.planned_windows = 270;
    let mut evidence = Evidence::new(&metrics, 2.0 * PACE);
    let history = play.history(size);
    evidence.calibrate(&metrics, &history, std::slice::from_ref(&step), size.pods[1] as u32);
    evidence.begin_step(&metrics, &step);
    let (scope, mut glances) = (play.scope(), Glances::default());
    let begin = Begin { since: time(0.0), scrape: Duration::from_secs_f64(PACE) };
    let (mut now, mut scraped, mut look) = (4.0 * PACE, 0.0, 0);
    while look < GLANCES as u32 && now < 2700.0 {
        play.scrape(scraped, now);
        scraped = now;
        let (glance, next) = glances.take(&play.series(), &scope, begin, time(now));
        if let Some(glance) = glance {
            look += 1;
            if evidence.plain(&metrics, &step, &glance, look).is_some() {
                return Some(now - play.begins.first().copied().unwrap_or(0.0));
            }
        }
        now = next.duration_since(time(0.0)).as_secs_f64();
    }
    None
}

/// Share of rollouts in which something was plain.
pub(crate) fn share(world: World, size: Size, runs: usize, seed: u64) -> f64 {
    (0..runs as u64).filter(|run| played(world, size, seed * 1_000_003 + run).is_some()).count() as f64 / runs.max(1) as f64
}
