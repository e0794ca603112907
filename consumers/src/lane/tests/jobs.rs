//! The jobs lane.

use std::collections::BTreeSet;

use super::{probe::Probe, *};

fn seqs(answers: &[ResultRecord]) -> Vec<u64> {
    answers.iter().map(|record| record.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn jobs_of_one_client_run_side_by_side_and_may_overtake() {
    let probe = Probe::jobs("job");
    let bench = Bench::new(1).with(probe.clone());
    let mut client = Client::new("c");
    for payload in ["later 3000", "later 1000", "later 2000"] {
        bench.events.put(client.event("job", payload));
    }
    bench.events.put(client.event("sq", "5"));
    let began = Instant::now();
    let running = bench.start();
    let answers = bench.answers(4).await;
    assert_eq!(seqs(&answers), [4, 2, 3, 1]);
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(answers.iter().all(|answer| (answer.lane == Lane::Jobs) == (answer.event_name.as_str() == "job")));
    bench.settled().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_job_does_not_hold_up_the_ordered_lane_or_its_commits() {
    let bench = Bench::new(1).with(Probe::jobs("job"));
    let mut client = Client::new("c");
    let job = bench.events.put(client.event("job", "later 3600000"));
    for number in 0..50 {
        bench.events.put(client.event("sq", &number.to_string()));
    }
    let running = bench.start();
    bench.answers(50).await;
    soon(bench.events.until_committed(ORDERED_GROUP, Partition(0), bench.events.end(Partition(0)))).await;
    assert_eq!(bench.events.committed_by(JOBS_GROUP, Partition(0)).position, Position(job.0));
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_answered_beyond_an_open_one_are_not_executed_again_after_a_crash() {
    let probe = Probe::jobs("job");
    let bench = Bench::new(1).with(probe.clone());
    let mut client = Client::new("c");
    for payload in ["later 60000", "now", "later 50", "now"] {
        bench.events.put(client.event("job", payload));
    }
    let running = bench.start();
    bench.answers(3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.kill().await;
    let running = bench.start();
    assert_eq!(seqs(&bench.answers(4).await), [2, 4, 3, 1]);
    assert_eq!([1, 2, 3, 4].map(|seq| probe.runs("c", seq)), [2, 1, 1, 1]);
    bench.settled().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_window_stops_the_lane_until_the_oldest_job_ends() {
    let probe = Probe::jobs("job");
    let bench = Bench::new(1).with(probe.clone()).configured(|config| config.jobs_window = 5.try_into().unwrap());
    let (mut slow, mut quick) = (Client::new("slow"), Client::new("quick"));
    bench.events.put(slow.event("job", "later 60000"));
    for _ in 0..20 {
        bench.events.put(quick.event("job", "now"));
    }
    let running = bench.start();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.results.all().len(), 4);
    assert_eq!(probe.runs("quick", 5), 0);
    let answers = bench.answers(21).await;
    assert_eq!(answers[4].origin.client.as_str(), "slow");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_under_way_are_bounded() {
    let probe = Probe::jobs("job");
    let bench = Bench::new(1).with(probe.clone()).configured(|config| config.concurrency = 4.try_into().unwrap());
    let mut client = Client::new("c");
    for _ in 0..20 {
        bench.events.put(client.event("job", "later 1000"));
    }
    let began = Instant::now();
    let running = bench.start();
    bench.answers(20).await;
    assert_eq!(probe.most(), 4);
    assert_eq!(began.elapsed().as_secs(), 5);
    running.stop().await;
}

/// One life with some executors, in which nothing of what is there becomes durable and committed, and both lanes have read
/// it; then a life with other ones. Whatever the change, everything is answered.
async fn change_lanes(before: Option<&Probe>, after: Option<&Probe>) -> Vec<String> {
    let mut bench = Bench::new(1);
    let builtin = bench.executors.clone();
    let mut client = Client::new("c");
    let load = |bench: &mut Bench, probe: Option<&Probe>| {
        bench.executors = builtin.clone();
        bench.executors.extend(probe.map(|probe| Arc::new(probe.clone()) as Arc<dyn Executor>));
    };
    load(&mut bench, before);
    bench.events.put(client.event("sq", "1"));
    let running = bench.start();
    bench.settled().await;
    bench.results.hold();
    bench.events.put(client.event("x", "now"));
    bench.events.put(client.event("sq", "2"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    running.kill().await;
    bench.results.lose();
    load(&mut bench, after);
    let running = bench.start();
    let answers = bench.briefs(3).await;
    bench.settled().await;
    running.stop().await;
    assert_eq!(bench.results.all().len(), 3, "and no more than once");
    answers
}

#[tokio::test(start_paused = true)]
async fn an_event_is_answered_although_its_executor_changed_lanes() {
    let (ordered, jobs) = (Probe::new("x"), Probe::jobs("x"));
    let answered = ["c/1 Final 1", "c/2 Final now", "c/3 Final 4"];
    assert_eq!(change_lanes(Some(&ordered), Some(&jobs)).await, answered);
    let mut back = change_lanes(Some(&jobs), Some(&ordered)).await;
    back.sort();
    assert_eq!(back, answered);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_answered_although_its_executor_came_or_went() {
    let jobs = Probe::jobs("x");
    let answered = ["c/1 Final 1", "c/2 Final now", "c/3 Final 4"];
    assert_eq!(change_lanes(None, Some(&jobs)).await, answered);
    assert_eq!(change_lanes(None, Some(&Probe::new("x"))).await, answered);
    let mut gone = change_lanes(Some(&jobs), None).await;
    gone.sort();
    assert_eq!(gone, ["c/1 Final 1", "c/2 Error UNKNOWN_EVENT", "c/3 Final 4"]);
    assert_eq!(change_lanes(Some(&Probe::new("x")), None).await, gone);
}

/// Fetched and decoded for nothing, every event would cost Kafka and the executors nearly as much again.
#[tokio::test(start_paused = true)]
async fn a_lane_that_no_executor_is_in_is_finished_and_not_read() {
    let bench = Bench::new(1);
    let mut client = Client::new("c");
    bench.events.put(client.event("sq", "1"));
    let running = bench.start();
    bench.settled().await;
    bench.events.put(client.event("sq", "2"));
    bench.events.put(client.event("nobody", ""));
    bench.settled().await;
    assert_eq!(bench.answers(3).await.len(), 3);
    assert_eq!(bench.events.handed_to(JOBS_GROUP), 0);
    assert_eq!(bench.events.handed_to(ORDERED_GROUP), 3);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn once_the_names_of_before_do_not_count_their_lane_is_not_read_any_more() {
    let mut bench = Bench::new(1);
    let builtin = bench.executors.clone();
    bench = bench.with(Probe::jobs("x"));
    let mut client = Client::new("c");
    bench.events.put(client.event("sq", "1"));
    let running = bench.start();
    bench.settled().await;
    running.stop().await;
    bench.executors = builtin;
    bench.events.put(client.event("x", "gone meanwhile"));
    let before = bench.events.handed_to(JOBS_GROUP);
    let running = bench.start();
    bench.settled().await;
    assert_eq!(bench.events.handed_to(JOBS_GROUP), before + 1, "it could have been a job");
    assert_eq!(bench.metric(r#"nimbus_executor_in_hand{lane="jobs"}"#), 0, "and it is answered");
    for number in 2..5 {
        bench.events.put(client.event("sq", &number.to_string()));
        bench.settled().await;
    }
    assert_eq!(bench.events.handed_to(JOBS_GROUP), before + 2, "the next one is refused, and then it is paused");
    // Both lanes answer what may have been either's; the first answer stands.
    let answers = bench.briefs(6).await.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    assert_eq!(answers, ["c/1 Final 1", "c/2 Error UNKNOWN_EVENT", "c/3 Final 4", "c/4 Final 9", "c/5 Final 16"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn old_names_are_forgotten_once_their_events_are_finished() {
    let bench = Bench::new(1).with(Probe::jobs("x"));
    let running = bench.start();
    bench.events.put(Client::new("c").event("x", "now"));
    bench.settled().await;
    running.stop().await;
    let bench = Bench { executors: nimbus_executors::builtin(), ..bench };
    let mut client = Client::new("d");
    let running = bench.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.events.put(client.event("sq", "2"));
    bench.settled().await;
    let notes = bench.events.committed_by(JOBS_GROUP, Partition(0)).metadata;
    assert_eq!(*notes, [1, 0, 0], "no name, and nothing earlier");
    running.stop().await;
}
