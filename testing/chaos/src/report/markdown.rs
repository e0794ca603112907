//! The report for people.

use std::fmt::Write as _;

use super::Report;
use crate::recovery::DEFINITION;

/// A number of seconds as a table shows it.
fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} s"))
}

fn millis(value: f64) -> String {
    match value {
        _ if value >= 1_000.0 => format!("{:.1} s", value / 1_000.0),
        _ if value >= 10.0 => format!("{value:.0} ms"),
        _ => format!("{value:.1} ms"),
    }
}

pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    // A string takes everything.
    write(report, &mut text).expect("a string takes everything");
    text
}

fn write(report: &Report, text: &mut String) -> std::fmt::Result {
    let books = &report.books;
    writeln!(text, "# Chaos: {}\n", headline(report))?;
    writeln!(
        text,
        "{} faults in {:.0} s, seed {}; {} clients, {:.0} events a second together, {} bytes each; two servers, two executors, two \
         routers, one Kafka, one Redis, all on one machine with {} processors ({} build, version {}).{}\n",
        report.faults.len(),
        report.seconds,
        report.seed,
        report.clients,
        report.rate,
        report.payload_bytes,
        report.processors,
        if report.release_build { "release" } else { "debug" },
        report.version,
        if report.interrupted { " The run was cut short." } else { "" },
    )?;
    writeln!(text, "![timeline](timeline.svg)\n")?;
    writeln!(text, "## The books\n")?;
    writeln!(
        text,
        "| sent | answered | lost | duplicated | reordered | wrong recipient | wrong | gaps | strays | clients ended |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|---|---|")?;
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        books.sent,
        books.answered,
        books.lost,
        books.duplicated,
        books.reordered,
        books.foreign,
        books.wrong,
        books.gaps,
        books.strays,
        books.ended
    )?;
    if report.outstanding > 0 {
        writeln!(text, "{} events were on their way when it was cut short.\n", report.outstanding)?;
    }
    findings(report, text)?;
    writeln!(text, "## Recovery, kind by kind\n")?;
    writeln!(
        text,
        "Steady before the first fault: p50 {}, p99 {}; a second with a p99 up to {} is good.\n",
        millis(report.steady.latency.p50_ms),
        millis(report.steady.latency.p99_ms),
        millis(report.steady.good_p99_ms)
    )?;
    writeln!(text, "| fault | times | recovery p50 | max | after the harm, p50 | max | longest wait of an event |")?;
    writeln!(text, "|---|---|---|---|---|---|---|")?;
    for kind in &report.kinds {
        let missing =
            if kind.not_recovered > 0 { format!(" ({} not recovered)", kind.not_recovered) } else { String::new() };
        writeln!(
            text,
            "| {} | {}{missing} | {} | {} | {} | {} | {} |",
            kind.kind,
            kind.faults,
            seconds(kind.recovery_p50_s),
            seconds(kind.recovery_max_s),
            seconds(kind.after_p50_s),
            seconds(kind.after_max_s),
            millis(kind.latency_max_ms)
        )?;
    }
    writeln!(text, "\n{DEFINITION}\n")?;
    writeln!(text, "## Fault by fault\n")?;
    for kind in &report.kinds {
        writeln!(text, "- `{}`: {}", kind.kind, kind.kind.what())?;
    }
    writeln!(text)?;
    writeln!(
        text,
        "| | fault | at | harm lasted | all answered after | recovered after | outstanding at the beginning | p99 meanwhile |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|")?;
    for fault in &report.faults {
        let course = &fault.course;
        writeln!(
            text,
            "| {} | {} | {:.1} s | {} | {} | {} | {} | {} |",
            fault.number,
            fault.title(),
            course.began_s,
            seconds(Some(course.ended_s - course.began_s)),
            seconds(course.answered_s.map(|at| at - course.began_s)),
            seconds(fault.recovery_s),
            course.outstanding,
            course.latency.map_or_else(|| "–".to_owned(), |latency| millis(latency.p99_ms)),
        )?;
    }
    writeln!(text, "\nThe same plan again: `{}`", report.command())
}

fn headline(report: &Report) -> String {
    match report.books.violations() {
        0 if report.is_clean() => "nothing lost, nothing twice, nothing out of order".to_owned(),
        0 => "something did not come back".to_owned(),
        violations => format!("{violations} violations"),
    }
}

fn findings(report: &Report, text: &mut String) -> std::fmt::Result {
    if report.is_clean() {
        return Ok(());
    }
    writeln!(text, "## What is wrong\n")?;
    for trouble in &report.troubles {
        writeln!(text, "- the run ended early: {trouble}")?;
    }
    for death in &report.deaths {
        writeln!(text, "- {} ended by itself: {}", death.name, death.status)?;
    }
    for fault in report.faults.iter().filter(|fault| fault.course.answered_s.is_none()) {
        writeln!(text, "- fault {} ({}): events had no answer two minutes after its end", fault.number, fault.title())?;
    }
    for violation in &report.violations {
        let seq = violation.seq.map_or_else(String::new, |seq| format!(", event {seq}"));
        writeln!(text, "- at {:.1} s, {}{seq}: {}", violation.at_s, violation.client, violation.what)?;
    }
    writeln!(text)
}
