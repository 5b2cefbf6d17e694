//! Conditions of Argo Rollouts (`result[0] >= 0.95`) as limits. Pure.

/// What a value must be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Range {
    /// Not less than this.
    pub(super) min: Option<f64>,
    /// Not greater than this.
    pub(super) max: Option<f64>,
    /// The condition also says what is to be thought of a missing value.
    pub(super) of_missing: bool,
}

/// The limits of a condition that must hold. `None`: it is no comparison of the result with numbers.
pub(super) fn success(text: &str) -> Option<Range> {
    let mut of_missing = false;
    let mut one = None;
    for part in text.split("||").map(unwrapped) {
        if is_of_missing(part) {
            of_missing = true;
        } else if one.replace(part).is_some() {
            return None;
        }
    }
    let mut range = Range { of_missing, ..Range::default() };
    for part in one?.split("&&").map(unwrapped) {
        if is_of_missing(part) {
            range.of_missing = true;
        } else {
            range.take(comparison(part)?)?;
        }
    }
    range.sound()
}

/// The limits of a condition that must not hold.
pub(super) fn failure(text: &str) -> Option<Range> {
    if text.contains("&&") {
        return None;
    }
    let mut range = Range::default();
    for part in text.split("||").map(unwrapped) {
        if is_of_missing(part) {
            range.of_missing = true;
        } else {
            let (is, limit) = comparison(part)?;
            let not = match is {
                Is::AtLeast => Is::AtMost,
                Is::AtMost => Is::AtLeast,
                Is::Equal => return None,
            };
            range.take((not, limit))?;
        }
    }
    range.sound()
}

impl Range {
    fn take(&mut self, (is, limit): (Is, f64)) -> Option<()> {
        match is {
            Is::AtLeast if self.min.is_none() => self.min = Some(limit),
            Is::AtMost if self.max.is_none() => self.max = Some(limit),
            // Of counts: none.
            Is::Equal if self.max.is_none() && limit == 0.0 => self.max = Some(limit),
            _ => return None,
        }
        Some(())
    }

    fn sound(self) -> Option<Self> {
        let ordered = self.min.zip(self.max).is_none_or(|(min, max)| min < max);
        ((self.min.is_some() || self.max.is_some()) && ordered).then_some(self)
    }
}

#[derive(Clone, Copy)]
enum Is {
    AtLeast,
    AtMost,
    Equal,
}

fn comparison(text: &str) -> Option<(Is, f64)> {
    let (at, operator) = ["<=", ">=", "==", "<", ">"]
        .into_iter()
        .filter_map(|one| Some((text.find(one)?, one)))
        .min_by_key(|(at, one)| (*at, 2 - one.len()))?;
    let (left, right) = (text.get(..at)?.trim(), text.get(at + operator.len()..)?.trim());
    let is = |left_is_value: bool| match (operator, left_is_value) {
        ("==", _) => Is::Equal,
        (">=" | ">", true) | ("<=" | "<", false) => Is::AtLeast,
        _ => Is::AtMost,
    };
    match (is_value(left), is_value(right)) {
        (true, false) => Some((is(true), right.parse().ok()?)),
        (false, true) => Some((is(false), left.parse().ok()?)),
        _ => None,
    }
}

/// The value itself, perhaps in the functions that change only its type.
fn is_value(text: &str) -> bool {
    let text = text.trim();
    if matches!(text, "result" | "result[0]") {
        return true;
    }
    let Some((function, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else { return false };
    match function.trim() {
        "asFloat" | "asInt" => is_value(inner),
        "default" => inner.rsplit_once(',').is_some_and(|(value, _)| is_value(value)),
        _ => false,
    }
}

/// A part that asks whether there is a value at all.
fn is_of_missing(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let plain = plain.trim_start_matches('!');
    if plain.contains("&&") {
        return false;
    }
    ["isNaN(", "isInf(", "isNil(", "len(result)", "result==nil", "result!=nil"].iter().any(|guard| plain.starts_with(guard))
}

/// A part without the brackets around all of it.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    inner.filter(|inner| !inner.contains(['(', ')'])).map_or(text, str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: Option<f64>, max: Option<f64>, of_missing: bool) -> Option<Range> {
        Some(Range { min, max, of_missing })
    }

    #[test]
    fn a_comparison_with_a_number_becomes_a_limit() {
        for (text, wanted) in [
            ("result[0] >= 0.95", range(Some(0.95), None, false)),
            ("result > 0.95", range(Some(0.95), None, false)),
            ("0.5 > result[0]", range(None, Some(0.5), false)),
            ("asFloat(result[0]) < 5", range(None, Some(5.0), false)),
            ("default(result[0], 0) <= 5", range(None, Some(5.0), false)),
            ("result[0] == 0", range(None, Some(0.0), false)),
            ("result[0] >= 0.9 && result[0] <= 1.1", range(Some(0.9), Some(1.1), false)),
            ("len(result) == 0 || result[0] >= 0.95", range(Some(0.95), None, true)),
            ("isNaN(result[0]) || (result[0] < 0.05)", range(None, Some(0.05), true)),
            ("!isNaN(result[0]) && result[0] < 2", range(None, Some(2.0), true)),
        ] {
            assert_eq!(success(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_comparison_of_the_one_value_is_left_to_a_person() {
        for text in [
            "result[0] == 1",
            "result[1] > 2",
            "all(result, # < 0.5)",
            "result[0] < 1 || result[0] > 5",
            "result.ok == true",
            "",
            "result[0] < x",
        ] {
            assert_eq!(success(text), None, "{text}");
        }
        for text in ["result[0] < 1 && result[0] > 0", "result[0] == 0"] {
            assert_eq!(failure(text), None, "{text}");
        }
    }

    #[test]
    fn what_must_not_hold_is_the_other_side_of_the_limit() {
        assert_eq!(failure("result[0] >= 5"), range(None, Some(5.0), false));
        assert_eq!(failure("result[0] < 0.9 || result[0] > 1.1"), range(Some(0.9), Some(1.1), false));
        assert_eq!(failure("isNaN(result[0]) || result[0] > 1"), range(None, Some(1.0), true));
    }
}
