//! The split as found.

use serde_json::Value;
use thiserror::Error;

use super::claim::{Claim, Claims};
use crate::api::names::{MANAGED, reason};

/// The managed route as found.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Name of the VirtualService.
    pub virtual_service: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Index in `spec.http`.
    pub index: usize,
    /// Key of the claim: the route's name, or `host/<host>` when it has none.
    pub key: String,
    /// The route's name.
    pub name: Option<String>,
    /// It had the name in `key` when we wrote it last, and was found by our claim and its destinations.
    pub renamed: bool,
    /// Other routes that fit as well, by name: this one was found by the claim on it.
    pub rivals: Option<String>,
    /// Host of every destination, as written.
    pub host: String,
    /// Port of the destinations, as written.
    pub port: Option<Value>,
    /// Destinations in order.
    pub entries: Vec<Entry>,
    /// Our annotation's entry for this route.
    pub claim: Option<Claim>,
    /// All of the annotation, for writing it back.
    pub(super) claims: Claims,
    /// The annotation's text as read.
    pub(super) annotation: Option<String>,
    /// Whether the object has any annotation.
    pub(super) has_annotations: bool,
    /// Managers that own `spec.http` by managedFields, ours left out, newest last.
    pub appliers: Vec<String>,
}

/// One destination of the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its subset.
    pub subset: String,
    /// Its weight as it counts: a single destination without one has 100.
    pub weight: u8,
    /// Whether the field is there.
    pub weighted: bool,
}

/// Why the route cannot be managed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteFault {
    /// No such object.
    #[error("VirtualService {0} does not exist in this namespace")]
    NotFound(String),
    /// No http route fits.
    #[error("{0}")]
    NoRoute(String),
    /// Several fit.
    #[error("{count} http routes of VirtualService {virtual_service} fit ({names}): name one in spec.traffic.route")]
    Ambiguous {
        /// The object.
        virtual_service: String,
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
    /// Another controller writes this object.
    #[error(
        "VirtualService {virtual_service} is owned by {owner}: that controller would undo every weight; give haldane a VirtualService of its own"
    )]
    Owned {
        /// The object.
        virtual_service: String,
        /// Kind and name of the owner.
        owner: String,
    },
}

impl RouteFault {
    /// The reason constant.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => reason::VIRTUAL_SERVICE_NOT_FOUND,
            Self::NoRoute(_) => reason::ROUTE_NOT_FOUND,
            Self::Ambiguous { .. } => reason::ROUTE_AMBIGUOUS,
            Self::Owned { .. } => reason::OWNED_BY_OTHER,
        }
    }
}

impl View {
    /// What finds this route again.
    pub fn wanted(&self) -> Option<&str> {
        (self.name.is_some() || self.renamed).then_some(self.key.as_str())
    }

    /// Share of a subset in percent; 0 if it has no entry.
    pub fn share(&self, subset: &str) -> u8 {
        self.entries.iter().filter(|entry| entry.subset == subset).fold(0, |sum, entry| sum.saturating_add(entry.weight))
    }

    /// The one subset that has everything, if one has.
    pub fn sole(&self) -> Option<&str> {
        self.entries.iter().find(|entry| entry.weight == 100).map(|entry| entry.subset.as_str()).filter(|_| self.sum() == 100)
    }

    /// Sum of the weights.
    pub fn sum(&self) -> u32 {
        self.entries.iter().map(|entry| u32::from(entry.weight)).sum()
    }

    /// The split in words: `v1 95 %, v2 5 %`.
    pub fn words(&self) -> String {
        let parts: Vec<_> = self.entries.iter().map(|entry| format!("{} {} %", entry.subset, entry.weight)).collect();
        parts.join(", ")
    }
}

