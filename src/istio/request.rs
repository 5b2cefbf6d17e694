//! Which requests fit a match.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// What a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method, in capitals.
    pub method: String,
    /// Headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Parameters of the query.
    pub query: BTreeMap<String, String>,
    /// The path.
    pub path: String,
}

impl Request {
    /// Whether it has all that a match asks for. A match that asks for what is not in it (gateways, ports, the sender's labels) fits no
    /// request.
    pub fn fits(&self, one: &Value) -> bool {
        let header = |name: &String| self.headers.get(&name.to_ascii_lowercase());
        let all = |texts: &Value, found: &dyn Fn(&String) -> Option<String>| {
            texts.as_object().into_iter().flatten().all(|(name, wanted)| found(name).is_some_and(|value| says(wanted, &value)))
        };
        one.as_object().into_iter().flatten().all(|(field, wanted)| match field.as_str() {
            "name" | "ignoreUriCase" | "statPrefix" => true,
            "method" => says(wanted, &self.method),
            "uri" if one["ignoreUriCase"] == true && wanted.get("regex").is_none() => says(&lower(wanted), &self.path.to_ascii_lowercase()),
            "uri" => every_path(wanted) || says(wanted, &self.path),
            "headers" => all(wanted, &|name| header(name).cloned()),
            "queryParams" => all(wanted, &|name| self.query.get(name).cloned()),
            "withoutHeaders" => {
                let kept = |(name, text): (&String, &Value)| match header(name) {
                    Some(value) => !(is_any(text) || says(text, value)),
                    None => !catches_absence(text),
                };
                wanted.as_object().into_iter().flatten().all(kept)
            }
            _ => false,
        })
    }
}

/// A StringMatch in lower case. A regular expression is never compared without case.
fn lower(text: &Value) -> Value {
    let mut text = text.clone();
    for word in ["exact", "prefix"] {
        if let Some(value) = text.get_mut(word) {
            *value = Value::String(value.as_str().unwrap_or_default().to_ascii_lowercase());
        }
    }
    text
}

/// Whether a text is as a StringMatch wants it; a regular expression is for the whole of it, and a match without a word for every text.
pub fn says(wanted: &Value, text: &str) -> bool {
    let word = |word: &str| wanted.get(word).and_then(Value::as_str);
    match (word("exact"), word("prefix"), word("regex")) {
        (Some(exact), _, _) => text == exact,
        (_, Some(prefix), _) => text.starts_with(prefix),
        (_, _, Some(regex)) => entirely(regex, text),
        _ => true,
    }
}

/// Whether a regular expression fits the whole of a text.
pub fn entirely(regex: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{regex})$")).is_ok_and(|regex| regex.is_match(text))
}

/// A header's entry, whose name is compared without regard to case: the key as written, and what is asked of it.
pub fn header<'m>(headers: &'m Map<String, Value>, name: &str) -> Option<(&'m String, &'m Value)> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Whether every text that fits the first also fits the second. Where that is not plain, it is denied.
pub fn within(inner: &Value, outer: &Value) -> bool {
    if inner == outer || is_any(outer) {
        return true;
    }
    let word = |of: &'_ Value, word: &str| of.get(word).and_then(Value::as_str).map(str::to_owned);
    match (word(inner, "exact"), word(inner, "prefix"), word(outer, "prefix")) {
        (Some(exact), _, _) => says(outer, &exact),
        (_, Some(prefix), Some(outer)) => prefix.starts_with(&outer),
        _ => false,
    }
}

/// Whether a match of a value is about its presence alone.
fn is_any(text: &Value) -> bool {
    let word = |word: &str| text.get(word).and_then(Value::as_str);
    match (word("exact"), word("prefix"), word("regex")) {
        (None, None, None) => text.as_object().is_some_and(Map::is_empty) || text.is_null(),
        (None, Some(""), _) | (None, None, Some("*" | ".*")) => true,
        _ => false,
    }
}

/// Whether `withoutHeaders` leaves out requests without the header too: Istio compares a header that is not there as an empty one, unless
/// the match is about its presence.
fn catches_absence(text: &Value) -> bool {
    let word = |word: &str| text.get(word).and_then(Value::as_str);
    match (word("exact"), word("prefix"), word("regex")) {
        (None, None, None | Some("*")) => false,
        _ => says(text, ""),
    }
}

/// Whether a match leaves out (`withoutHeaders`) every request that has this header as a step asks for it.
pub fn leaves_out(one: &Value, name: &str, asked: &Value) -> bool {
    let without = one["withoutHeaders"].as_object();
    without.and_then(|without| header(without, name)).is_some_and(|(_, text)| within(asked, text))
}

/// Whether a path match is for every path.
fn every_path(uri: &Value) -> bool {
    let word = |word: &str| uri.get(word).and_then(Value::as_str);
    matches!(word("prefix"), Some("/" | "")) || matches!(word("regex"), Some("*" | ".*" | "/.*"))
}

