//! The benchmark: Nimbus and the baseline in turn, the same client, the same machine, the same minutes.
//!
//! Only ratios count, and only together with their spread: absolute numbers of a shared machine mean nothing tomorrow.
//! Each round starts both servers afresh, one at a time, and swaps their order; each ratio is made of two measurements of
//! the same round. A load with anything lost, repeated, reordered or wrong ends the benchmark.

mod memory;
mod process;
mod report;

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use nimbus_loadtest::{Limit, LoadConfig, LoadReport, Protocol};

use self::{
    process::{Kind, Server},
    report::{Measured, Report},
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
const PROTOCOLS: [Protocol; 2] = [Protocol::V1, Protocol::Original];

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The Nimbus binary to measure: a release build.
    #[arg(long, default_value = "target/release/nimbus")]
    nimbus: PathBuf,
    /// How often everything is measured. At least 3 for a spread worth the name.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement, after a second of warm-up.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How many idle streams are opened for the memory of one. 0 leaves that out.
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// Where servers keep their files: the disk that is measured. Default: the system's temporary directory.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Where the JSON file goes.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// Ends with an error when a target is missed.
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
    let directory = plan.directory.clone().unwrap_or_else(std::env::temp_dir);
    let sync = fdatasync_micros(&directory)?;
    let mut measured = Vec::new();
    for round in 0..plan.rounds {
        // A drift of the machine must not favour whoever comes second.
        let order = if round % 2 == 0 { [Kind::Baseline, Kind::Nimbus] } else { [Kind::Nimbus, Kind::Baseline] };
        for kind in order {
            let server = Server::start(kind, &plan.nimbus, &directory).await?;
            for (protocol, shape) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, ALONE), (protocol, CROWD)]) {
                let report = load(&server, protocol, shape, plan.seconds).await?;
                eprintln!(
                    "round {} of {}: {kind:?}, {protocol:?}, {} x {}: {:.0} events/s, p50 {:.0} us",
                    round + 1,
                    plan.rounds,
                    shape.streams,
                    shape.window,
                    report.events_per_second,
                    report.latency.p50_us
                );
                measured.push(Measured { round, kind, report });
            }
            server.stop().await?;
        }
    }
    let mut idle = Vec::new();
    if plan.idle > 0 {
        for kind in [Kind::Baseline, Kind::Nimbus] {
            for protocol in PROTOCOLS {
                let server = Server::start(kind, &plan.nimbus, &directory).await?;
                let stream = memory::per_idle_stream(&server, protocol, plan.idle).await?;
                eprintln!("idle: {kind:?}, {protocol:?}: {:.1} KiB a stream", stream.kib_per_stream);
                idle.push(stream);
                server.stop().await?;
            }
        }
    }
    let report = Report::new(plan.seconds, sync, measured, idle);
    println!("{report}");
    std::fs::create_dir_all(&plan.results)?;
    let path = plan.results.join("latest.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?).with_context(|| path.display().to_string())?;
    eprintln!("written to {}", path.display());
    anyhow::ensure!(!plan.enforce || report.meets_every_target(), "a target is missed");
    Ok(())
}

async fn load(server: &Server, protocol: Protocol, shape: Shape, seconds: f64) -> anyhow::Result<LoadReport> {
    let config = LoadConfig {
        streams: shape.streams,
        connections: shape.streams,
        window: shape.window,
        limit: Limit::Duration(Duration::from_secs_f64(seconds)),
        client_id_prefix: "bench".to_owned(),
        ..LoadConfig::new(server.address(), protocol)
    };
    let report = nimbus_loadtest::run(&config, |_| {}).await?;
    anyhow::ensure!(report.is_clean(), "a load was not clean: {report}");
    Ok(report)
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
