//! Which metrics there are, by name.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Prometheus, QueryError, Selector, answer};

impl Prometheus {
    /// Which combinations of these labels the series of a selector have at `at`, with the name of the metric as `__name__`. The provider's
    /// labels are added.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn names(&self, selector: &Selector, labels: &[&str], at: Timestamp) -> Result<Vec<BTreeMap<String, String>>, QueryError> {
        let by: Vec<&str> = ["__name__"].into_iter().chain(labels.iter().copied()).collect();
        let query = self.own(selector)?.group_by(&by)?;
        self.read(self.by.purpose, &query, at, answer::labels).await
    }
}
