//! The state of one sampler between two answers of Prometheus. Everything here but `ask` is synchronous.

use std::time::Duration;

use jiff::Timestamp;

use super::Asked;
use super::ask::{DURATIONS, REQUESTS, Who};
use super::calibrate::{self, Reader};
use super::preflight::{Found, Trouble, live};
use super::thresholds::{Sighting, sightings};
use super::unanswered::{self, Lost};
use crate::api::Reason;
use crate::clock::Clock;
use crate::counts::{Family, Outcome, Programmed, Reading, Shares, Side, Tracker, Window};
use crate::drive::{Belongs, Due, Ledger, Pace};
use crate::judge::Seen;
use crate::observe::prometheus::{Prometheus, Purpose, QueryError};
use crate::plan::Share;
use crate::seen::{Arm, Brief, Look, Problem, StepKey};

mod buckets;
mod glance;
mod job;
mod keeping;
mod past;
mod problem;
mod tally;
mod trail;

pub(super) use job::{Answer, Job};
use keeping::Keeping;
use problem::said;
use tally::Tally;

/// A window stretches over gaps of so many intervals.
const STRETCH: u32 = 10;
/// Raw samples are asked for over so many intervals at most, where windows in between were not counted.
const MOST_BACK: u32 = 4;
/// A part of a scrape that a glance or a look waits for the other, so that one question does for both.
const TOGETHER: u32 = 4;

/// One sampler's state.
pub(super) struct Run {
    ledger: Ledger,
    found: Option<Found>,
    /// The past was asked for, or need not be.
    calibrated: bool,
    /// How far it was read, and when to ask again, on the monotonic clock.
    reader: Option<Reader>,
    past_at: Duration,
    past_failures: u32,
    /// Windows that are counted once margins are known.
    early: Vec<Window>,
    buckets: buckets::Buckets,
    tracker: Tracker,
    lost: Lost,
    shares: Shares,
    canary_in_window: Option<u64>,
    problem: Option<Problem>,
    drops: u32,
    tally: Tally,
    keeping: Keeping,
    /// How many questions are in flight at once at the provider: now, and where it refuses none.
    limits: [u32; 2],
    /// The look at whose time users' queries are to be asked, and the newest at which they were.
    own: Option<Timestamp>,
    own_seen: Option<Timestamp>,
    /// Looks in a row at which a query of the user's own gave no value, and what that means.
    blind: u32,
    unseen: Option<Problem>,
    failures: u32,
    /// On the monotonic clock.
    retry_at: Duration,
    unpublished: u32,
    eye: glance::Eye,
    told: bool,
    queries: Vec<(String, String)>,
    trail: Vec<crate::record::Window>,
    /// When what is shown next was asked for.
    pub(super) asked: Option<Asked>,
}

impl Run {
    pub(super) fn new(brief: Brief, now: Timestamp) -> Self {
        let (resumed, longest) = (brief.resume_after.is_some(), brief.analysis.interval * STRETCH);
        let ledger = Ledger::new(brief, now);
        let mut run = Self {
            found: None,
            calibrated: resumed || ledger.calibrated(),
            reader: None,
            past_at: Duration::ZERO,
            past_failures: 0,
            early: Vec::new(),
            buckets: buckets::Buckets::default(),
            tracker: Tracker::new(longest),
            lost: Lost::default(),
            shares: Shares::default(),
            canary_in_window: None,
            problem: None,
            drops: 0,
            tally: Tally::default(),
            keeping: Keeping::default(),
            limits: [1; 2],
            own: None,
            own_seen: None,
            blind: 0,
            unseen: None,
            failures: 0,
            retry_at: Duration::ZERO,
            unpublished: 0,
            eye: glance::Eye::default(),
            told: false,
            queries: Vec::new(),
            trail: Vec::new(),
            asked: None,
            ledger,
        };
        run.buckets.take_over(&run.ledger);
        run.tracker.restart(run.ledger.since());
        run
    }

    pub(super) fn key(&self) -> StepKey {
        self.ledger.brief().key
    }

    /// Takes over a newer brief.
    pub(super) fn adopt(&mut self, brief: Brief, now: Timestamp) {
        let changed = self.ledger.adopt(brief, now);
        if changed.analysis {
            self.forget_provider();
        }
        if changed.share || changed.step {
            self.told = false;
            self.canary_in_window = None;
            self.shares = Shares::default();
            self.tally = Tally::default();
            self.problem = self.problem.take().filter(|problem| problem.unavailable);
        }
        if changed.step {
            self.early.clear();
        }
        if changed.share {
            self.restart();
        }
    }

