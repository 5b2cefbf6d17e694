//! Selectors of series, typed: what a user named is escaped, never pasted into a query.

use std::fmt;

use crate::plan::promql::{Counter, Op, is_name, label_name, literal, write_selector};

/// A name that Prometheus would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not a valid Prometheus name")]
pub struct BadName {
    what: &'static str,
    name: String,
}

/// `metric{label="value",…}`. Printed with [`fmt::Display`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    metric: String,
    matchers: Vec<(String, Op, String)>,
}

impl Selector {
    /// All series of a metric.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn new(metric: &str) -> Result<Self, BadName> {
        if !is_name(metric) {
            return Err(BadName { what: "metric", name: metric.to_owned() });
        }
        Ok(Self { metric: metric.to_owned(), matchers: Vec::new() })
    }

    /// All series of several metrics, in one question.
    pub fn any(metrics: &[&str]) -> Self {
        Self { metric: String::new(), matchers: vec![("__name__".to_owned(), Op::Matches, alternatives(metrics))] }
    }

    /// The series of a counter that a user named.
    pub fn of(counter: &Counter) -> Self {
        Self { metric: counter.metric.clone(), matchers: counter.matchers.clone() }
    }

    /// The series of every metric whose whole name matches a pattern of ours (RE2).
    pub fn named_like(pattern: &str) -> Self {
        Self { metric: String::new(), matchers: vec![("__name__".to_owned(), Op::Matches, pattern.to_owned())] }
    }

    /// Name of the metric.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Only series whose label has this value.
    ///
    /// # Errors
    /// When the label's name is not one.
    pub fn is(self, label: &str, value: &str) -> Result<Self, BadName> {
        self.with(label, Op::Is, value.to_owned())
    }

    /// Only series whose label has another value, or that have no such label.
    ///
    /// # Errors
    /// When the label's name is not one.
    pub fn is_not(self, label: &str, value: &str) -> Result<Self, BadName> {
        self.with(label, Op::IsNot, value.to_owned())
    }

    /// Only series whose label has one of these values. With no value: no series at all, rather than every series without the label.
    ///
    /// # Errors
    /// When the label's name is not one.
    pub fn any_of<I: AsRef<str>>(self, label: &str, values: impl IntoIterator<Item = I>) -> Result<Self, BadName> {
        let regex = alternatives(values);
        if regex.is_empty() {
            return self.with(label, Op::IsNot, String::new())?.with(label, Op::Is, String::new());
        }
        self.with(label, Op::Matches, regex)
    }

    /// Only series whose label names one of these hosts, with a port behind it or without, or says that the host is not known.
    ///
    /// # Errors
    /// When the label's name is not one.
    pub fn any_host<I: AsRef<str>>(self, label: &str, hosts: impl IntoIterator<Item = I>) -> Result<Self, BadName> {
        self.with(label, Op::Matches, format!("(?:{})(?::[0-9]+)?|unknown|", alternatives(hosts)))
    }

    fn with(mut self, label: &str, op: Op, value: String) -> Result<Self, BadName> {
        if !is_name(label) {
            return Err(BadName { what: "label", name: label.to_owned() });
        }
        self.matchers.push((label.to_owned(), op, value));
        Ok(self)
    }

    /// Raw samples of the last `seconds` before the time of the query: an instant query whose answer is a matrix.
    pub fn range(&self, seconds: u64) -> String {
        format!("{self}[{}s]", seconds.max(1))
    }

    /// One series for each combination of these labels: an instant query whose answer is a vector.
    ///
    /// # Errors
    /// When a label's name is not one.
    pub fn group_by(&self, labels: &[&str]) -> Result<String, BadName> {
        if let Some(bad) = labels.iter().find(|label| !is_name(label)) {
            return Err(BadName { what: "label", name: (*bad).to_owned() });
        }
        let labels: Vec<String> = labels.iter().map(|label| label_name(label)).collect();
        Ok(format!("group by ({}) ({self})", labels.join(", ")))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, &self.metric, &self.matchers)
    }
}

