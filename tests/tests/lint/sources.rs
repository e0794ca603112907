//! The Rust files of this repository, with the line at which their tests begin.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file.
pub(crate) struct Source {
    /// Relative to the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    /// How many lines stand before the tests at its end: all of them, none in a file of tests.
    pub(crate) code_lines: usize,
}

impl Source {
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines of tests, with their numbers.
    pub(crate) fn test_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().skip(self.code_lines)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository is where it was compiled")
}

/// Every Rust file but what cargo builds.
pub(crate) fn all() -> Vec<Source> {
    let root = root();
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    assert!(sources.len() > 50, "only {} files were found: the search itself is broken", sources.len());
    sources
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "data" && !name.starts_with('.') {
                collect(root, &path, sources);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            sources.push(Source { code_lines: code_lines(&path, &text), path, text });
        }
    }
}

fn code_lines(path: &str, text: &str) -> usize {
    let is_of_tests = path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "testing" | "testing.rs"));
    if is_of_tests {
        return 0;
    }
    let lines: Vec<_> = text.lines().collect();
    let begins = |pair: &[&str]| pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod tests {");
    lines.windows(2).position(begins).unwrap_or(lines.len())
}

/// Fails with everything that was found, one a line.
pub(crate) fn expect_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}