/// Whether every request that fits the first match also fits the second, at one gateway and at one port. Fields that are not known here
/// count as they are written: the same text asks for the same.
pub fn narrower(inner: &Value, outer: &Value) -> bool {
    let no_case = |one: &Value| one["ignoreUriCase"] == true;
    outer.as_object().into_iter().flatten().all(|(field, asked)| match field.as_str() {
        "name" | "ignoreUriCase" | "statPrefix" | "gateways" | "port" => true,
        "uri" => every_path(asked) || (inner.get("uri").is_some_and(|uri| within(uri, asked)) && (no_case(outer) || !no_case(inner))),
        "headers" => all_within(asked, inner["headers"].as_object(), true),
        "queryParams" => all_within(asked, inner["queryParams"].as_object(), false),
        "withoutHeaders" => asked.as_object().into_iter().flatten().all(|(name, text)| {
            let theirs = inner["withoutHeaders"].as_object().and_then(|without| header(without, name));
            leaves_out(inner, name, text) && (!catches_absence(text) || theirs.is_some_and(|(_, theirs)| catches_absence(theirs)))
        }),
        // With gateways the labels and the namespace of the sender count for nothing.
        "sourceLabels" | "sourceNamespace" if names_gateways(outer) => true,
        "sourceLabels" if asked.as_object().is_some_and(Map::is_empty) => true,
        "sourceNamespace" if asked == "" => true,
        _ => inner.get(field) == Some(asked),
    })
}

fn all_within(asked: &Value, inner: Option<&Map<String, Value>>, any_case: bool) -> bool {
    let empty = Map::new();
    let inner = inner.unwrap_or(&empty);
    let find = |name: &str| if any_case { header(inner, name).map(|(_, text)| text) } else { inner.get(name) };
    asked.as_object().into_iter().flatten().all(|(name, text)| find(name).is_some_and(|there| within(there, text)))
}

pub(super) fn names_gateways(one: &Value) -> bool {
    one["gateways"].as_array().is_some_and(|gateways| !gateways.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_names_of_headers_have_no_case_and_those_of_parameters_have() {
        let narrow = |inner: Value, outer: Value| narrower(&inner, &outer);
        let beta = |name: &str| json!({"headers": {name: {"exact": "beta"}}});
        assert!(narrow(beta("X-Group"), beta("x-group")));
        assert!(!narrow(json!({"queryParams": {"V": {"exact": "2"}}}), json!({"queryParams": {"v": {"exact": "2"}}})));
        assert!(!narrow(json!({}), beta("x-group")));
    }

    #[test]
    fn a_match_is_narrower_if_it_asks_for_as_much_and_more() {
        let narrow = |inner: Value, outer: Value| narrower(&inner, &outer);
        assert!(narrow(json!({"uri": {"exact": "/api/v1"}}), json!({"uri": {"prefix": "/api"}})));
        assert!(!narrow(json!({"uri": {"prefix": "/api"}}), json!({"uri": {"exact": "/api/v1"}})));
        assert!(narrow(json!({"uri": {"exact": "/api"}}), json!({"uri": {"regex": "/a.*"}, "name": "x", "port": 80})));
        assert!(narrow(json!({}), json!({"uri": {"prefix": "/"}})));
        assert!(narrow(json!({"method": {"exact": "GET"}}), json!({"method": {"exact": "GET"}})));
        assert!(!narrow(json!({"method": {"exact": "GET"}}), json!({"method": {"exact": "PUT"}})));
        assert!(!narrow(json!({}), json!({"sourceLabels": {"app": "web"}})));
        let no_case = |text: &str| json!({"uri": {"prefix": text}, "ignoreUriCase": true});
        assert!(!narrow(no_case("/api"), json!({"uri": {"prefix": "/api"}})), "/API fits the first alone");
    }

    #[test]
    fn a_path_is_compared_without_case_unless_it_is_a_regular_expression() {
        let fits = |uri: Value| {
            let request = Request { method: "GET".into(), headers: BTreeMap::new(), query: BTreeMap::new(), path: "/API/v1".into() };
            request.fits(&json!({"uri": uri, "ignoreUriCase": true}))
        };
        assert!(fits(json!({"prefix": "/api"})) && fits(json!({"exact": "/Api/V1"})));
        assert!(!fits(json!({"regex": "/api/.*"})) && fits(json!({"regex": "/API/.*"})));
    }

    #[test]
    fn a_header_that_must_not_be_there_is_compared_as_an_empty_one_where_it_is_absent() {
        let request = |value: Option<&str>| Request {
            method: "GET".into(),
            headers: value.map(|value| ("x-a".to_owned(), value.to_owned())).into_iter().collect(),
            query: BTreeMap::new(),
            path: "/".into(),
        };
        for (text, absent) in [
            (json!({}), true),
            (json!({"exact": "a"}), true),
            (json!({"regex": "a.*"}), true),
            (json!({"regex": ".*"}), false),
            (json!({"prefix": ""}), false),
        ] {
            let one = json!({"withoutHeaders": {"X-A": text}});
            assert_eq!(request(None).fits(&one), absent, "{one}");
            assert!(!request(Some("a")).fits(&one), "{one}");
        }
        let without = |text: Value| json!({"withoutHeaders": {"x-a": text}});
        assert!(!narrower(&without(json!({})), &without(json!({"regex": ".*"}))), "who has none of it fits the first alone");
        assert!(narrower(&without(json!({"regex": ".*"})), &without(json!({}))));
    }

    #[test]
    fn who_must_not_have_a_header_leaves_out_those_who_have_it() {
        let none = json!({"withoutHeaders": {"X-Group": {}}});
        let gold = json!({"withoutHeaders": {"x-group": {"exact": "gold"}}});
        let exact = |text: &str| json!({"exact": text});
        assert!(leaves_out(&none, "x-group", &exact("beta")));
        assert!(leaves_out(&gold, "x-group", &exact("gold")));
        assert!(!leaves_out(&gold, "x-group", &exact("beta")));
        assert!(!leaves_out(&gold, "x-group", &json!({"prefix": "g"})), "some of them stay");
        assert!(!leaves_out(&none, "x-other", &exact("beta")));
    }
}
