//! Incidents that hit both versions: stable against its own past (statistics 2f).
//!
//! The comparison of the arms ignores what hits both; but nothing should be concluded from it, and the canary may be its cause through
//! something that both share. So stable's own shares are watched against what they were before the rollout.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kernel::one_arm_bets;
use super::metric::{MetricState, Processes};
use super::mixture::CAP;
use super::proportions::Track;
use super::{Evidence, StepTerms, tidy};
use crate::counts::Window;
use crate::plan::Metric;
use crate::words::percent;

/// Evidence at which stable counts as degraded.
const DEGRADED_AT: f64 = 100.0;
/// Windows in a row that are as before, after which an incident is over.
pub const CLEAN: u32 = 5;
/// An incident that begins within so many windows of a raise may come from it.
const AFTER_RAISE: u32 = 3;
/// How far beyond the limit the bet is, in log odds.
const ETA: [f64; 1] = [0.5];

/// What stable may be at, when it was at `before` before the rollout.
pub fn limit(before: f64) -> f64 {
    2.0 * before + 0.005
}

/// One share of stable's against its own past. The evidence starts over whenever it is below nothing (a CUSUM), because an incident may
/// begin after hours of calm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Own {
    #[serde(rename = "e")]
    log_e: f64,
    /// Windows in a row within the limit.
    #[serde(rename = "c")]
    clean: u32,
    /// Share in the newest window.
    #[serde(rename = "s")]
    share: f64,
}

impl Own {
    /// Adds one window of stable: `x` events of `n`, `before` its share before the rollout.
    pub fn add(&mut self, n: f64, x: f64, before: f64, phi: f64) {
        let limit = limit(before);
        if n <= 0.0 {
            return;
        }
        let bet: f64 = one_arm_bets(n, x, limit, &ETA).sum();
        self.log_e = tidy((self.log_e + (bet / phi).min(CAP)).max(0.0));
        self.share = tidy(x / n);
        self.clean = if self.share <= limit { self.clean.saturating_add(1) } else { 0 };
    }

    fn calm(&self) -> bool {
        self.log_e <= 0.0
    }

    fn degraded(&self) -> bool {
        self.log_e >= DEGRADED_AT.ln()
    }
}

/// One watched share in words.
pub struct Watched<'a> {
    /// `errors`, `requests above 500 ms`.
    pub subject: String,
    /// Share before the rollout.
    pub before: f64,
    /// How it is.
    pub own: &'a Own,
}

/// What is watched of one metric; nothing before its margins are known.
pub(super) fn watched<'a>(state: &'a MetricState, metric: &Metric) -> Vec<Watched<'a>> {
    let Some(Processes::Shares(shares)) = &state.processes else { return Vec::new() };
    let subject = |track: &Track| metric.subject(state.bounds().get(track.column).copied());
    shares.tracks.iter().map(|track| Watched { subject: subject(track), before: track.s0, own: &track.own }).collect()
}

/// What is known of incidents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// The one that continues.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub present: Option<Incident>,
    /// The step began by a raise.
    raised: bool,
    /// The newest window of the step in which nothing pointed to an incident.
    calm: u32,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// End of the window that showed it.
    pub since: Timestamp,
    /// It began within three windows of a raise: the canary may be the cause.
    pub after_raise: bool,
    /// What is degraded, with numbers, and what is waited for.
    pub message: String,
}

impl Watch {
    /// A step begins, `raised` if by a higher weight.
    pub fn begin_step(&mut self, raised: bool) {
        (self.raised, self.calm) = (raised, 0);
        if let Some(incident) = &mut self.present {
            incident.after_raise = false; // whatever was to be done about it is done
        }
    }

    /// Takes one window in, the step's `window`-th, which ended at `end`. True when an incident is over: what was counted meanwhile proves
    /// nothing.
    pub fn add(&mut self, shares: &[Watched<'_>], window: u32, end: Timestamp) -> bool {
        let worst = shares.iter().filter(|share| share.own.degraded()).max_by(|a, b| a.own.log_e.total_cmp(&b.own.log_e));
        let clean = shares.iter().map(|share| share.own.clean).min().unwrap_or(0);
        if shares.iter().all(|share| share.own.calm()) {
            self.calm = window;
        }
        match (&mut self.present, worst) {
            (Some(_), _) if clean >= CLEAN => {
                self.present = None;
                return true;
            }
            (Some(incident), Some(worst)) => incident.message = words(worst, incident.since, clean),
            (Some(incident), None) => {
                let said = incident.message.split("; ").next().unwrap_or_default().to_owned();
                incident.message = format!("{said}; {clean} of {CLEAN} windows as before");
            }
            (None, Some(worst)) => {
                let after_raise = self.raised && self.calm < AFTER_RAISE;
                self.present = Some(Incident { since: end, after_raise, message: words(worst, end, clean) });
            }
            (None, None) => {}
        }
        false
    }
}

fn words(share: &Watched<'_>, since: Timestamp, clean: u32) -> String {
    format!(
        "stable itself is degraded since {} UTC: {} {} against {} before the rollout (limit {}); {clean} of {CLEAN} windows as before",
        since.strftime("%H:%M:%S"),
        share.subject,
        percent(share.own.share),
        percent(share.before),
        percent(limit(share.before)),
    )
}

impl Evidence {
    /// An incident hits both versions.
    pub fn in_incident(&self) -> bool {
        self.incidents.present.is_some()
    }

