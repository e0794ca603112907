//! Single rules of the machine, each by name.

use std::time::Duration;

use bytes::Bytes;
use nimbus_proto::v1::{
    self, PartKind, ResumeOutcome, client_frame::Kind as Up, delivery::Source, server_frame::Kind as Down,
};
use tokio::time::Instant;

use crate::{
    Event, ExtraKind, Incoming, Outcome, Resumed, State,
    machine::{Loss, Machine, Memory, Options},
};

const OUTBOX: Bytes = Bytes::from_static(&[7; 16]);

struct Bench {
    machine: Machine,
    now: Instant,
    generation: u64,
}

impl Bench {
    fn new() -> Self {
        Self::remembering(Memory::default())
    }

    fn remembering(memory: Memory) -> Self {
        let options = Options {
            client_id: "device-1".to_owned(),
            outbox_id: OUTBOX,
            sdk: String::new(),
            receive_window: 8,
            unknown_after: Duration::from_secs(60),
            keeps_records: false,
            seed: 1,
        };
        let now = Instant::now();
        Self { machine: Machine::new(options, memory, now), now, generation: 0 }
    }

    fn live() -> Self {
        let mut bench = Self::new();
        bench.connect(|_| {});
        bench
    }

    fn connect(&mut self, change: impl FnOnce(&mut v1::Welcome)) -> v1::Hello {
        self.pass(Duration::from_secs(31));
        assert!(self.machine.should_connect(self.now));
        self.generation = self.machine.begin_connect(self.now);
        let Some(Up::Hello(hello)) = self.frame() else { panic!("no hello") };
        let resumed = hello.resume.is_some();
        let mut welcome = v1::Welcome {
            accepted_seq: hello.first_unaccepted - 1,
            resume_outcome: if resumed { ResumeOutcome::Resumed } else { ResumeOutcome::New } as i32,
            resume_token: Bytes::from_static(b"token"),
            position: 100,
            ping_interval_ms: 25_000,
            limits: Some(v1::Limits { max_payload_bytes: 1000, max_in_flight: 100, receive_window: 8 }),
            ..v1::Welcome::default()
        };
        change(&mut welcome);
        self.hear(Down::Welcome(welcome));
        hello
    }

    fn hear(&mut self, kind: Down) {
        self.machine.frame(self.now, self.generation, v1::ServerFrame { kind: Some(kind) });
    }

    fn answer(&mut self, position: u64, seq: u64) {
        self.answer_in(v1::Lane::Ordered, position, seq);
    }

    fn answer_in(&mut self, lane: v1::Lane, position: u64, seq: u64) {
        let lane = lane as i32;
        let result = v1::ResultOf { outbox_id: OUTBOX, seq, attempt: 1, lane, ..Default::default() };
        self.hear(Down::Delivery(v1::Delivery {
            position,
            source: Some(Source::Result(result)),
            kind: PartKind::Final as i32,
            ..Default::default()
        }));
    }

    fn send(&mut self) -> u64 {
        self.machine.send(Event::new("sq", "1")).unwrap()
    }

    /// As the connection task does: what is due is kept first.
    fn frame(&mut self) -> Option<Up> {
        if self.machine.records_due(self.now) {
            let (_, checkpoint) = self.machine.take_records();
            self.machine.recorded(checkpoint);
        }
        self.machine.next_frame(self.now, self.generation).map(|frame| frame.kind.unwrap())
    }

    /// `recv`.
    fn receive(&mut self) -> Option<Incoming> {
        let receipt = self.machine.last_receipt();
        self.machine.acknowledge(self.now, receipt);
        self.machine.receive().map(|(item, _)| item)
    }

    /// Lets time pass, minding every deadline on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end && *at > self.now) {
            self.now = at;
            self.machine.tick(at);
        }
        self.now = end;
        self.machine.tick(end);
    }

    /// Lets time pass on a connection whose server is heard of.
    fn pass_connected(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(Duration::from_secs(10).min(end - self.now));
            assert!(self.is_live());
            self.hear(Down::Ping(v1::Ping::default()));
        }
    }

    fn lose(&mut self) {
        self.machine.lost(self.now, self.generation, Loss::Retry { after: Duration::ZERO, why: String::new() });
    }

    fn is_live(&self) -> bool {
        matches!(self.machine.state(), State::Connected(_))
    }
}

