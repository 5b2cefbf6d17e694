//! Whose series they are: labels by which a store doubles every series, and pods of other clusters.

use std::collections::{BTreeMap, BTreeSet};

use super::meter::total;
use super::snapshot::{Group, GroupKey};
use super::{Family, Labels, NAME};

/// Labels that distinguish replicas of a collector in the usual installations.
const REPLICAS: [&str; 7] = ["prometheus_replica", "replica", "__replica__", "receive_replica", "rule_replica", "prometheus", "monitor"];
/// Two counts of one thing differ by no more than what comes between two scrapes.
const CLOSE: f64 = 0.02;
/// Events from which on two counts can be said to be of one thing.
const ENOUGH: f64 = 100.0;

/// Every series is there once for each value of a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every series is there {} times, told apart by the label {label} alone ({}): add `labels: {{{label}: {:?}}}` to the provider, or let the store deduplicate by {label}", values.len(), values.join(", "), values.first().map_or("", String::as_str))]
pub struct Doubled {
    /// The label.
    pub label: String,
    /// Its values.
    pub values: Vec<String>,
}

/// The answer also has pods that are not ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", said(self))]
pub struct Mixed {
    /// Name of one of them.
    pub pod: String,
    /// The label that tells ours from the others, its value here and there.
    pub label: Option<(String, String, String)>,
}

fn said(mixed: &Mixed) -> String {
    let begin = format!("the provider also has series of pods with the same workload that are not in this cluster ({})", mixed.pod);
    match &mixed.label {
        Some((label, ours, theirs)) => {
            format!("{begin}, left out here: add `labels: {{{label}: {ours:?}}}` to the provider (theirs is {theirs:?})")
        }
        None => format!("{begin}, left out here: add a label of this cluster to `labels` of the provider"),
    }
}

/// The label that doubles every series, if there is one.
pub(super) fn doubled(groups: &BTreeMap<GroupKey, Group>) -> Option<Doubled> {
    let requests = || groups.iter().filter(|(key, _)| key.family == Family::Requests);
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in requests().flat_map(|(key, _)| key.labels.iter()) {
        values.entry(name).or_default().insert(value);
    }
    let several = values.into_iter().filter(|(name, values)| values.len() > 1 && !of_istio(name));
    several.into_iter().find_map(|(name, values)| {
        let mut same: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for (key, group) in requests().filter(|(key, _)| key.labels.get(name).is_some()) {
            let rest: Vec<_> = key.labels.iter().filter(|(label, _)| *label != name).collect();
            same.entry((&key.target, rest)).or_default().push(group.rows.last().map_or(0.0, |(_, row)| total(row)));
        }
        let replica = REPLICAS.contains(&name);
        let twice = |totals: &&Vec<f64>| {
            let (least, most) = totals.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), one| (least.min(*one), most.max(*one)));
            totals.len() > 1 && (replica || (most >= ENOUGH && most - least <= CLOSE * most))
        };
        let sum = |all: &mut dyn Iterator<Item = &Vec<f64>>| all.flatten().sum::<f64>();
        let (of_them, all) = (sum(&mut same.values().filter(twice)), sum(&mut same.values()));
        let values = || values.iter().map(|value| (*value).to_owned()).collect();
        (of_them > 0.0 && of_them >= 0.9 * all).then(|| Doubled { label: name.to_owned(), values: values() })
    })
}

/// What distinguishes foreign pods from ours: a label with one value here and other values there.
pub(super) fn mixed(pod: &str, ours: &[&Labels], theirs: &[&Labels]) -> Mixed {
    let apart = |name: &str| -> Option<(String, String, String)> {
        let here: BTreeSet<&str> = ours.iter().map(|labels| labels.get(name)).collect::<Option<_>>()?;
        let there: BTreeSet<&str> = theirs.iter().map(|labels| labels.get(name)).collect::<Option<_>>()?;
        let (here, other) = (here.first().filter(|_| here.len() == 1)?, there.first()?);
        (!there.contains(here)).then(|| (name.to_owned(), (*here).to_owned(), (*other).to_owned()))
    };
    let usable = |name: &&str| !of_istio(name) && !matches!(*name, NAME | "pod" | "pod_name" | "kubernetes_pod_name" | "instance" | "node");
    let names = || ours.first().into_iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).filter(usable);
    let label = names().filter(|name| name.contains("cluster")).find_map(apart).or_else(|| names().find_map(apart));
    Mixed { pod: pod.to_owned(), label }
}

/// Labels of Istio's standard metrics: they tell requests apart. `destination_cluster` and `source_cluster` are among them.
fn of_istio(name: &str) -> bool {
    name.starts_with("source_")
        || name.starts_with("destination_")
        || matches!(
            name,
            "reporter" | "request_protocol" | "response_code" | "response_flags" | "grpc_response_status" | "connection_security_policy"
        )
}
