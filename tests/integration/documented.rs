//! The reference lists everything there is and nothing else: error codes, settings, functions, views.

use std::collections::BTreeSet;
use std::path::Path;

use cdp_tests::{golden, snapshot, Cluster, Settings};

fn read(path: &str) -> String {
    let path = cdp_tests::repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust sources under a folder, one after the other.
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
    assert!(!existing.is_empty(), "nothing to compare {page} with");
    let missing: Vec<_> = existing.difference(documented).collect();
    let invented: Vec<_> = documented.difference(existing).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{page}\nnot documented: {missing:#?}\ndocumented, but there is no such thing: {invented:#?}"
    );
}

/// What the first column of the page's tables shows as code.
fn first_column(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split('`').next())
        .map(str::to_string)
        .collect()
}

#[test]
fn every_error_code_is_in_the_reference() {
    let is_code = |word: &&str| {
        word.len() == 5 && word.starts_with("CD") && word[2..].bytes().all(|b| b.is_ascii_digit())
    };
    let all = sources("crates") + &sources("src");
    let existing = all
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(is_code)
        .map(str::to_string)
        .collect();
    let page = "docs/reference/errors.md";
    same(page, &first_column(&read(page)), &existing);
}

fn from_catalog(cluster: &Cluster, query: &str) -> BTreeSet<String> {
    snapshot::column(&mut cluster.client("postgres"), query)
        .into_iter()
        .collect()
}

#[test]
fn every_setting_function_and_view_is_in_the_reference() {
    // Settings are known where the library is loaded.
    let cluster = Settings::new("documented").preload("").start();
    cluster.execute("postgres", "CREATE EXTENSION cdp");

    let page = "docs/reference/settings.md";
    let existing = from_catalog(
        &cluster,
        "SELECT name FROM pg_settings WHERE name LIKE 'cdp.%'",
    );
    same(page, &first_column(&read(page)), &existing);

    // Every signature is in a block of text: name(arguments) → result, on one line or more, without casts.
    let page = "docs/reference/functions.md";
    let mut documented = BTreeSet::new();
    for block in read(page).split("```text\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        // Lines that go on are indented.
        for signature in block.trim_end().replace("\n    ", " ").lines() {
            documented.insert(signature.to_string());
        }
    }
    let existing = from_catalog(
        &cluster,
        r"SELECT replace(regexp_replace(
             format('cdp.%I(%s) → %s', proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)),
             '::(jsonb|text\[\]|text|timestamp with time zone|integer|boolean|bigint)', '', 'g'), 'timestamp with time zone', 'timestamptz')
         FROM pg_proc AS p WHERE pronamespace = 'cdp'::regnamespace",
    );
    same(page, &documented, &existing);

    // Each view is a section with a table of its columns.
    let page = "docs/reference/tables.md";
    let mut documented = BTreeSet::new();
    for section in read(page).split("\n## ").skip(1) {
        let name = section.lines().next().unwrap_or_default().trim_matches('`');
        documented.extend(
            first_column(section)
                .iter()
                .map(|column| format!("{name}.{column}")),
        );
    }
    let existing = from_catalog(
        &cluster,
        "SELECT format('cdp.%s.%s', relname, attname) FROM pg_class AS c JOIN pg_attribute AS a ON attrelid = c.oid
         WHERE relnamespace = 'cdp'::regnamespace AND relkind IN ('v', 'r', 'p') AND attnum > 0 AND NOT attisdropped",
    );
    same(page, &documented, &existing);
}

/// Links to files of the checkout, as `](path)` or `](path#anchor)`.
fn broken_links(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let folder = page.parent().unwrap_or(page);
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|path| !path.is_empty() && !path.contains("://") && !path.contains(' '))
        .filter(|path| !folder.join(path).exists())
        .map(|path| format!("{} -> {path}", page.display()))
        .collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = cdp_tests::repository();
    let mut broken = Vec::new();
    for page in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        broken.extend(broken_links(&root.join(page)));
    }
    for folder in ["docs", "examples"] {
        golden::visit(&root.join(folder), &mut |path: &Path| {
            if path.extension().is_some_and(|extension| extension == "md") {
                broken.extend(broken_links(path));
            }
        });
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
