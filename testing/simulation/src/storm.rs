//! The faults of a run: one after the other, now and then two at once.

use std::{sync::Arc, time::Duration};

use crate::{
    process::{Backend, Process, Role},
    user::User,
};

/// For how long a process stands still at most, in milliseconds.
const LONGEST_STANDSTILL: u64 = 15_000;

/// Everybody there is.
#[derive(Debug)]
pub(crate) struct Cast {
    backend: Arc<Backend>,
    processes: Vec<Process>,
    users: Vec<User>,
}

impl Cast {
    pub(crate) async fn start(backend: &Arc<Backend>) -> Self {
        let plan = &backend.world.plan;
        let of = |role, count| (0..count).map(move |number| Process::start(backend, role, number));
        let processes = of(Role::Server, plan.servers)
            .chain(of(Role::Executor, plan.executors))
            .chain(of(Role::Router, plan.routers))
            .collect();
        let mut users = Vec::new();
        for number in 0..plan.clients {
            users.extend(User::start(backend, number).await);
        }
        Self { backend: Arc::clone(backend), processes, users }
    }

    /// Lets faults happen until the time is over.
    pub(crate) async fn weather(&mut self) {
        let world = Arc::clone(&self.backend.world);
        while world.elapsed() < world.plan.storm {
            tokio::time::sleep(world.dice.millis(50, world.plan.fault_pause)).await;
            self.fault().await;
        }
    }

    async fn fault(&mut self) {
        let backend = Arc::clone(&self.backend);
        let (world, dice) = (&backend.world, &backend.world.dice);
        let one = dice.below(self.processes.len() as u64) as usize;
        match dice.below(100) {
            0..20 => {
                self.processes[one].kill();
                tokio::time::sleep(dice.millis(0, 3_000)).await;
                self.processes[one] = self.processes[one].again();
            }
            20..30 => {
                if !self.processes[one].is_down() {
                    self.processes[one].end().await;
                }
                self.processes[one] = self.processes[one].again();
            }
            30..42 => self.processes[one].stand_still(dice.millis(500, LONGEST_STANDSTILL)),
            42..62 => backend.network.disturb(),
            62..70 => {
                backend.mailbox.copy();
                tokio::time::sleep(dice.millis(1, 4_000)).await;
                world.step("tail lost", 0, 0);
                backend.mailbox.lose_tail();
            }
            70..75 => {
                world.step("all lost", 0, 0);
                backend.mailbox.lose_everything();
            }
            75..80 => {
                let millis = dice.within(0, 600_000) as i64;
                self.processes[one].jump_clock(if dice.per_mille(500) { millis } else { -millis });
            }
            80..86 => {
                let one = dice.below(self.users.len() as u64) as usize;
                let number = self.users.swap_remove(one).kill();
                // What was aborted lets go of the client only now.
                tokio::time::sleep(dice.millis(1, 2_000)).await;
                self.users.extend(User::start(&backend, number).await);
            }
            86..92 => {
                // One more takes part for a while.
                let role = if dice.per_mille(500) { Role::Executor } else { Role::Router };
                let mut more = Process::start(&backend, role, usize::MAX);
                tokio::time::sleep(dice.millis(100, 3_000)).await;
                more.end().await;
            }
            _ => {}
        }
    }

    /// Whoever is down comes back, once whoever stands still has gone on: what a dead client's Hello does that was held up
    /// must be over.
    pub(crate) async fn recover(&mut self) {
        tokio::time::sleep(Duration::from_millis(LONGEST_STANDSTILL)).await;
        for process in &mut self.processes {
            if process.is_down() {
                *process = process.again();
            }
        }
        for user in std::mem::take(&mut self.users) {
            if user.is_gone() {
                let number = user.kill();
                self.users.extend(User::start(&self.backend, number).await);
            } else {
                self.users.push(user);
            }
        }
    }

    /// Everybody sends what is left, and one more.
    pub(crate) async fn send_rest(&self) {
        for user in &self.users {
            while !user.has_sent() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            user.send_last().await;
        }
    }
}
