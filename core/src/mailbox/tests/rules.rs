//! The rules of one partition, one by one.

use std::time::Duration;

use bytes::Bytes;

use super::support::*;
use crate::{
    Partition, Position, ResultRecord,
    clock::UnixMillis,
    mailbox::{
        ApplyOutcome, ClaimChange, Granted, LogStarts, MailboxLimits, PartitionMailbox, RETIRED_OUTBOXES, Tenure,
    },
    ports::{
        log::Range,
        mailbox::{Claim, ClaimError, ClaimKind, Claimed, MailboxAck},
        notifier::Notification,
    },
};

fn take(mailbox: &mut PartitionMailbox, claim: &Claim) -> Claimed {
    mailbox.claim(claim, [7; 16], NOW).unwrap().claimed
}

fn refuse(mailbox: &mut PartitionMailbox, claim: &Claim) -> ClaimError {
    mailbox.claim(claim, [7; 16], NOW).unwrap_err()
}

fn answers(name: &str, owner: &str, seqs: std::ops::RangeInclusive<u64>) -> Vec<ResultRecord> {
    let origin = origin(name, owner, 1);
    seqs.map(|seq| answer(&origin, seq)).collect()
}

fn ack(name: &str, number: u128, position: u64) -> MailboxAck {
    MailboxAck { client: client(name), session: session(number), position: Position(position) }
}

