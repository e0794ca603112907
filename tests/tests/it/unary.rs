//! The calls that are not offered yet say so.

use nimbus_harness::{TestNimbus, error_reason};
use nimbus_proto::v1::{CallRequest, PushRequest, SubmitRequest, gateway_client::GatewayClient};
use tonic::Code;

#[tokio::test]
async fn submit_call_and_push_are_unimplemented() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let mut gateway = GatewayClient::new(nimbus.connect().await?);
    let refusals = [
        gateway.submit(SubmitRequest {}).await.map(drop),
        gateway.call(CallRequest {}).await.map(drop),
        gateway.push(PushRequest {}).await.map(drop),
    ];
    for refused in refusals {
        let status = refused.expect_err("not offered yet");
        assert_eq!((status.code(), error_reason(&status).as_str()), (Code::Unimplemented, "NOT_IMPLEMENTED"));
    }
    Ok(())
}
