//! Who and where: names as small as a state that is hashed millions of times wants them.

/// A place between records of the one results partition, as `nimbus_core::Position`.
pub type Position = u8;

/// How many servers there are.
pub const SERVERS: usize = 2;
/// How many routers there are; at any time one of them may be a zombie that lost the partition and does not know.
pub const ROUTERS: usize = 2;
/// How many clients there are. Each has one device, with one outbox.
pub const CLIENTS: usize = 2;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $count:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u8);

        impl $name {
            /// All there are.
            pub fn all() -> impl Iterator<Item = Self> {
                (0..$count as u8).map(Self)
            }

            /// For tables with an entry each.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// A client, and the device behind it.
    Client,
    CLIENTS
);
id!(
    /// A server process. It keeps its name over a restart.
    Server,
    SERVERS
);
id!(
    /// A router process.
    Router,
    ROUTERS
);

/// A session. The client raises the number at every connect, so that with one outbox it says which session is newer, as the
/// real session's ULID does together with `session_no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// Whose.
    pub client: Client,
    /// `session_no`.
    pub no: u8,
}