/// (server, previous, last, client names)
fn chain(notifications: Vec<(crate::ServerId, Notification)>) -> Vec<(String, u64, u64, Vec<String>)> {
    notifications
        .into_iter()
        .map(|(server, notification)| match notification {
            Notification::Results { previous, last, clients, .. } => {
                let clients = clients.iter().map(|client| client.client.to_string()).collect();
                (server.to_string(), previous.0, last.0, clients)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_hole_is_refused_and_a_repeat_is_skipped() {
    let mut mailbox = mailbox(MailboxLimits::default());
    apply(&mut mailbox, 0, answers("c", "alice", 1..=3));
    let hole = mailbox.apply(&batch(4, answers("c", "alice", 4..=4)), NOW);
    assert!(matches!(hole, ApplyOutcome::Hole { applied: Position(3) }));
    let folded = apply(&mut mailbox, 1, answers("c", "alice", 2..=5));
    assert_eq!((folded.applied.0, folded.fresh, folded.duplicates), (5, 2, 0));
    assert_eq!(page(&mailbox, "c", 0), Ok((vec![0, 1, 2, 3, 4], 5)));
}

#[test]
fn what_retention_took_before_it_was_folded_in_is_below_the_floor() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    apply(&mut mailbox, 0, answers("c", "alice", 1..=3));
    assert!(mailbox.skip_to(Position(3)).is_empty(), "nothing is missing");
    assert_eq!(mailbox.skip_to(Position(10)).len(), 1, "the owner's server hears of it");
    assert_eq!(mailbox.applied(), Position(10));
    let notified = mailbox.head(&server("s1")).notified;
    assert_eq!(notified, Position(10), "it must not take itself for one that has everything before that word comes");
    assert_eq!(page(&mailbox, "c", 3), Err(10));
    apply(&mut mailbox, 10, answers("c", "alice", 7..=7));
    assert_eq!(page(&mailbox, "c", 10), Ok((vec![10], 11)));
}

#[test]
fn an_empty_batch_moves_applied_over_erased_records() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let mut empty = batch(0, Vec::new());
    empty.next = Position(9);
    assert!(matches!(mailbox.apply(&empty, NOW), ApplyOutcome::Folded(_)));
    assert_eq!(page(&mailbox, "c", 0), Ok((vec![], 9)));
}

#[test]
fn a_page_ends_at_its_limits_and_says_through_where() {
    let mut mailbox = mailbox(MailboxLimits::default());
    apply(&mut mailbox, 0, answers("c", "alice", 1..=4));
    let read = |from, records, bytes| match mailbox.read(&client("c"), Position(from), records, bytes) {
        crate::ports::mailbox::Page::Records { records, through, .. } => (records.len(), through.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(0, 2, usize::MAX), (2, 2));
    assert_eq!(read(2, 2, usize::MAX), (2, 4));
    assert_eq!(read(0, 9, 1), (1, 1), "at least one record");
    assert_eq!(read(0, 0, 0), (1, 1), "at least one record");
    assert_eq!(read(9, 9, 9), (0, 9), "a position past what is applied is complete up to itself");
}

#[test]
fn trimming_past_unacknowledged_records_raises_the_floor() {
    let limits = MailboxLimits { client_records: 3, ..MailboxLimits::default() };
    let mut mailbox = mailbox(limits);
    apply(&mut mailbox, 0, answers("c", "alice", 1..=5));
    assert_eq!(page(&mailbox, "c", 1), Err(2));
    assert_eq!(page(&mailbox, "c", 2), Ok((vec![2, 3, 4], 5)));
    assert_eq!(page(&mailbox, "another", 0), Ok((vec![], 5)), "the floor is the client's own");
}

#[test]
fn one_clients_bytes_and_the_partitions_bytes_are_bounded() {
    let one = answers("c", "alice", 1..=1).remove(0);
    let weight = crate::ports::log::LogRecord::weight(&one);
    let limits = MailboxLimits { client_bytes: 2 * weight, partition_bytes: 3 * weight, ..MailboxLimits::default() };
    let mut mailbox = mailbox(limits);
    apply(&mut mailbox, 0, answers("c", "alice", 1..=3));
    assert_eq!(page(&mailbox, "c", 0), Err(1));
    apply(&mut mailbox, 3, answers("d", "alice", 1..=1));
    assert_eq!(mailbox.waiting_bytes(), 3 * weight);
    // No room for a fourth: the oldest chunk of the partition goes, whosever it is.
    apply(&mut mailbox, 4, answers("d", "alice", 2..=2));
    assert_eq!(page(&mailbox, "c", 1), Err(3));
    assert_eq!(page(&mailbox, "d", 0), Ok((vec![3, 4], 5)));
}

#[test]
fn records_wait_no_longer_than_the_window() {
    let mut mailbox = mailbox(MailboxLimits { window: Duration::from_secs(10), ..MailboxLimits::default() });
    apply(&mut mailbox, 0, answers("c", "alice", 1..=1));
    let later = UnixMillis(NOW.0 + 10_001);
    assert!(matches!(mailbox.apply(&batch(1, answers("c", "alice", 2..=2)), later), ApplyOutcome::Folded(_)));
    assert_eq!(page(&mailbox, "c", 0), Err(1));
    assert_eq!(page(&mailbox, "c", 1), Ok((vec![1], 2)));
    mailbox.sweep(UnixMillis(later.0 + 10_001), LogStarts { events: Position(0), results: Position(0) });
    assert_eq!(page(&mailbox, "c", 1), Err(2));
    assert_eq!(mailbox.waiting_bytes(), 0);
}

#[test]
fn acknowledged_records_go_at_once_and_only_the_owner_may_say_so() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    apply(&mut mailbox, 0, answers("c", "alice", 1..=4));
    assert_eq!(mailbox.ack(&ack("c", 2, 4), NOW), None);
    assert_eq!(page(&mailbox, "c", 0), Ok((vec![0, 1, 2, 3], 4)));
    assert_eq!(mailbox.ack(&ack("c", 1, 2), NOW), None, "an SDK keeps its own position");
    assert_eq!(page(&mailbox, "c", 0), Err(2));
    assert_eq!(page(&mailbox, "c", 2), Ok((vec![2, 3], 4)));
    assert_eq!(mailbox.ack(&ack("c", 1, 100), NOW), None);
    assert_eq!(page(&mailbox, "c", 4), Ok((vec![], 4)));
}

#[test]
fn newest_wins_and_a_delayed_hello_does_not() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let first = take(&mut mailbox, &sdk(1, 5, 1, 3));
    assert_eq!((first.start.0, first.known, first.answered, first.previous), (3, false, 0, None));
    let again = take(&mut mailbox, &sdk(1, 5, 2, 9));
    assert_eq!((again.start.0, again.known), (3, true), "the first claim stays where the outbox began");
    assert_eq!(again.previous, Some((server("s1"), session(1))));
    assert_eq!(again.token, first.token);
    assert_eq!(refuse(&mut mailbox, &sdk(1, 4, 3, 9)), ClaimError::Stale { given: 4, seen: 5 });
    assert_eq!(take(&mut mailbox, &sdk(1, 6, 4, 9)).previous, Some((server("s1"), session(2))));
    assert_eq!(take(&mut mailbox, &sdk(1, 6, 4, 9)).previous, None, "the same session claims again");
}

#[test]
fn a_retired_outbox_returns_only_with_a_higher_number() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &sdk(1, 5, 1, 3));
    let second = take(&mut mailbox, &sdk(2, 1, 2, 8));
    assert_eq!((second.start.0, second.known), (8, false));
    assert_eq!(refuse(&mut mailbox, &sdk(1, 5, 3, 9)), ClaimError::Stale { given: 5, seen: 5 });
    let back = take(&mut mailbox, &sdk(1, 6, 4, 9));
    assert_eq!((back.start.0, back.known), (3, true));
    assert_eq!(refuse(&mut mailbox, &sdk(2, 1, 5, 9)), ClaimError::Stale { given: 1, seen: 1 });
}

