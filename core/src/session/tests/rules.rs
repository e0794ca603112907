//! Single rules, one test each.

use tokio::time::Duration;

use super::{
    super::*,
    world::{answer, event, hello, open, opened},
};
use crate::{
    Offset, ResultRecord,
    clock::UnixMillis,
    ports::log::{LogError, Stored},
};

/// Feeds inputs to a fresh session and returns what it did after its Welcome.
fn run(limits: Limits, inputs: impl IntoIterator<Item = Input>) -> (Session, Vec<Action>) {
    let (mut session, _welcome, now) = open(limits, &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    for input in inputs {
        session.handle(input, &mut Unlimited, now, &mut actions);
    }
    session.settle(&mut actions);
    (session, actions)
}

fn frame(seq: u64) -> Input {
    Input::Frame(ClientFrame::Event(event(seq)))
}

fn closed_because(actions: &[Action]) -> Option<Reason> {
    actions.iter().find_map(|action| match action {
        Action::Close(close) => close.reason,
        _ => None,
    })
}

fn appended(actions: &[Action]) -> Vec<u64> {
    let batches = actions.iter().filter_map(|action| match action {
        Action::Append(events) => Some(events),
        _ => None,
    });
    batches.flatten().map(|event| event.seq).collect()
}

#[test]
fn a_gap_ends_the_session_but_what_came_before_it_is_kept() {
    let (_, actions) = run(Limits::default(), [frame(1), frame(2), frame(4)]);
    assert_eq!(closed_because(&actions), Some(Reason::SeqGap));
    assert_eq!(appended(&actions), [1, 2]);
}

#[test]
fn zero_and_overflow_end_the_session() {
    let (_, actions) = run(Limits::default(), [frame(0)]);
    assert_eq!(closed_because(&actions), Some(Reason::SeqZero));
    let (_, actions) = run(Limits::default(), [frame(MAX_SEQ + 1)]);
    assert_eq!(closed_because(&actions), Some(Reason::SeqOverflow));
}

#[test]
fn a_repeat_is_accepted_again_and_appended_once() {
    let (_, actions) = run(Limits::default(), [frame(1), frame(1), frame(2)]);
    assert_eq!(closed_because(&actions), None);
    assert_eq!(appended(&actions), [1, 2]);
    assert!(actions.iter().any(|action| matches!(action, Action::Send(ServerFrame::Accepted(0)))));
}

#[test]
fn an_oversize_payload_takes_its_place_in_the_log_as_a_refusal() {
    let limits = Limits { max_payload_bytes: 4, ..Limits::default() };
    let mut large = event(1);
    large.payload = bytes::Bytes::from_static(b"12345");
    let (_, actions) = run(limits, [Input::Frame(ClientFrame::Event(large)), frame(2)]);
    let Some(Action::Append(events)) = actions.iter().find(|action| matches!(action, Action::Append(_))) else {
        panic!("both events are appended, not {actions:?}");
    };
    let refused = events[0].refused.as_ref().unwrap();
    assert_eq!(refused.reason, Reason::EventTooLarge.as_str());
    assert!(refused.message.contains("payload has 5 bytes; at most 4"), "{}", refused.message);
    assert!(events[0].payload.is_empty());
    assert_eq!(events[1].refused, None);
}

#[test]
fn a_reserved_attribute_is_refused_for_good() {
    let mut reserved = event(1);
    reserved.attributes = vec![("nimbus.trick".to_owned(), "1".to_owned())];
    let (_, actions) = run(Limits::default(), [Input::Frame(ClientFrame::Event(reserved))]);
    let Some(Action::Append(events)) = actions.first() else { panic!("{actions:?}") };
    assert_eq!(events[0].refused.as_ref().unwrap().reason, Reason::InvalidEvent.as_str());
}

#[test]
fn over_the_rate_the_client_goes_back_and_what_follows_is_discarded() {
    struct Third(u32);
    impl Admission for Third {
        fn admit(&mut self) -> Result<(), Duration> {
            self.0 += 1;
            if self.0 == 3 { Err(Duration::from_millis(70)) } else { Ok(()) }
        }
    }
    let (mut session, _, now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let (mut rate, mut actions) = (Third(0), Vec::new());
    for seq in [1, 2, 3, 4, 5, 3, 4] {
        session.handle(frame(seq), &mut rate, now, &mut actions);
    }
    session.settle(&mut actions);
    let Some(Action::Send(ServerFrame::Rejected(rejected))) = actions.first() else { panic!("{actions:?}") };
    assert_eq!((rejected.seq, rejected.reason), (3, Reason::RateLimited));
    assert_eq!(rejected.retry_after, Duration::from_millis(70));
    assert_eq!(appended(&actions), [1, 2, 3, 4]);
}

#[test]
fn reading_stops_at_the_in_flight_limit_and_goes_on_after_an_accept() {
    let limits = Limits { max_in_flight: 2, ..Limits::default() };
    let (mut session, _) = run(limits, [frame(1), frame(2)]);
    assert!(!session.wants_frames());
    assert_eq!(session.held_by(), Some(Held::InFlight));
    let (_, _, now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    session.handle(Input::Appended(Ok(())), &mut Unlimited, now, &mut Vec::new());
    assert!(session.wants_frames());
    assert_eq!(session.held_by(), None);
}

#[test]
fn an_ambiguous_append_ends_the_session_and_nothing_is_refused() {
    let (_, actions) = run(Limits::default(), [frame(1)]);
    assert_eq!(appended(&actions), [1]);
    let (mut session, _) = run(Limits::default(), [frame(1)]);
    let (_, _, now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    let lost = Input::Appended(Err(LogError::Ambiguous("i/o error".to_owned())));
    session.handle(lost, &mut Unlimited, now, &mut actions);
    assert!(matches!(actions[0], Action::Send(ServerFrame::GoAway(GoAwayReason::Reset))));
    assert_eq!(closed_because(&actions), Some(Reason::AppendFailed));
}

#[test]
fn after_a_full_log_the_client_goes_back_to_the_first_lost_event_and_hears_of_it_once() {
    let (mut session, _, now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    for seq in 1..=3 {
        session.handle(frame(seq), &mut Unlimited, now, &mut actions);
        session.settle(&mut actions);
    }
    assert_eq!(appended(&actions), [1, 2, 3]);
    actions.clear();
    let outcomes = [Ok(()), Err(LogError::Full("no space".into())), Err(LogError::Unavailable("fenced".into()))];
    for outcome in outcomes {
        session.handle(Input::Appended(outcome), &mut Unlimited, now, &mut actions);
    }
    session.settle(&mut actions);
    let [Action::Send(ServerFrame::Accepted(1)), Action::Send(ServerFrame::Rejected(rejected))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((rejected.seq, rejected.reason), (2, Reason::StorageFull));
    actions.clear();
    for seq in [4, 2, 3] {
        session.handle(frame(seq), &mut Unlimited, now, &mut actions);
    }
    session.settle(&mut actions);
    assert_eq!(appended(&actions), [2, 3]);
}

#[test]
fn an_ack_beyond_what_was_sent_ends_the_session() {
    let (_, actions) = run(Limits::default(), [Input::Frame(ClientFrame::Ack(Position(101)))]);
    assert_eq!(closed_because(&actions), Some(Reason::AckBeyondSent));
}

#[test]
fn an_event_after_goodbye_ends_the_session() {
    let (_, actions) = run(Limits::default(), [Input::Frame(ClientFrame::Goodbye), frame(1)]);
    assert_eq!(closed_because(&actions), Some(Reason::EventAfterGoodbye));
}

#[test]
fn a_frame_of_an_unknown_kind_changes_nothing() {
    let (session, actions) = run(Limits::default(), [Input::Frame(ClientFrame::Unknown), frame(1)]);
    assert_eq!(appended(&actions), [1]);
    assert!(!session.is_closed());
}

#[test]
fn a_position_from_the_future_is_refused() {
    let resume = Resume { position: Position(101), answered: 0, answered_beyond: Vec::new(), foreign_epoch: false };
    let hello = Hello { resume: Some(resume), ..hello(0) };
    let refused = open(Limits::default(), &hello, opened(0, 100)).map(drop).unwrap_err();
    assert_eq!(refused.reason, Some(Reason::PositionFromTheFuture));
}

#[test]
fn resume_outcomes_follow_floor_and_log_start() {
    let outcome = |position: u64, foreign_epoch: bool| {
        let position = Position(position);
        let resume = Resume { position, answered: 0, answered_beyond: Vec::new(), foreign_epoch };
        let hello = Hello { resume: Some(resume), ..hello(0) };
        let mut opened = opened(0, 100);
        opened.range.start = Position(20);
        opened.floor = if position < Position(50) { Position(50) } else { Position(0) };
        let (_, actions, _) = open(Limits::default(), &hello, opened).unwrap();
        match &actions[0] {
            Action::Send(ServerFrame::Welcome(welcome)) => (welcome.outcome, welcome.position.0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(outcome(60, false), (ResumeOutcome::Resumed, 60));
    assert_eq!(outcome(40, false), (ResumeOutcome::FromLog, 40));
    let gap = ResumeOutcome::Gap { from: Position(10), to: Position(20) };
    assert_eq!(outcome(10, false), (gap, 20));
    let gap = ResumeOutcome::Gap { from: Position(60), to: Position(20) };
    assert_eq!(outcome(60, true), (gap, 20));
}

#[test]
fn after_a_gap_what_can_be_had_follows_without_what_the_client_has_and_nothing_is_waited_for() {
    let resume = Resume { position: Position(60), answered: 1, answered_beyond: vec![3], foreign_epoch: true };
    let hello = Hello { resume: Some(resume), first_unaccepted: 5, ..hello(0) };
    let (mut session, actions, now) = open(Limits::default(), &hello, opened(0, 100)).unwrap();
    let Some(Action::Fetch(fetch)) = actions.last() else { panic!("{actions:?}") };
    assert_eq!((fetch.from, fetch.answered, &fetch.answered_beyond[..]), (Position(0), 1, &[3][..]));
    let records = (1..=3).map(super::world::answer).collect();
    let mut actions = Vec::new();
    let page = Input::Fetched { records, through: Position(100), complete: true };
    session.handle(page, &mut Unlimited, now, &mut actions);
    let [Action::Send(ServerFrame::Delivery(delivered))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(delivered.record.seq, 2);
    session.handle(Input::HalfClosed, &mut Unlimited, now, &mut actions);
    session.settle(&mut actions);
    assert!(session.completed(), "4 may have been lost in the gap: {actions:?}");
}

#[test]
fn a_silent_client_is_pinged_and_then_given_up() {
    let (mut session, _, mut now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    assert_eq!(session.deadline(), Some(now.instant + Duration::from_secs(25)));
    now.instant += Duration::from_secs(25);
    session.handle(Input::Tick, &mut Unlimited, now, &mut actions);
    assert!(matches!(actions[..], [Action::Send(ServerFrame::Ping(_))]));
    assert_eq!(session.deadline(), Some(now.instant + Duration::from_secs(10)));
    now.instant += Duration::from_secs(10);
    session.handle(Input::Tick, &mut Unlimited, now, &mut actions);
    assert_eq!(closed_because(&actions), Some(Reason::ClientUnresponsive));
}

#[test]
fn a_client_that_takes_nothing_is_not_read_from_and_is_given_up() {
    let limits = Limits { queue_messages: 4, ..Limits::default() };
    let (mut session, _, mut now) = open(limits, &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    session.handle(frame(1), &mut Unlimited, now, &mut actions);
    session.settle(&mut actions);
    session.handle(Input::Appended(Ok(())), &mut Unlimited, now, &mut actions);
    let mut repeats = 0;
    while session.wants_frames() {
        repeats += 1;
        assert!(repeats < 10, "each repeat is answered, and nobody takes the answers");
        session.handle(frame(1), &mut Unlimited, now, &mut actions);
        session.settle(&mut actions);
    }
    for wait in [25, 10] {
        now.instant += Duration::from_secs(wait);
        session.handle(Input::Tick, &mut Unlimited, now, &mut actions);
    }
    assert_eq!(closed_because(&actions), Some(Reason::ClientUnresponsive));
}

#[test]
fn a_client_that_is_not_read_from_for_want_of_room_in_the_log_is_not_given_up() {
    let (mut session, _, mut now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    for _ in 0..10 {
        now.instant += Duration::from_secs(10);
        session.handle(Input::NotReading, &mut Unlimited, now, &mut actions);
        session.handle(Input::Tick, &mut Unlimited, now, &mut actions);
    }
    assert_eq!(closed_because(&actions), None);
}

#[test]
fn a_pong_keeps_the_session() {
    let (mut session, _, mut now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    for _ in 0..10 {
        now.instant += Duration::from_secs(25);
        session.handle(Input::Tick, &mut Unlimited, now, &mut actions);
        session.handle(Input::Frame(ClientFrame::Pong), &mut Unlimited, now, &mut actions);
    }
    assert_eq!(actions.len(), 10, "ten pings and nothing else");
    assert!(!session.is_closed());
}

#[test]
fn a_drain_waits_for_appends_and_a_superseded_session_does_not() {
    let (mut session, _) = run(Limits::default(), [frame(1)]);
    let (_, _, now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    let mut actions = Vec::new();
    session.handle(Input::Drain, &mut Unlimited, now, &mut actions);
    session.settle(&mut actions);
    assert!(matches!(actions[..], [Action::Send(ServerFrame::GoAway(GoAwayReason::Draining))]));
    assert!(!session.wants_frames());
    session.handle(Input::Appended(Ok(())), &mut Unlimited, now, &mut actions);
    session.settle(&mut actions);
    assert!(matches!(actions[1], Action::Send(ServerFrame::Accepted(1))));
    assert_eq!(closed_because(&actions), Some(Reason::Draining));

    let (_, actions) = run(Limits::default(), [frame(1), Input::Superseded]);
    assert_eq!(closed_because(&actions), Some(Reason::Superseded));
}

/// There is no frame to say it with; silence would lose the event without a word.
#[test]
fn a_transient_refusal_ends_a_stream_of_the_original_protocol() {
    let (_, _, now) = open(Limits::default(), &hello(0), opened(0, 100)).unwrap();
    for (inputs, reason) in [
        (vec![frame(1), Input::Appended(Err(LogError::Full("full".into())))], Reason::StorageFull),
        (vec![frame(1), Input::Frame(ClientFrame::Event(event(2)))], Reason::RateLimited),
    ] {
        let (mut actions, hello) = (Vec::new(), hello(0));
        let mut session = Session::open(original(&hello), now, &mut actions).unwrap();
        let mut admission = OneEvent(false);
        for input in inputs {
            session.handle(input, &mut admission, now, &mut actions);
            if reason == Reason::StorageFull {
                session.settle(&mut actions);
            }
        }
        session.settle(&mut actions);
        assert_eq!(closed_because(&actions), Some(reason));
        assert_eq!(appended(&actions), [1], "what came before the refusal stands");
    }
}

/// Admits one event.
struct OneEvent(bool);

impl Admission for OneEvent {
    fn admit(&mut self) -> Result<(), Duration> {
        if std::mem::replace(&mut self.0, true) { Err(Duration::from_secs(1)) } else { Ok(()) }
    }
}

fn original(hello: &Hello) -> Start<'_> {
    Start {
        dialect: Dialect::Original,
        limits: Limits { original_flight: Duration::from_secs(5), ..Limits::default() },
        id: SessionId(ulid::Ulid(1)),
        origin: std::sync::Arc::new(super::world::origin()),
        hello,
        opened: opened(0, 100),
    }
}

/// An open stream of the original protocol, and how it takes inputs so many milliseconds after its beginning, one after a beat.
fn originals() -> (Session, impl FnMut(&mut Session, u64, Input) -> Vec<Action>, Instant) {
    let now = Now { instant: Instant::now(), unix: UnixMillis(1_001) };
    let mut actions = Vec::new();
    let hello = hello(0);
    let session = Session::open(original(&hello), now, &mut actions).unwrap();
    assert!(actions.iter().all(|action| matches!(action, Action::Fetch(_))), "no Welcome: {actions:?}");
    assert_eq!(session.deadline(), None);
    let take = move |session: &mut Session, millis, input| {
        let mut actions = Vec::new();
        let now = Now { instant: now.instant + Duration::from_millis(millis), unix: UnixMillis(now.unix.0 + millis) };
        session.handle(input, &mut Unlimited, now, &mut actions);
        actions
    };
    (session, take, now.instant)
}

#[test]
fn rule_26_a_result_counts_as_delivered_when_its_client_was_heard_of_after_it() {
    let (mut session, mut take, began) = originals();
    let at = |millis| began + Duration::from_millis(millis);
    take(&mut session, 0, Input::HandedOver(Position(5)));
    // What the client sent before may take so long, and this is looked at on a beat.
    assert_eq!(session.deadline(), Some(at(5_199)));
    take(&mut session, 5_199, Input::Heard(at(5_198)));
    assert!(take(&mut session, 5_199, Input::Tick).is_empty(), "it may have been sent before");
    // Once in a while, and not all the time.
    assert_eq!(session.deadline(), Some(at(10_199)));
    assert!(take(&mut session, 10_199, Input::Tick).is_empty(), "nothing came");
    assert_eq!(session.deadline(), Some(at(15_199)));
    take(&mut session, 15_199, Input::Heard(at(5_199)));
    let acked = take(&mut session, 15_199, Input::Tick);
    assert!(matches!(acked[..], [Action::Ack(Position(5))]), "{acked:?}");
    assert_eq!(session.deadline(), None);
    // What was noted is not noted again.
    take(&mut session, 16_000, Input::HandedOver(Position(5)));
    assert_eq!(session.deadline(), None);
}

#[test]
fn rule_26_what_is_written_all_the_time_counts_in_time() {
    let (mut session, mut take, began) = originals();
    let (mut acked, mut most_waiting) = (0, 0);
    for millis in (0..120_000).step_by(10) {
        take(&mut session, millis, Input::HandedOver(Position(millis + 1)));
        let now = began + Duration::from_millis(millis);
        if session.deadline().is_some_and(|deadline| deadline <= now) {
            // What came last came before the look.
            take(&mut session, millis, Input::Heard(now - Duration::from_millis(1)));
            if let Some(Action::Ack(Position(position))) = take(&mut session, millis, Input::Tick).pop() {
                acked = position;
            }
        }
        most_waiting = most_waiting.max(millis - acked.min(millis));
    }
    assert!(acked > 105_000, "{acked}");
    assert!(
        most_waiting < 12_500,
        "the flight, and once more until it is looked at again, two grains, two beats: {most_waiting} ms"
    );
}

#[test]
fn rule_26_a_client_that_is_not_heard_of_has_nothing_delivered_and_costs_little() {
    let (mut session, mut take, began) = originals();
    let mut looks = 0;
    for millis in (0..600_000).step_by(100) {
        take(&mut session, millis, Input::HandedOver(Position(millis + 1)));
        if session.deadline().is_some_and(|deadline| deadline <= began + Duration::from_millis(millis)) {
            looks += 1;
            take(&mut session, millis, Input::Heard(began + Duration::from_secs(4)));
            assert!(take(&mut session, millis, Input::Tick).is_empty());
        }
    }
    let waiting = format!("{session:?}").matches("Position(").count();
    assert!(waiting < 150, "{waiting} writes are remembered");
    assert!(looks < 125, "once in a flight time: {looks}");
    // Then it is back, and all of it was received.
    let later = 700_000;
    take(&mut session, later, Input::Heard(began + Duration::from_millis(later)));
    assert!(matches!(take(&mut session, later, Input::Tick)[..], [Action::Ack(Position(599_901))]));
}

/// Rule 16 and rule 18: between its claim and its read the mailbox lost its memory. What it says then is not the end, or a
/// notification from before the loss would be sent as the next one, over everything that has yet to be folded in again.
#[test]
fn rule_18_a_read_that_ends_before_the_claim_is_not_the_end() {
    let mut claimed = opened(0, 100);
    claimed.claimed.applied = Position(30);
    let (mut session, opening, now) = open(Limits::default(), &hello(0), claimed).unwrap();
    let mut input = |input| {
        let mut actions = Vec::new();
        session.handle(input, &mut Unlimited, now, &mut actions);
        session.settle(&mut actions);
        actions
    };
    let page = |records: Vec<Stored<ResultRecord>>, through| Input::Fetched { records, through, complete: true };
    let fetched = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Fetch(fetch) => Some((fetch.from, fetch.pause.is_zero())),
            _ => None,
        })
    };
    let sent = |actions: &[Action]| {
        let send = |action: &Action| match action {
            Action::Send(ServerFrame::Delivery(stored)) => Some(stored.offset.0),
            _ => None,
        };
        actions.iter().filter_map(send).collect::<Vec<_>>()
    };
    let at = |offset, seq| Stored { offset: Offset(offset), ..answer(seq) };
    assert_eq!(fetched(&opening), Some((Position(0), true)));
    // An emptied mailbox, and then a notification that was on its way since before.
    assert_eq!(fetched(&input(page(Vec::new(), Position(0)))), Some((Position(0), true)));
    assert!(sent(&input(Input::Notified(Arc::from([at(31, 3)])))).is_empty());
    let again = fetched(&input(page(Vec::new(), Position(0))));
    assert_eq!(again, Some((Position(0), false)), "it waits before it asks the third time");
    // It is being filled, and then it is where it was.
    let actions = input(page(vec![at(20, 1)], Position(21)));
    assert_eq!((sent(&actions), fetched(&actions)), (vec![20], Some((Position(21), true))));
    let actions = input(page(vec![at(25, 2), at(31, 3)], Position(32)));
    assert_eq!((sent(&actions), fetched(&actions)), (vec![25, 31], None), "live");
    assert_eq!(sent(&input(Input::Notified(Arc::from([at(40, 4)])))), [40]);
}
