//! A TCP balancer before the servers, since a client knows one address: each connection goes to the server that has the
//! fewest, and stays there. When a server dies, its clients come back and are passed to another.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::net::{TcpListener, TcpStream};

use crate::exit::tell;

/// One server, and how many connections it has.
#[derive(Debug, Default, Clone, Copy)]
struct Seat {
    /// `None` while it is down.
    address: Option<SocketAddr>,
    open: usize,
}

/// The way to the servers; a cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Balancer {
    pub(super) address: SocketAddr,
    seats: Arc<Mutex<Vec<Seat>>>,
}

impl Balancer {
    /// Listens on a free port, before so many servers that are all down yet.
    pub(super) async fn listen(servers: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let balancer =
            Self { address: listener.local_addr()?, seats: Arc::new(Mutex::new(vec![Seat::default(); servers])) };
        tokio::spawn(balancer.clone().accept(listener));
        Ok(balancer)
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((client, _)) => drop(tokio::spawn(self.clone().pass(client))),
                Err(error) => return tell(format_args!("nimbus: the balancer takes nobody any more: {error}")),
            }
        }
    }

    /// Passes one connection on until either side ends it.
    async fn pass(self, mut client: TcpStream) {
        let mut tried = Vec::new();
        while let Some((number, address)) = self.enter(&tried) {
            tried.push(number);
            // A server that has just died is passed over.
            if let Ok(mut server) = TcpStream::connect(address).await {
                if client.set_nodelay(true).is_ok() && server.set_nodelay(true).is_ok() {
                    // However it ends, both sides are closed, and both know what to do about it.
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                }
                self.lock()[number].open -= 1;
                return;
            }
            self.lock()[number].open -= 1;
        }
    }

    fn enter(&self, tried: &[usize]) -> Option<(usize, SocketAddr)> {
        let mut seats = self.lock();
        let up = seats.iter_mut().enumerate().filter(|(number, _)| !tried.contains(number));
        let up = up.filter_map(|(number, seat)| seat.address.map(|address| (number, seat, address)));
        let (number, seat, address) = up.min_by_key(|(_, seat, _)| seat.open)?;
        seat.open += 1;
        Some((number, address))
    }

    /// Where a server is from now on; `None`: it is down.
    pub(super) fn set(&self, number: usize, address: Option<SocketAddr>) {
        self.lock()[number].address = address;
    }

    /// How many connections each server has.
    pub(super) fn open(&self) -> Vec<usize> {
        self.lock().iter().map(|seat| seat.open).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
