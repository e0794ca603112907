//! Judges how a stream ended: try again, or never.
//!
//! The server says it with `google.rpc.ErrorInfo` (domain `nimbus`, a stable reason) and `RetryInfo` in the status
//! details. A status without them comes from something in between (a proxy, HTTP/2 itself), and only its code counts.

use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

use crate::{Error, machine::Loss};

const DOMAIN: &str = "nimbus";
const SUPERSEDED: [&str; 2] = ["SUPERSEDED", "STALE_SESSION"];

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`, without its metadata.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

#[derive(Debug, Default)]
struct Details {
    reason: String,
    retry_after: Duration,
}

/// What a status means for the connection.
pub(crate) fn loss(status: &Status) -> Loss {
    let details = details(status);
    if SUPERSEDED.contains(&details.reason.as_str()) {
        return Loss::Terminal(Error::Superseded { message: status.message().to_owned() });
    }
    if is_permanent(status.code()) {
        return Loss::Terminal(Error::Refused {
            code: status.code() as i32,
            reason: details.reason,
            message: status.message().to_owned(),
        });
    }
    Loss::Retry { after: details.retry_after, why: describe(status) }
}

/// Codes that do not go away by themselves. `Internal`, `Unknown`, `Cancelled` and `DeadlineExceeded` are what a broken
/// connection or a dying process looks like from here, so they are worth another attempt.
const fn is_permanent(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

fn describe(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

fn details(status: &Status) -> Details {
    let mut found = Details::default();
    // Details that do not parse come from somebody else; the code alone decides then.
    let Ok(rpc) = RpcStatus::decode(status.details()) else { return found };
    for any in rpc.details {
        if any.type_url.ends_with("google.rpc.ErrorInfo") {
            if let Ok(info) = ErrorInfo::decode(any.value.as_slice())
                && info.domain == DOMAIN
            {
                found.reason = info.reason;
            }
        } else if any.type_url.ends_with("google.rpc.RetryInfo")
            && let Ok(info) = RetryInfo::decode(any.value.as_slice())
        {
            found.retry_after = info.retry_delay.and_then(|delay| delay.try_into().ok()).unwrap_or_default();
        }
    }
    found
}

/// Builds the details that a Nimbus server sends.
#[cfg(test)]
pub(crate) fn encode_details(code: Code, message: &str, reason: &str, retry_after: Option<Duration>) -> Status {
    let any = |name: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value,
    };
    let info = ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned() };
    let mut details = vec![any("ErrorInfo", info.encode_to_vec())];
    if let Some(after) = retry_after {
        let delay =
            prost_types::Duration { seconds: after.as_secs().cast_signed(), nanos: after.subsec_nanos().cast_signed() };
        details.push(any("RetryInfo", RetryInfo { retry_delay: Some(delay) }.encode_to_vec()));
    }
    let rpc = RpcStatus { code: code as i32, message: message.to_owned(), details };
    Status::with_details(code, message, rpc.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_session_is_the_end() {
        for reason in SUPERSEDED {
            let status = encode_details(Code::Aborted, "newer", reason, None);
            assert!(matches!(loss(&status), Loss::Terminal(Error::Superseded { .. })), "{reason}");
        }
    }

    #[test]
    fn an_abort_by_somebody_else_is_not() {
        assert!(matches!(loss(&Status::aborted("proxy")), Loss::Retry { .. }));
    }

    #[test]
    fn the_reason_of_a_refusal_is_kept() {
        let status = encode_details(Code::PermissionDenied, "no", "CLIENT_ID_FORBIDDEN", None);
        match loss(&status) {
            Loss::Terminal(Error::Refused { code: 7, reason, .. }) => assert_eq!(reason, "CLIENT_ID_FORBIDDEN"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn retry_info_is_obeyed() {
        let status = encode_details(Code::Unavailable, "later", "DRAINING", Some(Duration::from_millis(2500)));
        match loss(&status) {
            Loss::Retry { after, .. } => assert_eq!(after, Duration::from_millis(2500)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn details_of_others_do_not_confuse_it() {
        let status = Status::with_details(Code::Unavailable, "x", bytes::Bytes::from_static(b"\xff\xff\xff"));
        assert!(matches!(loss(&status), Loss::Retry { after: Duration::ZERO, .. }));
    }
}