#[test]
fn a_quarter_of_the_window_is_acked_at_once_and_less_after_50_ms() {
    let mut bench = Bench::live();
    (1..=3).for_each(|seq| {
        bench.send();
        assert!(matches!(bench.frame(), Some(Up::Event(_))));
        bench.answer(100 + seq, seq);
    });
    bench.receive();
    bench.receive();
    assert!(bench.frame().is_none(), "one of eight is not a quarter");
    bench.receive();
    assert_eq!(bench.frame(), Some(Up::Ack(v1::Ack { position: 102 })));
    assert!(bench.receive().is_none());
    assert!(bench.frame().is_none());
    bench.pass(Duration::from_millis(50));
    assert_eq!(bench.frame(), Some(Up::Ack(v1::Ack { position: 103 })));
    assert!(bench.frame().is_none());
}

#[test]
fn silence_for_two_ping_intervals_ends_a_session() {
    let mut bench = Bench::live();
    bench.pass(Duration::from_secs(49));
    bench.hear(Down::Ping(v1::Ping { bookmark: 100 }));
    assert_eq!(bench.frame(), Some(Up::Pong(v1::Pong {})));
    bench.pass(Duration::from_secs(49));
    assert!(bench.is_live());
    bench.pass(Duration::from_secs(1));
    assert!(!bench.is_live());
}

#[test]
fn after_a_goodbye_silence_is_no_news() {
    let mut bench = Bench::live();
    bench.send();
    bench.machine.finish(bench.now);
    assert!(matches!(bench.frame(), Some(Up::Event(_))));
    assert!(bench.frame().is_none(), "no goodbye before everything is accepted");
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 1 }));
    assert!(matches!(bench.frame(), Some(Up::Goodbye(_))));
    bench.pass(Duration::from_secs(3600));
    assert!(bench.is_live());
    bench.answer(101, 1);
    // The server ends the stream; one that forgets to is left.
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.machine.state(), State::Closed));
    assert!(matches!(bench.receive(), Some(Incoming::Answer(_))));
}

#[test]
fn a_bookmark_waits_for_what_came_before_it() {
    let mut bench = Bench::live();
    bench.send();
    bench.answer(101, 1);
    bench.hear(Down::Ping(v1::Ping { bookmark: 500 }));
    bench.lose();
    let position = |hello: &v1::Hello| hello.resume.as_ref().unwrap().position;
    assert_eq!(position(&bench.connect(|_| {})), 100);
    bench.receive();
    bench.lose();
    assert_eq!(position(&bench.connect(|_| {})), 100, "the application still has it in hand");
    assert!(bench.receive().is_none());
    bench.lose();
    assert_eq!(position(&bench.connect(|_| {})), 500);
}

#[test]
fn an_ack_never_names_more_than_this_stream_delivered() {
    let mut bench = Bench::live();
    (1..=4).for_each(|seq| {
        bench.send();
        assert!(matches!(bench.frame(), Some(Up::Event(_))));
        bench.answer(100 + seq, seq);
    });
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 4 }));
    bench.lose();
    bench.connect(|_| {});
    (0..5).for_each(|_| drop(bench.receive()));
    bench.pass(Duration::from_secs(1));
    assert!(bench.frame().is_none(), "nothing was delivered on this stream");
    // The same again, from the server's point of view: its credit must come back.
    bench.answer(101, 1);
    bench.answer(102, 2);
    assert_eq!(bench.frame(), Some(Up::Ack(v1::Ack { position: 102 })));
    assert!(bench.receive().is_none());
}

