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