/// Finds the route that a Rollout manages. A route fits when all of its destinations have one host and a subset each.
///
/// # Errors
/// When none or several fit, or another controller owns the object.
pub fn find(virtual_service: &Value, wanted: Option<&str>) -> Result<View, RouteFault> {
    let metadata = &virtual_service["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    if let Some(owner) = metadata["ownerReferences"].as_array().into_iter().flatten().find(|owner| owner["controller"] == true) {
        let owner = format!("{} {}", owner["kind"].as_str().unwrap_or("?"), owner["name"].as_str().unwrap_or("?"));
        return Err(RouteFault::Owned { virtual_service: name, owner });
    }
    let routes = virtual_service.pointer("/spec/http").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let fitting: Vec<(usize, Fitting)> = routes.iter().enumerate().filter_map(|(index, route)| Some((index, fit(route)?))).collect();
    let annotations = metadata["annotations"].as_object();
    let annotation = annotations.and_then(|all| all.get(MANAGED)).and_then(Value::as_str).map(str::to_owned);
    let mut claims = Claims::parse(annotation.as_deref());
    let keys: Vec<String> = fitting.iter().map(|(_, fitting)| fitting.key()).collect();
    let (mut renamed, mut rivals) = (false, None);
    let chosen: Vec<_> = match wanted {
        Some(wanted) => {
            let named = routes.iter().filter(|route| route["name"] == wanted).count();
            let claimed = claims.get(wanted).filter(|_| named == 0);
            let ours = |fitting: &Fitting| claimed.as_ref().is_some_and(|claim| fitting.serves(&claim.subset));
            renamed = fitting.iter().filter(|(_, fitting)| ours(fitting)).count() == 1;
            let chosen: Vec<_> = fitting
                .into_iter()
                .filter(|(_, fitting)| if renamed { ours(fitting) } else { fitting.name.as_deref() == Some(wanted) })
                .collect();
            if named > 0 && chosen.is_empty() {
                return Err(RouteFault::NoRoute(format!(
                    "http route {wanted} of VirtualService {name} cannot be stepped: every destination needs the same host and a subset of its own"
                )));
            }
            if chosen.is_empty() {
                let names: Vec<_> = routes.iter().filter_map(|route| route["name"].as_str()).collect();
                let names =
                    if names.is_empty() { "none of its routes has a name".to_owned() } else { format!("it has {}", names.join(", ")) };
                return Err(RouteFault::NoRoute(format!("VirtualService {name} has no http route named {wanted}: {names}")));
            }
            chosen
        }
        None => {
            let (ours, others): (Vec<_>, Vec<_>) = fitting.into_iter().partition(|(_, fitting)| claims.get(&fitting.key()).is_some());
            if ours.len() == 1 && !others.is_empty() {
                rivals = Some(names_of(&others));
                ours
            } else {
                ours.into_iter().chain(others).collect()
            }
        }
    };
    let count = chosen.len();
    if count > 1 {
        return Err(RouteFault::Ambiguous { virtual_service: name, count, names: names_of(&chosen) });
    }
    let Some((index, fitting)) = chosen.into_iter().next() else {
        return Err(RouteFault::NoRoute(format!(
            "no http route of VirtualService {name} can be stepped: a route needs destinations with one host and a subset each"
        )));
    };
    let key = match wanted.filter(|_| renamed) {
        Some(wanted) => wanted.to_owned(),
        None => fitting.key(),
    };
    claims.follow(&key, |old| keys.iter().any(|key| key == old), |subset| fitting.serves(subset));
    Ok(View {
        resource_version: metadata["resourceVersion"].as_str().unwrap_or_default().to_owned(),
        index,
        claim: claims.get(&key),
        key,
        name: fitting.name,
        renamed,
        rivals,
        host: fitting.host,
        port: fitting.port,
        entries: fitting.entries,
        claims,
        annotation,
        has_annotations: annotations.is_some(),
        appliers: appliers(metadata),
        virtual_service: name,
    })
}

fn names_of(routes: &[(usize, Fitting)]) -> String {
    let name = |(index, fitting): &(usize, Fitting)| fitting.name.clone().unwrap_or_else(|| format!("http[{index}] without a name"));
    routes.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Names of the other http, tcp and tls routes of this object that lead to one of the subsets: traffic there goes around the weights.
pub fn other_routes(virtual_service: &Value, managed: &View, subsets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["http", "tcp", "tls"] {
        for (index, route) in virtual_service.pointer(&format!("/spec/{kind}")).and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            if kind == "http" && index == managed.index {
                continue;
            }
            let leads = route["route"].as_array().into_iter().flatten().any(|entry| {
                let destination = &entry["destination"];
                destination["host"] == managed.host.as_str()
                    && entry["weight"].as_u64() != Some(0)
                    && subsets.iter().any(|subset| destination["subset"] == *subset)
            });
            if leads {
                found.push(route["name"].as_str().map_or_else(|| format!("{kind}[{index}]"), str::to_owned));
            }
        }
    }
    found
}

struct Fitting {
    name: Option<String>,
    host: String,
    port: Option<Value>,
    entries: Vec<Entry>,
}

impl Fitting {
    /// What a claim on it is found by.
    fn key(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("host/{}", self.host))
    }

    fn serves(&self, subset: &str) -> bool {
        self.entries.iter().any(|entry| entry.subset == subset)
    }
}

fn fit(route: &Value) -> Option<Fitting> {
    let destinations = route["route"].as_array()?;
    let single = destinations.len() == 1;
    let mut host: Option<&str> = None;
    let mut port = None;
    let mut entries: Vec<Entry> = Vec::with_capacity(destinations.len());
    for entry in destinations {
        let destination = &entry["destination"];
        let this = destination["host"].as_str()?;
        let subset = destination["subset"].as_str()?;
        if host.is_some_and(|host| host != this) || entries.iter().any(|known| known.subset == subset) {
            return None;
        }
        host = Some(this);
        port = port.or_else(|| destination.get("port").cloned());
        let written = entry.get("weight").and_then(Value::as_u64);
        let weight = match written {
            None if single => 100,
            Some(0) if single => 100, // Istio reads a single destination as everything, whatever its weight
            Some(weight) => u8::try_from(weight).ok()?,
            None => 0,
        };
        entries.push(Entry { subset: subset.to_owned(), weight, weighted: written.is_some() });
    }
    Some(Fitting { name: route["name"].as_str().map(str::to_owned), host: host?.to_owned(), port, entries })
}

/// Managers that apply what git says, again and again.
const APPLIERS: [&str; 6] = ["argocd", "flux", "kustomize-controller", "helm", "fleet", "config-sync"];

impl View {
    /// The newest manager of `spec.http` that is known to apply what git says again and again, so that it would undo a weight.
    pub fn gitops(&self) -> Option<&str> {
        let newest = self.appliers.last()?;
        APPLIERS.iter().any(|known| newest.contains(known)).then_some(newest.as_str())
    }
}

/// Managers that own `spec.http` or something below, ours left out, oldest first.
fn appliers(metadata: &Value) -> Vec<String> {
    let mut found: Vec<(String, String)> = metadata["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:http").is_some())
        .filter_map(|entry| {
            let manager = entry["manager"].as_str()?;
            (manager != crate::api::names::MANAGER).then(|| (entry["time"].as_str().unwrap_or_default().to_owned(), manager.to_owned()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, manager)| manager).collect()
}
