//! The way between two sides: a TCP proxy that can be made slow, silent, or be cut.
//!
//! Silent is what a dead network is: nothing is closed, and nothing comes. Connections that were open when it went silent, or
//! were opened meanwhile, never speak again, also when the weather is fair again: whoever waits on one must notice by itself.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// How much is read at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces under way in one direction of one connection; then it is not read any more.
const PIECES: usize = 64;
/// Connections that may wait to be taken: thousands come in one moment after a cut.
const BACKLOG: u32 = 4_096;
/// How long a silent connection is kept: longer than anybody waits for it. Otherwise a long run would collect them.
const SILENT_FOR: Duration = Duration::from_secs(120);

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Everything takes so much longer, each way.
    Slow(Duration),
    /// Nothing comes.
    Silent,
}

/// A way; dropping it cuts every connection.
#[derive(Debug)]
pub(crate) struct Way {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    targets: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    weather: watch::Sender<Weather>,
    /// Raised to cut every connection.
    cut: watch::Sender<u64>,
}

impl Way {
    /// Listens on a free port; each connection goes to the next target, and stays there.
    pub(crate) async fn open(targets: Vec<SocketAddr>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            targets: Mutex::new(targets),
            next: AtomicUsize::new(0),
            weather: watch::Sender::new(Weather::Fair),
            cut: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go to these from now on.
    pub(crate) fn lead_to(&self, targets: Vec<SocketAddr>) {
        *self.shared.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Resets every connection.
    pub(crate) fn cut(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(pass(client, Arc::clone(&shared)))),
            Err(error) => {
                // Too many open files, most likely: look again when some have been closed.
                eprintln!("nimbus-chaos: the proxy could not take a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Passes one connection on until either side ends it, or it is cut, or it is silent for good.
async fn pass(mut near: TcpStream, shared: Arc<Shared>) {
    let (mut cut, weather) = (shared.cut.subscribe(), shared.weather.subscribe());
    let mut silence = shared.weather.subscribe();
    let passing = async {
        let Some(mut far) = connect(&shared).await else { return };
        if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
            return;
        }
        let is_cut = {
            let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
            let up = pump(near_read, far_write, weather.clone());
            let down = pump(far_read, near_write, weather);
            tokio::select! {
                // First what stops it: nothing may slip through afterwards.
                biased;
                _ = cut.changed() => true,
                () = silent(&mut silence) => {
                    tokio::select! {
                        // sleep: nobody will ever say that it is no longer waited for
                        () = sleep(SILENT_FOR) => {}
                        _ = cut.changed() => {}
                    }
                    true
                }
                // However it ends, both sides are closed, and both sides know what to do about it.
                _ = async { tokio::try_join!(up, down) } => false,
            }
        };
        if is_cut {
            reset(&near);
            reset(&far);
        }
    };
    passing.await;
}

async fn connect(shared: &Shared) -> Option<TcpStream> {
    let tries = shared.targets.lock().unwrap_or_else(PoisonError::into_inner).len();
    for _ in 0..tries {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let target = {
            let targets = shared.targets.lock().unwrap_or_else(PoisonError::into_inner);
            *targets.get(number % targets.len().max(1))?
        };
        // One that is down is passed over.
        if let Ok(stream) = TcpStream::connect(target).await {
            return Some(stream);
        }
    }
    None
}

/// Completes when nothing comes any more.
async fn silent(weather: &mut watch::Receiver<Weather>) {
    if weather.wait_for(|weather| *weather == Weather::Silent).await.is_err() {
        // The way is gone, and its end is a cut.
        std::future::pending::<()>().await;
    }
}

/// The next reset sends RST instead of FIN: the other side learns at once, and gets nothing that was under way.
fn reset(stream: &TcpStream) {
    // Fails for a connection that has ended already.
    stream.set_zero_linger().ok();
}

/// One direction: reads, keeps for as long as the weather says, writes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (pieces_tx, mut pieces_rx) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 || pieces_tx.send((Instant::now(), buffer[..count].to_vec())).await.is_err() {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let writing = async move {
        while let Some((came, piece)) = pieces_rx.recv().await {
            let delay = match *weather.borrow() {
                Weather::Slow(delay) => delay,
                Weather::Fair | Weather::Silent => Duration::ZERO,
            };
            if !delay.is_zero() {
                sleep_until(came + delay).await;
            }
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Somebody who gives everything back, and the way to it.
    async fn echo() -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        Way::open(vec![address]).await.unwrap()
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_all(b"x").await?;
        timeout(SOON, stream.read_u8()).await.map_err(io::Error::other)?
    }

    #[tokio::test]
    async fn in_fair_weather_it_passes_everything_on_and_ends_with_its_sides() {
        let way = echo().await;
        let mut stream = TcpStream::connect(way.address()).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), b'x');
        stream.shutdown().await.unwrap();
        assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_cut_is_a_reset_and_the_next_connection_works() {
        let way = echo().await;
        let mut stream = TcpStream::connect(way.address()).await.unwrap();
        ask(&mut stream).await.unwrap();
        way.cut();
        let error = timeout(SOON, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        ask(&mut TcpStream::connect(way.address()).await.unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn slow_weather_takes_its_time_each_way() {
        let way = echo().await;
        let mut stream = TcpStream::connect(way.address()).await.unwrap();
        ask(&mut stream).await.unwrap();
        way.set(Weather::Slow(Duration::from_millis(50)));
        let asked = Instant::now();
        ask(&mut stream).await.unwrap();
        assert!(asked.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn what_was_silent_never_speaks_again_and_what_is_new_does() {
        let way = echo().await;
        let mut stream = TcpStream::connect(way.address()).await.unwrap();
        ask(&mut stream).await.unwrap();
        way.set(Weather::Silent);
        let mut meanwhile = TcpStream::connect(way.address()).await.unwrap();
        let (old, new) = tokio::join!(async { timeout(Duration::from_millis(50), ask(&mut stream)).await }, async {
            timeout(Duration::from_millis(50), ask(&mut meanwhile)).await
        });
        assert!(old.is_err() && new.is_err(), "nothing comes, and nothing is closed");
        way.set(Weather::Fair);
        ask(&mut TcpStream::connect(way.address()).await.unwrap()).await.unwrap();
        for mut silent in [stream, meanwhile] {
            assert!(timeout(Duration::from_millis(50), silent.read_u8()).await.is_err());
        }
    }
}
