//! What is stored comes back as it was, or is refused; never a panic.

use std::collections::BTreeSet;

use bytes::Bytes;
use nimbus_contracts::Sample as _;
use nimbus_core::{
    ClientId, Offset, OutboxId, Partition, Position, PrincipalId, ResultRecord, ServerId, SessionId,
    clock::UnixMillis,
    mailbox::{ClaimImage, Fold, Made, MailboxLimits, OutboxClaim, OutboxFold, Tenure},
    ports::{
        log::Stored,
        notifier::{ClientResults, Notification},
    },
};
use nimbus_envelope::Envelope as _;
use proptest::{collection::btree_set, prelude::*};
use ulid::Ulid;

use super::{
    Unreadable, chunk,
    claims::{self, StoredClaims},
    notice,
    owner::{self, Hands, Holding},
    seen::{self, Seen},
    tenure,
};
use crate::backlog::Backlog;

fn client() -> ClientId {
    ClientId::try_new("phone-7.a:b@c").unwrap()
}

fn some_claims() -> StoredClaims {
    let claim =
        |number| OutboxClaim { outbox: OutboxId::new([number; 16]), session_no: 1 << number, start: Position(300) };
    StoredClaims {
        hands: Hands([9; 8]),
        image: ClaimImage {
            version: 0,
            client: client(),
            principal: Some(PrincipalId::try_new("alice").unwrap()),
            token: [7; 16],
            current: Some(claim(60)),
            retired: (1..9).map(claim).collect(),
            kept: None,
            floor: Position(u64::MAX >> 11),
            touched: UnixMillis(1_700_000_000_000),
        },
    }
}

fn some_tenure() -> Tenure {
    let session = |number| SessionId(Ulid(number));
    Tenure { session: session(3), made: Made::Again, former: vec![session(9), session(1)] }
}

fn some_seen(jobs: BTreeSet<u64>) -> Seen {
    let known = |answered, jobs: Option<BTreeSet<u64>>| OutboxFold {
        answered,
        jobs_floor: 3,
        jobs: jobs.map(Box::new),
        last_result: Position(77),
        last_event: Position(99),
        last_seen: UnixMillis(5),
    };
    let jobs = (!jobs.is_empty()).then_some(jobs);
    let fold =
        Fold::restore(vec![(OutboxId::new([2; 16]), known(u64::MAX, jobs)), (OutboxId::new([1; 16]), known(0, None))]);
    let mut backlog = Backlog::default();
    for end in 1..20 {
        backlog.push(Position(end), 300, 900, &MailboxLimits::default());
    }
    Seen { last: Position(1 << 50), fold, backlog }
}

fn some_results() -> Notification {
    let results =
        (0..9).map(|number| Stored { offset: Offset(number * 3), record: ResultRecord::sample(&client(), number) });
    let other = ClientId::try_new("d").unwrap();
    let clients = vec![
        ClientResults { client: client(), results: results.clone().collect() },
        ClientResults { client: other, results: results.take(1).collect() },
    ];
    Notification::Results { partition: Partition(3), previous: Position(1), last: Position(25), clients }
}

#[test]
fn claims_owners_and_notifications_come_back_as_they_were() {
    let bytes = claims::encode(&some_claims(), 5);
    assert_eq!(claims::decode(&client(), &bytes), Ok(some_claims()));
    assert_ne!(claims::revision(Some(&bytes)), claims::revision(Some(&claims::encode(&some_claims(), 6))));
    let (server, session) = (ServerId::try_new("s").unwrap(), SessionId(Ulid(u128::MAX - 7)));
    let held = owner::encode(Hands([1; 8]), &server, session, true);
    assert_eq!(held[8..24], owner::session_bytes(session)[..], "where the scripts look for it");
    assert_eq!(held[24], 1);
    assert_eq!(owner::decode(&held), Some(Holding::Held { server, session }));
    let free = [&[1; 8][..], &owner::free_since(UnixMillis(7))].concat();
    assert_eq!(owner::decode(&free), Some(Holding::Free { since: UnixMillis(7) }));
    assert!(free.len() <= 25 && held.len() > 25, "how the scripts tell them apart");
    let notes = [some_results(), Notification::Superseded { client: client(), session }, Notification::MayHaveMissed];
    for note in notes {
        assert_eq!(format!("{:?}", notice::decode(&notice::encode(&note)).unwrap()), format!("{note:?}"));
    }
}

