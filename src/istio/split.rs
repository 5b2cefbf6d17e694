//! Who gets how much of a route.

use serde_json::Value;

/// A destination of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct To<'v> {
    /// Host as written.
    pub host: &'v str,
    /// Subset; without one every pod of the host is meant.
    pub subset: Option<&'v str>,
    /// What it gets, against the other destinations.
    pub weight: u64,
    /// The same in percent.
    pub percent: u8,
}

/// What each destination gets, against the others. A lone one gets everything, whatever its weight; beside others a missing weight is 0.
/// Nothing if there is no destination, or if none of several gets anything, which Istio refuses.
fn weights(written: &[Option<u64>]) -> Option<Vec<u64>> {
    if written.len() == 1 {
        return Some(vec![100]);
    }
    let weights: Vec<u64> = written.iter().map(|weight| weight.unwrap_or(0)).collect();
    weights.iter().any(|weight| *weight > 0).then_some(weights)
}

/// The same in percent, which sum to 100. Weights may have any sum; where it is not 100 the percent are rounded, and none that is above 0
/// becomes 0. Nothing, too, if more than a hundred destinations get something.
pub fn percents(written: &[Option<u64>]) -> Option<Vec<u8>> {
    parts(&weights(written)?)
}

/// Parts of 100 in proportion to weights: the larger weight never gets less, and none above 0 becomes 0. Nothing if there are more than a
/// hundred above 0, or none.
pub fn parts(weights: &[u64]) -> Option<Vec<u8>> {
    let weights: Vec<u128> = weights.iter().copied().map(u128::from).collect();
    let sum: u128 = weights.iter().sum();
    if sum == 0 || weights.iter().filter(|weight| **weight > 0).count() > 100 {
        return None;
    }
    let part = |weight: u128| u8::try_from((weight * 100 / sum).max(u128::from(weight > 0))).unwrap_or(100);
    let mut percents: Vec<u8> = weights.iter().map(|weight| part(*weight)).collect();
    let total = |percents: &[u8]| percents.iter().map(|percent| u32::from(*percent)).sum::<u32>();
    // What rounding left over goes to whoever lost most by it, what it gave too much comes from whoever has most: of several, from the one
    // with the smallest weight, so that a larger weight never gets less.
    while total(&percents) < 100 {
        let lost = |(weight, percent): (&u128, &u8)| (weight * 100).saturating_sub(u128::from(*percent) * sum);
        let most = weights.iter().zip(&percents).map(lost).enumerate().rev().max_by_key(|(_, lost)| *lost).map(|(index, _)| index);
        *percents.get_mut(most?)? += 1;
    }
    while total(&percents) > 100 {
        let (percent, _) = percents.iter_mut().zip(&weights).max_by_key(|(percent, weight)| (**percent, std::cmp::Reverse(**weight)))?;
        *percent -= 1;
    }
    Some(percents)
}

/// The weights of an http, tcp or tls route as written.
pub fn written(route: &Value) -> Vec<Option<u64>> {
    route["route"].as_array().into_iter().flatten().map(|entry| entry["weight"].as_u64()).collect()
}

/// The destinations of an http, tcp or tls route with what they get; none if Istio refuses its weights.
pub fn destinations(route: &Value) -> Vec<To<'_>> {
    let written = written(route);
    let got = weights(&written).zip(percents(&written)).map(|(weights, percents)| weights.into_iter().zip(percents).collect::<Vec<_>>());
    let entries = route["route"].as_array().into_iter().flatten();
    let mut found = Vec::new();
    for (entry, (weight, percent)) in entries.zip(got.unwrap_or_default()) {
        if let Some((host, subset)) = named(&entry["destination"]) {
            found.push(To { host, subset, weight, percent });
        }
    }
    found
}

/// Host and subset of a destination.
pub fn named(destination: &Value) -> Option<(&str, Option<&str>)> {
    Some((destination["host"].as_str()?, destination["subset"].as_str().filter(|subset| !subset.is_empty())))
}

/// Every copy that a route makes: its destination, and the percent of the requests that are copied.
pub fn copies(route: &Value) -> impl Iterator<Item = (&Value, f64)> {
    let listed = route["mirrors"].as_array().into_iter().flatten();
    let listed = listed.map(|entry| (&entry["destination"], percent(entry.get("percentage"))));
    listed.chain(copy(route))
}

/// The copy by the fields `mirror` and `mirrorPercentage`, or its two older spellings.
pub fn copy(route: &Value) -> Option<(&Value, f64)> {
    let mirror = route.get("mirror").filter(|mirror| !mirror.is_null())?;
    let old = ["mirrorPercent", "mirror_percent"].iter().find_map(|field| route[*field].as_f64());
    let part = match (route.get("mirrorPercentage"), old) {
        (None, Some(old)) => old.clamp(0.0, 100.0),
        (percentage, _) => percent(percentage),
    };
    Some((mirror, part))
}

/// Percent of the requests that are copied: no percentage is everything, one without a value is nothing.
pub fn percent(percentage: Option<&Value>) -> f64 {
    match percentage.filter(|percentage| !percentage.is_null()) {
        None => 100.0,
        Some(percentage) => percentage["value"].as_f64().unwrap_or(0.0).clamp(0.0, 100.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lone_destination_gets_everything_whatever_its_weight() {
        for weight in [None, Some(0), Some(1), Some(1000)] {
            assert_eq!(percents(&[weight]), Some(vec![100]));
        }
    }

    #[test]
    fn beside_others_a_missing_weight_is_nothing() {
        assert_eq!(percents(&[Some(100), None]), Some(vec![100, 0]));
        assert_eq!(percents(&[None, Some(1)]), Some(vec![0, 100]));
        assert_eq!(percents(&[None, Some(0)]), None, "Istio refuses it");
        assert_eq!(percents(&[]), None);
    }

    #[test]
    fn weights_of_any_sum_are_read_in_percent() {
        assert_eq!(percents(&[Some(1000), Some(0)]), Some(vec![100, 0]));
        assert_eq!(percents(&[Some(950), Some(50)]), Some(vec![95, 5]));
        assert_eq!(percents(&[Some(9999), Some(1)]), Some(vec![99, 1]), "a share above nothing is not nothing");
        assert_eq!(percents(&[Some(1), Some(1), Some(1)]), Some(vec![34, 33, 33]));
        assert_eq!(percents(&[Some(2), Some(1)]), Some(vec![67, 33]));
        let close = [Some(1), Some(1_919_467_465), Some(1), Some(1_919_467_466), Some(1)];
        assert_eq!(percents(&close), Some(vec![1, 48, 1, 49, 1]), "the larger weight gets no less");
    }

    #[test]
    fn copies_go_by_either_field() {
        let of = |route: Value| copies(&route).map(|(to, percent)| (to["host"].as_str().unwrap().to_owned(), percent)).collect::<Vec<_>>();
        let entry = json!({"destination": {"host": "a"}, "percentage": {"value": 10.0}});
        assert_eq!(of(json!({"mirrors": [entry], "mirror": {"host": "b"}})), [("a".to_owned(), 10.0), ("b".to_owned(), 100.0)]);
        assert_eq!(of(json!({"mirror": {"host": "b"}, "mirrorPercentage": {"value": 50.0}})), [("b".to_owned(), 50.0)]);
        assert_eq!(of(json!({"mirror": {"host": "b"}, "mirror_percent": 7})), [("b".to_owned(), 7.0)]);
        assert_eq!(of(json!({"mirror": {"host": "b"}, "mirrorPercentage": {}})), [("b".to_owned(), 0.0)]);
    }
}
