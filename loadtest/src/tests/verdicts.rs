//! What a server does wrong is counted as what it is.

use std::time::Duration;

use nimbus_proto::original::{EventError, EventRequest, EventResponse};
use tonic::Status;

use super::{
    load,
    servers::{right, serve},
};

#[tokio::test]
async fn what_is_lost_is_counted() {
    let server = serve(|request, out| {
        if request.client_sequence != 50 {
            out.push(right(&request));
        }
        Ok(())
    })
    .await;
    let report = load(&server, |config| config.drain_timeout = Duration::from_secs(5)).await;
    assert!(!report.is_clean());
    // The window fills up behind the lost one, and then nothing moves.
    assert_eq!((report.lost, report.sent, report.answered), (3, 3 * 57, 3 * 56), "{report}");
    assert_eq!(report.errors.get("no answer for too long"), Some(&3), "{report}");
}

#[tokio::test]
async fn what_comes_twice_is_counted() {
    let server = serve(|request, out| {
        out.push(right(&request));
        if request.client_sequence % 25 == 0 {
            out.push(right(&request));
        }
        Ok(())
    })
    .await;
    let report = load(&server, |_| {}).await;
    assert_eq!((report.duplicates, report.lost, report.answered), (12, 0, 300), "{report}");
}

#[tokio::test]
async fn what_comes_too_early_is_counted() {
    let server = serve(move |request, out| {
        // 1 waits for 2.
        match request.client_sequence {
            1 => {}
            2 => {
                out.push(right(&request));
                let first = EventRequest { number: request.number - 1, client_sequence: 1, ..request };
                out.push(right(&first));
            }
            _ => out.push(right(&request)),
        }
        Ok(())
    })
    .await;
    let report = load(&server, |_| {}).await;
    assert_eq!((report.out_of_order, report.lost, report.wrong), (3, 0, 0), "{report}");
}

#[tokio::test]
async fn what_is_wrong_or_failed_is_counted() {
    let server = serve(|request, out| {
        let mut answer = right(&request);
        match request.client_sequence {
            10 => answer.result = 0,
            20 => answer.error = Some(EventError { code: 3, ..Default::default() }),
            30 => out.push(EventResponse { client_sequence: 9999, ..right(&request) }),
            _ => {}
        }
        out.push(answer);
        Ok(())
    })
    .await;
    let report = load(&server, |_| {}).await;
    assert_eq!((report.wrong, report.failed, report.lost), (6, 3, 0), "{report}");
}

#[tokio::test]
async fn a_broken_stream_is_told() {
    let server = serve(|request, out| {
        if request.client_sequence == 20 {
            return Err(Status::unavailable("gone"));
        }
        out.push(right(&request));
        Ok(())
    })
    .await;
    let report = load(&server, |_| {}).await;
    assert_eq!(report.errors.get("Unavailable: gone"), Some(&3), "{report}");
    assert!(report.lost >= 3);
}