/// `a|b|c`, each taken literally (RE2; Prometheus anchors at both ends).
fn alternatives<I: AsRef<str>>(values: impl IntoIterator<Item = I>) -> String {
    values.into_iter().map(|value| literal(value.as_ref())).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_shapes_are_as_prometheus_reads_them() {
        let selector = Selector::new("istio_requests_total")
            .and_then(|s| s.is("reporter", "destination"))
            .and_then(|s| s.any_of("destination_workload", ["fraud-v1", "fraud-v2"]))
            .unwrap();
        assert_eq!(selector.range(30), r#"istio_requests_total{reporter="destination",destination_workload=~"fraud-v1|fraud-v2"}[30s]"#);
        assert_eq!(
            selector.group_by(&["job", "instance"]).unwrap(),
            r#"group by (job, instance) (istio_requests_total{reporter="destination",destination_workload=~"fraud-v1|fraud-v2"})"#
        );
    }

    #[test]
    fn several_metrics_are_one_question() {
        let selector =
            Selector::any(&["up", "istio_requests_total"]).any_of("pod", ["a", "b"]).and_then(|s| s.is_not("reporter", "source"));
        assert_eq!(selector.unwrap().range(30), r#"{__name__=~"up|istio_requests_total",pod=~"a|b",reporter!="source"}[30s]"#);
    }

    #[test]
    fn a_pattern_of_names_stands_among_the_labels() {
        let selector = Selector::named_like("a|b.*").is("pod", "p").unwrap();
        assert_eq!(selector.group_by(&["__name__"]).unwrap(), r#"group by (__name__) ({__name__=~"a|b.*",pod="p"})"#);
    }

    #[test]
    fn a_host_is_known_with_its_port_and_without() {
        let selector = Selector::new("m").and_then(|s| s.any_host("host", ["a.b", "c"])).unwrap();
        assert_eq!(selector.to_string(), r#"m{host=~"(?:a\\.b|c)(?::[0-9]+)?|unknown|"}"#);
    }

    #[test]
    fn regex_characters_are_taken_literally() {
        let selector = Selector::new("up").and_then(|s| s.any_of("pod", ["a.b", "c|d"])).unwrap();
        assert_eq!(selector.to_string(), r#"up{pod=~"a\\.b|c\\|d"}"#);
    }

    #[test]
    fn no_value_selects_nothing_rather_than_everything() {
        let none: [&str; 0] = [];
        assert_eq!(Selector::new("up").and_then(|s| s.any_of("pod", none)).unwrap().to_string(), r#"up{pod!="",pod=""}"#);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for bad in ["", "a\nb", "\u{0}"] {
            assert!(Selector::new(bad).is_err(), "{bad}");
            assert!(Selector::new("up").and_then(|s| s.is(bad, "x")).is_err(), "{bad}");
            assert!(Selector::new("up").and_then(|s| s.group_by(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn prometheus_13981_names_that_are_not_classic_stand_in_quotes() {
        let selector =
            Selector::new("model.predictions.total").and_then(|s| s.is("class.name", "x")).and_then(|s| s.is("pod", "p")).unwrap();
        assert_eq!(selector.range(30), r#"{"model.predictions.total","class.name"="x",pod="p"}[30s]"#);
        let by = Selector::new(":a:b_1").and_then(|s| s.group_by(&["pod", "a.b", "größe"])).unwrap();
        assert_eq!(by, r#"group by (pod, "a.b", "größe") (:a:b_1{})"#);
        assert_eq!(Selector::new("a\"} or up").unwrap().to_string(), r#"{"a\"} or up"}"#, "nothing leaves its quotes");
    }

    type Matchers = Vec<(String, String, String)>;

    /// Reads a selector as Prometheus' lexer does: name, brace, label, operator, quoted string with Go escapes.
    fn read(text: &str) -> Option<(String, Matchers)> {
        let (name, mut rest) = text.split_once('{')?;
        let mut found = Vec::new();
        while !rest.starts_with('}') {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
            let (label, tail) = rest.split_at(end);
            let op_end = tail.find('"')?;
            let (op, tail) = tail.split_at(op_end);
            let mut value = String::new();
            let mut chars = tail.get(1..)?.char_indices();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\n') => return None,
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        'r' => value.push('\r'),
                        't' => value.push('\t'),
                        'x' => {
                            let hex: String = [chars.next()?.1, chars.next()?.1].iter().collect();
                            value.push(char::from(u8::from_str_radix(&hex, 16).ok()?));
                        }
                        c @ ('\\' | '"') => value.push(c),
                        _ => return None,
                    },
                    (_, c) => value.push(c),
                }
            };
            found.push((label.to_owned(), op.to_owned(), value));
            rest = tail.get(close + 2..)?;
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        (rest == "}").then(|| (name.to_owned(), found))
    }

    /// Splits a regex of literal alternatives back into them.
    fn literals(regex: &str) -> Vec<String> {
        let mut out = vec![String::new()];
        let mut chars = regex.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.last_mut().unwrap().extend(chars.next()),
                '|' => out.push(String::new()),
                c => {
                    assert!(!".+*?()[]{}^$".contains(c), "unescaped {c} in {regex}");
                    out.last_mut().unwrap().push(c);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_value_yields_exactly_the_matchers_meant(value in any::<String>(), names in prop::collection::vec("[^\u{0}]{1,8}", 1..4)) {
            let selector = Selector::new("m").and_then(|s| s.is("a", &value)).and_then(|s| s.any_of("b", &names)).unwrap();
            let (metric, found) = read(&selector.to_string()).unwrap();
            prop_assert_eq!(metric, "m");
            prop_assert_eq!(found.len(), 2);
            prop_assert_eq!(&found[0], &("a".to_owned(), "=".to_owned(), value));
            prop_assert_eq!((found[1].0.as_str(), found[1].1.as_str(), literals(&found[1].2)), ("b", "=~", names));
        }
    }
}
