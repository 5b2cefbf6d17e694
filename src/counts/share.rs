//! Does the canary see the share of traffic that is programmed?

use jiff::{SignedDuration, Timestamp};

use crate::plan::Share;

/// What is wrong with the share.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShareFault {
    /// Nothing of the canary two minutes after its share should show.
    #[error("no canary request in the {seconds} s since the weight was set, while stable had {stable}")]
    NoCanaryTraffic {
        /// Since the weight was read back.
        seconds: i64,
        /// Stable's requests in that time.
        stable: u64,
    },
    /// Nothing of the canary, although some users should be its own.
    #[error("no request fitted the match in {seconds} s, while stable had {stable}")]
    NoCohort {
        /// Since the route was read back.
        seconds: i64,
        /// Stable's requests in that time.
        stable: u64,
    },
    /// More than its share.
    #[error("the canary got {canary} of {total} requests ({:.1} %, at least {:.1} %), {:.0} % is configured: traffic is bypassing the route", 100.0 * *canary as f64 / *total as f64, 100.0 * low, 100.0 * weight)]
    Above {
        /// Canary's requests.
        canary: u64,
        /// Of both arms.
        total: u64,
        /// Lower bound of the 99.9 % interval.
        low: f64,
        /// Programmed.
        weight: f64,
    },
    /// Less than its share.
    #[error("the canary got {canary} of {total} requests ({:.1} %, at most {:.1} %), {:.0} % is configured", 100.0 * *canary as f64 / *total as f64, 100.0 * high, 100.0 * weight)]
    Below {
        /// Canary's requests.
        canary: u64,
        /// Of both arms.
        total: u64,
        /// Upper bound of the 99.9 % interval.
        high: f64,
        /// Programmed.
        weight: f64,
    },
}

/// Requests in each arm from which on the share is compared as a number.
const ENOUGH: u64 = 50;
/// Canary requests that must be expected before none of them means anything: exp(-7) is below 0.1 %.
const EXPECTED: f64 = 7.0;
/// Two-sided 99.9 % quantile of the normal distribution.
const Z: f64 = 3.290_526_731_491_896;
/// Most windows looked back.
const MOST_WINDOWS: usize = 120;

/// What the canary must see of all requests that are counted, copies among them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Programmed {
    /// 0 to 1.
    pub part: f64,
    /// Some users come by a match on top: how many is not known.
    pub and_more: bool,
}

impl Programmed {
    /// Of so much: a copy is a request more, a weight takes one from stable.
    pub fn of(share: Share) -> Self {
        let (weight, mirror) = (f64::from(share.weight) / 100.0, f64::from(share.mirror) / 100.0);
        Self { part: (weight + mirror) / (1.0 + mirror), and_more: share.matched }
    }
}

/// Requests of stable and canary in the windows of one step, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shares {
    windows: Vec<(u64, u64)>,
}

impl Shares {
    /// Adds a window.
    pub fn add(&mut self, stable: u64, canary: u64) {
        if self.windows.len() >= MOST_WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push((stable, canary));
    }

    /// What is wrong at `now`, if this has been programmed since `since`. The newest windows that hold 50 requests of each arm are compared, at
    /// least two of them; with fewer, the canary must have had one request in the newest two, as soon as seven are to be expected. Of a
    /// match nothing is to be expected but that somebody fits it; beside a weight the canary may have more than that.
    pub fn check(&self, programmed: Programmed, since: Timestamp, now: Timestamp) -> Option<ShareFault> {
        let Programmed { part: weight, and_more } = programmed;
        if self.windows.len() < 2 {
            return None;
        }
        if weight <= 0.0 {
            return self.cohort(since, now).filter(|_| and_more);
        }
        self.compared(weight, since, now).filter(|fault| !(and_more && matches!(fault, ShareFault::Above { .. })))
    }

    fn cohort(&self, since: Timestamp, now: Timestamp) -> Option<ShareFault> {
        let (stable, canary) = self.windows.iter().fold((0, 0), |sum, window| (sum.0 + window.0, sum.1 + window.1));
        let waited = now.duration_since(since);
        let nobody = canary == 0 && stable >= ENOUGH && waited >= SignedDuration::from_secs(120);
        nobody.then_some(ShareFault::NoCohort { seconds: waited.as_secs(), stable })
    }

    fn compared(&self, weight: f64, since: Timestamp, now: Timestamp) -> Option<ShareFault> {
        let (mut stable, mut canary) = (0_u64, 0_u64);
        for (index, window) in self.windows.iter().rev().enumerate() {
            stable += window.0;
            canary += window.1;
            if index >= 1 && enough(stable, canary, weight) {
                return compare(stable, canary, weight);
            }
        }
        let expected = stable as f64 * weight / (1.0 - weight).max(f64::EPSILON);
        let lately: u64 = self.windows.iter().rev().take(2).map(|window| window.1).sum();
        if lately > 0 || expected < EXPECTED {
            return None;
        }
        let waited = now.duration_since(since);
        if canary == 0 {
            return (waited >= SignedDuration::from_secs(120)).then_some(ShareFault::NoCanaryTraffic { seconds: waited.as_secs(), stable });
        }
        compare(stable, canary, weight)
    }
}

/// At 100 % stable should have nothing; 50 canary requests are then enough, or as many of stable alone.
fn enough(stable: u64, canary: u64, weight: f64) -> bool {
    if weight >= 1.0 { stable + canary >= ENOUGH } else { stable >= ENOUGH && canary >= ENOUGH }
}

