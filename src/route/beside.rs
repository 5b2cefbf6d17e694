//! Where else the requests of an object go: its other routes that lead to the host of the managed one.

use serde_json::Value;

use super::find::View;
use crate::api::Destination;
use crate::istio::{reach, split};

/// Another route of the same object that leads to a version, by a weight or by copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its name, or its place if it has none: `http[0]`.
    pub route: String,
    /// What in it names the version: `spec.http[0].route[1].destination.subset`.
    pub place: String,
    /// The version; without one every pod of the host is meant, of whatever version.
    pub version: Option<String>,
    /// The Rollout that has given this version all of that route, by its claim: name and uid.
    pub given_by: Option<(String, String)>,
    /// That Rollout is not under way any more: the version was promoted there.
    pub promoted: bool,
}

/// All of them, but for the managed route itself, those that no request reaches, and our own.
pub(super) fn beside(view: &View, spec: &Value) -> Vec<Beside> {
    let (namespace, subsets) = (view.namespace.as_str(), matches!(view.canary, Destination::Subset(_)));
    let field = if subsets { "subset" } else { "host" };
    let ours = |version: &str| version == view.canary.name() || view.entries.iter().any(|entry| entry.name == version);
    let mut found: Vec<Beside> = Vec::new();
    for kind in ["http", "tcp", "tls"] {
        for (index, route) in spec[kind].as_array().into_iter().flatten().enumerate() {
            let managed = index == view.index;
            let above = || reach::above(spec, namespace, index, None, |route| view.ours.has(route)).is_some();
            if kind == "http" && (managed || view.ours.has(route) || above()) {
                continue;
            }
            let name = route["name"].as_str();
            let mut add = |place: String, to: &str, subset: Option<&str>, whole: bool| {
                let (version, place) = (view.named(namespace, to, subset), format!("{place}.{field}"));
                let leads = if subsets { view.is_host(namespace, to) } else { version.is_some_and(ours) };
                if !leads || found.iter().any(|known| known.place == place) {
                    return;
                }
                let claim = name.and_then(|name| view.claims.get(name)).filter(|claim| whole && Some(claim.canary.name()) == version);
                found.push(Beside {
                    route: name.map_or_else(|| format!("{kind}[{index}]"), str::to_owned),
                    place,
                    version: version.map(str::to_owned),
                    given_by: claim.filter(|claim| claim.share.weight == 100).map(|claim| (claim.rollout, claim.uid)),
                    promoted: false,
                });
            };
            let entries = route["route"].as_array().into_iter().flatten().enumerate();
            let got = split::destinations(route);
            for (at, to) in entries.filter_map(|(at, entry)| split::named(&entry["destination"]).map(|_| at)).zip(got) {
                if to.weight > 0 {
                    add(format!("spec.{kind}[{index}].route[{at}].destination"), to.host, to.subset, to.percent == 100);
                }
            }
            for (at, entry) in route["mirrors"].as_array().into_iter().flatten().enumerate() {
                if let (Some((to, subset)), true) = (split::named(&entry["destination"]), split::percent(entry.get("percentage")) > 0.0) {
                    add(format!("spec.{kind}[{index}].mirrors[{at}].destination"), to, subset, false);
                }
            }
            if let Some((to, subset)) = split::copy(route).filter(|(_, percent)| *percent > 0.0).and_then(|(to, _)| split::named(to)) {
                add(format!("spec.{kind}[{index}].mirror"), to, subset, false);
            }
        }
    }
    found
}

impl View {
    /// Other routes by which requests reach the pods of a version: they go around the weights. Those of a route that another Rollout has given
    /// to it for good do not count.
    pub fn around(&self, version: &str) -> impl Iterator<Item = &Beside> {
        self.beside.iter().filter(move |other| match &other.version {
            None => true,
            Some(there) => there == version && !other.promoted,
        })
    }

    /// Names of other routes that lead to a version: they need it, whatever this route does.
    pub fn needed_by(&self, version: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for other in self.beside.iter().filter(|other| other.version.as_deref() == Some(version)) {
            let name = format!("{} {} of {}", self.object.kind().rule(), other.route, self.object);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Beside {
    /// In words, with what to write where.
    pub fn words(&self, host: &str, canary: &str, stable: &str) -> String {
        let Self { route, place, .. } = self;
        match (&self.version, &self.given_by) {
            (None, _) => format!(
                "route {route} leads to {host} without a subset, so that its requests reach the pods of {canary} at any weight: set {place} to {stable}"
            ),
            (Some(_), Some((rollout, _))) => {
                format!("route {route} leads to {canary} too, by Rollout {rollout}: once that is promoted, this one continues")
            }
            (Some(_), None) => {
                format!("route {route} leads to {canary} too, and its requests go around the weights: set {place} to {stable}")
            }
        }
    }
}
