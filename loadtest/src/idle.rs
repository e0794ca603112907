//! Streams that say nothing, each on a connection of its own, for the memory that they cost a server.

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Channel};

use crate::{
    LoadError, Protocol, run,
    transport::{self, Caller},
    wire,
};

const OPENING_AT_ONCE: usize = 64;

/// Open streams. Dropping it closes them.
#[derive(Debug)]
pub struct IdleStreams {
    _streams: Vec<Idle>,
    _open: tokio_util::sync::DropGuard,
}

#[derive(Debug)]
enum Idle {
    V1 { _down: Box<Streaming<wire::ServerFrame>>, _channel: Channel },
    Original { _down: Box<Streaming<wire::OriginalResponse>>, _channel: Channel },
}

impl IdleStreams {
    /// Opens `count` streams, each on its own connection and under its own client id. A v1 session is welcomed before it
    /// counts; pings are not answered, so measure within the server's ping interval.
    ///
    /// # Errors
    /// [`LoadError::Connect`]: nothing is left open then.
    pub async fn open(
        address: &str,
        protocol: Protocol,
        count: usize,
        client_id_prefix: &str,
        token: Option<&str>,
    ) -> Result<Self, LoadError> {
        let open = CancellationToken::new();
        let run_no: u32 = rand::random();
        let streams = stream::iter(0..count)
            .map(|number| {
                let client_id = format!("{client_id_prefix}-{run_no:08x}-{number}");
                let open = open.clone();
                async move { open_one(address, protocol, &client_id, token, open).await }
            })
            .buffer_unordered(OPENING_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { _streams: streams, _open: open.drop_guard() })
    }
}

async fn open_one(
    address: &str,
    protocol: Protocol,
    client_id: &str,
    token: Option<&str>,
    open: CancellationToken,
) -> Result<Idle, LoadError> {
    let channel = transport::connect(address).await?;
    let caller = Caller { client_id, token };
    let failed = |why: String| LoadError::Connect { address: address.to_owned(), why };
    match protocol {
        Protocol::V1 => {
            let hello = run::hello(client_id, 1);
            let first = wire::ClientFrame { hello: Some(Box::new(hello)), ..wire::ClientFrame::default() };
            let requests = stream::iter([first]).chain(silence(open));
            let mut down: Streaming<wire::ServerFrame> =
                transport::open(channel.clone(), "/nimbus.v1.Gateway/Session", caller, requests)
                    .await
                    .map_err(|status| failed(status.to_string()))?;
            match down.message().await {
                Ok(Some(wire::ServerFrame { welcome: Some(_), .. })) => {}
                other => return Err(failed(format!("no welcome but {other:?}"))),
            }
            Ok(Idle::V1 { _down: Box::new(down), _channel: channel })
        }
        Protocol::Original => {
            let down = transport::open(
                channel.clone(),
                "/nimbus.NimbusService/ProcessEvent",
                caller,
                silence::<wire::OriginalRequest>(open),
            )
            .await
            .map_err(|status| failed(status.to_string()))?;
            Ok(Idle::Original { _down: Box::new(down), _channel: channel })
        }
    }
}

/// Says nothing until it ends.
fn silence<T>(open: CancellationToken) -> impl futures_util::Stream<Item = T> {
    stream::once(open.cancelled_owned()).filter_map(|()| std::future::ready(None))
}
