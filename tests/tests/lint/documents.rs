//! Documents against the code: the table of errors, links, names of files, and the Dockerfile, which no tool here runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nimbus_core::{ErrorClass, Reason};

use super::sources::{expect_none, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const fn code_name(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Invalid => "INVALID_ARGUMENT",
        ErrorClass::Deadline => "DEADLINE_EXCEEDED",
        ErrorClass::NotFound => "NOT_FOUND",
        ErrorClass::Denied => "PERMISSION_DENIED",
        ErrorClass::Exhausted => "RESOURCE_EXHAUSTED",
        ErrorClass::Precondition => "FAILED_PRECONDITION",
        ErrorClass::Superseded => "ABORTED",
        ErrorClass::Unimplemented => "UNIMPLEMENTED",
        ErrorClass::Internal => "INTERNAL",
        ErrorClass::Unavailable => "UNAVAILABLE",
        ErrorClass::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What becomes of the stream or the event; explained above the table.
const FATES: [&str; 4] = ["stream ends", "rejected", "answered", "call fails"];

#[test]
fn the_table_of_errors_is_the_codes() {
    let text = read("docs/errors.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut found = Vec::new();
    for (index, reason) in Reason::ALL.iter().enumerate() {
        let class = reason.class();
        let retry = if class.is_retryable() { "yes" } else { "no" };
        let expected = [
            format!("`{}`", reason.as_str()),
            format!("{} ({})", code_name(class), class.code()),
            retry.to_owned(),
            reason.meaning().replace('|', "\\|"),
        ];
        let is_right = rows.get(index).is_some_and(|row| {
            row.len() == 5 && [0, 1, 2, 4].map(|column| row[column]) == expected && FATES.contains(&row[3])
        });
        if !is_right {
            let [name, code, retry, meaning] = expected;
            found.push(format!("row {}: | {name} | {code} | {retry} | one of {FATES:?} | {meaning} |", index + 1));
        }
    }
    if rows.len() > Reason::ALL.len() {
        found.push(format!("{} rows too many", rows.len() - Reason::ALL.len()));
    }
    expect_none("docs/errors.md differs from nimbus_core::Reason::ALL; these rows are expected", &found);
}

fn documents() -> Vec<PathBuf> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != "data" && !name.starts_with('.') {
                    collect(&path, found);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found.sort();
    found
}

#[test]
fn every_link_and_every_named_file_of_a_document_exists() {
    let mut found = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let directory = document.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !directory.join(path).exists() {
                found.push(format!("{}: link to {target}", document.display()));
            }
        }
    }
    expect_none("links to nowhere", &found);
}

/// ARCHITECTURE.md follows an event file by file: a file that was moved must be followed.
#[test]
fn every_file_that_the_architecture_names_exists() {
    let text = read("ARCHITECTURE.md");
    let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs")).collect();
    assert!(named.len() > 10, "ARCHITECTURE.md names only {} files", named.len());
    let missing: Vec<_> = named.into_iter().filter(|path| !root().join(path).exists()).map(str::to_owned).collect();
    expect_none("files that ARCHITECTURE.md names and nobody has", &missing);
}

#[test]
fn the_dockerfile_copies_what_exists_and_runs_what_is_built() {
    let text = read("deploy/Dockerfile");
    assert!(text.contains("FROM rust:1.95") && text.contains("USER "), "one toolchain, and not root");
    assert!(text.contains("ENTRYPOINT [\"nimbus\"]"));
    for line in text.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let (_, sources) = words.split_last().expect("COPY has a destination");
        for source in sources {
            assert!(root().join(source).exists(), "{source} is not there");
        }
    }
}

#[test]
fn ci_calls_make_test_and_the_makefile_explains_itself() {
    let ci = read(".ci/run");
    assert!(ci.starts_with("#!") && ci.lines().any(|line| line.trim() == "exec make test"), ".ci/run calls make test");
    let makefile = read("Makefile");
    let first = makefile.lines().find(|line| line.ends_with(':') || line.contains(": ##")).unwrap_or_default();
    assert!(first.starts_with("help:"), "help comes first, it is {first}");
    let targets =
        ["help", "demo", "run", "services", "services-stop", "test", "lint", "fmt", "bench", "build", "doc", "clean"];
    for target in targets {
        let explained = makefile.lines().any(|line| line.starts_with(&format!("{target}:")) && line.contains(" ## "));
        assert!(explained, "target {target} has no line of help");
    }
}