#[test]
fn the_memory_of_retired_outboxes_is_bounded() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let newest = RETIRED_OUTBOXES as u8 + 2;
    for number in 1..=newest {
        take(&mut mailbox, &sdk(number, 1, u128::from(number), 0));
    }
    assert!(matches!(refuse(&mut mailbox, &sdk(2, 1, 90, 0)), ClaimError::Stale { .. }));
    assert!(!take(&mut mailbox, &sdk(1, 1, 91, 0)).known, "the one too many is forgotten");
}

#[test]
fn a_token_is_checked_if_given() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let with = |token: &[u8], number| {
        let kind = ClaimKind::Sdk { outbox: outbox(1), session_no: number, token: Some(Bytes::copy_from_slice(token)) };
        Claim { kind, ..sdk(1, 1, 1, 0) }
    };
    let unknown = take(&mut mailbox, &with(b"from a mailbox that was lost", 1));
    assert_eq!(&unknown.token[..], [7; 16]);
    assert_eq!(refuse(&mut mailbox, &with(&[8; 16], 2)), ClaimError::WrongToken);
    assert_eq!(refuse(&mut mailbox, &with(b"", 2)), ClaimError::WrongToken);
    assert_eq!(take(&mut mailbox, &with(&[7; 16], 2)).token, unknown.token);
}

/// A Hello that was delayed came to the emptied mailbox first, and was given a token of which its client never hears.
#[test]
fn the_token_of_the_newer_session_stands_when_it_is_claimed_again() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let (delayed, current) = (Tenure::begin(session(9), None), Tenure::begin(session(1), None));
    let shown = |session_no| {
        let token = Some(Bytes::copy_from_slice(&[5; 16]));
        Claim { kind: ClaimKind::Sdk { outbox: outbox(1), session_no, token }, ..sdk(1, session_no, 3, 0) }
    };
    take(&mut mailbox, &sdk(1, 1, 9, 0));
    mailbox.release(&client("c"), session(9), NOW);
    // Of another outbox it cannot be told which is the newer: the token may be one that was shown already.
    mailbox.claim_again(&sdk(2, 2, 1, 0), &current, Some(&delayed), [5; 16], NOW).unwrap();
    assert_eq!(refuse(&mut mailbox, &shown(3)), ClaimError::WrongToken);
    let again = mailbox.claim_again(&sdk(2, 3, 1, 0), &current.again(Some(&delayed)), Some(&delayed), [5; 16], NOW);
    let Granted { claimed, change: ClaimChange::Image(image), .. } = again.unwrap() else { panic!("no image") };
    assert_eq!((&claimed.token[..], image.token), (&[5; 16][..], [5; 16]));
    take(&mut mailbox, &shown(3));
}

/// The mailbox was lost, and then the answer to the first claim: the client goes on with the token that it has.
#[test]
fn a_token_that_nobody_knows_stays_the_clients() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let with = |session_no| {
        let kind = ClaimKind::Sdk { outbox: outbox(1), session_no, token: Some(Bytes::copy_from_slice(&[5; 16])) };
        Claim { kind, ..sdk(1, 1, 1, 0) }
    };
    assert_eq!(&take(&mut mailbox, &with(1)).token[..], [5; 16]);
    assert_eq!(&take(&mut mailbox, &with(2)).token[..], [5; 16]);
}

