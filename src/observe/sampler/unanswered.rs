//! Asks the senders for requests that no workload answered, and counts those that are the canary's against it.
//!
//! Nothing here stops a look: where the senders are not scraped, or do not say for which service a request was, nothing is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::REQUESTS;
use super::preflight::Found;
use crate::counts::{Background, Blame, Deltas, Family, NOT_REACHED, Programmed, Seen, Series, Side};
use crate::counts::{Charge, Delta, Unanswered as Counted};
use crate::istio::name::Host;
use crate::judge::Judgement;
use crate::observe::prometheus::{BadName, Prometheus, QueryError, Selector};
use crate::plan::Metric;
use crate::seen::{Brief, Unanswered};

/// Who counts a request that reaches nobody.
const SENDER: &str = "source";
/// Errors that went on this long before a raise did not begin with it.
const BACK: SignedDuration = SignedDuration::from_mins(30);

/// What one look found of them.
#[derive(Default)]
pub(super) struct Sought {
    /// `None`: not asked for, or not answered.
    series: Option<Vec<Series>>,
    /// What there was before the raise, if it was asked for.
    background: Option<Background>,
}

/// What is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// When the present share was set, if what was before is not known yet.
    raise: Option<Timestamp>,
}

/// What one sampler knows of them.
#[derive(Debug, Default)]
pub(super) struct Lost {
    counted: Counted,
    background: Option<Background>,
    blame: Blame,
    /// A query that shows them.
    pub(super) query: Option<String>,
}

/// Names by which senders know the route's service: as their proxies name it where requests of the arms arrive. Empty: they do not say.
pub(super) async fn hosts(prometheus: &Prometheus, found: &Found, brief: &Brief, at: Timestamp) -> Result<BTreeSet<String>, QueryError> {
    let Some(service) = Host::of(&brief.canary.host, &brief.namespace).service_in(&brief.namespace) else { return Ok(BTreeSet::new()) };
    let selector = Selector::new(REQUESTS)?
        .is("reporter", SENDER)?
        .is("destination_workload_namespace", &brief.namespace)?
        .any_of(found.label, [&found.stable, &found.canary])?;
    let rows = prometheus.groups(&selector, &["destination_service"], at).await?;
    let names = rows.iter().map(|row| row.label("destination_service"));
    Ok(names.filter(|name| Host::of(name, &brief.namespace).service_in(&brief.namespace) == Some(service)).map(str::to_owned).collect())
}

impl Found {
    /// Requests to the route's service that no workload answered, as the senders count them. One whose subset no proxy knows has no service:
    /// a gateway calls it unknown, a client says what it asked for.
    fn unanswered(&self, brief: &Brief) -> Result<Option<Selector>, BadName> {
        let Some(service) = Host::of(&brief.canary.host, &brief.namespace).service_in(&brief.namespace).filter(|_| !self.hosts.is_empty())
        else {
            return Ok(None);
        };
        let namespace = &brief.namespace;
        let asked = [service.to_owned(), format!("{service}.{namespace}"), format!("{service}.{namespace}.svc")];
        let mut workloads = vec!["unknown", ""];
        // Where the pods count, a request that no pod got is not among theirs although its sender knows whom it was for.
        if self.reporter != SENDER && self.label == "destination_workload" {
            workloads.push(&self.canary);
        }
        let selector = Selector::new(REQUESTS)?.is("reporter", SENDER)?.any_of("destination_workload", workloads)?;
        let selector = selector.any_host("destination_service", self.hosts.iter().chain(&asked))?;
        Ok(Some(selector.any_of("response_flags", NOT_REACHED)?))
    }

    /// A query to paste into Prometheus that shows them.
    pub(super) fn shown_unanswered(&self, prometheus: &Prometheus, brief: &Brief) -> Option<String> {
        let selector = prometheus.own(&self.unanswered(brief).ok()??).ok()?;
        Some(format!("sum by (destination_service, response_flags) (increase({selector}[5m]))"))
    }
}

