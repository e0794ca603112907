//! Chaos on the real thing: real processes, a real Kafka and Redis, clients of the SDK under steady load; fault after fault from a
//! seeded plan; every answer verified; and a report that says what was found and how long each recovery took.
//!
//! It finds out, it does not decide: times are told and never a reason to fail. What fails a run is an answer that is missing, comes
//! twice, out of order, to the wrong client or says something else; a gap; a process that does not come back.

mod config;
mod dice;
mod disk;
mod files;
mod kind;
mod ledger;
mod load;
mod logs;
mod memory;
mod meter;
mod payload;
mod plan;
mod process;
mod recovery;
mod report;
mod run;
mod scenario;
mod site;
mod strike;
mod way;

pub use self::{
    config::{Config, DEFAULT_CLIENTS, DEFAULT_RATE, Limit},
    kind::{Kind, Role},
    ledger::Books,
    memory::Memory,
    meter::{Latency, Sample, Violation},
    plan::{Plan, Step},
    recovery::{Course, DEFINITION},
    report::{Fault, KindSummary, Report, SCHEMA, Steady},
    run::{News, run},
    scenario::{
        Act, Conditions, Counted, DEFAULT_BACKLOG, DEFAULT_CROWD, DEFAULT_OTHERS, DEFAULT_WINDOW, Finding, Misfit, On,
        SCENARIOS_SCHEMA, Scenario, Scenarios, Turn, play,
    },
    site::Death,
};
