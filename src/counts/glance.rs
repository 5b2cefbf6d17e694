//! The newest scrapes of both arms, before their window has ended: requests and errors, each target by the times of its own samples.
//!
//! A window waits for `lag` and asks whether everybody was read. This asks for less and is strict where it matters: what a canary pod counted
//! between two scrapes is held against what stable's targets counted over at least the same time, by scrapes that are at least as new. So
//! what hits both versions is seen in both, whoever is scraped first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::meter::ALWAYS;
use super::{Family, Scope, Series, Side, Target, host, is_error, pod_of};

/// A sample can be asked for so long after its scrape, where nothing is known of the store.
const SETTLED: SignedDuration = SignedDuration::from_millis(250);
/// One of so many targets of stable must have been scraped since the canary was.
const WITNESSES: usize = 4;
/// From so many pods of each version on, whose scrapes lie apart, no moment of an interval is better than another.
const SPREAD: usize = 3;
/// A counter that begins may show so many times what its target counts in an interval; more is one that comes back.
const BORN: u64 = 8;

/// Requests, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    /// Requests.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
}

impl Gained {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.total += other.total;
        self.bad += other.bad;
    }

    /// All of them together.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |mut sum, one| {
            sum.add(*one);
            sum
        })
    }
}

/// What the newest scrapes of both arms show.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// Of each canary pod; of all together where they cannot be told apart.
    pub canary: Vec<Gained>,
    /// Whether they can.
    pub by_pod: bool,
    /// Canary pods that are ready.
    pub ready: usize,
    /// Of each target of stable that was scraped since, over at least the same time.
    pub stable: Vec<Gained>,
    /// Length of the canary's interval in seconds.
    pub seconds: f64,
    /// Its end.
    pub at: Timestamp,
}

/// Takes glances, each scrape of the canary once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Glances {
    /// End of the newest interval that was taken.
    taken: Option<Timestamp>,
}

/// Where counting may begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// When the present weight was read back.
    pub since: Timestamp,
    /// Time between two scrapes, as configured.
    pub scrape: Duration,
}

/// One target: the times of its scrapes, and its series.
#[derive(Default)]
struct Scraped<'a> {
    pod: &'a str,
    times: Vec<Timestamp>,
    of: BTreeMap<Side, Vec<&'a Series>>,
}

impl Glances {
    /// The share has changed: nothing was taken of it.
    pub fn restart(&mut self) {
        self.taken = None;
    }

    /// What the newest scrapes show, if there is something new that stable's targets can be held against; and when to ask next, which is
    /// just after the scrape that the canary's next one waits for. `series` are raw samples of requests of both arms over
    /// a few scrapes, asked for at `now`.
    pub fn take(&mut self, series: &[Series], scope: &Scope, begin: Begin, now: Timestamp) -> (Option<Glance>, Timestamp) {
        let Some(targets) = targets(series, scope) else { return (None, after(now, signed(begin.scrape))) };
        let pace = pace(&targets).unwrap_or_else(|| signed(begin.scrape));
        let next = next(&targets, scope.by_pod, pace, now);
        let glance = if scope.by_pod { apart(&targets, scope, begin.since) } else { together(&targets, scope, begin.since) };
        let glance = glance.filter(|glance| self.taken.is_none_or(|taken| taken < glance.at));
        self.taken = glance.as_ref().map(|glance| glance.at).or(self.taken);
        (glance, next)
    }
}

/// The targets by name; `None` where one pod is counted by two.
fn targets<'a>(series: &'a [Series], scope: &Scope) -> Option<BTreeMap<Target, Scraped<'a>>> {
    let mut targets: BTreeMap<Target, Scraped<'a>> = BTreeMap::new();
    for one in series {
        let Some(side) = scope.side(Family::Requests, one) else { continue };
        let pod = pod_of(&one.labels);
        if scope.by_pod && scope.named && pod.and_then(|pod| scope.pods.get(pod)).is_none_or(|pod| pod.ready_since.is_none()) {
            continue;
        }
        let target = targets.entry(Target::of(&one.labels)).or_default();
        target.pod = pod.unwrap_or_else(|| host(one.label("instance")));
        target.times.extend(one.samples.iter().map(|(time, _)| *time));
        target.of.entry(side).or_default().push(one);
    }
    for target in targets.values_mut() {
        target.complete();
    }
    let pods: BTreeSet<&str> = targets.values().map(|target| target.pod).collect();
    (!scope.by_pod || !scope.named || pods.len() == targets.len()).then_some(targets)
}

