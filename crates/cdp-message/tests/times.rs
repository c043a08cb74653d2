//! Which time counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_message::ErrorCode;
use common::{one, refusal, NOW};

const SECOND: i64 = 1_000_000;

/// The resulting time and the client's own, both as microseconds before arrival.
fn times(fields: &str) -> (i64, Option<i64>) {
    let message = one(&format!(r#"{{"userId":"a","event":"x"{fields}}}"#));
    (
        NOW - message.timestamp,
        message.original_timestamp.map(|at| NOW - at),
    )
}

#[test]
fn without_any_time_it_is_the_time_of_arrival() {
    assert_eq!(times(""), (0, None));
    assert_eq!(times(r#","sentAt":"2020-01-01""#), (0, None));
    assert_eq!(times(r#","timestamp":null"#), (0, None));
}

#[test]
fn without_a_time_of_sending_it_is_the_clients_time() {
    // NOW is 2026-11-20T07:33:20Z.
    assert_eq!(
        times(r#","timestamp":"2026-11-20T07:33:10Z""#),
        (10 * SECOND, Some(10 * SECOND))
    );
    assert_eq!(
        times(r#","originalTimestamp":1795159990"#),
        (10 * SECOND, Some(10 * SECOND))
    );
    assert_eq!(
        times(r#","timestamp":1795159995000,"originalTimestamp":"1795159990""#),
        (5 * SECOND, Some(10 * SECOND))
    );
}

#[test]
fn the_clients_clock_is_corrected_by_the_time_of_sending() {
    // A clock one hour ahead; the message waited ten seconds.
    assert_eq!(
        times(r#","timestamp":"2026-11-20T08:33:05Z","sentAt":"2026-11-20T08:33:15Z""#),
        (10 * SECOND, Some(-3585 * SECOND))
    );
    // A clock stuck in 1970.
    assert_eq!(
        times(r#","timestamp":5,"sentAt":7.5"#),
        (2_500_000, Some(NOW - 5 * SECOND))
    );
    // The original timestamp goes before the timestamp.
    assert_eq!(
        times(r#","timestamp":50,"originalTimestamp":5,"sentAt":7"#),
        (2 * SECOND, Some(NOW - 5 * SECOND))
    );
}

#[test]
fn events_of_the_future_happened_at_their_arrival() {
    assert_eq!(
        times(r#","timestamp":"2030-01-01""#),
        (0, Some(NOW - 1_893_456_000 * SECOND))
    );
    // Sent before it happened, by the client's own clock.
    assert_eq!(times(r#","timestamp":10,"sentAt":5"#).0, 0);
}

#[test]
fn another_collectors_time_of_arrival_takes_part_in_the_correction() {
    // The example of the spec: every time of a message that was processed before.
    let fields = r#","receivedAt":"2015-12-12T19:11:01.266Z","sentAt":"2015-12-12T19:11:01.169Z",
        "timestamp":"2015-12-12T19:11:01.249Z","originalTimestamp":"2015-12-12T19:11:01.152Z""#;
    let message = one(&format!(r#"{{"userId":"a","event":"x"{fields}}}"#));
    assert_eq!(message.timestamp, 1_449_947_461_249_000);
    assert_eq!(message.received_at, NOW);
    // It cannot have arrived there after it arrived here.
    assert_eq!(
        times(r#","receivedAt":"2030-01-01","timestamp":10,"sentAt":15"#).0,
        5 * SECOND
    );
}

#[test]
fn times_that_are_none_are_refused() {
    let refused = |fields: &str| refusal(&format!(r#"{{"userId":"a","event":"x"{fields}}}"#));
    for (fields, code, field) in [
        (
            r#","timestamp":"yesterday""#,
            ErrorCode::InvalidTimestamp,
            "timestamp",
        ),
        (
            r#","timestamp":"""#,
            ErrorCode::InvalidTimestamp,
            "timestamp",
        ),
        (
            r#","sentAt":"2024-02-30""#,
            ErrorCode::InvalidTimestamp,
            "sent_at",
        ),
        (
            r#","originalTimestamp":"12:00""#,
            ErrorCode::InvalidTimestamp,
            "original_timestamp",
        ),
        (
            r#","timestamp":1795159990000000"#,
            ErrorCode::TimestampOutOfRange,
            "timestamp",
        ),
        (
            r#","timestamp":1e300"#,
            ErrorCode::TimestampOutOfRange,
            "timestamp",
        ),
        (
            r#","timestamp":-1e14"#,
            ErrorCode::TimestampOutOfRange,
            "timestamp",
        ),
        (
            r#","timestamp":"0001-01-01","sentAt":"9999-01-01""#,
            ErrorCode::TimestampOutOfRange,
            "timestamp",
        ),
    ] {
        assert_eq!(refused(fields), (code, field.to_owned()), "{fields}");
    }
}
