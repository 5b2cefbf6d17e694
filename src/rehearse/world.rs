//! Counts of both arms, drawn from a scenario.
//!
//! Requests are Poisson. What an arm is beyond its declared behaviour is in its pods: factors that stay (`podErrorSd`, `podLatencySd`) and
//! noise that each window brings (`latencySd`, `classConcentration`, `errorAr`, with bursts of errors). An arm of several pods is the sum of
//! them, in the past as in the rollout.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use statrs::function::erf::erfc;

use super::draw;
use super::play::TwoArms;
use super::scenario::{Behaviour, Incident, Scenario};
use crate::api::TimeUnit;
use crate::counts::{Counts, History, Sample};
use crate::judge::most_windows;
use crate::plan::{Counted, Limits, Metric, MetricKind};
use crate::sim::traffic::counters::LATENCY_BOUNDS;

/// The upper 1 % quantile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

/// Whether a world can draw what this metric counts: nobody knows what metrics of the user's own would show.
pub fn can_draw(kind: &MetricKind) -> bool {
    !matches!(kind.counted(), Counted::Share { .. } | Counted::Value(_))
}

/// Windows of the past: what the scenario says, as far back as the controller would read it.
pub fn past_windows(scenario: &Scenario, interval: f64) -> usize {
    ((scenario.history / interval).floor() as usize).min(most_windows(interval))
}

/// A pod: what is peculiar to it.
#[derive(Clone, Debug)]
struct Pod {
    /// Error rate times this.
    errors: f64,
    /// Added to the log latency.
    latency: f64,
    /// Standard normal, slow.
    ar: f64,
    /// Seconds after the start at which it had its first request.
    since: f64,
    /// Of the present window: added to the log latency, and the shares of the classes.
    shift: f64,
    mix: Vec<f64>,
}

/// What was counted.
#[derive(Clone, Debug)]
struct Gained {
    total: u64,
    bad: u64,
    above: Vec<u64>,
    classes: Vec<u64>,
}

/// What an arm does for a while.
struct Moment {
    errors: f64,
    log_median: f64,
    deviation: f64,
    /// Shares of the classes minus the declared ones.
    moved: Option<Vec<f64>>,
    /// Seconds after the start.
    at: f64,
}

/// One of the two arms.
#[derive(Clone, Copy, PartialEq)]
enum Arm {
    Stable,
    Canary,
}

/// A world: both arms of one rehearsal. A copy continues as this one would.
#[derive(Clone, Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    metrics: &'a [Metric],
    rps: f64,
    interval: f64,
    rng: SmallRng,
    stable: Vec<Pod>,
    canary: Vec<Pod>,
    bounds: Vec<f64>,
    latency: bool,
    answers: bool,
    names: Vec<String>,
    /// Shares above the bounds, of the log median and deviation for which they were computed last.
    above: (f64, f64, Vec<f64>),
}

impl<'a> World<'a> {
    /// A world at `rps` requests a second with windows of `interval` seconds. The same seed gives the same world.
    pub fn new(scenario: &'a Scenario, metrics: &'a [Metric], rps: f64, interval: f64, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let noise = &scenario.noise;
        let most = scenario.canary_pods.iter().copied().max().unwrap_or(1);
        let mut pods = |count: u32| {
            let pod = |_| Pod {
                errors: draw::factor(noise.pod_error_sd, draw::normal(&mut rng)),
                latency: noise.pod_latency_sd * draw::normal(&mut rng),
                ar: draw::normal(&mut rng),
                since: f64::INFINITY,
                shift: 0.0,
                mix: Vec::new(),
            };
            (0..count).map(pod).collect::<Vec<Pod>>()
        };
        let (stable, canary) = (pods(scenario.stable_pods), pods(most));
        let judged = |wanted: fn(Limits) -> bool| metrics.iter().any(|metric| wanted(metric.kind.limits()));
        Self {
            scenario,
            metrics,
            rps,
            interval,
            rng,
            stable,
            canary,
            bounds: LATENCY_BOUNDS.to_vec(),
            latency: judged(|limits| matches!(limits, Limits::Stretch(_))),
            answers: judged(|limits| matches!(limits, Limits::Distance(_))),
            names: (1..=scenario.stable.classes.len()).map(|class| format!("class-{class}")).collect(),
            above: (f64::NAN, f64::NAN, vec![0.0; LATENCY_BOUNDS.len()]),
        }
    }

    /// Stable's past, pod by pod.
    pub fn history(&mut self) -> History {
        let windows = past_windows(self.scenario, self.interval);
        let pods: Vec<String> = (0..self.stable.len()).map(|pod| format!("pod-{pod}")).collect();
        let usual = self.rps * self.interval / self.stable.len().max(1) as f64;
        let mut history = Vec::with_capacity(windows);
        for before in (0..windows).rev() {
            self.next_window(Arm::Stable, self.stable.len());
            let traffic = self.scenario.traffic(-self.interval * before as f64);
            let (mean, mut moment) = (usual * traffic, moment(&self.scenario.stable));
            moment.log_median += self.scenario.load.slower(traffic).ln();
            let mut window = BTreeMap::new();
            for (at, name) in pods.iter().enumerate() {
                let mut gained = self.nothing();
                self.add(Arm::Stable, at, &moment, mean, &mut gained);
                window.insert(name.clone(), self.sample(gained));
            }
            history.push(window);
        }
        History { interval_seconds: self.interval, windows: history, by_pod: self.stable.len() > 1 }
    }

