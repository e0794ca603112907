//! Which parts of Nimbus run in a process. The parts are the same in every role; only the backend knows one process from
//! many.

/// What one process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything, on the embedded backend.
    Standalone,
    /// The gRPC edge. Keeps nothing that outlives it.
    Server,
    /// Events to results.
    Executor,
    /// Results to mailboxes, and to whichever server owns their client.
    Router,
    /// Executor and router.
    Consumers,
}

impl Role {
    /// As the command line has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Server => "server",
            Self::Executor => "executor",
            Self::Router => "router",
            Self::Consumers => "consumers",
        }
    }

    /// Whether it keeps everything in one directory of its own. All others share Kafka and Redis.
    pub(crate) const fn is_embedded(self) -> bool {
        matches!(self, Self::Standalone)
    }

    /// Whether it listens for clients.
    pub(crate) const fn serves(self) -> bool {
        matches!(self, Self::Standalone | Self::Server)
    }

    /// Whether it executes events.
    pub(crate) const fn executes(self) -> bool {
        matches!(self, Self::Standalone | Self::Executor | Self::Consumers)
    }

    /// Whether it routes results.
    pub(crate) const fn routes(self) -> bool {
        matches!(self, Self::Standalone | Self::Router | Self::Consumers)
    }
}
