//! The report as text.

use std::fmt;

use super::{
    super::kind::{Kind, Setting},
    Distributed, IDLE_AT_MOST_KIB, Report, Spread,
    compare::{Comparison, Target},
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
        self.idle(f)?;
        match &self.distributed {
            Distributed::NotWanted => Ok(()),
            Distributed::NotMeasured(why) => writeln!(f, "\nTHE DISTRIBUTED PART IS NOT MEASURED: {why}"),
            Distributed::Measured(_) => {
                writeln!(f, "\nOne Kafka and one Redis run on the same cores.\n")?;
                self.comparisons_of(Setting::Distributed, f)?;
                self.redis(f)
            }
        }
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
                "\n| server | protocol | idle streams, each on its own connection | KiB a stream | target | |"
            )?;
            writeln!(f, "|---|---|---|---|---|---|")?;
        }
        for idle in &self.idle {
            let (target, verdict) = if idle.kind == Kind::Nimbus {
                let met = idle.kib_per_stream <= IDLE_AT_MOST_KIB;
                (format!("at most {IDLE_AT_MOST_KIB:.0}"), if met { "met" } else { "MISSED" })
            } else {
                ("none".to_owned(), "")
            };
            writeln!(
                f,
                "| {} | {:?} | {} | {:.1} | {target} | {verdict} |",
                idle.kind, idle.protocol, idle.streams, idle.kib_per_stream
            )?;
        }
        Ok(())
    }

    fn redis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| protocol | Redis CPU a result | results a batch | target | |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for row in &self.redis {
            let Spread { median, min, max } = row.us_per_result;
            let verdict = match row.verdict {
                Verdict::Met => "met",
                Verdict::Missed => "MISSED",
                Verdict::NotJudged => "not judged: smaller batches",
            };
            writeln!(
                f,
                "| {:?} | {median:.2} us ({min:.2} to {max:.2}) | {} | at most {AT_MOST_US:.0} us in batches of {IN_BATCHES_OF:.0} \
                 or more | {verdict} |",
                row.protocol,
                spread(&row.results_per_batch, ""),
            )?;
        }
        Ok(())
    }
}

fn row(comparison: &Comparison, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unit = if comparison.what == "p50" { " us" } else { " events/s" };
    let target = match comparison.target {
        None => "none".to_owned(),
        Some(Target::RatioAtLeast(least)) => format!("at least {least:.2}"),
        Some(Target::RatioAtMost(most)) => format!("at most {most:.2}"),
    };
    let verdict = if comparison.met { "met" } else { "MISSED" };
    let Spread { median, min, max } = comparison.ratio;
    writeln!(
        f,
        "| {:?} | {} x {} | {} | {} | {} | {median:.2} ({min:.2} to {max:.2}) | {target} | {} |",
        comparison.protocol,
        comparison.streams,
        comparison.window,
        comparison.what,
        spread(&comparison.baseline, unit),
        spread(&comparison.nimbus, unit),
        if comparison.target.is_some() { verdict } else { "" },
    )
}

fn spread(spread: &Spread, unit: &str) -> String {
    format!("{}{unit} ({} to {})", thousands(spread.median), thousands(spread.min), thousands(spread.max))
}

fn thousands(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0} k", value / 1000.0) } else { format!("{value:.0}") }
}