#[test]
fn a_tenure_is_read_and_written_as_version_1_does() {
    let id = |number| [[0; 15].as_slice(), &[number]].concat();
    let written = [vec![1], id(3), vec![2, 2], id(9), id(1)].concat();
    assert_eq!(tenure::encode(&some_tenure()), written);
    assert_eq!(tenure::decode(&written), Ok(some_tenure()));
}

#[test]
fn a_tenure_counts_only_as_far_as_it_names_the_holder() {
    let (stored, other) = (tenure::encode(&some_tenure()), SessionId(Ulid(4)));
    assert_eq!(tenure::of_holder(Some(&stored), Some(some_tenure().session)), Some(some_tenure()));
    assert_eq!(tenure::of_holder(Some(&stored), None), Some(some_tenure()), "it was given up");
    assert_eq!(tenure::of_holder(None, None), None);
    let unknown = Tenure::unknown(other, Some(&some_tenure()));
    assert_eq!(tenure::of_holder(Some(&stored), Some(other)), Some(unknown));
    for unreadable in [&b"\x02"[..], b"", b"\x01"] {
        let unreadable = Bytes::from_static(unreadable);
        assert_eq!(tenure::of_holder(Some(&unreadable), Some(other)), Some(Tenure::unknown(other, None)));
    }
}

#[test]
fn what_a_newer_build_wrote_is_named() {
    let newer = |bytes: Bytes| {
        let mut bytes: Vec<u8> = bytes.into();
        bytes[0] += 1;
        bytes
    };
    let seen = seen::decode(&newer(seen::encode(&Seen::default()))).unwrap_err();
    let claims = claims::decode(&client(), &newer(claims::encode(&some_claims(), 1))).unwrap_err();
    let notice = notice::decode(&newer(notice::encode(&some_results()))).unwrap_err();
    let tenure = tenure::decode(&newer(tenure::encode(&some_tenure()))).unwrap_err();
    for error in [seen, claims, notice, tenure] {
        assert!(matches!(error, Unreadable::Newer { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("newer build"));
    }
}

fn stored(count: u64) -> Vec<Stored<ResultRecord>> {
    (0..count)
        .map(|number| Stored { offset: Offset(number), record: ResultRecord::sample(&client(), number) })
        .collect()
}

#[test]
fn a_chunk_of_many_records_is_packed_and_one_that_would_not_become_shorter_is_not() {
    let plain: usize = stored(50).iter().map(|stored| 12 + stored.record.encoded_len()).sum();
    let packed = chunk::encode(&stored(50));
    assert!(packed[0] == 2 && packed.len() < plain / 2, "{} of {plain} bytes", packed.len());
    assert_eq!(chunk::decode(&packed), Ok(stored(50)));
    assert_eq!(chunk::encode(&stored(1))[0], 1, "one record is not worth it");
    let mut noise = stored(1);
    noise[0].record.payload = rand::random::<[u8; 4_096]>().to_vec().into();
    assert_eq!(chunk::encode(&noise)[0], 1, "noise cannot be packed");
    assert_eq!(chunk::decode(&chunk::encode(&noise)), Ok(noise));
    // The header says how long it is unpacked: neither more nor less is believed.
    for wrong in [packed[5] - 1, packed[5] + 1] {
        let mut other = packed.to_vec();
        other[5] = wrong;
        assert!(matches!(chunk::decode(&other), Err(Unreadable::Damaged { .. })));
    }
}

proptest! {
    #[test]
    fn answered_jobs_come_back_however_they_are_scattered(
        jobs in prop_oneof![btree_set(0..300_u64, 0..200), btree_set(any::<u64>().prop_map(|it| it >> 1), 0..50)],
    ) {
        let seen = some_seen(jobs);
        prop_assert_eq!(seen::decode(&seen::encode(&seen)), Ok(seen));
    }

    #[test]
    fn damaged_pieces_are_refused_or_read_but_never_panic(at in 0..4_000_usize, bits in 1..=255_u8, cut in any::<bool>()) {
        let pieces = [
            claims::encode(&some_claims(), 1),
            seen::encode(&some_seen((5..40).chain(60..70).collect())),
            notice::encode(&some_results()),
            chunk::encode(&stored(1)),
            chunk::encode(&stored(20)),
            tenure::encode(&some_tenure()),
        ];
        for piece in pieces {
            let mut piece: Vec<u8> = piece.into();
            let at = at % piece.len();
            if cut { piece.truncate(at) } else { piece[at] ^= bits }
            drop((claims::decode(&client(), &piece), seen::decode(&piece)));
            drop((notice::decode(&piece), chunk::decode(&piece).map(drop), owner::decode(&piece)));
            drop(tenure::decode(&piece));
        }
    }
}
