//! The admin endpoint, HTTP/1.1: `/live`, `/ready` and `/metrics`.
//!
//! It has a listener of its own, so that neither load nor back-pressure on the product's port hides how the process is.
//! `/live` says only that the runtime turns: restarting a process because something else is down makes nothing better.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Readiness;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const INDEX: &str = "nimbus admin endpoint\n\n\
    /live     200 while the process runs\n\
    /ready    200 when it should get work; 503 and the names of what it waits for otherwise\n\
    /metrics  counters and gauges, as OpenMetrics text\n";

/// What the endpoint shows.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Behind `/ready`.
    pub readiness: Readiness,
    /// Behind `/metrics`. Set when everything has registered: the endpoint is up before that, while a store opens.
    pub registry: Arc<OnceLock<Registry>>,
}

/// Serves until `stop` is cancelled, then until the requests under way are answered.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(admin): State<Admin>) -> Response {
    let waiting_for = admin.readiness.waiting_for();
    if waiting_for.is_empty() {
        return "ready\n".into_response();
    }
    let body = waiting_for.iter().fold("not ready, waiting for:\n".to_owned(), |text, name| text + name + "\n");
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let Some(registry) = admin.registry.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    let mut body = String::new();
    match text::encode(&mut body, registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus_client::metrics::counter::Counter;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: nimbus\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_live_ready_and_metrics_and_stops_while_a_connection_is_open() {
        let (ending, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut registry = Registry::default();
        let counted = Counter::<u64>::default();
        registry.register("nimbus_things", "Things", counted.clone());
        counted.inc();
        let readiness = Readiness::new(ending.clone());
        let latch = readiness.latch("embedded store");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Admin { readiness, registry: Arc::default() };
        let late = Arc::clone(&admin.registry);
        let server = tokio::spawn(serve(listener, admin, stop.clone()));

        assert!(request(address, "/live").await.starts_with("HTTP/1.1 200"));
        let not_ready = request(address, "/ready").await;
        assert!(not_ready.starts_with("HTTP/1.1 503") && not_ready.contains("embedded store"), "{not_ready}");
        drop(latch);
        assert!(request(address, "/ready").await.starts_with("HTTP/1.1 200"));
        ending.cancel();
        assert!(request(address, "/ready").await.contains("shutdown"));
        assert!(request(address, "/metrics").await.starts_with("HTTP/1.1 503"));
        late.set(registry).unwrap();
        let metrics = request(address, "/metrics").await;
        assert!(metrics.contains("openmetrics-text") && metrics.contains("nimbus_things_total 1"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(request(address, "/nothing").await.starts_with("HTTP/1.1 404"));

        let _silent = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
