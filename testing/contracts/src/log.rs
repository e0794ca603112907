//! What every [`Log`] promises: order within a partition, durable before readable, nothing lost to a reader, and consumer
//! groups whose members share the partitions without overlap.

mod expiry;
mod faults;
mod groups;
mod member;
mod records;

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_core::{
    ClientId, Partition, PartitionCount, Position,
    ports::log::{Batch, Log},
};

use crate::{
    Sample,
    support::{client_in, rise, within},
};

pub use expiry::*;
pub use faults::*;
pub use groups::*;
pub use records::*;

/// A log of its own for each test, empty at first.
#[async_trait]
pub trait LogFixture: Send + Sync {
    /// What it carries.
    type Record: Sample;

    /// A handle on the log.
    fn log(&self) -> Arc<dyn Log<Self::Record>>;

    /// Ends everything that the process holds of the log and opens it again. Handles and consumers from before are of no
    /// use any more.
    async fn restart(&mut self);
}

/// A log that can be made to fail when it writes.
#[async_trait]
pub trait LogFaults: LogFixture {
    /// From now on nothing becomes durable, until [`release`](Self::release).
    async fn hold(&self);

    /// Writes go through again.
    async fn release(&self);

    /// The next write to storage fails, and what it held is not stored.
    async fn fail_next_write(&self);
}

/// A log of which retention can be made to take something.
#[async_trait]
pub trait LogExpiry: LogFixture {
    /// Lets retention delete every record that the partition holds now. May append to other partitions to get there.
    async fn expire(&self, partition: Partition);
}

/// Runs the whole suite as tests: `log_contract!(make)`, where
/// `async fn make(partitions: PartitionCount) -> impl LogFixture`.
#[macro_export]
macro_rules! log_contract {
    ($make:expr) => {
        $crate::each_log_promise!($crate::__contract_tests, $crate::log, $make);
    };
}

/// Runs the part of the suite that needs writes to fail as tests: `log_fault_contract!(make)`, where
/// `async fn make(partitions: PartitionCount) -> impl LogFaults`.
#[macro_export]
macro_rules! log_fault_contract {
    ($make:expr) => {
        $crate::each_log_fault_promise!($crate::__contract_tests, $crate::log, $make);
    };
}

/// Runs the part of the suite that needs retention as tests: `log_expiry_contract!(make)`, where
/// `async fn make(partitions: PartitionCount) -> impl LogExpiry`.
#[macro_export]
macro_rules! log_expiry_contract {
    ($make:expr) => {
        $crate::each_log_expiry_promise!($crate::__contract_tests, $crate::log, $make);
    };
}

/// Hands the names of the suite's functions to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_log_promise {
    ($with:path, $($args:tt)*) => {
        $with! { $($args)*;
            what_is_read_is_what_was_appended
            records_keep_the_order_of_appends
            an_append_resolves_past_its_last_record
            an_answer_that_nobody_waits_for_loses_nothing
            partitions_are_apart
            appends_of_many_callers_keep_the_order_of_each
            an_idle_log_is_ready
            a_read_returns_at_least_one_record
            a_read_minds_its_budget
            a_read_begins_where_it_is_told
            a_read_at_the_end_is_empty_and_does_not_wait
            rule_24_a_range_is_fresh
            records_and_epoch_outlive_a_restart
            another_log_is_another_epoch
            a_lone_member_owns_every_partition
            a_waiting_member_hears_of_new_records
            a_member_that_wants_to_see_records_early_sees_each_once
            members_share_the_partitions
            a_revoked_partition_stays_until_it_is_released
            a_member_that_is_dropped_leaves_its_partitions_to_the_others
            a_successor_begins_where_its_predecessor_committed
            a_commit_of_a_partition_that_is_not_owned_is_ignored
            commits_outlive_a_restart
            groups_do_not_know_one_another
            the_log_tells_how_far_each_group_is
            a_paused_partition_is_silent_and_misses_nothing
            a_seek_decides_what_is_read_next
            waiting_for_records_is_cancel_safe
        }
    };
}

/// Hands the names of the functions that need writes to fail to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_log_fault_promise {
    ($with:path, $($args:tt)*) => {
        $with! { $($args)*;
            rule_5_readers_see_durable_records_only
            rule_4_a_failed_append_takes_all_later_ones_with_it
            rule_4_an_appender_ends_with_its_first_failure
            what_follows_from_records_that_were_taken_back_is_refused
        }
    };
}

/// Hands the names of the functions that need retention to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_log_expiry_promise {
    ($with:path, $($args:tt)*) => {
        $with! { $($args)*;
            a_read_from_before_the_start_says_so
            rule_8_a_consumer_that_is_sent_before_the_start_is_told
        }
    };
}

/// Runs the whole suite but for what needs faults or retention, one promise after another.
pub async fn run_log_contract<X: LogFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    crate::each_log_promise!(crate::__contract_calls, &make);
}

/// Runs what needs writes to fail, one promise after another.
pub async fn run_log_fault_contract<X: LogFaults>(make: impl AsyncFn(PartitionCount) -> X) {
    crate::each_log_fault_promise!(crate::__contract_calls, &make);
}

/// Runs what needs retention, one promise after another.
pub async fn run_log_expiry_contract<X: LogExpiry>(make: impl AsyncFn(PartitionCount) -> X) {
    crate::each_log_expiry_promise!(crate::__contract_calls, &make);
}

const P0: Partition = Partition(0);
const P1: Partition = Partition(1);

/// `count` records for a partition, numbered from `first`.
fn samples<R: Sample>(log: &dyn Log<R>, partition: Partition, first: u64, count: u64) -> Vec<R> {
    let client = client(log, partition);
    (first..first + count).map(|number| R::sample(&client, number)).collect()
}

fn client<R: Sample>(log: &dyn Log<R>, partition: Partition) -> ClientId {
    client_in(partition, log.partitions(), partition.0)
}

/// Appends, and waits until it is durable.
async fn store<R: Sample>(log: &dyn Log<R>, partition: Partition, records: Vec<R>) -> Position {
    within("room in the queue", log.ready()).await;
    within("an append", log.append(partition, records)).await.expect("append")
}

/// Reads everything from `from` on, and checks on the way that batches join.
async fn read_all<R: Sample>(log: &dyn Log<R>, partition: Partition, from: Position, max_bytes: usize) -> Vec<R> {
    let mut at = from;
    let mut records = Vec::new();
    loop {
        let batch = within("a read", log.read(partition, at, max_bytes)).await.expect("read");
        check(&batch, partition, at);
        if batch.next == at {
            return records;
        }
        at = batch.next;
        records.extend(batch.records.iter().map(|stored| stored.record.clone()));
    }
}

/// What holds for every batch.
fn check<R: Sample>(batch: &Batch<R>, partition: Partition, from: Position) {
    assert_eq!((batch.partition, batch.from), (partition, from), "a batch begins where the one before ended");
    assert!(rise(batch.records.iter().map(|stored| stored.offset)), "offsets rise");
    assert!(batch.records.iter().all(|stored| !from.covers(stored.offset) && batch.next.covers(stored.offset)));
    assert!(batch.next > from || batch.records.is_empty());
}
