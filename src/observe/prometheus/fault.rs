//! Why a query gave no data, and what can be done about it.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{StatusCode, header};

use super::selector::BadName;
use super::words;

/// Longest pause that a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a query gave no data. No message holds the URL or a secret; a server's own words are in it, at most 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No connection, or it broke.
    #[error("Prometheus cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer within 10 s.
    #[error("Prometheus did not answer within 10 s")]
    Timeout,
    /// The answer is longer than 16 MiB.
    #[error("the answer is longer than 16 MiB: fewer series, or a longer scrape interval")]
    TooLarge,
    /// Redirects are not followed: the token would go with them.
    #[error("HTTP {0}: a redirect, which is not followed; set the provider's url to where it leads")]
    Redirect(u16),
    /// 401 or 403, with the server's words.
    #[error("HTTP {0}: Prometheus refuses the request: {1}")]
    Unauthorized(u16, String),
    /// The request could not be signed: a file cannot be read, or a source of tokens gives none.
    #[error("{0}")]
    SignIn(String),
    /// 429 or 503: the server asks for a pause.
    #[error("HTTP {status}: Prometheus is busy: {said}")]
    Busy {
        /// The status.
        status: u16,
        /// How long it asks to wait, at most a minute.
        retry_after: Option<Duration>,
        /// The server's words.
        said: String,
    },
    /// Another HTTP status, with the server's words.
    #[error("HTTP {0}: {1}")]
    Status(u16, String),
    /// HTML, most likely of a login page.
    #[error("the answer is HTML, not JSON: most likely a login page; check the provider's url")]
    NotJson,
    /// `status` is not `success`.
    #[error("Prometheus says: {0}")]
    NotSuccess(String),
    /// Not the type of result that the query must give.
    #[error("the answer is a {found}, not a {wanted}")]
    WrongType {
        /// What the query must give.
        wanted: &'static str,
        /// What came.
        found: String,
    },
    /// The data may be partial.
    #[error("Prometheus warns, so the data may be partial: {0}")]
    Warnings(String),
    /// A sample is NaN or infinite.
    #[error("a sample of {0} is not a finite number")]
    NotFinite(String),
    /// Where one number must come, nothing came.
    #[error("the query gave nothing")]
    Nothing,
    /// Where one number must come, several came.
    #[error("the query gave {0} series, one is expected: put max(), min(), sum() or avg() around it")]
    Several(usize),
    /// Not the answer of a query.
    #[error("the answer cannot be used: {0}")]
    Malformed(String),
    /// A name in the query that Prometheus would not take.
    #[error(transparent)]
    BadName(#[from] BadName),
}

impl QueryError {
    /// What the status and the body of an answer that is no success mean.
    pub(super) fn of(status: StatusCode, headers: &header::HeaderMap, body: &[u8], secrets: &[String]) -> Self {
        let code = status.as_u16();
        let said = words::of(body, secrets);
        let or_name = |said: Option<String>| said.or_else(|| status.canonical_reason().map(str::to_owned)).unwrap_or_default();
        match code {
            300..=399 => Self::Redirect(code),
            401 | 403 => {
                let silent = || "it says no more; check how the provider signs in, and its headers".to_owned();
                Self::Unauthorized(code, said.map_or_else(silent, |said| format!("{said}{}", hint(&said))))
            }
            429 | 503 => Self::Busy { status: code, retry_after: retry_after(headers), said: or_name(said) },
            404 => Self::Status(code, format!("{}; check the provider's url", or_name(said))),
            _ => Self::Status(code, or_name(said)),
        }
    }

    /// With `repeat` done to every text that is the server's own.
    #[must_use]
    pub(super) fn repeated(self, repeat: impl Fn(&str) -> String) -> Self {
        match self {
            Self::NotSuccess(said) => Self::NotSuccess(repeat(&said)),
            Self::Warnings(said) => Self::Warnings(repeat(&said)),
            Self::NotFinite(said) => Self::NotFinite(repeat(&said)),
            Self::WrongType { wanted, found } => Self::WrongType { wanted, found: repeat(&found) },
            other => other,
        }
    }

    /// The same question at the same time would get this again: what is asked next must be another question, or of another time.
    ///
    /// Not so where the answer depends on who asks and where (401, 403, 404, 407, a login page): once that is fixed, the same question is
    /// answered, and no window is lost.
    pub fn would_come_again(&self) -> bool {
        match self {
            Self::Status(code, _) => (400..500).contains(code) && !matches!(code, 404 | 407 | 408),
            Self::TooLarge
            | Self::NotSuccess(_)
            | Self::WrongType { .. }
            | Self::NotFinite(_)
            | Self::Nothing
            | Self::Several(_)
            | Self::Malformed(_)
            | Self::BadName(_) => true,
            // Missing data may come; a connection and a server may be back; a file may be written.
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Redirect(_)
            | Self::Unauthorized(..)
            | Self::NotJson
            | Self::SignIn(_)
            | Self::Busy { .. }
            | Self::Warnings(_) => false,
        }
    }

    /// The question was more than the server, or this program, takes at once: a smaller one may be answered.
    pub fn is_too_much(&self) -> bool {
        matches!(self, Self::TooLarge | Self::Timeout | Self::Status(413 | 422 | 504, _))
    }

    /// How long the server asks to be left alone.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What ends a refusal that is known by its words.
fn hint(said: &str) -> &'static str {
    if said.to_lowercase().contains("no org id") { " (set headers: {X-Scope-OrgID: TENANT} in the provider)" } else { "" }
}

/// `Retry-After` in seconds, or as a date, which is compared with the `Date` of the same answer.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    let pause = match wanted.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => {
            let date = |text: &str| rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
            let (until, now): (Timestamp, Timestamp) = (date(wanted)?, date(text(header::DATE)?)?);
            Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (header::HeaderName::from_static(name), header::HeaderValue::from_static(value)));
        QueryError::of(StatusCode::TOO_MANY_REQUESTS, &headers.collect(), b"slow down", &[]).pause()
    }

    #[test]
    fn a_server_s_pause_is_honoured_up_to_a_minute() {
        assert_eq!(busy(&[]), None);
        assert_eq!(busy(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(busy(&[("retry-after", "1.5")]), Some(Duration::from_millis(1500)));
        assert_eq!(busy(&[("retry-after", "86400")]), Some(LONGEST_PAUSE));
        for never in ["-1", "soon", "NaN", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(busy(&[("retry-after", never)]), None, "{never}");
        }
        let date = |date| busy(&[("retry-after", "Wed, 21 Oct 2026 07:28:10 GMT"), ("date", date)]);
        assert_eq!(date("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(date("Wed, 21 Oct 2026 07:29:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn what_would_come_again_is_told_from_what_may_pass() {
        let of = |code: u16| QueryError::of(StatusCode::from_u16(code).unwrap(), &header::HeaderMap::new(), b"", &[]);
        for code in [400, 405, 413, 422] {
            assert!(of(code).would_come_again(), "{code}");
        }
        for code in [302, 401, 403, 404, 407, 408, 429, 500, 502, 503, 504] {
            assert!(!of(code).would_come_again(), "{code}");
        }
        assert_eq!(of(503), QueryError::Busy { status: 503, retry_after: None, said: "Service Unavailable".into() });
    }
}
