//! The benchmark: Nimbus and what it is compared with in turn, the same client, the same machine, the same minutes.
//!
//! Only ratios count, and only together with their spread: absolute numbers of a shared machine mean nothing tomorrow.
//! Each round starts both servers afresh, one at a time, and swaps their order; each ratio is made of two measurements of
//! the same round. A load with anything lost, repeated, reordered or wrong ends the benchmark.

mod beyond;
mod cpu;
mod distributed;
mod kafka;
mod kind;
mod memory;
mod metrics;
mod nats;
mod process;
mod redis;
mod report;
mod server;
mod services;

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use nimbus_loadtest::{Limit, LoadConfig, Protocol};

use self::{
    kind::{Kind, Setting},
    memory::IdleStream,
    report::{Distributed, Measured, Report},
    server::Server,
    services::Wanted,
};

/// What a server process says before its address.
pub(crate) const LISTENING: &str = "listens on ";

/// How a load looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    streams: usize,
    window: usize,
}

/// For latency.
const ALONE: Shape = Shape { streams: 1, window: 1 };
/// For throughput.
const CROWD: Shape = Shape { streams: 16, window: 64 };
/// For throughput with more outstanding than anything keeps in its caches.
const MANY: Shape = Shape { streams: 64, window: 256 };
/// One stream that is busy, and many that are less so.
const SHAPES: [Shape; 5] = [ALONE, Shape { streams: 1, window: 64 }, CROWD, Shape { streams: 64, window: 16 }, MANY];
const PROTOCOLS: [Protocol; 2] = [Protocol::V1, Protocol::Original];

/// What every server goes through.
fn loads() -> impl Iterator<Item = (Protocol, Shape)> {
    PROTOCOLS.into_iter().flat_map(|protocol| SHAPES.map(|shape| (protocol, shape)))
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The Nimbus binary to measure: a release build.
    #[arg(long, default_value = "target/release/nimbus")]
    nimbus: PathBuf,
    /// How often everything is measured. At least 3 for a spread worth the name.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of warm-up before each measurement.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// How many idle streams are opened for the memory of one and the CPU time of all. 0 leaves that out.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Seconds for which they are looked at. Less than the 25 between two pings says little.
    #[arg(long, default_value_t = 30.0)]
    idle_seconds: f64,
    /// Ends with an error when there is no Kafka or Redis to start. Default: they are started if they can be, and the
    /// distributed part is left out aloud if they cannot.
    #[arg(long, conflicts_with = "embedded_only")]
    distributed: bool,
    /// Leaves out what needs Kafka and Redis.
    #[arg(long)]
    embedded_only: bool,
    /// Where servers keep their files: the disk that is measured. Default: the system's temporary directory.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Where the table and the JSON file go.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// Ends with an error when a target is missed, or could not be measured.
    #[arg(long)]
    enforce: bool,
}

pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    anyhow::ensure!(plan.rounds > 0, "rounds is 0; give 1 or more");
    anyhow::ensure!(
        plan.nimbus.is_file(),
        "{} is not there: build it with `cargo build --release --package nimbus`",
        plan.nimbus.display()
    );
    let wanted = services::wanted(plan).await?;
    if let Wanted::Missing(why) = &wanted {
        eprintln!("WITHOUT THE DISTRIBUTED PART: {why}");
    }
    let directory = plan.directory.clone().unwrap_or_else(std::env::temp_dir);
    let sync = fdatasync_micros(&directory)?;
    let (mut measured, mut beyond) = (Vec::new(), Vec::new());
    measure_embedded(plan, &directory, &mut measured, &mut beyond).await?;
    let mut idle = measure_idle(plan, &directory).await?;
    let mut failure = None;
    let distributed = match wanted {
        Wanted::Yes => match distributed::measure_rounds(plan, &directory, &mut measured, &mut beyond, &mut idle).await
        {
            Ok(costs) => Distributed::Measured(costs),
            // What was measured before it is told first.
            Err(error) => Distributed::NotMeasured(format!("{:#}", failure.insert(error))),
        },
        Wanted::No => Distributed::NotWanted,
        Wanted::Missing(why) => Distributed::NotMeasured(why),
    };
    let report = Report::new(plan.seconds, sync, measured, beyond, idle, distributed);
    println!("{report}");
    std::fs::create_dir_all(&plan.results)?;
    for (name, text) in [("latest.json", serde_json::to_string_pretty(&report)?), ("latest.md", report.to_string())] {
        let path = plan.results.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        eprintln!("written to {}", path.display());
    }
    if let Some(error) = failure {
        return Err(error.context("the distributed part has failed"));
    }
    anyhow::ensure!(!plan.enforce || report.meets_every_target(), "a target is missed, or was not measured");
    Ok(())
}

