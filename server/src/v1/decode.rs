//! From v1 frames to the session's inputs. Whatever is wrong with a frame names its field.

use bytes::Bytes;
use nimbus_core::{
    ClientId, ContentType, EventName, OutboxId, Position, Reason,
    clock::UnixMillis,
    session::{ClientFrame, Close, Hello, MAX_ANSWERED_BEYOND, MAX_SEQ, NewEvent, Resume},
};
use nimbus_proto::v1::{self, client_frame::Kind};

use crate::stream::WireFrame;

/// Longest `Hello.sdk`, in bytes.
const MAX_SDK_BYTES: usize = 128;

/// A Hello whose fields are in their ranges.
#[derive(Debug)]
pub(super) struct CheckedHello {
    pub(super) client: ClientId,
    pub(super) session_no: u64,
    pub(super) token: Option<Bytes>,
    pub(super) hello: Hello,
}

/// Reads the first frame.
///
/// # Errors
/// What the client is told: `HELLO_EXPECTED`, `INVALID_CLIENT_ID` or `INVALID_HELLO`.
pub(super) fn first_frame(frame: v1::ClientFrame) -> Result<CheckedHello, Close> {
    match frame.kind {
        Some(Kind::Hello(hello)) => checked(hello),
        Some(_) | None => Err(Close::because(Reason::HelloExpected, "the first frame of a session must be Hello")),
    }
}

fn checked(hello: v1::Hello) -> Result<CheckedHello, Close> {
    let client = ClientId::try_new(&hello.client_id)
        .map_err(|invalid| Close::because(Reason::InvalidClientId, format!("field client_id: {invalid}")))?;
    let outbox =
        OutboxId::try_new(&hello.outbox_id).map_err(|invalid| invalid_hello(format!("field outbox_id: {invalid}")))?;
    if hello.first_unaccepted == 0 || hello.first_unaccepted > MAX_SEQ {
        let given = hello.first_unaccepted;
        return Err(invalid_hello(format!("field first_unaccepted is {given}; it is 1 to {MAX_SEQ}")));
    }
    if hello.sdk.len() > MAX_SDK_BYTES {
        let bytes = hello.sdk.len();
        return Err(invalid_hello(format!("field sdk has {bytes} bytes; at most {MAX_SDK_BYTES} are allowed")));
    }
    let (token, resume) = match hello.resume {
        Some(resume) => {
            let (token, resume) = checked_resume(resume)?;
            (Some(token), Some(resume))
        }
        None => (None, None),
    };
    Ok(CheckedHello {
        client,
        session_no: hello.session_no,
        token,
        hello: Hello { outbox, first_unaccepted: hello.first_unaccepted, resume, receive_window: hello.receive_window },
    })
}

fn checked_resume(resume: v1::Resume) -> Result<(Bytes, Resume), Close> {
    let answered = resume.answered;
    if answered > MAX_SEQ {
        return Err(invalid_hello(format!("field resume.answered is {answered}; the highest is {MAX_SEQ}")));
    }
    let beyond = resume.answered_beyond.len();
    if beyond > MAX_ANSWERED_BEYOND {
        let message = format!("field resume.answered_beyond has {beyond} entries; at most {MAX_ANSWERED_BEYOND}");
        return Err(invalid_hello(message));
    }
    if !resume.answered_beyond.is_sorted_by(|a, b| a < b)
        || resume.answered_beyond.first().is_some_and(|first| *first <= answered)
        || resume.answered_beyond.last().is_some_and(|last| *last > MAX_SEQ)
    {
        let message = format!("field resume.answered_beyond must rise from above {answered} to at most {MAX_SEQ}");
        return Err(invalid_hello(message));
    }
    let resumed = Resume {
        position: Position(resume.position),
        answered,
        answered_beyond: resume.answered_beyond,
        foreign_epoch: false,
    };
    Ok((resume.token, resumed))
}

fn invalid_hello(message: String) -> Close {
    Close::because(Reason::InvalidHello, message)
}

/// Translates the frames after the first.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The last event name and content type: streams repeat them, and sharing spares an allocation per event.
    name: Option<EventName>,
    content_type: ContentType,
}

impl Decoder {
    pub(super) fn frame(&mut self, frame: v1::ClientFrame) -> WireFrame {
        WireFrame::Frame(match frame.kind {
            Some(Kind::Event(event)) => ClientFrame::Event(self.event(event)),
            Some(Kind::Ack(ack)) => ClientFrame::Ack(Position(ack.position)),
            Some(Kind::Pong(_)) => ClientFrame::Pong,
            Some(Kind::Goodbye(_)) => ClientFrame::Goodbye,
            Some(Kind::Hello(_)) => {
                let message = "Hello came twice on one stream; open a new stream to begin again";
                return WireFrame::Violation(Close::because(Reason::HelloRepeated, message));
            }
            None => ClientFrame::Unknown,
        })
    }

    fn event(&mut self, event: v1::Event) -> NewEvent {
        let name = match &self.name {
            Some(name) if name.as_str() == event.name => Ok(name.clone()),
            Some(_) | None => EventName::try_new(&event.name).inspect(|name| self.name = Some(name.clone())),
        };
        if self.content_type.as_str() != event.content_type {
            self.content_type = ContentType::new(&event.content_type);
        }
        let mut attributes: Vec<_> = event.attributes.into_iter().collect();
        attributes.sort_unstable();
        NewEvent {
            seq: event.seq,
            name,
            payload: event.payload,
            content_type: self.content_type.clone(),
            attributes,
            deadline: (event.deadline_unix_ms > 0).then_some(UnixMillis(event.deadline_unix_ms)),
            traceparent: event.traceparent,
            edge_context: Bytes::new(),
        }
    }
}
