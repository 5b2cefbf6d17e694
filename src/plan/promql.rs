//! The little of PromQL that users write: the selector of a counter, and a query with placeholders. Their text is read and written again,
//! never pasted; what is put into it is escaped.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

mod query;

pub use query::{Placeholder, Query};

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl Op {
    /// As PromQL writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// A counter as users name it: `name`, `name{label="value",…}`, or as Prometheus 3 quotes names, `{"a.name", "a.label"="value",…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Counter {
    /// Name of the metric.
    pub metric: String,
    /// Conditions on its labels.
    pub matchers: Vec<(String, Op, String)>,
}

/// Why a text is no selector, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {fix}")]
pub struct NotASelector {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub fix: String,
}

/// Labels that haldane sets itself.
const OURS: [&str; 3] = ["namespace", "pod", "__name__"];

impl Counter {
    /// Reads a selector.
    ///
    /// # Errors
    /// What cannot be read, and what would be right.
    pub fn read(text: &str) -> Result<Self, NotASelector> {
        let bad = |message: String, fix: &str| NotASelector { message, fix: fix.to_owned() };
        let shape = || bad(format!("{text:?} is no selector"), "write `name`, or `name{label=\"value\"}` with =, !=, =~ or !~");
        let no_name = |name: &str| bad(format!("{name:?} is not a name"), "the name of a Prometheus counter");
        let (metric, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        let inside = rest.starts_with('{') && metric.trim().is_empty();
        if !inside && !is_plain(metric.trim()) {
            return Err(no_name(metric.trim()));
        }
        let mut counter = Self { metric: metric.trim().to_owned(), matchers: Vec::new() };
        if rest.is_empty() {
            return Ok(counter);
        }
        let mut rest = rest.strip_prefix('{').and_then(|rest| rest.trim_end().strip_suffix('}')).ok_or_else(shape)?.trim();
        while !rest.is_empty() {
            let (label, tail) = match unquoted(rest) {
                Some((name, tail)) => (name, tail.trim_start()),
                None => {
                    let (label, tail) = rest.split_at(rest.find(['=', '!', '~']).ok_or_else(shape)?);
                    if !is_classic(label.trim(), false) {
                        return Err(bad(
                            format!("{:?} is not a name", label.trim()),
                            "the name of a Prometheus label; others stand in quotes",
                        ));
                    }
                    (label.trim().to_owned(), tail)
                }
            };
            // A name alone is the metric's.
            if tail.is_empty() || tail.starts_with(',') {
                if !inside || !counter.metric.is_empty() || !is_name(&label) {
                    return Err(shape());
                }
                counter.metric = label;
                rest = tail.strip_prefix(',').unwrap_or(tail).trim_start();
                continue;
            }
            let op =
                [Op::Matches, Op::MatchesNot, Op::IsNot, Op::Is].into_iter().find(|op| tail.starts_with(op.text())).ok_or_else(shape)?;
            let (value, tail) = tail.get(op.text().len()..).and_then(|tail| unquoted(tail.trim_start())).ok_or_else(shape)?;
            if !is_name(&label) {
                return Err(bad(format!("{label:?} is not a name"), "the name of a Prometheus label"));
            }
            if OURS.contains(&label.as_str()) {
                return Err(bad(format!("names the label {label}"), "leave it out: haldane asks for the pods of both versions itself"));
            }
            counter.matchers.push((label, op, value));
            rest = match tail.trim_start() {
                "" => "",
                tail => tail.strip_prefix(',').ok_or_else(shape)?.trim_start(),
            };
        }
        if counter.metric.is_empty() { Err(no_name("")) } else { Ok(counter) }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.matchers.is_empty() && is_classic(&self.metric, true) {
            return f.write_str(&self.metric);
        }
        write_selector(f, &self.metric, &self.matchers)
    }
}

impl TryFrom<String> for Counter {
    type Error = NotASelector;

    fn try_from(text: String) -> Result<Self, NotASelector> {
        Self::read(&text)
    }
}

impl From<Counter> for String {
    fn from(counter: Counter) -> Self {
        counter.to_string()
    }
}

/// `metric{label="value",…}`, or with the metric in quotes within the braces where its name needs them; values escaped.
pub fn write_selector(f: &mut impl Write, metric: &str, matchers: &[(String, Op, String)]) -> fmt::Result {
    // Without a name the matchers say which.
    let outside = metric.is_empty() || is_classic(metric, true);
    if outside {
        f.write_str(metric)?;
    }
    f.write_char('{')?;
    if !outside {
        write!(f, "\"{}\"", escaped(metric, '"'))?;
    }
    for (index, (label, op, value)) in matchers.iter().enumerate() {
        if index > 0 || !outside {
            f.write_char(',')?;
        }
        write!(f, "{}{}\"{}\"", label_name(label), op.text(), escaped(value, '"'))?;
    }
    f.write_char('}')
}

/// The name of a label as PromQL writes it: in quotes where it needs them.
pub fn label_name(label: &str) -> String {
    if is_classic(label, false) { label.to_owned() } else { format!("\"{}\"", escaped(label, '"')) }
}

/// A value as it stands between these quotes, double or single.
pub fn escaped(value: &str, quote: char) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            c if c == '\\' || c == quote => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if u32::from(c) < 0x20 => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// A value that a regular expression (RE2) takes literally.
pub fn literal(value: &str) -> String {
    let mut regex = String::with_capacity(value.len());
    for c in value.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex
}

/// Whether Prometheus 3 takes it as the name of a metric or a label.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_control)
}

