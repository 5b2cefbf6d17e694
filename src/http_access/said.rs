//! What a server says when it gives no data: in its own words, short, and without anything that is secret.

use serde_json::{Map, Value};

/// Longest text of a server that is repeated.
const MOST: usize = 200;
/// What stands where a secret stood.
const HIDDEN: &str = "[hidden]";

/// The words of the body of an error: of JSON what names the error, of HTML its title, else the text. `None`: it says nothing.
pub(crate) fn of(body: &[u8], secrets: &[String]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let found = match serde_json::from_str::<Value>(text) {
        Ok(value) => json(&value)?,
        Err(_) if text.starts_with('<') => html(text),
        Err(_) => text.to_owned(),
    };
    let found = repeated(&found, secrets);
    (!found.is_empty()).then_some(found)
}

/// What a server said, as it can be repeated: one line, short, and without these secrets.
pub(crate) fn repeated(said: &str, secrets: &[String]) -> String {
    clip(&hide(&line(said), secrets))
}

/// One line, without what a terminal would obey.
fn line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn hide(text: &str, secrets: &[String]) -> String {
    secrets.iter().filter(|secret| !secret.is_empty()).fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
}

/// At most 200 characters.
pub(crate) fn clip(text: &str) -> String {
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain("…".chars()).collect() }
}

/// Prometheus says `errorType` and `error`, Google an object `error` with `message`, Amazon `message` or `Message`, others `detail`.
fn json(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(several) => several.iter().find_map(json),
        Value::Object(map) => object(map),
        _ => None,
    }
}

fn object(map: &Map<String, Value>) -> Option<String> {
    let keys = ["error", "message", "Message", "detail", "msg", "error_description", "title"];
    let words = keys.iter().find_map(|key| map.get(*key).and_then(json).filter(|text| !text.trim().is_empty()));
    let kind = ["errorType", "__type", "status"].iter().find_map(|key| map.get(*key).and_then(Value::as_str));
    match (kind.filter(|kind| *kind != "error"), words) {
        (Some(kind), Some(words)) if words != kind => Some(format!("{kind}: {words}")),
        (None, Some(words)) | (Some(_), Some(words)) => Some(words),
        (kind, None) => kind.map(str::to_owned),
    }
}

/// The title of a page, or all of its text where it has none.
fn html(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let inside = |tag: &str| {
        let open = lower.find(&format!("<{tag}"))?;
        let begin = open + lower.get(open..)?.find('>')? + 1;
        let end = begin + lower.get(begin..)?.find(&format!("</{tag}"))?;
        Some(without_tags(page.get(begin..end)?)).filter(|text| !text.trim().is_empty())
    };
    inside("title").or_else(|| inside("h1")).unwrap_or_else(|| without_tags(page))
}

fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut tag = false;
    for c in text.chars() {
        match c {
            '<' => tag = true,
            '>' => {
                tag = false;
                out.push(' ');
            }
            c if !tag => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> String {
        of(body.as_bytes(), &[]).unwrap_or_default()
    }

    #[test]
    fn the_words_are_found_wherever_a_known_server_puts_them() {
        let cases = [
            (
                r#"{"status":"error","errorType":"execution","error":"(err-mimir-max-chunks-per-query)"}"#,
                "execution: (err-mimir-max-chunks-per-query)",
            ),
            ("no org id\n", "no org id"),
            (
                r#"{"error":{"code":401,"message":"Request is missing required authentication credential","status":"UNAUTHENTICATED"}}"#,
                "UNAUTHENTICATED: Request is missing required authentication credential",
            ),
            (r#"{"message":"Missing Authentication Token"}"#, "Missing Authentication Token"),
            (r#"{"Message":"not authorized to perform: aps:QueryMetrics"}"#, "not authorized to perform: aps:QueryMetrics"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (r#"{"status":"error"}"#, ""),
            (r#""just text""#, "just text"),
            ("<html><head>\n<TITLE>502 Bad Gateway</TITLE></head><body>nginx</body></html>", "502 Bad Gateway"),
            ("<html>503 Service Temporarily Unavailable</html>", "503 Service Temporarily Unavailable"),
            ("<html><title></title><h1>Sign <b>in</b></h1></html>", "Sign in"),
            ("", ""),
            ("{}", ""),
            ("two\nlines\u{1b}[31m\u{7}", "two lines [31m"),
        ];
        for (body, expected) in cases {
            assert_eq!(said(body), expected, "{body}");
        }
    }

    #[test]
    fn long_words_are_cut_and_secrets_are_hidden_first() {
        assert_eq!(said(&"x".repeat(900)).chars().count(), MOST + 1);
        let secrets = ["t0p".to_owned(), String::new()];
        assert_eq!(of(b"token t0p is no good", &secrets).unwrap(), "token [hidden] is no good");
        let cut_in_the_secret = format!("{}t0p", "x".repeat(MOST - 1));
        assert!(!of(cut_in_the_secret.as_bytes(), &secrets).unwrap().contains('t'));
    }
}
