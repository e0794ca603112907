//! Health, readiness, metrics and reflection.

use nimbus_harness::TestNimbus;
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

#[tokio::test]
async fn health_and_reflection_know_both_services() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let channel = nimbus.connect().await?;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "nimbus.v1.Gateway", "nimbus.NimbusService"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await?.into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection.server_reflection_info(Request::new(tokio_stream::iter([ask]))).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"nimbus.v1.Gateway") && names.contains(&"nimbus.NimbusService"), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn admin_endpoints_answer() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    assert_eq!(nimbus.admin_get("/live").await?.0, 200);
    assert_eq!(nimbus.admin_get("/ready").await?.0, 200);
    assert_eq!(nimbus.metrics().await?.get("nimbus_sessions_open")?, 0.0);
    assert_eq!(nimbus.admin_get("/nothing").await?.0, 404);
    Ok(())
}
