//! The harness against servers that do wrong in known ways: what it reports is what they did.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use nimbus_proto::{
    original::{
        EventError, EventRequest, EventResponse,
        nimbus_service_server::{NimbusService, NimbusServiceServer},
    },
    v1::{
        self, ClientFrame, ServerFrame,
        client_frame::Kind as Up,
        delivery::Source,
        gateway_server::{Gateway, GatewayServer},
        server_frame::Kind as Down,
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{
    Cost, Limit, LoadConfig, LoadError, LoadReport, LoadResult, OPEN_WINDOW, Protocol, idle::IdleStreams, run,
    run_until,
};

type Frames<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;
type Rule = dyn Fn(EventRequest, &mut Vec<EventResponse>) -> Result<(), Status> + Send + Sync;

/// Plays the original service by a rule that turns each request into responses.
struct Scripted(Arc<Rule>);

#[tonic::async_trait]
impl NimbusService for Scripted {
    type ProcessEventStream = Frames<EventResponse>;

    async fn process_event(
        &self,
        request: Request<Streaming<EventRequest>>,
    ) -> Result<Response<Self::ProcessEventStream>, Status> {
        assert!(request.metadata().get("client_id").is_some());
        let mut requests = request.into_inner();
        let rule = Arc::clone(&self.0);
        let (answers_tx, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(Some(request)) = requests.message().await {
                if let Err(status) = rule(request, &mut held) {
                    drop(answers_tx.send(Err(status)));
                    return;
                }
                held.drain(..).for_each(|answer| drop(answers_tx.send(Ok(answer))));
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }
}

/// A session that refuses every tenth event once and pings after each, and every token.
struct Refusing;

#[tonic::async_trait]
impl Gateway for Refusing {
    type SessionStream = Frames<ServerFrame>;

    async fn session(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        if request.metadata().contains_key("authorization") {
            return Err(Status::unauthenticated("a token that nobody has"));
        }
        let mut frames = request.into_inner();
        let (answers_tx, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let send = |kind| drop(answers_tx.send(Ok(ServerFrame { kind: Some(kind) })));
            let (mut next, mut refused, mut pongs, mut acked) = (1, 0, 0, 0);
            while let Ok(Some(frame)) = frames.message().await {
                match frame.kind {
                    Some(Up::Hello(hello)) => {
                        let limits = v1::Limits { receive_window: 8, ..Default::default() };
                        assert_eq!((hello.session_no, hello.first_unaccepted), (1, 1));
                        send(Down::Welcome(v1::Welcome { limits: Some(limits), ..Default::default() }));
                    }
                    Some(Up::Event(event)) if event.seq != next => {}
                    Some(Up::Event(event)) if event.seq % 10 == 0 && refused < event.seq => {
                        refused = event.seq;
                        let rejected = v1::Rejected { seq: event.seq, retry_after_ms: 1, ..Default::default() };
                        send(Down::Rejected(rejected));
                    }
                    Some(Up::Event(event)) => {
                        next += 1;
                        send(Down::Accepted(v1::Accepted { up_to_seq: event.seq }));
                        send(Down::Ping(v1::Ping { bookmark: 0 }));
                        let result = v1::ResultOf { seq: event.seq, ..Default::default() };
                        let mut delivery = v1::Delivery {
                            position: event.seq + 100,
                            source: Some(Source::Result(result)),
                            kind: v1::PartKind::Progress as i32,
                            payload: event.payload,
                            ..Default::default()
                        };
                        send(Down::Delivery(delivery.clone()));
                        delivery.kind = v1::PartKind::Final as i32;
                        send(Down::Delivery(delivery));
                        assert!(event.seq < acked + 8 + 64, "acks keep up");
                    }
                    Some(Up::Pong(_)) => pongs += 1,
                    Some(Up::Ack(ack)) => acked = ack.position - 100,
                    other => panic!("{other:?}"),
                }
            }
            if pongs + 1 < next - 1 {
                drop(answers_tx.send(Err(Status::internal(format!("{pongs} pongs for {} pings", next - 1)))));
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }

    async fn submit(&self, _: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        Err(Status::unimplemented("submit"))
    }

    async fn call(&self, _: Request<v1::CallRequest>) -> Result<Response<v1::CallResponse>, Status> {
        Err(Status::unimplemented("call"))
    }

    async fn push(&self, _: Request<v1::PushRequest>) -> Result<Response<v1::PushResponse>, Status> {
        Err(Status::unimplemented("push"))
    }
}

struct TestServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    rule: impl Fn(EventRequest, &mut Vec<EventResponse>) -> Result<(), Status> + Send + Sync + 'static,
) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        Server::builder()
            .add_service(NimbusServiceServer::new(Scripted(Arc::new(rule))))
            .add_service(GatewayServer::new(Refusing))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    TestServer { address, task }
}

fn right(request: &EventRequest) -> EventResponse {
    EventResponse {
        event_name: request.event_name.clone(),
        number: request.number,
        result: request.number * request.number,
        client_sequence: request.client_sequence,
        ..EventResponse::default()
    }
}

async fn load(server: &TestServer, change: impl FnOnce(&mut LoadConfig)) -> LoadReport {
    let mut config = LoadConfig {
        streams: 3,
        connections: 2,
        window: 8,
        limit: Limit::Events(300),
        warmup: Duration::ZERO,
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    change(&mut config);
    run(&config, |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_right_server_gets_a_clean_report() {
    let server = serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await;
    let report = load(&server, |_| {}).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.sent, report.answered), (300, 300));
    assert!(report.latency.p50_us > 0.0 && report.latency.max_us >= report.latency.p999_us);

    // One that does not know the number of ours: answers count in their order.
    let server = serve(|request, out| {
        out.push(EventResponse { client_sequence: 0, ..right(&request) });
        Ok(())
    })
    .await;
    assert!(load(&server, |_| {}).await.is_clean());
}

#[tokio::test]
async fn a_time_limit_ends_the_load() {
    let server = serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await;
    let report = load(&server, |config| config.limit = Limit::Duration(Duration::from_millis(100))).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.sent > 0 && report.sent == report.answered && report.events_per_second > 0.0);
}

#[tokio::test]
async fn an_open_loop_sends_every_event_that_has_its_turn() {
    let server = serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await;
    let report = load(&server, |config| {
        config.limit = Limit::Duration(Duration::from_millis(100));
        config.warmup = Duration::from_millis(50);
        config.rate = Some(1000.0);
        config.window = OPEN_WINDOW;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.sent, report.answered), (150, 150), "{report}");
    let open_loop = report.open_loop.unwrap();
    assert_eq!((open_loop.rate, open_loop.held, open_loop.unsent), (1000.0, 0, 0), "{report}");
    assert!(open_loop.max_lateness_us >= open_loop.mean_lateness_us && open_loop.mean_lateness_us > 0.0, "{report}");
    assert!(report.latency.max_us >= open_loop.max_lateness_us, "lateness is part of latency: {report}");

    // Over the session, whose server grants no credit of its own here.
    let report = load(&server, |config| {
        config.protocol = Protocol::V1;
        config.event_name = "echo".to_owned();
        config.rate = Some(10_000.0);
    })
    .await;
    assert!(report.is_clean() && report.answered == 300, "{report}");
}

#[tokio::test]
async fn an_open_loop_counts_the_wait_of_those_behind_a_stall() {
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = serve(move |request, out| {
        let mut held = held.lock().unwrap();
        held.push(right(&request));
        // 20 to 39 are answered when 40 has come, which is 20 ms after the turn of 20.
        if !(20..40).contains(&request.client_sequence) {
            out.append(&mut held);
        }
        Ok(())
    })
    .await;
    let report = load(&server, |config| {
        config.streams = 1;
        config.limit = Limit::Events(100);
        config.rate = Some(1000.0);
        config.window = OPEN_WINDOW;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert!(report.latency.max_us >= 20_000.0 && report.latency.p90_us >= 10_000.0, "{report}");
}

#[tokio::test]
async fn an_open_loop_counts_what_a_shut_window_never_let_go() {
    let server = serve(|request, out| {
        if request.client_sequence <= 10 {
            out.push(right(&request));
        }
        Ok(())
    })
    .await;
    let report = load(&server, |config| {
        config.streams = 1;
        config.window = 4;
        config.limit = Limit::Duration(Duration::from_millis(100));
        config.rate = Some(1000.0);
        config.drain_timeout = Duration::from_secs(2);
    })
    .await;
    assert_eq!((report.sent, report.answered, report.lost), (14, 10, 4), "{report}");
    let open_loop = report.open_loop.unwrap();
    assert_eq!(open_loop.unsent, 86, "{report}");
    // The first of them had its turn after 14 ms and waited for the rest of the time.
    assert!(report.latency.max_us >= 86_000.0, "{report}");
    assert!(report.to_string().contains("never sent 86"), "{report}");
}

#[tokio::test]
async fn a_stream_with_nothing_to_say_is_not_given_up() {
    let server = serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await;
    let report = load(&server, |config| {
        config.streams = 1;
        config.limit = Limit::Events(3);
        config.rate = Some(1.8);
        config.drain_timeout = Duration::from_millis(500);
    })
    .await;
    assert!(report.is_clean() && report.answered == 3, "its turns are further apart than the timeout: {report}");
}

#[tokio::test]
async fn an_interruption_ends_the_load_and_is_told_in_the_report() {
    let interrupted = CancellationToken::new();
    let server = serve({
        let interrupted = interrupted.clone();
        move |request, out| {
            if request.client_sequence == 50 {
                interrupted.cancel();
            }
            out.push(right(&request));
            Ok(())
        }
    })
    .await;
    let hour = Limit::Duration(Duration::from_secs(3600));
    let config = LoadConfig {
        limit: hour,
        warmup: Duration::ZERO,
        window: 8,
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    let report = run_until(&config, interrupted.clone(), |_| {}).await.unwrap().report;
    assert!(report.interrupted && report.is_clean(), "{report}");
    assert!(report.answered >= 50 && report.sent == report.answered && report.seconds < 3600.0, "{report}");
    assert!(report.to_string().starts_with("interrupted"), "{report}");

    // Before it has begun.
    let report = run_until(&config, interrupted, |_| {}).await.unwrap().report;
    assert!(report.interrupted, "{report}");
}

#[tokio::test]
async fn a_refusal_is_told_from_a_server_that_is_not_there() {
    let server = serve(|_, _| Ok(())).await;
    let token = Some("0123456789abcdef".to_owned());
    let config = LoadConfig { token, ..LoadConfig::new(server.address.to_string(), Protocol::V1) };
    match run(&config, |_| {}).await {
        Err(LoadError::Refused { code: 16, why, .. }) => assert!(why.contains("a token that nobody has"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_lost_is_counted() {
    let server = serve(|request, out| {
        if request.client_sequence != 50 {
            out.push(right(&request));
        }
        Ok(())
    })
    .await;
    let report = load(&server, |config| config.drain_timeout = Duration::from_secs(1)).await;
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

#[tokio::test]
async fn the_v1_session_is_spoken_in_full() {
    let server = serve(|_, _| Ok(())).await;
    let report = load(&server, |config| {
        config.protocol = Protocol::V1;
        config.event_name = "echo".to_owned();
        config.payload_bytes = 64;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.answered, report.rejected), (300, 30), "{report}");
}

#[tokio::test]
async fn what_it_costs_is_in_the_report() {
    let server = serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await;
    let report = load(&server, |config| {
        config.limit = Limit::Duration(Duration::from_millis(200));
        // The server runs in this process.
        config.server_pids = vec![std::process::id()];
    })
    .await;
    assert!(report.is_clean(), "{report}");
    let Cost { machines, servers } = &report.cost;
    assert_eq!((machines.len(), servers.len()), (1, 1), "{report}");
    assert!(machines[0].load_cpu_seconds > 0.0 && machines[0].busy > 0.0, "{report}");
    assert!(servers[0].cpu_us_per_event > 0.0 && servers[0].rss_max_mib > 1.0, "{report}");
    assert!(report.to_string().contains("the load process used"), "{report}");
}

#[tokio::test]
async fn a_result_has_every_latency_and_every_second() {
    let server = serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await;
    let config = LoadConfig {
        streams: 2,
        limit: Limit::Duration(Duration::from_millis(1500)),
        warmup: Duration::ZERO,
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    let mut looks = 0;
    let result = run_until(&config, CancellationToken::new(), |_| looks += 1).await.unwrap();
    assert!(result.report.is_clean() && looks >= 1, "{}", result.report);
    assert_eq!(result.latencies.histogram().unwrap().len(), result.report.measured);
    assert!((2..=3).contains(&result.samples.len()), "1.5 seconds touch two or three: {:?}", result.samples);
    assert_eq!(result.samples.iter().map(|sample| sample.answered).sum::<u64>(), result.report.measured);
    assert!(result.samples.windows(2).all(|pair| pair[0].unix_second < pair[1].unix_second), "{:?}", result.samples);
    let seconds = result.samples.iter().map(|sample| sample.seconds).sum::<f64>();
    assert!((seconds - 1.5).abs() < 1e-6, "{seconds}");
    assert_eq!(LoadResult::from_json(&result.to_json()).unwrap().samples, result.samples);
}

#[tokio::test]
async fn idle_streams_stay_open_until_dropped() {
    let server = serve(|_, _| Ok(())).await;
    for protocol in [Protocol::V1, Protocol::Original] {
        let idle = IdleStreams::open(&server.address.to_string(), protocol, 5, "idle", None).await.unwrap();
        drop(idle);
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let nobody = LoadConfig::new("127.0.0.1:9", Protocol::V1);
    assert!(matches!(run(&nobody, |_| {}).await, Err(LoadError::Connect { .. })));
    for config in [
        LoadConfig { streams: 0, ..nobody.clone() },
        LoadConfig { connections: 0, ..nobody.clone() },
        LoadConfig { window: 0, ..nobody.clone() },
        LoadConfig { limit: Limit::Events(0), ..nobody.clone() },
        LoadConfig { event_name: String::new(), ..nobody.clone() },
        LoadConfig { payload_bytes: 2 << 20, ..nobody.clone() },
        LoadConfig { rate: Some(0.0), ..nobody.clone() },
        LoadConfig { rate: Some(f64::NAN), ..nobody.clone() },
    ] {
        assert!(matches!(run(&config, |_| {}).await, Err(LoadError::Config(_))), "{config:?}");
    }
}

#[test]
fn a_report_is_json_without_secrets() {
    let config = LoadConfig { token: Some("secret".to_owned()), ..LoadConfig::new("x", Protocol::V1) };
    assert!(!serde_json::to_string(&config).unwrap().contains("secret"));
}
