//! What load to make.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Destination, LoadError};

/// Largest window: bounds the memory of a stream.
const MAX_WINDOW: usize = 1 << 20;

/// A window that a server that keeps up does not fill: what an open loop should have.
pub const OPEN_WINDOW: usize = 4096;

/// An event in a quarter of an hour is no load; more than a hundred million a second no machine makes.
const MIN_RATE: f64 = 0.001;
const MAX_RATE: f64 = 1e8;
/// More than any number of streams could follow.
const MAX_CHURN: f64 = 10_000.0;

/// Which protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `nimbus.v1.Gateway/Session`.
    #[default]
    V1,
    /// `nimbus.NimbusService/ProcessEvent`.
    Original,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// After this time, the warm-up not counted.
    Duration(Duration),
    /// After so many events of all streams together, those of the warm-up included.
    Events(u64),
}

/// One kind of events of a mix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighted {
    /// The name of the event.
    pub name: String,
    /// How many of them there are for so many of the others. At least 1.
    pub weight: u32,
}

/// What load to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadConfig {
    /// Such as `http://127.0.0.1:50051`, or with `https`.
    pub address: String,
    /// Which protocol.
    pub protocol: Protocol,
    /// How many streams, each with a client id of its own. At least 1.
    pub streams: usize,
    /// Over how many connections they are spread. At least 1; more than `streams` counts as `streams`.
    pub connections: usize,
    /// How many events of a stream are outstanding; in an open loop, at most. 1 to 2^20.
    pub window: usize,
    /// Makes it an open loop: events a second that are sent, all streams together, whether answers come or not.
    #[serde(default)]
    pub rate: Option<f64>,
    /// When to stop.
    pub limit: Limit,
    /// Streams are opened one after the other, evenly over this time, before the warm-up begins; zero: all at once. In a closed
    /// loop each sends as soon as it is open, in an open loop all begin when the last is. Only with [`Limit::Duration`].
    #[serde(default)]
    pub ramp: Duration,
    /// Answers to events sent in this time are checked and not measured.
    pub warmup: Duration,
    /// v1: the payload is padded to this size with blanks, which JSON allows. At most 1 MiB.
    pub payload_bytes: usize,
    /// `sq`: answers must be the square; `echo` (v1): the payload itself; anything else: only errors count as wrong.
    pub event_name: String,
    /// Several kinds of events, in place of `event_name`.
    #[serde(default)]
    pub mix: Vec<Weighted>,
    /// Closed loop: how long a stream pauses between an answer and the event that follows it.
    #[serde(default)]
    pub think: Duration,
    /// v1: how many streams a second close and open anew, one after the other; 0: none.
    #[serde(default)]
    pub churn: f64,
    /// How many of the streams read slowly: one answer, then `slow_pause`. Their answers are checked, their latencies not
    /// measured, which would be those of the pauses.
    #[serde(default)]
    pub slow_readers: usize,
    /// How long these pause. Less than `drain_timeout`.
    #[serde(default)]
    pub slow_pause: Duration,
    /// How many streams are open beside those of the load and say nothing, each on a connection of its own.
    #[serde(default)]
    pub idle: usize,
    /// Bearer token, if the server wants one.
    #[serde(skip_serializing)]
    #[serde(default)]
    pub token: Option<String>,
    /// Who may vouch for the server, as PEM, in place of those that this machine trusts.
    #[serde(skip_serializing)]
    #[serde(default)]
    pub authority: Option<String>,
    /// Processes on this machine whose CPU time and memory are reported.
    #[serde(default)]
    pub server_pids: Vec<u32>,
    /// Client ids are this, a random number for the run, and the stream's number.
    pub client_id_prefix: String,
    /// How long a stream waits for its next answer before what is outstanding counts as lost, and for a server to welcome
    /// it or to end it.
    pub drain_timeout: Duration,
}

