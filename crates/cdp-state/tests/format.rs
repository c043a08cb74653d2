//! Stored states stay readable: the bytes of each format, as a release wrote them.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod model;

use cdp_state::{EdgeEvents, State};
use cdp_value::{AggregateFunction as F, Timestamp, Value, Window, DAY, HOUR, MINUTE};
use model::{aggregates, answer, berlin, naive, number, spec_of, text, Event, NOW};

/// Thirty events, most of them in crowded blocks.
fn events() -> Vec<Event> {
    let value = |n: i64| -> Option<Value> {
        match n % 5 {
            0 => None,
            1 => Some(text(["red", "green", "blue"][(n / 5) as usize % 3])),
            2 => Some(number(&n.to_string())),
            _ => Some(number(&format!("{n}.95"))),
        }
    };
    let ts = |n: i64| -> Timestamp { NOW - n * n * HOUR / 2 - (n % 3) * MINUTE };
    let spread = (0..20).map(|n| (ts(n), value(n)));
    let crowd = (20..30).map(|n| (NOW - 5 * DAY + n * 1_000_003, value(n)));
    spread.chain(crowd).collect()
}

const FORMAT_1: &str = "\
010780a091ced6c745ffa3e5eae925001e0109e30a80a091ced6c745ff077f1e240cb02d420de62e80a4e5ea\
e9250d961f80e4eaed0d060372656480a4e5eae9251f030604626c75650605677265656e0603726564290000\
a0c37122a0a0cd024280ff9d040d9606a0da84060dde07a0b7e007008096b10921a0f1970b47a0cef30c0dfe\
0d80adc40e0dc60fa088ab1000a0e586122080c4d7134ca09fbe150de615a0fc99170dae1780dbea1800a0b6\
d11a22a093ad1c5180f2fd1d0dce1da0cde41f0d961f0118235c000a060c0cc018560de62e80ef9f972e21f8\
d4c5ad5cb6d1ca0802f0b8020902f0b8020902fa7e4a28e8150000ef1a4b283c28f01a3b28ca012facd53a01\
000800100010201000040001200001041010100811352facd53a010008001000102010000400012000010410\
101008113501d7013500336a0136683401326a37683501336a366934010280c8ceb40d202900a0c371a0a0cd\
0280ff9d04a0da8406a0b7e0078096b109a0f1970ba0cef30c80adc40ea088ab10a0e5861280c4d713a09fbe\
15a0fc991780dbea18a0b6d11aa093ad1c80f2fd1da0cde41f0118235c000af8d4c5ad5cb6d1ca08018080f6\
ba870a202900a0c371a0a0cd0280ff9d04a0da8406a0b7e0078096b109a0f1970ba0cef30c80adc40ea088ab\
10a0e5861280c4d713a09fbe15a0fc991780dbea18a0b6d11aa093ad1c80f2fd1da0cde41f0118235c000af8\
d4c5ad5cb6d1ca080115bcabb78ef5ef01d1a1f9f6e4fd088fddd5fcaaf302c691cbc8d8f102a1ed9dbee7dd\
0293e5f0d5a0f403d39fd487f2f605d0dcb3d9f4e6039fc0a6e3849a038287d2bb84ef02d1b385e787d801bf\
cdb298ae34a795fcdbfaad05a9dffac89c910284eccaccee0fe4dba3b3b88f03afd6f2f2a89002c3e8c9eeb6\
73aed2f5cad004f1acac9ef9d505b1e5a4b5bc0f151abcabb78ef5ef01d1a1f9f6e4fd088fddd5fcaaf302c6\
91cbc8d8f102a1ed9dbee7dd0293e5f0d5a0f403d39fd487f2f605d0dcb3d9f4e6039fc0a6e3849a038287d2\
bb84ef02d1b385e787d801bfcdb298ae34a795fcdbfaad05a9dffac89c910284eccaccee0fe4dba3b3b88f03\
afd6f2f2a89002c3e8c9eeb673aed2f5cad004f1acac9ef9d505b1e5a4b5bc0fe6e203961eda78bc03d0a406\
d10df49503cea406cfa406bbba0996c907a6be08c98f02af9105e135cea406cfa406e6d601b3a401cea406dd\
b6040015420d96060dde07470dfe0d0dc60f4c0de6150dae17510dce1d0d961f560db6250dfe265b0d9e2d0d\
e62e0604626c75650605677265656e06037265641542d10d0d9606961e0dde07e13547b3a4010dfe0de6d601\
0dc60fc98f024ce6e2030de615ddb6040dae17af91055196c9070dce1da6be080d961fbbba0956d0a4060db6\
25cfa4060dfe26cfa4065bcea4060d9e2dcea4060de62ecea4060604626c7565f495030605677265656eda78\
0603726564bc032a42010d9606010dde070147010dfe0d010dc60f014c010de615010dae170151010dce1d01\
0d961f0156010db625010dfe26015b010d9e2d010de62e010604626c7565020605677265656e020603726564\
0224420d96060dde07470dfe0d0dc60f4c0de6150dae17510dce1d0d961f560db6250dfe265b0d9e2d0de62e\
c0030604626c75650605677265656e06037265643c000080b2f5f6062280fac3ab14428098a88a210d960680\
8ae1942f0dde0780d2afc93c0080f093a8492180e2ccb2574780aa9be7640dfe0d80c8ffc5710dc60f80bab8\
d07f00808287858d012080a0ebe399014c8092a4eea7010de61580daf2a2b5010dae1780f8d681c20100e998\
e3bc640de62ec3843d0d9e2dc3843d5bc3843d20c3843d00c3843d0dfe26c3843d0db625c3843d56c3843d21\
c3843d00bca887cb6b2280b2dec0dd015180d0c29fea010dce1d80c2fba9f8010d961f00";

