//! The shapes of PromQL that are answered: `metric{matchers}[30s]`, `group by (a, b) (metric{matchers})`, `vector(time())`, and for users' own
//! queries numbers, selectors, `rate`, `increase`, the common aggregations and the four operations between what has no labels.

mod expression;

use std::{collections::BTreeSet, fmt::Write};

use regex::Regex;
use serde_json::{Value, json};

use super::series::{Database, Labels, Series};
use expression::Expression;

/// A query that can be answered.
#[derive(Debug)]
pub enum Query {
    /// Raw samples of so many milliseconds.
    Range(Selector, i64),
    /// Which values of these labels there are.
    Group(Selector, Vec<String>),
    /// A value, or several.
    Value(Expression),
    /// What time it is.
    Time,
}

/// Series by name and labels.
#[derive(Debug)]
pub struct Selector {
    name: Option<String>,
    matchers: Vec<(String, Matcher)>,
}

impl Selector {
    fn of<'a>(&'a self, database: &'a Database) -> impl Iterator<Item = &'a Series> {
        let fits = |series: &&Series| {
            let of = |label: &str| series.labels.get(label).map_or("", String::as_str);
            self.name.as_deref().is_none_or(|name| of("__name__") == name)
                && self.matchers.iter().all(|(label, matcher)| matcher.fits(of(label)))
        };
        // The fewest that are known by one label are looked through.
        let named = self.name.as_deref().map(|name| ("__name__", vec![name]));
        let exact = self.matchers.iter().filter_map(|(label, matcher)| Some((label.as_str(), matcher.exact()?)));
        let fewest = named.into_iter().chain(exact).min_by_key(|(label, values)| database.how_many(label, values));
        let found: Box<dyn Iterator<Item = &'a Series> + 'a> = match fewest {
            Some((label, values)) => Box::new(database.having(label, &values)),
            None => Box::new(database.all()),
        };
        found.filter(fits)
    }
}

#[derive(Debug)]
enum Matcher {
    Equal(String),
    NotEqual(String),
    OneOf(Vec<String>),
    Like(Regex),
    NotLike(Regex),
}

impl Matcher {
    /// The only values that fit, where a series without the label does not.
    fn exact(&self) -> Option<Vec<&str>> {
        let values: Vec<&str> = match self {
            Matcher::Equal(wanted) => vec![wanted],
            Matcher::OneOf(wanted) => wanted.iter().map(String::as_str).collect(),
            Matcher::NotEqual(_) | Matcher::Like(_) | Matcher::NotLike(_) => return None,
        };
        values.iter().all(|value| !value.is_empty()).then_some(values)
    }

