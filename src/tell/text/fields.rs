//! A decision as a template sees it.

use super::super::courier::Letter;
use super::super::meaning::of;
use super::Text;
use crate::api::Version;
use crate::template::{Exposed, Fields, Metric, Named};
use crate::view::{Cells, exposed, shared, visible};

impl Text {
    /// What a template may name.
    pub(in crate::tell) fn fields(&self, letter: &Letter) -> Fields {
        let (record, alert, view) = (&letter.record, letter.alert(), &self.view);
        let said = |label: &str| view.facts.iter().find(|fact| fact.label == label).map(|fact| fact.text.clone()).unwrap_or_default();
        let under_way = record.weight != 0 || record.step.is_some();
        Fields {
            title: self.title().to_owned(),
            body: self.body(),
            alert: alert.name.to_owned(),
            severity: alert.severity.word().to_owned(),
            headline: of(record).headline.to_owned(),
            outcome: format!("{:?}", record.outcome),
            reason: record.reason.to_string(),
            because: view.because.clone().unwrap_or_default(),
            namespace: letter.namespace.clone(),
            rollout: letter.name.clone(),
            canary: named(record.canary.as_ref()),
            stable: named(record.stable.as_ref()),
            step: record.step.as_deref().map(visible).unwrap_or_default(),
            weight: record.weight,
            share: if under_way { shared(record.traffic.as_deref(), record.weight) } else { String::new() },
            why: said("why"),
            metrics: view.rows.iter().map(|row| metric(&row.metric, row.cells())).collect(),
            exposed: record.exposure.as_ref().map(exposed).unwrap_or_default(),
            exposure: record.exposure.as_ref().map_or_else(Exposed::default, |exposure| Exposed {
                requests: exposure.canary_requests,
                copies: exposure.mirrored_requests.unwrap_or_default(),
                errors: exposure.canary_errors.unwrap_or_default(),
                seconds: exposure.seconds,
            }),
            now: view.now.clone().unwrap_or_default(),
            next: view.next.clone(),
            by: record.by.as_ref().map(|by| visible(&by.name)).unwrap_or_default(),
            at: record.at.0.to_string(),
            epoch: record.epoch,
            key: letter.key.clone(),
        }
    }
}

fn named(version: Option<&Version>) -> Named {
    version.map_or_else(Named::default, |version| Named { name: version.name.clone(), revision: version.revision.clone() })
}

fn metric(name: &str, cells: Cells) -> Metric {
    let Cells { metric: label, stable, canary, difference, interval, limit, requests, verdict } = cells;
    Metric { name: visible(name), label, stable, canary, difference, interval, limit, requests, verdict }
}
