//! What every page has around it.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::class;
use crate::view::{Tone, visible};

/// What every page has around it.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Path before every address: empty, or `/haldane`.
    pub prefix: &'a str,
    /// Which cluster it is of.
    pub cluster: &'a str,
    /// The namespace that is shown; none: all that may be seen.
    pub namespace: Option<&'a str>,
    /// The token of a form; none: nothing may be ordered.
    pub form: Option<String>,
    /// Where the browser finds Prometheus.
    pub prometheus: Option<&'a str>,
    /// Why what is shown may be old.
    pub lost: Option<&'a str>,
    /// What became of the last order.
    pub said: Option<&'a Said>,
    /// When.
    pub now: Timestamp,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its colour.
    pub tone: Tone,
    /// In words.
    pub text: String,
    /// What would fix it; may be empty.
    pub fix: String,
}

impl Frame<'_> {
    /// An address of this site.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Where a Rollout is.
    pub fn rollout(&self, namespace: &str, name: &str) -> String {
        self.at(&format!("/rollouts/{}/{}", encoded(namespace), encoded(name)))
    }

    /// A page. With `events` it stays up to date.
    pub(super) fn page(&self, title: &str, events: Option<&str>, main: &Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " - haldane" }
                    link rel="icon" href=(self.at("/assets/icon.svg")) type="image/svg+xml";
                    link rel="stylesheet" href=(self.at("/assets/haldane.css"));
                    script src=(self.at("/assets/haldane.js")) defer {}
                }
                body data-events=[events] {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.brand href=(self.at("/")) rel="home" { "haldane" }
                        span.where {
                            (visible(self.cluster))
                            @if let Some(namespace) = self.namespace { span.sep { "/" } (visible(namespace)) } @else { span.sep { "/" } "all namespaces" }
                        }
                        span.grow {}
                        @if self.form.is_none() { span.tag { "read-only" } }
                        @if events.is_some() { span #live .live role="status" { noscript { "reload for news" } } }
                    }
                    main #main {
                        div #notes data-live="" {
                            @if let Some(lost) = self.lost {
                                p.note.wait role="status" { b { "stale" } " " (visible(lost)) }
                            }
                            @if let Some(said) = self.said {
                                p class=(format!("note {}", class(said.tone))) role="status" {
                                    (visible(&said.text))
                                    @if !said.fix.is_empty() { br; span.fix { (visible(&said.fix)) } }
                                }
                            }
                        }
                        (main)
                    }
                }
            }
        };
        page.into_string()
    }
}

/// A page with one thing to say: what is wrong, and what would fix it.
pub fn notice(frame: &Frame<'_>, title: &str, text: &str, fix: &str) -> String {
    let main = html! {
        section.panel.narrow {
            h1 { (visible(title)) }
            @for line in text.lines() { p { (visible(line)) } }
            @if !fix.is_empty() { p.fix { (visible(fix)) } }
        }
    };
    frame.page(title, None, &main)
}

/// The page behind the link of the terminal: from here the browser goes on as from a page of this site, so that it sends the cookie it has just got.
pub fn welcome(prefix: &str, to: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(format!("0;url={prefix}{to}"));
                title { "haldane" }
                link rel="icon" href=(format!("{prefix}/assets/icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(format!("{prefix}/assets/haldane.css"));
            }
            body { main { section.panel.narrow { p { a href=(format!("{prefix}{to}")) { "Open the dashboard" } } } } }
        }
    };
    page.into_string()
}

/// Whether a text can stand before every address: `/haldane`.
pub fn is_prefix(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word = |word: &str| !word.is_empty() && word.chars().all(plain) && !word.chars().all(|c| c == '.');
    text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(word))
}

/// Whether a text is the address of a site, to which a path can be added.
pub fn is_browsable(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.ends_with('/'))
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\'))
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
