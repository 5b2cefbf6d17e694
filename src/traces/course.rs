//! The spans of one call, as values. A course that follows nothing costs nothing.

use jiff::Timestamp;

use crate::clock::Clock;

/// Longest text of an attribute, in bytes.
const TEXT_MAX: usize = 1024;
/// Most spans of one trace: a call has eight passes.
const SPANS_MAX: usize = 64;

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A number.
    Real(f64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        let end = (0..=text.len().min(TEXT_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        Self::Text(text.get(..end).unwrap_or_default().to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Attributes, in the order in which they were set.
pub(super) type Attributes = Vec<(&'static str, Value)>;

/// One piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What was done.
    pub name: String,
    /// Index of the span that it belongs to; the first span has none.
    pub parent: Option<usize>,
    /// Somebody else was waited for.
    pub remote: bool,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What is known of it.
    pub attributes: Attributes,
    /// Moments in it.
    pub events: Vec<(&'static str, Timestamp, Attributes)>,
    /// Why it failed: a short word, and in words.
    pub error: Option<(&'static str, String)>,
}

impl Span {
    fn new(name: &str, parent: Option<usize>, begun: Timestamp, ended: Timestamp) -> Self {
        let (attributes, events) = (Vec::new(), Vec::new());
        Self { name: name.to_owned(), parent, remote: false, begun, ended, attributes, events, error: None }
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|known| known.0 == name) {
            Some(known) => known.1 = value,
            None => self.attributes.push((name, value)),
        }
    }
}

/// A trace that has ended: the first span is the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Its identity.
    pub id: u128,
    /// The identity of its first span; those of the others follow.
    pub first: u64,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Identity and first span of the trace with the look that it was decided on.
    pub look: Option<(u128, u64)>,
}

/// What a course has drawn so far.
#[derive(Debug)]
struct Drawn {
    trace: Trace,
    /// Indices of the spans that are open, innermost last; the root is not among them.
    open: Vec<usize>,
    clock: Clock,
}

/// Follows the passes of one call; by default nothing.
#[derive(Debug, Default)]
pub struct Course(Option<Box<Drawn>>);

impl Course {
    /// Begins a trace with this identity.
    pub fn begin(name: &str, (id, first): (u128, u64), clock: Clock) -> Self {
        let now = clock.now();
        let trace = Trace { id, first, spans: vec![Span::new(name, None, now, now)], look: None };
        Self(Some(Box::new(Drawn { trace, open: Vec::new(), clock })))
    }

    /// Whether anything is followed.
    pub fn follows(&self) -> bool {
        self.0.is_some()
    }

    /// Identity of the trace, and of its first span.
    pub fn identity(&self) -> Option<(u128, u64)> {
        self.0.as_ref().map(|drawn| (drawn.trace.id, drawn.trace.first))
    }

    /// Identity of the trace as other programs write it.
    pub fn trace_id(&self) -> Option<String> {
        self.identity().map(|(id, _)| format!("{id:032x}"))
    }

    /// Opens a span in the innermost one that is open.
    pub fn open(&mut self, name: &str) {
        let Some(drawn) = &mut self.0 else { return };
        let (now, parent) = (drawn.clock.now(), drawn.open.last().copied().unwrap_or_default());
        if let Some(index) = drawn.push(Span::new(name, Some(parent), now, now)) {
            drawn.open.push(index);
        }
    }

    /// Closes the innermost span that is open.
    pub fn close(&mut self) {
        let Some(drawn) = &mut self.0 else { return };
        let now = drawn.clock.now();
        if let Some(span) = drawn.open.pop().and_then(|index| drawn.trace.spans.get_mut(index)) {
            span.ended = now;
        }
    }

    /// Whether a span of this name is open.
    pub fn is_open(&self, name: &str) -> bool {
        let named = |index: &usize| self.0.as_ref().and_then(|drawn| drawn.trace.spans.get(*index)).is_some_and(|span| span.name == name);
        self.0.as_ref().is_some_and(|drawn| drawn.open.iter().any(named))
    }

    /// Adds what the innermost open span is to know, else the root.
    pub fn note(&mut self, add: impl FnOnce(&mut Span)) {
        let Some(drawn) = &mut self.0 else { return };
        let index = drawn.open.last().copied().unwrap_or_default();
        if let Some(span) = drawn.trace.spans.get_mut(index) {
            add(span);
        }
    }

    /// Adds what the root is to know.
    pub fn root(&mut self, add: impl FnOnce(&mut Span)) {
        if let Some(root) = self.0.as_mut().and_then(|drawn| drawn.trace.spans.first_mut()) {
            add(root);
        }
    }

    /// Adds what was done before the call, and moves the begin of the root there.
    pub fn before(&mut self, name: &str, begun: Timestamp, ended: Timestamp, add: impl FnOnce(&mut Span)) {
        let Some(drawn) = &mut self.0 else { return };
        let mut span = Span::new(name, Some(0), begun, ended);
        add(&mut span);
        drawn.push(span);
        self.root(|root| root.begun = root.begun.min(begun));
    }

    /// Says on which look something was decided.
    pub fn decided_on(&mut self, look: Option<(u128, u64)>) {
        if let Some(drawn) = &mut self.0 {
            drawn.trace.look = look;
        }
    }

    /// How many spans there are: for [`Self::forget`].
    pub fn mark(&self) -> usize {
        self.0.as_ref().map_or(0, |drawn| drawn.trace.spans.len())
    }

    /// Forgets the spans since a mark.
    pub fn forget(&mut self, mark: usize) {
        let Some(drawn) = &mut self.0 else { return };
        drawn.trace.spans.truncate(mark.max(1));
        drawn.open.retain(|index| *index < mark);
    }

    /// Closes everything.
    pub fn end(mut self) -> Option<Trace> {
        while self.0.as_ref().is_some_and(|drawn| !drawn.open.is_empty()) {
            self.close();
        }
        let mut drawn = self.0?;
        let now = drawn.clock.now();
        if let Some(root) = drawn.trace.spans.first_mut() {
            root.ended = now.max(root.begun);
        }
        Some(drawn.trace)
    }
}

impl Drawn {
    fn push(&mut self, span: Span) -> Option<usize> {
        let index = self.trace.spans.len();
        (index < SPANS_MAX).then(|| self.trace.spans.push(span))?;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(trace: &Trace) -> Vec<(&str, Option<&str>)> {
        let parent = |span: &Span| span.parent.map(|index| trace.spans[index].name.as_str());
        trace.spans.iter().map(|span| (span.name.as_str(), parent(span))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn spans_are_in_those_that_were_open_and_last_until_they_are_closed() {
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut course = Course::begin("pass", (7, 1), Clock::virtual_from(start));
        course.before("ask", start - Duration::from_secs(2), start - Duration::from_secs(1), |span| span.set("kind", "Look"));
        course.open("act");
        course.open("write route");
        tokio::time::sleep(Duration::from_secs(3)).await;
        course.note(|span| span.set("down", true));
        course.close();
        assert!(course.is_open("act") && !course.is_open("write route"));
        let mark = course.mark();
        course.open("decide");
        course.forget(mark);
        let trace = course.end().unwrap();
        assert_eq!(names(&trace), [("pass", None), ("ask", Some("pass")), ("act", Some("pass")), ("write route", Some("act"))]);
        let seconds = |span: &Span| (span.begun.as_second() - start.as_second(), span.ended.as_second() - start.as_second());
        assert_eq!(trace.spans.iter().map(seconds).collect::<Vec<_>>(), [(-2, 3), (-2, -1), (0, 3), (0, 3)]);
        assert_eq!(trace.spans[3].attributes, [("down", Value::Flag(true))]);
    }

    #[test]
    fn what_follows_nothing_has_nothing() {
        let mut course = Course::default();
        course.open("act");
        course.note(|_| panic!("nothing is to be reported"));
        course.close();
        assert!(!course.follows() && !course.is_open("act") && course.mark() == 0 && course.trace_id().is_none());
        assert_eq!(course.end(), None);
    }

    #[test]
    fn a_trace_is_bounded_and_so_is_a_text() {
        let mut course = Course::begin("pass", (7, 1), Clock::system());
        (0..1000).for_each(|_| course.open("observe"));
        (0..1000).for_each(|_| course.close());
        assert_eq!(course.end().unwrap().spans.len(), SPANS_MAX);
        let Value::Text(text) = Value::from("é".repeat(5_000).as_str()) else { panic!() };
        assert!(text.len() <= TEXT_MAX, "{}", text.len());
    }
}
