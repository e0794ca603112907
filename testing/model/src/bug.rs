//! Bugs to be planted: what the rules keep away, one at a time. For tests of the checker: a model that cannot fail proves
//! nothing.

/// One rule broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The session claims its client before it is in the registry, but reads after both. Harmless, and shown to be.
    ClaimBeforeRegister,
    /// The session is put into the registry only once it is live (rule 18).
    RegisterLast,
    /// The mailbox is read before the claim (rule 18).
    ReadBeforeClaim,
    /// A read that came back makes the session live whatever was notified meanwhile (rule 18).
    LiveWithoutHighestNotified,
    /// What may have been missed while a read was out is forgotten when it comes back (rule 20).
    MissedWhileReadingForgotten,
    /// A release frees the client whoever holds it (rule 19).
    ReleaseWithoutCompare,
    /// A claim of an older session of the same outbox is granted.
    OlderClaimsWin,
    /// The script writes whatever has happened since the router read (rule 10).
    ApplyWithoutFence,
    /// An idle router does not look whether the mailbox still is where it was (rule 16).
    RouterNeverLooks,
    /// A break in the chain of notifications repairs nothing (rule 20).
    BrokenChainIgnored,
    /// The first notification after a (re)subscription is taken as it is: nothing says that none before it was lost (rule 20).
    FirstOfAChainTrusted,
    /// Heads ahead of the chain are never followed up (rule 20).
    OverdueIgnored,
    /// "You have everything before this" is said of heads that the chain has not reached (rule 15).
    BookmarkAheadOfChain,
    /// A session that goes live takes a bookmark that was raised before: a Redis that lost its tail since may have taken back what
    /// it was about, and the session would pass over results that are still to be folded in again.
    BookmarkFromBeforeALoss,
    /// What is still on its way from before a loss is taken into the chain after it: the chain is ahead of what the new Redis has
    /// told, and a bookmark passes over that (rule 20).
    ChannelKeptOverALoss,
    /// A session reads a Redis that nobody has found to be another one yet: what the former one told last comes behind what is
    /// not there any more (rule 20).
    ReadOfAnUnknownRedis,
    /// Another replication id, or another memory, is no reason to claim again (rule 20).
    NoReclaim,
    /// Claimed again, but the sessions do not read again (rule 20).
    ReclaimWithoutRead,
    /// After a loss the sessions read first and the clients are claimed again later (rule 18).
    ReadBeforeReclaim,
    /// Which Redis it is, is learned by the first check and not before the first claim.
    ReplicationLearnedLate,
    /// The mailbox serves from below its floors (rule 14).
    FloorsIgnored,
    /// What retention took before it was folded in leaves no floor (rule 16).
    SkipWithoutFloor,
    /// What retention took before it was folded in counts as no notification: a bookmark passes it before anyone hears of it.
    SkipUncounted,
    /// A position before the log's start is served from its start, without a word (rule 23).
    NoGap,
    /// Results go to every session of the server.
    WholeServerTold,
    /// The SDK takes deliveries of any of its streams, and again what it has (rule 21).
    SdkTakesEverything,
}
