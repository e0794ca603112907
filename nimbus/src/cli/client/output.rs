//! What the sample client shows: plain lines in a pipe, a bar on a terminal, one JSON object a line with `--json`.

use std::{
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use nimbus_client::{Answer, Body, Extra, ExtraKind, Incoming, Outcome, PartKind};
use serde_json::{Value, json};

use super::receive::Tally;
use crate::{cli::Connection, exit::tell};

/// Up to so many answers are shown line by line on a terminal; more are a bar.
const LINES_ON_A_TERMINAL: u64 = 50;

#[derive(Debug)]
pub(crate) struct Output {
    form: Form,
    out: BufWriter<Stdout>,
    begun: Instant,
    /// Whether what an earlier outbox was owed is shown one by one, or counted.
    shows_extras: bool,
    /// The input of event number 1, when numbers are squared: answers do not repeat it.
    first: Option<i64>,
}

#[derive(Debug)]
enum Form {
    Lines,
    Json,
    Bar(ProgressBar),
}

impl Output {
    /// For whoever waits for answers: what an earlier outbox was owed would only be in the way. `total` is how many answers
    /// are expected, if that is known; `first` the number that event number 1 squares.
    pub(crate) fn to_sender(connection: &Connection, total: Option<u64>, first: Option<i64>) -> Self {
        Self::new(connection, total, first, connection.extras || connection.json)
    }

    /// For whoever wants to see what comes.
    pub(crate) fn to_listener(connection: &Connection) -> Self {
        Self::new(connection, None, None, true)
    }

    fn new(connection: &Connection, total: Option<u64>, first: Option<i64>, shows_extras: bool) -> Self {
        let is_for_eyes = io::stdout().is_terminal() && io::stderr().is_terminal();
        let form = match total {
            _ if connection.json => Form::Json,
            Some(total) if is_for_eyes && total > LINES_ON_A_TERMINAL => Form::Bar(bar(total)),
            _ => Form::Lines,
        };
        Self { form, out: BufWriter::new(io::stdout()), begun: Instant::now(), shows_extras, first }
    }

    pub(crate) const fn shows_extras(&self) -> bool {
        self.shows_extras
    }

    pub(crate) fn show(&mut self, incoming: &Incoming) -> io::Result<()> {
        match &self.form {
            Form::Lines => writeln!(self.out, "{}", self.line(incoming)),
            Form::Json => writeln!(self.out, "{}", json_of(incoming)),
            Form::Bar(bar) => {
                match incoming {
                    Incoming::Answer(answer) if matches!(answer.outcome, Outcome::Final(_)) => {
                        bar.set_message(self.line(incoming));
                    }
                    other => bar.println(self.line(other)),
                }
                if matches!(incoming, Incoming::Answer(_)) {
                    bar.inc(1);
                }
                Ok(())
            }
        }
    }

    fn line(&self, incoming: &Incoming) -> String {
        match (self.first, incoming) {
            (Some(first), Incoming::Answer(Answer { seq, outcome: Outcome::Final(body), .. })) => {
                let number = i128::from(first) + i128::from(seq.get()) - 1;
                format!("sq({number}) = {}", text(body))
            }
            _ => line(incoming),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn finish(mut self, tally: Tally, unanswered: u64) -> io::Result<()> {
        let elapsed = self.begun.elapsed();
        let Tally { answered, failed, known, gaps, extras } = tally;
        match &self.form {
            Form::Json => writeln!(
                self.out,
                "{}",
                json!({
                    "kind": "summary",
                    "answered": answered,
                    "failed": failed,
                    "known": known,
                    "gaps": gaps,
                    "extras": extras,
                    "unanswered": unanswered,
                    "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                })
            )?,
            Form::Bar(bar) => {
                bar.finish_and_clear();
                self.tell(tally, unanswered, elapsed);
            }
            // To standard error: what is piped on is answers and nothing else.
            Form::Lines => {
                self.out.flush()?;
                self.tell(tally, unanswered, elapsed);
            }
        }
        self.out.flush()
    }

    fn tell(&self, tally: Tally, unanswered: u64, elapsed: Duration) {
        tell(summary(tally, unanswered, elapsed));
        if tally.extras > 0 && !self.shows_extras {
            tell(format_args!(
                "{} more for an earlier outbox of this client id: --extras or --json shows such results, --outbox keeps one \
                 outbox over several runs",
                tally.extras
            ));
        }
    }
}

fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {msg}");
    ProgressBar::new(total).with_style(style.expect("a constant that is a valid template"))
}

fn summary(tally: Tally, unanswered: u64, elapsed: Duration) -> String {
    let Tally { answered, failed, known, gaps, extras: _ } = tally;
    let noun = if answered == 1 { "answer" } else { "answers" };
    let mut text = format!("{answered} {noun} in {:.1} s", elapsed.as_secs_f64());
    for (count, what) in [
        (failed, "of them errors"),
        (unanswered, "events still without an answer"),
        (known, "answers known already"),
        (gaps, "gaps: answers may be missing"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

fn line(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Answer(Answer { seq, event_name, outcome, .. }) => match outcome {
            Outcome::Final(body) => format!("#{seq} {event_name}: {}", text(body)),
            Outcome::Error(failure) => format!("#{seq} {event_name}: ERROR {failure}"),
            Outcome::Unknown => format!("#{seq}: outcome unknown, its answer may have lain in a gap"),
        },
        Incoming::Part(part) => {
            let kind = match part.kind {
                PartKind::Part => "part",
                PartKind::Log => "log",
                PartKind::Progress => "progress",
            };
            format!("#{} {} {kind}: {}", part.seq, part.event_name, text(&part.body))
        }
        Incoming::Push(push) => format!("push {}: {}", push.request_id, text(&push.body)),
        Incoming::Gap(gap) => format!("gap: positions {} to {} cannot be had any more", gap.from, gap.to),
        Incoming::Extra(extra) => extra_line(extra),
        _ => "something that this version does not know".to_owned(),
    }
}

fn extra_line(extra: &Extra) -> String {
    let why = match extra.kind {
        ExtraKind::Replay => "a replay",
        ExtraKind::OtherOutbox => "of an earlier outbox",
        ExtraKind::Late => "late, its outcome had been unknown",
    };
    let said = match &extra.outcome {
        Outcome::Final(body) => text(body),
        Outcome::Error(failure) => format!("ERROR {failure}"),
        Outcome::Unknown => "outcome unknown".to_owned(),
    };
    format!("extra ({why}) #{} {}: {said}", extra.seq, extra.event_name)
}

fn text(body: &Body) -> String {
    match std::str::from_utf8(&body.payload) {
        Ok(text) if !text.chars().any(|letter| letter.is_control() && letter != '\n') => text.trim_end().to_owned(),
        _ => format!("({} bytes)", body.payload.len()),
    }
}

/// A payload as JSON: what it says if it is JSON, else text, else hexadecimal.
fn payload(body: &Body) -> Value {
    if let Ok(value) = serde_json::from_slice(&body.payload) {
        return value;
    }
    match std::str::from_utf8(&body.payload) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": hex(&body.payload) }),
    }
}

/// One answer as JSON.
pub(crate) fn answer_json(answer: &Answer) -> Value {
    let mut entry = json!({ "kind": "answer", "seq": answer.seq.get(), "event": answer.event_name });
    put_outcome(&mut entry, &answer.outcome);
    entry
}

fn put_outcome(entry: &mut Value, outcome: &Outcome) {
    match outcome {
        Outcome::Final(body) => entry["result"] = payload(body),
        Outcome::Error(failure) => {
            entry["error"] = json!({ "code": failure.code, "reason": failure.reason, "message": failure.message });
        }
        Outcome::Unknown => entry["error"] = json!({ "reason": "OUTCOME_UNKNOWN" }),
    }
}

fn json_of(incoming: &Incoming) -> Value {
    match incoming {
        Incoming::Answer(answer) => answer_json(answer),
        Incoming::Part(part) => json!({
            "kind": "part",
            "seq": part.seq.get(),
            "event": part.event_name,
            "attempt": part.attempt,
            "part_no": part.part_no,
            "part": payload(&part.body),
        }),
        Incoming::Push(push) => {
            json!({ "kind": "push", "request_id": push.request_id, "payload": payload(&push.body) })
        }
        Incoming::Gap(gap) => json!({ "kind": "gap", "from": gap.from, "to": gap.to }),
        Incoming::Extra(extra) => {
            let mut entry = json!({
                "kind": "extra",
                "why": format!("{:?}", extra.kind),
                "outbox": hex(&extra.outbox_id),
                "seq": extra.seq.get(),
                "event": extra.event_name,
            });
            put_outcome(&mut entry, &extra.outcome);
            entry
        }
        _ => json!({ "kind": "unknown" }),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
