//! How much happens in one run: what keeps the state space finite.

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A client loses its connection; its server does not notice.
    Cut,
    /// A server is killed and started again under the same name.
    Crash,
    /// The oldest message of a channel is lost without a trace.
    Lose,
    /// The oldest message of a channel comes a second time, at the end.
    Repeat,
    /// The oldest message of a channel comes late, after the next one.
    Late,
    /// A server's subscription breaks and is made again; what was on its way is lost.
    Resubscribe,
    /// From now on nothing reaches the replica of Redis, to which it will fail over some time: its tail is lost.
    Lag,
    /// Redis loses everything.
    Wipe,
    /// A zombie executor answers an event once more.
    Again,
    /// Retention takes the beginning of the results log.
    Retain,
    /// The window of the mailbox passes: what lies before is left to the log. No fault, but bounded like one.
    Trim,
}

impl Fault {
    /// All there are.
    pub const ALL: &'static [Self] = &[
        Self::Cut,
        Self::Crash,
        Self::Lose,
        Self::Repeat,
        Self::Late,
        Self::Resubscribe,
        Self::Lag,
        Self::Wipe,
        Self::Again,
        Self::Retain,
        Self::Trim,
    ];
}

/// One size of the model.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How it is called in reports.
    pub name: &'static str,
    /// Answers for each client.
    pub answers: [u8; crate::ids::CLIENTS],
    /// Which faults there are.
    pub kinds: &'static [Fault],
    /// How many faults there are in one run, of any kind.
    pub faults: u8,
    /// How many routers take part.
    pub routers: usize,
    /// Whether the second client is connected and live when it begins; the first one never is.
    pub begun: bool,
    /// Whether acknowledgements reach the mailbox, and trim it.
    pub acks: bool,
    /// Whether clients without results are told how far the log is.
    pub bookmarks: bool,
    /// Most records in one batch of a router.
    pub batch: u8,
    /// Most records in one page of a mailbox.
    pub page: u8,
}
