//! `nimbus load`: a closed or an open loop that checks every answer.

mod files;
mod progress;
mod table;
mod units;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use nimbus_config::ClientConfig;
use nimbus_loadtest::{Limit, LoadConfig, LoadError, LoadReport, OPEN_WINDOW, Weighted};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use self::{
    files::{Files, Output},
    progress::Progress,
};
use super::{
    authority::{advice, authority},
    text,
};
use crate::exit::{Exit, Failure, OrExit, tell};

/// Of a closed loop: enough to keep a server on one machine busy.
const DEFAULT_WINDOW: usize = 64;
/// Long enough for connections to open and buffers to grow.
const DEFAULT_WARMUP: Duration = Duration::from_secs(1);

/// A load, or what is done with results of loads.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    files: Option<Files>,
    #[command(flatten)]
    options: LoadOptions,
}

#[derive(Debug, Args)]
struct LoadOptions {
    /// The server, as host:port, or https://host:port [default: NIMBUS_CLIENT_ADDR, or 127.0.0.1:50051]
    #[arg(long)]
    addr: Option<String>,
    /// Who may vouch for a server that speaks TLS, as PEM [default: NIMBUS_CLIENT_CA_FILE, or whoever this machine trusts]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Which protocol to speak
    #[arg(long, value_enum, default_value_t = Protocol::V1)]
    protocol: Protocol,
    /// How many streams, each with a client id of its own
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// Makes it an open loop: sends so many events a second over all streams together, whether answers come or not
    #[arg(long, value_name = "EVENTS")]
    rate: Option<f64>,
    /// How many events of a stream are outstanding, with --rate at most [default: 64; with --rate 4096]
    #[arg(long)]
    window: Option<usize>,
    /// Over how many connections the streams are spread [default: one each]
    #[arg(long)]
    connections: Option<usize>,
    /// How long to measure, such as 10s or 5m
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Opens the streams one after the other over this time, before the warm-up; with --rate they begin to send when all are open
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, conflicts_with = "events")]
    ramp: Duration,
    /// How long to run before that without measuring [default: 1s; with --events, everything is measured]
    #[arg(long, value_parser = duration)]
    warmup: Option<Duration>,
    /// How many events to send altogether, instead of for a time
    #[arg(long, conflicts_with = "duration")]
    events: Option<u64>,
    /// Which event: answers of `sq` and `echo` are checked for what they say
    #[arg(long, default_value = "sq")]
    event: String,
    /// Several kinds of events with their weights, in place of --event: such as sq=9,echo=1
    #[arg(long, value_name = "NAME=WEIGHT", value_delimiter = ',', value_parser = weighted, conflicts_with = "event")]
    mix: Vec<Weighted>,
    /// How long each stream pauses between an answer and the event that follows it, such as 50ms
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, conflicts_with = "rate")]
    think: Duration,
    /// v1: how many streams a second are closed or cut, one after the other, and resumed by a new session
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    churn: f64,
    /// How many of the streams read slowly; their latencies are not measured
    #[arg(long, value_name = "STREAMS", default_value_t = 0)]
    slow_readers: usize,
    /// How long a slow reader pauses after each answer
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    slow_pause: Duration,
    /// How many more streams are open and say nothing, each on a connection of its own
    #[arg(long, value_name = "STREAMS", default_value_t = 0)]
    idle: usize,
    /// v1: pads each payload to this many bytes
    #[arg(long, default_value_t = 0)]
    payload_bytes: usize,
    /// What the client ids begin with [default: load- and something new each time]
    #[arg(long, alias = "client_id_prefix")]
    client_id_prefix: Option<String>,
    /// Reports CPU time and memory of this process, which runs on this machine; may be given more than once
    #[arg(long = "server-pid", value_name = "PID")]
    server_pids: Vec<u32>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Protocol {
    /// nimbus.v1.Gateway/Session
    V1,
    /// nimbus.NimbusService/ProcessEvent
    Original,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 10s"))
}

fn weighted(text: &str) -> Result<Weighted, String> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight =
        weight.parse().map_err(|error| format!("weight of `{name}`: {error}; write for example sq=9,echo=1"))?;
    Ok(Weighted { name: name.to_owned(), weight })
}

/// Runs the load to its end, or until `interrupted`: then with what there is by then.
pub(crate) async fn run(args: LoadArgs, client: ClientConfig, interrupted: CancellationToken) -> Result<Exit, Failure> {
    if let Some(files) = args.files {
        return files::run(files);
    }
    let LoadArgs { options, .. } = args;
    options.output.check()?;
    let config = config(&options, client)?;
    let mut progress = Progress::new(options.output.json);
    let result = nimbus_loadtest::run_until(&config, interrupted, |now| progress.show(now)).await;
    progress.end();
    let result = result.map_err(failure)?;
    options.output.write(&result)?;
    show(&result.report, options.output.json)?;
    warn(None, &result.report);
    Ok(match result.report {
        LoadReport { interrupted: true, .. } => Exit::Interrupted,
        report if report.is_clean() => Exit::Done,
        _ => Exit::Failed,
    })
}