/// The same, and nobody claims the client again: nobody held it when the mailbox was lost.
#[test]
fn a_token_from_before_a_loss_is_not_judged_by_one_that_was_made_after_it() {
    let mut mailbox = mailbox(MailboxLimits::default());
    mailbox.came_after_a_loss(Position::START);
    let shown = |whose: &str, session_no| {
        let token = Some(Bytes::copy_from_slice(&[5; 16]));
        let kind = ClaimKind::Sdk { outbox: outbox(1), session_no, token };
        Claim { principal: principal(whose), kind, ..sdk(1, session_no, 3, 0) }
    };
    let delayed = take(&mut mailbox, &sdk(1, 1, 9, 0));
    assert_eq!(take(&mut mailbox, &shown("alice", 2)).token, delayed.token, "from here on it has the new one");
    assert_eq!(refuse(&mut mailbox, &shown("bob", 3)), ClaimError::WrongToken);
    assert!(matches!(refuse(&mut mailbox, &shown("alice", 1)), ClaimError::Stale { .. }));
}

/// Its first Welcome was lost, and then the mailbox: nothing says any more where the outbox began.
#[test]
fn an_outbox_that_is_not_known_after_a_loss_begins_where_its_answers_may_lie() {
    let mut mailbox = mailbox(MailboxLimits::default());
    mailbox.came_after_a_loss(Position(2));
    let start = |mailbox: &mut PartitionMailbox, number, id| take(mailbox, &sdk(number, id, id.into(), 9)).start;
    assert_eq!(start(&mut mailbox, 2, 8), Position(0), "behind what is folded in: nothing yet");
    let batch = batch(0, answers("c", "alice", 1..=4));
    mailbox.apply(&batch, NOW);
    assert_eq!(start(&mut mailbox, 1, 9), Position(2), "where this memory began: it knows answers of this outbox");
    assert_eq!(start(&mut mailbox, 3, 10), Position(4), "and of this one none");
    assert_eq!(start(&mut mailbox, 2, 11), Position(0), "it is known by now");
}

#[test]
fn release_removes_only_its_own_session() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    take(&mut mailbox, &sdk(1, 2, 2, 0));
    assert!(!mailbox.release(&client("c"), session(1), NOW), "the old stream's cleanup");
    assert_eq!(chain(apply(&mut mailbox, 0, answers("c", "alice", 1..=1)).notifications).len(), 1);
    assert!(mailbox.release(&client("c"), session(2), NOW));
    assert_eq!(chain(apply(&mut mailbox, 1, answers("c", "alice", 2..=2)).notifications).len(), 0);
    assert!(matches!(refuse(&mut mailbox, &sdk(1, 1, 3, 0)), ClaimError::Stale { .. }));
}

#[test]
fn a_claim_that_is_taken_back_leaves_the_client_to_its_former_session() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let told = |mailbox: &mut PartitionMailbox, seq| {
        let told = chain(apply(mailbox, seq - 1, answers("c", "alice", seq..=seq)).notifications);
        told.into_iter().map(|(server, ..)| server).collect::<Vec<_>>()
    };
    let elsewhere = |claim: Claim| Claim { server: server("s2"), ..claim };
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    let failed = mailbox.claim(&elsewhere(sdk(1, 2, 2, 0)), [7; 16], NOW).unwrap();
    assert_eq!(mailbox.undo(&client("c"), failed.undo), None);
    assert_eq!(told(&mut mailbox, 1), ["s1"]);
    assert!(matches!(refuse(&mut mailbox, &sdk(1, 1, 3, 0)), ClaimError::Stale { .. }));

    let failed = mailbox.claim(&elsewhere(sdk(2, 1, 4, 0)), [7; 16], NOW).unwrap();
    take(&mut mailbox, &elsewhere(sdk(2, 2, 5, 0)));
    let lost = mailbox.undo(&client("c"), failed.undo);
    assert_eq!(lost, Some((server("s1"), session(1))), "a later claim stands, which does not know of session 1");
    assert_eq!(told(&mut mailbox, 2), ["s2"]);

    let bob = Claim { principal: principal("bob"), ..sdk(3, 1, 6, 0) };
    let failed = mailbox.claim(&bob, [8; 16], NOW).unwrap();
    assert_eq!(mailbox.undo(&client("c"), failed.undo), Some((server("s2"), session(5))), "it is Bob's now");
    assert!(mailbox.undo(&client("x"), mailbox_undo()).is_none());
}