/// The parts that were added to the format later: counts by period.
const PERIODS: &str = "\
010780a091ced6c745ffa3e5eae925001e01095780a091ced6c745800804000009d4d73a0110010e010a0108\
010801040104010201010009f0b8020102010201020c02020202020202040205010209f0b802010201020102\
0202020202020202020202020102da2c010201";

#[test]
fn counts_by_period_are_written_and_read() {
    let by_period = |pair: &(F, Option<Window>)| !model::has_windows(pair.0);
    let chosen: Vec<_> = aggregates().into_iter().filter(by_period).collect();
    is_written_and_read(&chosen, PERIODS);
}

#[test]
fn format_1_is_written_and_read() {
    let others = |pair: &(F, Option<Window>)| model::has_windows(pair.0);
    let chosen: Vec<_> = aggregates().into_iter().filter(others).collect();
    is_written_and_read(&chosen, FORMAT_1);
}

fn is_written_and_read(aggregates: &[(F, Option<Window>)], format: &str) {
    let (calendar, spec, events) = (berlin(), spec_of(9, aggregates), events());
    let mut state = State::new();
    for (ts, value) in &events {
        state.touch(*ts);
        state.fold(&spec, *ts, value.as_ref(), &calendar).unwrap();
    }
    state.compact(&vec![spec.clone()], NOW).unwrap();
    let bytes = state.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, format);

    let bytes: Vec<u8> = (0..format.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&format[i..i + 2], 16).unwrap())
        .collect();
    let state = State::decode(&bytes).unwrap();
    assert_eq!(state.event_count, 30);
    for (function, window) in aggregates.iter().copied() {
        let approximate = state.is_approximate(&spec, function, window, NOW, &EdgeEvents::none());
        assert!(!approximate.unwrap());
        let expected = naive(&events, function, window, NOW, &calendar);
        let actual = answer(&state, &spec, &events, function, window, NOW, &calendar);
        assert_eq!(actual, expected, "{function:?} {window:?}");
    }
}
