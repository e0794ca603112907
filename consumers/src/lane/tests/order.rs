//! Many events: order, isolation, back-pressure.

use super::{probe::Probe, *};

#[tokio::test(start_paused = true)]
async fn clients_run_in_parallel_and_each_in_order() {
    let probe = Probe::new("probe");
    let bench = Bench::new(1).with(probe.clone());
    let mut clients: Vec<_> = (0..20).map(|number| Client::new(&format!("c{number}"))).collect();
    for round in 0..10 {
        for client in &mut clients {
            let payload = if round % 3 == 0 { "now".to_owned() } else { format!("later {}", 10 * (round + 1)) };
            bench.events.put(client.event("probe", &payload));
        }
    }
    let began = Instant::now();
    let running = bench.start();
    let answers = bench.answers(200).await;
    assert_eq!(probe.most(), 20, "one partition, and yet all clients at once");
    assert_eq!(probe.overlapped(), 0);
    // 20 + 30 + 50 + 60 + 80 + 90 ms for each of them.
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    for client in &clients {
        let mine = answers.iter().filter(|answer| answer.origin.client == client.event_client());
        assert!(mine.map(|answer| answer.seq).eq(1..=10));
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_that_take_time_are_bounded_and_waiting_for_a_retry_does_not_count() {
    let probe = Probe::new("probe");
    let bench = Bench::new(1).with(probe.clone()).configured(|config| config.concurrency = 3.try_into().unwrap());
    for number in 0..10 {
        bench.events.put(Client::new(&format!("retrying-{number}")).event("fail", r#"{"kind":"transient"}"#));
        bench.events.put(Client::new(&format!("slow-{number}")).event("probe", "later 1000"));
    }
    let began = Instant::now();
    let running = bench.start();
    bench.answers(10).await;
    assert_eq!(began.elapsed().as_secs(), 4, "ten events, three at a time, a second each");
    assert_eq!(probe.most(), 3);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_hand_is_bounded_and_the_partition_is_read_no_further() {
    let probe = Probe::new("probe");
    let bench = Bench::new(2).with(probe.clone()).configured(|config| {
        config.max_in_hand = 16.try_into().unwrap();
    });
    bench.events.set_batch(4);
    let stuck = bench.events.partition_of("c0");
    let mut held = 0;
    for number in 0..200 {
        let name = format!("c{number}");
        if bench.events.partition_of(&name) == stuck {
            bench.events.put(Client::new(&name).event("probe", "later 60000"));
            held += 1;
        }
    }
    assert!(held > 50);
    let running = bench.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let in_hand = bench.metric(r#"nimbus_executor_in_hand{lane="ordered"}"#);
    assert_eq!(in_hand, 16);
    assert!(bench.metric(r#"nimbus_executor_pauses_total{lane="ordered"}"#) > 0);
    let free = (0..).map(|number| format!("free-{number}")).find(|name| bench.events.partition_of(name) != stuck);
    bench.events.put(Client::new(&free.unwrap()).event("sq", "5"));
    assert_eq!(bench.answers(1).await[0].event_name.as_str(), "sq", "the other partition does not wait");
    bench.answers(held + 1).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bytes_in_hand_are_bounded_too() {
    let bench = Bench::new(1).with(Probe::new("probe")).configured(|config| {
        config.max_in_hand_bytes = 10_000.try_into().unwrap();
    });
    bench.events.set_batch(1);
    for number in 0..20 {
        let padded = format!("later {:01000}", 60_000);
        bench.events.put(Client::new(&format!("c{number}")).event("probe", &padded));
    }
    let running = bench.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.metric(r#"nimbus_executor_in_hand{lane="ordered"}"#), 9);
    bench.answers(20).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_events_take_long_holds_up_nobody_else() {
    let bench = Bench::new(1).with(Probe::new("probe")).configured(|config| {
        config.max_in_hand = 100.try_into().unwrap();
        config.max_in_hand_per_client = 10.try_into().unwrap();
    });
    let (mut hog, mut other) = (Client::new("hog"), Client::new("other"));
    for _ in 0..500 {
        bench.events.put(hog.event("probe", "later 1000"));
    }
    for number in 0..50 {
        bench.events.put(other.event("sq", &number.to_string()));
        bench.events.put(hog.event("probe", "later 1000"));
    }
    let running = bench.start();
    let began = Instant::now();
    let is_other = |record: &ResultRecord| record.origin.client.as_str() == "other";
    soon(bench.results.until(50, is_other)).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(bench.metric("nimbus_executor_parked_clients"), 1);
    assert!(bench.metric(r#"nimbus_executor_in_hand{lane="ordered"}"#) <= 10);
    let answers = bench.answers(600).await;
    let hogs = answers.iter().filter(|record| !is_other(record));
    assert!(hogs.map(|record| record.seq).eq(1..=550), "in order, each once");
    assert_eq!(began.elapsed().as_secs(), 550);
    bench.settled().await;
    assert_eq!(bench.metric("nimbus_executor_parked_clients"), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_parked_client_left_in_the_log_is_not_committed_past() {
    let bench = Bench::new(1).with(Probe::new("probe")).configured(|config| {
        config.max_in_hand_per_client = 2.try_into().unwrap();
    });
    let (mut hog, mut other) = (Client::new("hog"), Client::new("other"));
    let offsets: Vec<_> = (0..10).map(|_| bench.events.put(hog.event("probe", "later 1000"))).collect();
    bench.events.put(other.event("sq", "1"));
    let running = bench.start();
    let partition = Partition(0);
    for (done, oldest_open) in offsets.iter().enumerate().skip(1) {
        bench.answers(done + 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let committed = bench.events.committed_by(ORDERED_GROUP, partition).position;
        assert_eq!(committed, Position(oldest_open.0), "after {done}");
    }
    bench.settled().await;
    running.stop().await;
}
