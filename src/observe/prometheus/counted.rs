//! Counts queries in our own metrics: how long each took, and why it gave nothing.

use std::{fmt::Debug, time::Duration};

use crate::metrics::Metrics;

/// Where the queries of a provider are counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Name of the provider.
    pub provider: String,
    /// The metrics.
    pub metrics: Metrics,
}

/// What a query spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// Until it was its turn.
    pub(super) waited: Duration,
    /// From then on.
    pub(super) took: Duration,
}

/// Counts a query, how long it waited and took, and why it gave nothing.
pub(super) fn query(counted: Option<&Counted>, spent: Spent, failure: Option<&impl Debug>) {
    if let Some(Counted { provider, metrics }) = counted {
        metrics.queried(provider, [spent.waited, spent.took], failure.map(variant).as_deref());
    }
}

/// The name of an error's variant, without what it holds: few words, and none of the server's.
fn variant(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::prometheus::QueryError;

    #[test]
    fn each_query_is_counted_with_its_duration_and_the_kind_of_its_failure() {
        let metrics = Metrics::new();
        let counted = Counted { provider: "default".into(), metrics: metrics.clone() };
        let spent = Spent { waited: Duration::ZERO, took: Duration::from_millis(20) };
        query(Some(&counted), spent, None::<&QueryError>);
        query(Some(&counted), spent, Some(&QueryError::Status(503, "token=abc".into())));
        let text = metrics.encode();
        assert!(text.contains("haldane_prometheus_query_duration_seconds_count{provider=\"default\"} 2\n"), "{text}");
        assert!(text.contains("haldane_prometheus_query_failures_total{provider=\"default\",reason=\"Status\"} 1\n"), "{text}");
        assert!(!text.contains("abc"));
    }
}
