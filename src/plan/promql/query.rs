//! A query of the user's own, with placeholders in double braces. They stand in the matchers of labels alone: only there is it known how
//! a value must be escaped.

use std::fmt;

use super::{escaped, literal};

/// What can be put into a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// Namespace of the Rollout and of both versions.
    Namespace,
    /// Name of the Rollout.
    Name,
    /// Names of the canary's pods, as a regular expression.
    CanaryPods,
    /// Names of stable's pods, as a regular expression.
    StablePods,
    /// Subset of the canary.
    CanarySubset,
    /// Subset of stable.
    StableSubset,
    /// Workload (Deployment, StatefulSet) of the canary.
    CanaryWorkload,
    /// Workload of stable.
    StableWorkload,
    /// The canary's pod-template-hash or controller-revision-hash.
    CanaryRevision,
    /// The same of stable.
    StableRevision,
}

impl Placeholder {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Namespace,
        Self::Name,
        Self::CanaryPods,
        Self::StablePods,
        Self::CanarySubset,
        Self::StableSubset,
        Self::CanaryWorkload,
        Self::StableWorkload,
        Self::CanaryRevision,
        Self::StableRevision,
    ];

    /// As it is written between the braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Name => "name",
            Self::CanaryPods => "canaryPods",
            Self::StablePods => "stablePods",
            Self::CanarySubset => "canarySubset",
            Self::StableSubset => "stableSubset",
            Self::CanaryWorkload => "canaryWorkload",
            Self::StableWorkload => "stableWorkload",
            Self::CanaryRevision => "canaryRevision",
            Self::StableRevision => "stableRevision",
        }
    }

    /// Several values: only a regular expression can hold them.
    fn is_list(self) -> bool {
        matches!(self, Self::CanaryPods | Self::StablePods)
    }

    fn known() -> String {
        Self::ALL.map(|one| format!("{{{{{}}}}}", one.name())).join(", ")
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{{}}}}}", self.name())
    }
}

/// A query that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { of: Placeholder, regex: bool, quote: char },
}

/// Where a placeholder stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// In a string that no matcher compares with.
    Other,
    /// In backquotes, where nothing can be escaped.
    Raw,
    /// In a matcher between these quotes.
    Matcher {
        regex: bool,
        quote: char,
    },
}

impl Query {
    /// Reads a query: its strings and placeholders. The rest is for Prometheus to judge.
    ///
    /// # Errors
    /// Every fault: what is wrong, and what would be right.
    pub fn read(text: &str) -> Result<Self, Vec<(String, String)>> {
        let (mut pieces, mut plain, mut faults) = (Vec::new(), String::new(), Vec::new());
        let (mut quote, mut place) = (None, Place::Outside);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let tail = rest.get(c.len_utf8()..).unwrap_or_default();
            if rest.starts_with("{{") {
                let Some((name, behind)) = rest.get(2..).and_then(|inner| inner.split_once("}}")) else {
                    faults.push(("has {{ without }}".into(), format!("there are {}", Placeholder::known())));
                    break;
                };
                match one(name.trim(), place) {
                    Ok(found) => {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                        pieces.push(found);
                    }
                    Err(fault) => faults.push(fault),
                }
                rest = behind;
                continue;
            }
            match quote {
                None if matches!(c, '"' | '\'' | '`') => {
                    let before = plain.trim_end();
                    place = match c {
                        '`' => Place::Raw,
                        _ if before.ends_with("=~") || before.ends_with("!~") => Place::Matcher { regex: true, quote: c },
                        _ if before.ends_with('=') => Place::Matcher { regex: false, quote: c },
                        _ => Place::Other,
                    };
                    quote = Some(c);
                }
                Some(open) if open == c => (quote, place) = (None, Place::Outside),
                Some(open) if c == '\\' && open != '`' => {
                    // The next character is part of the string, a quote too.
                    let next = tail.chars().next().map_or("", |next| tail.get(..next.len_utf8()).unwrap_or_default());
                    plain.push(c);
                    plain.push_str(next);
                    rest = tail.get(next.len()..).unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            plain.push(c);
            rest = tail;
        }
        if let Some(open) = quote.filter(|_| faults.is_empty()) {
            faults.push((format!("has a string that does not end ({open})"), "close it".into()));
        }
        pieces.push(Piece::Text(plain));
        if faults.is_empty() { Ok(Self(pieces)) } else { Err(faults) }
    }

    /// The query with every placeholder replaced.
    ///
    /// # Errors
    /// The first placeholder that there is no value for (a version without pods).
    pub fn fill(&self, values: impl Fn(Placeholder) -> Vec<String>) -> Result<String, Placeholder> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Value { of, regex, quote } => {
                    let found: Vec<String> = values(*of).into_iter().filter(|value| !value.is_empty()).collect();
                    let first = found.first().ok_or(*of)?;
                    if *regex {
                        let any = found.iter().map(|value| literal(value)).collect::<Vec<_>>().join("|");
                        text.push_str(&escaped(&if found.len() > 1 { format!("(?:{any})") } else { any }, *quote));
                    } else {
                        text.push_str(&escaped(first, *quote));
                    }
                }
            }
        }
        Ok(text)
    }
}