    fn restart(&mut self) {
        (self.own, self.own_seen, self.blind, self.unseen) = (None, None, 0, None);
        self.eye.restart();
        self.early.clear();
        self.tracker.restart(self.ledger.since());
        self.lost.restart();
    }

    pub(super) fn forget_provider(&mut self) {
        (self.found, self.reader, self.keeping) = (None, None, Keeping::default());
        self.told = false;
        (self.retry_at, self.past_at) = (Duration::ZERO, Duration::ZERO);
        self.early.clear();
        self.buckets.forget();
        self.tracker.restart(self.ledger.since());
    }

    /// True if that is news.
    pub(super) fn provider_not_found(&mut self, name: &str, known: &[String]) -> bool {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        self.problem = Some(Problem {
            reason: Reason::ProviderNotFound,
            message: format!("the controller's configuration has no Prometheus provider {name:?}; it has: {known}"),
            unavailable: true,
        });
        !std::mem::replace(&mut self.told, true)
    }

    /// True if that is news.
    pub(super) fn provider_unusable(&mut self, name: &str, why: &str) -> bool {
        let message = format!("provider {name} cannot be used: {why}");
        self.problem = Some(Problem { reason: Reason::MetricsUnavailable, message, unavailable: true });
        !std::mem::replace(&mut self.told, true)
    }

    /// True if that is news.
    pub(super) fn nothing_to_measure(&mut self) -> bool {
        self.problem = None;
        !std::mem::replace(&mut self.told, true)
    }

    fn interval(&self, prometheus: &Prometheus) -> Duration {
        self.ledger.brief().analysis.interval.max(prometheus.scrape_interval() * 2)
    }

    /// Seconds of raw samples that a look asks for: back to the look before, and one scrape more, so that a series that was there then is
    /// not mistaken for one that began since.
    fn seconds(&self, prometheus: &Prometheus, at: Timestamp) -> u64 {
        let interval = self.interval(prometheus);
        let since = self.tracker.start().and_then(|start| Duration::try_from(at.duration_since(start)).ok());
        let back = since.unwrap_or(interval).clamp(interval, interval * MOST_BACK);
        (back + prometheus.scrape_interval()).as_secs_f64().ceil() as u64
    }

    /// What to ask next, and how long until then. `None`: nothing is measured.
    pub(super) fn next(&mut self, prometheus: &Prometheus, clock: &Clock) -> Option<(Job, Duration)> {
        if self.ledger.brief().analysis.metrics.is_empty() {
            return None;
        }
        let retry = self.retry_at.saturating_sub(clock.elapsed());
        let newest = clock.now().saturating_sub(prometheus.lag()).unwrap_or(Timestamp::MIN);
        if self.found.is_none() {
            let interval = self.interval(prometheus);
            if interval > self.ledger.brief().analysis.interval && self.failures == 0 {
                tracing::warn!(
                    rollout = self.ledger.brief().name,
                    namespace = self.ledger.brief().namespace,
                    interval_seconds = interval.as_secs_f64(),
                    "analysis.interval is shorter than two scrapes and was raised"
                );
            }
            return Some((Job::Preflight(newest), retry));
        }
        if let Some(at) = self.own {
            return Some((Job::Own(at), Duration::ZERO));
        }
        let (at, wait) = self.due(prometheus, newest, clock);
        let (wait, together) = (wait.max(retry), prometheus.scrape_interval() / TOGETHER);
        // A look shows the newest scrapes too: where both are due at about the same time, it does for both.
        match self.glance_in(prometheus, clock) {
            Some(glance) if glance + together < wait => Some((Job::Glance, glance)),
            Some(glance) if !wait.is_zero() && glance > wait && glance <= wait + together => Some((Job::Look(at), glance)),
            _ => Some((Job::Look(at), wait)),
        }
    }

    /// End of the next window, and how long until it can be asked for.
    fn due(&mut self, prometheus: &Prometheus, newest: Timestamp, clock: &Clock) -> (Timestamp, Duration) {
        let pace = Pace { interval: self.interval(prometheus), scrape: prometheus.scrape_interval() };
        let Due { at, set_back, missed } = self.ledger.due(pace, newest, clock.now());
        if set_back {
            self.restart();
        }
        if missed {
            self.shares = Shares::default();
            self.early.clear();
            self.tracker.restart(self.ledger.since());
        }
        (at, Duration::try_from(at.duration_since(newest)).unwrap_or(Duration::ZERO))
    }

