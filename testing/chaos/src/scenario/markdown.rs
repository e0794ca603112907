//! The report of scenarios for people.

use std::fmt::Write as _;

use super::{Act, Counted, Finding, Scenarios};
use crate::{Books, Memory};

pub(super) fn markdown(report: &Scenarios) -> String {
    let mut text = String::new();
    write(report, &mut text).expect("a string takes everything");
    text
}

fn write(report: &Scenarios, text: &mut String) -> std::fmt::Result {
    writeln!(text, "# Scenarios: {}\n", headline(report))?;
    writeln!(
        text,
        "Windows of {:.0} s; events of {} bytes; everything on one machine \
         with {} processors and {} MiB of memory ({} build, version {}).{}\n",
        report.window_s,
        report.payload_bytes,
        report.processors,
        report.memory_mib,
        if report.release_build { "release" } else { "debug" },
        report.version,
        if report.interrupted { " The run was cut short." } else { "" },
    )?;
    writeln!(
        text,
        "Latency is of the clients under the open load, from when an event should have been sent until its answer was handed over. A bound \
         that is not met fails nothing.\n"
    )?;
    writeln!(text, "| scenario | on | what | measured | bound | met |")?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for act in &report.acts {
        for finding in &act.findings {
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                act.scenario,
                act.on,
                finding.what,
                quantity(finding, finding.measured),
                finding.bound.map_or_else(String::new, |bound| format!("≤ {}", quantity(finding, Some(bound)))),
                finding.met.map_or("", |met| if met { "yes" } else { "**no**" }),
            )?;
        }
    }
    writeln!(text, "\n## The books\n")?;
    books(report, text)?;
    findings(report, text)?;
    turns(report, text)?;
    misfits(report, text)
}

/// A figure with its unit.
fn quantity(finding: &Finding, value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    match finding.unit.as_str() {
        "" => format!("{value:.0}"),
        "times" => format!("{value:.2} ×"),
        "ms" => millis(value),
        "s" => format!("{value:.2} s"),
        unit => format!("{value:.0} {unit}"),
    }
}

fn millis(value: f64) -> String {
    match value {
        _ if value >= 1_000.0 => format!("{:.2} s", value / 1_000.0),
        _ if value >= 10.0 => format!("{value:.0} ms"),
        _ => format!("{value:.1} ms"),
    }
}

fn books(report: &Scenarios, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "| scenario | on | sent | answered | lost | duplicated | reordered | wrong recipient | wrong | gaps | strays | clients ended |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
    for Act { scenario, on, books, .. } in &report.acts {
        let Books { sent, answered, lost, duplicated, reordered, foreign, wrong, gaps, strays, ended } = books;
        writeln!(
            text,
            "| {scenario} | {on} | {sent} | {answered} | {lost} | {duplicated} | {reordered} | {foreign} | {wrong} | {gaps} | {strays} | {ended} |"
        )?;
    }
    writeln!(text)
}

fn turns(report: &Scenarios, text: &mut String) -> std::fmt::Result {
    for act in report.acts.iter().filter(|act| !act.turns.is_empty()) {
        writeln!(text, "## {}, {}: process by process\n", act.scenario, act.on)?;
        writeln!(text, "| process | ended after | ready after | p99 meanwhile | longest wait |")?;
        writeln!(text, "|---|---|---|---|---|")?;
        for turn in &act.turns {
            let (p99, max) = turn.latency.map_or_else(Default::default, |l| (millis(l.p99_ms), millis(l.max_ms)));
            writeln!(text, "| {} | {:.1} s | {:.1} s | {p99} | {max} |", turn.process, turn.stop_s, turn.start_s)?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn misfits(report: &Scenarios, text: &mut String) -> std::fmt::Result {
    for act in report.acts.iter().filter(|act| !act.counted.is_empty()) {
        writeln!(text, "## {}, {}: what shows each of the four\n", act.scenario, act.on)?;
        writeln!(text, "| client | did | metric, all processes together | in the window without | with |")?;
        writeln!(text, "|---|---|---|---|---|")?;
        for Counted { misfit, did, metric, without, with } in &act.counted {
            writeln!(text, "| {} | {did} {} | `{metric}` | {without:.0} | {with:.0} |", misfit.name(), misfit.deed())?;
        }
        writeln!(text, "\n| memory of | before | most | after |")?;
        writeln!(text, "|---|---|---|---|")?;
        for Memory { process, before_mib, max_mib, after_mib } in &act.memory {
            writeln!(text, "| {process} | {before_mib:.0} MiB | {max_mib:.0} MiB | {after_mib:.0} MiB |")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn headline(report: &Scenarios) -> String {
    let bounded = || report.acts.iter().flat_map(|act| &act.findings).filter_map(|finding| finding.met);
    let (met, all) = (bounded().filter(|met| *met).count(), bounded().count());
    let clean = if report.is_clean() { "the books are clean" } else { "something is wrong" };
    format!("{met} of {all} bounds met, {clean}")
}

fn findings(report: &Scenarios, text: &mut String) -> std::fmt::Result {
    if report.is_clean() {
        return Ok(());
    }
    writeln!(text, "## What is wrong\n")?;
    for act in &report.acts {
        let name = format!("{}, {}", act.scenario, act.on);
        for trouble in &act.troubles {
            writeln!(text, "- {name}: {trouble}")?;
        }
        for death in &act.deaths {
            writeln!(text, "- {name}: {} ended by itself: {}", death.name, death.status)?;
        }
        for violation in &act.violations {
            let seq = violation.seq.map_or_else(String::new, |seq| format!(", event {seq}"));
            writeln!(text, "- {name}: at {:.1} s, {}{seq}: {}", violation.at_s, violation.client, violation.what)?;
        }
    }
    writeln!(text)
}