/// Accepted events 1 to 3, and a gap.
fn gap() -> Bench {
    let mut bench = Bench::live();
    for _ in 0..3 {
        bench.send();
        assert!(matches!(bench.frame(), Some(Up::Event(_))));
    }
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 3 }));
    bench.lose();
    bench.connect(|welcome| {
        welcome.resume_outcome = ResumeOutcome::Gap as i32;
        welcome.gap = Some(v1::Gap { from: 100, to: 500 });
    });
    assert!(matches!(bench.receive(), Some(Incoming::Gap(gap)) if (gap.from, gap.to) == (100, 500)));
    bench
}

fn unknown(item: Option<Incoming>) -> u64 {
    match item {
        Some(Incoming::Answer(answer)) if answer.outcome == Outcome::Unknown => answer.seq.get(),
        other => panic!("{other:?}"),
    }
}

fn answered(item: Option<Incoming>) -> u64 {
    match item {
        Some(Incoming::Answer(answer)) if answer.outcome != Outcome::Unknown => answer.seq.get(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_gap_an_answer_says_nothing_about_what_it_overtook() {
    for overtaking in [v1::Lane::Ordered, v1::Lane::Jobs, v1::Lane::Unspecified] {
        let mut bench = gap();
        bench.answer_in(overtaking, 501, 3);
        assert_eq!(answered(bench.receive()), 3);
        assert!(bench.receive().is_none(), "1 and 2 may be jobs that still run");
        bench.answer_in(v1::Lane::Jobs, 502, 1);
        assert_eq!(answered(bench.receive()), 1);
        bench.pass_connected(Duration::from_secs(60));
        assert_eq!(unknown(bench.receive()), 2);
        // Events from after the gap are no suspects.
        let seq = bench.send();
        bench.pass_connected(Duration::from_secs(80));
        assert!(bench.receive().is_none());
        bench.answer(503, seq);
        assert_eq!(answered(bench.receive()), seq);
    }
}

#[test]
fn after_a_gap_whoever_goes_on_sending_does_not_wait_longer() {
    let mut bench = gap();
    for _ in 0..5 {
        let seq = bench.send();
        while !matches!(bench.frame(), Some(Up::Event(_))) {}
        bench.hear(Down::Accepted(v1::Accepted { up_to_seq: seq }));
        bench.pass_connected(Duration::from_secs(10));
        assert!(bench.receive().is_none());
    }
    bench.pass_connected(Duration::from_secs(10));
    for seq in 1..=3 {
        assert_eq!(unknown(bench.receive()), seq);
    }
    assert!(bench.receive().is_none());
}

#[test]
fn after_a_gap_connections_that_do_not_hold_do_not_wait_longer() {
    let mut bench = gap();
    assert!(bench.receive().is_none());
    for _ in 0..2 {
        bench.pass_connected(Duration::from_secs(29));
        assert!(bench.receive().is_none());
        bench.lose();
        // The way back does not count.
        bench.pass(Duration::from_secs(600));
        bench.connect(|_| {});
    }
    // What has come meanwhile gets its time to be read.
    bench.pass_connected(Duration::from_secs(4));
    assert!(bench.receive().is_none());
    bench.pass_connected(Duration::from_secs(1));
    assert_eq!(unknown(bench.receive()), 1);
}

#[test]
fn after_a_gap_what_is_accepted_only_later_has_its_time_too() {
    let mut bench = Bench::live();
    for _ in 0..2 {
        bench.send();
        assert!(matches!(bench.frame(), Some(Up::Event(_))));
    }
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 1 }));
    bench.lose();
    bench.connect(|welcome| {
        welcome.resume_outcome = ResumeOutcome::Gap as i32;
        welcome.gap = Some(v1::Gap { from: 100, to: 500 });
    });
    assert!(matches!(bench.receive(), Some(Incoming::Gap(_))));
    bench.pass_connected(Duration::from_secs(50));
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 2 }));
    bench.pass_connected(Duration::from_secs(59));
    assert!(bench.receive().is_none());
    bench.pass_connected(Duration::from_secs(1));
    assert_eq!(unknown(bench.receive()), 1);
    assert_eq!(unknown(bench.receive()), 2);
}