async fn measure_embedded(
    plan: &Plan,
    directory: &Path,
    measured: &mut Vec<Measured>,
    beyond: &mut Vec<beyond::Measured>,
) -> anyhow::Result<()> {
    let with_nats = nats::is_there()?;
    for round in 0..plan.rounds {
        for kind in Setting::Embedded.order(round).into_iter().chain([Kind::Echo]) {
            let server = Server::start_embedded(kind, &plan.nimbus, directory).await?;
            for (protocol, shape) in loads() {
                measured.push(measure(plan, round, &server, protocol, shape).await?);
            }
            if kind != Kind::Echo {
                beyond::measure(plan, (Setting::Embedded, round), &server, measured, beyond).await?;
            }
            server.stop().await?;
        }
        if with_nats {
            nats::measure(plan, round, directory, measured).await?;
        }
    }
    Ok(())
}

async fn measure_idle(plan: &Plan, directory: &Path) -> anyhow::Result<Vec<IdleStream>> {
    let mut idle = Vec::new();
    if plan.idle > 0 {
        for (kind, tls) in [(Kind::Baseline, false), (Kind::Nimbus, false), (Kind::Nimbus, true)] {
            for protocol in PROTOCOLS {
                let server = match tls {
                    true => Server::start_with_tls(&plan.nimbus, directory).await?,
                    false => Server::start_embedded(kind, &plan.nimbus, directory).await?,
                };
                // What a limit spends on doing nothing is nobody's question.
                let looking = if kind == Kind::Nimbus { plan.idle_seconds } else { 0.0 };
                let looking = Duration::from_secs_f64(looking);
                let stream = memory::per_idle_stream(&server, protocol, plan.idle, looking).await?;
                let encrypted = if tls { " over TLS" } else { "" };
                eprintln!("idle: {kind}, {protocol:?}{encrypted}: {:.1} KiB a stream", stream.kib_per_stream);
                idle.push(stream);
                server.stop().await?;
            }
        }
    }
    Ok(idle)
}

/// Makes one load.
async fn measure(
    plan: &Plan,
    round: usize,
    server: &Server,
    protocol: Protocol,
    shape: Shape,
) -> anyhow::Result<Measured> {
    let roles = server.roles()?;
    let config =
        LoadConfig { server_pids: roles.iter().map(|(_, pid)| *pid).collect(), ..load(plan, server, protocol, shape) };
    let report = nimbus_loadtest::run(&config, |_| {}).await?;
    anyhow::ensure!(report.is_clean(), "a load was not clean: {report}");
    eprintln!(
        "round {} of {}: {}, {protocol:?}, {} x {}: {:.0} events/s, p50 {:.0} us",
        round + 1,
        plan.rounds,
        server.kind,
        shape.streams,
        shape.window,
        report.events_per_second,
        report.latency.p50_us
    );
    let cpu = cpu::by_role(&roles, &report);
    Ok(Measured { round, kind: server.kind, cpu, report })
}

/// What is the same in all loads.
fn load(plan: &Plan, server: &Server, protocol: Protocol, shape: Shape) -> LoadConfig {
    LoadConfig {
        streams: shape.streams,
        connections: shape.streams,
        window: shape.window,
        limit: Limit::Duration(Duration::from_secs_f64(plan.seconds)),
        warmup: Duration::from_secs_f64(plan.warmup),
        client_id_prefix: "bench".to_owned(),
        ..LoadConfig::new(server.address(), protocol)
    }
}

/// What one small durable write costs on this disk, in microseconds: the floor under every latency here.
fn fdatasync_micros(directory: &Path) -> anyhow::Result<f64> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    // The writes must not be thought unused.
    file.rewind()?;
    let mut first = [0];
    file.read_exact(&mut first)?;
    anyhow::ensure!(first == [0x5a], "the disk does not keep what it is given");
    Ok(report::median(&times))
}
