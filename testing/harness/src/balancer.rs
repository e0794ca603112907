//! A TCP balancer, as stands before servers in production: each connection goes to the next server, and stays there.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Passes connections on, one server after the other. Dropping it cuts all of them.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    servers: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    /// Raised to cut every connection.
    cut: watch::Sender<u64>,
}

impl Balancer {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start(servers: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { servers: Mutex::new(servers), next: AtomicUsize::new(0), cut: watch::Sender::new(0) });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// New connections go to these servers from now on.
    pub fn use_servers(&self, servers: Vec<SocketAddr>) {
        *self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Cuts every connection: whoever comes back is passed to the next server.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // A listener of a test that is at its end may fail; then nobody comes any more.
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass(client, Arc::clone(&shared)));
    }
}

/// Passes one connection on until either side or the balancer ends it.
async fn pass(mut client: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let tries = shared.servers.lock().unwrap_or_else(PoisonError::into_inner).len();
    for _ in 0..tries {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let server = {
            let servers = shared.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers[number % servers.len()]
        };
        // A server that is down is passed over.
        let Ok(mut server) = TcpStream::connect(server).await else { continue };
        if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
            return;
        }
        tokio::select! {
            // However it ends, both sides are closed, and both sides know what to do about it.
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            _ = cut.changed() => {}
        }
        return;
    }
}
