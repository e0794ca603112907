//! Loads beyond the shapes, all of v1: longer payloads, half of the capacity in an open loop, and ten times the clients at that rate.

use anyhow::Context;
use nimbus_loadtest::{LoadConfig, LoadReport, OPEN_WINDOW, Protocol};
use serde::{Deserialize, Serialize};

use super::{
    CROWD, Plan,
    kind::{Kind, Setting},
    load, report,
    server::Server,
};

/// Of an event, in bytes.
const PAYLOADS: [usize; 3] = [SHORTEST_PAYLOAD, 1024, 16 * 1024];
pub(super) const SHORTEST_PAYLOAD: usize = 64;
/// Of what the same server answered in a closed loop of the same streams a moment before.
const PART_OF_CAPACITY: f64 = 0.5;
/// A very short load may have measured nothing; an event a second is then what is tried.
const LEAST_RATE: f64 = 1.0;
const TIMES_THE_CLIENTS: usize = 10;

/// What is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Beyond {
    /// The crowd, with payloads of so many bytes.
    Payload(usize),
    /// As many streams as the crowd, in an open loop at half of what they reached in a closed one.
    HalfOfCapacity,
    /// The same rate from ten times as many.
    TenTimesTheClients,
}

/// One of them, measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) round: usize,
    pub(super) setting: Setting,
    pub(super) kind: Kind,
    pub(super) what: Beyond,
    pub(super) report: LoadReport,
}

impl Beyond {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        PAYLOADS.into_iter().map(Self::Payload).chain([Self::HalfOfCapacity, Self::TenTimesTheClients])
    }

    /// The records of the glue have no room for a payload: it would win by what it leaves out.
    pub(super) const fn is_for(self, kind: Kind) -> bool {
        !matches!((self, kind), (Self::Payload(_), Kind::Glue))
    }

    /// `capacity` is in events a second.
    fn config(self, plan: &Plan, server: &Server, capacity: f64) -> LoadConfig {
        let config = load(plan, server, Protocol::V1, CROWD);
        match self {
            Self::Payload(payload_bytes) => LoadConfig { payload_bytes, ..config },
            Self::HalfOfCapacity => {
                LoadConfig { window: OPEN_WINDOW, rate: Some((capacity * PART_OF_CAPACITY).max(LEAST_RATE)), ..config }
            }
            Self::TenTimesTheClients => {
                let streams = CROWD.streams * TIMES_THE_CLIENTS;
                LoadConfig { streams, connections: streams, ..Self::HalfOfCapacity.config(plan, server, capacity) }
            }
        }
    }
}

/// Measures all of them on a server that has `reached` something with the crowd in this round.
pub(super) async fn measure(
    plan: &Plan,
    (setting, round): (Setting, usize),
    server: &Server,
    reached: &[report::Measured],
    measured: &mut Vec<Measured>,
) -> anyhow::Result<()> {
    let of_crowd = |one: &&report::Measured| one.round == round && one.is_of(server.kind, Protocol::V1, CROWD);
    let crowd = reached.iter().find(of_crowd).context("the crowd was not measured in this round")?;
    let capacity = crowd.report.events_per_second;
    let server_pids: Vec<_> = server.roles()?.into_iter().map(|(_, pid)| pid).collect();
    for what in Beyond::all().filter(|what| what.is_for(server.kind)) {
        let config = LoadConfig { server_pids: server_pids.clone(), ..what.config(plan, server, capacity) };
        let report = nimbus_loadtest::run(&config, |_| {}).await?;
        anyhow::ensure!(report.is_clean(), "a load was not clean: {what:?}: {report}");
        eprintln!(
            "round {} of {}: {}, {what:?}: {:.0} events/s, p50 {:.0} us, p99.9 {:.0} us",
            round + 1,
            plan.rounds,
            server.kind,
            report.events_per_second,
            report.latency.p50_us,
            report.latency.p999_us
        );
        measured.push(Measured { round, setting, kind: server.kind, what, report });
    }
    Ok(())
}
