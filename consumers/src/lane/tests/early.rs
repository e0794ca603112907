//! Events that are shown while they are being written: who begins with them, who waits, and what becomes of it.

use super::{probe::Probe, *};

/// Long enough for anything that could happen. sleep: these tests pause the clock.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

fn hold(bench: &Bench) {
    bench.events.hold();
    bench.results.hold();
    bench.dead_letters.hold();
}

fn sync(bench: &Bench) {
    bench.events.sync();
    bench.results.sync();
    bench.dead_letters.sync();
}

/// The write fails: whatever it held, and whatever followed from that.
fn lose(bench: &Bench) {
    bench.events.lose();
    bench.results.lose();
    bench.dead_letters.lose();
}

const P0: Partition = Partition(0);

#[tokio::test(start_paused = true)]
async fn a_pure_executor_answers_while_its_event_is_being_written() {
    let probe = Probe::pure("pure");
    let bench = Bench::new(1).with(probe.clone());
    hold(&bench);
    let running = bench.start();
    let mut client = Client::new("c");
    drop(bench.events.append(P0, vec![client.event("pure", "now"), client.event("pure", "later 5")]));
    soon(bench.results.until_appends(2)).await;
    a_while().await;
    assert_eq!((probe.runs("c", 1), probe.runs("c", 2)), (1, 1));
    assert_eq!(bench.events.committed_by(ORDERED_GROUP, P0).position, Position::START, "nothing is finished yet");
    sync(&bench);
    assert_eq!(bench.briefs(2).await, ["c/1 Final now", "c/2 Final later"].map(|brief| brief.to_owned()));
    bench.settled().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_have_effects_waits_until_its_event_is_durable() {
    let (pure, probe) = (Probe::pure("pure"), Probe::new("probe"));
    let bench = Bench::new(1).with(pure.clone()).with(probe.clone());
    hold(&bench);
    let running = bench.start();
    let mut client = Client::new("c");
    let events = [("pure", "now"), ("probe", "now"), ("pure", "now"), ("nobody", "")];
    drop(bench.events.append(P0, events.map(|(name, payload)| client.event(name, payload)).to_vec()));
    soon(bench.results.until_appends(1)).await;
    a_while().await;
    assert_eq!((pure.runs("c", 1), probe.runs("c", 2), pure.runs("c", 3)), (1, 0, 0));
    sync(&bench);
    assert_eq!(bench.answers(4).await.iter().map(|answer| answer.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((pure.runs("c", 1), probe.runs("c", 2), pure.runs("c", 3)), (1, 1, 1));
    bench.settled().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_is_never_answered_and_its_place_is_read_again() {
    let (pure, probe) = (Probe::pure("pure"), Probe::new("probe"));
    let bench = Bench::new(1).with(pure.clone()).with(probe.clone());
    hold(&bench);
    let running = bench.start();
    let (mut lost, mut client) = (Client::new("lost"), Client::new("c"));
    // One is answered and its answer is refused, one is under way, one waits to be durable.
    let events = vec![lost.event("pure", "now"), lost.event("pure", "later 120000"), lost.event("probe", "now")];
    drop(bench.events.append(P0, events));
    soon(bench.results.until_appends(1)).await;
    lose(&bench);
    bench.events.put(client.event("probe", "now"));
    assert_eq!(bench.briefs(1).await, ["c/1 Final now"].map(|brief| brief.to_owned()));
    for _ in 0..5 {
        a_while().await;
    }
    assert_eq!(bench.results.all().len(), 1, "nothing of what was taken back is answered later either");
    assert_eq!(probe.runs("lost", 3), 0);
    bench.settled().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_dead_letter_is_kept_of_an_event_that_is_not_durable() {
    for durable in [true, false] {
        let bench = Bench::new(1).with(Probe::pure("pure"));
        hold(&bench);
        let running = bench.start();
        let mut client = Client::new("c");
        drop(bench.events.append(P0, vec![client.event("pure", "now"), client.event("pure", "poison")]));
        a_while().await;
        assert_eq!(bench.dead_letters.appends(), 0);
        if durable {
            sync(&bench);
            soon(bench.dead_letters.until(1, |_| true)).await;
            bench.answers(2).await;
        } else {
            lose(&bench);
            a_while().await;
            assert_eq!((bench.dead_letters.appends(), bench.results.all().len()), (0, 0));
        }
        running.stop().await;
    }
}

/// It may append its answers again, which must not follow from anything that may be taken back.
#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_back_from_a_failure_begins_with_nothing_early() {
    let probe = Probe::pure("pure");
    let bench = Bench::new(1).with(probe.clone());
    let mut client = Client::new("c");
    bench.results.doom([Fate::Lost(LogError::Ambiguous("test".to_owned()))]);
    bench.events.put(client.event("pure", "later 120000"));
    let running = bench.start();
    // The first worker's answer is refused; its successor has the event in hand, for two minutes again.
    soon(bench.results.until_appends(1)).await;
    a_while().await;
    assert_eq!(probe.runs("c", 1), 2);
    hold(&bench);
    let mut other = Client::new("other");
    drop(bench.events.append(P0, vec![other.event("pure", "now")]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(probe.runs("other", 1), 0);
    sync(&bench);
    bench.answers(2).await;
    bench.settled().await;
    running.stop().await;
}

/// It takes a new appender when it appends again. What was shown before that, and taken back, must not follow on it.
#[tokio::test(start_paused = true)]
async fn what_was_taken_back_while_a_worker_waited_to_append_again_is_not_begun_with_afterwards() {
    let probe = Probe::pure("pure");
    let bench = Bench::new(1).with(probe.clone());
    let unavailable = LogError::Unavailable("test".to_owned());
    bench.results.doom([Fate::Lost(LogError::Ambiguous("test".to_owned())), Fate::Lost(unavailable)]);
    let (mut client, mut lost, mut next) = (Client::new("c"), Client::new("lost"), Client::new("next"));
    bench.events.put(client.event("pure", "now"));
    let running = bench.start();
    // The second worker's first append stored nothing either, and it waits before it appends again.
    soon(bench.results.until_appends(2)).await;
    bench.events.hold();
    drop(bench.events.append(P0, vec![lost.event("pure", "now")]));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.results.appends(), 2, "it still waits");
    bench.events.lose();
    bench.answers(1).await;
    bench.events.put(next.event("pure", "now"));
    let answers: Vec<String> = bench.briefs(2).await;
    assert_eq!(answers, ["c/1 Final now", "next/1 Final now"].map(|brief| brief.to_owned()));
    a_while().await;
    assert_eq!((bench.results.all().len(), probe.runs("lost", 1)), (2, 0));
    bench.settled().await;
    running.stop().await;
}

/// Nothing but its fate tells a worker that does not append.
#[tokio::test(start_paused = true)]
async fn an_event_that_was_taken_back_does_not_keep_the_place_of_another_while_it_runs() {
    let bench = Bench::new(1).with(Probe::pure("pure"));
    hold(&bench);
    let running = bench.start();
    let (mut lost, mut next) = (Client::new("lost"), Client::new("next"));
    drop(bench.events.append(P0, vec![lost.event("pure", "later 3600000")]));
    a_while().await;
    lose(&bench);
    bench.events.put(next.event("pure", "now"));
    let limit = tokio::time::timeout(Duration::from_secs(60), bench.briefs(1)).await;
    assert_eq!(limit.expect("it is not waited for"), ["next/1 Final now".to_owned()]);
    bench.settled().await;
    running.stop().await;
}
