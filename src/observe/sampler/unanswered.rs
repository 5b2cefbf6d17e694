//! Asks the senders for requests that no workload answered, and counts those that are the canary's against it.
//!
//! Nothing here stops a look: where the senders are not scraped, or do not say for which service a request was, nothing is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::REQUESTS;
use super::preflight::Found;
use crate::counts::{Background, Blame, Deltas, Family, NOT_REACHED, Programmed, Reading, Seen, Series, Side, gain, pod_of};
use crate::counts::{Charge, Delta, Unanswered as Counted};
use crate::istio::name::Host;
use crate::judge::Judgement;
use crate::observe::prometheus::{BadName, Prometheus, Selector};
use crate::seen::{Brief, Unanswered};

/// Errors that went on this long before a raise did not begin with it.
const BACK: SignedDuration = SignedDuration::from_mins(30);

/// Looks in a row at which they are not asked for.
const MOST_LEFT: usize = 4;

/// What one look found of them.
#[derive(Default)]
pub(super) struct Sought {
    /// `None`: not asked for, or not answered.
    series: Option<Vec<Series>>,
    /// What there was before the raise, if it was asked for.
    background: Option<Background>,
    /// The canary answered its share: none can be its own, and nothing was asked.
    left: bool,
}

/// What is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Search {
    /// When the present share was set, if what was before is not known yet.
    raise: Option<Timestamp>,
    /// Where a canary that answers its share lost none: begin of the window, and the part of all requests that it should have.
    unless: Option<(Timestamp, f64)>,
    /// The first look that was left out since one was asked for.
    from: Option<Timestamp>,
}

/// What one sampler knows of them.
#[derive(Debug, Default)]
pub(super) struct Lost {
    counted: Counted,
    background: Option<Background>,
    blame: Blame,
    /// Looks that were left out since one was asked for.
    left: Vec<Timestamp>,
    /// A query that shows them.
    pub(super) query: Option<String>,
}

/// Names by which senders know the route's service: as their proxies name it where requests of the arms arrive, which `rows` show. Empty:
/// they do not say.
pub(super) fn hosts(rows: &[Series], reporter: &str, brief: &Brief) -> BTreeSet<String> {
    let service = Host::of(&brief.canary.host, &brief.namespace).service_in(&brief.namespace);
    let Some(service) = service.filter(|_| brief.canary_service().is_none()) else { return BTreeSet::new() };
    let names = rows.iter().filter(|row| senders(reporter).contains(&row.label("reporter"))).map(|row| row.label("destination_service"));
    names.filter(|name| Host::of(name, &brief.namespace).service_in(&brief.namespace) == Some(service)).map(str::to_owned).collect()
}

/// Who would know of a request that reaches nobody: where a waypoint counts, that and those before it. One request has such a flag at one of
/// them alone: whoever gets an answer from the next one has the answer's code.
fn senders(reporter: &str) -> &'static [&'static str] {
    if reporter == "waypoint" { &["waypoint", "source"] } else { &["source"] }
}

impl Found {
    /// Requests that no workload answered, as the senders count them: to the canary's own Service, or to the route's. One whose subset no proxy
    /// knows has no service: a gateway calls it unknown, a client says what it asked for.
    fn unanswered(&self, brief: &Brief) -> Result<Option<Selector>, BadName> {
        let mut workloads = vec!["unknown", ""];
        let selector = match senders(self.reporter) {
            [one] => Selector::new(REQUESTS)?.is("reporter", one)?,
            several => Selector::new(REQUESTS)?.any_of("reporter", several)?,
        };
        if let Some(service) = brief.canary_service() {
            workloads.extend(Some(brief.canary.workload.as_str()).filter(|name| self.by_pod && !name.is_empty()));
            let selector = selector.any_of("destination_workload", workloads)?.is("destination_service_name", service)?;
            let selector = selector.is("destination_service_namespace", &brief.namespace)?;
            return Ok(Some(selector.any_of("response_flags", NOT_REACHED)?));
        }
        let Some(service) = Host::of(&brief.canary.host, &brief.namespace).service_in(&brief.namespace).filter(|_| !self.hosts.is_empty())
        else {
            return Ok(None);
        };
        let namespace = &brief.namespace;
        let asked = [service.to_owned(), format!("{service}.{namespace}"), format!("{service}.{namespace}.svc")];
        // Where the pods count, a request that no pod got is not among theirs although its sender knows whom it was for.
        if self.by_pod && self.label == "destination_workload" {
            workloads.push(&self.canary);
        }
        let selector = selector.any_of("destination_workload", workloads)?;
        let selector = selector.any_host("destination_service", self.hosts.iter().chain(&asked))?;
        Ok(Some(selector.any_of("response_flags", NOT_REACHED)?))
    }

