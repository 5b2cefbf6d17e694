//! Which DestinationRules speak for a host.

use std::{cmp::Reverse, collections::BTreeSet};

use super::name::Host;

/// What decides whether a DestinationRule speaks for a host.
#[derive(Clone, Debug, PartialEq)]
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
    /// Namespaces whose proxies see it, as written; none: all.
    pub export_to: BTreeSet<&'r str>,
}

/// Rules that Istio made one of.
struct Joined<'r, R> {
    for_some: bool,
    export_to: BTreeSet<&'r str>,
    rules: Vec<&'r R>,
}

/// The rules that speak for a host to the proxies of their own namespace, the one with the most say first; of a subset's name the first that
/// has it counts. The most exact host that covers it speaks alone. Of its rules, oldest first, Istio joins those with the same `exportTo`, or
/// with more than an earlier one; the newest of those that were not joined with the one before speaks alone. What is for some clients speaks
/// for nobody here, nor does what is joined with it.
pub fn speaking<'r, R>(rules: impl IntoIterator<Item = &'r R>, host: Host<'_>, about: impl Fn(&'r R) -> About<'r>) -> Vec<&'r R> {
    let mut found = Vec::new();
    for rule in rules {
        let one = about(rule);
        let exact = Host::of(one.host, one.namespace) == host;
        let seen = one.for_some || one.export_to.is_empty() || ["*", ".", one.namespace].iter().any(|to| one.export_to.contains(to));
        if seen && (exact || host.is_under(one.host)) {
            found.push((Reverse(if exact { usize::MAX } else { one.host.len() }), one, rule));
        }
    }
    found.sort_by_key(|(exactness, one, _)| (*exactness, !one.for_some, one.created, one.name));
    let most = found.first().map(|(exactness, ..)| *exactness);
    let mut joined: Vec<Joined<'r, R>> = Vec::new();
    for (_, About { for_some, export_to, .. }, rule) in found.into_iter().filter(|(exactness, ..)| Some(*exactness) == most) {
        let export_to = if for_some { BTreeSet::from(["."]) } else { export_to };
        let mut apart = true;
        for group in &mut joined {
            let same = group.export_to == export_to;
            let joins = same || (!group.export_to.is_empty() && group.export_to.is_subset(&export_to));
            if joins {
                group.rules.push(rule);
            }
            // What the last group says counts: one that another group has taken may stand apart as well.
            apart = !(same || (joins && !group.for_some));
        }
        if apart {
            joined.push(Joined { for_some, export_to, rules: vec![rule] });
        }
    }
    joined.into_iter().rfind(|group| !group.for_some).map(|group| group.rules).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = (&'static str, &'static str, i64, bool);

    fn about(rule: &Rule) -> About<'_> {
        About { host: rule.1, namespace: "ml", name: rule.0, created: rule.2, for_some: rule.3, export_to: BTreeSet::new() }
    }

    /// Those of rules for one host that speak for it, by name and `exportTo`, in the order of their age.
    fn exported(rules: &[(&'static str, &[&'static str])]) -> Vec<&'static str> {
        let rules: Vec<_> = rules.iter().zip(0..).collect();
        speaking(&rules, Host::Service { name: "fraud", namespace: "ml" }, |(rule, created)| About {
            host: "fraud",
            namespace: "ml",
            name: rule.0,
            created: *created,
            for_some: false,
            export_to: rule.1.iter().copied().collect(),
        })
        .into_iter()
        .map(|(rule, _)| rule.0)
        .collect()
    }

    fn names(rules: &[Rule]) -> Vec<&'static str> {
        let host = Host::Service { name: "fraud", namespace: "ml" };
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
    fn rules_that_are_exported_otherwise_are_not_joined_and_the_newest_speaks_alone() {
        assert_eq!(exported(&[("a", &[]), ("b", &[])]), ["a", "b"]);
        assert_eq!(exported(&[("a", &[]), ("b", &["*"])]), ["b"], "the default is another text than `*`");
        assert_eq!(exported(&[("a", &[]), ("b", &["."]), ("c", &[])]), ["c"], "it is joined with a, and stands apart as well");
        assert_eq!(exported(&[("a", &["."]), ("b", &[".", "web"])]), ["a", "b"], "more than an earlier one");
        assert_eq!(exported(&[("a", &["."]), ("b", &["web"])]), ["a"], "proxies of this namespace do not see the second");
    }

    #[test]
    fn a_rule_for_some_clients_speaks_for_nobody() {
        assert!(names(&[("a", "fraud", 1, true)]).is_empty());
    }
}
