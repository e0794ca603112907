//! The fold, rule by rule.

use super::support::{NOW, answer, job_answer, origin, outbox, record};
use crate::{
    Lane, Offset, PartKind, ResultRecord,
    mailbox::{FOLD_OUTBOXES, Fold, JOBS_WINDOW, Verdict},
};

/// Feeds records with rising offsets and says which were fresh.
fn fresh(fold: &mut Fold, records: impl IntoIterator<Item = ResultRecord>) -> Vec<bool> {
    let offsets = (0..).map(Offset);
    offsets.zip(records).map(|(offset, record)| fold.admit(offset, &record, NOW) == Verdict::Fresh).collect()
}

#[test]
fn the_first_terminal_answer_stands_per_outbox() {
    let (one, two) = (origin("c", "alice", 1), origin("c", "alice", 2));
    let records =
        [answer(&one, 1), answer(&one, 1), answer(&two, 1), answer(&one, 2), answer(&one, 1), answer(&two, 2)];
    let mut fold = Fold::default();
    assert_eq!(fresh(&mut fold, records), [true, false, true, true, false, true]);
    assert_eq!(fold.answered(outbox(1)), 2);
    assert_eq!(fold.answered(outbox(3)), 0);
}

#[test]
fn an_error_answers_as_well_as_a_result() {
    let one = origin("c", "alice", 1);
    let error = record(&one, 1, PartKind::Error, Lane::Ordered);
    assert_eq!(fresh(&mut Fold::default(), [error.clone(), answer(&one, 1), error]), [true, false, false]);
}

#[test]
fn parts_pass_until_their_event_is_answered() {
    let one = origin("c", "alice", 1);
    for lane in [Lane::Ordered, Lane::Jobs] {
        let part = record(&one, 1, PartKind::Part, lane);
        let end = record(&one, 1, PartKind::Final, lane);
        let log = [part.clone(), part.clone(), end, part];
        assert_eq!(fresh(&mut Fold::default(), log), [true, true, true, false], "{lane:?}");
    }
}

#[test]
fn a_replay_is_an_extra_and_answers_nothing() {
    let one = origin("c", "alice", 1);
    let replay = |seq| ResultRecord { replay_no: 1, ..answer(&one, seq) };
    let log = [answer(&one, 1), replay(1), replay(2), answer(&one, 2), replay(2)];
    assert_eq!(fresh(&mut Fold::default(), log), [true; 5]);
    let mut seeded = Fold::seeded(outbox(1), 1, [3]);
    assert_eq!(fresh(&mut seeded, [replay(1), replay(3)]), [true, true]);
}

#[test]
fn jobs_overtake_one_another_and_ordered_events_do_not_answer_them() {
    let one = origin("c", "alice", 1);
    let log = [job_answer(&one, 3), answer(&one, 4), job_answer(&one, 2), job_answer(&one, 3), job_answer(&one, 2)];
    assert_eq!(fresh(&mut Fold::default(), log), [true, true, true, false, false]);
}

#[test]
fn an_event_that_changed_lanes_between_executions_is_answered_once() {
    let one = origin("c", "alice", 1);
    assert_eq!(fresh(&mut Fold::default(), [job_answer(&one, 2), answer(&one, 2)]), [true, false]);
}

#[test]
fn the_jobs_window_is_bounded_and_forgets_from_below() {
    let one = origin("c", "alice", 1);
    let mut fold = Fold::default();
    let window = JOBS_WINDOW as u64;
    let all = (2..=window + 11).map(|seq| job_answer(&one, seq));
    assert!(fresh(&mut fold, all).into_iter().all(|fresh| fresh));
    let known = &fold.outboxes()[0].1;
    assert_eq!((known.jobs.as_ref().map(|jobs| jobs.len()), known.jobs_floor), (Some(JOBS_WINDOW), 11));
    assert_eq!(fresh(&mut fold, [job_answer(&one, 5), job_answer(&one, window + 12)]), [false, true]);
}

#[test]
fn a_seeded_fold_drops_what_the_client_has_and_nothing_else() {
    let one = origin("c", "alice", 1);
    // 4 is an open job; 5 and 6 were answered out of order, one in each lane.
    let mut fold = Fold::seeded(outbox(1), 3, [5, 6]);
    let log = [answer(&one, 2), job_answer(&one, 5), answer(&one, 6), job_answer(&one, 4), answer(&one, 7)];
    assert_eq!(fresh(&mut fold, log), [false, false, false, true, true]);
}

/// The seed holds ordered answers as well: if it shared the jobs window, filling that would evict past an open job.
#[test]
fn a_large_seed_never_hides_an_open_job() {
    let one = origin("c", "alice", 1);
    let mut fold = Fold::seeded(outbox(1), 0, 2..=4_097);
    let done = (5_000..5_100).map(|seq| job_answer(&one, seq));
    assert!(fresh(&mut fold, done).into_iter().all(|fresh| fresh));
    assert_eq!(fresh(&mut fold, [job_answer(&one, 1)]), [true]);
}

#[test]
fn a_client_that_makes_outboxes_without_end_is_bounded() {
    let mut fold = Fold::default();
    for number in 0..FOLD_OUTBOXES as u64 + 10 {
        let mut origin = (*origin("c", "alice", 0)).clone();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        origin.outbox = crate::OutboxId::new(bytes);
        assert_eq!(fold.admit(Offset(number), &answer(&origin.into(), 1), NOW), Verdict::Fresh);
    }
    assert_eq!(fold.outboxes().len(), FOLD_OUTBOXES);
    // The oldest went.
    assert_eq!(fold.outboxes()[0].1.last_result.0, 11);
}
