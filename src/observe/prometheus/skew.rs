//! The server's clock and ours. Everything outside of this client is in our time: a query is asked at the server's, and its samples come
//! back in ours, so that a window begins with the weight that was written and not some seconds before or after.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Prometheus, QueryError, answer};
use crate::clock::Clock;
use crate::counts::Series;

/// Clocks that differ by no more than this, or than a scrape, are the same: windows begin a scrape after the weight was written.
const SLACK: Duration = Duration::from_secs(1);
/// A result that every server of this API gives, with the time that it takes for now. That time is read, and not the value: VictoriaMetrics
/// evaluates 30 s before now, unless asked otherwise (`-search.latencyOffset`).
const QUERY: &str = "vector(time())";

/// A clock that was read so long ago need not be read again.
const KNOWN: Duration = Duration::from_secs(60);

/// How far the server's clock is ahead of ours.
#[derive(Debug, Default)]
pub(super) struct Skew {
    milliseconds: AtomicI64,
    /// When it was read, on our monotonic clock.
    read: Mutex<Option<Duration>>,
}

impl Skew {
    fn ahead(&self) -> SignedDuration {
        SignedDuration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    /// Our time as the server's.
    pub(super) fn theirs(&self, ours: Timestamp) -> Timestamp {
        ours.saturating_add(self.ahead()).unwrap_or(ours)
    }

    /// Their samples in our time.
    pub(super) fn ours(&self, mut series: Vec<Series>) -> Vec<Series> {
        let ahead = self.ahead();
        if !ahead.is_zero() {
            for (at, _) in series.iter_mut().flat_map(|series| &mut series.samples) {
                *at = at.saturating_sub(ahead).unwrap_or(*at);
            }
        }
        series
    }
}

impl Prometheus {
    /// How far the server's clock is ahead of ours, read now unless it was within the last minute.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn ahead(&self, clock: &Clock) -> Result<SignedDuration, QueryError> {
        let read = *self.server.skew.read.lock().unwrap_or_else(PoisonError::into_inner);
        match read.filter(|read| clock.elapsed().saturating_sub(*read) < KNOWN) {
            Some(_) => Ok(self.server.skew.ahead()),
            None => self.read_clock(clock).await,
        }
    }

    /// Reads the server's clock, and goes by it from now on. Returns how far it is ahead of ours; nothing where the two are the same.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn read_clock(&self, clock: &Clock) -> Result<SignedDuration, QueryError> {
        let (body, spent) = self.body(self.by.purpose, QUERY, None).await;
        let (answered, way) = (clock.now(), spent.took / 2);
        let (body, _) = body?;
        let theirs = answer::read(&body, answer::Kind::Vector, &mut super::native::Grids::default());
        let theirs = theirs.map_err(|error| self.server.line.without_secrets(error))?;
        let said = theirs.first().and_then(|series| series.samples.first()).map(|(at, _)| at.as_millisecond() as f64);
        let said = said.ok_or_else(|| QueryError::Malformed(format!("it has no series, for {QUERY}")))?;
        let ours = (answered.as_millisecond() - i64::try_from(way.as_millis()).unwrap_or(i64::MAX / 4)) as f64;
        let ahead = said - ours;
        // What lies within the way there and back, and small steps of a clock that is being set, would only make windows uneven.
        let slack = (self.server.scrape_interval.min(SLACK) + way).as_secs_f64() * 1000.0;
        if (ahead - self.server.skew.ahead().as_secs_f64() * 1000.0).abs() > slack {
            let ahead = if ahead.abs() > slack { ahead.clamp(-1e15, 1e15) as i64 } else { 0 };
            tracing::warn!(milliseconds = ahead, "the clock of Prometheus is so far ahead of ours: windows are asked for in its time");
            self.server.skew.milliseconds.store(ahead, Ordering::Relaxed);
        }
        *self.server.skew.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock.elapsed());
        Ok(self.server.skew.ahead())
    }
}