fn compare(stable: u64, canary: u64, weight: f64) -> Option<ShareFault> {
    let total = stable + canary;
    let (low, high) = wilson(canary, total);
    if low > 1.5 * weight {
        Some(ShareFault::Above { canary, total, low, weight })
    } else if high < 0.5 * weight {
        Some(ShareFault::Below { canary, total, high, weight })
    } else {
        None
    }
}

/// Wilson's 99.9 % interval of a share. Source: Wilson 1927, JASA 22, 209-212.
fn wilson(count: u64, of: u64) -> (f64, f64) {
    let n = of as f64;
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let p = count as f64 / n;
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(windows: &[(u64, u64)], weight: f64, seconds: i64) -> Option<ShareFault> {
        check_share(windows, Share::weight((100.0 * weight).round() as u8), seconds)
    }

    fn check_share(windows: &[(u64, u64)], share: Share, seconds: i64) -> Option<ShareFault> {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut shares = Shares::default();
        windows.iter().for_each(|(stable, canary)| shares.add(*stable, *canary));
        shares.check(Programmed::of(share), since, since + SignedDuration::from_secs(seconds))
    }

    #[test]
    fn copies_of_everything_are_half_of_what_is_counted() {
        let mirror = |percent| Share { mirror: percent, ..Share::NONE };
        assert_eq!(check_share(&[(1000, 1000), (1000, 990)], mirror(100), 60), None);
        assert_eq!(check_share(&[(1000, 100), (1000, 100)], mirror(10), 60), None);
        assert!(matches!(check_share(&[(1000, 100), (1000, 100)], mirror(100), 60), Some(ShareFault::Below { .. })));
        assert!(matches!(check_share(&[(1000, 1000), (1000, 1000)], mirror(10), 60), Some(ShareFault::Above { .. })));
        assert_eq!(check_share(&[(950, 150), (950, 150)], Share { weight: 5, mirror: 10, matched: false }, 60), None);
    }

    #[test]
    fn of_a_match_nothing_is_expected_but_that_somebody_fits_it() {
        let cohort = Share { matched: true, ..Share::NONE };
        assert_eq!(check_share(&[(1000, 900), (1000, 900)], cohort, 600), None);
        assert_eq!(check_share(&[(1000, 1), (1000, 0)], cohort, 600), None);
        assert_eq!(check_share(&[(1000, 0), (1000, 0)], cohort, 119), None);
        assert_eq!(check_share(&[(10, 0), (10, 0)], cohort, 600), None, "too little traffic to say so");
        let nobody = check_share(&[(1000, 0), (1000, 0)], cohort, 120);
        assert_eq!(nobody, Some(ShareFault::NoCohort { seconds: 120, stable: 2000 }), "C30: a match without effect is reported");
        let both = Share { weight: 5, matched: true, ..Share::NONE };
        assert_eq!(check_share(&[(900, 500), (900, 500)], both, 60), None, "the weight's part and the cohort's");
        assert!(matches!(check_share(&[(9900, 100), (9900, 100)], both, 60), Some(ShareFault::Below { .. })), "less than the weight alone");
    }

    #[test]
    fn the_programmed_share_is_fine() {
        assert_eq!(check(&[(9500, 500), (9500, 500)], 0.05, 60), None);
        assert_eq!(check(&[(50, 50), (50, 50)], 0.5, 60), None);
        assert_eq!(check(&[(0, 500), (0, 500)], 1.0, 60), None);
    }

    #[test]
    fn twice_the_share_is_a_bypass_and_a_fifth_is_a_mismatch() {
        assert!(matches!(check(&[(9000, 1000), (9000, 1000)], 0.05, 60), Some(ShareFault::Above { canary: 2000, total: 20_000, .. })));
        assert!(matches!(check(&[(9900, 100), (9900, 100)], 0.05, 60), Some(ShareFault::Below { canary: 200, .. })));
        assert!(matches!(check(&[(500, 10), (500, 10)], 1.0, 60), Some(ShareFault::Below { .. })));
    }

    #[test]
    fn old_windows_do_not_hide_a_new_fault() {
        let mut windows = vec![(9500, 500); 100];
        windows.extend([(8000, 2000), (8000, 2000)]);
        assert!(matches!(check(&windows, 0.05, 3000), Some(ShareFault::Above { .. })));
    }

    #[test]
    fn no_canary_request_is_reported_after_two_minutes_if_some_were_to_be_expected() {
        assert_eq!(check(&[(1000, 0), (1000, 0)], 0.05, 60), None);
        assert!(matches!(check(&[(1000, 0), (1000, 0)], 0.05, 120), Some(ShareFault::NoCanaryTraffic { seconds: 120, stable: 2000 })));
        assert_eq!(check(&[(10, 0), (10, 0)], 0.05, 600), None, "one canary request is expected: none means nothing");
        assert_eq!(check(&[(0, 0), (0, 0)], 0.05, 600), None, "no traffic at all is not the canary's fault");
    }

    #[test]
    fn one_window_is_too_little() {
        assert_eq!(check(&[(0, 1000)], 0.05, 60), None);
    }

    #[test]
    fn wilson_is_as_published() {
        // 10 of 100 at z = 3.2905: the formula, evaluated independently.
        let (low, high) = wilson(10, 100);
        assert!((low - 0.037_491_896).abs() < 1e-8 && (high - 0.240_666_032).abs() < 1e-8, "{low} {high}");
    }
}
