//! How much of a step could be counted, and what the store answers that is not as it was scraped.

use crate::counts::{Deltas, Dropped, Mixed};

/// Windows from which on a share of lost ones is worth a word.
const ENOUGH: u32 = 10;

/// Windows of a step, counted and not.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    counted: u32,
    dropped: u32,
    newest: Option<String>,
    dips: bool,
    mixed: Option<Mixed>,
}

impl Tally {
    pub(super) fn counted(&mut self, deltas: &Deltas) {
        self.counted = self.counted.saturating_add(1);
        if deltas.dips > 0 && !std::mem::replace(&mut self.dips, true) {
            tracing::warn!(samples = deltas.dips, "counters fall although their process did not restart: counted from their highest value");
        }
        if let Some(mixed) = &deltas.mixed
            && self.mixed.is_none()
        {
            tracing::warn!("{mixed}");
            self.mixed = Some(mixed.clone());
        }
    }

    pub(super) fn dropped(&mut self, dropped: &Dropped) {
        self.dropped = self.dropped.saturating_add(1);
        self.newest = Some(dropped.to_string());
    }

    /// In words that change seldom: they are written to status.
    /// `foreign` are pods that were seen before the step.
    pub(super) fn note(&self, foreign: Option<&Mixed>) -> Option<String> {
        let all = self.counted.saturating_add(self.dropped);
        let tenths = (10.0 * f64::from(self.dropped) / f64::from(all.max(1))).round();
        let lost = (all >= ENOUGH && tenths >= 1.0).then(|| {
            let newest = self.newest.as_deref().unwrap_or_default();
            format!("about {:.0} % of this step's windows were not counted, the newest because {newest}", 10.0 * tenths)
        });
        let dips = self.dips.then(|| {
            "counters fall now and then although their process did not restart, as stores do that merge replicas: counted from their highest value"
                .to_owned()
        });
        let notes: Vec<String> = [self.mixed.as_ref().or(foreign).map(ToString::to_string), lost, dips].into_iter().flatten().collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deltas(dips: u32) -> Deltas {
        Deltas { start: jiff::Timestamp::UNIX_EPOCH, end: jiff::Timestamp::UNIX_EPOCH, of: Vec::new(), dips, mixed: None }
    }

    #[test]
    fn the_share_of_lost_windows_is_shown_and_changes_seldom() {
        let mut tally = Tally::default();
        assert_eq!(tally.note(None), None);
        (0..20).for_each(|_| tally.counted(&deltas(0)));
        (0..5).for_each(|_| tally.dropped(&Dropped::NothingRead));
        let note = tally.note(None);
        assert!(note.as_deref().is_some_and(|note| note.starts_with("about 20 % of this step's windows were not counted")), "{note:?}");
        tally.counted(&deltas(0));
        assert_eq!(tally.note(None), note, "one window more changes no status");
    }

    #[test]
    fn dips_are_named_once_they_were_seen() {
        let mut tally = Tally::default();
        tally.counted(&deltas(3));
        tally.counted(&deltas(0));
        assert!(tally.note(None).is_some_and(|note| note.contains("did not restart")));
    }
}
