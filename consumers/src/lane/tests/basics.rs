//! One event and its answer.

use super::{probe::Probe, *};

#[tokio::test(start_paused = true)]
async fn an_event_is_answered_by_its_executor() {
    let bench = Bench::new(4);
    let running = bench.start();
    let mut client = Client::new("c");
    bench.events.put(client.event("sq", "7"));
    let answer = bench.answers(1).await.remove(0);
    assert_eq!(brief(&answer), "c/1 Final 49");
    assert_eq!((answer.attempt, answer.part_no, answer.lane), (1, 0, Lane::Ordered));
    assert_eq!(&*answer.edge_context, b"edge");
    bench.settled().await;
    assert_eq!(bench.metric(r#"nimbus_executor_events_total{executor="sq",outcome="final"}"#), 1);
    running.stop().await;
    assert_eq!(bench.metric(r#"nimbus_executor_in_hand{lane="ordered"}"#), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_answered_in_its_place_and_not_executed() {
    let bench = Bench::new(1);
    let mut client = Client::new("c");
    for event in [client.event("sq", "2"), client.refused("EVENT_TOO_LARGE"), client.event("sq", "3")] {
        bench.events.put(event);
    }
    let running = bench.start();
    assert_eq!(bench.briefs(3).await, ["c/1 Final 4", "c/2 Error EVENT_TOO_LARGE", "c/3 Final 9"]);
    assert_eq!(bench.metric("nimbus_executor_refused_total"), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_past_its_deadline_is_answered_and_not_executed() {
    let probe = Probe::new("probe");
    let bench = Bench::new(1).with(probe.clone());
    let mut client = Client::new("c");
    bench.events.put(client.event("probe", "later 5000"));
    bench.events.put(client.with_deadline("probe", "now", Duration::from_secs(2)));
    bench.events.put(client.with_deadline("probe", "now", Duration::from_secs(60)));
    let running = bench.start();
    let answers = bench.briefs(3).await;
    assert_eq!(answers, ["c/1 Final later", "c/2 Error DEADLINE_EXCEEDED", "c/3 Final now"]);
    assert_eq!(probe.runs("c", 2), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_ends_at_the_deadline() {
    let bench = Bench::new(1).configured(|config| {
        config.retry.base = Duration::from_secs(10);
        config.retry.max = Duration::from_secs(10);
    });
    let mut client = Client::new("c");
    bench.events.put(client.with_deadline("fail", r#"{"kind":"transient"}"#, Duration::from_secs(3)));
    let began = Instant::now();
    let running = bench.start();
    assert_eq!(bench.briefs(1).await, ["c/1 Error DEADLINE_EXCEEDED"]);
    assert_eq!(began.elapsed().as_secs(), 3);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_waits_out_the_grace_alone() {
    let bench = Bench::new(1);
    let began = Instant::now();
    let running = bench.start();
    let (mut lost, mut other) = (Client::new("lost"), Client::new("other"));
    bench.events.put(lost.event("nobody", ""));
    bench.events.put(lost.event("nobody-either", ""));
    bench.events.put(lost.event("sq", "2"));
    bench.events.put(other.event("sq", "3"));
    assert_eq!(bench.briefs(1).await, ["other/1 Final 9"]);
    assert!(began.elapsed() < Duration::from_secs(1));
    let answers = bench.briefs(4).await;
    assert_eq!(answers[1..], ["lost/1 Error UNKNOWN_EVENT", "lost/2 Error UNKNOWN_EVENT", "lost/3 Final 4"]);
    assert_eq!(began.elapsed().as_secs(), 30, "the grace counts from the receipt, not one after the other");
    assert_eq!(bench.metric("nimbus_executor_unknown_names_total"), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_grace_an_unknown_name_is_answered_at_once() {
    let bench = Bench::new(1).configured(|config| config.unknown_grace = Duration::ZERO);
    let began = Instant::now();
    let running = bench.start();
    bench.events.put(Client::new("c").event("nobody", ""));
    assert_eq!(bench.briefs(1).await, ["c/1 Error UNKNOWN_EVENT"]);
    assert!(began.elapsed() < Duration::from_secs(1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deploy_within_the_grace_brings_the_executor() {
    let bench = Bench::new(1);
    let old = bench.start();
    let mut client = Client::new("c");
    bench.events.put(client.event("probe", "now"));
    bench.events.put(client.event("sq", "2"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    old.stop().await;
    let bench = bench.with(Probe::new("probe"));
    let new = bench.start();
    assert_eq!(bench.briefs(2).await, ["c/1 Final now", "c/2 Final 4"]);
    new.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_and_only_its_client_waits() {
    let bench = Bench::new(1);
    let running = bench.start();
    let (mut slow, mut quick) = (Client::new("slow"), Client::new("quick"));
    bench.events.put(slow.event("fail", r#"{"kind":"transient","times":3}"#));
    bench.events.put(slow.event("sq", "2"));
    for number in 0..100 {
        bench.events.put(quick.event("sq", &number.to_string()));
    }
    let answers = bench.answers(100).await;
    assert!(answers.iter().all(|answer| answer.origin.client.as_str() == "quick"));
    let answers = bench.answers(102).await;
    assert_eq!(brief(&answers[100]), r#"slow/1 Final {"attempt":4}"#);
    assert_eq!(answers[100].attempt, 4);
    assert_eq!(brief(&answers[101]), "slow/2 Final 4");
    assert_eq!(bench.metric(r#"nimbus_executor_retries_total{executor="fail"}"#), 3);
    assert_eq!(bench.metric(r#"nimbus_executor_attempts_total{executor="fail"}"#), 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_for_good_becomes_a_dead_letter_and_then_an_error() {
    let bench = Bench::new(1).with(Probe::new("probe")).configured(|config| config.max_result_bytes = 100);
    let began = Instant::now();
    let running = bench.start();
    let cases = [
        ("poison", "EXECUTOR_GAVE_UP", 1),
        ("panic", "EXECUTOR_PANICKED", 1),
        ("panic-later", "EXECUTOR_PANICKED", 1),
        ("panic-drop", "EXECUTOR_PANICKED", 1),
        ("big 101", "RESULT_TOO_LARGE", 1),
        ("big-part 101", "RESULT_TOO_LARGE", 1),
        ("transient 100", "ATTEMPTS_EXHAUSTED", 8),
        ("hang", "ATTEMPTS_EXHAUSTED", 8),
    ];
    let mut client = Client::new("c");
    for (payload, ..) in cases {
        bench.events.put(client.event("probe", payload));
    }
    let answers = bench.answers(cases.len()).await;
    let letters = bench.dead_letters.all();
    assert_eq!(letters.len(), cases.len());
    for ((answer, letter), (payload, reason, attempts)) in answers.iter().zip(letters).zip(cases) {
        assert_eq!(answer.failure.as_ref().unwrap().reason, reason, "{payload}");
        assert_eq!(answer.attempt, attempts, "{payload}");
        assert_eq!((letter.attempts, letter.failure.reason.as_str()), (attempts, reason), "{payload}");
        assert_eq!(letter.event.payload, payload);
        assert_eq!(letter.event_offset, answer.event_offset);
        assert!(!answer.failure.as_ref().unwrap().message.contains("secret"));
    }
    // 30 s until the bomb is dropped, 8 × 30 s for what hangs, and twice 7 waits that together take 6.35 s to 12.7 s.
    let elapsed = began.elapsed().as_millis();
    assert!((270_000 + 12_700..=270_000 + 25_500).contains(&elapsed), "{elapsed}");
    assert_eq!(bench.metric(r#"nimbus_executor_dead_letters_total{reason="panicked"}"#), 3);
    assert_eq!(bench.metric(r#"nimbus_executor_dead_letters_total{reason="attempts_exhausted"}"#), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_executor_is_an_error_without_dead_letter() {
    let bench = Bench::new(1);
    let running = bench.start();
    bench.events.put(Client::new("c").event("sq", "3037000500"));
    assert_eq!(bench.briefs(1).await, ["c/1 Error RESULT_OUT_OF_RANGE"]);
    assert!(bench.dead_letters.all().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn parts_come_in_order_before_their_answer_and_carry_their_attempt() {
    let bench = Bench::new(1).with(Probe::new("probe"));
    let running = bench.start();
    let mut client = Client::new("c");
    bench.events.put(client.event("probe", "parts 300"));
    bench.events.put(client.event("probe", "retry-parts"));
    bench.answers(2).await;
    let records = bench.results.all();
    let numbered = |seq| -> Vec<_> {
        let mine = records.iter().filter(move |record| record.seq == seq);
        mine.map(|record| (record.attempt, record.part_no, record.kind)).collect()
    };
    let parts: Vec<_> = (0..300).map(|number| (1, number, PartKind::Part)).chain([(1, 300, PartKind::Final)]).collect();
    assert_eq!(numbered(1), parts);
    assert_eq!(numbered(2), [(1, 0, PartKind::Log), (2, 0, PartKind::Log), (2, 1, PartKind::Final)]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_waits_while_its_parts_are_not_durable() {
    let bench = Bench::new(1).with(Probe::new("probe")).configured(|config| {
        config.parts_in_flight = 10.try_into().unwrap();
    });
    bench.results.hold();
    let running = bench.start();
    bench.events.put(Client::new("c").event("probe", "parts 25"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.metric("nimbus_executor_parts_total"), 10);
    bench.results.sync();
    assert_eq!(bench.briefs(1).await, ["c/1 Final parts"]);
    assert_eq!(bench.results.all().len(), 26);
    running.stop().await;
}

/// A result that its log does not take would keep its partition for ever.
#[tokio::test(start_paused = true)]
async fn a_result_that_the_log_does_not_take_becomes_an_error_and_what_is_behind_it_goes_on() {
    let bench = Bench::new(1).with(Probe::new("probe"));
    bench.results.limit(350);
    bench.dead_letters.limit(350);
    let running = bench.start();
    let mut client = Client::new("c");
    let long = format!("big {:0>300}", 300);
    for payload in ["big 300", "big-part 300", "big 1", &long] {
        bench.events.put(client.event("probe", payload));
    }
    let answers = bench.answers(4).await;
    let reasons: Vec<_> = answers.iter().map(|answer| answer.failure.as_ref().map(|f| f.reason.as_str())).collect();
    let too_large = Some("RESULT_TOO_LARGE");
    assert_eq!(reasons, [too_large, too_large, None, too_large]);
    let letters = bench.dead_letters.all();
    let payloads: Vec<_> = letters.iter().map(|letter| letter.event.payload.len()).collect();
    assert_eq!(payloads, ["big 300".len(), "big-part 300".len(), 0], "a letter that is too large loses its payload");
    assert!(letters[2].failure.message.contains("without its payload of 304 bytes"), "{:?}", letters[2]);
    running.stop().await;
}
