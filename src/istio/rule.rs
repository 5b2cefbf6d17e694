//! Which DestinationRules speak for a host.

use std::cmp::Reverse;

use super::name::Host;

/// What decides whether a DestinationRule speaks for a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About<'r> {
    /// Its host as written.
    pub host: &'r str,
    /// Its namespace.
    pub namespace: &'r str,
    /// Its name.
    pub name: &'r str,
    /// When it was made, in a form that sorts by time.
    pub created: i64,
    /// It has a `workloadSelector`: it is for some clients alone.
    pub for_some: bool,
}

/// The rules that Istio joins for a host, the one with the most say first: all with the most exact host that covers it, oldest first. Of a
/// subset's name the first that has it counts. What is for some clients alone speaks for nobody here.
pub fn speaking<'r, R>(rules: impl IntoIterator<Item = &'r R>, host: Host<'_>, about: impl Fn(&'r R) -> About<'r>) -> Vec<&'r R> {
    let mut found: Vec<(Reverse<usize>, i64, &str, &R)> = Vec::new();
    for rule in rules {
        let About { host: written, namespace, name, created, for_some } = about(rule);
        let theirs = Host::of(written, namespace);
        let exact = theirs == host;
        if !for_some && (exact || host.is_under(written)) {
            found.push((Reverse(if exact { usize::MAX } else { written.len() }), created, name, rule));
        }
    }
    found.sort_by_key(|(exactness, created, name, _)| (*exactness, *created, *name));
    let most = found.first().map(|(exactness, ..)| *exactness);
    found.into_iter().filter(|(exactness, ..)| Some(*exactness) == most).map(|(.., rule)| rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = (&'static str, &'static str, i64, bool);

    fn names(rules: &[Rule]) -> Vec<&'static str> {
        let host = Host::Service { name: "fraud", namespace: "ml" };
        let about = |rule: &Rule| About { host: rule.1, namespace: "ml", name: rule.0, created: rule.2, for_some: rule.3 };
        speaking(rules, host, about).into_iter().map(|rule| rule.0).collect()
    }

    #[test]
    fn rules_of_one_host_are_joined_and_the_oldest_comes_first() {
        let rules = [("b", "fraud", 2, false), ("a", "fraud.ml.svc.cluster.local", 2, false), ("c", "fraud", 1, false)];
        assert_eq!(names(&rules), ["c", "a", "b"]);
    }

    #[test]
    fn a_rule_for_a_cut_name_speaks_for_no_service() {
        assert!(names(&[("a", "fraud.ml", 1, false), ("b", "fraud.ml.svc", 1, false), ("c", "other", 1, false)]).is_empty());
    }

    #[test]
    fn the_most_exact_host_speaks_alone() {
        let (all, ml, fraud) = (("all", "*", 1, false), ("ml", "*.ml.svc.cluster.local", 2, false), ("fraud", "fraud", 3, false));
        assert_eq!(names(&[all, ml, fraud]), ["fraud"]);
        assert_eq!(names(&[all, ml]), ["ml"]);
        assert_eq!(names(&[all]), ["all"]);
        assert!(names(&[("web", "*.web.svc.cluster.local", 1, false)]).is_empty());
    }

    #[test]
    fn a_rule_for_some_clients_speaks_for_nobody() {
        assert!(names(&[("a", "fraud", 1, true)]).is_empty());
    }
}