/// Asks for them at the time of a look. No answer is none.
pub(super) async fn ask(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    search: Option<Search>,
    [seconds, interval]: [Duration; 2],
    at: Timestamp,
) -> Sought {
    let nothing = Sought::default();
    let Some((search, selector)) = search.zip(found.unanswered(brief).ok().flatten()) else { return nothing };
    let series = match prometheus.raw(&selector, seconds.as_secs(), at).await {
        Ok(series) => series,
        Err(error) => {
            tracing::debug!(namespace = brief.namespace, rollout = brief.name, %error, "unanswered requests were not read");
            return nothing;
        }
    };
    let mut background = None;
    if let Some(raise) = search.raise {
        let from = raise.checked_sub(BACK).unwrap_or(Timestamp::MIN);
        let past = prometheus.raw(&selector, BACK.unsigned_abs().as_secs(), raise).await;
        background = past.ok().map(|past| Background::of(&past, from, raise, interval));
    }
    Sought { series: Some(series), background }
}

impl Lost {
    /// The canary has another share: what is lost from now on is another question.
    pub(super) fn restart(&mut self) {
        (self.background, self.blame) = (None, Blame::default());
    }

    /// What to ask for beside a look; `None`: nothing could be the canary's.
    pub(super) fn search(&self, brief: &Brief, since: Option<Timestamp>) -> Option<Search> {
        let share = brief.key.share;
        match since {
            Some(raise) if share.reaches_users() => Some(Search { raise: Some(raise).filter(|_| self.background.is_none()) }),
            Some(_) => None,
            // Before the first raise: a series that comes with it is known to be new.
            None => Some(Search { raise: None }),
        }
    }

    /// Takes what was found.
    pub(super) fn take(&mut self, sought: &Sought, at: Timestamp) {
        if let Some(series) = &sought.series {
            self.counted.look(series, at);
        }
        self.background = self.background.or(sought.background);
    }

    /// Adds to a window what the canary lost in it.
    pub(super) fn charge(&mut self, brief: &Brief, programmed: Programmed, deltas: &mut Deltas) {
        let Some(background) = self.background.filter(|_| brief.key.share.reaches_users()) else { return };
        let unanswered = self.counted.between(deltas.start, deltas.end);
        let seen = Seen {
            seconds: deltas.end.duration_since(deltas.start).as_secs_f64(),
            stable: deltas.requests(Side::Stable),
            canary: deltas.requests(Side::Canary),
            unanswered: &unanswered,
        };
        let more = self.blame.take(programmed.part, background, seen);
        let flags = self.blame.charge().and_then(|charge| charge.flags.first()).cloned().unwrap_or_default();
        if more > 0 {
            let labels = [("response_code", "503".to_owned()), ("response_flags", flags)];
            deltas.of.push(Delta {
                family: Family::Requests,
                side: Side::Canary,
                pod: String::new(),
                labels: labels.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
                bounds: vec![f64::INFINITY],
                counts: vec![more],
            });
        }
    }

    /// What is charged, for the look: the query behind the errors shows it too.
    pub(super) fn show(&self, found: Option<&Found>, metrics: &[Metric], judgement: &mut Judgement) -> Option<Unanswered> {
        let Charge { flags, requests, stable, silent, newest } = self.blame.charge()?.clone();
        let errors = |name: &str| metrics.iter().any(|metric| metric.name == name && metric.counts_requests());
        for evidence in judgement.metrics.iter_mut().filter(|evidence| errors(&evidence.metric)) {
            evidence.query = evidence.query.take().zip(self.query.as_ref()).map(|(query, lost)| format!("{query} or {lost}"));
        }
        let service = found.and_then(|found| found.hosts.first()).cloned().unwrap_or_default();
        Some(Unanswered { requests, stable, flags: flags.join(", "), service, dead: silent && newest > 0 })
    }
}
