//! Scenarios: what is said about an installation at work, staged and measured. A rolling restart, a storm of reconnects, clients that
//! behave badly beside others that do not.
//!
//! Faults ([`crate::run`]) ask whether anything is lost; scenarios ask in addition what the others feel of it, and set a figure beside a
//! bound. A figure beyond its bound is told and fails nothing, as every time here: what fails is what the books say, a client that does not
//! come back, and a process that ends by itself.

mod apart;
mod conditions;
mod crowd;
mod ground;
mod isolation;
mod markdown;
mod misfits;
mod report;
mod roll;
mod run;
mod stage;
mod storm;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::{
    conditions::{Conditions, DEFAULT_BACKLOG, DEFAULT_CROWD, DEFAULT_OTHERS, DEFAULT_WINDOW},
    misfits::Misfit,
    report::{Act, Counted, Finding, SCENARIOS_SCHEMA, Scenarios, Turn},
    run::play,
};

/// What is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Each process in turn is told to end, and is started again, while clients send.
    Roll,
    /// All connections of many clients are cut at once, while others send.
    Storm,
    /// Four clients that behave badly, beside others that do not.
    Isolation,
}

/// On what it is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// One process on its own log.
    Embedded,
    /// Two of each role over Kafka and Redis.
    Distributed,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Roll, Self::Storm, Self::Isolation];

    /// As the command line and the reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roll => "roll",
            Self::Storm => "storm",
            Self::Isolation => "isolation",
        }
    }

    /// What it is, in one line.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Roll => "each server, executor and router in turn: SIGTERM, wait for its end, start; under load",
            Self::Storm => "thousands of clients with a backlog are cut at once and come back, while others send",
            Self::Isolation => {
                "one client never reads, one floods, one flaps, one sends only poison, beside the others"
            }
        }
    }

    /// Whether it can be staged there: one process cannot be rolled without its clients' noticing.
    pub const fn is_possible(self, on: On) -> bool {
        !matches!((self, on), (Self::Roll, On::Embedded))
    }
}

impl On {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Distributed];

    /// As the command line and the reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Distributed => "distributed",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| format!("there is no such scenario; there are: {names}"))
    }
}

impl FromStr for On {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|on| on.name() == text).ok_or_else(|| "write embedded or distributed".to_owned())
    }
}