#[test]
fn after_a_gap_what_the_client_does_not_read_is_not_given_up() {
    let mut bench = gap();
    bench.receive();
    for position in 501..=516 {
        let push = v1::PushOf { request_id: position.to_string() };
        bench.hear(Down::Delivery(v1::Delivery { position, source: Some(Source::Push(push)), ..Default::default() }));
    }
    assert!(bench.machine.is_full());
    bench.pass(Duration::from_secs(500));
    for _ in 501..=516 {
        assert!(matches!(bench.receive(), Some(Incoming::Push(_))));
    }
    assert!(bench.receive().is_none());
    bench.pass_connected(Duration::from_secs(5));
    assert_eq!(unknown(bench.receive()), 1);
}

#[test]
fn after_a_gap_finish_ends_though_the_server_waits() {
    let mut bench = gap();
    bench.receive();
    bench.answer(501, 3);
    bench.machine.finish(bench.now);
    bench.lose();
    // It resumes from after the gap: the server knows nothing of one, and waits for 1 and 2 for ever.
    bench.connect(|_| {});
    while !matches!(bench.frame(), Some(Up::Goodbye(_))) {}
    bench.pass(Duration::from_secs(60));
    assert_eq!(answered(bench.receive()), 3);
    assert_eq!(unknown(bench.receive()), 1);
    assert_eq!(unknown(bench.receive()), 2);
    assert!(bench.receive().is_none());
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.machine.state(), State::Closed));
}

/// A restart from a file with three events in it and no place: the process died before its first Welcome was kept.
fn without_a_place() -> Bench {
    let event = |seq| v1::Event { seq, name: "sq".to_owned(), ..Default::default() };
    Bench::remembering(Memory { session_no: 1, events: (1..=3).map(event).collect(), ..Memory::default() })
}

fn gap_from_the_start(welcome: &mut v1::Welcome) {
    welcome.accepted_seq = 2;
    welcome.resume_outcome = ResumeOutcome::Gap as i32;
    welcome.gap = Some(v1::Gap { from: 100, to: 500 });
    welcome.position = 500;
}

fn is_with_gap(bench: &Bench) -> bool {
    matches!(bench.machine.state(), State::Connected(session) if session.resumed == Resumed::WithGap)
}

#[test]
fn a_client_that_lost_its_first_welcome_hears_of_a_gap() {
    let mut bench = without_a_place();
    assert!(bench.connect(gap_from_the_start).resume.is_none());
    assert!(is_with_gap(&bench));
    bench.lose();
    // Not acknowledged, so a restart must hear of it again; this process has heard.
    assert!(bench.connect(gap_from_the_start).resume.is_none());
    assert!(matches!(bench.receive(), Some(Incoming::Gap(gap)) if (gap.from, gap.to) == (100, 500)));
    assert!(bench.receive().is_none());
    bench.lose();
    let resume = bench.connect(|_| {}).resume.unwrap();
    assert_eq!((&resume.token[..], resume.position), (&b"token"[..], 500));
    assert!(matches!(bench.frame(), Some(Up::Event(event)) if event.seq == 3));
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 3 }));
    bench.answer(501, 2);
    assert_eq!(answered(bench.receive()), 2);
    bench.machine.finish(bench.now);
    bench.pass_connected(Duration::from_secs(60));
    assert_eq!(unknown(bench.receive()), 1);
    assert_eq!(unknown(bench.receive()), 3);
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.machine.state(), State::Closed));
}

#[test]
fn a_gap_in_hand_outlives_a_reconnect_that_has_none() {
    let mut bench = without_a_place();
    bench.connect(gap_from_the_start);
    bench.lose();
    bench.connect(|welcome| {
        welcome.resume_outcome = ResumeOutcome::Resumed as i32;
        welcome.accepted_seq = 2;
    });
    assert!(matches!(bench.receive(), Some(Incoming::Gap(_))));
    assert!(bench.receive().is_none());
    bench.lose();
    assert_eq!(bench.connect(|_| {}).resume.unwrap().position, 500);
}

