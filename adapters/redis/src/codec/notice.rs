//! Notifications on their way to a server.
//!
//! A version, a kind, then for results: the partition, the chain, and for each client its name and its chunk. The script
//! that applies a batch puts them together from the pieces that are made here, and says itself whose a chunk is.

use bytes::Bytes;
use nimbus_core::{
    ClientId, Partition, Position, ResultRecord, SessionId,
    ports::{
        log::Stored,
        notifier::{ClientResults, Notification},
    },
};
use ulid::Ulid;

use super::{Reader, Unreadable, Writer, chunk};

const VERSION: u8 = 1;
const WHAT: &str = "a notification";

const RESULTS: u8 = 1;
const SUPERSEDED: u8 = 2;
const MISSED: u8 = 3;

/// What stands before the chain.
pub(crate) fn results_prefix(partition: Partition) -> Bytes {
    let mut out = Writer::new(VERSION);
    out.u8(RESULTS);
    out.raw(&partition.0.to_le_bytes());
    out.0.into()
}

pub(crate) fn encode(notification: &Notification) -> Bytes {
    let mut out = Writer::new(VERSION);
    match notification {
        Notification::Results { partition, previous, last, clients } => {
            out = Writer(results_prefix(*partition).into());
            out.raw(&previous.0.to_le_bytes());
            out.raw(&last.0.to_le_bytes());
            for client in clients.iter().filter(|client| !client.results.is_empty()) {
                out.text(client.client.as_str());
                out.raw(&chunk::encode(&client.results));
            }
        }
        Notification::Superseded { client, session } => {
            out.u8(SUPERSEDED);
            out.text(client.as_str());
            out.raw(&session.0.to_bytes());
        }
        Notification::MayHaveMissed => out.u8(MISSED),
    }
    out.0.into()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Notification, Unreadable> {
    let mut reader = Reader::open(WHAT, VERSION, bytes)?;
    let notification = match reader.u8()? {
        RESULTS => {
            let partition = Partition(reader.u32()?);
            let (previous, last) = (Position(reader.u64()?), Position(reader.u64()?));
            Notification::Results { partition, previous, last, clients: sections(&mut reader)? }
        }
        SUPERSEDED => Notification::Superseded {
            client: client(&mut reader)?,
            session: SessionId(Ulid::from_bytes(reader.array()?)),
        },
        MISSED => Notification::MayHaveMissed,
        other => return Err(reader.damaged(format!("kind {other} is unknown"))),
    };
    reader.end()?;
    Ok(notification)
}

fn client(reader: &mut Reader<'_>) -> Result<ClientId, Unreadable> {
    ClientId::try_new(reader.text()?).map_err(|error| reader.bad_id(&error))
}

/// A client with several chunks has several sections, one behind the other.
fn sections(reader: &mut Reader<'_>) -> Result<Vec<ClientResults>, Unreadable> {
    let mut clients: Vec<(ClientId, Vec<Stored<ResultRecord>>)> = Vec::new();
    while !reader.is_empty() {
        let client = client(reader)?;
        let records = chunk::read(reader)?;
        match clients.last_mut() {
            Some((last, all)) if *last == client => all.extend(records),
            _ => clients.push((client, records)),
        }
    }
    Ok(clients.into_iter().map(|(client, results)| ClientResults { client, results: results.into() }).collect())
}
