//! Copies of requests: our own entry in `mirrors` of the managed http route, or our own filter in the managed rule.

use serde_json::{Value, json};

use super::{at, find::View};
use crate::api::Destination;
use crate::gateway_api::split as rules;
use crate::istio::split;

/// Fields of an http route with one mirror, in place of `mirrors`. Istio refuses a route that has both.
pub(super) const SINGLE: [&str; 4] = ["mirror", "mirrorPercentage", "mirrorPercent", "mirror_percent"];

/// Rounded up: a share above nothing is not nothing.
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

    /// Entries of the list of copies that lead to a version: index and percent.
    pub(super) fn mirrors_of(&self, version: &str) -> impl Iterator<Item = (usize, u8)> {
        self.listed().into_iter().filter(move |(_, there, _)| *there == version).map(|(index, _, percent)| (index, percent))
    }

    /// Every copy for a version, by whatever field: version and percent.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = (&str, u8)> {
        let single = self.version_of(at(&self.raw, "/mirror"));
        let single = single.and_then(|version| Some((version, self.single_mirror(version)?)));
        self.listed().into_iter().map(|(_, version, percent)| (version, percent)).chain(single)
    }

    /// The list of copies, those that lead to a version: index, version, percent.
    fn listed(&self) -> Vec<(usize, &str, u8)> {
        if self.is_rule() {
            let mirrors = rules::mirrors(&self.raw, &self.namespace);
            let version =
                mirrors.map(|mirror| Some((mirror.index, mirror.to.service()?.service_in(&self.namespace)?, whole(mirror.percent))));
            return version.flatten().collect();
        }
        let entries = at(&self.raw, "/mirrors").as_array().into_iter().flatten().enumerate();
        let percent = |entry: &Value| whole(split::percent(entry.get("percentage")));
        entries.filter_map(|(index, entry)| Some((index, self.version_of(at(entry, "/destination"))?, percent(entry)))).collect()
    }

    /// Percent of the route's `mirror`, if that leads to the version.
    pub(super) fn single_mirror(&self, version: &str) -> Option<u8> {
        if self.is_rule() {
            return None;
        }
        split::copy(&self.raw).filter(|(to, _)| self.is_of(to, version)).map(|(_, percent)| whole(percent))
    }

    /// Whether the route has `mirror`, beside which Istio takes no `mirrors`.
    pub fn has_single_mirror(&self) -> bool {
        !at(&self.raw, "/mirror").is_null()
    }

    /// Our entry. Always with the number: without one everything is copied.
    pub(super) fn mirror(&self, version: &str, percent: u8) -> Value {
        let destination = self.destination(version);
        if self.is_rule() {
            return json!({ "type": "RequestMirror", "requestMirror": { "backendRef": destination, "percent": percent } });
        }
        json!({ "destination": destination, "percentage": { "value": f64::from(percent) } })
    }

    /// The leaf by which a copy is known again, where it is below the entry.
    pub(super) fn mirror_identity(&self) -> &'static [&'static str] {
        match self.canary {
            _ if self.is_rule() => &["requestMirror", "backendRef", "name"],
            Destination::Subset(_) => &["destination", "subset"],
            Destination::Service(_) => &["destination", "host"],
        }
    }

    /// The leaf that says how many are copied, where it is below the entry, and its value.
    pub(super) fn mirror_percent(&self, percent: u8) -> (&'static [&'static str], Value) {
        if self.is_rule() {
            return (&["requestMirror", "percent"], json!(percent));
        }
        (&["percentage"], json!({ "value": f64::from(percent) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Sought, find};

    #[test]
    fn no_percentage_is_everything_and_an_empty_one_is_nothing() {
        let of = |mut entry: Value| {
            entry["destination"] = json!({"host": "fraud", "subset": "v2"});
            let route = json!({"route": [{"destination": {"host": "fraud", "subset": "v1"}}], "mirrors": [entry]});
            find(&json!({"metadata": {"name": "fraud"}, "spec": {"http": [route]}}), Sought::subsets(None)).unwrap().mirrored("v2")
        };
        assert_eq!(of(json!({})), 100);
        assert_eq!(of(json!({"percentage": {}})), 0);
        assert_eq!(of(json!({"percentage": {"value": 0.2}})), 1, "a share above nothing is not nothing");
        assert_eq!(of(json!({"percentage": {"value": 50.0}})), 50);
    }
}
