//! Standard Webhooks 1.0.0 signatures, symmetric.

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::Engine;
use ring::hmac;

/// Bytes of a signing secret: `whsec_` and base64 is decoded, anything else is used as it is.
pub fn secret_bytes(secret: &str) -> Vec<u8> {
    match secret.strip_prefix("whsec_") {
        Some(text) => STANDARD
            .decode(text)
            .or_else(|_| STANDARD_NO_PAD.decode(text))
            .unwrap_or_else(|_| secret.as_bytes().to_vec()),
        None => secret.as_bytes().to_vec(),
    }
}

/// One signature: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, the timestamp in
/// seconds since 1970.
pub fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret_bytes(secret));
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

/// Value of `webhook-signature`: one signature per active secret, so that a receiver that knows
/// either verifies while the secret is rotated.
pub fn signatures<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let all: Vec<String> = secrets
        .into_iter()
        .map(|secret| sign(secret, id, timestamp, body))
        .collect();
    all.join(" ")
}

/// Verifies a `webhook-signature` header in constant time. The caller checks the timestamp's age.
pub fn verify(secret: &str, id: &str, timestamp: i64, body: &[u8], header: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret_bytes(secret));
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    header
        .split(' ')
        .filter_map(|entry| STANDARD.decode(entry.strip_prefix("v1,")?).ok())
        .any(|signature| hmac::verify(&key, &signed, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = b"{\"test\": 2432232314}";

    /// The example vector of the specification's reference libraries.
    #[test]
    fn known_vector() {
        assert_eq!(
            sign(SECRET, ID, 1_614_265_330, BODY),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn rotation_and_verification() {
        let header = signatures([SECRET, "raw secret"], ID, 5, BODY);
        assert_eq!(header.split(' ').count(), 2);
        assert!(verify(SECRET, ID, 5, BODY, &header));
        assert!(verify("raw secret", ID, 5, BODY, &header));
        assert!(!verify("other", ID, 5, BODY, &header));
        assert!(!verify(SECRET, ID, 6, BODY, &header));
        assert!(!verify(SECRET, "x", 5, BODY, &header));
        assert!(!verify(SECRET, ID, 5, b"", &header));
        assert!(!verify(SECRET, ID, 5, BODY, "v1,%%% v2,AAAA"));
    }
}
