//! What clients ask for, what they must get, and the executors that do it.
//!
//! An answer follows from the event alone; how long it takes, and how often it fails before, follows from seed and event.

use std::time::Duration;

use bytes::Bytes;
use nimbus_core::{
    ContentType, Lane,
    ports::executor::{Executor, ExecutorError, InterimKind, Job, Outcome, Output, Run},
};
use std::sync::Arc;

use crate::dice::{Dice, mix};

/// One event of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// The built-in square.
    Square(u64),
    /// Takes its time.
    Slow(String),
    /// Fails a few times, or for good.
    Flaky(String),
    /// Overtakes and is overtaken.
    Job(String),
    /// Nobody handles it.
    Nobody(String),
}

/// What an event must be answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Final(String),
    Error,
}

/// How many different squares fit.
const SQUARES: u64 = 1_000_000;

impl Work {
    /// The next event of a client.
    pub(crate) fn draw(dice: &Dice, client: &str, number: u64) -> Self {
        let text = format!("{client} {number} {}", dice.below(1_000));
        match dice.below(100) {
            0..60 => Self::Square(dice.below(SQUARES)),
            60..75 => Self::Slow(text),
            75..87 => Self::Flaky(text),
            87..98 => Self::Job(text),
            _ => Self::Nobody(text),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Square(_) => "sq",
            Self::Slow(_) => "slow",
            Self::Flaky(_) => "flaky",
            Self::Job(_) => "job",
            Self::Nobody(_) => "nobody",
        }
    }

    pub(crate) fn payload(&self) -> Bytes {
        match self {
            Self::Square(number) => Bytes::from(number.to_string()),
            Self::Slow(text) | Self::Flaky(text) | Self::Job(text) | Self::Nobody(text) => Bytes::from(text.clone()),
        }
    }

    pub(crate) const fn lane(&self) -> Lane {
        match self {
            Self::Job(_) => Lane::Jobs,
            _ => Lane::Ordered,
        }
    }

    pub(crate) fn expected(&self) -> Expected {
        match self {
            Self::Square(number) => Expected::Final((number * number).to_string()),
            Self::Slow(text) | Self::Job(text) => Expected::Final(answer_to(text.as_bytes())),
            Self::Flaky(text) if is_poison(text.as_bytes()) => Expected::Error,
            Self::Flaky(text) => Expected::Final(answer_to(text.as_bytes())),
            Self::Nobody(_) => Expected::Error,
        }
    }
}

fn answer_to(payload: &[u8]) -> String {
    format!("answer to {}", String::from_utf8_lossy(payload))
}

fn number_of(payload: &[u8]) -> u64 {
    payload.iter().fold(0, |number, byte| mix(&[number, u64::from(*byte)]))
}

fn is_poison(payload: &[u8]) -> bool {
    number_of(payload).is_multiple_of(5)
}

/// What an executor is like.
#[derive(Debug)]
struct SimExecutor {
    seed: u64,
    name: &'static str,
    lane: Lane,
    /// The longest an attempt takes.
    longest: u64,
}

/// Every executor of the simulation.
pub(crate) fn executors(seed: u64) -> Vec<Arc<dyn Executor>> {
    let executor = |name, lane, longest| Arc::new(SimExecutor { seed, name, lane, longest }) as Arc<dyn Executor>;
    vec![
        Arc::new(nimbus_executors::Sq::new()),
        executor("slow", Lane::Ordered, 300),
        executor("flaky", Lane::Ordered, 20),
        executor("job", Lane::Jobs, 3_000),
    ]
}

impl SimExecutor {
    async fn attempt(&self, job: Job<'_>) -> Outcome {
        let payload = &job.event.payload;
        let number = mix(&[self.seed, number_of(payload), u64::from(job.attempt)]);
        for _ in 0..number % 3 {
            job.parts.emit(InterimKind::Progress, Output::default()).await;
        }
        tokio::time::sleep(Duration::from_millis(number % self.longest)).await;
        if self.name == "flaky" {
            if is_poison(payload) {
                return Err(ExecutorError::Poison("simulated".to_owned()));
            }
            if u64::from(job.attempt) <= number_of(payload) % 3 {
                return Err(ExecutorError::Transient("simulated".to_owned()));
            }
        }
        Ok(Output::new(answer_to(payload), ContentType::default()))
    }
}

impl Executor for SimExecutor {
    fn name(&self) -> &str {
        self.name
    }

    fn lane(&self) -> Lane {
        self.lane
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        Run::later(self.attempt(job))
    }
}
