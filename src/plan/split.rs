//! What of the traffic a step gives to the canary, and what of it is found.

use serde::{Deserialize, Serialize};

use crate::api::{Match, StringMatch};

/// The traffic of a step: users at random, users whose requests match, copies of requests. Any of them may be there with any other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Canary's share of the route's traffic in percent; 0: none.
    #[serde(default)]
    pub weight: u8,
    /// How many of the requests are copied to the canary, in percent; 0: none.
    #[serde(default, skip_serializing_if = "zero")]
    pub mirror: u8,
    /// Requests that fit one of these go to the canary.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
}

/// How much of a split is there: in the route, in our annotation, in status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Canary's share in percent.
    #[serde(default)]
    pub weight: u8,
    /// Copies in percent.
    #[serde(default, skip_serializing_if = "zero")]
    pub mirror: u8,
    /// The route of the match leads to the canary.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub matched: bool,
}

// serde asks for a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn zero(percent: &u8) -> bool {
    *percent == 0
}

impl Split {
    /// A weight alone.
    pub fn weight(weight: u8) -> Self {
        Self { weight, ..Self::default() }
    }

    /// All of it.
    pub fn share(&self) -> Share {
        Share { weight: self.weight, mirror: self.mirror, matched: !self.matches.is_empty() }
    }

    /// For people: as [`Share::words`], with what the match asks for.
    pub fn words(&self) -> String {
        let matches: Vec<String> = self.matches.iter().map(match_words).collect();
        let share = self.share().words();
        if matches.is_empty() { share } else { share.replacen("match", &format!("match {}", matches.join(" or ")), 1) }
    }

    /// Whether evidence of one is evidence of the other: the same kinds of traffic, the same users. Weights may differ.
    pub fn same_kind(&self, other: &Self) -> bool {
        (self.weight > 0, self.mirror > 0) == (other.weight > 0, other.mirror > 0) && self.matches == other.matches
    }
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self { weight: 0, mirror: 0, matched: false };

    /// A weight alone.
    pub fn weight(weight: u8) -> Self {
        Self { weight, ..Self::NONE }
    }

    /// Whether nothing reaches the canary.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether users get answers of the canary.
    pub fn reaches_users(self) -> bool {
        self.weight > 0 || self.matched
    }

    /// Whether there is at least as much as that of everything.
    pub fn covers(self, other: Self) -> bool {
        self.weight >= other.weight && self.mirror >= other.mirror && (self.matched || !other.matched)
    }

    /// What both have.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self { weight: self.weight.min(other.weight), mirror: self.mirror.min(other.mirror), matched: self.matched && other.matched }
    }

    /// How many of the canary's requests were copies, when stable had `stable`. Copies are made of what the managed route gets, and stable has
    /// what of that the weight leaves. Where only senders count (`copied` is false), no copy is among them.
    pub fn copies(self, stable: u64, canary: u64, copied: bool) -> u64 {
        let made = stable as f64 * f64::from(self.mirror) / f64::from(100_u8.saturating_sub(self.weight).max(1));
        match self.mirror {
            0 => 0,
            _ if !self.reaches_users() => canary,
            _ if !copied => 0,
            _ => (made.round() as u64).min(canary),
        }
    }

    /// For people: `20 %`, `match`, `mirror of 100 %`, `5 % + match + mirror of 10 %`, `0 %`.
    pub fn words(self) -> String {
        let mut parts = Vec::new();
        if self.weight > 0 || self.is_none() {
            parts.push(format!("{} %", self.weight));
        }
        if self.matched {
            parts.push("match".to_owned());
        }
        if self.mirror > 0 {
            parts.push(format!("mirror of {} %", self.mirror));
        }
        parts.join(" + ")
    }
}

/// `x-user-group=beta`, `cookie~.*group=beta.*`, `?model=v2`, `path=/beta*`; several with `and`.
fn match_words(one: &Match) -> String {
    let text = |text: &StringMatch| match text {
        StringMatch { exact: Some(exact), .. } => format!("={exact}"),
        StringMatch { prefix: Some(prefix), .. } => format!("={prefix}*"),
        StringMatch { regex, .. } => format!("~{}", regex.as_deref().unwrap_or_default()),
    };
    let headers = one.headers.iter().map(|(name, value)| format!("{name}{}", text(value)));
    let params = one.query_params.iter().map(|(name, value)| format!("?{name}{}", text(value)));
    let uri = one.uri.iter().map(|uri| format!("path{}", text(uri)));
    headers.chain(params).chain(uri).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_match_is_written_for_people() {
        let matches = serde_json::from_value(json!([
            {"headers": {"x-user-group": {"exact": "beta"}}, "uri": {"prefix": "/v1"}},
            {"headers": {"cookie": {"regex": ".*group=beta.*"}}, "queryParams": {"model": {"exact": "v2"}}},
        ]));
        let split = Split { weight: 5, mirror: 0, matches: matches.unwrap() };
        assert_eq!(split.words(), "5 % + match x-user-group=beta and path=/v1* or cookie~.*group=beta.* and ?model=v2");
    }

    #[test]
    fn shares_are_compared_part_by_part() {
        let (some, more) = (Share { weight: 5, mirror: 0, matched: true }, Share { weight: 20, mirror: 100, matched: true });
        assert!(more.covers(some) && !some.covers(more));
        let other = Share { weight: 50, ..Share::NONE };
        assert!(!other.covers(some) && !some.covers(other), "more of one and less of another");
        assert_eq!(some.least(other), Share::weight(5));
        assert!(Share::NONE.is_none() && !Share { mirror: 1, ..Share::NONE }.reaches_users());
    }

    #[test]
    fn copies_beside_users_are_reckoned_from_what_stable_had() {
        let all = Share { weight: 5, mirror: 20, matched: true };
        // Of 1,000 requests 100 fit the match; of the 900 others 45 go to the canary, and 180 are copied.
        assert_eq!(all.copies(855, 100 + 45 + 180, true), 180);
        assert_eq!(all.copies(855, 145, false), 0, "senders count no copy");
        assert_eq!(Share { mirror: 100, ..Share::NONE }.copies(855, 850, true), 850, "without users all are copies");
        assert_eq!(Share::weight(50).copies(500, 500, true), 0);
        assert_eq!(all.copies(10_000, 3, true), 3, "never more than there are");
    }

    #[test]
    fn a_share_is_written_for_people() {
        let words = |weight, mirror, matched| Share { weight, mirror, matched }.words();
        assert_eq!(words(0, 0, false), "0 %");
        assert_eq!(words(20, 0, false), "20 %");
        assert_eq!(words(0, 100, false), "mirror of 100 %");
        assert_eq!(words(5, 10, true), "5 % + match + mirror of 10 %");
    }
}