    fn fits(&self, value: &str) -> bool {
        match self {
            Matcher::Equal(wanted) => wanted == value,
            Matcher::NotEqual(unwanted) => unwanted != value,
            Matcher::OneOf(wanted) => wanted.iter().any(|wanted| wanted == value),
            Matcher::Like(pattern) => pattern.is_match(value),
            Matcher::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "vector(time())" {
            return Ok(Self::Time);
        }
        let mut reader = Reader { text, at: 0 };
        if reader.word("group") {
            reader.expect("by")?;
            let labels = reader.list()?;
            reader.expect("(")?;
            let selector = reader.selector()?;
            reader.expect(")")?;
            reader.end()?;
            return Ok(Self::Group(selector, labels));
        }
        let found = match reader.expression()? {
            Expression::Select(selector) if reader.rest().starts_with('[') => Self::Range(selector, reader.range()?),
            other => Self::Value(other),
        };
        reader.end()?;
        Ok(found)
    }

    /// Answers it at a time, in milliseconds since the epoch: the `data` of Prometheus' answer, as JSON. An hour of raw samples is some
    /// megabytes, so it is written as it is read. The server's clock, and so `at` and the times in the answer, is `ahead` of the samples'.
    /// `empty` leaves the result out.
    pub fn answer(&self, database: &Database, at: i64, ahead: i64, empty: bool) -> String {
        let seconds = |at: i64| seconds(at + ahead);
        let at = at - ahead;
        match self {
            Self::Range(selector, length) => {
                let mut text = String::from("{\"resultType\":\"matrix\",\"result\":[");
                for series in selector.of(database).filter(|_| !empty) {
                    let mut values = series.between(at - length, at).peekable();
                    if values.peek().is_none() {
                        continue;
                    }
                    let comma = if text.ends_with('[') { "" } else { "," };
                    let _ = write!(text, "{comma}{{\"metric\":{},\"values\":[", json!(series.labels));
                    for (index, (at, value)) in values.enumerate() {
                        let comma = if index == 0 { "" } else { "," };
                        let _ = write!(text, "{comma}[{},\"{value}\"]", seconds(at));
                    }
                    text.push_str("]}");
                }
                text.push_str("]}");
                text
            }
            Self::Time if empty => json!({"resultType": "vector", "result": []}).to_string(),
            Self::Time => {
                let now = seconds(at);
                json!({"resultType": "vector", "result": [{"metric": {}, "value": [now, now.to_string()]}]}).to_string()
            }
            Self::Value(expression) => expression.answer(database, at, ahead, empty),
            Self::Group(selector, labels) => {
                let mut groups: BTreeSet<Labels> = BTreeSet::new();
                for series in selector.of(database).filter(|s| !empty && s.at(at).is_some()) {
                    let own = |label: &String| series.labels.get(label).filter(|v| !v.is_empty()).map(|v| (label.clone(), v.clone()));
                    groups.insert(labels.iter().filter_map(own).collect());
                }
                let result: Vec<Value> = groups.into_iter().map(|metric| json!({"metric": metric, "value": [seconds(at), "1"]})).collect();
                json!({"resultType": "vector", "result": result}).to_string()
            }
        }
    }
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// A duration of Prometheus, `1h30m`, `15s`, `500ms`, in milliseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, 0_i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0)?;
        let (count, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(count.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = after;
    }
    (total > 0).then_some(total)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// Takes a whole word if it is next.
    fn word(&mut self, word: &str) -> bool {
        let next = self.rest().strip_prefix(word);
        let whole = next.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '[')));
        if whole {
            self.at += word.len();
        }
        whole
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if !self.rest().starts_with(token) {
            return Err(self.unexpected(token));
        }
        self.at += token.len();
        Ok(())
    }

    fn unexpected(&mut self, wanted: &str) -> String {
        let found: String = self.rest().chars().take(20).collect();
        format!("1:{}: parse error: unexpected {found:?}, expected {wanted:?} (this Prometheus is a simulated one)", self.at + 1)
    }

    fn end(&mut self) -> Result<(), String> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    fn until(&mut self, stop: char) -> Result<&'a str, String> {
        let rest = self.rest();
        let end = rest.find(stop).ok_or_else(|| format!("1:{}: parse error: no {stop:?}", self.at + 1))?;
        self.at += end;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// `[30s]`, in milliseconds.
    fn range(&mut self) -> Result<i64, String> {
        self.expect("[")?;
        let range = self.until(']')?;
        self.expect("]")?;
        duration(range.trim()).ok_or_else(|| format!("bad duration {range:?}"))
    }

    fn name(&mut self) -> Option<String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).filter(|n| !n.is_empty()).map(str::to_owned)
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        self.expect("(")?;
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            if self.expect(",").is_err() {
                break;
            }
        }
        self.expect(")")?;
        Ok(names)
    }

    fn selector(&mut self) -> Result<Selector, String> {
        let name = self.name();
        let mut matchers = Vec::new();
        if self.expect("{").is_ok() {
            while let Some(label) = self.name() {
                matchers.push((label, self.matcher()?));
                if self.expect(",").is_err() {
                    break;
                }
            }
            self.expect("}")?;
        }
        if name.is_none() && matchers.is_empty() {
            return Err(self.unexpected("a metric"));
        }
        Ok(Selector { name, matchers })
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|o| self.expect(o).is_ok());
        let operator = operator.ok_or_else(|| self.unexpected("="))?;
        let value = self.quoted()?;
        let pattern = || Regex::new(&format!("^(?s:{value})$")).map_err(|e| format!("error parsing regexp: {e}"));
        Ok(match operator {
            "=" => Matcher::Equal(value),
            "!=" => Matcher::NotEqual(value),
            // Names with `|` between them are most of what is asked, and quicker without an engine.
            "=~" if value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '|')) => {
                Matcher::OneOf(value.split('|').map(str::to_owned).collect())
            }
            "=~" => Matcher::Like(pattern()?),
            _ => Matcher::NotLike(pattern()?),
        })
    }

    fn quoted(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or_else(|| self.unexpected("a string"))?;
        let (mut value, mut escaped) = (String::new(), false);
        for (offset, c) in rest.char_indices().skip(1) {
            match c {
                c if escaped => {
                    value.push(match c {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                    escaped = false;
                }
                '\\' if quote != '`' => escaped = true,
                c if c == quote => {
                    self.at += offset + c.len_utf8();
                    return Ok(value);
                }
                c => value.push(c),
            }
        }
        Err(format!("1:{}: parse error: unterminated quoted string", self.at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        let mut database = Database::new(3_600_000);
        for (pod, code) in [("a", "200"), ("a", "503"), ("b", "200")] {
            let labels = [("__name__", "istio_requests_total"), ("pod", pod), ("response_code", code)];
            let id = database.id(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
            for second in 1..=10 {
                database.push(id, second * 1000, second as f64);
            }
        }
        database
    }

    fn result(query: &Query, database: &Database, at: i64) -> Value {
        serde_json::from_str::<Value>(&query.answer(database, at, 0, false)).unwrap()["result"].clone()
    }

    fn ask(text: &str, at: i64) -> Value {
        result(&Query::parse(text).unwrap(), &database(), at)
    }

    #[test]
    fn a_range_is_open_at_its_begin_and_closed_at_its_end() {
        let result = ask(r#"istio_requests_total{pod="a", response_code!~"5.*"}[3s]"#, 9000);
        assert_eq!(result.as_array().unwrap().len(), 1);
        assert_eq!(result[0]["values"], json!([[7, "7"], [8, "8"], [9, "9"]]));
        assert_eq!(result[0]["metric"]["__name__"], "istio_requests_total");
    }

    #[test]
    fn groups_are_the_values_that_there_are() {
        let result = ask(r#"group by (pod, missing) (istio_requests_total{response_code=~"2..|3.."})"#, 10_000);
        assert_eq!(result, json!([{"metric": {"pod": "a"}, "value": [10.0, "1"]}, {"metric": {"pod": "b"}, "value": [10.0, "1"]}]));
        assert_eq!(ask("group by (pod) (istio_requests_total)", 400_000), json!([]), "older than the lookback");
    }

    #[test]
    fn a_server_whose_clock_is_ahead_answers_in_its_own_time() {
        let answer =
            |text: &str, at| serde_json::from_str::<Value>(&Query::parse(text).unwrap().answer(&database(), at, 60_000, false)).unwrap();
        assert_eq!(answer(r#"istio_requests_total{pod="b"}[2s]"#, 65_000)["result"][0]["values"], json!([[64, "4"], [65, "5"]]));
        assert_eq!(answer("vector(time())", 65_250)["result"][0]["value"], json!([65.25, "65.25"]));
    }

    #[test]
    fn patterns_are_anchored_at_both_ends() {
        assert_eq!(ask(r#"istio_requests_total{response_code=~"0"}[1m]"#, 9000), json!([]));
        assert_eq!(ask(r#"{__name__=~"istio_.*", pod='b'}[1m]"#, 9000).as_array().unwrap().len(), 1);
    }

    #[test]
    fn anything_else_is_a_parse_error() {
        for text in [
            "rate(x)",
            "sum(x[1m])",
            "x[",
            "x[5y]",
            "group by (a) x",
            "x{a=b}[1s]",
            "{}[1s]",
            "group by (a) (x) + 1",
            "sum by a (x)",
            "1 +",
            "",
        ] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_stale_mark_ends_a_series_at_once() {
        let mut database = database();
        let labels = [("__name__", "up"), ("pod", "a")];
        let id = database.id(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        database.push(id, 1000, 1.0);
        database.push(id, 2000, f64::NAN);
        let query = Query::parse("group by (pod) (up)").unwrap();
        assert_eq!(result(&query, &database, 1500).as_array().unwrap().len(), 1);
        assert_eq!(result(&query, &database, 2500).as_array().unwrap().len(), 0);
        assert_eq!(result(&Query::parse("up[10s]").unwrap(), &database, 2500)[0]["values"], json!([[1, "1"]]));
    }
}
