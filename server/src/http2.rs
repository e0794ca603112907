//! HTTP/2: how a connection is served.
//!
//! This is what tonic's own server does around its services, with other timers: there each connection's keepalive fires when it will and
//! wakes a thread by itself, which takes as long as the keepalive does. Here they share their wake-ups ([`Beats`]). Two things more differ:
//! a connection whose streams made 1,024 errors ends (hyper's own limit, which tonic lifts), and `grpc-timeout`, which would bound the
//! time until a response begins, is left to clients: a stream's begins at once.

use std::{
    io,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use hyper::{
    Request,
    body::Incoming,
    rt::{Sleep, Timer},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nimbus_core::session::{Now, beat_until};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{codegen::Service as _, service::Routes};

use crate::{config::EdgeConfig, heard::Listening};

/// How much of a stream may be unread here, in bytes. This is how far a client gets while its stream is not read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all streams of a connection. The HTTP/2 library ends a connection that holds too many small unread frames: it
/// charges each 256 bytes less its length against half of this window. With these two windows eight streams of a connection
/// can be stalled and full of the smallest events before that happens; with the library's defaults not even one.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Serves each of these connections in a task of its own, until there are no more. Those that are served then go on. An error is that
/// of one connection, which is left alone.
pub(crate) async fn serve<C>(
    routes: Routes,
    config: &EdgeConfig,
    now: Now,
    connections: impl Stream<Item = io::Result<C>>,
) where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(Beats { began: now })
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_concurrent_streams(config.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let routes = routes.prepare();
    let mut connections = pin!(connections);
    while let Some(connection) = connections.next().await {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken");
                continue;
            }
        };
        let (connection, heard) = Listening::new(connection);
        let routes = routes.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(heard.clone());
            routes.clone().call(request)
        });
        let served = http2.serve_connection(TokioIo::new(connection), service);
        // Not in an async block, which would keep room for the connection twice.
        tokio::spawn(served.map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke");
            }
        }));
    }
}

/// Timers that fire on the last beat before their time: a keepalive may be sent a little sooner, and one that is missing be missed a
/// little sooner, but neither later than was said. They are for times of many beats.
#[derive(Debug)]
struct Beats {
    /// Both clocks in one moment.
    began: Now,
}

impl Beats {
    /// Not in the future if the last beat was in between: what is due before the next one is due at once.
    fn due(&self, deadline: Instant) -> Instant {
        beat_until(tokio::time::Instant::from_std(deadline), self.began).into_std()
    }
}

impl Timer for Beats {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep_until(self.due(deadline))
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        TokioTimer::new().reset(sleep, self.due(deadline));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use nimbus_core::{ServerId, clock::UnixMillis};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tonic::service::interceptor::InterceptedService;

    use super::*;
    use crate::heard::Heard;

    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
        frame.extend(payload);
        frame
    }

    /// The headers of a call that stays open, without Huffman's code and without anything to be remembered.
    fn watch() -> Vec<u8> {
        // POST, http; then by the index of the name.
        let mut block = vec![0x83, 0x86];
        for (name, value) in
            [(&[4][..], "/grpc.health.v1.Health/Watch"), (&[1], "here"), (&[15, 16], "application/grpc")]
        {
            block.extend(name);
            block.push(u8::try_from(value.len()).unwrap());
            block.extend(value.as_bytes());
        }
        block.extend(b"\x00\x02te\x08trailers");
        frame(HEADERS, END_HEADERS, 1, &block)
    }

    /// The kind of the next frame, its flags and what is in it; nothing at the end of the connection.
    async fn next(client: &mut DuplexStream) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
        client.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], payload))
    }

    #[tokio::test(start_paused = true)]
    async fn rule_26_whoever_does_not_answer_is_asked_on_a_beat_and_given_up_in_time() {
        let (mut client, server) = duplex(4096);
        let (_reporter, health) = tonic_health::server::health_reporter();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let health = InterceptedService::new(health, move |call: tonic::Request<()>| {
            tell.send(call.extensions().get::<Heard>().cloned()).unwrap();
            Ok(call)
        });
        let config = EdgeConfig::new(ServerId::try_new("s1").unwrap());
        // The next beats are 150 ms away, 350 and so on.
        let began = Now { instant: tokio::time::Instant::now(), unix: UnixMillis(1_050) };
        serve(Routes::new(health), &config, began, stream::iter([Ok(server)])).await;
        let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[]), watch()];
        client.write_all(&opening.concat()).await.unwrap();
        let mut asked = Vec::new();
        while let Some((kind, flags, payload)) = next(&mut client).await {
            if (kind, flags) == (PING, 0) {
                asked.push(began.instant.elapsed());
                if asked.len() == 1 {
                    client.write_all(&frame(PING, ACK, 0, &payload)).await.unwrap();
                }
            }
        }
        let millis = |from, to| Duration::from_millis(from)..=Duration::from_millis(to);
        // The timer's own step is a millisecond. The second time is an interval after the answer to the first, on a beat again.
        let [first, second] = asked[..] else { panic!("{asked:?}") };
        assert!(millis(29_950, 29_952).contains(&first) && millis(59_750, 59_952).contains(&second), "{asked:?}");
        let heard = told.recv().await.flatten().expect("each stream has it with its request").last();
        assert!(heard - began.instant >= first && heard - began.instant < first + Duration::from_secs(1), "the answer");
        let ended = began.instant.elapsed();
        assert!(
            ended > second + Duration::from_millis(9_700) && ended <= second + Duration::from_millis(10_002),
            "{ended:?}"
        );
    }
}