    /// A query to paste into Prometheus that shows them.
    pub(super) fn shown_unanswered(&self, prometheus: &Prometheus, brief: &Brief) -> Option<String> {
        let selector = prometheus.own(&self.unanswered(brief).ok()??).ok()?;
        Some(format!("sum by (destination_service, response_flags) (increase({selector}[5m]))"))
    }
}

/// Whether the canary answered its share of what was counted after `begin`, up to `at`, so that [`Blame`] would find none of them its own.
/// As windows do, it counts from the sample before `begin`, and our own pods alone. A series that began since then counts in full for stable and
/// from its first sample for the canary: the share looks rather too small.
fn answered(reading: &Reading, found: &Found, brief: &Brief, [begin, at]: [Timestamp; 2], part: f64) -> bool {
    let foreign = |series: &Series| {
        let ours = |name: &str| brief.stable.pods.iter().chain(&brief.canary.pods).any(|pod| pod.name == name);
        found.by_pod && found.named && !pod_of(&series.labels).is_some_and(ours)
    };
    let of = |arm: &str, born: Option<f64>| -> f64 {
        let series = reading.of(Family::Requests).iter().filter(|series| series.label(found.label) == arm && !foreign(series));
        series.map(|series| gained(&series.samples, [begin, at], born)).sum()
    };
    let (stable, canary) = (of(&found.stable, Some(0.0)), of(&found.canary, None));
    Blame::can_be_none(stable, canary, part)
}

/// What a counter gained from its last sample up to `begin`, or from `born` if it began later, to its last one up to `at`.
fn gained(samples: &[(Timestamp, f64)], [begin, at]: [Timestamp; 2], born: Option<f64>) -> f64 {
    let before = samples.iter().rev().find(|(time, _)| *time <= begin).map(|(_, value)| *value).or(born);
    gain(before.into_iter().chain(samples.iter().filter(|(time, _)| *time > begin && *time <= at).map(|(_, value)| *value)))
}

/// Asks for them at the time of a look, whose counts are in `reading`. No answer is none.
pub(super) async fn ask(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    search: Option<(Search, &Reading)>,
    [seconds, interval]: [Duration; 2],
    at: Timestamp,
) -> Sought {
    let nothing = Sought::default();
    let Some(((search, reading), selector)) = search.zip(found.unanswered(brief).ok().flatten()) else { return nothing };
    if search.unless.is_some_and(|(begin, part)| answered(reading, found, brief, [begin, at], part)) {
        return Sought { left: true, ..nothing };
    }
    // Looks that were left out, and what there was before the raise, come with the same answer.
    let since = |time: Timestamp| Duration::try_from(at.duration_since(time)).unwrap_or_default();
    let seconds = seconds + search.from.map(since).unwrap_or_default();
    let back = search.raise.map_or(Duration::ZERO, |raise| since(before(raise)));
    let series = match prometheus.raw(&selector, seconds.max(back).as_secs(), at).await {
        Ok(series) => series,
        Err(error) => {
            tracing::debug!(namespace = brief.namespace, rollout = brief.name, %error, "unanswered requests were not read");
            return nothing;
        }
    };
    let background = search.raise.map(|raise| Background::of(&series, before(raise), raise, interval));
    // A series that ended before this look began is none that begins with it.
    let begin = at.checked_sub(seconds).unwrap_or(Timestamp::MIN);
    let lately = |series: &Series| series.samples.last().is_some_and(|(newest, _)| *newest > begin);
    Sought { series: Some(series.into_iter().filter(lately).collect()), background, left: false }
}

fn before(raise: Timestamp) -> Timestamp {
    raise.checked_sub(BACK).unwrap_or(Timestamp::MIN)
}

impl Lost {
    /// The canary has another share: what is lost from now on is another question.
    pub(super) fn restart(&mut self) {
        // Looks that were left out stay: what was lost before this share is read at their times, not at the next one's.
        (self.background, self.blame) = (None, Blame::default());
    }