impl LoadConfig {
    /// One stream with one event outstanding, `sq`, 5 seconds after a warm-up of 1.
    pub fn new(address: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            address: address.into(),
            protocol,
            streams: 1,
            connections: 1,
            window: 1,
            rate: None,
            limit: Limit::Duration(Duration::from_secs(5)),
            ramp: Duration::ZERO,
            warmup: Duration::from_secs(1),
            payload_bytes: 0,
            event_name: "sq".to_owned(),
            mix: Vec::new(),
            think: Duration::ZERO,
            churn: 0.0,
            slow_readers: 0,
            slow_pause: Duration::from_millis(100),
            idle: 0,
            token: None,
            authority: None,
            server_pids: Vec::new(),
            client_id_prefix: "load".to_owned(),
            drain_timeout: Duration::from_secs(10),
        }
    }

    /// Where to.
    pub(crate) fn destination(&self) -> Destination {
        Destination { address: self.address.clone(), authority: self.authority.clone() }
    }

    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let problem = if self.streams == 0 {
            "streams is 0; give 1 or more"
        } else if self.connections == 0 {
            "connections is 0; give 1 or more"
        } else if self.window == 0 || self.window > MAX_WINDOW {
            "window must be 1 to 1048576"
        } else if self.rate.is_some_and(|rate| !(MIN_RATE..=MAX_RATE).contains(&rate)) {
            "rate must be 0.001 to 100000000 events a second"
        } else if self.payload_bytes > 1024 * 1024 {
            "payload must be at most 1048576 bytes"
        } else if self.payload_bytes > 0 && self.protocol == Protocol::Original {
            "events of the original protocol are a name and a number; longer payloads need v1"
        } else if self.event_name.is_empty() || self.client_id_prefix.is_empty() {
            "event name and client id prefix must not be empty"
        } else if self.mix.iter().any(|kind| kind.name.is_empty() || kind.weight == 0) {
            "each event of a mix must have a name and a weight of 1 or more"
        } else if self.churn != 0.0 && !(MIN_RATE..=MAX_CHURN).contains(&self.churn) {
            "churn must be 0, or 0.001 to 10000 reconnects a second"
        } else if self.churn > 0.0 && self.protocol == Protocol::Original {
            "the original protocol knows no session that could be opened anew; churn needs v1"
        } else if self.rate.is_some() && !self.think.is_zero() {
            "in an open loop events have their turns; pauses are for the closed one"
        } else if self.slow_readers > self.streams {
            "there are fewer streams than slow readers"
        } else if self.slow_pause >= self.drain_timeout {
            "slow readers would pause for longer than a stream is waited for"
        } else if !self.ramp.is_zero() && matches!(self.limit, Limit::Events(_)) {
            "a number of events could be over before all streams are open; a ramp needs a duration"
        } else if matches!(self.limit, Limit::Events(0)) {
            "the number of events is 0; give 1 or more"
        } else if matches!(self.limit, Limit::Duration(Duration::ZERO)) {
            "the duration is 0, and nothing would be measured"
        } else {
            return Ok(());
        };
        Err(LoadError::Config(problem.to_owned()))
    }

    /// When a stream is opened, after the first one.
    pub(crate) fn opens_after(&self, number: usize) -> Duration {
        self.ramp.mul_f64(number as f64 / self.streams as f64)
    }

    /// Whether each stream begins to send when it is open, and not when all are.
    pub(crate) fn begins_one_by_one(&self) -> bool {
        !self.ramp.is_zero() && self.rate.is_none()
    }

    /// What events there are.
    pub(crate) fn kinds(&self) -> Vec<Weighted> {
        if self.mix.is_empty() { vec![Weighted { name: self.event_name.clone(), weight: 1 }] } else { self.mix.clone() }
    }

    /// How many events there are altogether, if that is known.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn events(&self) -> Option<u64> {
        match (self.limit, self.rate) {
            (Limit::Events(events), _) => Some(events),
            // Each that has its turn before the end.
            (Limit::Duration(time), Some(rate)) => Some(((self.warmup + time).as_secs_f64() * rate).ceil() as u64),
            (Limit::Duration(_), None) => None,
        }
    }
}
