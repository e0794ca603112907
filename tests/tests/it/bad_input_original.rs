//! What a wrong client gets on the original protocol, and what its failures were in the original system.

use nimbus_harness::{PATIENCE, TestNimbus, error_reason};
use nimbus_proto::original::{EventRequest, EventResponse, nimbus_service_client::NimbusServiceClient};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{MetadataKey, MetadataValue},
};

fn request(event_name: &str, number: i32) -> EventRequest {
    EventRequest { event_name: event_name.to_owned().into(), number, client_sequence: 0 }
}

/// Opens a stream that sends these events and then closes its side.
async fn call(nimbus: &TestNimbus, id: &str, events: Vec<EventRequest>) -> Result<Streaming<EventResponse>, Status> {
    let channel = nimbus.connect().await.map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(tokio_stream::iter(events));
    let id = MetadataValue::try_from(id).map_err(|_| Status::internal("not a header"))?;
    request.metadata_mut().insert("client_id", id);
    Ok(NimbusServiceClient::new(channel).process_event(request).await?.into_inner())
}

async fn all(mut stream: Streaming<EventResponse>) -> anyhow::Result<Vec<EventResponse>> {
    let mut answers = Vec::new();
    while let Some(answer) = timeout(PATIENCE, stream.message()).await?? {
        answers.push(answer);
    }
    Ok(answers)
}

#[tokio::test]
async fn a_client_without_a_proper_id_is_refused() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let channel = nimbus.connect().await?;
    let nameless = NimbusServiceClient::new(channel).process_event(tokio_stream::iter([request("sq", 1)])).await;
    let refused = nameless.map(drop).expect_err("no client id");
    assert_eq!((refused.code(), error_reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_CLIENT_ID"));
    for bad in ["has spaces in it", "sl/ash", &"x".repeat(129)] {
        let refused = call(&nimbus, bad, vec![]).await.map(drop).expect_err("a bad client id");
        assert_eq!((refused.code(), error_reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_CLIENT_ID"));
    }
    Ok(())
}

#[tokio::test]
async fn metadata_with_hostile_bytes_is_refused_and_harms_nobody() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let channel = nimbus.connect().await?;
    let mut hostile = Request::new(tokio_stream::iter([request("sq", 1)]));
    let bytes = http_value(b"caf\xc3\xa9\xff")?;
    hostile.metadata_mut().insert(MetadataKey::from_static("client_id"), bytes);
    let refused = NimbusServiceClient::new(channel).process_event(hostile).await.map(drop).expect_err("hostile bytes");
    assert_eq!(error_reason(&refused), "INVALID_CLIENT_ID");
    let answers = all(call(&nimbus, "polite", vec![request("sq", 7)]).await?).await?;
    assert_eq!(answers[0].result, 49);
    Ok(())
}

fn http_value(bytes: &[u8]) -> anyhow::Result<MetadataValue<tonic::metadata::Ascii>> {
    // Visible only to the transport: opaque bytes that are no text.
    Ok(MetadataValue::try_from(bytes)?)
}

#[tokio::test]
async fn results_after_half_close_arrive_in_order_and_the_stream_ends_with_ok() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let answers = all(call(&nimbus, "c", (1..=500).map(|n| request("sq", n)).collect()).await?).await?;
    let squares: Vec<_> = answers.iter().map(|answer| (answer.number, answer.result)).collect();
    assert_eq!(squares, (1..=500).map(|n| (n, n * n)).collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| answer.event_name == "sq" && answer.error.is_none()));
    Ok(())
}

#[tokio::test]
async fn a_square_past_32_bits_is_wide_and_never_wrapped() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let answers = all(call(&nimbus, "c", vec![request("sq", 46_340), request("sq", 46_341)]).await?).await?;
    assert_eq!((answers[0].result, answers[0].wide_result), (2_147_395_600, Some(2_147_395_600)));
    assert_eq!((answers[1].result, answers[1].wide_result), (0, Some(2_147_488_281)));
    assert_eq!(answers[1].error.as_ref().expect("typed").reason, "RESULT_OUT_OF_RANGE");
    Ok(())
}

#[tokio::test]
async fn an_unknown_event_carries_a_typed_error() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_EXECUTOR_UNKNOWN_GRACE", "0s").start().await?;
    let events = vec![request("nobody", 3), request("not a name", 4), request("sq", 5)];
    let answers = all(call(&nimbus, "c", events).await?).await?;
    let reasons: Vec<_> =
        answers.iter().map(|answer| answer.error.as_ref().map_or("", |error| error.reason.as_str())).collect();
    assert_eq!(reasons, ["UNKNOWN_EVENT", "INVALID_EVENT", ""]);
    let names: Vec<_> = answers.iter().map(|answer| (&answer.event_name[..], answer.number, answer.result)).collect();
    assert_eq!(names, [(&b"nobody"[..], 3, 0), (b"not a name", 4, 0), (b"sq", 5, 25)]);
    Ok(())
}
