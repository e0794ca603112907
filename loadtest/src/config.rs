//! What load to make.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::LoadError;

/// Largest window: bounds the memory of a stream.
const MAX_WINDOW: usize = 1 << 20;

/// Which protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `nimbus.v1.Gateway/Session`.
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

/// What load to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadConfig {
    /// Such as `http://127.0.0.1:50051`.
    pub address: String,
    /// Which protocol.
    pub protocol: Protocol,
    /// How many streams, each with a client id of its own. At least 1.
    pub streams: usize,
    /// Over how many connections they are spread. At least 1; more than `streams` counts as `streams`.
    pub connections: usize,
    /// How many events of a stream are outstanding. 1 to 2^20.
    pub window: usize,
    /// When to stop.
    pub limit: Limit,
    /// Answers to events sent in this time are checked and not measured.
    pub warmup: Duration,
    /// v1: the payload is padded to this size with blanks, which JSON allows. At most 1 MiB.
    pub payload_bytes: usize,
    /// `sq`: answers must be the square; `echo` (v1): the payload itself; anything else: only errors count as wrong.
    pub event_name: String,
    /// Bearer token, if the server wants one.
    #[serde(skip_serializing)]
    #[serde(default)]
    pub token: Option<String>,
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
            limit: Limit::Duration(Duration::from_secs(5)),
            warmup: Duration::from_secs(1),
            payload_bytes: 0,
            event_name: "sq".to_owned(),
            token: None,
            client_id_prefix: "load".to_owned(),
            drain_timeout: Duration::from_secs(10),
        }
    }

    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let problem = if self.streams == 0 {
            "streams is 0; give 1 or more"
        } else if self.connections == 0 {
            "connections is 0; give 1 or more"
        } else if self.window == 0 || self.window > MAX_WINDOW {
            "window must be 1 to 1048576"
        } else if self.payload_bytes > 1024 * 1024 {
            "payload must be at most 1048576 bytes"
        } else if self.event_name.is_empty() || self.client_id_prefix.is_empty() {
            "event name and client id prefix must not be empty"
        } else if matches!(self.limit, Limit::Events(0)) {
            "the number of events is 0; give 1 or more"
        } else {
            return Ok(());
        };
        Err(LoadError::Config(problem.to_owned()))
    }
}
