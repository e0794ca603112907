//! `nimbus client show`: what Kafka and Redis know of one client. Needs no server.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use nimbus_config::Config;
use nimbus_core::ClientId;
use serde_json::{Value, json};

use crate::{
    cli::{text, topics},
    compose::{
        self,
        view::{ClientReport, PartitionView},
    },
    exit::{Exit, Failure, OrUnread},
};

pub(crate) async fn run(id: &ClientId, as_json: bool, config: &Config) -> Result<Exit, Failure> {
    let Some(report) = compose::client(config, id).await? else {
        return Err(Failure::new(Exit::Failed, format!("the client {id} is not known here")));
    };
    if as_json {
        text::write_json([json_of(&report)])?;
    } else {
        write!(io::stdout(), "{}", lines_of(&report)).or_unread()?;
    }
    Ok(Exit::Done)
}

fn backlog(partition: &PartitionView) -> String {
    let mut text = format!("{}: from {} to {}", partition.topic, partition.start, partition.end);
    for group in &partition.groups {
        let committed = group.committed.map_or("nowhere yet".to_owned(), |position| format!("at {position}"));
        write!(text, "; {} is {committed}, {} behind", group.group, group.lag)
            .expect("writing to a string cannot fail");
    }
    text
}

fn waiting(report: &ClientReport) -> String {
    let more = if report.more_records { " or more" } else { "" };
    match report.records {
        0 => "nothing".to_owned(),
        records => format!("{records}{more} records in {} batches, until they are acknowledged", report.batches),
    }
}

/// For people and pipes: a name and a value in each line.
fn lines_of(report: &ClientReport) -> String {
    let since = report.since.map_or("an unknown time".to_owned(), text::moment);
    let held = match &report.owner {
        Some((server, session)) => format!("server {server}, session {session}, since {since}"),
        None => format!("nobody; it came or went last at {since}"),
    };
    let behind = report.results.end.0.saturating_sub(report.applied.0);
    let mut fields = vec![
        ("client", report.client.clone()),
        ("principal", report.principal.clone().unwrap_or_else(|| "none yet".to_owned())),
        ("held by", held),
        ("waiting", waiting(report)),
        ("last result", format!("before {}", report.last)),
        ("floor", format!("{}; what lies before it comes from the log", report.floor)),
    ];
    if let Some(kept) = report.kept {
        fields.push(("acknowledged", format!("before {kept}, by the original protocol")));
    }
    if let Some((outbox, session_no)) = &report.outbox {
        fields.push(("session no.", format!("{session_no} of outbox {outbox}")));
    }
    for (outbox, seq) in &report.answered {
        fields.push(("outbox", format!("{outbox}, answered up to seq {seq}")));
    }
    fields.push((
        "partition",
        format!("{}, applied up to {}, {behind} results behind", report.events.partition, report.applied),
    ));
    fields.push(("events", backlog(&report.events)));
    fields.push(("results", backlog(&report.results)));
    let mut text = String::new();
    for (name, value) in fields {
        writeln!(text, "{name:<14}{}", text::line(&value)).expect("writing to a string cannot fail");
    }
    text
}

fn json_of(report: &ClientReport) -> Value {
    let answered = report.answered.iter().map(|(outbox, seq)| json!({ "outbox": outbox, "answered": seq }));
    json!({
        "client": report.client,
        "principal": report.principal,
        "server": report.owner.as_ref().map(|(server, _)| server),
        "session": report.owner.as_ref().map(|(_, session)| session),
        "since": report.since.map(text::moment),
        "outbox": report.outbox.as_ref().map(|(outbox, _)| outbox),
        "session_no": report.outbox.as_ref().map(|(_, session_no)| session_no),
        "outboxes": answered.collect::<Vec<_>>(),
        "waiting_records": report.records,
        "waiting_records_is_a_minimum": report.more_records,
        "waiting_batches": report.batches,
        "last": report.last.0,
        "floor": report.floor.0,
        "acknowledged": report.kept.map(|kept| kept.0),
        "partition": report.events.partition.0,
        "applied": report.applied.0,
        "behind": report.results.end.0.saturating_sub(report.applied.0),
        "events": topics::json_of(&report.events),
        "results": topics::json_of(&report.results),
    })
}