impl Scraped<'_> {
    /// Leaves out the newest times at which a series is missing that was there at the time before: it has ended, or is late.
    fn complete(&mut self) {
        self.times.sort_unstable();
        self.times.dedup();
        while let [.., before, last] = self.times.as_slice() {
            let lacks = |series: &&&Series| value(series, *before).is_some() && value(series, *last).is_none();
            if self.of.values().flatten().find(lacks).is_none() {
                return;
            }
            self.times.pop();
        }
    }

    /// What one arm gained here between two of the times. `None` where a counter fell, or came back.
    fn gained(&self, side: Side, from: usize, to: usize) -> Option<Gained> {
        let (start, end) = (self.times.get(from)?, self.times.get(to)?);
        let (mut all, mut born) = (Gained::default(), Gained::default());
        for series in self.of.get(&side).into_iter().flatten() {
            let (sum, more) = match (value(series, *start), value(series, *end)) {
                (Some(before), Some(after)) if after >= before => (&mut all, after - before),
                (None, Some(after)) if series.samples.first().is_some_and(|(first, _)| first > start) => (&mut born, after),
                (None, None) => continue,
                _ => return None,
            };
            // A float cast saturates.
            let more = more.round() as u64;
            sum.add(Gained { total: more, bad: if is_error(&series.labels) { more } else { 0 } });
        }
        if born.total > ALWAYS as u64 {
            let before = from.checked_sub(1).and_then(|before| self.gained(side, before, from)).unwrap_or_default();
            if born.total > BORN * all.total.max(before.total) {
                return None;
            }
        }
        all.add(born);
        Some(all)
    }

    fn newest(&self) -> Option<Timestamp> {
        self.times.last().copied()
    }
}

fn value(series: &Series, at: Timestamp) -> Option<f64> {
    let found = series.samples.binary_search_by_key(&at, |(time, _)| *time).ok()?;
    series.samples.get(found).map(|(_, value)| *value)
}

/// Where pods count: the canary's newest intervals up to the time since which enough targets of stable were scraped.
fn apart(targets: &BTreeMap<Target, Scraped<'_>>, scope: &Scope, since: Timestamp) -> Option<Glance> {
    let of = |side: Side| targets.values().filter(move |target| target.of.contains_key(&side));
    let mut newest: Vec<Timestamp> = of(Side::Stable).filter_map(Scraped::newest).collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    let witnessed = *newest.get(newest.len().div_ceil(WITNESSES).checked_sub(1)?)?;
    let warm = |pod: &str| {
        let ready = scope.pods.get(pod).and_then(|pod| pod.ready_since);
        ready.map_or(since, |ready| since.max(after(ready, signed(scope.warm_up))))
    };
    let (mut canary, mut span) = (Vec::new(), None::<(Timestamp, Timestamp)>);
    for target in of(Side::Canary) {
        let Some(to) = target.times.iter().rposition(|time| *time <= witnessed) else { continue };
        let Some((from, start, end)) = interval(target, to).filter(|(_, start, _)| *start >= warm(target.pod)) else { continue };
        canary.push(target.gained(Side::Canary, from, to)?);
        span = Some(span.map_or((start, end), |span| (span.0.min(start), span.1.max(end))));
    }
    let (start, end) = span?;
    let over = |target: &Scraped<'_>| {
        let from = target.times.iter().rposition(|time| *time <= start)?;
        let to = target.times.iter().position(|time| *time >= end)?;
        target.gained(Side::Stable, from, to)
    };
    let stable = of(Side::Stable).filter_map(over).collect();
    Some(Glance { canary, by_pod: true, ready: ready(scope), stable, seconds: end.duration_since(start).as_secs_f64(), at: end })
}

