//! What a run of scenarios is made of.

use std::{path::PathBuf, time::Duration};

use super::{On, Scenario};
use crate::config::{DEFAULT_RATE, PAYLOAD_BYTES};

/// How long each window is measured.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
/// Clients under the open load, whose latency is what is measured.
pub const DEFAULT_OTHERS: usize = 100;
/// Clients of the storm.
pub const DEFAULT_CROWD: usize = 5_000;
/// Events of each client of the storm whose answers it has not read when it is cut.
pub const DEFAULT_BACKLOG: u64 = 16;
/// Events a second beside a storm over Kafka and Redis. The storm, six processes and all clients share one machine; at the rate of the other scenarios they
/// keep two processors busy nine tenths of the time, and then a storm takes from them what its own servers would not. (Not so beside clients that behave badly:
/// three of these send 250 events a second without any haste, and 300 would be hardly more.)
const RATE_BESIDE_A_STORM: f64 = 300.0;
/// A fresh installation is not measured yet: connections open, groups form, Java compiles what it runs (after ten seconds of 1,000 events each,
/// the p99 was twice what it was after a minute, and whatever followed looked good beside it). No longer than a window.
const SETTLE: Duration = Duration::from_secs(60);

/// Nimbus' own default. Where faults are struck it is shorter, so that a killed process is missed sooner; here nobody is killed.
const SESSION_TIMEOUT: &str = "10s";

/// What a run of scenarios is made of.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// The `nimbus` that is tested.
    pub binary: PathBuf,
    /// Which; each once, on every ground where it is possible.
    pub scenarios: Vec<Scenario>,
    /// On what.
    pub on: Vec<On>,
    /// How long each window is measured.
    pub window: Duration,
    /// Clients under the open load. Isolation has four fewer, and four that behave badly.
    pub clients: usize,
    /// Events a second, of these clients together; nothing for what leaves room for the scenario.
    pub rate: Option<f64>,
    /// Of each of their events.
    pub payload_bytes: usize,
    /// Clients of the storm.
    pub crowd: usize,
    /// Events of each client of the storm that it has no answer to when it is cut.
    pub backlog: u64,
    /// How often servers ping and how long they wait for an answer; nothing for what Nimbus does by itself.
    pub ping: Option<Duration>,
    /// Where logs and reports go.
    pub out: PathBuf,
}

impl Conditions {
    /// Every scenario on every ground, with the defaults for the rest.
    pub fn new(binary: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            scenarios: Scenario::ALL.to_vec(),
            on: On::ALL.to_vec(),
            window: DEFAULT_WINDOW,
            clients: DEFAULT_OTHERS,
            rate: None,
            payload_bytes: PAYLOAD_BYTES,
            crowd: DEFAULT_CROWD,
            backlog: DEFAULT_BACKLOG,
            ping: None,
            out: out.into(),
        }
    }

    /// What is staged, in order.
    pub fn acts(&self) -> Vec<(Scenario, On)> {
        let each = self.scenarios.iter().flat_map(|scenario| self.on.iter().map(|on| (*scenario, *on)));
        each.filter(|(scenario, on)| scenario.is_possible(*on)).collect()
    }

    /// Events a second of the open load.
    pub(crate) fn rate_of(&self, scenario: Scenario, on: On) -> f64 {
        self.rate.unwrap_or(match (scenario, on) {
            (Scenario::Storm, On::Distributed) => RATE_BESIDE_A_STORM,
            _ => DEFAULT_RATE,
        })
    }

    /// How long the load goes on before it is measured.
    pub(crate) fn settle(&self) -> Duration {
        SETTLE.min(self.window)
    }

    /// What every process is told: what it would do by itself, unless these conditions say otherwise.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let ping = self.ping.map(|ping| format!("{}ms", ping.as_millis()));
        let both = ["NIMBUS_SESSION_PING_INTERVAL", "NIMBUS_SESSION_PONG_TIMEOUT"];
        let silence = both.into_iter().filter_map(|name| Some((name, ping.clone()?)));
        silence.chain([("NIMBUS_KAFKA_SESSION_TIMEOUT", SESSION_TIMEOUT.to_owned())]).collect()
    }
}
