//! A client's claims: whose it is, its token, its outboxes. The revision behind the version changes with every write; a
//! script writes only over the revision that it was told.
//!
//! The position that is kept for a client of the original protocol is a field of its own: acknowledgements move it without
//! reading this.

use bytes::Bytes;
use nimbus_core::{
    ClientId, OutboxId, PrincipalId,
    clock::UnixMillis,
    mailbox::{ClaimImage, OutboxClaim},
};

use super::{Reader, Unreadable, Writer, owner::Hands};

const VERSION: u8 = 1;
const WHAT: &str = "a client's claims";

/// How many bytes the scripts compare: the version and the revision.
const REVISION: usize = 9;

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredClaims {
    /// During which hands it was written.
    pub(crate) hands: Hands,
    /// Without the kept position.
    pub(crate) image: ClaimImage,
}

/// `revision`: one that was never used.
pub(crate) fn encode(claims: &StoredClaims, revision: u64) -> Bytes {
    let image = &claims.image;
    let mut out = Writer::new(VERSION);
    out.raw(&revision.to_le_bytes());
    out.raw(&claims.hands.0);
    // No principal is empty, so an empty one means none.
    out.text(image.principal.as_ref().map_or("", PrincipalId::as_str));
    out.raw(&image.token);
    out.u8(u8::from(image.current.is_some()));
    for claim in image.current.iter() {
        outbox(&mut out, claim);
    }
    out.u8(image.retired.len() as u8);
    for claim in &image.retired {
        outbox(&mut out, claim);
    }
    out.position(image.floor);
    out.number(image.touched.0);
    out.0.into()
}

fn outbox(out: &mut Writer, claim: &OutboxClaim) {
    out.raw(claim.outbox.as_bytes());
    out.number(claim.session_no);
    out.position(claim.start);
}

/// What the scripts compare; empty when there are no claims.
pub(crate) fn revision(blob: Option<&Bytes>) -> Bytes {
    blob.map(|blob| blob.slice(..REVISION.min(blob.len()))).unwrap_or_default()
}

pub(crate) fn decode(client: &ClientId, bytes: &[u8]) -> Result<StoredClaims, Unreadable> {
    let mut reader = Reader::open(WHAT, VERSION, bytes)?;
    reader.u64()?;
    let hands = Hands(reader.array()?);
    let principal = match reader.text()? {
        "" => None,
        principal => Some(PrincipalId::try_new(principal).map_err(|error| reader.bad_id(&error))?),
    };
    let token = reader.array()?;
    let current = if reader.u8()? == 0 { None } else { Some(read_outbox(&mut reader)?) };
    let retired = reader.u8()?;
    let retired = (0..retired).map(|_| read_outbox(&mut reader)).collect::<Result<_, _>>()?;
    let floor = reader.position()?;
    let touched = UnixMillis(reader.number()?);
    reader.end()?;
    let image =
        ClaimImage { version: 0, client: client.clone(), principal, token, current, retired, kept: None, floor, touched };
    Ok(StoredClaims { hands, image })
}

fn read_outbox(reader: &mut Reader<'_>) -> Result<OutboxClaim, Unreadable> {
    Ok(OutboxClaim {
        outbox: OutboxId::new(reader.array()?),
        session_no: reader.number()?,
        start: reader.position()?,
    })
}