/// An undo of a client that is not there.
fn mailbox_undo() -> crate::mailbox::Undo {
    mailbox(MailboxLimits::default()).claim(&sdk(1, 1, 1, 0), [7; 16], NOW).unwrap().undo
}

#[test]
fn a_client_id_that_changes_hands_starts_empty() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let by = |owner: &str, number, no, id| Claim { principal: principal(owner), ..sdk(number, no, id, 2) };
    take(&mut mailbox, &by("alice", 1, 1, 1));
    apply(&mut mailbox, 0, answers("c", "alice", 1..=3));
    let bob = mailbox.claim(&by("bob", 2, 1, 2), [9; 16], NOW).unwrap().claimed;
    assert_eq!((&bob.token[..], bob.start.0, bob.known), (&[9; 16][..], 3, false));
    assert_eq!(mailbox.waiting_bytes(), 0);
    assert_eq!(page(&mailbox, "c", 2), Err(3), "not even from the end of the log that the claim knew");
    // Alice's events are still being answered; and Bob may have an outbox of the same number.
    let folded = apply(&mut mailbox, 3, answers("c", "alice", 4..=5));
    assert_eq!((folded.foreign, folded.fresh, chain(folded.notifications).len()), (2, 0, 0));
    let folded = apply(&mut mailbox, 5, answers("c", "bob", 1..=1));
    assert_eq!((folded.foreign, folded.fresh, chain(folded.notifications).len()), (0, 1, 1));
    assert_eq!(page(&mailbox, "c", 3), Ok((vec![5], 6)));
    // Alice's token is no longer good, and her delayed Hello does not take the client back.
    let kind = ClaimKind::Sdk { outbox: outbox(1), session_no: 2, token: Some(Bytes::from_static(&[7; 16])) };
    let stranger = Claim { kind, ..by("alice", 1, 2, 3) };
    assert_eq!(refuse(&mut mailbox, &stranger), ClaimError::WrongToken);
    assert_eq!(refuse(&mut mailbox, &by("alice", 1, 1, 4)), ClaimError::Stale { given: 1, seen: 1 });
}

#[test]
fn the_first_claim_decides_whose_the_waiting_records_are() {
    let mut mailbox = mailbox(MailboxLimits::default());
    let mut mixed = answers("c", "bob", 1..=1);
    mixed.extend(answers("c", "alice", 1..=2));
    mixed[1].origin = origin("c", "alice", 2);
    mixed[2].origin = origin("c", "alice", 2);
    apply(&mut mailbox, 0, mixed);
    take(&mut mailbox, &sdk(2, 1, 1, 3));
    assert_eq!(page(&mailbox, "c", 0), Ok((vec![1, 2], 3)));
    assert_eq!(mailbox.waiting_bytes(), 2 * crate::ports::log::LogRecord::weight(&answers("c", "a", 1..=1)[0]));
}

#[test]
fn each_server_has_its_own_chain() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    take(&mut mailbox, &Claim { client: client("d"), server: server("s2"), ..sdk(1, 1, 2, 0) });
    let mut records = answers("c", "alice", 1..=1);
    records.extend(answers("d", "alice", 1..=1));
    records.extend(answers("c", "alice", 2..=2));
    let told = chain(apply(&mut mailbox, 0, records).notifications);
    assert_eq!(told, [("s1".into(), 0, 3, vec!["c".into()]), ("s2".into(), 0, 2, vec!["d".into()])]);
    let told = chain(apply(&mut mailbox, 3, answers("d", "alice", 2..=2)).notifications);
    assert_eq!(told, [("s2".into(), 2, 4, vec!["d".into()])], "nothing for s1, and its chain does not move");
    let told = chain(apply(&mut mailbox, 4, answers("c", "alice", 3..=3)).notifications);
    assert_eq!(told, [("s1".into(), 3, 5, vec!["c".into()])]);
    let told = chain(apply(&mut mailbox, 5, answers("c", "alice", 3..=3)).notifications);
    assert_eq!(told, [], "duplicates are no news");
    let head = mailbox.head(&server("s2"));
    assert_eq!((head.applied.0, head.notified.0), (6, 4));
    assert_eq!(mailbox.head(&server("s3")).notified, Position::START);
}

