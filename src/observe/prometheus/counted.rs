//! Counts queries in our own metrics: how long each took, and why it gave nothing.

use std::{fmt::Debug, future::Future};

use crate::{clock::Clock, metrics::Metrics};

/// Where the queries of a provider are counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Name of the provider.
    pub provider: String,
    /// The metrics.
    pub metrics: Metrics,
    /// For how long a query took.
    pub clock: Clock,
}

/// The answer of a query, counted.
pub(super) async fn query<T, E: Debug>(counted: Option<&Counted>, query: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let Some(Counted { provider, metrics, clock }) = counted else { return query.await };
    let begun = clock.elapsed();
    let answer = query.await;
    let failure = answer.as_ref().err().map(variant);
    metrics.queried(provider, clock.elapsed().saturating_sub(begun), failure.as_deref());
    answer
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

    #[tokio::test]
    async fn each_query_is_counted_with_its_duration_and_the_kind_of_its_failure() {
        let metrics = Metrics::new();
        let counted = Counted { provider: "default".into(), metrics: metrics.clone(), clock: Clock::system() };
        assert_eq!(query(Some(&counted), async { Ok::<_, QueryError>(1) }).await, Ok(1));
        let secret = QueryError::Status(503, "token=abc".into());
        assert!(query(Some(&counted), async { Err::<u32, _>(secret) }).await.is_err());
        let text = metrics.encode();
        assert!(text.contains("haldane_prometheus_query_duration_seconds_count{provider=\"default\"} 2\n"), "{text}");
        assert!(text.contains("haldane_prometheus_query_failures_total{provider=\"default\",reason=\"Status\"} 1\n"), "{text}");
        assert!(!text.contains("abc"));
    }
}
