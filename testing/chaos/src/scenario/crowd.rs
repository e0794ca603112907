//! The clients of a storm: each with a connection of its own, and with answers that it has not read when all are cut at once.
//!
//! Their application reads nothing until the cut. Half of the answers fit into the receive window and are on their side by then; the other
//! half waits on the servers', so that there is something to replay to each of them.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use nimbus_client::{Client, Outbox, Resumed, State};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::stage::PATIENCE;
use crate::{Books, Violation, load::Station, meter::Meter, payload::Author, way::Way};

/// How many connect, or send, at a time while the storm is prepared: that it comes together is no part of it.
const AT_A_TIME: usize = 64;

pub(super) struct Crowd {
    members: Vec<Arc<Station>>,
    meter: Arc<Meter>,
    way: Way,
    backlog: u64,
}

/// What became of one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Return {
    /// When it had a session again, and how that went on; nothing if it had none in time.
    pub(super) resumed: Option<(Instant, Resumed)>,
    /// When it had its whole backlog.
    pub(super) delivered: Option<Instant>,
}

impl Crowd {
    /// Connects so many clients, over a way of their own.
    pub(super) async fn gather(
        servers: Vec<SocketAddr>,
        run: &str,
        size: usize,
        backlog: u64,
        bytes: usize,
    ) -> anyhow::Result<Self> {
        let way = Way::open(servers).await?;
        let (turns, mut connecting) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
        let url = format!("http://{}", way.address());
        let window = u32::try_from(backlog / 2).unwrap_or(u32::MAX).max(1);
        for number in 0..size {
            let (turns, id) = (Arc::clone(&turns), format!("{run}-crowd-{number}"));
            let author = Author { run: run.to_owned(), client: id.clone(), bytes };
            let client = Client::builder(&url).client_id(&id).outbox(Outbox::memory()).receive_window(window);
            connecting.spawn(async move {
                let _turn = turns.acquire().await;
                Ok::<_, nimbus_client::Error>(Station::new(client.connect_timeout(PATIENCE).connect().await?, author))
            });
        }
        let mut members = Vec::with_capacity(size);
        while let Some(connected) = connecting.join_next().await {
            members.push(connected?.context("a client of the crowd could not connect")?);
        }
        Ok(Self { members, meter: Arc::new(Meter::new(Instant::now())), way, backlog })
    }

    /// Sends every client's backlog, and waits until it is accepted.
    pub(super) async fn fill(&self) -> anyhow::Result<()> {
        let (turns, mut sending) = (Arc::new(Semaphore::new(AT_A_TIME)), JoinSet::new());
        for member in &self.members {
            let (turns, member, meter) = (Arc::clone(&turns), Arc::clone(member), Arc::clone(&self.meter));
            let backlog = self.backlog;
            sending.spawn(async move {
                let _turn = turns.acquire().await;
                let mut last = None;
                for _ in 0..backlog {
                    last = Some(member.send(Instant::now(), &meter).await?);
                }
                if let Some(last) = last {
                    member.client.accepted(last).await?;
                }
                Ok::<_, nimbus_client::Error>(())
            });
        }
        let all = async {
            while let Some(sent) = sending.join_next().await {
                sent?.context("a client of the crowd could not send")?;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, all).await.context("the backlog of the crowd was not accepted in time")?
    }

    /// Cuts every connection, has every application read from now on, and says when that was and, when all is over, what became of
    /// each.
    pub(super) async fn cut(&self) -> anyhow::Result<(Instant, Vec<Return>)> {
        let before = self.members.iter().map(|member| {
            let mut state = member.client.state();
            let session = session(&state.borrow_and_update());
            (member, state, session)
        });
        let before: Vec<_> = before.collect();
        let at = Instant::now();
        // First the cut: whoever reads before it gives credit, and the rest of the backlog comes on the old connection.
        self.way.cut();
        let mut returns = JoinSet::new();
        for (member, state, session) in before {
            let (member, meter, backlog) = (Arc::clone(member), Arc::clone(&self.meter), self.backlog);
            returns.spawn(async move {
                let (resuming, reading) = (resumed(state, session), read(&member, &meter, backlog));
                let (resumed, delivered) = tokio::join!(timeout(PATIENCE, resuming), timeout(PATIENCE, reading));
                Return { resumed: resumed.ok().flatten(), delivered: delivered.ok().flatten() }
            });
        }
        let mut over = Vec::with_capacity(self.members.len());
        while let Some(back) = returns.join_next().await {
            over.push(back?);
        }
        Ok((at, over))
    }

    /// Ends every client, and closes the books.
    pub(super) async fn disperse(&self) -> (Books, Vec<Violation>) {
        let mut books = Books::default();
        for member in &self.members {
            books += member.close(&self.meter);
            member.client.close().await;
        }
        (books, self.meter.violations())
    }
}

/// Waits for another session than the one before; says when it came, and how it goes on.
async fn resumed(mut state: watch::Receiver<State>, before: Option<String>) -> Option<(Instant, Resumed)> {
    loop {
        if let State::Connected(new) = &*state.borrow_and_update()
            && Some(&new.session_id) != before.as_ref()
        {
            return Some((Instant::now(), new.resumed));
        }
        state.changed().await.ok()?;
    }
}

/// Reads a whole backlog; says when the last of it came.
async fn read(member: &Station, meter: &Meter, backlog: u64) -> Option<Instant> {
    while member.ledger().books().answered < backlog {
        match member.client.recv().await {
            Ok(Some(incoming)) => member.take(incoming, meter),
            Ok(None) => return None,
            Err(error) => {
                member.ended(&error, meter);
                return None;
            }
        }
    }
    Some(Instant::now())
}

fn session(state: &State) -> Option<String> {
    match state {
        State::Connected(session) => Some(session.session_id.clone()),
        _ => None,
    }
}