/// Whether it is a name when it is written without quotes: nothing in it looks like the rest of a query.
pub fn is_plain(name: &str) -> bool {
    is_name(name) && !name.contains(|c: char| c.is_whitespace() || "(){}[]\"'`=~!,\\".contains(c))
}

/// Whether every Prometheus takes it as the name of a label, or (`colons`) of a metric, without quotes.
pub fn is_classic(name: &str, colons: bool) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    let mut chars = name.chars();
    chars.next().is_some_and(begins) && chars.all(|c| begins(c) || c.is_ascii_digit())
}

/// The value of a quoted string, and what stands behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, text.get(at + c.len_utf8()..)?)),
            '\\' if quote != '`' => value.push(match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => char::from(u8::from_str_radix(&[chars.next()?.1, chars.next()?.1].iter().collect::<String>(), 16).ok()?),
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            }),
            '\n' if quote != '`' => return None,
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_is_read_as_prometheus_reads_it_and_written_again() {
        let read = |text: &str| Counter::read(text).map(|counter| counter.to_string());
        assert_eq!(read("invalid_total").as_deref(), Ok("invalid_total"));
        assert_eq!(read("a:b { code =~ '5..' , kind!=\"x\", }").as_deref(), Ok(r#"a:b{code=~"5..",kind!="x"}"#));
        assert_eq!(read(r#"m{p=~"a\\.b"}"#).as_deref(), Ok(r#"m{p=~"a\\.b"}"#));
        assert_eq!(read("m{p=~`a\\.b`}").as_deref(), Ok(r#"m{p=~"a\\.b"}"#));
        assert_eq!(read("m{}").as_deref(), Ok("m"));
    }

    #[test]
    fn what_is_no_selector_is_reported_with_what_would_be_one() {
        let cases = [
            ("", "\"\" is not a name; the name of a Prometheus counter"),
            ("rate(x[1m])", "\"rate(x[1m])\" is not a name; the name of a Prometheus counter"),
            ("x{pod=\"a\"}", "names the label pod; leave it out: haldane asks for the pods of both versions itself"),
            ("x{a b=\"1\"}", "\"a b\" is not a name; the name of a Prometheus label; others stand in quotes"),
            ("{code=\"5xx\"}", "\"\" is not a name; the name of a Prometheus counter"),
            ("{}", "\"\" is not a name; the name of a Prometheus counter"),
        ];
        for (text, told) in cases {
            assert_eq!(Counter::read(text).unwrap_err().to_string(), told);
        }
        for text in ["x{\"y\"}", "{\"x\", \"y\"}", "{\"x\" a=\"1\"}", "{\"\"}", "{\"pod\"=\"a\", \"x\"}"] {
            assert!(Counter::read(text).is_err(), "{text}");
        }
        for text in ["x{a}", "x{a=b}", "x{a=\"1\"", "x{a=\"1\"}[5m]", "x{a=\"1\" b=\"2\"}", "x{a==\"1\"}", "x{a=\"1\"} or y{b=\"2\"}"] {
            assert!(Counter::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prometheus_13981_names_that_are_not_classic_are_read_and_written_in_quotes() {
        let read = |text: &str| Counter::read(text).map(|counter| counter.to_string());
        assert_eq!(read(r#"{"http.server.errors", code="5xx"}"#).as_deref(), Ok(r#"{"http.server.errors",code="5xx"}"#));
        assert_eq!(read(r#"{ code = "5xx" , 'http.server.errors' }"#).as_deref(), Ok(r#"{"http.server.errors",code="5xx"}"#));
        assert_eq!(read(r#"requests_total{"service.name"="fraud"}"#).as_deref(), Ok(r#"requests_total{"service.name"="fraud"}"#));
        assert_eq!(read("model.predictions.total").as_deref(), Ok(r#"{"model.predictions.total"}"#));
        assert_eq!(read(r#"{"requests_total"}"#).as_deref(), Ok("requests_total"));
        assert_eq!(read(r#"{"a \"b\"", "größe"!~"x"}"#).as_deref(), Ok(r#"{"a \"b\"","größe"!~"x"}"#));
    }

    proptest! {
        #[test]
        fn a_counter_survives_being_written(metric in "[^\\p{Cc}]{1,8}", labels in prop::collection::vec(("[a-z_]{1,8}[0-9]|[^\\p{Cc}]{1,6}[.]", any::<String>()), 0..4)) {
            let matchers = labels.into_iter().map(|(label, value)| (label, Op::Matches, value)).collect();
            let counter = Counter { metric, matchers };
            prop_assert_eq!(Counter::read(&counter.to_string()).unwrap(), counter);
        }
    }
}
