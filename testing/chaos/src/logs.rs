//! What the logs of the processes say that nobody else does: a task that panicked need not end its process.

use std::{fs, path::Path};

use anyhow::Context as _;

/// How Rust begins to tell of one.
const PANIC: &str = "panicked at";
/// Where an executor panics because an event asked it to.
const ASKED_FOR: &str = "executors/src/fail.rs";
/// How many are told of each log.
const TOLD: usize = 5;

/// The panics in the logs of a directory.
pub(crate) fn panics(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let text = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found_in = text.lines().filter(|line| line.contains(PANIC) && !line.contains(ASKED_FOR));
        found.extend(found_in.take(TOLD).map(|line| format!("{name}: {line}")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_log_is_found_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let log = "all is well\nthread 'x' panicked at src/x.rs:1:2:\nno\nthread 'y' panicked at executors/src/fail.rs:3:4:\n";
        fs::write(directory.path().join("server-1.log"), log).unwrap();
        fs::write(directory.path().join("data"), log).unwrap();
        assert_eq!(panics(directory.path()).unwrap(), ["server-1.log: thread 'x' panicked at src/x.rs:1:2:"]);
    }
}
