//! Sizes of files, the words at their top, and the page that each crate has.

use std::fs;

use cargo_metadata::MetadataCommand;

use super::sources::{self, expect_none, root};

/// Beyond this a file holds more than one thought.
const MAX_CODE_LINES: usize = 500;
/// Longer tests go to a file of their own, so that the code stays easy to find.
const MAX_INLINE_TEST_LINES: usize = 150;

const README_HEADINGS: [&str; 4] =
    ["## What it is for", "## What it may depend on", "## How a request passes through it", "## How to test it"];

#[test]
fn no_file_is_longer_than_one_can_read() {
    let mut found = Vec::new();
    for source in sources::all() {
        if source.code_lines > MAX_CODE_LINES {
            found.push(format!("{}: {} lines of code, at most {MAX_CODE_LINES}", source.path, source.code_lines));
        }
        let tests = source.test_lines().count();
        if source.code_lines > 0 && tests > MAX_INLINE_TEST_LINES {
            found.push(format!("{}: {tests} lines of tests inside; move them to a tests.rs beside it", source.path));
        }
    }
    expect_none("files that are too long", &found);
}

#[test]
fn every_module_says_what_it_is() {
    let silent = sources::all().into_iter().filter(|source| !source.text.starts_with("//! "));
    let found: Vec<_> = silent.map(|source| source.path).collect();
    expect_none("files that do not begin with `//! ` and what they are", &found);
}

#[test]
fn every_crate_has_its_page() {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let directory = package.manifest_path.parent().expect("a manifest lies in a directory");
        match fs::read_to_string(directory.join("README.md")) {
            Ok(text) => {
                let headings: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
                let is_right = headings.len() == README_HEADINGS.len()
                    && headings.iter().zip(README_HEADINGS).all(|(heading, wanted)| heading.starts_with(wanted));
                if !is_right {
                    found.push(format!("{directory}/README.md: its headings are {headings:?}"));
                }
            }
            Err(error) => found.push(format!("{directory}/README.md: {error}")),
        }
    }
    expect_none(&format!("crates without a README.md of the headings {README_HEADINGS:?}"), &found);
}