/// Where a gateway or a client counts both arms: the newest interval of each.
fn together(targets: &BTreeMap<Target, Scraped<'_>>, scope: &Scope, since: Timestamp) -> Option<Glance> {
    let (mut canary, mut stable, mut span) = (Gained::default(), Gained::default(), None::<(f64, Timestamp)>);
    for target in targets.values() {
        let Some(to) = target.times.len().checked_sub(1) else { continue };
        let Some((from, start, end)) = interval(target, to).filter(|(_, start, _)| *start >= since) else { continue };
        canary.add(target.gained(Side::Canary, from, to)?);
        stable.add(target.gained(Side::Stable, from, to)?);
        let seconds = end.duration_since(start).as_secs_f64();
        span = Some(span.map_or((seconds, end), |span| (span.0.max(seconds), span.1.max(end))));
    }
    let (seconds, at) = span?;
    Some(Glance { canary: vec![canary], by_pod: false, ready: ready(scope), stable: vec![stable], seconds, at })
}

fn ready(scope: &Scope) -> usize {
    scope.pods.values().filter(|pod| pod.side == Side::Canary && pod.ready_since.is_some()).count()
}

/// The interval that ends at this time of a target.
fn interval(target: &Scraped<'_>, to: usize) -> Option<(usize, Timestamp, Timestamp)> {
    let from = to.checked_sub(1)?;
    Some((from, *target.times.get(from)?, *target.times.get(to)?))
}

/// Time between two scrapes, as the samples say.
fn pace(targets: &BTreeMap<Target, Scraped<'_>>) -> Option<SignedDuration> {
    let gaps = targets.values().flat_map(|target| target.times.windows(2));
    let mut gaps: Vec<SignedDuration> =
        gaps.filter_map(|pair| pair.first().zip(pair.last())).map(|(one, two)| two.duration_since(*one)).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().filter(|pace| pace.is_positive())
}

/// When the canary's next scrape can be held against stable: one look for each scrape, at the best moment of the interval. Where there is
/// none, a scrape from now, so that a glance at a window's end is followed by one at the end of the next.
fn next(targets: &BTreeMap<Target, Scraped<'_>>, by_pod: bool, pace: SignedDuration, now: Timestamp) -> Timestamp {
    let newest = |side: Side| targets.values().filter(move |target| target.of.contains_key(&side)).filter_map(Scraped::newest);
    let usual = after(now, pace);
    let Some(canary) = newest(Side::Canary).max() else { return usual };
    let spread = |side: Side| {
        let ends = newest(side).min().zip(newest(side).max());
        newest(side).count() >= SPREAD && ends.is_some_and(|(first, last)| last.duration_since(first) >= pace / 2)
    };
    if by_pod && spread(Side::Canary) && spread(Side::Stable) {
        return usual;
    }
    let mut moment = after(canary, pace);
    if by_pod {
        // The first scrapes of stable's targets that are not before it.
        let mut witnesses: Vec<Timestamp> = newest(Side::Stable).map(|time| not_before(time, pace, moment)).collect();
        witnesses.sort_unstable();
        let enough = witnesses.len().div_ceil(WITNESSES).checked_sub(1).and_then(|at| witnesses.get(at));
        moment = enough.copied().unwrap_or(moment);
    }
    // A store that is late shows it later, but not more often.
    not_before(after(moment, SETTLED), pace, after(now, pace / 2))
}

/// The first of `time`, `time` and a pace, … that is not before `least`.
fn not_before(time: Timestamp, pace: SignedDuration, least: Timestamp) -> Timestamp {
    let (behind, pace_ms) = (least.duration_since(time).as_millis().max(0), pace.as_millis().max(1));
    let ahead = i64::try_from((behind + pace_ms - 1) / pace_ms * pace_ms).unwrap_or(i64::MAX);
    after(time, SignedDuration::from_millis(ahead))
}

fn after(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
