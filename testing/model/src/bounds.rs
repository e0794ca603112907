//! How much happens in one run: what keeps the state space finite.

use crate::ids::{CLIENTS, Client};

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
    pub answers: [u8; CLIENTS],
    /// Which faults there are.
    pub kinds: &'static [Fault],
    /// How many faults there are in one run, of any kind.
    pub faults: u8,
    /// How many routers take part.
    pub routers: usize,
    /// Whether the second client is connected and live when it begins; the first one never is.
    pub begun: bool,
    /// Whether the first client stays away.
    pub alone: bool,
    /// Whether servers compare their chains with the mailbox once a second. Without message loss nothing depends on it.
    pub checks: bool,
    /// Whether acknowledgements reach the mailbox, and trim it.
    pub acks: bool,
    /// Whether clients without results are told how far the log is.
    pub bookmarks: bool,
    /// Most records in one batch of a router.
    pub batch: u8,
    /// Most records in one page of a mailbox.
    pub page: u8,
}

const CUTS: &[Fault] = &[Fault::Cut, Fault::Crash];
const BUS: &[Fault] = &[Fault::Lose, Fault::Late, Fault::Repeat, Fault::Resubscribe];
const LOG: &[Fault] = &[Fault::Cut, Fault::Trim, Fault::Retain, Fault::Again];

impl Bounds {
    /// No faults at all: the interleavings of the ordinary course alone, with two routers.
    pub const CALM: Self = Self {
        name: "calm",
        answers: [1, 1],
        kinds: &[],
        faults: 0,
        routers: 2,
        begun: true,
        alone: false,
        checks: true,
        acks: false,
        bookmarks: false,
        batch: 2,
        page: 1,
    };
    /// Connections break and servers crash.
    pub const SESSIONS: Self =
        Self { name: "sessions", answers: [1, 1], kinds: CUTS, faults: 1, routers: 1, checks: false, ..Self::CALM };
    /// A client that comes and goes: its sessions overlap, on one server and on two.
    pub const RECONNECTS: Self = Self { name: "reconnects", answers: [1, 0], faults: 2, ..Self::SESSIONS };
    /// Messages between servers are lost, late, and come twice.
    pub const BUS: Self = Self { name: "bus", answers: [1, 1], kinds: BUS, faults: 2, routers: 1, ..Self::CALM };
    /// Redis loses everything.
    pub const WIPE: Self =
        Self { name: "wipe", answers: [1, 0], kinds: &[Fault::Wipe], faults: 1, routers: 1, ..Self::CALM };
    /// Redis loses its tail.
    pub const LAG: Self = Self { name: "lag", kinds: &[Fault::Lag], ..Self::WIPE };
    /// Redis loses its tail, and a zombie router writes too.
    pub const ZOMBIE: Self = Self { name: "zombie", answers: [0, 2], routers: 2, alone: true, ..Self::LAG };
    /// The mailbox' window passes, retention takes the log, answers come twice, connections break; acknowledgements trim.
    pub const LOG: Self =
        Self { name: "log", answers: [1, 0], kinds: LOG, faults: 1, routers: 1, acks: true, ..Self::CALM };
    /// Clients that have nothing are told how far the log is.
    pub const BOOKMARKS: Self = Self {
        name: "bookmarks",
        answers: [1, 1],
        kinds: &[Fault::Lose],
        faults: 1,
        routers: 1,
        bookmarks: true,
        ..Self::CALM
    };
    /// The same, and Redis loses its tail.
    pub const BOOKMARKS_LAG: Self =
        Self { name: "bookmarks, lag", answers: [0, 2], kinds: &[Fault::Lag], alone: true, ..Self::BOOKMARKS };
    /// The same, and retention takes what was not folded in yet; a message about it may be lost as well.
    pub const BOOKMARKS_RETENTION: Self = Self {
        name: "bookmarks, retention",
        answers: [0, 2],
        kinds: &[Fault::Retain, Fault::Lose],
        faults: 2,
        alone: true,
        ..Self::BOOKMARKS
    };
    /// Retention takes what was not folded in yet, and Redis loses its tail.
    pub const BOOKMARKS_RETENTION_LAG: Self =
        Self { name: "bookmarks, retention, lag", kinds: &[Fault::Retain, Fault::Lag], ..Self::BOOKMARKS_RETENTION };
    /// Redis loses its tail and connections break: sessions begin before the loss and go on after it.
    pub const BOOKMARKS_LAG_CUT: Self =
        Self { name: "bookmarks, lag, cut", kinds: &[Fault::Lag, Fault::Cut], faults: 2, ..Self::BOOKMARKS_LAG };

    /// What the test suite checks.
    pub const TESTED: &'static [Self] = &[
        Self::CALM,
        Self::SESSIONS,
        Self::RECONNECTS,
        Self::BUS,
        Self::WIPE,
        Self::LAG,
        Self::ZOMBIE,
        Self::LOG,
        Self::BOOKMARKS,
        Self::BOOKMARKS_LAG,
        Self::BOOKMARKS_RETENTION,
    ];

    /// What `make model` checks besides.
    pub const LARGE: &'static [Self] = &[
        Self { name: "calm, large", answers: [2, 1], ..Self::CALM },
        Self { name: "sessions, large", checks: true, ..Self::SESSIONS },
        Self { name: "lag, twice", alone: true, answers: [0, 2], faults: 2, ..Self::LAG },
        Self::BOOKMARKS_RETENTION_LAG,
        Self::BOOKMARKS_LAG_CUT,
    ];
}

impl Bounds {
    /// Whether a client takes part.
    pub const fn has(&self, client: Client) -> bool {
        client.0 != 0 || !self.alone
    }
}
