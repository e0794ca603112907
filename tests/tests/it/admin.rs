//! Health, readiness, metrics and reflection.

use nimbus_harness::TestNimbus;
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

#[tokio::test]
async fn health_and_reflection_know_every_service() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    let channel = nimbus.connect().await?;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "nimbus.v1.Gateway", "nimbus.NimbusService"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await?.into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let mut reflection = ServerReflectionClient::new(channel);
    let list = MessageRequest::ListServices(String::new());
    let health = MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned());
    let asks = [list, health].map(|ask| ServerReflectionRequest { host: String::new(), message_request: Some(ask) });
    let mut answers = reflection.server_reflection_info(Request::new(tokio_stream::iter(asks))).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["nimbus.v1.Gateway", "nimbus.NimbusService", "grpc.health.v1.Health"] {
        assert!(names.contains(&service), "{service} is not in {names:?}");
    }
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::FileDescriptorResponse(file)) = answer else { panic!("{answer:?}") };
    assert!(!file.file_descriptor_proto.is_empty());
    Ok(())
}

#[tokio::test]
async fn admin_endpoints_answer() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().start().await?;
    assert_eq!(nimbus.admin_get("/live").await?.0, 200);
    nimbus.until_ready().await?;
    assert_eq!(nimbus.admin_get("/ready").await?.0, 200);
    assert_eq!(nimbus.metrics().await?.get("nimbus_sessions_open")?, 0.0);
    assert_eq!(nimbus.admin_get("/nothing").await?.0, 404);
    Ok(())
}
