//! What the hot paths of the pure crates may cost, in instructions: the same on a busy machine as on a quiet one.
//!
//! Each budget is what callgrind counted when it was set, and a tenth more. Who exceeds one either finds the reason
//! or raises the budget with a reason; who makes a path much cheaper lowers it. Counts hold for the profile
//! `instructions`, the toolchain of `rust-toolchain.toml` and x86_64: `make test-instructions` takes care of that.

use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_instructions");
const ROUNDS: u64 = 5;

/// Each test is named after its path.
macro_rules! budgets {
    ($($path:ident: $budget:literal,)*) => {
        const BUDGETS: &[&str] = &[$(stringify!($path)),*];
        $(#[test] fn $path() { keeps_within(stringify!($path), $budget); })*
    };
}

budgets! {
    parse_messages: 13_800,
    parse_browser_messages: 59_400,
    find_identifiers: 42_500,
    identify_known: 3_150,
    identify_new: 18_700,
    identify_merging: 36_900,
    fold_event: 27_800,
    fold_twenty_events: 134_000,
    advance_windows: 98_200,
    merge_states: 215_000,
    find_edges: 49_900,
    evaluate_definitions: 113_000,
    next_change: 97_200,
    filter_routes: 10_300,
    read_definitions: 65_000,
    bucket: 5_030,
    decide: 11_700,
    value_from_json: 6_770,
    value_to_json: 19_100,
    add_decimals: 653,
}

#[track_caller]
fn keeps_within(path: &str, budget: u64) {
    let (count, profile) = per_operation(path, "budget");
    let advice = format!(
        "{path}: {count:.0} instructions an operation, the budget is {budget}; where they go: callgrind_annotate {}",
        profile.display()
    );
    println!("{path}: {count:.0} instructions an operation (budget {budget})");
    assert!(count <= budget as f64, "too many: {advice}");
    assert!(
        count >= budget as f64 * 0.75,
        "far fewer than were expected: {advice}; if that is right, make the budget {:.0}, so that what was won stays",
        count * 1.1
    );
}

/// Instructions of one operation, and where callgrind's profile is.
fn per_operation(path: &str, run: &str) -> (f64, PathBuf) {
    let profile =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{path}.{run}.callgrind"));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--error-exitcode=1"])
        // Starting and making the inputs do not count.
        .arg("--toggle-collect=instructions::measured")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .args([PROGRAM, path, &ROUNDS.to_string()])
        .output()
        .unwrap_or_else(|error| {
            panic!("valgrind cannot be run ({error}): tools/setup.sh tests installs it")
        });
    assert!(
        run.status.success(),
        "{path} failed: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    let written = std::fs::read_to_string(&profile).expect("a profile");
    let total: u64 = written
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse().ok())
        .unwrap_or_else(|| panic!("{} holds no total", profile.display()));
    let operations: u64 = String::from_utf8_lossy(&run.stdout)
        .trim()
        .parse()
        .expect("a number of operations");
    (total as f64 / (ROUNDS * operations) as f64, profile)
}

#[test]
fn every_path_has_a_budget() {
    let run = Command::new(PROGRAM).output().expect("a list");
    let listed = String::from_utf8(run.stdout).expect("a text");
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(names, BUDGETS);
}

/// With hash tables whose seeds differ from run to run, the counts still tell a hundredth apart.
#[test]
fn counts_repeat() {
    for path in ["identify_merging", "fold_event"] {
        let runs = ["first", "second", "third"];
        let counts = runs.map(|run| per_operation(path, run).0);
        let least = counts.iter().copied().fold(f64::INFINITY, f64::min);
        let most = counts.iter().copied().fold(0.0, f64::max);
        println!("{path}: {counts:?}");
        assert!(most - least <= least * 0.005, "{path}: {counts:?}");
    }
}
