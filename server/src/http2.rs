//! HTTP/2: how a connection is served.
//!
//! This is what tonic's own server does around its services, except for when keepalives are due: there each connection's timer fires
//! when it will and wakes a thread by itself, which takes as long as the keepalive. Here they share their wake-ups ([`Beats`]).

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
use nimbus_core::session::{BEAT, Now, beat_until};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{codegen::Service as _, service::Routes};

use crate::config::EdgeConfig;

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
        .timer(Beats::new(config, now))
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_concurrent_streams(config.streams_per_connection)
        // Streams last, and their headers are sent once: what is remembered of them would only be kept.
        .header_table_size(0)
        .auto_date_header(false)
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
        let routes = routes.clone();
        let service = service_fn(move |request: Request<Incoming>| routes.clone().call(request));
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
/// little sooner, but neither later than was said (rule 26 rests on that).
#[derive(Debug)]
struct Beats {
    /// Both clocks in one moment.
    began: Now,
    /// Below so many beats a beat is not little, and timers keep their time.
    is_little: bool,
}

/// A keepalive may come sooner by one of so many parts of its time.
const LITTLE: u32 = 10;

impl Beats {
    fn new(config: &EdgeConfig, began: Now) -> Self {
        Self { began, is_little: config.keepalive_interval.min(config.keepalive_timeout) >= BEAT * LITTLE }
    }

    /// Not in the future if the last beat was in between: what is due before the next one is due at once.
    fn due(&self, deadline: Instant) -> Instant {
        match self.is_little {
            true => beat_until(tokio::time::Instant::from_std(deadline), self.began).into_std(),
            false => deadline,
        }
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
    use nimbus_core::{ServerId, clock::UnixMillis};

    use super::*;

    #[test]
    fn keepalives_come_on_the_last_beat_before_their_time_unless_they_are_quick() {
        let millis = Duration::from_millis;
        let mut config = EdgeConfig::new(ServerId::try_new("s1").unwrap());
        // The next beats are 150 ms away, 350 and so on.
        let began = Now { instant: tokio::time::Instant::now(), unix: UnixMillis(1_050) };
        let due = |config: &EdgeConfig, after| {
            let deadline = began.instant.into_std() + millis(after);
            Beats::new(config, began).due(deadline) - began.instant.into_std()
        };
        for (after, expected) in [(30_000, 29_950), (30_150, 30_150), (30_149, 29_950), (349, 150)] {
            assert_eq!(due(&config, after), millis(expected), "{after}");
        }
        config.keepalive_timeout = millis(1_999);
        assert_eq!(due(&config, 30_000), millis(30_000));
    }
}