    /// Whether windows that have ended are still to be asked for.
    fn behind(&mut self, prometheus: &Prometheus, clock: &Clock) -> bool {
        let newest = clock.now().saturating_sub(prometheus.lag()).unwrap_or(Timestamp::MIN);
        self.found.is_none() || self.due(prometheus, newest, clock).1.is_zero()
    }

    /// Whether users' queries belong to the present windows.
    fn has_own(&self) -> bool {
        self.ledger.belongs() == Belongs::Step && self.ledger.brief().analysis.metrics.iter().any(|metric| metric.kind.is_threshold())
    }

    /// Asks. Changes nothing: an answer that is not waited for leaves no trace.
    pub(super) fn ask(&self, prometheus: &Prometheus, clock: &Clock, job: Job) -> impl Future<Output = Answer> + use<> {
        let (brief, found, clock) = (self.ledger.brief().clone(), self.found.clone(), *clock);
        let before = self.tracker.read_pods().map(str::to_owned).collect();
        let who = Who::Both { before, bounds: self.buckets.wanted() };
        let wanted = self.reader.as_ref().and_then(Reader::wanted);
        let search = self.lost.search(self.ledger.brief(), self.ledger.since(), self.tracker.start());
        let (end, newest) = match job {
            Job::Preflight(end) | Job::Calibrate(end) | Job::Look(end) | Job::Own(end) => (end, clock.now()),
            Job::Glance => (clock.now(), clock.now()),
        };
        let (seconds, interval) = (self.seconds(prometheus, end), self.interval(prometheus));
        let glances = self.glance_in(prometheus, &clock).is_some();
        let patience = if job == Job::Glance { self.until_look(prometheus, &clock) } else { Duration::ZERO };
        let purpose = match job {
            Job::Look(_) | Job::Own(_) => Purpose::Look,
            Job::Glance => Purpose::Glance,
            Job::Preflight(_) => Purpose::Start,
            Job::Calibrate(_) if self.reader.as_ref().is_some_and(Reader::holds) => Purpose::Hour,
            Job::Calibrate(_) => Purpose::Past,
        };
        let prometheus = prometheus.asked_by(&brief.namespace, &brief.name, purpose);
        async move {
            match (job, found, wanted) {
                (Job::Calibrate(_), Some(found), Some(wanted)) => {
                    let piece = calibrate::read(&prometheus, &found, &brief, &wanted).await;
                    Answer::Calibrate(wanted, piece)
                }
                (Job::Look(at), Some(found), _) => {
                    let (begun, spans) = (clock.elapsed(), [Duration::from_secs(seconds), interval]);
                    let (end, span) = glance::along(&prometheus, glances, [at, newest], spans);
                    let reading = super::age::look(&prometheus, &found, &brief, &who, [span, interval], [at, end], &clock).await;
                    let sought = unanswered::ask(&prometheus, &found, &brief, search.zip(reading.as_ref().ok()), spans, at).await;
                    let took = clock.elapsed().saturating_sub(begun);
                    Answer::Look { at, end, reading, sought, took, waited: prometheus.waited() }
                }
                (Job::Glance, Some(found), _) => {
                    let requests = found.mesh(REQUESTS, &brief, &Who::both()).map_err(QueryError::from);
                    let series = async { prometheus.raw(&requests?, glance::seconds(&prometheus), end).await };
                    // A look that is due does not wait for a glance, which is of no use then: it shows the same.
                    let series = tokio::time::timeout(patience, series).await;
                    Answer::Glance(end, series.unwrap_or(Err(QueryError::Timeout)))
                }
                (Job::Own(at), ..) => Answer::Own(at, sightings(&prometheus, &brief, interval, at, &clock).await),
                (Job::Preflight(_) | Job::Calibrate(_) | Job::Look(_) | Job::Glance, ..) => {
                    Answer::Preflight(live(&prometheus, &brief, seconds, end, &clock).await)
                }
            }
        }
    }

