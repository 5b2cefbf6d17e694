//! Webhooks of MLflow: whether one is MLflow's, and what it is about. It only hastens the next look: nothing that it says is believed.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::Value;

/// How old a delivery may be, and how far ahead of our clock, in seconds.
const FRESH: u64 = 300;
/// Longest text of a header.
const LONGEST: usize = 256;

/// What came with a delivery: `X-MLflow-Signature`, `X-MLflow-Delivery-ID` and `X-MLflow-Timestamp`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery<'a> {
    /// `v1,` and the signature in base64.
    pub signature: Option<&'a str>,
    /// The identity of the delivery.
    pub id: Option<&'a str>,
    /// Seconds since 1970.
    pub timestamp: Option<&'a str>,
    /// The body as it came.
    pub body: &'a [u8],
}

/// Why a delivery is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// A header is missing, or not what MLflow sends.
    #[error("not a signed delivery of MLflow")]
    Unsigned,
    /// Too old, or from the future.
    #[error("the delivery is not from the last five minutes")]
    Old,
    /// Signed with another secret, or changed on the way.
    #[error("the signature does not fit")]
    Wrong,
}

/// Whether a delivery is from whoever has the secret, and recent. The comparison takes as long whatever is wrong.
///
/// # Errors
/// When it is not.
pub fn verify(secret: &[u8], delivery: Delivery<'_>, now: i64) -> Result<(), Forged> {
    let text = |header: Option<&'_ str>| header.filter(|text| !text.is_empty() && text.len() <= LONGEST).map(str::to_owned);
    let (Some(id), Some(timestamp)) = (text(delivery.id), text(delivery.timestamp)) else { return Err(Forged::Unsigned) };
    let signature = delivery.signature.filter(|text| text.len() <= LONGEST).and_then(|text| text.strip_prefix("v1,"));
    let signature = signature.and_then(|text| STANDARD.decode(text).ok()).ok_or(Forged::Unsigned)?;
    let sent: i64 = timestamp.parse().map_err(|_| Forged::Unsigned)?;
    if sent.abs_diff(now) > FRESH {
        return Err(Forged::Old);
    }
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", delivery.body].concat();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed, &signature).map_err(|_| Forged::Wrong)
}

/// The model that a delivery is about, if it says one.
pub fn model(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.pointer("/data/name").and_then(Value::as_str).map(str::to_owned)
}
