//! The kinds of faults: their names, what they do, and how long each lasts.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Talks to clients.
    Server,
    /// Turns events into results.
    Executor,
    /// Brings results to the servers.
    Router,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Server, Self::Executor, Self::Router];

    /// As the command line says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Executor => "executor",
            Self::Router => "router",
        }
    }
}

/// What is done to the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`what` says it, and a second text would only differ from it one day")]
pub enum Kind {
    KillServer,
    KillExecutor,
    KillRouter,
    PauseServer,
    PauseExecutor,
    PauseRouter,
    RollServers,
    RollExecutors,
    RollRouters,
    RedisFlush,
    RedisEmpty,
    RedisRestart,
    KafkaRestart,
    ClientsCut,
    ClientsDelay,
    ClientsHang,
    RedisCut,
    RedisDelay,
    RedisHang,
    DiskFull,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::KillServer,
        Self::KillExecutor,
        Self::KillRouter,
        Self::PauseServer,
        Self::PauseExecutor,
        Self::PauseRouter,
        Self::RollServers,
        Self::RollExecutors,
        Self::RollRouters,
        Self::RedisFlush,
        Self::RedisEmpty,
        Self::RedisRestart,
        Self::KafkaRestart,
        Self::ClientsCut,
        Self::ClientsDelay,
        Self::ClientsHang,
        Self::RedisCut,
        Self::RedisDelay,
        Self::RedisHang,
        Self::DiskFull,
    ];

    /// As `--only` and the reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillServer => "kill-server",
            Self::KillExecutor => "kill-executor",
            Self::KillRouter => "kill-router",
            Self::PauseServer => "pause-server",
            Self::PauseExecutor => "pause-executor",
            Self::PauseRouter => "pause-router",
            Self::RollServers => "roll-servers",
            Self::RollExecutors => "roll-executors",
            Self::RollRouters => "roll-routers",
            Self::RedisFlush => "redis-flush",
            Self::RedisEmpty => "redis-empty",
            Self::RedisRestart => "redis-restart",
            Self::KafkaRestart => "kafka-restart",
            Self::ClientsCut => "clients-cut",
            Self::ClientsDelay => "clients-delay",
            Self::ClientsHang => "clients-hang",
            Self::RedisCut => "redis-cut",
            Self::RedisDelay => "redis-delay",
            Self::RedisHang => "redis-hang",
            Self::DiskFull => "disk-full",
        }
    }

    /// What it does, in one line.
    pub const fn what(self) -> &'static str {
        match self {
            Self::KillServer => "kill -9 of a server; started again a little later",
            Self::KillExecutor => "kill -9 of an executor; started again a little later",
            Self::KillRouter => "kill -9 of a router; started again a little later",
            Self::PauseServer => "SIGSTOP of a server for longer than its sessions, then SIGCONT",
            Self::PauseExecutor => {
                "SIGSTOP of an executor until its partitions are the other's, then SIGCONT: a zombie"
            }
            Self::PauseRouter => "SIGSTOP of a router until its partitions are the other's, then SIGCONT: a zombie",
            Self::RollServers => "each server in turn: SIGTERM, wait for its end, start",
            Self::RollExecutors => "each executor in turn: SIGTERM, wait for its end, start",
            Self::RollRouters => "each router in turn: SIGTERM, wait for its end, start",
            Self::RedisFlush => "FLUSHALL",
            Self::RedisEmpty => "kill -9 of Redis; started again empty",
            Self::RedisRestart => "kill -9 of Redis; started again with what it had",
            Self::KafkaRestart => "kill -9 of Kafka; started again",
            Self::ClientsCut => "every connection of a client is reset, several times",
            Self::ClientsDelay => "everything between clients and servers takes longer, each way",
            Self::ClientsHang => {
                "connections of clients, old and new, go silent without closing; old ones never speak again"
            }
            Self::RedisCut => "every connection between servers and Redis is reset, several times",
            Self::RedisDelay => "everything between servers and Redis takes longer, each way",
            Self::RedisHang => {
                "connections between servers and Redis go silent without closing; old ones never speak again"
            }
            Self::DiskFull => "a standalone server beside the installation, with clients of its own, runs out of disk",
        }
    }

    /// How long the harm lasts, at least and at most; for a kill, how long the killed one stays down.
    pub(crate) const fn hold(self) -> (Duration, Duration) {
        const fn ms(least: u64, most: u64) -> (Duration, Duration) {
            (Duration::from_millis(least), Duration::from_millis(most))
        }
        match self {
            Self::KillServer | Self::KillExecutor | Self::KillRouter => ms(0, 3_000),
            // Longer than ping interval and pong timeout together.
            Self::PauseServer => ms(5_000, 8_000),
            // On top of what it takes until the partitions have moved.
            Self::PauseExecutor | Self::PauseRouter => ms(500, 3_000),
            Self::RollServers | Self::RollExecutors | Self::RollRouters => ms(0, 1_000),
            Self::RedisFlush => ms(0, 0),
            Self::RedisEmpty | Self::RedisRestart => ms(0, 3_000),
            Self::KafkaRestart => ms(0, 2_000),
            // Between cuts.
            Self::ClientsCut | Self::RedisCut => ms(100, 1_000),
            Self::ClientsDelay | Self::RedisDelay => ms(3_000, 6_000),
            Self::ClientsHang | Self::RedisHang => ms(2_000, 6_000),
            Self::DiskFull => ms(1_000, 3_000),
        }
    }

    /// Whose partitions or sessions it concerns, if it is about one role.
    pub(crate) const fn role(self) -> Option<Role> {
        match self {
            Self::KillServer | Self::PauseServer | Self::RollServers => Some(Role::Server),
            Self::KillExecutor | Self::PauseExecutor | Self::RollExecutors => Some(Role::Executor),
            Self::KillRouter | Self::PauseRouter | Self::RollRouters => Some(Role::Router),
            _ => None,
        }
    }

    /// Whether one process is its victim.
    pub(crate) const fn has_victim(self) -> bool {
        self.role().is_some() && !matches!(self, Self::RollServers | Self::RollExecutors | Self::RollRouters)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no such fault; there are: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_which_is_also_that_of_the_report() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
