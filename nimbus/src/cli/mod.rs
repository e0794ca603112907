//! The command line. Help teaches: each command says what it is for and shows a line to copy.

mod authority;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod load;
pub(crate) mod serve;
mod style;
mod text;
pub(crate) mod topics;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use nimbus_core::ClientId;

use crate::exit;

/// Nimbus: events up, results down, on one stream; none lost, none twice, in order.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = after_help()
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "First steps:
  nimbus dev                        a server on this machine, in one process, data in ./data
  nimbus client --start 1 --end 10  sends 1 to 10 to it and prints their squares
  nimbus client send echo hello     sends one event and prints its answer
  nimbus config                     shows every setting, its value and where that came from

Every setting is an environment variable; .env.example explains each. A file .env in the working directory is read.";

fn after_help() -> String {
    format!("{FIRST_STEPS}\n\n{}", exit::HELP)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a whole server in one process, with its log in one directory
    #[command(after_help = "Examples:
  nimbus standalone
  NIMBUS_PORT=6000 NIMBUS_DATA_DIR=/var/lib/nimbus nimbus standalone
  nimbus standalone --json    one JSON line on standard output when it is ready

It ends on SIGTERM or ctrl-c: clients are told to go, what is accepted is settled, then it exits. A second one exits at once.")]
    Standalone(ServeArgs),
    /// The same as standalone, with a banner that says what to try next
    Dev(ServeArgs),
    /// Runs a gRPC server over Kafka and Redis: any number of them, behind any TCP balancer
    #[command(after_help = "Examples:
  NIMBUS_KAFKA_BROKERS=kafka-1:9092 NIMBUS_REDIS_ADDRESS=redis:6379 nimbus server
  NIMBUS_PORT=50052 NIMBUS_ADMIN_ADDR=127.0.0.1:9465 nimbus server    a second one on this machine

It keeps nothing: a client goes on at any other server. Executors and routers have to run as well: `nimbus consumers` is both.")]
    Server(ServeArgs),
    /// Runs executors over Kafka: events to results; more of them share the partitions
    Executor(ServeArgs),
    /// Runs the router over Kafka and Redis: results to the servers that own their clients
    Router(ServeArgs),
    /// Runs executors and router in one process
    #[command(after_help = "Examples:
  NIMBUS_KAFKA_BROKERS=kafka-1:9092 NIMBUS_REDIS_ADDRESS=redis:6379 NIMBUS_ADMIN_ADDR=off nimbus consumers")]
    Consumers(ServeArgs),
    /// Talks to a server: sends numbers, sends events, or listens
    #[command(after_help = "Examples:
  nimbus client --start 1 --end 10              sends 1 to 10 to `sq` and prints the squares as they come
  nimbus client --client_id phone-1             start and end are 0: stands by and prints what comes while it is there
  nimbus client send echo hello                 sends one event, prints its answer
  nimbus client send sq 7 8 9                   one event for each payload
  nimbus client --outbox ./phone.outbox --start 1 --end 1000
                                                keeps its place in a file: killed and started again, it goes on
                                                (begin a new file for another range)
  nimbus client show phone-1                    what Kafka and Redis know of it; needs no server

Without --outbox each run is a new outbox and begins where the log ends. What was finished for an earlier run before that is not shown
any more; what is finished later comes as `extra` lines when standing by, and as one line with their number when sending (--extras
or --json shows them). An outbox file belongs to one client id.

Where the server asks for a token, put it into NIMBUS_CLIENT_TOKEN.")]
    Client(ClientArgs),
    /// Loads a server with events and checks every answer
    #[command(after_help = "Examples:
  nimbus load                                     16 streams with 64 events each outstanding, for 10 seconds
  nimbus load --streams 1 --window 1              what one event takes from end to end
  nimbus load --rate 20000 --duration 1m          20,000 events a second, whether answers come or not
  nimbus load --server-pid $(pgrep -xo nimbus)     and what that costs the server: CPU and memory, an event and a stream
  nimbus load --protocol original --json          a client of the original protocol; the report as JSON
  nimbus load --streams 200 --window 1 --think 50ms --mix sq=9,echo=1
                                                  clients that pause between two events of different kinds
  nimbus load --rate 5000 --churn 20 --slow-readers 2 --idle 500
                                                  20 reconnects a second, two streams that read slowly, 500 that are only there
  nimbus load --out a.json --html a.html          the result as a file, and as a page with pictures
  nimbus load compare a.json b.json               two results beside each other
  nimbus load merge a.json b.json --out both.json what several load processes found at the same time, as one result

Without --rate it is a closed loop: each answer lets one event follow, which finds out how much a server does. With it, events have
their turns at fixed times, and latency counts from the turn: what clients feel at that rate. An event whose turn has come while
--window of its stream are outstanding waits, and its wait counts (held). If this process cannot send an event at its turn,
that counts as well, and is told (late).

--churn ends sessions by turns in good order and as if the connection broke, once what was sent is answered, and resumes them: what is
lost or repeated across that is found. Streams that are idle and readers that are slow are there to cost the server something; their
latencies are not measured.

A stream that the server ends is not opened again, and what was outstanding on it counts as lost, whatever becomes of it: restarts and
crashes are for nimbus chaos. So does what has no answer for ten seconds; events that nobody handles are told after thirty.

The report always says how much CPU this process used. If that, or all together, was more than 90 % of the machine, it is the machine
that was measured: run the load elsewhere.

In a pipe the report is one line a number, its name and its value divided by a tab; --json has all of it.

The exit code is 1 if anything was lost, repeated, out of order or wrong. Ctrl-c ends the sending, waits for what is outstanding
and prints the report so far; the exit code is 130 then. A second one exits at once.")]
    Load(Box<load::LoadArgs>),
    /// Shows every setting, its value, and where that came from
    #[command(after_help = "Examples:
  nimbus config
  nimbus config --json | jq '.settings[] | select(.source != \"default\")'

Secrets are never shown. Wrong settings are listed all at once, and the exit code is 64.")]
    Config(ConfigArgs),
    /// Checks, repairs, backs up or restores a data directory, or erases one client from it
    #[command(after_help = "Examples:
  nimbus data check                          reads everything, changes nothing; exit code 65 if something is damaged
  nimbus data backup /backups/today          also while the server runs
  nimbus data restore /backups/today --data-dir ./restored
  nimbus data repair                         after a refusal to start: keeps what can be read, says what is lost
  nimbus data erase phone-1 --yes            everything of one client, for good")]
    Data(data::DataArgs),
    /// Lists events that failed for good, shows them, and replays or purges them
    #[command(after_help = "Examples:
  nimbus dlq list                              what is open, the oldest first
  nimbus dlq list --reason ATTEMPTS_EXHAUSTED --since 2h
  nimbus dlq show 3:41                         its payload, and the executor's own words
  nimbus dlq replay 3:41                       its event once more, now that all is repaired
  nimbus dlq replay --event resize --dry-run   what that would replay; with --yes it does
  nimbus dlq purge --client phone-1 --yes      nobody wants them any more
  nimbus dlq list | cut -f1 | xargs nimbus dlq replay --yes

In a pipe `list` writes one line a letter, its fields divided by tabs: id, time, client, event,
seq, replay, reason, attempts, payload bytes, state.

Where it looks: in the directory that --data-dir names; else in Kafka, if NIMBUS_KAFKA_BROKERS is
set; else in NIMBUS_DATA_DIR (./data). A directory is worked on while no server runs on it.

A replay appends the event to the log again, with its identity and a replay number. What comes of
it goes to its client as an extra that says so; the ERROR that the client has stands. Its deadline
does not count any more. If it fails again, there is a new letter. A letter is marked as replayed
only when its event is durable: a crash loses none, and at worst 64 are replayed twice.

Logs are append-only: a purge is a mark, too, and hides the letter. Its bytes stay until retention
deletes them. `nimbus data erase` overwrites everything of one client at once.

Exit code 1: there is no such letter. A filter that nothing matches is no failure: 0, and a line
on standard error.")]
    Dlq(dlq::DlqArgs),
    /// Finds out what is wrong with Kafka, Redis and the settings, and says what to do about it
    #[command(after_help = "Examples:
  NIMBUS_KAFKA_BROKERS=kafka-1:9092 NIMBUS_REDIS_ADDRESS=redis:6379 nimbus doctor
  nimbus doctor | grep ^problem
  nimbus doctor --json | jq 'select(.severity != \"ok\")'

It makes and changes nothing, and can be run at any time, with the settings of a role: before the
first start, and while everything runs. One failing check does not hide the others. In a pipe it
writes one line a check, its fields divided by tabs: severity (ok, warning, problem), check, what
was found, what to do.

Exit code 0: there is no problem, though there may be warnings. 1: there is one.")]
    Doctor(doctor::DoctorArgs),
    /// Shows what the three topics hold, and how far behind their consumers are
    #[command(after_help = "Examples:
  nimbus topics
  nimbus topics | awk '$2 == \"total\"'               the totals of each topic and consumer group
  nimbus topics --json | jq 'select(.partition == \"total\")'

In a pipe it writes one line for each partition and consumer group, its fields divided by tabs:
topic, partition, start, end, records, group, committed, lag; then the same for each topic as a
whole, with `total` for a partition.")]
    Topics(topics::TopicsArgs),
    /// Shows what Nimbus promises: kills a client and a server in mid-run, and counts
    #[command(hide = true)]
    Demo {
        #[command(subcommand)]
        kind: Option<demo::Kind>,
    },
    /// Breaks an installation of its own under load, and verifies every answer (a program of its own: nimbus-chaos)
    #[command(disable_help_flag = true)]
    Chaos {
        /// What `nimbus-chaos` is given; `nimbus chaos --help` is its help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        args: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Prints one JSON line with the addresses when it is ready, and nothing else, on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The first number to send; 0 together with --end 0 stands by and listens
    #[arg(long, default_value_t = 0)]
    pub(crate) start: i64,
    /// The last number to send
    #[arg(long, default_value_t = 0)]
    pub(crate) end: i64,
    #[command(subcommand)]
    pub(crate) action: Option<ClientAction>,
}

/// How client commands reach a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The server, as host:port, or https://host:port [default: NIMBUS_CLIENT_ADDR, or 127.0.0.1:50051]
    #[arg(long, global = true)]
    pub(crate) addr: Option<String>,
    /// Who may vouch for a server that speaks TLS, as PEM [default: NIMBUS_CLIENT_CA_FILE, or whoever this machine trusts]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Who this client is. Results wait under this name while it is away, for the --outbox that they belong to; without
    /// one, each run is a new outbox
    #[arg(long = "client_id", alias = "client-id", global = true, default_value = "nimbus-cli")]
    pub(crate) client_id: String,
    /// Keeps what is sent and not yet answered in this file, so that a killed client goes on where it was
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) outbox: Option<PathBuf>,
    /// Also writes each answer to this file as one JSON line, exactly once, however often the client is killed
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    /// When sending: also shows each result that comes for an earlier run without --outbox, not only their number
    #[arg(short = 'v', long, global = true)]
    pub(crate) extras: bool,
    /// Prints one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientAction {
    #[command(flatten)]
    Talk(Talk),
    /// Shows what is known of a client of an installation on Kafka and Redis: who holds it, and what waits for it
    #[command(after_help = "Examples:
  nimbus client show phone-1
  nimbus client show phone-1 --json | jq .server

