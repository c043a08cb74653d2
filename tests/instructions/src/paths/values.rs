//! Values and exact numbers.

use super::{messages, Path};
use cdp_value::{Decimal, Value};
use std::hint::black_box;

const MESSAGES: u64 = 100;

pub fn paths() -> Vec<Path> {
    vec![
        Path {
            name: "value_from_json",
            operation: "message that becomes a value",
            operations: MESSAGES,
            prepare: || {
                let bodies = bodies();
                Box::new(move || {
                    for body in &bodies {
                        black_box(Value::from_json(black_box(body)));
                    }
                })
            },
        },
        Path {
            name: "value_to_json",
            operation: "value that becomes the text of a message",
            operations: MESSAGES,
            prepare: || {
                let values: Vec<Value> = bodies().iter().map(Value::from_json).collect();
                Box::new(move || {
                    for value in &values {
                        black_box(black_box(value).to_json().to_string());
                    }
                })
            },
        },
        Path {
            name: "add_decimals",
            operation: "amount that is read and added to a sum",
            operations: 1_000,
            prepare: || {
                let amounts: Vec<String> = (0..1_000)
                    .map(|n| format!("{}.{:02}", n * 37 % 1_000, n % 100))
                    .collect();
                Box::new(move || {
                    let mut sum = Decimal::zero();
                    for amount in &amounts {
                        let amount = Decimal::parse(black_box(amount)).expect("a number");
                        sum = sum.checked_add(&amount).expect("a sum");
                    }
                    black_box(sum);
                })
            },
        },
    ]
}

fn bodies() -> Vec<serde_json::Value> {
    messages::plain(MESSAGES)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a message"))
        .collect()
}
