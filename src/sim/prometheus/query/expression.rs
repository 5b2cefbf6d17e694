//! Values: numbers, selectors, rates, aggregations, and the four operations between what has no labels.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Reader, Selector, seconds};
use crate::sim::prometheus::series::{Database, Labels, Series};

/// What can be computed.
#[derive(Debug)]
pub enum Expression {
    Number(f64),
    Select(Selector),
    /// How much a counter gained, by the second if the flag is set.
    Gain(Selector, i64, bool),
    Aggregate(Aggregation, Vec<String>, Box<Expression>),
    Binary(char, Box<Expression>, Box<Expression>),
    /// `clamp_min`.
    AtLeast(Box<Expression>, f64),
}

#[derive(Clone, Copy, Debug)]
pub enum Aggregation {
    Sum,
    Max,
    Min,
    Avg,
    Count,
}

impl Aggregation {
    const ALL: [(&'static str, Self); 5] =
        [("sum", Self::Sum), ("max", Self::Max), ("min", Self::Min), ("avg", Self::Avg), ("count", Self::Count)];

    fn of(self, values: &[f64]) -> f64 {
        let sum = values.iter().sum::<f64>();
        match self {
            Self::Sum => sum,
            Self::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Avg => sum / values.len() as f64,
            Self::Count => values.len() as f64,
        }
    }
}

/// A scalar, or series with one value each.
enum Found {
    Scalar(f64),
    Vector(Vec<(Labels, f64)>),
}

impl Expression {
    /// The `data` of Prometheus' answer at a time of the samples, in a clock that is `ahead` of it.
    pub(super) fn answer(&self, database: &Database, at: i64, ahead: i64, empty: bool) -> String {
        let now = seconds(at + ahead);
        let text = |value: f64| match value {
            v if v.is_nan() => "NaN".to_owned(),
            v if v.is_infinite() => format!("{}Inf", if v > 0.0 { '+' } else { '-' }),
            v => v.to_string(),
        };
        match self.evaluate(database, at) {
            Found::Scalar(value) => json!({"resultType": "scalar", "result": [now, text(value)]}).to_string(),
            Found::Vector(rows) => {
                let rows = rows.into_iter().filter(|_| !empty);
                let result: Vec<_> = rows.map(|(labels, value)| json!({"metric": labels, "value": [now, text(value)]})).collect();
                json!({"resultType": "vector", "result": result}).to_string()
            }
        }
    }

    fn evaluate(&self, database: &Database, at: i64) -> Found {
        match self {
            Self::Number(value) => Found::Scalar(*value),
            Self::Select(selector) => {
                Found::Vector(selector.of(database).filter_map(|series| Some((series.labels.clone(), series.at(at)?))).collect())
            }
            Self::Gain(selector, length, by_second) => {
                let gain = |series: &Series| {
                    let samples: Vec<f64> = series.between(at - length, at).map(|(_, value)| value).collect();
                    let gained = |pair: &[f64]| match pair {
                        [before, now] if now >= before => now - before,
                        [_, now] => *now,
                        _ => 0.0,
                    };
                    let sum: f64 = samples.windows(2).map(gained).sum();
                    let mut labels = series.labels.clone();
                    labels.remove("__name__");
                    let part = if *by_second { *length as f64 / 1000.0 } else { 1.0 };
                    (samples.len() > 1).then_some((labels, sum / part))
                };
                Found::Vector(selector.of(database).filter_map(gain).collect())
            }
            Self::Aggregate(how, by, of) => {
                let Found::Vector(rows) = of.evaluate(database, at) else { return Found::Vector(Vec::new()) };
                let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
                for (labels, value) in rows {
                    let kept = by.iter().filter_map(|name| Some((name.clone(), labels.get(name)?.clone())));
                    groups.entry(kept.collect()).or_default().push(value);
                }
                Found::Vector(groups.into_iter().map(|(labels, values)| (labels, how.of(&values))).collect())
            }
            Self::AtLeast(of, least) => match of.evaluate(database, at) {
                Found::Scalar(_) => Found::Vector(Vec::new()),
                Found::Vector(rows) => Found::Vector(rows.into_iter().map(|(labels, value)| (labels, value.max(*least))).collect()),
            },
            Self::Binary(operator, left, right) => {
                let apply = |a: f64, b: f64| match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a / b,
                };
                match (left.evaluate(database, at), right.evaluate(database, at)) {
                    (Found::Scalar(a), Found::Scalar(b)) => Found::Scalar(apply(a, b)),
                    (left, right) => {
                        let plain = |found: Found| match found {
                            Found::Scalar(value) => Some(value),
                            Found::Vector(rows) => rows.into_iter().find(|(labels, _)| labels.is_empty()).map(|(_, value)| value),
                        };
                        let value = plain(left).zip(plain(right)).map(|(a, b)| (Labels::new(), apply(a, b)));
                        Found::Vector(value.into_iter().collect())
                    }
                }
            }
        }
    }
}

impl Reader<'_> {
    /// Sums of products, each from left to right.
    pub(super) fn expression(&mut self) -> Result<Expression, String> {
        let mut found = self.product()?;
        while let Some(operator) = self.rest().chars().next().filter(|c| "+-".contains(*c)) {
            self.at += 1;
            found = Expression::Binary(operator, Box::new(found), Box::new(self.product()?));
        }
        Ok(found)
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut found = self.operand()?;
        while let Some(operator) = self.rest().chars().next().filter(|c| "*/".contains(*c)) {
            self.at += 1;
            found = Expression::Binary(operator, Box::new(found), Box::new(self.operand()?));
        }
        Ok(found)
    }

