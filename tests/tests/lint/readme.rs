//! Documents show real files: what a newcomer copies must be what compiles.

use std::fs;

use super::sources::root;

#[test]
fn the_executor_in_the_readme_is_the_real_file() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    let file = fs::read_to_string(root().join("executors/src/echo.rs")).unwrap();
    let code = file.split("#[cfg(test)]").next().unwrap_or_default();
    assert_eq!(shown.trim(), code.trim());
}

#[test]
fn the_reader_in_the_page_about_envelopes_is_the_real_file() {
    let page = fs::read_to_string(root().join("docs/envelopes.md")).unwrap();
    let shown = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    let file = fs::read_to_string(root().join("adapters/kafka/examples/read_results.rs")).unwrap();
    assert_eq!(shown.trim(), file.trim());
}
