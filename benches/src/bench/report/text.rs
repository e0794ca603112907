//! The report as text.

use std::fmt;

use super::{
    super::{
        kind::{Kind, Setting},
        memory::IdleStream,
    },
    Distributed, IDLE_AT_MOST_CORES, Report, Spread,
    compare::{Comparison, Target},
    cores_met, idle_at_most_kib,
    redis::{AT_MOST_US, IN_BATCHES_OF, Verdict},
};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} cores for server and client together, {} s a measurement, one fdatasync of 4 KiB: p50 {:.0} us.",
            self.cores, self.seconds_per_measurement, self.fdatasync_p50_us
        )?;
        writeln!(f, "Median (min to max) over the rounds; ratios are of the same round.\n")?;
        self.comparisons_of(Setting::Embedded, f)?;
        self.beyond(Setting::Embedded, f)?;
        writeln!(f, "\nBeside a server that keeps nothing and only answers:\n")?;
        self.comparisons_of(Setting::Echo, f)?;
        if self.comparisons.iter().any(|one| one.setting == Setting::Nats) {
            writeln!(f, "\nBeside NATS JetStream doing the same work, which syncs nothing by default:\n")?;
            self.comparisons_of(Setting::Nats, f)?;
        } else {
            writeln!(f, "\nNATS JETSTREAM IS NOT MEASURED: there is no nats-server.")?;
        }
        self.idle(f)?;
        match &self.distributed {
            Distributed::NotWanted => Ok(()),
            Distributed::NotMeasured(why) => writeln!(f, "\nTHE DISTRIBUTED PART IS NOT MEASURED: {why}"),
            Distributed::Measured(_) => {
                writeln!(f, "\nOne Kafka and one Redis run on the same cores.\n")?;
                self.comparisons_of(Setting::Distributed, f)?;
                self.beyond(Setting::Distributed, f)?;
                self.redis(f)?;
                self.kafka(f)
            }
        }?;
        self.cpu(f)
    }
}

impl Report {
    fn comparisons_of(&self, setting: Setting, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, nimbus) = (setting.limit(), setting.nimbus());
        writeln!(f, "| protocol | streams x window | what | {limit} | {nimbus} | Nimbus / {limit} | target | |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        self.comparisons.iter().filter(|one| one.setting == setting).try_for_each(|one| row(one, f))
    }

    fn idle(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.idle.is_empty() {
            writeln!(
                f,
                "\n| server | protocol | idle streams, each on its own connection | KiB a stream | target | | of a core, all together | target | |"
            )?;
            writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        }
        for idle in &self.idle {
            let (target, verdict) = if idle.kind == Kind::Nimbus {
                let most = idle_at_most_kib(idle);
                (format!("at most {most:.0}"), verdict(idle.kib_per_stream <= most))
            } else {
                ("none".to_owned(), "")
            };
            writeln!(
                f,
                "| {}{} | {:?} | {} | {:.1} | {target} | {verdict} | {} |",
                idle.kind,
                if idle.tls { ", TLS" } else { "" },
                idle.protocol,
                idle.streams,
                idle.kib_per_stream,
                cores(idle)
            )?;
        }
        Ok(())
    }

    fn beyond(&self, setting: Setting, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, nimbus) = (setting.limit(), setting.nimbus());
        writeln!(f, "\n| v1, 16 streams | {limit} | {nimbus} | ratio | of | target | |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for row in self.beyond.iter().filter(|row| row.setting == setting) {
            let (target, verdict) = judged(row.target, row.met);
            let unit = format!(" {}", row.unit);
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {target} | {verdict} |",
                row.load,
                row.limit.map_or_else(|| "has no room for one".to_owned(), |limit| spread(&limit, &unit)),
                spread(&row.nimbus, &unit),
                exactly(&row.ratio, 2, ""),
                row.ratio_of,
            )?;
        }
        Ok(())
    }

    fn kafka(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| payload of an event | bytes in Kafka, its result included | target | |")?;
        writeln!(f, "|---|---|---|---|")?;
        for row in &self.kafka {
            let (bytes, verdict) = (spread(&row.bytes_per_event, ""), verdict(row.met));
            writeln!(f, "| {} | {bytes} | at most {:.0} | {verdict} |", row.payload_bytes, row.at_most)?;
        }
        Ok(())
    }

    fn cpu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| server, v1 | streams x window | CPU time of an event, us, by process |")?;
        writeln!(f, "|---|---|---|")?;
        for row in &self.cpu {
            let roles: Vec<_> = row.roles.iter().map(|(role, us)| format!("{role} {}", exactly(us, 1, ""))).collect();
            writeln!(f, "| {} | {} x {} | {} |", row.kind, row.streams, row.window, roles.join(", "))?;
        }
        Ok(())
    }

    fn redis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| protocol | Redis CPU a result | results a batch | target | |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for row in &self.redis {
            let verdict = match row.verdict {
                Verdict::Met => verdict(true),
                Verdict::Missed => verdict(false),
                Verdict::NotJudged => "not judged: smaller batches",
            };
            writeln!(
                f,
                "| {:?} | {} | {} | at most {AT_MOST_US:.0} us in batches of {IN_BATCHES_OF:.0} \
                 or more | {verdict} |",
                row.protocol,
                exactly(&row.us_per_result, 2, " us"),
                spread(&row.results_per_batch, ""),
            )?;
        }
        Ok(())
    }
}

fn row(comparison: &Comparison, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unit = if comparison.what == "p50" { " us" } else { " events/s" };
    let (target, verdict) = judged(comparison.target, comparison.met);
    writeln!(
        f,
        "| {:?} | {} x {} | {} | {} | {} | {} | {target} | {verdict} |",
        comparison.protocol,
        comparison.streams,
        comparison.window,
        comparison.what,
        spread(&comparison.baseline, unit),
        spread(&comparison.nimbus, unit),
        exactly(&comparison.ratio, 2, ""),
    )
}

/// A target, and what became of it.
fn judged(target: Option<Target>, met: bool) -> (String, &'static str) {
    let said = match target {
        None => return ("none".to_owned(), ""),
        Some(Target::RatioAtLeast(least)) => format!("at least {least:.2}"),
        Some(Target::RatioAtMost(most)) => format!("at most {most:.2}"),
    };
    (said, verdict(met))
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// How much of a core idle streams take, the target, and what became of it.
fn cores(idle: &IdleStream) -> String {
    match idle.cores {
        None => "not looked at | none | ".to_owned(),
        Some(cores) if idle.tls || idle.kind != Kind::Nimbus => format!("{cores:.4} | none | "),
        Some(cores) => {
            format!("{cores:.4} | at most {IDLE_AT_MOST_CORES} | {}", verdict(cores_met(idle)))
        }
    }
}

fn spread(spread: &Spread, unit: &str) -> String {
    format!("{}{unit} ({} to {})", thousands(spread.median), thousands(spread.min), thousands(spread.max))
}

/// With so many decimals.
fn exactly(spread: &Spread, decimals: usize, unit: &str) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$}{unit} ({min:.decimals$} to {max:.decimals$})")
}

fn thousands(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0} k", value / 1000.0) } else { format!("{value:.0}") }
}
