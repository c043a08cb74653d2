//! The reference lists everything there is and nothing else: functions, views, settings, error codes.

use std::collections::BTreeSet;
use std::path::Path;

use cdp_tests::{golden, snapshot, Cluster};

fn read(path: &str) -> String {
    let path = cdp_tests::repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All source files under a folder, one after the other.
fn sources(folder: &str) -> String {
    let mut all = String::new();
    golden::visit(&cdp_tests::repository().join(folder), &mut |path: &Path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap_or_default());
        }
    });
    all
}

/// Fails with what is only in the one or only in the other.
#[track_caller]
fn same(page: &str, documented: &BTreeSet<String>, existing: &BTreeSet<String>) {
    let missing: Vec<_> = existing.difference(documented).collect();
    let invented: Vec<_> = documented.difference(existing).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{page}: not documented: {missing:?}; documented, but there is no such thing: {invented:?}"
    );
    assert!(
        !existing.is_empty(),
        "nothing was found to compare {page} with"
    );
}

/// The words of `text` that `matches` says yes to, where a word is letters, digits, `_` and `.`.
fn words(text: &str, matches: impl Fn(&str) -> bool) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        .map(|word| word.trim_matches('.'))
        .filter(|word| matches(word))
        .map(str::to_string)
        .collect()
}

/// What the first column of a page's tables shows as code.
fn first_column(page: &str) -> BTreeSet<String> {
    read(page)
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split('`').next())
        .map(str::to_string)
        .collect()
}

fn is_error_code(word: &str) -> bool {
    word.len() == 5 && word.starts_with("CD") && word[2..].bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn every_error_code_is_in_the_reference() {
    let existing = words(&format!("{}{}", sources("crates"), sources("src")), is_error_code);
    same(
        "docs/reference/errors.md",
        &first_column("docs/reference/errors.md"),
        &existing,
    );
}

#[test]
fn every_setting_is_in_the_reference() {
    let cluster = Settings_with_library::start();
    let existing = snapshot::column(
        &mut cluster.client("postgres"),
        "SELECT name FROM pg_settings WHERE name LIKE 'cdp.%'",
    )
    .into_iter()
    .collect();
    same(
        "docs/reference/settings.md",
        &first_column("docs/reference/settings.md"),
        &existing,
    );
}
