//! Rules that are the same for every write: names, finalizers, what Istio's webhook refuses; and identities.

use serde_json::Value;

use super::answer::{Cause, Refusal};
use crate::sim::kinds::Kind;

/// What Istio's own webhook refuses.
pub(super) fn refuse_weights(object: &Value) -> Result<Vec<String>, Refusal> {
    let denied = |why: String| {
        let message = format!("admission webhook \"validation.istio.io\" denied the request: configuration is invalid: {why}");
        Err(Refusal::new(400, "", message))
    };
    for http in object.pointer("/spec/http").and_then(Value::as_array).into_iter().flatten() {
        let weights: Vec<i64> = http
            .get("route")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|d| d.get("weight").and_then(Value::as_i64).unwrap_or(0))
            .collect();
        if let Some(weight) = weights.iter().find(|w| **w < 0) {
            return denied(format!("weight {weight} < 0"));
        }
        if weights.len() > 1 && weights.iter().sum::<i64>() == 0 {
            return denied("total destination weight = 0".into());
        }
    }
    Ok(Vec::new())
}

pub(super) fn check_name(kind: &Kind, name: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.len() <= 253 && name.chars().all(fits) && edge(name.chars().next()) && edge(name.chars().last()) {
        return Ok(());
    }
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
                alphanumeric character (e.g. 'example.com', regex used for validation is \
                '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let cause = Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {name:?}: {rule}"), field: "metadata.name".into() };
    Err(Refusal::invalid(kind, name, &[cause]))
}

pub(super) fn check_finalizers(kind: &Kind, name: &str, current: &Value, wanted: &Value) -> Result<(), Refusal> {
    if current.pointer("/metadata/deletionTimestamp").is_none() {
        return Ok(());
    }
    let had = finalizers(current);
    let new: Vec<String> = finalizers(wanted).into_iter().filter(|f| !had.contains(f)).map(|f| format!("{f:?}")).collect();
    if new.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        new.join(", ")
    );
    let cause = Cause { reason: "FieldValueForbidden", message, field: "metadata.finalizers".into() };
    Err(Refusal::invalid_update(kind, name, &cause))
}

pub(super) fn finalizers(object: &Value) -> Vec<String> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An identity, from a number that no other object has.
pub(crate) fn uid(number: u64) -> String {
    let (left, right) = (mix(number), mix(number ^ 0x5851_F42D_4C95_7F2D));
    let hex = format!("{left:016x}{right:016x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// Five characters, as `generateName` adds them.
pub(crate) fn suffix(number: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut n = mix(number);
    let mut next = || {
        let letter = LETTERS.get((n % LETTERS.len() as u64) as usize).copied().unwrap_or(b'x');
        n /= LETTERS.len() as u64;
        char::from(letter)
    };
    (0..5).map(|_| next()).collect()
}

/// SplitMix64: numbers in a row to numbers that look random.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