    /// What to ask for beside a look; `None`: nothing could be the canary's. `begin` is where the window of this look begins, if it was counted
    /// up to there.
    pub(super) fn search(&self, brief: &Brief, since: Option<Timestamp>, begin: Option<Timestamp>) -> Option<Search> {
        let share = brief.key.share;
        let known = self.background.is_some() && self.blame.is_clear() && self.left.len() < MOST_LEFT;
        let unless = begin.filter(|_| known && !share.matched && share.mirror == 0).map(|begin| (begin, Programmed::of(share).part));
        let from = self.left.first().copied();
        match since {
            Some(raise) if share.reaches_users() => {
                // What is sent to the canary by name is its own, whatever was before.
                let wanted = self.background.is_none() && brief.canary_service().is_none();
                Some(Search { raise: Some(raise).filter(|_| wanted), unless, from })
            }
            Some(_) => None,
            // Before the first raise: a series that comes with it is known to be new.
            None => Some(Search { raise: None, unless: None, from }),
        }
    }

    /// Takes what was found.
    pub(super) fn take(&mut self, sought: &Sought, at: Timestamp) {
        if let Some(series) = &sought.series {
            self.left.drain(..).for_each(|earlier| self.counted.look(series, earlier));
            self.counted.look(series, at);
        }
        if sought.left {
            self.left.push(at);
        }
        self.background = self.background.or(sought.background);
    }

    /// Adds to a window what the canary lost in it.
    pub(super) fn charge(&mut self, brief: &Brief, programmed: Programmed, deltas: &mut Deltas) {
        if !brief.key.share.reaches_users() {
            return;
        }
        let unanswered = self.counted.between(deltas.start, deltas.end);
        let seen = Seen {
            seconds: deltas.end.duration_since(deltas.start).as_secs_f64(),
            stable: deltas.requests(Side::Stable),
            canary: deltas.requests(Side::Canary),
            unanswered: &unanswered,
        };
        let more = match (brief.canary_service(), self.background) {
            (Some(_), _) => self.blame.take_own(seen),
            (None, Some(background)) => self.blame.take(programmed.part, background, seen),
            (None, None) => return,
        };
        let flags = self.blame.charge().and_then(|charge| charge.flags.first()).cloned().unwrap_or_default();
        if more > 0 {
            let labels = [("response_code", "503".to_owned()), ("response_flags", flags)];
            deltas.of.push(Delta {
                family: Family::Requests,
                side: Side::Canary,
                pod: String::new(),
                labels: labels.into(),
                bounds: vec![f64::INFINITY],
                counts: vec![more],
            });
        }
    }

    /// What is charged, for the look: the query behind the errors shows it too.
    pub(super) fn show(&self, found: Option<&Found>, brief: &Brief, judgement: &mut Judgement) -> Option<Unanswered> {
        let Charge { flags, requests, stable, silent, newest } = self.blame.charge()?.clone();
        let errors = |name: &str| brief.analysis.metrics.iter().any(|metric| metric.name == name && metric.counts_requests());
        for evidence in judgement.metrics.iter_mut().filter(|evidence| errors(&evidence.metric)) {
            evidence.query = evidence.query.take().zip(self.query.as_ref()).map(|(query, lost)| format!("{query} or {lost}"));
        }
        let own = brief.canary_service().map(|service| format!("{service}.{}", brief.namespace));
        let service = own.or_else(|| found?.hosts.first().cloned()).unwrap_or_default();
        Some(Unanswered { requests, stable, flags: flags.join(", "), service, dead: silent && newest > 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_answered_is_counted_over_the_whole_window_whenever_it_is_scraped() {
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        let samples =
            |seconds: &[i64]| -> Vec<(Timestamp, f64)> { seconds.iter().map(|second| (time(*second), 100.0 + *second as f64)).collect() };
        let window = [time(0), time(40)];
        // Scraped each 15 s: 30 s lie between the samples of the one within the window, and 15 s between those of the other.
        assert_eq!(gained(&samples(&[-13, 2, 17, 32, 47]), window, None), 45.0);
        assert_eq!(gained(&samples(&[-3, 12, 27, 42]), window, None), 30.0);
        assert_eq!(gained(&samples(&[12, 27]), window, None), 15.0, "what it had at its first sample is not known to be of this window");
        assert_eq!(gained(&samples(&[12, 27]), window, Some(0.0)), 127.0);
        assert_eq!(gained(&samples(&[]), window, Some(0.0)), 0.0);
    }
}
