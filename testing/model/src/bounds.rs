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

impl Bounds {
    /// No faults at all: the interleavings of the ordinary course alone.
    pub const CALM: Self = Self {
        name: "calm",
        answers: [2, 1],
        kinds: &[],
        faults: 0,
        routers: 2,
        begun: true,
        acks: false,
        bookmarks: false,
        batch: 2,
        page: 1,
    };
    /// Connections break and servers crash: sessions follow one another.
    pub const SESSIONS: Self =
        Self { name: "sessions", answers: [1, 1], kinds: &[Fault::Cut, Fault::Crash], faults: 1, routers: 1, ..Self::CALM };
    /// One client that comes and goes, again and again.
    pub const RECONNECTS: Self = Self { name: "reconnects", answers: [1, 0], faults: 2, ..Self::SESSIONS };
    /// Messages are lost, late, and come twice.
    pub const BUS: Self = Self {
        name: "bus",
        answers: [1, 1],
        kinds: &[Fault::Lose, Fault::Late, Fault::Repeat, Fault::Resubscribe],
        faults: 2,
        routers: 1,
        ..Self::CALM
    };
    /// Redis loses its tail, or everything.
    pub const REDIS: Self =
        Self { name: "redis", answers: [1, 1], kinds: &[Fault::Lag, Fault::Wipe], faults: 1, routers: 1, ..Self::CALM };
    /// Redis loses its tail while a zombie router writes too.
    pub const ZOMBIE: Self = Self { name: "zombie", kinds: &[Fault::Lag], answers: [2, 0], routers: 2, ..Self::REDIS };
    /// The window of the mailbox passes, retention takes the log, an answer comes twice; acknowledgements trim.
    pub const LOG: Self = Self {
        name: "log",
        answers: [1, 1],
        kinds: &[Fault::Cut, Fault::Trim, Fault::Retain, Fault::Again],
        faults: 2,
        routers: 1,
        acks: true,
        ..Self::CALM
    };
    /// Clients that have nothing are told how far the log is.
    pub const BOOKMARKS: Self =
        Self { name: "bookmarks", answers: [1, 1], kinds: &[Fault::Lose], faults: 1, routers: 1, bookmarks: true, ..Self::CALM };
}
