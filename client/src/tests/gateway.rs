//! A gateway whose part the test plays itself: each stream that a client opens comes out as a [`Conversation`].

use std::{collections::HashMap, net::SocketAddr, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use nimbus_proto::v1::{
    self, ClientFrame, ServerFrame,
    client_frame::Kind as Up,
    delivery::Source,
    gateway_server::{Gateway, GatewayServer},
    server_frame::Kind as Down,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};

/// Long enough for the slowest machine; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

pub(crate) struct FakeGateway {
    pub(crate) address: SocketAddr,
    conversations: mpsc::UnboundedReceiver<Conversation>,
    server: JoinHandle<()>,
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeGateway {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (conversations_tx, conversations) = mpsc::unbounded_channel();
        let service = GatewayServer::new(Service { conversations: conversations_tx });
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, conversations, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next stream that a client opens.
    pub(crate) async fn conversation(&mut self) -> Conversation {
        in_time("a new stream", self.conversations.recv()).await.expect("the server runs")
    }

    /// The next stream, with its Hello read and its Welcome sent.
    pub(crate) async fn welcomed(&mut self) -> (v1::Hello, Conversation) {
        let mut conversation = self.conversation().await;
        let hello = conversation.hello().await;
        conversation.welcome(welcome(&hello));
        (hello, conversation)
    }
}

/// One stream, seen from the server.
pub(crate) struct Conversation {
    pub(crate) metadata: MetadataMap,
    up: Streaming<ClientFrame>,
    down: mpsc::UnboundedSender<Result<ServerFrame, Status>>,
    outbox_id: Bytes,
}

impl Conversation {
    /// The next frame; `None` when the client closed its side.
    pub(crate) async fn frame(&mut self) -> Option<Up> {
        let frame = in_time("a frame", self.up.message()).await;
        frame.ok().flatten().map(|frame| frame.kind.unwrap())
    }

    pub(crate) async fn hello(&mut self) -> v1::Hello {
        match self.frame().await {
            Some(Up::Hello(hello)) => {
                self.outbox_id = hello.outbox_id.clone();
                hello
            }
            other => panic!("{other:?} instead of Hello"),
        }
    }

    /// The next event; acks and pongs are passed over.
    pub(crate) async fn event(&mut self) -> v1::Event {
        loop {
            match self.frame().await {
                Some(Up::Event(event)) => return event,
                Some(Up::Ack(_) | Up::Pong(_)) => {}
                other => panic!("{other:?} instead of an event"),
            }
        }
    }

    /// Waits for an ack of this position; lower ones may come first.
    pub(crate) async fn acked(&mut self, position: u64) {
        loop {
            match self.frame().await {
                Some(Up::Ack(ack)) if ack.position == position => return,
                Some(Up::Ack(ack)) => assert!(ack.position < position, "{ack:?} beyond {position}"),
                other => panic!("{other:?} instead of an ack"),
            }
        }
    }

    /// Waits until the client is gone.
    pub(crate) async fn gone(&mut self) {
        while self.frame().await.is_some() {}
    }

    pub(crate) fn send(&self, kind: Down) {
        // A client that has left on purpose does not matter to the script.
        drop(self.down.send(Ok(ServerFrame { kind: Some(kind) })));
    }

    pub(crate) fn welcome(&self, welcome: v1::Welcome) {
        self.send(Down::Welcome(welcome));
    }

    pub(crate) fn accept(&self, up_to_seq: u64) {
        self.send(Down::Accepted(v1::Accepted { up_to_seq }));
    }

    pub(crate) fn deliver(&self, position: u64, seq: u64, kind: v1::PartKind, text: &str) {
        self.send(Down::Delivery(delivery(&self.outbox_id, position, seq, kind, text)));
    }

    pub(crate) fn answer(&self, position: u64, seq: u64, text: &str) {
        self.deliver(position, seq, v1::PartKind::Final, text);
    }

    /// Ends the stream with a status.
    pub(crate) fn fail(self, status: Status) {
        drop(self.down.send(Err(status)));
    }

    /// Ends the stream with OK.
    pub(crate) fn end(self) {}
}

pub(crate) fn delivery(outbox_id: &Bytes, position: u64, seq: u64, kind: v1::PartKind, text: &str) -> v1::Delivery {
    let result = v1::ResultOf {
        outbox_id: outbox_id.clone(),
        seq,
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        event_name: "sq".to_owned(),
        lane: v1::Lane::Ordered as i32,
    };
    let error = (kind == v1::PartKind::Error).then(|| v1::Error {
        code: 3,
        reason: "INVALID_PAYLOAD".to_owned(),
        message: text.to_owned(),
    });
    v1::Delivery {
        position,
        source: Some(Source::Result(result)),
        kind: kind as i32,
        payload: Bytes::copy_from_slice(text.as_bytes()),
        content_type: "application/json".to_owned(),
        error,
        attributes: HashMap::new(),
    }
}

/// What a server with nothing in particular to say answers.
pub(crate) fn welcome(hello: &v1::Hello) -> v1::Welcome {
    let resumed = hello.resume.is_some();
    v1::Welcome {
        server_id: "fake".to_owned(),
        accepted_seq: hello.first_unaccepted - 1,
        resume_outcome: if resumed { v1::ResumeOutcome::Resumed } else { v1::ResumeOutcome::New } as i32,
        gap: None,
        resume_token: Bytes::from_static(b"token"),
        limits: Some(v1::Limits { max_payload_bytes: 65_536, max_in_flight: 1024, receive_window: 128 }),
        ping_interval_ms: 25_000,
        position: hello.resume.as_ref().map_or(100, |resume| resume.position),
        session_id: "session".to_owned(),
    }
}

struct Service {
    conversations: mpsc::UnboundedSender<Conversation>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Gateway for Service {
    type SessionStream = Frames;

    async fn session(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Frames>, Status> {
        let (down, frames) = mpsc::unbounded_channel();
        let metadata = request.metadata().clone();
        let conversation = Conversation { metadata, up: request.into_inner(), down, outbox_id: Bytes::new() };
        self.conversations.send(conversation).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(frames))))
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
