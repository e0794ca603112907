//! Real services for development and tests: Apache Kafka and Redis, started on this machine without docker.
//!
//! Each is one process with a free port and a directory of its own. It can be killed, paused and started again, because that
//! is what the tests are about. It ends when its handle is dropped, and also when the process that holds the handle is
//! killed. Nothing here waits for a guessed time: a service is ready when it says that it listens and answers a client's
//! question.
//!
//! NATS, which Nimbus is compared with, can only be started and ended.
//!
//! Calls block the thread: a start takes some seconds (Kafka) or milliseconds (Redis). From async code whose other tasks shall
//! go on meanwhile, call them on a thread of their own.

mod certificates;
mod error;
mod guard;
mod home;
pub mod kafka;
pub mod nats;
mod ports;
mod process;
pub mod redis;
pub mod shared;
mod target;
mod tools;
mod wait;

pub use self::{
    certificates::Certificates,
    error::{Error, Result},
    guard::Guard,
    kafka::{Kafka, KafkaCluster, KafkaOptions},
    nats::Nats,
    process::Detached,
    redis::{Redis, RedisCluster, RedisOptions},
    target::services_dir,
};
