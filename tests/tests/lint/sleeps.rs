//! Tests wait for the event itself. A sleep on the real clock is a guess: too short on a busy machine, too long on all
//! others. On the paused clock it is exact and takes no time.
//!
//! Not a guess, and allowed: a pause in a loop that looks again until the event is there, and what a comment `// sleep: why`
//! in the line above explains.

use super::sources::{self, Source, expect_none};

// Written in two parts, so that this file does not find itself.
const BLOCKING: &str = concat!("thread::", "sleep");
/// Every line in there runs on a runtime that is built with its clock paused.
const SIMULATED: &str = "testing/simulation/src/";
const ASYNC: [&str; 2] = [concat!("time::", "sleep"), concat!(" ", "sleep(")];

#[test]
fn no_test_sleeps_on_the_real_clock() {
    let mut found = Vec::new();
    for source in sources::all() {
        for (number, line) in source.test_lines() {
            let code = line.split("//").next().unwrap_or_default();
            let sleeps = ASYNC.iter().any(|name| code.contains(name)) && !code.trim_start().starts_with("use ");
            let allowed = || runs_on_the_paused_clock(&source, number) || polls(&source, number);
            if (code.contains(BLOCKING) || sleeps && !allowed()) && !explained(&source, number) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    expect_none("tests that sleep on the real clock; wait for the event, or use start_paused", &found);
}

/// Whether the test that a line stands in pauses the clock. A line before any test is a helper's: then every test of the
/// file must.
fn runs_on_the_paused_clock(source: &Source, number: usize) -> bool {
    if source.path.starts_with(SIMULATED) {
        return true;
    }
    let is_attribute = |line: &str| line.trim_start().starts_with("#[tokio::test");
    let is_paused = |line: &str| line.contains("start_paused = true");
    let before = source.test_lines().filter(|(at, line)| *at < number && is_attribute(line)).last();
    match before {
        Some((_, attribute)) => is_paused(attribute),
        None => {
            let mut attributes = source.test_lines().map(|(_, line)| line).filter(|line| is_attribute(line)).peekable();
            attributes.peek().is_some() && attributes.all(is_paused)
        }
    }
}

/// How far above a pause its loop may begin.
const LOOP_LINES: usize = 15;

/// Whether a line stands within a loop: a `loop` or `while` above it that is indented less, in the same function.
fn polls(source: &Source, number: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<_> = source.text.lines().take(number).collect();
    let Some((pause, above)) = lines.split_last() else { return false };
    let mut enclosing = indent(pause);
    for line in above.iter().rev().take(LOOP_LINES).filter(|line| !line.trim().is_empty()) {
        if indent(line) >= enclosing {
            continue;
        }
        enclosing = indent(line);
        let text = line.trim_start();
        if text.contains("fn ") {
            return false;
        }
        if text.starts_with("loop {") || text.contains("= loop {") || text.starts_with("while ") {
            return true;
        }
    }
    false
}

fn explained(source: &Source, number: usize) -> bool {
    number >= 2 && source.text.lines().nth(number - 2).is_some_and(|line| line.trim_start().starts_with("// sleep: "))
}

#[test]
fn the_check_tells_a_guess_from_a_loop_that_looks_again() {
    let source = |text: &str| Source { path: String::new(), text: text.to_owned(), code_lines: 0 };
    let guess = source("fn f() {\n    nap(x);\n}");
    assert!(!polls(&guess, 2) && !explained(&guess, 2));
    assert!(polls(&source("fn f() {\n    loop {\n        look();\n        nap(x);\n    }\n}"), 4));
    assert!(!polls(&source("fn f() {\n    loop {\n        look();\n    }\n    nap(x);\n}"), 5));
    assert!(explained(&source("fn f() {\n    // sleep: the server said how long\n    nap(x);\n}"), 3));
}
