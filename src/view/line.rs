//! A view as one line, for events and logs.

use super::{Row, View, Word};
use crate::words::cut;

impl View {
    /// What, why, the numbers, who was exposed, what serves now, what comes next; at most so many bytes.
    pub fn line(&self, title: &str, most: usize) -> String {
        let mut parts = vec![title.to_owned()];
        parts.extend(self.facts.iter().map(|fact| fact.text.replace('\n', "; ")));
        let rows: Vec<String> = self.rows.iter().filter(|row| row.gates && row.canary.is_some()).map(Row::brief).collect();
        parts.extend((!rows.is_empty()).then(|| rows.join(" · ")));
        parts.extend(self.exposed.as_ref().map(|exposure| format!("Exposed: {}", super::exposed(exposure))));
        parts.extend(self.now.as_ref().map(|now| format!("Now: {now}")));
        parts.extend((!self.next.is_empty()).then(|| format!("Next: {}", self.next.join("; "))));
        let parts: Vec<&str> = parts.iter().map(|part| part.trim_end_matches('.')).filter(|part| !part.is_empty()).collect();
        cut(&parts.join(". "), most)
    }
}

impl Row {
    /// `errors 0.11 % -> 10.2 % worse`.
    pub(super) fn brief(&self) -> String {
        let cells = self.cells();
        let values = match (&self.stable, &self.canary) {
            (Some(_), Some(_)) => format!("{} -> {}", cells.stable, cells.canary),
            _ => cells.canary.clone(),
        };
        let against = match self.verdict {
            Word::Worse | Word::OverLimit if self.limit.is_some() => format!(" ({}, limit {})", cells.difference, cells.limit),
            _ => String::new(),
        };
        format!("{} {values}{} {}", cells.metric, against.replace("-, ", ""), cells.verdict)
    }
}
