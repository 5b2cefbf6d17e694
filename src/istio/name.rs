//! Whom a name means. Istio completes a name without a dot by the namespace of the object that it is written in, and takes every other one
//! as it is.

use std::{fmt, net::IpAddr};

/// Sidecars and waypoints: where a VirtualService applies that names no gateway.
pub const MESH: &str = "mesh";

/// What a host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A Service of the cluster: `fraud`, or `fraud.ml.svc.cluster.local`.
    Service {
        /// Its name.
        name: &'a str,
        /// Its namespace.
        namespace: &'a str,
    },
    /// Any other name: it means itself. `fraud.ml` and `fraud.ml.svc` are such names, and no Service has them.
    Itself(&'a str),
}

impl<'a> Host<'a> {
    /// What a host means that is written in an object of this namespace.
    pub fn of(written: &'a str, namespace: &'a str) -> Self {
        if !written.contains('.') {
            let literal = written.is_empty() || written == "*" || written.parse::<IpAddr>().is_ok();
            return if literal { Self::Itself(written) } else { Self::Service { name: written, namespace } };
        }
        let mut parts = written.splitn(4, '.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            // The domain of the cluster is not known here: every one that is more than the begin of the usual one will do.
            (Some(name), Some(namespace), Some("svc"), Some(domain))
                if !name.is_empty() && name != "*" && !namespace.is_empty() && !domain.is_empty() && domain != "cluster" =>
            {
                Self::Service { name, namespace }
            }
            _ => Self::Itself(written),
        }
    }

    /// Name of the Service, if it is one of this namespace.
    pub fn service_in(self, here: &str) -> Option<&'a str> {
        match self {
            Self::Service { name, namespace } if namespace == here => Some(name),
            _ => None,
        }
    }

    /// Whether a wildcard (`*`, `*.ml.svc.cluster.local`) covers it.
    pub fn is_under(self, wildcard: &str) -> bool {
        let Some(suffix) = wildcard.strip_prefix('*') else { return false };
        self.to_string().strip_suffix(suffix).is_some_and(|rest| !rest.is_empty())
    }
}

impl fmt::Display for Host<'_> {
    /// In full, with the usual domain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, namespace } => write!(f, "{name}.{namespace}.svc.cluster.local"),
            Self::Itself(written) => f.write_str(written),
        }
    }
}

/// Whether two hosts, both written in objects of this namespace, are the same one.
pub fn same_host(one: &str, other: &str, namespace: &str) -> bool {
    one == other || Host::of(one, namespace) == Host::of(other, namespace)
}

/// The Service that somebody who wrote this name meant, where Istio takes it as it is: `fraud.ml`, `fraud.ml.svc`.
pub fn meant(written: &str, namespace: &str) -> Option<String> {
    let mut parts = written.splitn(3, '.');
    let (name, there, rest) = (parts.next()?, parts.next()?, parts.next());
    let cut = !name.is_empty() && name != "*" && there == namespace && rest.is_none_or(|rest| matches!(rest, "svc" | "svc.cluster"));
    cut.then(|| name.to_owned())
}

/// A gateway as `namespace/name`, or `mesh`. It may be written as `name`, `./name`, `namespace/name`, or as `name.namespace` with or without
/// more behind it.
pub fn gateway(written: &str, namespace: &str) -> String {
    if written == MESH {
        return MESH.to_owned();
    }
    match (written.split_once('/'), written.split_once('.')) {
        (Some((".", name)), _) => format!("{namespace}/{name}"),
        (Some(_), _) => written.to_owned(),
        (None, None) => format!("{namespace}/{written}"),
        (None, Some((name, rest))) => format!("{}/{name}", rest.split('.').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_dot_is_a_service_of_the_namespace_and_a_full_name_is_the_same_one() {
        let fraud = Host::Service { name: "fraud", namespace: "ml" };
        assert_eq!(Host::of("fraud", "ml"), fraud);
        assert_eq!(Host::of("fraud.ml.svc.cluster.local", "shop"), fraud);
        assert_eq!(Host::of("fraud.ml.svc.corp.example", "shop"), fraud, "a cluster with a domain of its own");
        assert_eq!(fraud.service_in("ml"), Some("fraud"));
        assert_eq!(fraud.service_in("shop"), None);
    }

    #[test]
    fn a_name_with_a_dot_that_is_not_the_full_one_is_no_service() {
        for written in
            ["fraud.ml", "fraud.ml.svc", "fraud.ml.svc.", "fraud.ml.svc.cluster", "api.example.com", "*", "*.ml.svc.cluster.local", "::1"]
        {
            assert_eq!(Host::of(written, "ml"), Host::Itself(written));
        }
        assert_eq!(meant("fraud.ml", "ml").as_deref(), Some("fraud"));
        assert_eq!(meant("fraud.ml.svc", "ml").as_deref(), Some("fraud"));
        assert_eq!(meant("fraud.shop", "ml"), None);
        assert_eq!(meant("api.example.com", "ml"), None);
    }

    #[test]
    fn a_gateway_has_five_spellings() {
        for written in ["gw", "./gw", "edge/gw", "gw.edge", "gw.edge.svc.cluster.local"] {
            assert_eq!(gateway(written, "edge"), "edge/gw", "{written}");
        }
        assert_eq!(gateway("mesh", "edge"), "mesh");
        assert_eq!(gateway("gw", "ml"), "ml/gw");
    }
}
