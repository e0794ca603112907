//! What every [`Mailbox`] promises: the rules of `delivery.md` that concern it, by their numbers. Those without a number are
//! of its section on identities.
//!
//! The suite is the router and keeps the results log itself; a mailbox is told where that log ends when it restarts.

mod claims;
mod floors;
mod fold;
mod notices;
mod original;
mod restarts;
mod world;

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_core::{
    PartitionCount,
    ports::{log::Range, mailbox::Mailbox, notifier::Notifier},
};

pub use claims::*;
pub use floors::*;
pub use fold::*;
pub use notices::*;
pub use original::*;
pub use restarts::*;

/// A mailbox of its own for each test, with the bus that it notifies.
#[async_trait]
pub trait MailboxFixture: Send + Sync {
    /// The mailbox.
    fn mailbox(&self) -> Arc<dyn Mailbox>;

    /// Where it sends its notifications.
    fn notifier(&self) -> Arc<dyn Notifier>;

    /// How many unacknowledged records it keeps for one client.
    fn client_records(&self) -> usize;

    /// How many bytes wait in a partition before the oldest go, as far as an adapter counts them.
    fn partition_bytes(&self) -> usize;

    /// Lets so much time pass that what waits unacknowledged has waited too long.
    async fn outlive_window(&self);

    /// Ends what the process holds of the mailbox in good order and opens it again. `logs` is what the results log holds
    /// then, by partition.
    async fn restart(&mut self, logs: Vec<Range>);
}

/// Runs the whole suite as tests: `mailbox_contract!(make)`, where
/// `async fn make(partitions: PartitionCount) -> impl MailboxFixture`.
#[macro_export]
macro_rules! mailbox_contract {
    ($make:expr) => {
        $crate::each_mailbox_promise!($crate::__contract_tests, $crate::mailbox, $make);
    };
}

/// Hands the names of the suite's functions to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_mailbox_promise {
    ($with:path, $($args:tt)*) => {
        $with! { $($args)*;
            a_first_claim_begins_at_the_end_of_the_log
            the_same_outbox_takes_its_client_over_again
            a_delayed_hello_is_stale
            a_newer_outbox_wins_and_retires_the_older_one
            a_retired_outbox_comes_back_only_with_a_higher_number
            a_lost_first_welcome_costs_nothing
            a_token_is_checked_if_given
            a_client_id_that_changes_hands_starts_empty
            a_result_of_another_principal_is_delivered_to_nobody
            a_claim_tells_what_was_answered
            rule_10_a_batch_that_would_leave_a_hole_is_refused
            rule_10_a_hole_of_one_record_is_a_hole
            rule_10_a_batch_that_overlaps_is_applied_once
            rule_11_the_first_answer_on_the_ordered_lane_stands
            rule_11_jobs_are_answered_once_in_any_order
            rule_11_parts_pass_until_their_event_is_answered
            rule_11_outboxes_count_apart
            rule_9_a_replay_is_an_extra
            rule_14_a_client_that_outgrows_its_mailbox_is_below_a_floor
            rule_14_what_outgrows_the_partition_goes_oldest_first
            rule_14_a_mailbox_that_expired_is_below_a_floor
            rule_14_a_client_that_nobody_knows_has_nothing_waiting
            rule_15_a_bookmark_is_above_the_floor
            rule_17_applied_is_where_the_router_goes_on
            rule_22_an_ack_takes_away_nothing_that_is_still_needed
            rule_23_a_mailbox_is_read_by_position_page_by_page
            rule_18_nothing_falls_between_claim_and_read
            rule_19_a_release_removes_only_its_own_session
            rule_20_notifications_form_a_chain_per_server
            rule_20_a_chain_per_partition
            rule_20_heads_show_the_last_message_before_a_silence
            rule_11_duplicates_are_no_news
            rule_26_an_original_client_is_where_its_owner_says
            rule_26_a_stale_session_moves_nothing
            rule_26_the_position_outlives_a_restart
            claims_outlive_a_restart
            a_change_of_hands_outlives_a_restart
            rule_16_a_restart_is_never_silent_about_what_it_lost
            rule_16_a_restart_forgets_no_answer
            rule_16_what_retention_took_unread_is_below_a_floor
            rule_28_a_mailbox_ahead_of_its_log_skips_nothing
        }
    };
}

/// Runs the whole suite, one promise after another.
pub async fn run_mailbox_contract<X: MailboxFixture>(make: impl AsyncFn(PartitionCount) -> X) {
    crate::each_mailbox_promise!(crate::__contract_calls, &make);
}