#[test]
fn an_original_client_is_where_its_owner_says() {
    let mut mailbox = mailbox(MailboxLimits::default());
    apply(&mut mailbox, 0, answers("c", "alice", 1..=2));
    let first = take(&mut mailbox, &original(1, 2));
    assert_eq!((first.start.0, first.known), (2, false), "first contact begins at the end");
    apply(&mut mailbox, 2, answers("c", "alice", 3..=6));
    assert!(matches!(mailbox.ack(&ack("c", 1, 4), NOW), Some(ClaimChange::Kept { position: Position(4), .. })));
    assert_eq!(mailbox.ack(&ack("c", 1, 3), NOW), None, "it does not go back");
    let second = take(&mut mailbox, &original(2, 6));
    assert_eq!((second.start.0, second.known), (4, true));
    assert_eq!(mailbox.ack(&ack("c", 1, 6), NOW), None, "a stale session's word");
    assert_eq!(take(&mut mailbox, &original(3, 6)).start.0, 4);
    assert_eq!(page(&mailbox, "c", 4), Ok((vec![4, 5], 6)));
}

#[test]
fn a_restart_never_claims_more_than_it_knows() {
    let mut before = mailbox(MailboxLimits::default());
    let claimed = before.claim(&sdk(1, 3, 1, 0), [7; 16], NOW).unwrap().change;
    apply(&mut before, 0, answers("c", "alice", 1..=2));
    let snapshot = before.snapshot();
    apply(&mut before, 2, answers("c", "alice", 3..=4));
    let raised = before.claim(&sdk(1, 4, 2, 4), [7; 16], NOW).unwrap().change;

    let mut after = PartitionMailbox::new(Partition(0), MailboxLimits::default());
    after.restore(snapshot);
    after.replay(claimed);
    after.replay(raised);
    after.open(Range { start: Position(0), end: Position(4) });
    assert_eq!(after.applied(), Position(2));
    assert_eq!(page(&after, "c", 1), Err(2), "what waited is in the log now");
    let folded = apply(&mut after, 2, answers("c", "alice", 3..=4));
    assert_eq!((folded.fresh, chain(folded.notifications).len()), (2, 0), "nobody owns it any more");
    assert_eq!(page(&after, "c", 2), Ok((vec![2, 3], 4)));
    assert_eq!(apply(&mut after, 4, answers("c", "alice", 1..=4)).duplicates, 4, "the fold came back");
    assert!(matches!(refuse(&mut after, &sdk(1, 3, 3, 4)), ClaimError::Stale { .. }));
    let back = take(&mut after, &sdk(1, 5, 3, 4));
    assert_eq!((&back.token[..], back.start.0, back.known, back.answered), (&[7; 16][..], 0, true, 4));
    assert_eq!(back.previous, None);
}

#[test]
fn a_change_of_hands_holds_after_a_restart() {
    let mut before = mailbox(MailboxLimits::default());
    let by = |owner: &str, number, id, end| Claim { principal: principal(owner), ..sdk(number, 1, id, end) };
    take(&mut before, &by("alice", 1, 1, 0));
    apply(&mut before, 0, answers("c", "alice", 1..=2));
    let snapshot = before.snapshot();
    apply(&mut before, 2, answers("c", "alice", 3..=4));
    let to_bob = before.claim(&by("bob", 2, 2, 4), [8; 16], NOW).unwrap().change;
    let to_alice = before.claim(&by("alice", 3, 3, 4), [9; 16], NOW).unwrap().change;

    let restarted = |changes: &[&ClaimChange]| {
        let mut after = PartitionMailbox::new(Partition(0), MailboxLimits::default());
        after.restore(snapshot.clone());
        changes.iter().for_each(|change| after.replay((*change).clone()));
        after.open(Range { start: Position(0), end: Position(4) });
        after
    };
    let mut bobs = restarted(&[&to_bob]);
    assert_eq!(bobs.snapshot().clients[0].fold, [], "what was answered to Alice says nothing about Bob");
    let folded = apply(&mut bobs, 2, answers("c", "alice", 3..=4));
    assert_eq!((folded.foreign, folded.fresh), (2, 0));

    let mut alices = restarted(&[&to_bob, &to_alice]);
    take(&mut alices, &Claim { session: session(4), ..by("alice", 3, 4, 4) });
    let folded = apply(&mut alices, 2, answers("c", "alice", 3..=4));
    assert_eq!((folded.fresh, chain(folded.notifications).len()), (2, 0), "from before she lost the client");
    assert_eq!((page(&alices, "c", 3), alices.waiting_bytes()), (Err(4), 0));
}