    /// Takes an answer. True if there is a look to show.
    pub(super) fn take(&mut self, answer: Answer, prometheus: &Prometheus, clock: &Clock) -> bool {
        let pause = answer.pause();
        let failed = match answer {
            Answer::Preflight(Ok(found)) => {
                self.queries = queries(&found, prometheus, self.ledger.brief());
                self.lost.query = found.shown_unanswered(prometheus, self.ledger.brief());
                self.tracker.set_longest(self.interval(prometheus) * STRETCH);
                self.ledger.plan_for(ready(&self.ledger.brief().canary));
                self.found = Some(found);
                self.problem = None;
                None
            }
            Answer::Preflight(Err(Trouble::Query(error))) => Some(self.unanswered(&error)),
            Answer::Preflight(Err(Trouble::Found(problem))) => Some(problem),
            Answer::Calibrate(wanted, piece) => return self.read(&wanted, piece, pause, prometheus, clock),
            Answer::Look { at, end, reading, sought, took, waited } => {
                self.keeping.take(took, waited, self.interval(prometheus));
                self.limits = prometheus.limits();
                self.lost.take(&sought, at);
                // What users ask does not wait for the counters to be read, nor the other way round.
                self.own = Some(at).filter(|at| self.has_own() && self.own_seen.is_none_or(|seen| seen < *at));
                match reading {
                    Err(error) if error.would_come_again() => {
                        // That window is lost; the next one reaches back over it.
                        self.ledger.looked(at);
                        self.canary_in_window = None;
                        Some(self.unusable(&error))
                    }
                    Err(error) => Some(self.unanswered(&error)),
                    Ok(reading) => {
                        self.count(&reading, at);
                        self.name_lag(prometheus);
                        self.ledger.looked(at);
                        if end > at && self.glance(Ok(reading.of(Family::Requests)), pause, end, prometheus) {
                            return true;
                        }
                        None
                    }
                }
            }
            Answer::Glance(at, series) => return self.glance(series.as_deref().map_err(|_| ()), pause, at, prometheus),
            Answer::Own(at, sightings) => {
                (self.own, self.own_seen) = (None, Some(at));
                self.observe(at, sightings);
                return !self.behind(prometheus, clock);
            }
        };
        if let Some(problem) = failed {
            self.problem = Some(problem);
            self.failures = self.failures.saturating_add(1);
            self.retry_at = clock.elapsed() + self.rest_after(self.failures, prometheus).max(pause);
            return true;
        }
        self.failures = 0;
        self.retry_at = Duration::ZERO;
        // While the past is caught up with only some looks are shown.
        self.unpublished += 1;
        let behind = self.behind(prometheus, clock);
        if self.found.is_some() && (!behind || self.unpublished >= 10) {
            self.unpublished = 0;
            return true;
        }
        false
    }

    /// How long to leave a provider alone after so many failures: less than a window, so that where each is asked for in vain the newest one
    /// is still reached.
    fn rest_after(&self, failures: u32, prometheus: &Prometheus) -> Duration {
        let most = (self.interval(prometheus) / 2).min(Duration::from_secs(30));
        Duration::from_millis(500).saturating_mul(1 << failures.min(6)).min(most)
    }

    /// From what users' queries gave to evidence; a query that gives no value is a problem from the second look on.
    fn observe(&mut self, at: Timestamp, sightings: Vec<Sighting>) {
        let Some(terms) = self.ledger.terms().filter(|_| self.ledger.belongs() == Belongs::Step) else { return };
        let metrics = &self.ledger.brief().analysis.metrics;
        let asked = |sighting: &&Sighting| metrics.get(sighting.metric).is_some_and(|metric| terms.asks(metric));
        let unseen = sightings.iter().filter(asked).find_map(|sighting| match &sighting.seen {
            Seen::Value(_) => None,
            Seen::Nothing(why) | Seen::Unanswered(why) => Some((sighting, why)),
        });
        self.blind = if unseen.is_some() { self.blind.saturating_add(1) } else { 0 };
        self.unseen = unseen.filter(|_| self.blind >= 2).map(|(sighting, why)| {
            let name = metrics.get(sighting.metric).map_or("", |metric| metric.name.as_str());
            let message = format!("metric {name} has no value: {why}; the query is {}", sighting.query);
            Problem { reason: Reason::MetricsUnavailable, message, unavailable: true }
        });
        for sighting in &sightings {
            if let Some(metric) = metrics.get(sighting.metric) {
                self.queries.retain(|(name, _)| *name != metric.name);
                self.queries.push((metric.name.clone(), sighting.query.clone()));
            }
        }
        let seen: Vec<(usize, Seen)> = sightings.into_iter().map(|sighting| (sighting.metric, sighting.seen)).collect();
        self.ledger.observe(at, &seen);
    }

