//! `make simulate`: runs seeds, many at once, until one breaks a promise.
//!
//! Progress goes to standard error, in one line that is written over on a terminal, in lines of its own elsewhere. The exit code
//! is 1 when a promise was broken, 64 when the arguments make no sense.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use nimbus_simulation::{Bug, Report, run, search};

const USAGE: &str = "\
usage: nimbus-simulation [--seed N] [--seeds N] [--first N] [--bug NAME] [--trace]
  --seed N    one run, twice, to show that it can be had again; with --trace every step is told
  --seeds N   so many runs, each with a seed of its own (default 1000)
  --first N   the first of these seeds (default 1)
  --bug NAME  with a known bug in it: commit-past-failure, cleanup-of-newer, accept-before-durable,
              apply-without-fence, missed-notification";

/// The exit code for arguments that make no sense, as `sysexits.h` has it.
const BAD_USAGE: u8 = 64;
/// How often progress is told, on a terminal and elsewhere.
const ON_A_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

struct Arguments {
    seed: Option<u64>,
    seeds: u64,
    first: u64,
    bug: Option<Bug>,
    trace: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { seed: None, seeds: 1_000, first: 1, bug: None, trace: false };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--trace" {
            found.trace = true;
            continue;
        }
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} takes a number, not `{value}`"));
        match name.as_str() {
            "--seed" => found.seed = Some(number()?),
            "--seeds" => found.seeds = number()?,
            "--first" => found.first = number()?,
            "--bug" => found.bug = Some(Bug::named(&value).ok_or_else(|| format!("no bug is called `{value}`"))?),
            _ => return Err(format!("`{name}` is no option")),
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    match arguments() {
        Ok(Arguments { seed: Some(seed), bug, trace, .. }) => one(seed, bug, trace),
        Ok(arguments) => many(&arguments),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

fn one(seed: u64, bug: Option<Bug>, trace: bool) -> ExitCode {
    let first = run(seed, bug, trace);
    println!("{first}");
    let again = run(seed, bug, false);
    if first != again {
        println!("seed {seed} came out otherwise the second time: {again}");
        return ExitCode::FAILURE;
    }
    if first.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn many(Arguments { seeds, first, bug, .. }: &Arguments) -> ExitCode {
    let began = Instant::now();
    let found = search(*first..first.saturating_add(*seeds), *bug);
    let terminal = std::io::stderr().is_terminal();
    let period = if terminal { ON_A_TERMINAL } else { ELSEWHERE };
    let (mut runs, mut answers, mut told) = (0, 0, Instant::now());
    let mut violation: Option<Report> = None;
    loop {
        match found.recv_timeout(period) {
            Ok(report) => {
                runs += 1;
                answers += report.answers;
                if report.violation.is_some() {
                    violation.get_or_insert(report);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if told.elapsed() >= period {
            told = Instant::now();
            tell(terminal, runs, *seeds, began);
        }
    }
    if terminal {
        eprintln!();
    }
    let rate = f64::from(runs) / began.elapsed().as_secs_f64();
    println!("{runs} runs, {answers} events answered, {rate:.0} runs a second");
    match violation {
        None => ExitCode::SUCCESS,
        Some(report) => {
            println!("{report}");
            ExitCode::FAILURE
        }
    }
}

fn tell(terminal: bool, runs: u32, seeds: u64, began: Instant) {
    let seconds = began.elapsed().as_secs();
    if terminal {
        eprint!("\r{runs} of {seeds} runs, {seconds} s ");
        // Progress that cannot be shown is no reason to stop.
        drop(std::io::stderr().flush());
    } else {
        eprintln!("{runs} of {seeds} runs, {seconds} s");
    }
}
