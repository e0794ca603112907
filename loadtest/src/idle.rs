//! Streams that say nothing, each on a connection of its own, for what they cost a server.

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{Status, Streaming, transport::Endpoint};

use crate::{
    LoadError, Protocol, run,
    stream::describe,
    transport::{self, Caller, Destination},
    wire,
};

const OPENING_AT_ONCE: usize = 64;
/// A server that pings again before it has the pong waits with that.
const PONGS: usize = 1;

/// Open streams. Dropping it closes them.
#[derive(Debug)]
pub struct IdleStreams {
    open: JoinSet<String>,
}

impl IdleStreams {
    /// Opens `count` streams, each on its own connection and under its own client id. A v1 session is welcomed before it
    /// counts, and answers pings.
    ///
    /// # Errors
    /// [`LoadError::Connect`]: nothing is left open then.
    pub async fn open(
        to: &Destination,
        protocol: Protocol,
        count: usize,
        client_id_prefix: &str,
        token: Option<&str>,
    ) -> Result<Self, LoadError> {
        let (run_no, to) = (rand::random::<u32>(), &to.endpoint()?);
        let streams: Vec<BoxFuture<'static, String>> = stream::iter(0..count)
            .map(|number| {
                let client_id = format!("{client_id_prefix}-{run_no:08x}-{number}");
                async move { open_one(to, protocol, &client_id, token).await }
            })
            .buffer_unordered(OPENING_AT_ONCE)
            .try_collect()
            .await?;
        let mut open = JoinSet::new();
        for stream in streams {
            open.spawn(stream);
        }
        Ok(Self { open })
    }

    /// Why streams have ended that should be open.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let ended = std::iter::from_fn(|| self.open.try_join_next());
        ended.map(|why| why.unwrap_or_else(|error| error.to_string())).collect()
    }
}

/// Opens a stream. What is returned keeps it open, and returns why it ended.
async fn open_one(
    to: &Endpoint,
    protocol: Protocol,
    client_id: &str,
    token: Option<&str>,
) -> Result<BoxFuture<'static, String>, LoadError> {
    let channel = transport::connect(to).await?;
    let caller = Caller { client_id, token };
    let failed = |why: String| LoadError::Connect { address: to.uri().to_string(), why };
    let opened = |status: Status| failed(status.to_string());
    match protocol {
        Protocol::V1 => {
            let hello = run::hello(client_id, 1);
            let first = wire::ClientFrame { hello: Some(Box::new(hello)), ..wire::ClientFrame::default() };
            let (pongs_tx, mut pongs) = mpsc::channel(PONGS);
            let requests = stream::iter([first]).chain(stream::poll_fn(move |cx| pongs.poll_recv(cx)));
            let mut down: Streaming<wire::ServerFrame> =
                transport::open(channel.clone(), "/nimbus.v1.Gateway/Session", caller, requests)
                    .await
                    .map_err(opened)?;
            match down.message().await {
                Ok(Some(wire::ServerFrame { welcome: Some(_), .. })) => {}
                other => return Err(failed(format!("no welcome but {other:?}"))),
            }
            let answering = async move {
                let _channel = channel;
                loop {
                    match down.message().await {
                        Ok(Some(wire::ServerFrame { ping: Some(_), .. })) => {
                            let pong = wire::ClientFrame { pong: Some(Default::default()), ..Default::default() };
                            if pongs_tx.send(pong).await.is_err() {
                                return "the transport ended it".to_owned();
                            }
                        }
                        Ok(Some(_)) => {}
                        ended => return described(ended.map(drop)),
                    }
                }
            };
            Ok(answering.boxed())
        }
        Protocol::Original => {
            let silence = stream::pending::<wire::OriginalRequest>();
            let mut down: Streaming<wire::OriginalResponse> =
                transport::open(channel.clone(), "/nimbus.NimbusService/ProcessEvent", caller, silence)
                    .await
                    .map_err(opened)?;
            let listening = async move {
                let _channel = channel;
                loop {
                    match down.message().await {
                        Ok(Some(_)) => {}
                        ended => return described(ended.map(drop)),
                    }
                }
            };
            Ok(listening.boxed())
        }
    }
}

fn described(ended: Result<(), Status>) -> String {
    match ended {
        Ok(()) => "the server ended it".to_owned(),
        Err(status) => describe(&status),
    }
}
