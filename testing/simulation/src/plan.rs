//! What a seed decides before anything runs: how many of everything, how tight the limits are, which faults there are.

use std::time::Duration;

use crate::dice::Dice;

/// A known bug, planted in an adapter to see whether the simulation finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// What was read is committed, answered or not.
    CommitPastFailure,
    /// A release removes whichever session holds the client.
    CleanupOfNewer,
    /// An append is confirmed before it is stored.
    AcceptBeforeDurable,
    /// A batch that leaves a hole is folded in all the same.
    ApplyWithoutFence,
    /// A notification is lost, and the chain does not show it.
    MissedNotification,
}

impl Bug {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::CommitPastFailure,
        Self::CleanupOfNewer,
        Self::AcceptBeforeDurable,
        Self::ApplyWithoutFence,
        Self::MissedNotification,
    ];

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }

    /// What it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommitPastFailure => "commit-past-failure",
            Self::CleanupOfNewer => "cleanup-of-newer",
            Self::AcceptBeforeDurable => "accept-before-durable",
            Self::ApplyWithoutFence => "apply-without-fence",
            Self::MissedNotification => "missed-notification",
        }
    }
}

/// The shape of one run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) partitions: u32,
    pub(crate) servers: usize,
    pub(crate) executors: usize,
    pub(crate) routers: usize,
    pub(crate) clients: usize,
    /// Events of each client while there are faults.
    pub(crate) events: u64,
    /// How long there are faults.
    pub(crate) storm: Duration,
    /// The longest pause between two faults, in milliseconds.
    pub(crate) fault_pause: u64,
    /// How many port calls in a thousand fail.
    pub(crate) failures: u64,
    /// How many port calls in a thousand take seconds.
    pub(crate) stalls: u64,
    /// How many notifications in a thousand are lost, come twice, or come out of order.
    pub(crate) notification_faults: u64,
    /// After this a group takes a silent member for dead.
    pub(crate) session_timeout: Duration,
    /// A restarted server is called as before.
    pub(crate) servers_keep_their_names: bool,
    pub(crate) receive_window: u32,
    pub(crate) queue_messages: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) mailbox_records: usize,
    pub(crate) mailbox_window: Duration,
    pub(crate) max_in_hand: usize,
    pub(crate) max_in_hand_per_client: usize,
    pub(crate) batch_records: u64,
    pub(crate) max_batch: usize,
    pub(crate) bus_capacity: usize,
}

impl Plan {
    pub(crate) fn draw(dice: &Dice) -> Self {
        let size = |small: u64, large: u64| if dice.per_mille(500) { small } else { dice.within(small, large) };
        let tight = |low: u64, high: u64, usual: u64| if dice.per_mille(500) { dice.within(low, high) } else { usual };
        Self {
            partitions: size(1, 4) as u32,
            servers: dice.within(1, 3) as usize,
            executors: dice.within(1, 2) as usize,
            routers: dice.within(1, 2) as usize,
            clients: dice.within(1, 4) as usize,
            events: dice.within(10, 40),
            storm: dice.millis(5_000, 30_000),
            fault_pause: dice.within(300, 4_000),
            failures: tight(1, 40, 0),
            stalls: tight(1, 10, 0),
            notification_faults: tight(10, 200, 0),
            session_timeout: dice.millis(2_000, 10_000),
            servers_keep_their_names: dice.per_mille(500),
            receive_window: tight(1, 8, 128) as u32,
            queue_messages: tight(1, 8, 256) as usize,
            max_in_flight: tight(1, 16, 1_024) as usize,
            mailbox_records: tight(2, 10, 4_096) as usize,
            mailbox_window: Duration::from_secs(tight(2, 60, 300)),
            max_in_hand: tight(1, 16, 8_192) as usize,
            max_in_hand_per_client: tight(1, 8, 1_024) as usize,
            batch_records: tight(1, 10, 500),
            max_batch: tight(1, 5, 4_096) as usize,
            bus_capacity: tight(1, 8, 1_024) as usize,
        }
    }
}