#[test]
fn a_mailbox_ahead_of_its_log_does_not_skip_what_comes() {
    let mut before = mailbox(MailboxLimits::default());
    take(&mut before, &original(1, 0));
    apply(&mut before, 0, answers("c", "alice", 1..=9));
    assert!(before.ack(&ack("c", 1, 9), NOW).is_some());
    let mut after = PartitionMailbox::new(Partition(0), MailboxLimits::default());
    after.restore(before.snapshot());
    after.open(Range { start: Position(0), end: Position(5) });
    assert_eq!(after.applied(), Position(5));
    // The answers beyond the end were lost with their records: they come again, and are not taken for duplicates.
    assert_eq!(apply(&mut after, 5, answers("c", "alice", 6..=9)).fresh, 4);
    assert_eq!(take(&mut after, &original(2, 9)).start, Position(5));
    assert_eq!(page(&after, "c", 5), Ok((vec![5, 6, 7, 8], 9)));
}

#[test]
fn a_mailbox_behind_the_logs_start_begins_there() {
    let mut after = PartitionMailbox::new(Partition(0), MailboxLimits::default());
    after.open(Range { start: Position(50), end: Position(90) });
    assert_eq!(after.applied(), Position(50));
    assert_eq!(page(&after, "c", 49), Err(50));
}

#[test]
fn an_idle_client_is_forgotten_once_nothing_of_it_can_come_again() {
    let limits = MailboxLimits {
        window: Duration::from_secs(10),
        retention: Duration::from_secs(100),
        ..MailboxLimits::default()
    };
    let mut mailbox = mailbox(limits);
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    apply(&mut mailbox, 0, answers("c", "alice", 1..=2));
    let starts = |events, results| LogStarts { events: Position(events), results: Position(results) };
    let late = UnixMillis(NOW.0 + 100_001);
    assert_eq!(mailbox.sweep(late, starts(9, 9)), 0, "it is connected");
    mailbox.release(&client("c"), session(1), late);
    assert_eq!(mailbox.sweep(late, starts(9, 9)), 0, "it was connected just now");
    let later = UnixMillis(late.0 + 100_001);
    assert_eq!(mailbox.sweep(later, starts(2, 1)), 0, "its last result is still in the log");
    assert_eq!(mailbox.sweep(later, starts(9, 2)), 1);
    assert_eq!(mailbox.clients(), 0);
    assert_eq!(page(&mailbox, "c", 1), Err(2), "the partition remembers its floor");
    assert!(!take(&mut mailbox, &sdk(1, 1, 2, 2)).known);
}

#[test]
fn the_queue_of_expiries_does_not_outgrow_what_waits() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &Claim { client: client("quick"), ..sdk(1, 1, 1, 0) });
    // One client that never acknowledges holds the front of the queue.
    apply(&mut mailbox, 0, answers("slow", "alice", 1..=1));
    for at in 1..5_000 {
        apply(&mut mailbox, at, answers("quick", "alice", at..=at));
        mailbox.ack(&ack("quick", 1, at + 1), NOW);
    }
    assert!(mailbox.expiries() < 2_000, "{}", mailbox.expiries());
    assert_eq!(page(&mailbox, "slow", 0), Ok((vec![0], 5_000)));
}

#[test]
fn an_erased_client_leaves_nothing() {
    let mut mailbox = mailbox(MailboxLimits::default());
    take(&mut mailbox, &sdk(1, 1, 1, 0));
    apply(&mut mailbox, 0, answers("c", "alice", 1..=2));
    mailbox.erase(&client("c"));
    assert_eq!((mailbox.clients(), mailbox.waiting_bytes()), (0, 0));
    assert_eq!(mailbox.snapshot().clients, []);
}
