//! Copies of requests: our own entry in `mirrors` of the managed route.

use serde_json::{Value, json};

use super::{at, find::View};
use crate::istio::{name::same_host, split};

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
    /// Percent of the requests that the route copies to a subset, by whatever field. Each entry makes copies of its own, so that several
    /// may come to more than 100.
    pub(super) fn mirrored(&self, subset: &str) -> u8 {
        let listed = self.mirrors_of(subset).map(|(_, percent)| percent);
        listed.chain(self.single_mirror(subset)).fold(0, u8::saturating_add)
    }

    /// Entries of `mirrors` that lead to a subset: index and percent.
    pub(super) fn mirrors_of(&self, subset: &str) -> impl Iterator<Item = (usize, u8)> {
        let entries = at(&self.raw, "/mirrors").as_array().into_iter().flatten().enumerate();
        entries.filter(move |(_, entry)| self.is_of(&entry["destination"], subset)).map(|(index, entry)| (index, percent(entry)))
    }

    /// Every copy for a subset of the route's host, by whatever field: subset and percent.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = (&str, u8)> {
        let listed = at(&self.raw, "/mirrors").as_array().into_iter().flatten().map(|entry| (&entry["destination"], percent(entry)));
        let listed = listed.filter_map(|(destination, percent)| Some((self.subset_of(destination)?, percent)));
        let single = self.subset_of(at(&self.raw, "/mirror"));
        listed.chain(single.and_then(|subset| Some((subset, self.single_mirror(subset)?))))
    }

    fn subset_of<'v>(&self, destination: &'v Value) -> Option<&'v str> {
        destination["subset"].as_str().filter(|subset| self.is_of(destination, subset))
    }

    /// Percent of the route's `mirror`, if that leads to the subset.
    pub(super) fn single_mirror(&self, subset: &str) -> Option<u8> {
        split::copy(&self.raw).filter(|(to, _)| self.is_of(to, subset)).map(|(_, percent)| whole(percent))
    }

    /// Whether the route has `mirror`, beside which Istio takes no `mirrors`.
    pub fn has_single_mirror(&self) -> bool {
        !at(&self.raw, "/mirror").is_null()
    }

    /// Our entry.
    pub(super) fn mirror(&self, subset: &str, percent: u8) -> Value {
        // Always with the number: without one Istio copies everything.
        json!({ "destination": self.destination(subset), "percentage": { "value": f64::from(percent) } })
    }

    /// A destination of the route's host, with its port.
    pub(super) fn destination(&self, subset: &str) -> Value {
        let mut destination = json!({ "host": self.host, "subset": subset });
        if let (Some(port), Some(object)) = (&self.port, destination.as_object_mut()) {
            object.insert("port".to_owned(), port.clone());
        }
        destination
    }

    /// Whether a destination is this subset of the route's host.
    pub(super) fn is_of(&self, destination: &Value, subset: &str) -> bool {
        destination["subset"] == subset && destination["host"].as_str().is_some_and(|host| self.is_host(host))
    }

    /// Whether a host is the route's, written in full or short.
    pub(super) fn is_host(&self, host: &str) -> bool {
        same_host(host, &self.host, &self.namespace)
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
