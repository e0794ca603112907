//! The fold against a simple model, filters and names, and (in `work`) replay and purge on logs that fail.

use std::collections::BTreeSet;

use nimbus_core::{
    ClientId, Event, EventName, Failure, Offset, Partition,
    clock::UnixMillis,
    ports::log::Stored,
    result::{DeadLetter, Mark, MarkKind},
};
use proptest::{collection::vec, option, prelude::*};

use super::{
    Filter, Letter, LetterId, LetterState,
    ledger::Ledger,
    write::{PIECE_BYTES, PIECE_LETTERS, pieces},
};
use crate::testing::Client;

mod work;

const CLIENTS: [&str; 2] = ["a", "b"];
const NAMES: [&str; 2] = ["sq", "echo"];
const REASONS: [&str; 2] = ["EXECUTOR_GAVE_UP", "ATTEMPTS_EXHAUSTED"];

/// A letter that failed at `failed`; its client, name and reason by number.
fn letter(client: usize, seq: u64, replay_no: u32, failed: u64) -> DeadLetter {
    let event = Client::new(CLIENTS[client]).event(NAMES[seq as usize % 2], "content");
    let event = Event { seq, replay_no, ..event };
    let reason = REASONS[failed as usize % 2].to_owned();
    let failure = Failure { code: 13, reason, message: "what the operator sees".to_owned() };
    let failed = UnixMillis(failed);
    DeadLetter { event, failure, attempts: 3, event_offset: Offset(seq), failed, mark: None }
}

/// One record of a log of dead letters: few identities, so that copies and marks meet.
fn record() -> impl Strategy<Value = DeadLetter> {
    let kinds = prop_oneof![
        3 => Just(None),
        2 => (1..4_u32).prop_map(|replay_no| Some(MarkKind::Replayed { replay_no })),
        1 => Just(Some(MarkKind::Purged)),
    ];
    (0..2_usize, 1..4_u64, 0..2_u32, 0..20_u64, kinds, 0..5_u64).prop_map(
        |(client, seq, replay_no, failed, kind, at)| {
            let letter = letter(client, seq, replay_no, failed);
            kind.map_or_else(|| letter.clone(), |kind| letter.marked(Mark { kind, at: UnixMillis(at) }))
        },
    )
}

fn fold(log: &[Stored<DeadLetter>]) -> Vec<Letter> {
    let mut ledger = Ledger::new(Partition(7));
    log.iter().for_each(|stored| ledger.admit(stored));
    ledger.into_letters()
}

fn key(record: &DeadLetter) -> (String, u64, u32) {
    (record.event.origin.client.to_string(), record.event.seq, record.event.replay_no)
}

/// What is to be known of a letter, looked up in the whole log each time.
fn expected_state(log: &[Stored<DeadLetter>], of: &DeadLetter) -> LetterState {
    let marks = || log.iter().filter(|stored| key(&stored.record) == key(of)).filter_map(|stored| stored.record.mark);
    let purged = marks().filter(|mark| mark.kind == MarkKind::Purged).map(|mark| mark.at).min();
    let number = |mark: &Mark| match mark.kind {
        MarkKind::Replayed { replay_no } => replay_no,
        MarkKind::Purged => 0,
    };
    let highest = marks().map(|mark| number(&mark)).max();
    let replayed = highest.and_then(|no| marks().filter(|mark| number(mark) == no).map(|mark| (no, mark.at)).min());
    match (purged, replayed) {
        (Some(at), _) => LetterState::Purged { at },
        (None, Some((replay_no, at))) => LetterState::Replayed { replay_no, at },
        (None, None) => LetterState::Open,
    }
}

fn expected_last_replay(log: &[Stored<DeadLetter>], of: &DeadLetter) -> u32 {
    let same = log.iter().map(|stored| &stored.record).filter(|record| {
        let ((client, seq, _), (its, number, _)) = (key(of), key(record));
        client == its && seq == number
    });
    let numbers = same.flat_map(|record| {
        let marked = match record.mark {
            Some(Mark { kind: MarkKind::Replayed { replay_no }, .. }) => replay_no,
            _ => 0,
        };
        [marked, record.event.replay_no]
    });
    numbers.max().unwrap_or_default()
}