It reads Kafka and Redis, with the settings of a role, and changes nothing; no server has to run.
Of the options above only --json counts. Exit code 1: nobody has heard of this client.")]
    Show {
        /// Which client
        #[arg(value_name = "ID", value_parser = ClientId::try_new)]
        id: ClientId,
    },
}

/// What is done with a server.
#[derive(Debug, Subcommand)]
pub(crate) enum Talk {
    /// Sends one event for each payload and prints the answers
    #[command(after_help = "Examples:
  nimbus client send sq 7 8 9                            one event for each payload
  nimbus client send delay '{\"ms\":2000,\"steps\":4}'    takes its time, and says how far it is
  nimbus client send fail '{\"kind\":\"transient\",\"times\":2}'
                                                         fails twice, is retried, and then answers
  nimbus client send fail '{\"kind\":\"poison\"}'          a dead letter and an ERROR

An event name that nobody handles is held for NIMBUS_EXECUTOR_UNKNOWN_GRACE (30s) before its ERROR: a rolling deploy may bring it.")]
    Send {
        /// Which executor shall handle it: sq, echo, delay, fail, or your own
        name: String,
        /// What it gets; an event for each
        #[arg(required = true)]
        payloads: Vec<String>,
    },
    /// Prints what arrives until ctrl-c
    Listen,
}
