//! What Nimbus is about, without any vendor: identities, events and results, the session state machine, the mailbox
//! rules, the registry, and the ports that adapters implement.
//!
//! Nothing here does I/O. State machines take input and time and return actions; ports are traits. The crate names no
//! broker, no store and no RPC framework, and `make lint` keeps it so.

pub mod chance;
pub mod clock;
pub mod error;
pub mod event;
mod fingerprint;
pub mod id;
pub mod mailbox;
pub mod partition;
pub mod ports;
pub mod position;
pub mod registry;
pub mod result;
pub mod session;
pub mod shutdown;

pub use error::{ErrorClass, Reason};
pub use event::{Attributes, ContentType, Event, Origin};
pub use id::{ClientId, EventName, GroupId, InvalidId, LogEpoch, OutboxId, PrincipalId, ServerId, SessionId};
pub use partition::{Partition, PartitionCount};
pub use position::{Offset, Position};
pub use result::{DeadLetter, Failure, Lane, Mark, MarkKind, PartKind, ResultRecord};