fn one(name: &str, place: Place) -> Result<Piece, (String, String)> {
    let Some(of) = Placeholder::ALL.into_iter().find(|one| one.name() == name) else {
        return Err((format!("has {{{{{name}}}}}"), format!("there are {}", Placeholder::known())));
    };
    let example = if of.is_list() { format!("pod=~\"{of}\"") } else { format!("label=\"{of}\"") };
    match place {
        Place::Matcher { regex: false, .. } if of.is_list() => {
            Err((format!("compares with {of} by =, but it stands for several names"), format!("write {example}")))
        }
        Place::Matcher { regex, quote } => Ok(Piece::Value { of, regex, quote }),
        Place::Outside => Err((format!("has {of} outside of quotes"), format!("it stands in a label's matcher alone: {example}"))),
        Place::Raw => Err((format!("has {of} in backquotes, where nothing can be escaped"), format!("write {example}"))),
        Place::Other => {
            Err((format!("has {of} in a string that is no label's matcher"), format!("it stands in a label's matcher alone: {example}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::promql::Counter;

    fn values(of: Placeholder) -> Vec<String> {
        match of {
            Placeholder::Namespace => vec!["ml".into()],
            Placeholder::CanaryPods => vec!["fraud-v2.a".into(), "fraud-v2-b".into()],
            Placeholder::StablePods => Vec::new(),
            other => vec![other.name().into()],
        }
    }

    fn filled(text: &str) -> String {
        Query::read(text).unwrap().fill(values).unwrap()
    }

    fn told(text: &str) -> Vec<String> {
        Query::read(text).unwrap_err().into_iter().map(|(message, fix)| format!("{message}; {fix}")).collect()
    }

    #[test]
    fn placeholders_become_names_in_equal_and_in_regular_matchers() {
        assert_eq!(
            filled(r#"max(DCGM_FI_DEV_FB_USED{namespace="{{namespace}}",pod=~"{{canaryPods}}"})"#),
            r#"max(DCGM_FI_DEV_FB_USED{namespace="ml",pod=~"(?:fraud-v2\\.a|fraud-v2-b)"})"#
        );
        assert_eq!(filled("x{a != '{{ canarySubset }}', b!~\"no-{{namespace}}-.*\"}"), "x{a != 'canarySubset', b!~\"no-ml-.*\"}");
        assert_eq!(filled(r#"x{a="\"{{namespace}}"} == 1"#), r#"x{a="\"ml"} == 1"#);
        assert_eq!(filled("vector(1)"), "vector(1)");
    }

    #[test]
    fn what_stands_in_braces_and_is_not_known_is_a_fault_with_the_list_of_what_there_is() {
        let list = "there are {{namespace}}, {{name}}, {{canaryPods}}, {{stablePods}}, {{canarySubset}}, {{stableSubset}}, \
                    {{canaryWorkload}}, {{stableWorkload}}, {{canaryRevision}}, {{stableRevision}}";
        assert_eq!(told("x{a=\"{{pods}}\",b=\"{{}}\"}"), [format!("has {{{{pods}}}}; {list}"), format!("has {{{{}}}}; {list}")]);
        assert_eq!(told("x{{"), [format!("has {{{{ without }}}}; {list}")]);
    }

    #[test]
    fn a_placeholder_stands_in_matchers_alone() {
        assert_eq!(
            told("{{namespace}}"),
            ["has {{namespace}} outside of quotes; it stands in a label's matcher alone: label=\"{{namespace}}\""]
        );
        assert_eq!(
            told("x{pod=\"{{canaryPods}}\"}"),
            ["compares with {{canaryPods}} by =, but it stands for several names; write pod=~\"{{canaryPods}}\""]
        );
        assert_eq!(
            told("x{pod=~`{{canaryPods}}`}"),
            ["has {{canaryPods}} in backquotes, where nothing can be escaped; write pod=~\"{{canaryPods}}\""]
        );
        assert!(told("label_replace(x, \"a\", \"{{name}}\", \"b\", \"\")")[0].contains("no label's matcher"));
        assert_eq!(told("x{a=\"b}"), ["has a string that does not end (\"); close it"]);
    }

    #[test]
    fn a_version_without_pods_gives_no_query_rather_than_one_that_fits_all() {
        assert_eq!(Query::read("x{pod=~\"{{stablePods}}\"}").unwrap().fill(values), Err(Placeholder::StablePods));
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_matcher(value in "\\PC{1,20}|[\"\\\\'`{}\n|.*]{1,12}") {
            let query = Query::read(r#"m{a='{{name}}',b=~"{{canaryPods}}"}"#).unwrap();
            let text = query.fill(|_| vec![value.clone()]).unwrap();
            let read = Counter::read(&text).unwrap();
            prop_assert_eq!(read.matchers.len(), 2);
            prop_assert_eq!(&read.matchers[0].2, &value);
            let regex = regex::Regex::new(&format!("^(?s:{})$", read.matchers[1].2)).unwrap();
            prop_assert!(regex.is_match(&value));
        }
    }
}