    fn number(&mut self) -> Option<f64> {
        let rest = self.rest();
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        self.at += digits;
        rest.get(..digits)?.parse().ok()
    }

    fn operand(&mut self) -> Result<Expression, String> {
        if self.expect("(").is_ok() {
            let found = self.expression()?;
            self.expect(")")?;
            return Ok(found);
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.number().map(Expression::Number).ok_or_else(|| self.unexpected("a number"));
        }
        if self.word("clamp_min") {
            self.expect("(")?;
            let of = self.expression()?;
            self.expect(",")?;
            let least = self.number().ok_or_else(|| self.unexpected("a number"))?;
            self.expect(")")?;
            return Ok(Expression::AtLeast(Box::new(of), least));
        }
        for (word, by_second) in [("rate", true), ("increase", false)] {
            if self.word(word) {
                self.expect("(")?;
                let selector = self.selector()?;
                let length = self.range()?;
                self.expect(")")?;
                return Ok(Expression::Gain(selector, length, by_second));
            }
        }
        for (word, how) in Aggregation::ALL {
            if self.word(word) {
                let by = if self.word("by") { self.list()? } else { Vec::new() };
                self.expect("(")?;
                let of = self.expression()?;
                self.expect(")")?;
                return Ok(Expression::Aggregate(how, by, Box::new(of)));
            }
        }
        Ok(Expression::Select(self.selector()?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::sim::prometheus::{query::Query, series::Database};

    fn ask(text: &str) -> Value {
        let mut database = Database::new(3_600_000);
        for (pod, factor) in [("a", 1.0), ("b", 3.0)] {
            let labels = [("__name__", "m"), ("pod", pod)];
            let id = database.id(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
            for second in 1..=10 {
                database.push(id, second * 1000, factor * second as f64);
            }
        }
        serde_json::from_str(&Query::parse(text).unwrap().answer(&database, 10_000, 0, false)).unwrap()
    }

    #[test]
    fn what_users_ask_is_answered_as_prometheus_does() {
        let one = |value: &str| json!({"resultType": "vector", "result": [{"metric": {}, "value": [10.0, value]}]});
        assert_eq!(ask("max(m)"), one("30"));
        assert_eq!(ask(r#"avg(m{pod=~"a|b"})"#), one("20"));
        assert_eq!(ask("sum(increase(m[5s])) / count(m)"), one("8"));
        assert_eq!(ask("sum(rate(m{pod='a'}[4s]))"), one("0.75"));
        assert_eq!(ask("(1 + 2) * 2"), json!({"resultType": "scalar", "result": [10.0, "6"]}));
        assert_eq!(ask("1 - 6 / 2 - 1"), json!({"resultType": "scalar", "result": [10.0, "-3"]}));
        assert_eq!(ask("sum(m) / clamp_min(sum(m) - sum(m), 0.5)"), one("80"));
        assert_eq!(ask("0/0")["result"][1], "NaN");
        assert_eq!(ask("sum by (pod) (m)")["result"].as_array().unwrap().len(), 2);
        assert_eq!(ask("max(gone)"), json!({"resultType": "vector", "result": []}));
        assert_eq!(ask("m")["result"][1]["metric"]["pod"], "b");
    }
}
