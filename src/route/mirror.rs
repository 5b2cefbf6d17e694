//! Copies of requests: our own entry in `mirrors` of the managed route.

use serde_json::{Value, json};

use super::{at, find::View};
use crate::istio::split;

/// Fields of a route with one mirror, in place of `mirrors`. Istio refuses a route that has both.
pub(super) const SINGLE: [&str; 4] = ["mirror", "mirrorPercentage", "mirrorPercent", "mirror_percent"];

/// Percent of the requests that an entry copies, rounded up: a share above nothing is not nothing.
fn percent(entry: &Value) -> u8 {
    whole(split::percent(entry.get("percentage")))
}

fn whole(percent: f64) -> u8 {
    // A float cast saturates at both ends.
    percent.ceil() as u8
}

impl View {
    /// Percent of the requests that the route copies to a version, by whatever field. Each entry makes copies of its own, so that several
    /// may come to more than 100.
    pub(super) fn mirrored(&self, version: &str) -> u8 {
        let listed = self.mirrors_of(version).map(|(_, percent)| percent);
        listed.chain(self.single_mirror(version)).fold(0, u8::saturating_add)
    }

    /// Entries of `mirrors` that lead to a version: index and percent.
    pub(super) fn mirrors_of(&self, version: &str) -> impl Iterator<Item = (usize, u8)> {
        let entries = at(&self.raw, "/mirrors").as_array().into_iter().flatten().enumerate();
        entries.filter(move |(_, entry)| self.is_of(&entry["destination"], version)).map(|(index, entry)| (index, percent(entry)))
    }

    /// Every copy for a version, by whatever field: version and percent.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = (&str, u8)> {
        let listed = at(&self.raw, "/mirrors").as_array().into_iter().flatten().map(|entry| (&entry["destination"], percent(entry)));
        let listed = listed.filter_map(|(destination, percent)| Some((self.version_of(destination)?, percent)));
        let single = self.version_of(at(&self.raw, "/mirror"));
        listed.chain(single.and_then(|version| Some((version, self.single_mirror(version)?))))
    }

    /// Percent of the route's `mirror`, if that leads to the version.
    pub(super) fn single_mirror(&self, version: &str) -> Option<u8> {
        split::copy(&self.raw).filter(|(to, _)| self.is_of(to, version)).map(|(_, percent)| whole(percent))
    }

    /// Whether the route has `mirror`, beside which Istio takes no `mirrors`.
    pub fn has_single_mirror(&self) -> bool {
        !at(&self.raw, "/mirror").is_null()
    }

    /// Our entry.
    pub(super) fn mirror(&self, version: &str, percent: u8) -> Value {
        // Always with the number: without one Istio copies everything.
        json!({ "destination": self.destination(version), "percentage": { "value": f64::from(percent) } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_percentage_is_everything_and_an_empty_one_is_nothing() {
        let of = |entry: Value| percent(&entry);
        assert_eq!(of(json!({})), 100);
        assert_eq!(of(json!({"percentage": {}})), 0);
        assert_eq!(of(json!({"percentage": {"value": 0.2}})), 1, "a share above nothing is not nothing");
        assert_eq!(of(json!({"percentage": {"value": 50.0}})), 50);
    }
}
