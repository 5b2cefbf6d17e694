//! Which VirtualServices answer a host.

use std::cmp::Reverse;

use super::name::Host;

/// What decides whether a VirtualService answers a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'v> {
    /// Its namespace.
    pub namespace: &'v str,
    /// Its name.
    pub name: &'v str,
    /// When it was made, in a form that sorts by time.
    pub created: &'v str,
    /// Its hosts as written.
    pub hosts: &'v [String],
    /// Where it has a route, as `namespace/name` or `mesh`.
    pub gateways: &'v [String],
    /// Namespaces whose proxies see it, as written; none: all.
    pub export_to: &'v [String],
}

/// To whom an object is exported, from the point of view of a proxy that sees it. The narrower one comes first, whatever its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exported {
    /// To its own namespace, which is the proxy's.
    Home,
    /// To the proxy's namespace, by its name.
    Named,
    /// To everybody.
    All,
}

impl About<'_> {
    /// To whom it is exported; nothing if proxies of this namespace do not see it.
    pub fn exported(&self, client: &str) -> Option<Exported> {
        let has = |wanted: &str| self.export_to.iter().any(|to| to == wanted);
        let home = self.namespace == client;
        match () {
            () if self.export_to.is_empty() || has("*") => Some(Exported::All),
            () if has("~") => None,
            () if home && (has(".") || has(client)) => Some(Exported::Home),
            () if has(client) => Some(Exported::Named),
            () => None,
        }
    }
}

/// The VirtualServices that answer a host at a gateway or in the mesh, for proxies of the namespace `client`: all with the most exact host
/// that covers it, in Istio's order. That is by their `exportTo` first, then by age. In the mesh the first of them takes every request. A
/// gateway joins their routes in this order, and puts those that ask for nothing at the end.
pub fn answering<'r, R>(
    services: impl IntoIterator<Item = &'r R>,
    host: Host<'_>,
    gateway: &str,
    client: &str,
    about: impl Fn(&'r R) -> About<'r>,
) -> Vec<&'r R> {
    let mut found = Vec::new();
    for service in services {
        let one = about(service);
        let exactness = one.hosts.iter().filter_map(|written| exactness(written, one.namespace, host)).max();
        let here = one.gateways.iter().any(|at| at == gateway);
        let (true, Some(exported), Some(exactness)) = (here, one.exported(client), exactness) else { continue };
        found.push((Reverse(exactness), (exported, one.created, one.name, one.namespace), service));
    }
    found.sort_by_key(|(exactness, rank, _)| (*exactness, *rank));
    let most = found.first().map(|(exactness, ..)| *exactness);
    found.into_iter().filter(|(exactness, ..)| Some(*exactness) == most).map(|(.., service)| service).collect()
}

/// How exactly a host, as written in an object of this namespace, covers another one; nothing if it does not.
fn exactness(written: &str, namespace: &str, host: Host<'_>) -> Option<usize> {
    match Host::of(written, namespace) == host {
        true => Some(usize::MAX),
        false => host.is_under(written).then_some(written.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Object {
        namespace: &'static str,
        name: &'static str,
        hosts: Vec<String>,
        gateways: Vec<String>,
        export_to: Vec<String>,
    }

    fn object(place: &'static str, hosts: &[&str], export_to: &[&str]) -> Object {
        let (namespace, name) = place.split_once('/').unwrap();
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Object { namespace, name, hosts: owned(hosts), gateways: owned(&["mesh", "edge/gw"]), export_to: owned(export_to) }
    }

    /// By name, for clients of `ml`. Their age is the order of their names.
    fn names(objects: &[Object], host: &str) -> Vec<&'static str> {
        answering(objects, Host::of(host, "ml"), "mesh", "ml", |one| About {
            namespace: one.namespace,
            name: one.name,
            created: one.name,
            hosts: &one.hosts,
            gateways: &one.gateways,
            export_to: &one.export_to,
        })
        .into_iter()
        .map(|one| one.name)
        .collect()
    }

    #[test]
    fn the_older_one_answers_unless_the_younger_one_is_exported_to_fewer() {
        let fraud = |place, export_to: &[&str]| object(place, &["fraud.ml.svc.cluster.local"], export_to);
        assert_eq!(names(&[fraud("ml/b", &[]), fraud("ml/a", &["*"])], "fraud"), ["a", "b"]);
        assert_eq!(names(&[fraud("ml/a", &[]), fraud("ml/b", &["."])], "fraud"), ["b", "a"]);
        assert_eq!(names(&[fraud("ml/a", &[]), fraud("shop/b", &["ml"]), fraud("ml/c", &["ml"])], "fraud"), ["c", "b", "a"]);
        assert!(names(&[fraud("shop/a", &["."]), fraud("shop/b", &["edge"]), fraud("shop/c", &["~", "ml"])], "fraud").is_empty());
    }

    #[test]
    fn the_most_exact_host_answers_alone() {
        let (all, ml) = (object("ml/a", &["*"], &[]), object("ml/b", &["*.ml.svc.cluster.local"], &[]));
        let fraud = object("ml/c", &["other", "fraud"], &[]);
        let all = [all, ml, fraud];
        assert_eq!(names(&all, "fraud"), ["c"]);
        assert_eq!(names(&all, "scores"), ["b"]);
        assert_eq!(names(&all, "api.example.com"), ["a"]);
        assert!(names(&all[1..], "fraud.ml").is_empty(), "that is no Service");
    }
}
