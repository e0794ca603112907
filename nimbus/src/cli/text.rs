//! How values are written for people: moments, text from others, tables.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, UNIX_EPOCH},
};

use comfy_table::{ContentArrangement, Table, presets};
use nimbus_core::clock::UnixMillis;

use crate::exit::{Failure, OrUnread as _};

/// The first moment that the calendar of RFC 3339 does not have.
const YEAR_10000: u64 = 253_402_300_800_000;

pub(crate) fn moment(at: UnixMillis) -> String {
    if at.0 >= YEAR_10000 {
        return format!("{} ms after 1970", at.0);
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

/// Text with nothing in it that a terminal would obey, in one line.
pub(crate) fn line(text: &str) -> String {
    shown(text, |_| false)
}

/// The same in as many lines as it has.
pub(crate) fn lines(text: &str) -> String {
    shown(text, |letter| matches!(letter, '\n' | '\t'))
}

fn shown(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if keeps(letter) || matches!(letter, '"' | '\'' | '\\') {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_debug());
        }
    }
    shown
}

/// Of a terminal, in characters.
const USUAL_WIDTH: u16 = 80;

/// A table on a terminal; in a pipe its rows alone, with tabs between the fields.
pub(crate) fn write_rows<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        // Some terminals do not know how wide they are, and say 0.
        if table.width().is_none_or(|width| width == 0) {
            table.set_width(USUAL_WIDTH);
        }
        table.set_header(header);
        for row in rows {
            table.add_row(row);
        }
        return writeln!(out, "{}", table.trim_fmt()).or_unread();
    }
    for row in rows {
        writeln!(out, "{}", row.join("\t")).or_unread()?;
    }
    Ok(())
}

/// JSON objects, one a line.
pub(crate) fn write_json(objects: impl IntoIterator<Item = serde_json::Value>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for object in objects {
        writeln!(out, "{object}").or_unread()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_sent_to_it() {
        assert_eq!(line("a\u{1b}[2J\nb\u{202e}c"), "a\\u{1b}[2J\\nb\\u{202e}c");
        assert_eq!(lines("größe: \"1\"\n\t2\r"), "größe: \"1\"\n\t2\\r");
    }

    #[test]
    fn moments_outside_the_calendar_are_numbers() {
        assert_eq!(moment(UnixMillis(1_785_585_600_000)), "2026-08-01T12:00:00Z");
        assert_eq!(moment(UnixMillis(YEAR_10000 - 1)), "9999-12-31T23:59:59Z");
        assert_eq!(moment(UnixMillis(u64::MAX)), "18446744073709551615 ms after 1970");
    }
}