proptest! {
    #[test]
    fn the_fold_says_what_one_sees_by_looking_through_the_whole_log(records in vec(record(), 0..40)) {
        let log: Vec<_> = (10..).map(Offset).zip(records).map(|(offset, record)| Stored { offset, record }).collect();
        let letters = fold(&log);
        let kept: Vec<_> = log.iter().filter(|stored| stored.record.mark.is_none()).collect();
        let distinct: BTreeSet<_> = kept.iter().map(|stored| key(&stored.record)).collect();
        prop_assert_eq!(letters.len(), distinct.len());
        for stored in &kept {
            let id = LetterId { partition: Partition(7), offset: stored.offset };
            let found: Vec<_> = letters.iter().filter(|letter| letter.is_at(id)).collect();
            prop_assert_eq!(found.len(), 1, "each copy belongs to one letter");
            prop_assert_eq!(found[0].state, expected_state(&log, &stored.record));
            prop_assert_eq!(found[0].last_replay_no, expected_last_replay(&log, &stored.record));
            prop_assert!(found[0].id.offset <= stored.offset, "the oldest copy gives the name");
            prop_assert_eq!((found[0].seq, found[0].replay_no), (stored.record.event.seq, stored.record.event.replay_no));
        }
    }

    /// Also when the same mark was appended twice, and wherever marks lie.
    #[test]
    fn neither_order_nor_repetition_of_marks_matters(records in vec(record(), 0..30), seed in any::<u64>()) {
        let (letters, mut marks): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.mark.is_none());
        let numbered = |records: Vec<DeadLetter>| -> Vec<_> {
            records.into_iter().enumerate().map(|(at, record)| Stored { offset: Offset(at as u64), record }).collect()
        };
        let straight = fold(&numbered([letters.clone(), marks.clone()].concat()));
        marks.extend(marks.clone());
        let turn = seed as usize % marks.len().max(1);
        marks.rotate_left(turn);
        marks.reverse();
        prop_assert_eq!(fold(&numbered([letters, marks].concat())), straight);
    }

    #[test]
    fn a_filter_means_what_each_of_its_parts_means(
        records in vec(record(), 0..30),
        parts in (option::of(0..2_usize), option::of(0..2_usize), option::of(0..2_usize)),
        times in (option::of(0..20_u64), option::of(0..20_u64)),
        settled in any::<bool>(),
    ) {
        let log: Vec<_> = (0..).map(Offset).zip(records).map(|(offset, record)| Stored { offset, record }).collect();
        let (client, event, reason) = parts;
        let filter = Filter {
            client: client.map(|at| ClientId::try_new(CLIENTS[at]).unwrap()),
            event: event.map(|at| EventName::try_new(NAMES[at]).unwrap()),
            reason: reason.map(|at| REASONS[at].to_owned()),
            since: times.0.map(UnixMillis),
            until: times.1.map(UnixMillis),
            settled,
        };
        for letter in fold(&log) {
            let mut parts = vec![
                Filter { client: filter.client.clone(), settled: true, ..Filter::default() },
                Filter { event: filter.event.clone(), settled: true, ..Filter::default() },
                Filter { reason: filter.reason.clone(), settled: true, ..Filter::default() },
                Filter { since: filter.since, settled: true, ..Filter::default() },
                Filter { until: filter.until, settled: true, ..Filter::default() },
            ];
            parts.push(Filter { settled, ..Filter::default() });
            prop_assert_eq!(filter.matches(&letter), parts.iter().all(|part| part.matches(&letter)));
            let failed = letter.failed.0;
            prop_assert_eq!(parts[0].matches(&letter), client.is_none_or(|at| letter.origin.client.as_str() == CLIENTS[at]));
            prop_assert_eq!(parts[1].matches(&letter), event.is_none_or(|at| letter.event.as_str() == NAMES[at]));
            prop_assert_eq!(parts[2].matches(&letter), reason.is_none_or(|at| letter.reason == REASONS[at]));
            prop_assert_eq!(parts[3].matches(&letter), failed >= times.0.unwrap_or(0));
            prop_assert_eq!(parts[4].matches(&letter), failed < times.1.unwrap_or(u64::MAX));
            prop_assert_eq!(parts[5].matches(&letter), settled || letter.state == LetterState::Open);
        }
    }

    #[test]
    fn a_name_has_one_form(partition in any::<u32>(), offset in 0..u64::MAX, text in "[0-9:+ a-]{0,12}") {
        let id = LetterId { partition: Partition(partition), offset: Offset(offset) };
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        if let Ok(read) = text.parse::<LetterId>() {
            prop_assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn pieces_are_bounded_and_keep_the_order(sizes in vec((0..3_u32, 0..PIECE_BYTES * 5 / 4), 0..200)) {
        let letters: Vec<_> = sizes.iter().enumerate().map(|(at, (partition, payload_bytes))| {
            let stored = Stored { offset: Offset(at as u64), record: letter(0, 1, 0, 0) };
            Letter { payload_bytes: *payload_bytes, ..Letter::new(Partition(*partition), &stored) }
        }).collect();
        let mut expected: Vec<_> = letters.iter().map(|letter| letter.id).collect();
        expected.sort();
        let pieces = pieces(letters);
        for piece in &pieces {
            let bytes: usize = piece.iter().map(|letter| letter.payload_bytes).sum();
            prop_assert!(piece.len() <= PIECE_LETTERS && (bytes <= PIECE_BYTES || piece.len() == 1));
            prop_assert!(piece.iter().all(|letter| letter.id.partition == piece[0].id.partition));
        }
        let order: Vec<_> = pieces.iter().flatten().map(|letter| letter.id).collect();
        prop_assert_eq!(order, expected);
    }
}
