//! What one receiver gets: the built-in text, or what its templates make of it.

use super::courier::Letter;
use super::text::Text;
use crate::config::Template;
use crate::template::{self, Escape, Part};
use crate::view::visible;

/// The words of a letter.
pub(super) struct Words {
    /// The built-in text.
    pub(super) text: Text,
    /// What happened, in one line.
    pub(super) title: String,
    /// All the rest, by a template, with values escaped; `None`: the receiver lays out the built-in text.
    pub(super) body: Option<String>,
}

impl Words {
    /// The words of a letter for a receiver whose markup `escape` takes out of values. A template that fails loses no alert: the built-in text
    /// takes its place.
    pub(super) fn of(letter: &Letter, escape: Escape) -> Self {
        let text = letter.text();
        if letter.template == Template::default() || !letter.others.is_empty() {
            return Self { title: text.title().to_owned(), body: None, text };
        }
        let fields = text.fields(letter);
        let said = |source: Option<&String>, part: Part, escape: Escape| {
            template::render(source?, part, &fields, escape)
                .inspect_err(|fault| {
                    let (namespace, rollout, alert) = (&letter.namespace, &letter.name, &fields.alert);
                    tracing::warn!(namespace, rollout, alert, ?part, error = %fault, "a template failed: the alert has the built-in text");
                })
                .ok()
        };
        let title = said(letter.template.title.as_ref(), Part::Title, str::to_owned).map(|title| visible(&title));
        let body = said(letter.template.body.as_ref(), Part::Body, escape);
        Self { title: title.unwrap_or_else(|| text.title().to_owned()), body, text }
    }

    /// For a receiver that knows no markup.
    pub(super) fn plain(letter: &Letter) -> Self {
        Self::of(letter, str::to_owned)
    }

    /// All but the title.
    pub(super) fn body(&self) -> String {
        self.body.clone().unwrap_or_else(|| self.text.body())
    }

    /// Title and body.
    pub(super) fn whole(&self) -> String {
        format!("{}\n\n{}", self.title, self.body()).trim_end().to_owned()
    }
}