#[test]
fn a_gap_in_hand_does_not_hide_that_the_log_is_another_one() {
    let mut bench = without_a_place();
    bench.connect(gap_from_the_start);
    bench.lose();
    bench.connect(|welcome| {
        welcome.resume_outcome = ResumeOutcome::Resumed as i32;
        welcome.resume_token = Bytes::from_static(b"another");
        welcome.accepted_seq = 2;
    });
    bench.answer(101, 1);
    assert!(matches!(bench.receive(), Some(Incoming::Gap(gap)) if gap.to == 500));
    assert!(matches!(bench.receive(), Some(Incoming::Gap(gap)) if gap.to == 100));
    assert_eq!(answered(bench.receive()), 1);
}

#[test]
fn a_client_without_a_place_may_also_have_missed_pushes() {
    let mut bench = Bench::new();
    bench.connect(|welcome| {
        gap_from_the_start(welcome);
        welcome.accepted_seq = 0;
    });
    assert!(matches!(bench.receive(), Some(Incoming::Gap(_))));
    assert!(bench.receive().is_none());
}

#[test]
fn a_server_that_begins_anew_though_it_had_events_left_something_out() {
    let mut bench = without_a_place();
    bench.connect(|welcome| {
        welcome.accepted_seq = 2;
        welcome.position = 800;
    });
    assert!(is_with_gap(&bench));
    assert!(matches!(bench.receive(), Some(Incoming::Gap(gap)) if gap.to == 800));
    bench.pass_connected(Duration::from_secs(60));
    assert_eq!(unknown(bench.receive()), 1);
    assert_eq!(unknown(bench.receive()), 2);
    assert!(bench.receive().is_none());
}

#[test]
fn a_first_welcome_is_no_gap() {
    let mut bench = without_a_place();
    bench.connect(|_| {});
    assert!(bench.receive().is_none());
    bench.lose();
    assert_eq!(bench.connect(|_| {}).resume.unwrap().position, 100);
}

