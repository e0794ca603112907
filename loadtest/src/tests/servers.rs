//! Servers that do wrong in known ways.

use std::{collections::HashMap, net::SocketAddr, pin::Pin, sync::Arc};

use futures_util::Stream;
use nimbus_proto::{
    original::{
        EventRequest, EventResponse,
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
use tonic::{Request, Response, Status, Streaming, transport::Server};

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

/// A session's number and the next event, by outbox.
type Left = HashMap<Vec<u8>, (u64, u64)>;

/// A session that refuses every tenth event once and pings after each, and every token. It is resumed where it was left; that of
/// a client whose id begins with `forgetful` has its last answer delivered once more then.
#[derive(Default)]
struct Refusing {
    left: Arc<std::sync::Mutex<Left>>,
}

#[tonic::async_trait]
impl Gateway for Refusing {
    type SessionStream = Frames<ServerFrame>;

    async fn session(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        if request.metadata().contains_key("authorization") {
            return Err(Status::unauthenticated("a token that nobody has"));
        }
        let mut frames = request.into_inner();
        let left = Arc::clone(&self.left);
        let (answers_tx, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let send = |kind| drop(answers_tx.send(Ok(ServerFrame { kind: Some(kind) })));
            let (mut next, mut refused, mut pings, mut pongs, mut acked) = (1, 0, 0, 0, 0);
            let mut outbox = Vec::new();
            while let Ok(Some(frame)) = frames.message().await {
                match frame.kind {
                    Some(Up::Hello(hello)) => {
                        let limits = v1::Limits { receive_window: 8, ..Default::default() };
                        outbox = hello.outbox_id.to_vec();
                        let (session_no, after) = left.lock().unwrap().get(&outbox).copied().unwrap_or((0, 1));
                        assert_eq!((hello.session_no, hello.first_unaccepted), (session_no + 1, after));
                        let resume = (session_no > 0).then(|| v1::Resume {
                            token: "token".into(),
                            position: after + 99,
                            answered: after - 1,
                            answered_beyond: Vec::new(),
                        });
                        assert_eq!(hello.resume, resume);
                        left.lock().unwrap().insert(outbox.clone(), (hello.session_no, after));
                        (next, acked) = (after, after - 1);
                        send(Down::Welcome(v1::Welcome {
                            limits: Some(limits),
                            position: after + 99,
                            resume_token: "token".into(),
                            accepted_seq: after - 1,
                            ..Default::default()
                        }));
                        if hello.client_id.starts_with("forgetful") && after > 1 {
                            send(Down::Delivery(answer(after - 1, "once more".into())));
                        }
                    }
                    Some(Up::Event(event)) if event.seq != next => {}
                    Some(Up::Event(event)) if event.seq % 10 == 0 && refused < event.seq => {
                        refused = event.seq;
                        let rejected = v1::Rejected { seq: event.seq, retry_after_ms: 1, ..Default::default() };
                        send(Down::Rejected(rejected));
                    }
                    Some(Up::Event(event)) => {
                        next += 1;
                        pings += 1;
                        left.lock().unwrap().entry(outbox.clone()).and_modify(|(_, left)| *left = next);
                        send(Down::Accepted(v1::Accepted { up_to_seq: event.seq }));
                        send(Down::Ping(v1::Ping { bookmark: 0 }));
                        let delivery = answer(event.seq, event.payload);
                        send(Down::Delivery(v1::Delivery { kind: v1::PartKind::Progress as i32, ..delivery.clone() }));
                        send(Down::Delivery(delivery));
                        assert!(event.seq < acked + 8 + 64, "acks keep up");
                    }
                    Some(Up::Pong(_)) => pongs += 1,
                    Some(Up::Ack(ack)) => acked = ack.position - 100,
                    other => panic!("{other:?}"),
                }
            }
            if pongs + 1 < pings {
                drop(answers_tx.send(Err(Status::internal(format!("{pongs} pongs for {pings} pings")))));
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

/// An answer of `echo`.
fn answer(seq: u64, payload: bytes::Bytes) -> v1::Delivery {
    let result = v1::ResultOf { seq, ..Default::default() };
    v1::Delivery {
        position: seq + 100,
        source: Some(Source::Result(result)),
        kind: v1::PartKind::Final as i32,
        payload,
        ..Default::default()
    }
}

pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the original protocol by this rule, and v1 as [`Refusing`] does.
pub(super) async fn serve(
    rule: impl Fn(EventRequest, &mut Vec<EventResponse>) -> Result<(), Status> + Send + Sync + 'static,
) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        Server::builder()
            .add_service(NimbusServiceServer::new(Scripted(Arc::new(rule))))
            .add_service(GatewayServer::new(Refusing::default()))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    TestServer { address, task }
}

/// One that does right, over the original protocol and as [`Refusing`] over v1.
pub(super) async fn honest() -> TestServer {
    serve(|request, out| {
        out.push(right(&request));
        Ok(())
    })
    .await
}

pub(super) fn right(request: &EventRequest) -> EventResponse {
    EventResponse {
        event_name: request.event_name.clone(),
        number: request.number,
        result: request.number * request.number,
        client_sequence: request.client_sequence,
        ..EventResponse::default()
    }
}
