//! Labels of a series. The series of an answer differ in few of them, so names and values are kept once for all.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// Name and value of one label.
pub type Label = (Arc<str>, Arc<str>);

/// Names and values, in order of the names; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// Those in `labels`, which is empty afterwards.
    pub fn take(labels: &mut Vec<Label>) -> Self {
        let ordered = labels.windows(2).all(|pair| matches!(pair, [(one, _), (other, _)] if one < other));
        if ordered { Self(labels.drain(..).collect()) } else { labels.drain(..).collect() }
    }

    /// Value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.word(name).map(|value| &**value)
    }

    /// The same, to be kept.
    pub fn word(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The same without those whose names are meant.
    #[must_use]
    pub fn without(&self, meant: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| !meant(name)).cloned().collect())
    }

    /// Adds a label, or changes its value.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        *self = self.0.iter().cloned().chain([(name.into(), value.into())]).collect();
    }
}

/// Of a label that comes more than once the last value counts.
impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let mut pairs: Vec<Label> = labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        pairs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1.clone();
            }
            same
        });
        Self(pairs.into())
    }
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>, const COUNT: usize> From<[(N, V); COUNT]> for Labels {
    fn from(labels: [(N, V); COUNT]) -> Self {
        labels.into_iter().collect()
    }
}

/// Words of one answer, each kept once.
#[derive(Debug, Default)]
pub struct Words<'a> {
    known: HashMap<&'a str, Arc<str>>,
    /// Those of the series before, in the order in which it had them.
    last: Vec<(&'a str, Arc<str>)>,
    at: usize,
}

impl<'a> Words<'a> {
    /// The words of another series follow.
    pub fn restart(&mut self) {
        self.at = 0;
    }

    /// The word, as it is kept.
    pub fn keep(&mut self, word: Cow<'a, str>) -> Arc<str> {
        let word = match word {
            Cow::Borrowed(word) => word,
            Cow::Owned(word) => return word.into(),
        };
        let at = self.at;
        self.at += 1;
        // Most words are those of the series before.
        if let Some((_, kept)) = self.last.get(at).filter(|(known, _)| *known == word) {
            return kept.clone();
        }
        let kept = self.known.entry(word).or_insert_with(|| word.into()).clone();
        match self.last.get_mut(at) {
            Some(last) => *last = (word, kept.clone()),
            None => self.last.push((word, kept.clone())),
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_found_changed_and_left_out() {
        let mut labels = Labels::from([("pod", "a"), ("le", "1"), ("job", "j"), ("le", "2")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("job", "j"), ("le", "2"), ("pod", "a")]);
        assert_eq!((labels.get("le"), labels.get("none")), (Some("2"), None));
        labels.insert("le", "3");
        labels.insert("code", "200");
        assert_eq!(labels.without(|name| name == "job").iter().collect::<Vec<_>>(), [("code", "200"), ("le", "3"), ("pod", "a")]);
    }

    #[test]
    fn a_word_is_kept_once() {
        let mut words = Words::default();
        let mut series = |texts: [&'static str; 3]| {
            words.restart();
            texts.map(|text| words.keep(Cow::Borrowed(text)))
        };
        let (one, two, three) = (series(["job", "j", "a"]), series(["job", "j", "b"]), series(["le", "job", "a"]));
        assert!(Arc::ptr_eq(&one[0], &two[0]) && Arc::ptr_eq(&one[0], &three[1]) && Arc::ptr_eq(&one[2], &three[2]));
        assert_eq!(two.map(|word| word.to_string()), ["job", "j", "b"]);
    }
}
