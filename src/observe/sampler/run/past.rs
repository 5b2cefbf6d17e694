//! Stable's past beside the looks: the first step begins without it, and what is counted before it is known is judged afterwards.

use std::time::Duration;

use jiff::Timestamp;

use super::super::calibrate::{Failed, Piece, Reader, Wanted};
use super::{Job, Run, ready};
use crate::clock::Clock;
use crate::counts::Window;
use crate::drive::Belongs;
use crate::observe::prometheus::{Prometheus, QueryError};

/// Windows that wait for margins at most.
const MOST_EARLY: usize = 120;

impl Run {
    /// What to ask next of stable's past, and how long until then; `None`: nothing. Nothing that is due waits for it, so that the first step
    /// begins without it: what is counted before it is known is judged afterwards.
    pub(in crate::observe::sampler) fn next_of_past(&mut self, prometheus: &Prometheus, clock: &Clock) -> Option<(Job, Duration)> {
        let found = self.found.as_ref().filter(|_| !self.calibrated)?;
        let newest = clock.now().saturating_sub(prometheus.lag()).unwrap_or(Timestamp::MIN);
        // What stable counts beside a canary is no past.
        let end = self.ledger.since().map_or(newest, |since| since.min(newest));
        if self.reader.is_none() {
            self.reader = Some(Reader::new(prometheus, found, self.ledger.brief(), self.interval(prometheus), end));
        }
        Some((Job::Calibrate(end), self.past_at.saturating_sub(clock.elapsed())))
    }

    /// Takes a piece of the past; when it is the last one, or nothing more can be had, margins are frozen. True if there is a look to show.
    pub(super) fn read(
        &mut self,
        wanted: &Wanted,
        piece: Result<Option<Piece>, QueryError>,
        pause: Duration,
        prometheus: &Prometheus,
        clock: &Clock,
    ) -> bool {
        let begun = self.ledger.since().is_some();
        let metrics = &self.ledger.brief().analysis.metrics;
        // What was asked for before the provider or the analysis changed is not taken.
        let Some(reader) = self.reader.as_mut().filter(|reader| reader.wanted().as_ref() == Some(wanted)) else { return false };
        match piece {
            Ok(piece) => {
                (self.past_failures, self.past_at) = (0, Duration::ZERO);
                reader.take(wanted, piece, metrics);
                if reader.wanted().is_some() {
                    return false;
                }
            }
            Err(error) => match reader.failed(&error, begun) {
                Failed::Ends => tracing::debug!(%error, "stable's past was not read to its end"),
                Failed::Shorter => return false,
                Failed::Later => {
                    self.past_failures = self.past_failures.saturating_add(1);
                    self.past_at = clock.elapsed() + self.rest_after(self.past_failures, prometheus).max(pause);
                    // Who has a share is judged later; who has none does not get one before.
                    if !begun {
                        self.problem = Some(self.unanswered(&error));
                    }
                    return !begun;
                }
            },
        }
        let past = reader.past(metrics);
        self.buckets.written(reader.bounds());
        self.ledger.calibrate(&past, self.interval(prometheus), ready(&self.ledger.brief().canary));
        (self.calibrated, self.reader) = (true, None);
        if !begun {
            self.problem = None;
        }
        if !self.native() {
            self.buckets.begin(&self.ledger);
        }
        for window in std::mem::take(&mut self.early) {
            self.add(window);
        }
        true
    }

    /// Adds a window to the evidence, or keeps it until margins are known.
    pub(super) fn judge(&mut self, window: Window) {
        if self.calibrated {
            self.add(window);
        } else if self.early.len() < MOST_EARLY {
            self.early.push(window);
        }
    }

    fn add(&mut self, mut window: Window) {
        if !self.native() {
            self.buckets.narrow(&self.ledger, &mut window);
        }
        self.ledger.count(&window);
        if self.ledger.belongs() == Belongs::Step {
            self.trace(&window);
        }
    }
}