#[test]
fn after_a_gap_what_does_not_come_in_time_is_unknown_and_late_if_it_comes() {
    let mut bench = gap();
    for _ in 0..2 {
        bench.pass(Duration::from_millis(29_900));
        bench.hear(Down::Ping(v1::Ping::default()));
        assert!(bench.receive().is_none());
    }
    bench.pass(Duration::from_secs(1));
    for seq in 1..=3 {
        assert_eq!(unknown(bench.receive()), seq);
    }
    bench.answer(501, 2);
    match bench.receive() {
        Some(Incoming::Extra(extra)) => assert_eq!((extra.kind, extra.seq.get()), (ExtraKind::Late, 2)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_gap_the_end_of_a_goodbye_settles_what_is_left() {
    let mut bench = gap();
    bench.machine.finish(bench.now);
    assert!(matches!(bench.frame(), Some(Up::Goodbye(_))));
    bench.machine.lost(bench.now, bench.generation, Loss::Ended);
    for seq in 1..=3 {
        assert_eq!(unknown(bench.receive()), seq);
    }
    assert!(bench.receive().is_none());
    assert!(matches!(bench.machine.state(), State::Closed));
}

#[test]
fn a_gap_that_the_client_has_received_is_none() {
    let mut bench = Bench::live();
    bench.send();
    bench.answer(700, 1);
    bench.lose();
    bench.connect(|welcome| {
        welcome.resume_outcome = ResumeOutcome::Gap as i32;
        welcome.gap = Some(v1::Gap { from: 100, to: 500 });
    });
    assert!(matches!(bench.receive(), Some(Incoming::Answer(_))));
    assert!(bench.receive().is_none());
}

#[test]
fn a_server_that_begins_anew_left_something_out() {
    let mut bench = Bench::live();
    bench.lose();
    bench.connect(|welcome| {
        welcome.resume_outcome = ResumeOutcome::New as i32;
        welcome.position = 800;
    });
    assert!(matches!(bench.receive(), Some(Incoming::Gap(gap)) if (gap.from, gap.to) == (100, 800)));
}

#[test]
fn a_replayed_answer_settles_nothing() {
    let mut bench = Bench::live();
    let seq = bench.send();
    let result = v1::ResultOf { outbox_id: OUTBOX, seq, attempt: 1, replay_no: 1, ..Default::default() };
    bench.hear(Down::Delivery(v1::Delivery {
        position: 101,
        source: Some(Source::Result(result)),
        kind: PartKind::Final as i32,
        ..Default::default()
    }));
    assert!(matches!(bench.receive(), Some(Incoming::Extra(extra)) if extra.kind == ExtraKind::Replay));
    assert_eq!(bench.machine.unanswered(), 1);
}

#[test]
fn what_a_newer_server_says_is_passed_over() {
    let mut bench = Bench::live();
    bench.machine.frame(bench.now, bench.generation, v1::ServerFrame { kind: None });
    bench.hear(Down::Delivery(v1::Delivery { position: 101, source: None, kind: 77, ..Default::default() }));
    assert!(bench.receive().is_none());
    assert!(bench.is_live());
    bench.lose();
    assert_eq!(bench.connect(|_| {}).resume.unwrap().position, 101);
}

#[test]
fn a_server_that_breaks_the_protocol_is_left_and_tried_again() {
    let mut bench = Bench::live();
    bench.hear(Down::Welcome(v1::Welcome::default()));
    assert!(matches!(bench.machine.state(), State::Waiting { .. }));
    bench.pass(Duration::from_secs(31));
    bench.generation = bench.machine.begin_connect(bench.now);
    bench.hear(Down::Accepted(v1::Accepted { up_to_seq: 0 }));
    assert!(matches!(bench.machine.state(), State::Waiting { .. }));
}

#[test]
fn an_unanswered_connect_is_given_up() {
    let mut bench = Bench::new();
    bench.generation = bench.machine.begin_connect(bench.now);
    bench.pass(Duration::from_secs(9));
    assert!(matches!(bench.machine.state(), State::Connecting));
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.machine.state(), State::Waiting { .. }));
}

#[test]
fn waits_grow_until_a_session_holds() {
    let mut bench = Bench::live();
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        bench.lose();
        let State::Waiting { delay, .. } = bench.machine.state() else { panic!() };
        longest = longest.max(delay);
        bench.connect(|_| {});
    }
    assert!(longest > Duration::from_secs(2), "{longest:?}");
    bench.pass(Duration::from_secs(5));
    bench.lose();
    let State::Waiting { delay, .. } = bench.machine.state() else { panic!() };
    assert!(delay <= Duration::from_millis(250), "{delay:?}");
}

#[test]
fn a_full_inbox_reads_no_more() {
    let mut bench = Bench::live();
    for seq in 1..=16 {
        bench.send();
        assert!(!bench.machine.is_full());
        bench.answer(100 + seq, seq);
    }
    assert!(bench.machine.is_full());
    // The silence is its own.
    bench.pass(Duration::from_secs(500));
    assert!(bench.is_live());
    bench.receive();
    bench.receive();
    assert!(!bench.machine.is_full());
}

#[test]
fn whoever_is_asked_to_move_moves_at_once_and_whoever_was_just_let_in_waits_its_turn() {
    let go_away = |retry_after_ms| {
        let reason = v1::GoAwayReason::Draining.into();
        Down::GoAway(v1::GoAway { reason, retry_after_ms })
    };
    let mut bench = Bench::live();
    bench.pass_connected(Duration::from_secs(5));
    bench.hear(go_away(0));
    bench.lose();
    assert!(bench.machine.should_connect(bench.now), "a stream that is asked to move is no failure");

    let mut bench = Bench::live();
    bench.pass_connected(Duration::from_secs(5));
    bench.hear(go_away(300));
    bench.lose();
    assert!(!bench.machine.should_connect(bench.now));
    bench.pass(Duration::from_millis(300));
    assert!(bench.machine.should_connect(bench.now), "when the server said");

    // One server after the other that turns it away again at once must not make it spin.
    let mut bench = Bench::live();
    bench.hear(go_away(0));
    bench.lose();
    assert!(!bench.machine.should_connect(bench.now));
}
