//! Histograms of times: whether their buckets are fine enough around the quantiles that people look at.

use super::Finding;
use crate::api::TimeUnit;

/// A slow-down within one bucket is not seen: its upper bound is at most this many times its lower one.
const WIDE: f64 = 3.0;
/// Bounds of a proposal grow by this.
const GROWTH: f64 = 1.4;
/// So many bounds are proposed at most.
const BOUNDS: usize = 20;

/// A histogram as stable has filled it lately.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Name of the metric that is judged on it.
    pub metric: String,
    /// Its own name, without `_bucket`.
    pub name: String,
    /// Unit of its bounds; none for scores.
    pub unit: Option<TimeUnit>,
    /// It is a native one.
    pub native: bool,
    /// It is the mesh's, so that an annotation of the pods sets its bounds.
    pub mesh: bool,
    /// Upper bound of each bucket and requests up to it, in order; the last bound is infinite.
    pub below: Vec<(f64, f64)>,
}

impl Histogram {
    /// The bucket that holds a quantile: its bounds.
    fn holds(&self, quantile: f64) -> Option<(f64, f64)> {
        let all = self.below.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let at = self.below.iter().position(|(_, count)| *count >= quantile * all)?;
        let lower = at.checked_sub(1).and_then(|before| self.below.get(before)).map_or(0.0, |(bound, _)| *bound);
        Some((lower, self.below.get(at)?.0))
    }

    fn number(&self, value: f64) -> String {
        format!("{}{}", round(value), self.unit.map_or_else(String::new, |unit| format!(" {}", unit.symbol())))
    }

    /// Bounds that would be fine enough, from below p50 to above p99.
    fn proposed(&self) -> Vec<String> {
        let low = self.holds(0.5).map_or(1.0, |(lower, upper)| if lower > 0.0 { lower } else { upper / 4.0 });
        let high = self.holds(0.99).map_or(1000.0, |(lower, upper)| if upper.is_finite() { upper } else { lower * 4.0 });
        let (low, high) = (low / 2.0, high * 2.0);
        let growth = GROWTH.max((high / low).powf(1.0 / BOUNDS as f64));
        let bounds = std::iter::successors(Some(low), |bound| Some(bound * growth));
        let mut bounds: Vec<String> = bounds.take_while(|bound| *bound <= high * growth).map(round).collect();
        bounds.dedup();
        bounds
    }

    fn fix(&self) -> String {
        let bounds = self.proposed().join(", ");
        if self.mesh {
            let pods = format!("sidecar.istio.io/statsHistogramBuckets: '{{\"istiocustom\":[{bounds}]}}'");
            return format!("annotate the pod templates of both versions:\n  {pods}");
        }
        format!("give {} buckets at {bounds} in both versions, or make it a native histogram", self.name)
    }
}

/// Two digits that matter.
fn round(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let scale = 10f64.powf(1.0 - value.log10().floor());
    let rounded = (value * scale).round() / scale;
    let text = format!("{rounded:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What is to be said of the buckets of a histogram.
pub fn buckets(histogram: &Histogram) -> Finding {
    const CHECK: &str = "buckets";
    let name = &histogram.name;
    if histogram.native {
        return Finding::ok(CHECK, format!("{name} is a native histogram: fine at every quantile"));
    }
    let (Some(p50), Some(p99)) = (histogram.holds(0.5), histogram.holds(0.99)) else {
        return Finding::warn(
            CHECK,
            format!("{name} of stable has counted nothing in the last five minutes"),
            "send requests to stable, and look again",
        );
    };
    if histogram.unit.is_none() {
        let filled = histogram.below.iter().zip(histogram.below.iter().skip(1)).filter(|((_, one), (_, two))| two > one).count();
        let first = histogram.below.first().is_some_and(|(_, count)| *count > 0.0);
        let filled = filled + usize::from(first);
        return match filled {
            0..=2 => {
                Finding::warn(CHECK, format!("scores of {name} fall into {filled} buckets: most shifts stay within one"), histogram.fix())
            }
            _ => Finding::ok(CHECK, format!("scores of {name} fall into {filled} of its {} buckets", histogram.below.len())),
        };
    }
    if p99.1.is_infinite() {
        let fact = format!("p99 of {name} is above its last bound, {}: a slower tail is not seen", histogram.number(p99.0));
        return Finding::warn(CHECK, fact, histogram.fix());
    }
    let wide = [("p50", p50), ("p99", p99)].into_iter().find(|(_, (lower, upper))| *lower <= 0.0 || upper / lower > WIDE);
    match wide {
        Some((quantile, (lower, upper))) => {
            let between = format!("between {} and {}", round(lower), histogram.number(upper));
            let fact = format!("{quantile} of {name} lies {between}: a slow-down within that bucket is not seen");
            Finding::warn(CHECK, fact, histogram.fix())
        }
        None => {
            let range = |(lower, upper): (f64, f64)| format!("{} to {}", round(lower), histogram.number(upper));
            Finding::ok(CHECK, format!("p50 of {name} lies at {}, p99 at {}", range(p50), range(p99)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bounds: &[(f64, f64)]) -> Finding {
        let below = bounds.to_vec();
        let name = "istio_request_duration_milliseconds".to_owned();
        buckets(&Histogram { metric: "latency".into(), name, unit: Some(TimeUnit::Ms), native: false, mesh: true, below })
    }

    #[test]
    fn a_quantile_in_a_wide_bucket_is_told_with_bounds_that_would_do() {
        let inf = f64::INFINITY;
        let fine = of(&[(50.0, 5.0), (100.0, 60.0), (250.0, 99.5), (inf, 100.0)]);
        assert_eq!(fine.fact, "p50 of istio_request_duration_milliseconds lies at 50 to 100 ms, p99 at 100 to 250 ms");
        let wide = of(&[(1.0, 5.0), (5.0, 100.0), (10.0, 100.0), (inf, 100.0)]);
        assert!(wide.fact.starts_with("p50 of istio_request_duration_milliseconds lies between 1 and 5 ms"), "{}", wide.fact);
        assert!(wide.fix.contains("\"istiocustom\":[0.5, 0.7, 0.98, 1.4, 1.9, 2.7, 3.8, 5.3, 7.4, 10"), "{}", wide.fix);
        let beyond = of(&[(1000.0, 50.0), (5000.0, 90.0), (inf, 100.0)]);
        assert!(beyond.fact.contains("above its last bound, 5000 ms"), "{}", beyond.fact);
        assert!(of(&[(1.0, 0.0), (inf, 0.0)]).fact.contains("counted nothing"));
    }

    #[test]
    fn scores_in_two_buckets_are_told() {
        let score = |below: &[(f64, f64)]| {
            let name = "model_prediction_value".to_owned();
            buckets(&Histogram { metric: "drift".into(), name, unit: None, native: false, mesh: false, below: below.to_vec() }).level
        };
        assert_eq!(score(&[(0.5, 40.0), (1.0, 100.0), (f64::INFINITY, 100.0)]), super::super::Level::Warn);
        assert_eq!(score(&[(0.2, 10.0), (0.5, 40.0), (1.0, 100.0), (f64::INFINITY, 100.0)]), super::super::Level::Ok);
    }
}
