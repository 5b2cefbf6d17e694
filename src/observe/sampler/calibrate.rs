//! The hour before the rollout, for the judge's margins and dispersion.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::ask::{Who, names};
use super::preflight::Found;
use crate::clock::Clock;
use crate::counts::{History, chosen, past};
use crate::observe::Brief;
use crate::observe::prometheus::{Prometheus, QueryError};

const BACK: Duration = Duration::from_secs(3600);
/// Longest stretch of one query, and how many scrapes it may hold.
const STRETCH: Duration = Duration::from_secs(600);
const SCRAPES: u32 = 120;
const PODS: usize = 20;
/// The rollout waits for this: what has come by then must do.
const BUDGET: Duration = Duration::from_secs(60);

/// Stable's windows that end at `end` and before, at most one hour of them, oldest first.
pub(super) async fn history(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    interval: Duration,
    end: Timestamp,
    clock: &Clock,
) -> Result<History, QueryError> {
    let began = clock.elapsed();
    let pods = chosen(names(&brief.stable), PODS);
    let mut scope = found.scope(brief, false);
    scope.pods.retain(|name, _| pods.contains(name));
    let who = Who::Stable(pods);
    let stretch = (prometheus.scrape_interval() * SCRAPES).clamp(Duration::from_secs(60), STRETCH);
    let mut each = whole(stretch, interval).max(1);
    let mut left = whole(BACK, interval).max(1);
    let mut end = end;
    let mut windows = VecDeque::new();
    while left > 0 && clock.elapsed().saturating_sub(began) < BUDGET {
        let count = each.min(left);
        let ends: Vec<Timestamp> = (0..=count).rev().filter_map(|back| before(end, interval * back)).collect();
        let seconds = (interval * (count + 1)).as_secs_f64().ceil() as u64;
        let reading = match found.read(prometheus, brief, &who, seconds, end).await {
            Ok(reading) => reading,
            // More than the server or we can take at once: a shorter stretch, or what there is.
            Err(QueryError::TooLarge | QueryError::Timeout | QueryError::Status(422, _)) if each > 1 => {
                each = (each / 2).max(1);
                continue;
            }
            Err(QueryError::TooLarge | QueryError::Timeout | QueryError::Status(422, _)) => break,
            Err(other) => return Err(other),
        };
        if reading.families.iter().all(|(_, series)| series.is_empty()) {
            break;
        }
        let Ok(older) = past(&reading, &scope, &ends, &brief.analysis.metrics, found.by_pod) else { break };
        for window in older.into_iter().rev() {
            windows.push_front(window);
        }
        left -= count;
        let Some(next) = before(end, interval * count) else { break };
        end = next;
    }
    Ok(History { interval_seconds: interval.as_secs_f64(), windows: windows.into(), by_pod: found.by_pod })
}

fn whole(of: Duration, part: Duration) -> u32 {
    // Small and not negative: the cast is exact.
    (of.as_secs_f64() / part.as_secs_f64().max(0.1)).floor() as u32
}

fn before(time: Timestamp, by: Duration) -> Option<Timestamp> {
    time.checked_sub(by).ok()
}
