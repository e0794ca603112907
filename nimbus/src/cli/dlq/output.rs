//! How dead letters look: a table for people, lines with tabs for pipes, JSON for programs.
//!
//! Payloads, details and reasons come from clients and executors: what a terminal would obey is shown, not sent.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use comfy_table::{ContentArrangement, Table, presets};
use nimbus_consumers::dead_letters::{Fate, Letter, LetterState};
use nimbus_core::{clock::UnixMillis, result::DeadLetter};
use serde_json::{Value, json};

use crate::cli::text::{line, lines, moment};

/// A moment of the system's clock; `None` before 1970.
pub(super) fn millis(moment: SystemTime) -> Option<UnixMillis> {
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(UnixMillis)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn state(letter: &Letter) -> String {
    match letter.state {
        LetterState::Open => "open".to_owned(),
        LetterState::Replayed { replay_no, .. } => format!("replayed {replay_no}"),
        LetterState::Purged { .. } => "purged".to_owned(),
    }
}

const HEADER: [&str; 10] = ["ID", "FAILED", "CLIENT", "EVENT", "SEQ", "REPLAY", "REASON", "ATTEMPTS", "BYTES", "STATE"];

fn row(letter: &Letter) -> [String; 10] {
    [
        letter.id.to_string(),
        moment(letter.failed),
        letter.origin.client.to_string(),
        letter.event.to_string(),
        letter.seq.to_string(),
        letter.replay_no.to_string(),
        line(&letter.reason),
        letter.attempts.to_string(),
        letter.payload_bytes.to_string(),
        state(letter),
    ]
}

/// For people.
pub(super) fn table(letters: &[Letter]) -> String {
    let mut table = Table::new();
    // Not wrapped within cells: an id is there to be copied.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(HEADER);
    for letter in letters {
        table.add_row(row(letter));
    }
    table.trim_fmt()
}

/// For pipes: the fields of the table, with tabs between them.
pub(super) fn plain(letter: &Letter) -> String {
    row(letter).join("\t")
}

/// For programs.
pub(super) fn json_of(letter: &Letter) -> Value {
    let (state, replayed_as, at) = match letter.state {
        LetterState::Open => ("open", None, None),
        LetterState::Replayed { replay_no, at } => ("replayed", Some(replay_no), Some(moment(at))),
        LetterState::Purged { at } => ("purged", None, Some(moment(at))),
    };
    json!({
        "id": letter.id.to_string(),
        "client": letter.origin.client.as_str(),
        "principal": letter.origin.principal.as_str(),
        "outbox": letter.origin.outbox.to_string(),
        "seq": letter.seq,
        "event": letter.event.as_str(),
        "replay_no": letter.replay_no,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "failed": moment(letter.failed),
        "payload_bytes": letter.payload_bytes,
        "state": state,
        "replayed_as": replayed_as,
        "state_since": at,
    })
}

/// Everything, for programs: `payload` when it is text, else `payload_hex`.
pub(super) fn full_json(letter: &Letter, record: &DeadLetter) -> Value {
    let mut all = json_of(letter);
    let DeadLetter { event, failure, event_offset, .. } = record;
    let attributes: Vec<_> =
        event.attributes.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let payload = str::from_utf8(&event.payload).ok();
    let more = json!({
        "copies": letter.copies.iter().map(|offset| offset.0).collect::<Vec<_>>(),
        "code": failure.code,
        "detail": failure.message,
        "event_offset": event_offset.0,
        "received": moment(event.received),
        "deadline": event.deadline.map(moment),
        "traceparent": event.traceparent,
        "content_type": event.content_type.as_str(),
        "attributes": attributes,
        "payload": payload,
        "payload_hex": payload.is_none().then(|| hex(&event.payload)),
    });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

/// Everything, for people.
pub(super) fn full(letter: &Letter, record: &DeadLetter) -> String {
    let DeadLetter { event, failure, event_offset, .. } = record;
    let copies: Vec<_> = letter.copies.iter().map(ToString::to_string).collect();
    let mut fields = vec![
        ("dead letter", letter.id.to_string()),
        ("event", format!("{} #{} of client {}", event.name, event.seq, event.origin.client)),
        ("principal", event.origin.principal.to_string()),
        ("outbox", event.origin.outbox.to_string()),
        ("received", moment(event.received)),
        ("failed", format!("{}, attempts: {}", moment(letter.failed), letter.attempts)),
        ("reason", format!("{} (gRPC code {})", line(&failure.reason), failure.code)),
        ("detail", line(&failure.message)),
        ("events log", format!("partition {}, offset {event_offset}", letter.id.partition)),
    ];
    fields.push(match letter.state {
        LetterState::Open => ("state", "open".to_owned()),
        LetterState::Replayed { replay_no, at } => ("state", format!("replayed as {replay_no}, {}", moment(at))),
        LetterState::Purged { at } => ("state", format!("purged, {}", moment(at))),
    });
    if letter.replay_no > 0 {
        fields.push(("replay", format!("what failed was itself replay {}", letter.replay_no)));
    }
    if !copies.is_empty() {
        fields.push(("copies", format!("kept again at offset {} after a crash", copies.join(", "))));
    }
    if let Some(deadline) = event.deadline {
        fields.push(("deadline", moment(deadline)));
    }
    if !event.traceparent.is_empty() {
        fields.push(("traceparent", line(&event.traceparent)));
    }
    for (key, value) in &event.attributes {
        fields.push(("attribute", format!("{} = {}", line(key), line(value))));
    }
    let media_type = line(event.content_type.as_str());
    let (form, payload) = match str::from_utf8(&event.payload) {
        Ok(text) => ("text", lines(text)),
        Err(_) => ("hex", hex(&event.payload)),
    };
    let kind = if media_type.is_empty() { form.to_owned() } else { format!("{media_type}, as {form}") };
    fields.push(("payload", format!("{} bytes, {kind}", event.payload.len())));
    let mut text = String::new();
    for (name, value) in fields {
        writeln!(text, "{name:<13}{value}").expect("writing to a string cannot fail");
    }
    text + "\n" + &payload
}

/// What was done about one letter.
pub(super) fn fate(letter: &Letter, fate: Fate, json: bool) -> String {
    let id = letter.id;
    if json {
        let (outcome, replay_no) = match fate {
            Fate::Replayed(replay_no) => ("replayed", Some(replay_no)),
            Fate::Purged => ("purged", None),
            Fate::AlreadyPurged => ("already_purged", None),
            Fate::Gone => ("gone", None),
        };
        return json!({ "id": id.to_string(), "outcome": outcome, "replay_no": replay_no }).to_string();
    }
    match fate {
        Fate::Replayed(replay_no) => format!("{id} replayed as {replay_no}"),
        Fate::Purged => format!("{id} purged"),
        Fate::AlreadyPurged => format!("{id} was purged before"),
        Fate::Gone => format!("{id} is gone: retention was faster"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_hex() {
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
