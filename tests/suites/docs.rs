//! The SQL of `README.md` and `docs/**/*.md` and `examples/**/*.md` runs as printed and prints what is shown; see
//! `cdp_tests::markdown`. A page starts in a database that has the extension, unless its first block
//! creates it. `https://hooks.example.com` in a page is a real server on loopback while the test runs.
//! `UPDATE_DOCS=1` writes the real output into the pages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cdp_tests::{golden, markdown, psql, Cluster, Settings, Sink};
use libtest_mimic::{Arguments, Failed, Trial};

/// The address that pages use for "your server".
const EXAMPLE_SERVER: &str = "https://hooks.example.com";
const MARK: &str = "=== block";

fn main() {
    let arguments = Arguments::from_args();
    let pages: Vec<PathBuf> = pages();
    if arguments.list || pages.is_empty() {
        let trials = pages
            .iter()
            .map(|page| Trial::test(name(page), || Ok(())))
            .collect();
        libtest_mimic::run(&arguments, trials).exit();
    }
    let cluster = Arc::new(Settings::new("docs").preload("").start());
    let trials = pages
        .into_iter()
        .enumerate()
        .map(|(number, page)| {
            let cluster = Arc::clone(&cluster);
            Trial::test(name(&page), move || run(&cluster, number, &page))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(cluster);
    conclusion.exit();
}

/// Pages that have SQL.
fn pages() -> Vec<PathBuf> {
    let root = cdp_tests::repository();
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs", "examples"] {
        golden::visit(&root.join(folder), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path.to_path_buf());
            }
        });
    }
    pages.sort();
    pages.retain(|page| !markdown::blocks(&text(page)).is_empty());
    pages
}

fn text(page: &Path) -> String {
    std::fs::read_to_string(page).unwrap_or_default()
}

fn name(page: &Path) -> String {
    let root = cdp_tests::repository();
    page.strip_prefix(&root)
        .unwrap_or(page)
        .display()
        .to_string()
}

fn run(cluster: &Cluster, number: usize, page: &Path) -> Result<(), Failed> {
    let content = text(page);
    let blocks = markdown::blocks(&content);
    let database = format!("docs_{number}");
    cluster.create_database(&database);
    let creates_it = blocks
        .iter()
        .any(|block| block.sql.contains("CREATE EXTENSION cdp"));
    if !creates_it {
        cluster.execute(&database, "CREATE EXTENSION cdp");
    }

    let sink = Sink::start();
    let server = sink.url("");
    let mut script = String::new();
    for (index, block) in blocks.iter().enumerate() {
        script.push_str(&format!(
            "\\echo {MARK} {index}\n{}\n",
            block.sql.replace(EXAMPLE_SERVER, &server)
        ));
    }
    let printed = psql::session(cluster, &database, &[], &script).replace(&server, EXAMPLE_SERVER);
    let mut outputs = vec![String::new(); blocks.len()];
    let mut current = None;
    for line in printed.lines() {
        if let Some(index) = line
            .strip_prefix(MARK)
            .and_then(|rest| rest.trim().parse::<usize>().ok())
        {
            current = Some(index);
        } else if let Some(output) = current.and_then(|index: usize| outputs.get_mut(index)) {
            output.push_str(line);
            output.push('\n');
        }
    }

    let mut problems = Vec::new();
    let mut updates = vec![None; blocks.len()];
    for (index, block) in blocks.iter().enumerate() {
        let actual = &outputs[index];
        let at = format!("{}:{}", name(page), block.line);
        let failed = actual
            .lines()
            .any(|line| line.starts_with("ERROR:") || line.starts_with("FATAL:"));
        if failed != block.fails {
            let verdict = if failed {
                "failed"
            } else {
                "was to fail, but did not"
            };
            problems.push(format!(
                "{at}: the block {verdict}\n{}\n{actual}",
                block.sql
            ));
            continue;
        }
        if let Some(range) = &block.output {
            let shown: Vec<&str> = content
                .lines()
                .skip(range.start)
                .take(range.len())
                .collect();
            let shown = shown.join("\n");
            if !markdown::matches(&shown, actual) {
                updates[index] = Some(actual.clone());
                problems.push(format!("{at}: shown\n{shown}\nprinted\n{actual}"));
            }
        } else if block.fails {
            problems.push(format!(
                "{at}: a block that fails needs an output block with the error\n{actual}"
            ));
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() && updates.iter().any(Option::is_some) {
        std::fs::write(page, markdown::with_outputs(&content, &blocks, &updates))?;
        problems.retain(|problem| !problem.contains("\nprinted\n"));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n\n").into())
    }
}
