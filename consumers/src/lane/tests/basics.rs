//! One event and its answer.

use super::*;

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