/// Says, also to whoever reads JSON, that a result is that of the machine, or of nothing.
fn warn(file: Option<&Path>, report: &LoadReport) {
    let file = file.map_or_else(String::new, |file| format!("{}: ", file.display()));
    if report.measured == 0 && report.answered > 0 {
        tell(format_args!(
            "nimbus: warning: {file}nothing was measured: every answer came during the warm-up (--warmup)"
        ));
    }
    for machine in report.cost.machines.iter().filter(|machine| machine.is_the_limit()) {
        tell(format_args!(
            "nimbus: warning: {file}{machine}; latencies are those of its queues. Load less, or from another machine"
        ));
    }
}

fn show(report: &LoadReport, json: bool) -> Result<(), Failure> {
    if json {
        return text::write_json([serde_json::to_value(report).or_exit(Exit::Failed)?]);
    }
    text::write_rows(["what", "how much"], &table::rows(report))
}

fn config(args: &LoadOptions, client: ClientConfig) -> Result<LoadConfig, Failure> {
    let protocol = match args.protocol {
        Protocol::V1 => nimbus_loadtest::Protocol::V1,
        Protocol::Original => nimbus_loadtest::Protocol::Original,
    };
    let addr = args.addr.as_deref().unwrap_or(&client.addr);
    Ok(LoadConfig {
        streams: args.streams,
        connections: args.connections.unwrap_or(args.streams),
        rate: args.rate,
        window: args.window.unwrap_or(if args.rate.is_some() { OPEN_WINDOW } else { DEFAULT_WINDOW }),
        limit: args.events.map_or(Limit::Duration(args.duration), Limit::Events),
        ramp: args.ramp,
        // A given number of events would otherwise be over before anything is measured.
        warmup: args.warmup.unwrap_or(if args.events.is_some() { Duration::ZERO } else { DEFAULT_WARMUP }),
        payload_bytes: args.payload_bytes,
        event_name: args.event.clone(),
        mix: args.mix.clone(),
        think: args.think,
        churn: args.churn,
        slow_readers: args.slow_readers,
        slow_pause: args.slow_pause,
        idle: args.idle,
        token: client.token.as_ref().map(|token| token.expose().to_owned()),
        authority: authority(args.ca_file.as_deref(), &client)?,
        server_pids: args.server_pids.clone(),
        // Results of a load that was cut short wait for its client ids, and would pass for repeats in the next.
        client_id_prefix: args.client_id_prefix.clone().unwrap_or_else(|| format!("load-{}", Ulid::generate())),
        ..LoadConfig::new(addr, protocol)
    })
}

fn failure(error: LoadError) -> Failure {
    match &error {
        LoadError::Config(_) => Failure::new(Exit::Usage, error),
        LoadError::Result(_) => Failure::new(Exit::Data, error),
        LoadError::System(_) => Failure { exit: Exit::Io, error: error.into() },
        LoadError::Refused { code, .. } => {
            let exit = Exit::of_refusal(*code);
            let advice = match exit {
                Exit::Denied => {
                    "; set NIMBUS_CLIENT_TOKEN to a token that may use these client ids (--client-id-prefix)"
                }
                _ => "",
            };
            Failure::new(exit, format!("{error}{advice}"))
        }
        LoadError::Connect { address, .. } => Failure::new(Exit::Unavailable, format!("{error}{}", advice(address))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(args: &[&str]) -> Result<LoadArgs, String> {
        let args = ["nimbus", "load"].iter().chain(args);
        match Cli::try_parse_from(args).map_err(|error| error.to_string())?.command {
            Command::Load(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_load_and_what_is_done_with_results_are_told_apart() {
        assert!(parsed(&["--rate", "5", "--out", "a.json"]).is_ok_and(|args| args.files.is_none()));
        assert!(parsed(&[]).is_ok_and(|args| args.files.is_none()));
        let compared = parsed(&["compare", "a.json", "b.json"]).unwrap();
        assert!(matches!(compared.files, Some(Files::Compare { json: false, .. })), "{compared:?}");
        let merged = parsed(&["merge", "a.json", "b.json", "--out", "c.json"]).unwrap();
        assert!(matches!(merged.files, Some(Files::Merge { results, .. }) if results.len() == 2));
        assert!(parsed(&["--rate", "5", "compare", "a.json", "b.json"]).is_err(), "one or the other");
        assert!(parsed(&["merge"]).is_err());
    }

    #[test]
    fn a_mix_is_names_and_weights() {
        let mix = |text: &str| parsed(&["--mix", text]).map(|args| args.options.mix);
        let weighted = |name: &str, weight| Weighted { name: name.to_owned(), weight };
        assert_eq!(mix("sq=9,echo"), Ok(vec![weighted("sq", 9), weighted("echo", 1)]));
        assert!(mix("sq=x").unwrap_err().contains("sq=9,echo=1"));
        assert!(parsed(&["--mix", "sq", "--event", "echo"]).is_err());
    }
}
