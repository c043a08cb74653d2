//! Buckets are a promise: other programs compute them too. `vectors.json` was made by one of them.

use cdp_decision::{bucket, Purpose};

#[test]
fn buckets_are_those_published() {
    let text = include_str!("vectors.json");
    let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let vectors = json["vectors"].as_array().cloned().unwrap_or_default();
    assert_eq!(vectors.len(), 100);
    for vector in vectors {
        let purpose = [
            Purpose::Rollout,
            Purpose::Split,
            Purpose::Holdout,
            Purpose::Group,
        ]
        .into_iter()
        .find(|purpose| vector["purpose"] == purpose.as_str());
        let (salt, key) = (
            vector["salt"].as_str().unwrap_or("?"),
            vector["key"].as_str().unwrap_or("?"),
        );
        let got = purpose.map(|purpose| u64::from(bucket(purpose, salt, key)));
        assert_eq!(got, vector["bucket"].as_u64(), "{vector}");
    }
}