    /// A window in which the canary has no share because an incident hits both versions: stable alone is watched.
    pub fn rest(&mut self, metrics: &[Metric], step: &StepTerms, window: &Window) {
        self.resting = true;
        self.incidents.begin_step(false); // the canary has less than when it began
        for (state, metric) in self.metrics.iter_mut().zip(metrics) {
            if let Some(stable) = window.stable.get(&metric.name) {
                state.rest(stable);
            }
        }
        self.watch_stable(metrics, step, window.end);
    }

    /// Stable's newest window against its own past. Once an incident is over, what the step proves is proved again; the plan continues.
    pub(super) fn watch_stable(&mut self, metrics: &[Metric], step: &StepTerms, end: Timestamp) {
        let judged = self.metrics.iter().zip(metrics).filter(|(_, metric)| step.asks(metric));
        let watched: Vec<_> = judged.flat_map(|(state, metric)| watched(state, metric)).collect();
        if !self.incidents.add(&watched, self.windows, end) {
            return;
        }
        self.incidents.begin_step(false);
        (self.windows, self.step_requests) = (0, 0);
        for (state, metric) in self.metrics.iter_mut().zip(metrics) {
            state.after_incident(metric, step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: f64 = 0.001;

    /// Windows of 3,000 requests with so many errors each; what `add` said of the last.
    fn after(watch: &mut Watch, own: &mut Own, windows: &[f64], from: u32) -> bool {
        let mut over = false;
        for (k, errors) in windows.iter().enumerate() {
            own.add(3000.0, *errors, BEFORE, 1.1);
            let watched = [Watched { subject: "errors".into(), before: BEFORE, own }];
            over = watch.add(&watched, from + k as u32, Timestamp::UNIX_EPOCH);
        }
        over
    }

    #[test]
    fn one_odd_window_of_stable_is_no_incident_and_two_are() {
        let (mut watch, mut own) = (Watch::default(), Own::default());
        after(&mut watch, &mut own, &[3.0, 2.0, 300.0], 1);
        assert_eq!(watch.present, None);
        after(&mut watch, &mut own, &[300.0], 4);
        let incident = watch.present.unwrap();
        assert_eq!(
            incident.message,
            "stable itself is degraded since 00:00:00 UTC: errors 10.0 % against 0.10 % before the rollout (limit 0.70 %); 0 of 5 windows as before"
        );
        assert!(!incident.after_raise);
    }

    #[test]
    fn an_incident_is_over_after_five_windows_as_before() {
        let (mut watch, mut own) = (Watch::default(), Own::default());
        after(&mut watch, &mut own, &[300.0, 300.0, 3.0, 3.0, 3.0, 3.0], 1);
        assert!(watch.present.as_ref().is_some_and(|incident| incident.message.ends_with("; 4 of 5 windows as before")), "{watch:?}");
        assert!(after(&mut watch, &mut own, &[3.0], 7));
        assert_eq!(watch.present, None);
    }

    #[test]
    fn an_incident_within_three_windows_of_a_raise_may_come_from_it() {
        for (calm, suspected) in [(0, true), (2, true), (3, false), (10, false)] {
            let (mut watch, mut own) = (Watch::default(), Own::default());
            watch.begin_step(true);
            after(&mut watch, &mut own, &vec![3.0; calm], 1);
            after(&mut watch, &mut own, &[300.0, 300.0], calm as u32 + 1);
            assert_eq!(watch.present.as_ref().map(|incident| incident.after_raise), Some(suspected), "{calm} calm windows");
            watch.begin_step(false);
            assert_eq!(watch.present.map(|incident| incident.after_raise), Some(false), "a step down is enough");
        }
    }

    #[test]
    fn a_share_that_cannot_double_keeps_no_incident_going() {
        let mut own = Own::default();
        (0..5).for_each(|_| own.add(3000.0, 2900.0, 0.6, 1.1));
        assert!(own.calm() && own.clean == 5, "{own:?}");
    }

    #[test]
    fn hours_of_calm_do_not_hide_an_incident() {
        let (mut watch, mut own) = (Watch::default(), Own::default());
        after(&mut watch, &mut own, &[3.0; 1000], 1);
        after(&mut watch, &mut own, &[300.0, 300.0], 1001);
        assert!(watch.present.is_some());
    }
}