    /// From raw series to evidence.
    fn count(&mut self, reading: &Reading, at: Timestamp) {
        let Some(found) = &self.found else { return };
        let by_pod = found.by_pod;
        let belongs = self.ledger.belongs();
        let outcome = self.tracker.look(reading, &found.scope(self.ledger.brief(), belongs != Belongs::Nothing), at);
        tracing::debug!(namespace = self.ledger.brief().namespace, rollout = self.ledger.brief().name, %at, ?belongs, ?outcome, "look");
        let deltas = match outcome {
            Outcome::Baseline => {
                self.drops = 0;
                self.problem = None;
                return;
            }
            Outcome::Dropped(dropped) => {
                self.drops += 1;
                self.tally.dropped(&dropped);
                self.canary_in_window = None;
                self.problem = Some(said(&dropped, self.drops));
                return;
            }
            Outcome::Counted(mut deltas) => {
                self.lost.charge(self.ledger.brief(), Programmed::of(self.programmed(by_pod)), &mut deltas);
                deltas
            }
        };
        self.tally.counted(&deltas);
        self.drops = 0;
        self.problem = None;
        self.canary_in_window = Some(deltas.requests(Side::Canary));
        if belongs == Belongs::Nothing {
            return;
        }
        let brief = self.ledger.brief();
        let (weight, pods) = (f64::from(brief.key.share.weight) / 100.0, [ready(&brief.stable), ready(&brief.canary)]);
        let window = deltas.window(&brief.analysis.metrics, weight, pods);
        if !self.native() {
            self.buckets.seen(&self.ledger, reading, &deltas);
        }
        self.judge(window);
        let Some(since) = self.ledger.since().filter(|_| belongs == Belongs::Step) else { return };
        let seen = self.programmed(by_pod);
        self.shares.add(deltas.requests(Side::Stable), deltas.requests(Side::Canary));
        self.problem = self.shares.check(Programmed::of(seen), since, at).map(|fault| self.share(&fault));
    }

    /// Request durations come as native histograms, in one piece.
    fn native(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.native.contains(DURATIONS))
    }

    /// What the canary should have of the requests that are counted: where the senders count, copies are not among them.
    fn programmed(&self, by_pod: bool) -> Share {
        let share = self.ledger.brief().key.share;
        Share { mirror: if by_pod { share.mirror } else { 0 }, ..share }
    }

    /// What is known now.
    pub(super) fn look(&self) -> Look {
        let metrics = &self.ledger.brief().analysis.metrics;
        let mut look = self.ledger.look();
        for evidence in &mut look.judgement.metrics {
            let query = self.queries.iter().find(|(name, _)| *name == evidence.metric).map(|(_, query)| query.clone());
            evidence.query = evidence.query.take().or(query);
        }
        look.unanswered = self.lost.show(self.found.as_ref(), self.ledger.brief(), &mut look.judgement);
        // Where everybody goes to the canary at once there is only stable's past to compare it with.
        let alone = self.ledger.brief().steps.first().is_some_and(|step| step.weight >= 1.0);
        look.ready = metrics.is_empty() || (self.found.is_some() && (self.calibrated || !alone));
        look.problem = self.problem.clone().or_else(|| self.unseen.clone()).or_else(|| self.mirror_unseen());
        look.canary_in_window = self.canary_in_window;
        let foreign = self.found.as_ref().and_then(|found| found.mixed.as_ref());
        let notes = [self.tally.note(foreign), self.keeping.note(&self.ledger.brief().analysis.prometheus, self.limits)];
        look.note = Some(notes.into_iter().flatten().collect::<Vec<_>>().join("; ")).filter(|note| !note.is_empty());
        look
    }
}

fn queries(found: &Found, prometheus: &Prometheus, brief: &Brief) -> Vec<(String, String)> {
    let metrics = brief.analysis.metrics.iter();
    metrics.filter_map(|metric| Some((metric.name.clone(), found.shown(prometheus, brief, &metric.kind)?))).collect()
}

fn ready(arm: &Arm) -> u32 {
    u32::try_from(arm.pods.iter().filter(|pod| pod.ready_since.is_some()).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
