//! Which session holds a client, or held it last, and which ones came before it ([`Tenure`]). Beside the owner, and not in its
//! entry: a build that knows no tenures writes that and not this. So it counts only as far as it names the session that holds
//! the client, see [`of_holder`].
//!
//! It is never worth a failure: what cannot be read is not known, and then the ids of sessions decide as they always did.

use bytes::Bytes;
use nimbus_core::{
    SessionId,
    mailbox::{FORMER_SESSIONS, Made, Tenure},
};
use ulid::Ulid;

use super::{Reader, Unreadable, Writer};

const VERSION: u8 = 1;
const WHAT: &str = "a client's tenure";

pub(crate) fn encode(tenure: &Tenure) -> Bytes {
    let mut out = Writer::new(VERSION);
    out.raw(&tenure.session.0.to_bytes());
    out.u8(match tenure.made {
        Made::Unknown => 0,
        Made::Fresh => 1,
        Made::Again => 2,
    });
    out.u8(tenure.former.len() as u8);
    for session in &tenure.former {
        out.raw(&session.0.to_bytes());
    }
    out.0.into()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Tenure, Unreadable> {
    let mut reader = Reader::open(WHAT, VERSION, bytes)?;
    let session = read_session(&mut reader)?;
    let made = match reader.u8()? {
        0 => Made::Unknown,
        1 => Made::Fresh,
        2 => Made::Again,
        other => return Err(reader.damaged(format!("nothing is made like {other}"))),
    };
    let former = reader.u8()?;
    if usize::from(former) > FORMER_SESSIONS {
        return Err(reader.damaged(format!("{former} sessions before")));
    }
    let former = (0..former).map(|_| read_session(&mut reader)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(Tenure { session, made, former })
}

/// What is known of a client's tenure, by what is stored and by who holds it now.
pub(crate) fn of_holder(stored: Option<&Bytes>, holder: Option<SessionId>) -> Option<Tenure> {
    let stored = stored.and_then(|bytes| decode(bytes).ok());
    match holder {
        Some(holder) if stored.as_ref().is_none_or(|stored| stored.session != holder) => {
            Some(Tenure::unknown(holder, stored.as_ref()))
        }
        _ => stored,
    }
}

fn read_session(reader: &mut Reader<'_>) -> Result<SessionId, Unreadable> {
    Ok(SessionId(Ulid::from_bytes(reader.array()?)))
}