    /// Both arms' counts from `start` to `end` (seconds after the rollout began), stable and the canary having so many requests for one of a
    /// user, the canary on so many pods.
    pub fn window(&mut self, start: f64, end: f64, split: [f64; 2], canary_pods: u32) -> TwoArms {
        let canary = (canary_pods as usize).clamp(1, self.canary.len().max(1));
        let [to_stable, to_canary] = split;
        let samples = [(Arm::Stable, to_stable, self.stable.len()), (Arm::Canary, to_canary, canary)].map(|(arm, share, pods)| {
            let mut gained = self.nothing();
            self.next_window(arm, pods);
            let rps = self.rps * self.scenario.traffic(0.5 * (start + end));
            let each = rps * share / pods.max(1) as f64;
            // As a part of what a pod of stable gets before the rollout, on average.
            let load = each / (self.rps / self.stable.len().max(1) as f64);
            if arm == Arm::Canary && share > 0.0 {
                self.canary.iter_mut().take(pods).for_each(|pod| pod.since = pod.since.min(start));
            }
            for (from, to) in self.stretches(arm, start, end) {
                let mut moment = self.moment(arm, 0.5 * (from + to));
                moment.log_median += self.scenario.load.slower(load).ln();
                if self.scenario.pods_differ() {
                    for pod in 0..pods {
                        self.add(arm, pod, &moment, each * (to - from), &mut gained);
                    }
                } else {
                    // Equal pods are one large pod.
                    self.add(arm, 0, &moment, rps * share * (to - from), &mut gained);
                }
            }
            self.sample(gained)
        });
        TwoArms { samples, pods: [self.stable.len(), canary].map(|pods| u32::try_from(pods).unwrap_or(u32::MAX)) }
    }

    fn nothing(&self) -> Gained {
        let classes = if self.answers { self.names.len() } else { 0 };
        Gained { total: 0, bad: 0, above: vec![0; if self.latency { self.bounds.len() } else { 0 }], classes: vec![0; classes] }
    }

    /// Noise of the window to come, for the first `count` pods of an arm.
    fn next_window(&mut self, arm: Arm, count: usize) {
        let noise = &self.scenario.noise;
        let (pods, behaviour) = match arm {
            Arm::Stable => (&mut self.stable, &self.scenario.stable),
            Arm::Canary => (&mut self.canary, &self.scenario.canary),
        };
        for pod in pods.iter_mut().take(count) {
            if let Some(ar) = noise.error_ar {
                let kept = (-self.interval / ar.time).exp();
                pod.ar = kept * pod.ar + (1.0 - kept * kept).sqrt() * draw::normal(&mut self.rng);
            }
            if noise.latency_sd > 0.0 {
                pod.shift = noise.latency_sd * draw::normal(&mut self.rng);
            }
            if let Some(concentration) = noise.class_concentration.filter(|_| self.answers) {
                draw::dirichlet(&mut self.rng, &behaviour.classes, concentration, &mut pod.mix);
            }
        }
    }

    /// The parts of a window within which an arm's behaviour does not jump.
    fn stretches(&self, arm: Arm, start: f64, end: f64) -> Vec<(f64, f64)> {
        let edges = self.scenario.common.iter().flat_map(|incident| {
            let early = earlier(incident, arm);
            [incident.from - early, incident.to - early]
        });
        let own = (arm == Arm::Canary).then_some(self.scenario.from);
        let mut cuts: Vec<f64> = edges.chain(own).filter(|edge| *edge > start && *edge < end).chain([start, end]).collect();
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        cuts.iter().copied().zip(cuts.iter().copied().skip(1)).collect()
    }

    /// What an arm does at a time.
    fn moment(&self, arm: Arm, at: f64) -> Moment {
        let stable = &self.scenario.stable;
        let mut found = match arm {
            Arm::Canary if at >= self.scenario.from => moment(&self.scenario.canary),
            Arm::Canary | Arm::Stable => moment(stable),
        };
        found.at = at;
        for incident in &self.scenario.common {
            let at = at + earlier(incident, arm);
            if !(incident.from..incident.to).contains(&at) {
                continue;
            }
            let part = if incident.ramp { (at - incident.from) / (incident.to - incident.from) } else { 1.0 };
            if let Some(target) = incident.errors {
                let target = stable.errors + part * (target - stable.errors);
                found.errors = if target >= stable.errors {
                    // A cause of its own, that makes stable fail at the target.
                    let cause = (target - stable.errors) / (1.0 - stable.errors).max(1e-9);
                    found.errors + (1.0 - found.errors) * cause
                } else {
                    found.errors * target / stable.errors
                };
            }
            found.log_median += (1.0 + part * (incident.latency - 1.0)).max(1e-6).ln();
            if let Some(mix) = &incident.classes {
                let moved = found.moved.get_or_insert_with(|| vec![0.0; mix.len()]);
                for ((moved, to), from) in moved.iter_mut().zip(mix).zip(&stable.classes) {
                    *moved += part * (to - from);
                }
            }
        }
        if arm == Arm::Canary && at < self.scenario.from && self.answers {
            // The pods' own mix is around the canary's shares.
            let moved = found.moved.get_or_insert_with(|| vec![0.0; stable.classes.len()]);
            for ((moved, to), from) in moved.iter_mut().zip(&stable.classes).zip(&self.scenario.canary.classes) {
                *moved += to - from;
            }
        }
        found
    }

