//! A v1 session by hand, for tests that must send what no SDK would.

use std::{collections::VecDeque, net::SocketAddr};

use anyhow::{Context as _, bail};
use nimbus_proto::v1::{self, client_frame::Kind as Up, gateway_client::GatewayClient, server_frame::Kind as Down};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::PATIENCE;

/// Frames that may wait to be sent.
const WAITING_FRAMES: usize = 4_096;

/// One open stream.
#[derive(Debug)]
pub struct RawSession {
    frames: Option<mpsc::Sender<v1::ClientFrame>>,
    inbound: Streaming<v1::ServerFrame>,
    /// Deliveries that came while something else was waited for.
    passed: VecDeque<v1::Delivery>,
}

/// A connection of its own to a server.
///
/// # Errors
/// The server cannot be reached.
pub async fn connect(address: SocketAddr) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect().await?)
}

/// A Hello with a fresh outbox.
pub fn hello(client_id: &str) -> v1::Hello {
    v1::Hello {
        client_id: client_id.to_owned(),
        outbox_id: outbox(1),
        session_no: 1,
        first_unaccepted: 1,
        ..v1::Hello::default()
    }
}

/// An outbox id that is easy to tell from others.
pub fn outbox(n: u8) -> tonic::codegen::Bytes {
    vec![n; 16].into()
}

/// The stable reason of an error.
pub fn error_reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

impl RawSession {
    /// Opens a stream and sends nothing.
    ///
    /// # Errors
    /// The server refused it.
    pub async fn open(channel: Channel) -> Result<Self, Status> {
        Self::open_with(channel, None).await
    }

    /// The same, with a bearer token.
    ///
    /// # Errors
    /// The server refused it.
    pub async fn open_with(channel: Channel, token: Option<&str>) -> Result<Self, Status> {
        let (frames, outgoing) = mpsc::channel(WAITING_FRAMES);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().map_err(|_| Status::internal("not a header"))?;
            request.metadata_mut().insert("authorization", value);
        }
        let inbound = GatewayClient::new(channel).session(request).await?.into_inner();
        Ok(Self { frames: Some(frames), inbound, passed: VecDeque::new() })
    }

    /// Opens a session and reads its Welcome.
    ///
    /// # Errors
    /// The server refused it.
    pub async fn welcome(channel: Channel, hello: v1::Hello) -> anyhow::Result<(Self, v1::Welcome)> {
        let mut session = Self::open(channel).await?;
        session.send(Up::Hello(hello)).await?;
        match session.next().await? {
            Down::Welcome(welcome) => Ok((session, welcome)),
            other => bail!("Welcome comes first, not {other:?}"),
        }
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn send(&self, kind: Up) -> anyhow::Result<()> {
        self.send_frame(v1::ClientFrame { kind: Some(kind) }).await
    }

    /// Sends one frame, which may be empty.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn send_frame(&self, frame: v1::ClientFrame) -> anyhow::Result<()> {
        self.frames.as_ref().context("the sending side is closed")?.send(frame).await.context("the stream is gone")
    }

    /// Sends a number to `sq`.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn square(&self, seq: u64, number: i64) -> anyhow::Result<()> {
        self.event(seq, "sq", number.to_string()).await
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn event(&self, seq: u64, name: &str, payload: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let event = v1::Event { seq, name: name.to_owned(), payload: payload.into().into(), ..v1::Event::default() };
        self.send(Up::Event(event)).await
    }

    /// Closes the sending side.
    pub fn half_close(&mut self) {
        self.frames = None;
    }

    /// The next frame.
    ///
    /// # Errors
    /// The stream ended, or nothing came in time.
    pub async fn next(&mut self) -> anyhow::Result<Down> {
        match self.passed.pop_front() {
            Some(delivery) => Ok(Down::Delivery(delivery)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> anyhow::Result<Down> {
        let frame = timeout(PATIENCE, self.inbound.message()).await.context("nothing came")??;
        frame.context("the stream ended")?.kind.context("an empty frame")
    }

    /// The next delivery; pings are answered, other frames are passed over.
    ///
    /// # Errors
    /// The stream ended, or nothing came in time.
    pub async fn delivery(&mut self) -> anyhow::Result<v1::Delivery> {
        let coming = async {
            loop {
                match self.next().await? {
                    Down::Delivery(delivery) => return Ok(delivery),
                    Down::Ping(_) => self.send(Up::Pong(v1::Pong {})).await?,
                    _ => {}
                }
            }
        };
        // As a whole: pings come for ever.
        timeout(PATIENCE, coming).await.context("no delivery came")?
    }

    /// Waits until everything up to a sequence number is accepted. Deliveries that come before that (an answer is durable as soon
    /// as its event is) are handed out afterwards.
    ///
    /// # Errors
    /// The stream ended, or nothing came in time.
    pub async fn accepted(&mut self, seq: u64) -> anyhow::Result<()> {
        loop {
            match self.read().await? {
                Down::Accepted(accepted) if accepted.up_to_seq >= seq => return Ok(()),
                Down::Delivery(delivery) => self.passed.push_back(delivery),
                _ => {}
            }
        }
    }

    /// Reads to the end of the stream: the error it ended with, or `None` for OK.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn end(&mut self) -> anyhow::Result<Option<Status>> {
        timeout(PATIENCE, async {
            loop {
                match self.inbound.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        })
        .await
        .context("the stream did not end")
    }

    /// Reads to the end of the stream and returns the reason of the error it ended with.
    ///
    /// # Errors
    /// It did not end in time, or ended with OK.
    pub async fn end_reason(&mut self) -> anyhow::Result<String> {
        let status = self.end().await?.context("the stream ended with OK")?;
        let reason = error_reason(&status);
        if reason.is_empty() { bail!("an error without a reason: {status:?}") } else { Ok(reason) }
    }
}
