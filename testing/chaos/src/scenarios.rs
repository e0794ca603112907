//! `nimbus chaos scenarios`: its command line, one run, its report, and an exit code that says how it went.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use nimbus_chaos::{Conditions, DEFAULT_BACKLOG, DEFAULT_CROWD, DEFAULT_OTHERS, On, Scenario, Scenarios, play};

use crate::{
    FOUND, INTERRUPTED, USAGE,
    cli::{at_least_one, duration, rate},
    nimbus, watched,
};

/// What the command line says.
#[derive(Debug, Args)]
#[command(max_term_width = 100, after_help = after_help())]
pub(crate) struct Wanted {
    /// Which [default: all]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// On one embedded server, or on two of each role over Kafka and Redis [default: both]
    #[arg(long, value_name = "GROUND,…", value_delimiter = ',')]
    on: Vec<On>,
    /// How long each window is measured
    #[arg(long, default_value = "60s", value_parser = duration)]
    window: Duration,
    /// Clients under the open load, whose latency is measured; isolation replaces four of them
    #[arg(long, default_value_t = DEFAULT_OTHERS, value_parser = more_than_four)]
    clients: usize,
    /// Events a second, of these clients together; they are sent at this rate whatever comes back [default: 1000, and 300 beside the
    /// distributed storm]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Clients that are cut at once in the storm
    #[arg(long, default_value_t = DEFAULT_CROWD, value_parser = at_least_one)]
    crowd: usize,
    /// Events of each of them whose answers it has not read when it is cut
    #[arg(long, default_value_t = DEFAULT_BACKLOG)]
    backlog: u64,
    /// Where scenarios.md and scenarios.json go, and logs and data if something is wrong
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    out: PathBuf,
    /// Keeps logs and data also when nothing is wrong
    #[arg(long)]
    keep: bool,
    /// Prints the report as JSON, and no progress
    #[arg(long)]
    json: bool,
    /// The `nimbus` to test [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    nimbus: Option<PathBuf>,
}

fn after_help() -> String {
    let scenarios: Vec<_> = Scenario::ALL.iter().map(|one| format!("  {:<10} {}", one.name(), one.what())).collect();
    format!(
        "Examples:
  nimbus chaos scenarios                                  all of them, on both grounds
  nimbus chaos scenarios roll --window 20s
  nimbus chaos scenarios --on embedded --json | jq '.acts[] | {{scenario, findings}}'

Each scenario has an installation of its own on free ports of this machine. Clients of the SDK send at a fixed rate and verify every answer;
a window without the scenario is measured first, and what the clients feel of it is compared with that. Figures that are beyond their
bound are told and fail nothing: on a machine that does other work as well they say little.

Scenarios:
{}

Exit codes:
  0    the books are clean, and everybody came back
  1    something is wrong: the report says what, and the logs and data of all processes are kept and named
  64   an argument is wrong
  69   something is missing: nimbus, java, redis-server, open files, or it does not start
  130  cut short by ctrl-c: the report so far is written. A second ctrl-c exits at once",
        scenarios.join("\n")
    )
}

fn more_than_four(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 4).ok_or_else(|| "write a number from 5 on".to_owned())
}

impl Wanted {
    pub(crate) fn start(&self) -> anyhow::Result<ExitCode> {
        let mut conditions = Conditions {
            window: self.window,
            clients: self.clients,
            rate: self.rate,
            crowd: self.crowd,
            backlog: self.backlog,
            ..Conditions::new(nimbus(self.nimbus.as_deref())?, &self.out)
        };
        if !self.scenarios.is_empty() {
            conditions.scenarios.clone_from(&self.scenarios);
        }
        if !self.on.is_empty() {
            conditions.on.clone_from(&self.on);
        }
        if conditions.acts().is_empty() {
            eprintln!("nimbus chaos: one process cannot be rolled; roll needs --on distributed");
            return Ok(ExitCode::from(USAGE));
        }
        let report = watched(self.json, async |interrupted, progress| {
            play(&conditions, interrupted, |news| progress.show(&news)).await
        })?;
        self.finish(&report)
    }

    /// Writes the report, says where it is, and what it says.
    fn finish(&self, report: &Scenarios) -> anyhow::Result<ExitCode> {
        report.write(&self.out)?;
        let keeps = self.keep || !report.is_clean();
        if !keeps && let Err(error) = fs::remove_dir_all(&report.logs) {
            eprintln!("nimbus chaos: {} is left behind: {error}", report.logs.display());
        }
        let text = if self.json { serde_json::to_string(report)? } else { report.markdown().trim_end().to_owned() };
        writeln!(io::stdout(), "{text}")?;
        if !self.json {
            writeln!(io::stdout(), "\nThe report is {}", self.out.join("scenarios.md").display())?;
        }
        if keeps {
            eprintln!("Logs and data of all processes are kept in {}", report.logs.display());
        }
        Ok(match report {
            Scenarios { interrupted: true, .. } => ExitCode::from(INTERRUPTED),
            report if report.is_clean() => ExitCode::SUCCESS,
            _ => ExitCode::from(FOUND),
        })
    }
}
