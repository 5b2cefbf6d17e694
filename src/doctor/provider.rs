//! A Prometheus provider: whether it answers from here, and whether its clock is ours.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Finding, Level};
use crate::words::span;

/// Clocks that differ by no more than this are the same.
const SAME: Duration = Duration::from_secs(2);
/// Beyond this a rollout does not start.
const MOST: Duration = Duration::from_secs(300);

/// Where the settings of a provider come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--prometheus`.
    Flag,
    /// `--config`.
    File,
    /// The controller's ConfigMap.
    Cluster,
}

/// Why a provider gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// There is no way to it from here.
    Unreachable(String),
    /// It is there, and its answer cannot be used.
    Refused(String),
}

/// A provider that was asked what time it is.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is, without what is secret.
    pub url: String,
    /// Where its settings come from.
    pub origin: Origin,
    /// How far its clock is ahead of ours.
    pub ahead: Result<SignedDuration, Silence>,
}

/// What is to be said of a provider.
pub fn provider(asked: &Asked) -> Finding {
    const CHECK: &str = "prometheus";
    let Asked { name, url, .. } = asked;
    match &asked.ahead {
        Err(Silence::Unreachable(why)) => unreachable(asked, why),
        Err(Silence::Refused(why)) => Finding::saying(CHECK, Level::Fail, &format!("provider {name} at {url}: {why}")),
        Ok(ahead) => {
            let apart = ahead.unsigned_abs();
            let way = if ahead.is_negative() { "behind" } else { "ahead of" };
            let fix = "let the nodes and Prometheus follow one time server (chrony, systemd-timesyncd)";
            let fact = format!("provider {name} at {url} answers; its clock is {} {way} ours", span(Duration::from_secs(apart.as_secs())));
            match apart {
                apart if apart > MOST => Finding::fail(CHECK, fact, fix),
                apart if apart > SAME => Finding::warn(CHECK, fact, fix),
                _ => Finding::ok(CHECK, format!("provider {name} at {url} answers, and its clock is right")),
            }
        }
    }
}

/// From where this runs there may be no way to what only the cluster can reach: then it is not known, and not wrong.
fn unreachable(asked: &Asked, why: &str) -> Finding {
    const CHECK: &str = "prometheus";
    let Asked { name, url, origin, .. } = asked;
    match (origin, in_cluster(url)) {
        (Origin::Flag, _) => {
            Finding::fail(CHECK, format!("nothing that is a Prometheus answers at {url}"), format!("{why}; set --prometheus to its URL"))
        }
        (_, Some((service, namespace, port))) => Finding::warn(
            CHECK,
            format!("not checked: provider {name} at {url} cannot be reached from here, perhaps by the controller"),
            format!("kubectl port-forward -n {namespace} svc/{service} 9090:{port}, then again with --prometheus http://localhost:9090"),
        ),
        (_, None) => Finding::warn(CHECK, format!("not checked: provider {name} at {url} cannot be reached from here"), why),
    }
}

/// Service, namespace and port of a URL that only the cluster's DNS knows.
fn in_cluster(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let usual = if scheme == "https" { "443" } else { "80" };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, usual));
    let mut labels = host.split('.');
    let (service, namespace, more) = (labels.next()?, labels.next()?, labels.next());
    let number = namespace.chars().all(|c| c.is_ascii_digit());
    (more.is_none_or(|label| label == "svc") && !number).then_some((service, namespace, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_cluster_s_own_dns_is_known() {
        assert_eq!(in_cluster("http://prometheus.monitoring:9090"), Some(("prometheus", "monitoring", "9090")));
        assert_eq!(in_cluster("https://thanos.obs.svc.cluster.local/prom"), Some(("thanos", "obs", "443")));
        for url in ["http://localhost:9090", "https://prometheus.example.com", "http://10.0.0.7:9090", "http://127.1:9090"] {
            assert_eq!(in_cluster(url), None, "{url}");
        }
    }
}
