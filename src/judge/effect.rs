//! Effects that people know: quantiles as buckets, distances between distributions, and what two samples of stable would show by chance.

use super::columns::Layout;
use super::distance::{Matched, jensen_shannon, psi_corrected, total_variation};
use super::proportions::bracket;
use crate::api::{Distances, MetricEvidence, Quantile};

/// Quantiles that are shown, and the share above each.
const QUANTILES: [(f64, f64); 3] = [(0.5, 0.5), (0.95, 0.05), (0.99, 0.01)];
/// Added to each count before the population stability index: an empty class has no logarithm.
const SMOOTHING: f64 = 0.5;

/// The buckets of p50, p95 and p99; `shares` are the shares above each bound.
pub(super) fn quantiles(bounds: &[f64], shares: &[f64]) -> Vec<Quantile> {
    let of = |(quantile, level): (f64, f64)| {
        let (above, up_to) = bracket(bounds, shares, level);
        Quantile { quantile, above, up_to }
    };
    QUANTILES.map(of).into()
}

/// Difference of two shares that chance alone shows on average between two samples of stable: of a normal variable the mean deviation.
pub(super) fn chance(p: f64, precision: f64, phi: f64) -> f64 {
    if precision <= 0.0 {
        return 0.0;
    }
    (2.0 / std::f64::consts::PI * phi * p * (1.0 - p) / precision).max(0.0).sqrt()
}

/// Distances on the window-matched mix. A histogram counts by its bins.
pub(super) fn distances(layout: &Layout, seen: &Matched, phi: f64) -> Distances {
    let (a, b) = (layout.bins(seen.stable()), layout.bins(seen.canary()));
    let counts = |shares: &[f64], n: f64| shares.iter().map(|share| share * n).collect::<Vec<f64>>();
    let psi = psi_corrected(&counts(&a, seen.stable_effective()), &counts(&b, seen.n_b), SMOOTHING, phi);
    Distances { total_variation: total_variation(&a, &b), jensen_shannon: jensen_shannon(&a, &b), psi }
}

/// Numbers with seven digits: more say nothing, and status is small.
pub(super) fn shortened(evidence: &mut MetricEvidence) {
    let short = |value: &mut f64| {
        if *value != 0.0 && value.is_finite() {
            // The exponent of a finite number: the cast is exact.
            let scale = 10f64.powi(6 - value.abs().log10().floor().clamp(-300.0, 300.0) as i32);
            let rounded = (*value * scale).round() / scale;
            *value = if rounded.is_finite() { rounded } else { *value };
        }
    };
    let arms = evidence.stable.iter_mut().chain(&mut evidence.canary).filter_map(|arm| arm.value.as_mut());
    let effect = evidence.effect.iter_mut().flat_map(|effect| {
        [Some(&mut effect.value), effect.low.as_mut(), effect.high.as_mut(), effect.by_chance.as_mut()].into_iter().flatten()
    });
    let distances = evidence.distances.iter_mut().flat_map(|d| [&mut d.total_variation, &mut d.jensen_shannon, &mut d.psi]);
    let forecast = evidence.forecast.iter_mut().flat_map(|f| [&mut f.minutes_to_pass, &mut f.minutes_to_detect].into_iter().flatten());
    let others = [&mut evidence.limit, &mut evidence.load_margin, &mut evidence.fail_evidence].into_iter().flatten();
    arms.chain(effect).chain(distances).chain(forecast).chain(others).for_each(short);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Effect, Verdict};

    #[test]
    fn a_quantile_is_a_bucket_of_both_ends() {
        let shares = [0.99, 0.5, 0.05, 0.0];
        let found = quantiles(&[10.0, 100.0, 250.0, 500.0], &shares);
        let of = |at: usize| (found[at].quantile, found[at].above, found[at].up_to);
        assert_eq!(
            [of(0), of(1), of(2)],
            [(0.5, Some(10.0), Some(100.0)), (0.95, Some(100.0), Some(250.0)), (0.99, Some(250.0), Some(500.0))]
        );
        assert_eq!(quantiles(&[10.0], &[0.9])[0].up_to, None, "above the last bound");
    }

    #[test]
    fn scores_are_compared_by_their_bins() {
        let layout = Layout::Bounds(vec![0.5]);
        let mut seen = Matched::new(1);
        seen.add(1000.0, &[500.0], 1000.0, &[700.0]);
        let found = distances(&layout, &seen, 1.0);
        assert!((found.total_variation - 0.2).abs() < 1e-9, "{found:?}");
        assert!(found.psi > 0.15 && found.psi < 0.18, "{found:?}");
        assert!(found.jensen_shannon > 0.14 && found.jensen_shannon < 0.18, "{found:?}");
    }

    #[test]
    fn the_stability_index_of_two_samples_of_one_mix_is_nothing_at_any_size() {
        let layout = Layout::Classes(vec!["a".into(), "b".into()]);
        let mut seen = Matched::new(3);
        seen.add(10_000.0, &[5000.0, 3000.0, 2000.0], 60.0, &[36.0, 14.0, 10.0]);
        let (raw, corrected) =
            (super::super::distance::psi(&[5000.0, 3000.0, 2000.0], &[36.0, 14.0, 10.0], 0.5), distances(&layout, &seen, 1.0).psi);
        assert!(raw > 0.03 && corrected < 0.02, "{raw} {corrected}");
    }

    #[test]
    fn chance_shrinks_with_the_root_of_the_counts_and_grows_with_noise() {
        let (few, many) = (chance(0.01, 1000.0, 1.0), chance(0.01, 4000.0, 1.0));
        assert!((few / many - 2.0).abs() < 1e-9);
        assert!((chance(0.01, 4000.0, 4.0) - few).abs() < 1e-12);
        assert_eq!(chance(0.5, 0.0, 1.0), 0.0);
    }

    #[test]
    fn numbers_are_short() {
        let mut evidence = MetricEvidence::new("m", Verdict::Pass, None, String::new());
        let effect = Effect { value: 0.001_234_567_89, low: Some(-1.0 / 3.0), high: Some(0.0), by_chance: None, text: String::new() };
        evidence.effect = Some(effect);
        evidence.fail_evidence = Some(f64::MAX);
        shortened(&mut evidence);
        let effect = evidence.effect.unwrap();
        assert_eq!((effect.value, effect.low, effect.high), (0.001_234_568, Some(-0.333_333_3), Some(0.0)));
        assert!(evidence.fail_evidence.unwrap().is_finite());
    }
}
