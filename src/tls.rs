//! The crypto provider of this process.

/// Makes ring the crypto provider of rustls. May be called any number of times; the first provider installed stays.
///
/// Every HTTP client of this program is built without a provider of its own, so this comes first.
pub fn install() {
    // Err means that another call was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
