//! `nimbus-chaos`, which `nimbus chaos` runs: one run, its reports, and an exit code that says how it went.

mod cli;
mod progress;
mod scenarios;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use nimbus_chaos::{Config, Kind, Limit, Report, SCHEMA, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, What},
    progress::Progress,
};

/// As the server does: the clients of a storm come and go as well.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Something was found.
const FOUND: u8 = 1;
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return if error.print().is_ok() { code } else { ExitCode::from(FOUND) };
        }
    };
    match start(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nimbus chaos: {error:#}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(What::Scenarios(wanted)) = &cli.what {
        return wanted.start();
    }
    if let Some(path) = &cli.redraw {
        return redraw(cli, path);
    }
    let seed = cli
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() % 1_000_000));
    let limit = Limit::Time(Duration::from_secs_f64(cli.minutes * 60.0));
    let config = Config {
        steady: cli.steady,
        clients: cli.clients,
        rate: cli.rate,
        kinds: if cli.only.is_empty() { Kind::ALL.to_vec() } else { cli.only.clone() },
        ..Config::new(nimbus(cli.nimbus.as_deref())?, seed, limit, &cli.out)
    };
    let report =
        watched(cli.json, async |interrupted, progress| run(&config, interrupted, |news| progress.show(&news)).await)?;
    finish(cli, &report)
}

/// Does the work on a runtime of its own, with progress shown, until it is done or interrupted.
fn watched<T>(
    json: bool,
    work: impl AsyncFnOnce(&CancellationToken, &mut Progress) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let interrupted = interrupted()?;
        let mut progress = Progress::new(json);
        let done = work(&interrupted, &mut progress).await;
        progress.end();
        done
    });
    // Whatever had to end in good order has.
    runtime.shutdown_background();
    done
}

fn redraw(cli: &Cli, path: &Path) -> anyhow::Result<ExitCode> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let report: Report =
        serde_json::from_str(&text).with_context(|| format!("{} is no report of version {SCHEMA}", path.display()))?;
    report.write(&cli.out)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the report, says where it is, and what it says.
fn finish(cli: &Cli, report: &Report) -> anyhow::Result<ExitCode> {
    report.write(&cli.out)?;
    let keeps = cli.keep || !report.is_clean();
    if !keeps {
        // A service that was just being started when ctrl-c came may still write into it.
        if let Err(error) = fs::remove_dir_all(&report.logs) {
            eprintln!("nimbus chaos: {} is left behind: {error}", report.logs.display());
        }
    }
    let text = if cli.json { serde_json::to_string(report)? } else { summary(report) };
    writeln!(io::stdout(), "{text}")?;
    if !cli.json {
        writeln!(io::stdout(), "\nThe report is {}", cli.out.join("report.md").display())?;
    }
    if keeps {
        eprintln!("Logs and data of all processes are kept in {}", report.logs.display());
        eprintln!("The same plan again: {}", report.command());
    }
    Ok(match report {
        Report { interrupted: true, .. } => ExitCode::from(INTERRUPTED),
        report if report.is_clean() => ExitCode::SUCCESS,
        _ => ExitCode::from(FOUND),
    })
}

fn summary(report: &Report) -> String {
    // Everything of the Markdown but the picture and the list of single faults reads well on a terminal.
    let text = report.markdown();
    let text = text.split("## Fault by fault").next().unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("![")).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The `nimbus` that is tested.
fn nimbus(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("nimbus"),
    };
    if !path.is_file() {
        bail!("there is no {}: build it (cargo build --package nimbus), or name one with --nimbus", path.display());
    }
    Ok(path.canonicalize()?)
}

/// Cancelled by the first signal; the second one exits at once.
fn interrupted() -> anyhow::Result<CancellationToken> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let next = async |int: &mut tokio::signal::unix::Signal, term: &mut tokio::signal::unix::Signal| {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        };
        next(&mut int, &mut term).await;
        cancelled.cancel();
        next(&mut int, &mut term).await;
        std::process::exit(INTERRUPTED.into());
    });
    Ok(token)
}