    /// Adds what one pod counts while `mean` requests are expected.
    fn add(&mut self, arm: Arm, pod: usize, moment: &Moment, mean: f64, gained: &mut Gained) {
        let noise = &self.scenario.noise;
        let (pods, behaviour) = match arm {
            Arm::Stable => (&self.stable, &self.scenario.stable),
            Arm::Canary => (&self.canary, &self.scenario.canary),
        };
        let Some(pod) = pods.get(pod) else { return };
        let n = draw::poisson(&mut self.rng, mean);
        gained.total += n;
        let slow = noise.error_ar.map_or(1.0, |ar| draw::factor(ar.sd, pod.ar));
        let errors = (moment.errors * pod.errors * slow).clamp(0.0, 1.0);
        gained.bad += draw::failures(&mut self.rng, n, errors, noise.error_burst);
        if self.latency {
            let cold = self.scenario.cold_start.filter(|_| arm == Arm::Canary).map_or(1.0, |start| start.slower(moment.at - pod.since));
            let median = moment.log_median + pod.latency + pod.shift + cold.ln();
            if self.above.0 != median || self.above.1 != moment.deviation {
                self.above.0 = median;
                self.above.1 = moment.deviation;
                for (share, bound) in self.above.2.iter_mut().zip(&self.bounds) {
                    *share = 0.5 * erfc((bound.ln() - median) / (moment.deviation * std::f64::consts::SQRT_2));
                }
            }
            draw::latencies(&mut self.rng, n, &self.above.2, &mut gained.above);
        }
        if self.answers {
            let own = if pod.mix.is_empty() { &behaviour.classes } else { &pod.mix };
            match &moment.moved {
                None => draw::classes(&mut self.rng, n, own, &mut gained.classes),
                Some(moved) => {
                    let mut mix: Vec<f64> = own.iter().zip(moved).map(|(share, moved)| (share + moved).max(0.0)).collect();
                    let sum: f64 = mix.iter().sum();
                    mix.iter_mut().for_each(|share| *share /= sum.max(1e-9));
                    draw::classes(&mut self.rng, n, &mix, &mut gained.classes);
                }
            }
        }
    }

    /// Durations of requests; a histogram of times of the user's own is drawn as if it were of them.
    fn times(&self, unit: TimeUnit, total: u64, above: &[u64]) -> Counts {
        let each = match unit {
            TimeUnit::Ms => 1.0,
            TimeUnit::S => 1000.0,
            TimeUnit::Us => 0.001,
        };
        Counts::Histogram { bounds: self.bounds.iter().map(|bound| bound / each).collect(), above: above.to_vec(), total }
    }

    /// The counts as the product sees them.
    fn sample(&self, gained: Gained) -> Sample {
        let counts = |metric: &Metric| match metric.kind.counted() {
            Counted::Requests => Some(Counts::Events { total: gained.total, bad: gained.bad }),
            Counted::Durations => Some(self.times(TimeUnit::Ms, gained.total, &gained.above)),
            Counted::Classes { .. } => Some(Counts::Classes(self.names.iter().cloned().zip(gained.classes.iter().copied()).collect())),
            Counted::Histogram(_) => Some(match metric.kind.unit() {
                Some(unit) => self.times(unit, gained.total, &gained.above),
                None => scores(&gained.classes),
            }),
            Counted::Share { .. } | Counted::Value(_) => None, // [`can_draw`]
        };
        self.metrics.iter().filter_map(|metric| Some((metric.name.clone(), counts(metric)?))).collect()
    }
}

/// Seconds by which an arm's counts show an incident earlier.
fn earlier(incident: &Incident, arm: Arm) -> f64 {
    match arm {
        Arm::Canary => incident.skew.max(0.0),
        Arm::Stable => (-incident.skew).max(0.0),
    }
}

fn moment(behaviour: &Behaviour) -> Moment {
    let deviation = ((behaviour.p99 / behaviour.p50).ln() / Z99).max(1e-3);
    Moment { errors: behaviour.errors, log_median: behaviour.p50.ln(), deviation, moved: None, at: 0.0 }
}

/// The classes as bins of scores from 0 to 1.
fn scores(classes: &[u64]) -> Counts {
    let total = classes.iter().sum();
    let (mut bounds, mut above, mut left) = (Vec::new(), Vec::new(), total);
    for (at, count) in classes.iter().enumerate() {
        left -= count;
        bounds.push((at + 1) as f64 / classes.len() as f64);
        above.push(left);
    }
    Counts::Histogram { bounds, above, total }
}
