//! What a log message looks like: lower case, no full stop, and values in fields, so that lines can be found and counted.

use super::sources::{self, expect_none};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

#[test]
fn log_messages_are_lower_case_without_full_stop_and_with_values_in_fields() {
    let mut found = Vec::new();
    let mut seen = 0;
    for source in sources::all() {
        for name in LEVELS.map(|level| format!("{level}!(")) {
            for (at, _) in source.text.match_indices(&name) {
                let before = source.text[..at].chars().next_back().unwrap_or(' ');
                if before.is_alphanumeric() || before == '_' || in_comment(&source.text, at) {
                    continue;
                }
                let Some(message) = message(&source.text[at + name.len()..]) else { continue };
                seen += 1;
                if let Some(wrong) = wrong(message) {
                    let line = source.text[..at].lines().count();
                    found.push(format!("{}:{line}: \"{message}\" {wrong}", source.path));
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} log messages were found: the search itself is broken");
    expect_none("log messages", &found);
}

fn in_comment(text: &str, at: usize) -> bool {
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    line.contains("//")
}

/// The message of a call: the argument at the outermost level that begins with a quote.
fn message(arguments: &str) -> Option<&str> {
    let (mut depth, mut begins, mut rest) = (0_usize, true, arguments.char_indices());
    while let Some((at, letter)) = rest.next() {
        match letter {
            '"' => {
                let from = at + 1;
                let mut escaped = false;
                let (end, _) = rest.find(|(_, letter)| {
                    let ends = *letter == '"' && !escaped;
                    escaped = *letter == '\\' && !escaped;
                    ends
                })?;
                if depth == 0 && begins {
                    return Some(&arguments[from..end]);
                }
                begins = false;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return None,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            letter if letter.is_whitespace() => {}
            _ => begins = false,
        }
    }
    None
}

fn wrong(message: &str) -> Option<&'static str> {
    let mut letters = message.chars();
    let (first, second) = (letters.next()?, letters.next().unwrap_or(' '));
    if first.is_uppercase() && second.is_lowercase() {
        Some("begins in upper case")
    } else if message.ends_with('.') {
        Some("ends with a full stop")
    } else if message.contains('{') {
        Some("has a value in its text; make it a field")
    } else {
        None
    }
}

#[test]
fn the_check_finds_what_it_looks_for() {
    assert_eq!(message(r#"partition = 3, "partition \"x\" taken");"#), Some(r#"partition \"x\" taken"#));
    assert_eq!(message(r#"name = "field", other(", "), "told");"#), Some("told"));
    assert_eq!(message(r#"name = "field");"#), None);
    assert!(wrong("Told").is_some() && wrong("told.").is_some() && wrong("told {x}").is_some());
    assert!(wrong("told").is_none() && wrong("HTTP/2 is told").is_none());
}
