//! One closed set of error classes, and the stable reasons that clients can match on.
//!
//! The class alone decides the canonical gRPC code (as a number: this crate knows no RPC framework), whether a retry helps,
//! and the metric label. `docs/errors.md` is tested against [`Reason::ALL`].

/// What kind of trouble it is. Closed: match it without `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The caller sent something that can never work.
    Invalid,
    /// The caller is not who it must be.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// The state of things forbids it; the caller must change something first.
    Precondition,
    /// No such thing.
    NotFound,
    /// A limit was hit that clears by itself.
    Exhausted,
    /// Something is down or moving; a retry helps.
    Unavailable,
    /// Time ran out.
    Deadline,
    /// Not offered.
    Unimplemented,
    /// A newer session took over.
    Superseded,
    /// Our own fault.
    Internal,
}

impl ErrorClass {
    /// Canonical gRPC code.
    pub const fn code(self) -> i32 {
        match self {
            Self::Invalid => 3,
            Self::Deadline => 4,
            Self::NotFound => 5,
            Self::Denied => 7,
            Self::Exhausted => 8,
            Self::Precondition => 9,
            Self::Superseded => 10,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// Whether the same request can succeed later without the caller changing anything.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Exhausted | Self::Unavailable => true,
            Self::Invalid
            | Self::Unauthenticated
            | Self::Denied
            | Self::Precondition
            | Self::NotFound
            | Self::Deadline
            | Self::Unimplemented
            | Self::Superseded
            | Self::Internal => false,
        }
    }

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Precondition => "precondition",
            Self::NotFound => "not_found",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Unimplemented => "unimplemented",
            Self::Superseded => "superseded",
            Self::Internal => "internal",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $class:ident;)+) => {
        /// A stable reason: what `google.rpc.ErrorInfo.reason`, `Rejected.reason` and `Error.reason` carry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Its class.
            pub const fn class(self) -> ErrorClass {
                match self { $(Self::$name => ErrorClass::$class,)+ }
            }

            /// What happened and what to do, in one or two sentences.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The first frame was not Hello. Send Hello first.
    HelloExpected = "HELLO_EXPECTED", Invalid;
    /// A second Hello came on one stream. Open a new stream instead.
    HelloRepeated = "HELLO_REPEATED", Invalid;
    /// No Hello came within the handshake deadline. Send it as soon as the stream is open.
    HandshakeTimeout = "HANDSHAKE_TIMEOUT", Deadline;
    /// The client id is missing or not 1 to 128 bytes of `[A-Za-z0-9._:@-]`.
    InvalidClientId = "INVALID_CLIENT_ID", Invalid;
    /// A field of Hello is out of its range; the message names it.
    InvalidHello = "INVALID_HELLO", Invalid;
    /// The resume token is not this client's. Connect without `resume`, or with the right token.
    ResumeTokenMismatch = "RESUME_TOKEN_MISMATCH", Denied;
    /// The resume position lies beyond the end of the log. The client's memory belongs to another installation.
    PositionFromTheFuture = "POSITION_FROM_THE_FUTURE", Precondition;
    /// An event skipped a sequence number. Send every number once, in order.
    SeqGap = "SEQ_GAP", Invalid;
    /// Sequence numbers begin at 1.
    SeqZero = "SEQ_ZERO", Invalid;
    /// Sequence numbers end at 2^63 - 1. Begin a new outbox.
    SeqOverflow = "SEQ_OVERFLOW", Invalid;
    /// An Ack names a position beyond what was sent on this session.
    AckBeyondSent = "ACK_BEYOND_SENT", Invalid;
    /// An Event came after Goodbye.
    EventAfterGoodbye = "EVENT_AFTER_GOODBYE", Invalid;
    /// A message could not be decoded, or is larger than the server reads at all.
    MalformedFrame = "MALFORMED_FRAME", Invalid;
    /// No Pong came within the deadline, or the client did not read for too long. Reconnect and resume.
    ClientUnresponsive = "CLIENT_UNRESPONSIVE", Unavailable;
    /// No token, or one that nobody has.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated;
    /// The principal may not use this client id, or the client's mailbox belongs to another principal.
    ClientIdForbidden = "CLIENT_ID_FORBIDDEN", Denied;
    /// A newer session of this client id took over. Do not reconnect.
    Superseded = "SUPERSEDED", Superseded;
    /// A Hello with a lower session number than one already seen for this outbox: it was delayed on the way.
    StaleSession = "STALE_SESSION", Superseded;
    /// The server shuts down. Reconnect and resume; any server will do.
    Draining = "DRAINING", Unavailable;
    /// An append failed or its outcome is unknown. Reconnect and resume: nothing accepted is lost.
    AppendFailed = "APPEND_FAILED", Unavailable;
    /// The mailbox or the log cannot be read just now. Reconnect and resume.
    BackendUnavailable = "BACKEND_UNAVAILABLE", Unavailable;
    /// Too many streams are waiting for their Hello, or too many sessions are open.
    TooManyStreams = "TOO_MANY_STREAMS", Exhausted;
    /// The client sends more events a second than it may. Send again after `retry_after`.
    RateLimited = "RATE_LIMITED", Exhausted;
    /// There is no room: the disk is full, or the log has reached its limit because execution lags. Nothing accepted is
    /// lost; send again after `retry_after`.
    StorageFull = "STORAGE_FULL", Exhausted;
    /// The payload, the attributes or another field of the event exceed their limit, or the event is larger than the log
    /// takes. Answered as the event's ERROR.
    EventTooLarge = "EVENT_TOO_LARGE", Invalid;
    /// The event name, or another field of the event, breaks its rules. Answered as the event's ERROR.
    InvalidEvent = "INVALID_EVENT", Invalid;
    /// No executor handles this event name, also not after the grace period. Answered as the event's ERROR.
    UnknownEvent = "UNKNOWN_EVENT", NotFound;
    /// The event's deadline passed before it was executed. Answered as the event's ERROR.
    DeadlineExceeded = "DEADLINE_EXCEEDED", Deadline;
    /// Every attempt failed or ran out of time; the event is kept as a dead letter. Answered as the event's ERROR.
    AttemptsExhausted = "ATTEMPTS_EXHAUSTED", Internal;
    /// The executor panicked; the event is kept as a dead letter. Answered as the event's ERROR.
    ExecutorPanicked = "EXECUTOR_PANICKED", Internal;
    /// The executor gave the event up as poison; it is kept as a dead letter. Answered as the event's ERROR.
    ExecutorGaveUp = "EXECUTOR_GAVE_UP", Internal;
    /// The payload is not what this executor takes. Answered as the event's ERROR.
    InvalidPayload = "INVALID_PAYLOAD", Invalid;
    /// The result does not fit into the type it must have. Answered as the event's ERROR.
    ResultOutOfRange = "RESULT_OUT_OF_RANGE", Invalid;
    /// The executor's result is larger than a delivery may be, or than the log of results takes; the event is kept as a
    /// dead letter.
    ResultTooLarge = "RESULT_TOO_LARGE", Internal;
    /// This call is not offered yet.
    NotImplemented = "NOT_IMPLEMENTED", Unimplemented;
    /// A fault of the server; it is logged there.
    Internal = "INTERNAL", Internal;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_is_unique_and_explains_itself() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.as_str()), "{reason:?} repeats a text");
            assert!(reason.meaning().ends_with('.'), "{reason:?} has no sentence");
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
        }
    }
}
