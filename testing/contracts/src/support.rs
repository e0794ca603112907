//! Deadlines, names, and small batches.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use nimbus_core::{
    ClientId, GroupId, Offset, Origin, OutboxId, Partition, PartitionCount, PrincipalId, ServerId, SessionId,
};
use ulid::Ulid;

/// How long anything may take before it counts as hung. Only a failure ever waits this long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for `future`, and fails rather than hangs.
///
/// # Panics
/// When the deadline passes: the promise that something happens was broken.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened for {DEADLINE:?}"),
    }
}

pub(crate) fn partitions(count: u32) -> PartitionCount {
    PartitionCount(NonZeroU32::new(count).expect("suites ask for at least one partition"))
}

/// A client that lives in this partition; another one for every `number`.
pub(crate) fn client_in(partition: Partition, count: PartitionCount, number: u32) -> ClientId {
    let names = (0_u32..).map(|suffix| id(ClientId::try_new(&format!("client-{number}.{suffix}"))));
    let mut here = names.filter(|client| count.partition_of(client) == partition);
    here.next().expect("the hash reaches every partition")
}

pub(crate) fn principal(name: &str) -> PrincipalId {
    id(PrincipalId::try_new(name))
}

pub(crate) fn server(name: &str) -> ServerId {
    id(ServerId::try_new(name))
}

pub(crate) fn group(name: &str) -> GroupId {
    id(GroupId::try_new(name))
}

pub(crate) fn outbox(number: u8) -> OutboxId {
    OutboxId::new([number; 16])
}

pub(crate) fn session(number: u128) -> SessionId {
    SessionId(Ulid(number))
}

pub(crate) fn origin(client: &ClientId, principal_name: &str, number: u8) -> Arc<Origin> {
    Arc::new(Origin { client: client.clone(), principal: principal(principal_name), outbox: outbox(number) })
}

/// Whether offsets rise strictly.
pub(crate) fn rise(offsets: impl IntoIterator<Item = Offset>) -> bool {
    offsets.into_iter().is_sorted_by(|earlier, later| earlier < later)
}

fn id<T, E: std::fmt::Display>(id: Result<T, E>) -> T {
    id.unwrap_or_else(|error| panic!("a suite uses an id that is none: {error}"))
}
