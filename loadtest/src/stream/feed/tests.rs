//! What leaves when: the request stream at given moments.

use super::*;
use crate::{Weighted, answers::Inputs, stream::dialect::Original};

/// What leaves at this moment, by its number.
fn leaving(requests: &mut Requests<Original>, now: u64) -> Vec<u64> {
    let mut left = Vec::new();
    while let Poll::Ready(Some(event)) = requests.frame(|_| now) {
        left.push(event.client_sequence);
    }
    left
}

fn requests(feed: &Arc<Feed>) -> Requests<Original> {
    let kinds = [Weighted { name: "sq".to_owned(), weight: 1 }];
    let dialect = Original { stream: 0, inputs: Arc::new(Inputs::new(&kinds, 0)) };
    Requests::new(Arc::clone(feed), Arc::new(dialect), 1).0
}

#[test]
fn a_closed_loop_sends_what_the_window_allows_and_stamps_it_with_the_moment() {
    let feed = Arc::new(Feed::new(4, 5, Instant::now()));
    let mut requests = requests(&feed);
    assert_eq!(leaving(&mut requests, 1), [] as [u64; 0]);
    feed.allow(4);
    assert_eq!(leaving(&mut requests, 7), [1, 2, 3, 4]);
    feed.allow(6);
    feed.rewind(3);
    assert_eq!(leaving(&mut requests, 9), [3, 4, 5], "5 is the last");
    assert_eq!([3, 4, 5].map(|seq| feed.sent_at(seq)), [7, 7, 9]);
    assert!(feed.stop(9).is_none());
}

#[test]
fn an_open_loop_sends_at_its_turns_and_stamps_with_them() {
    let feed = Arc::new(Feed::new(2, 100, Instant::now()));
    let mut requests = requests(&feed);
    // A turn every 10 ns from 1000 on.
    feed.begin(Turns::new(1e8, 1, 0, 1000), 0);
    feed.allow(2);
    assert_eq!(leaving(&mut requests, 999), [] as [u64; 0]);
    assert_eq!(leaving(&mut requests, 1000), [1]);
    assert_eq!(leaving(&mut requests, 1035), [2], "the window is shut to 3 and 4");
    assert_eq!(feed.sent_at(2), 1010);
    feed.allow(4);
    assert_eq!(leaving(&mut requests, 1055), [3, 4]);
    assert_eq!([3, 4].map(|seq| feed.sent_at(seq)), [1020, 1030], "their wait counts");
    assert_eq!(feed.lateness().held, 2);
    // An event whose turn has come is sent after the end if the window is open for it, and another is not.
    feed.allow(5);
    let unsent = feed.stop(1061).map(Iterator::collect::<Vec<_>>);
    assert_eq!(unsent, Some(vec![1050, 1060]));
    assert!(!feed.everything_sent());
    feed.allow(9);
    assert_eq!(leaving(&mut requests, 2000), [5]);
    assert!(feed.everything_sent());
}

#[test]
fn a_pause_lets_go_what_could_have_left_before_it() {
    let feed = Arc::new(Feed::new(4, 100, Instant::now()));
    let mut requests = requests(&feed);
    assert!(!feed.pauses() && !feed.is_at_rest());
    feed.allow(2);
    feed.pause();
    feed.allow(4);
    assert!(feed.pauses() && !feed.is_at_rest());
    assert_eq!(leaving(&mut requests, 1), [1, 2]);
    assert!(feed.is_at_rest());
    feed.rewind(2);
    assert_eq!(leaving(&mut requests, 2), [2], "it may be sent again");
    feed.end();
    assert!(matches!(requests.frame(|_| 3), Poll::Ready(None)));
    feed.renew();
    feed.rewind(2);
    assert!(requests.frame(|_| 4).is_pending(), "not before the new session is open");
    feed.allow(4);
    assert_eq!(leaving(&mut requests, 5), [2, 3, 4]);
}

#[test]
fn a_pause_of_an_open_loop_lets_go_what_is_due() {
    let feed = Arc::new(Feed::new(4, 100, Instant::now()));
    let mut requests = requests(&feed);
    // The first turn has come, the second does not before a day is over.
    feed.begin(Turns::new(1.0 / 86_400.0, 1, 0, 0), 0);
    feed.allow(4);
    feed.pause();
    assert_eq!(leaving(&mut requests, u64::MAX), [1]);
    assert!(feed.is_at_rest());
}
