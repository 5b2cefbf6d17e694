use super::*;
use crate::counts::Glance;

const KNOWN: Known = Known { p: 0.001, margin: Margin { r: 1.1, d: 0.0005 }, phi: 1.1 };

/// The level of three metrics in a plan that ends.
fn level() -> f64 {
    (12.5 * 3.0 * 2.0 / PART).ln()
}

fn glance(canary: &[(u64, u64)], stable: &[(u64, u64)]) -> Glance {
    let gained = |of: &[(u64, u64)]| of.iter().map(|(total, bad)| Gained { total: *total, bad: *bad }).collect();
    Glance {
        canary: gained(canary),
        by_pod: true,
        ready: canary.len(),
        stable: gained(stable),
        seconds: 5.0,
        at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn seen(canary: &[(u64, u64)], stable: &[(u64, u64)]) -> bool {
    plain(&glance(canary, stable), KNOWN, 50, level()).is_some()
}

#[test]
fn half_of_a_hundred_requests_is_plain_and_a_burst_is_not() {
    assert!(seen(&[(100, 50)], &[(400, 0)]));
    assert!(seen(&[(1000, 100)], &[(4000, 4)]), "a tenth of a thousand");
    for burst in [2, 5, 10, 15] {
        assert!(!seen(&[(100, burst)], &[(400, 0)]), "{burst}");
    }
    assert!(!seen(&[(19, 19)], &[(400, 0)]), "too few requests");
    assert!(!seen(&[(100, 50)], &[(19, 0)]), "too few of stable's");
    assert!(!seen(&[(10_000, 450)], &[(40_000, 0)]), "less than five of a hundred is for the windows");
    let suspicious = |canary, stable| suspect(&glance(&[canary], &[stable]));
    assert!(suspicious((300, 10), (1200, 1)) && !suspicious((300, 9), (1200, 1)) && !suspicious((300, 10), (1200, 20)));
}

#[test]
fn what_stable_or_one_of_its_pods_does_too_is_not_plain() {
    assert!(!seen(&[(1000, 500)], &[(2000, 300), (2000, 300)]));
    assert!(!seen(&[(1000, 500)], &[(400, 0), (400, 0), (400, 0), (400, 0), (400, 300)]), "a pod of stable dies in the same way");
    assert!(seen(&[(1000, 500)], &[(400, 1), (400, 0), (400, 0), (400, 2), (400, 0)]));
}

#[test]
fn one_pod_of_several_is_not_the_version() {
    assert!(!seen(&[(200, 200), (200, 0), (200, 0)], &[(4000, 4)]));
    assert!(seen(&[(200, 100), (200, 100), (200, 100)], &[(4000, 4)]));
    let unknown = Glance { by_pod: false, ready: 2, ..glance(&[(400, 200)], &[(4000, 4)]) };
    assert!(plain(&unknown, KNOWN, 50, level()).is_none(), "it may be one of two pods that a gateway does not tell apart");
    let half_of_three = Glance { ready: 3, ..unknown };
    assert!(plain(&half_of_three, KNOWN, 50, level()).is_some());
    let not_yet = Glance { by_pod: true, ready: 3, ..glance(&[(400, 400)], &[(4000, 4)]) };
    assert!(plain(&not_yet, KNOWN, 50, level()).is_none(), "the others were not scraped yet");
}

#[test]
fn where_stable_errs_in_bursts_more_is_asked_for() {
    let found = |phi: f64, bad: u64| plain(&glance(&[(400, bad)], &[(1600, 2)]), Known { phi, ..KNOWN }, 50, level()).is_some();
    let least = |phi: f64| (0..=400).find(|bad| found(phi, *bad)).unwrap_or(u64::MAX);
    let least = [1.0, 5.0, 20.0].map(least);
    assert!(least[0] < least[1] && least[1] < least[2], "{least:?}");
}

#[test]
fn all_glances_together_have_one_part() {
    let sum: f64 = (1..1_000_000).map(gamma).sum();
    assert!((0.999..=1.0).contains(&sum), "{sum}");
}

#[test]
fn the_bet_on_a_burst_expects_one() {
    // Bursts of geometric length with mean 3 at 1 %, among 400 requests: compound Poisson, by its probabilities.
    let (n, limit, phi) = (400.0, 0.01, 5.0f64);
    let mean = 0.5 * (phi + 1.0);
    let rate = n * limit / mean;
    let longer: f64 = 1.0 - 1.0 / mean;
    // Panjer's recursion.
    let mut law = vec![(-rate).exp()];
    for x in 1..600usize {
        let sum: f64 = (1..=x).map(|y| y as f64 * longer.powi(y as i32 - 1) / mean * law[x - y]).sum();
        law.push(rate / x as f64 * sum);
    }
    let expected: f64 = law.iter().enumerate().map(|(x, p)| p * bursts(n, x as f64, limit, phi).exp()).sum();
    assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-9 && (expected - 1.0).abs() < 1e-6, "{expected}");
}
