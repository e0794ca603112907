//! Tests wait for the event itself. A sleep on the real clock is a guess: too short on a busy machine, too long on all
//! others. On the paused clock it is exact and takes no time.

use super::sources::{self, Source, expect_none};

// Written in two parts, so that this file does not find itself.
const BLOCKING: &str = concat!("thread::", "sleep");
const ASYNC: [&str; 2] = [concat!("time::", "sleep"), concat!(" ", "sleep(")];

#[test]
fn no_test_sleeps_on_the_real_clock() {
    let mut found = Vec::new();
    for source in sources::all() {
        for (number, line) in source.test_lines() {
            let code = line.split("//").next().unwrap_or_default();
            let sleeps = ASYNC.iter().any(|name| code.contains(name)) && !code.trim_start().starts_with("use ");
            if code.contains(BLOCKING) || (sleeps && !runs_on_the_paused_clock(&source, number)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    expect_none("tests that sleep on the real clock; wait for the event, or use start_paused", &found);
}

/// Whether the test that a line stands in pauses the clock. A line before any test is a helper's: then every test of the
/// file must.
fn runs_on_the_paused_clock(source: &Source, number: usize) -> bool {
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
