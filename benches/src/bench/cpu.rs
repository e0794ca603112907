//! Who spends how much CPU time on an event: what a cluster is sized by.

use nimbus_loadtest::LoadReport;
use serde::{Deserialize, Serialize};

/// What one role spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RoleCpu {
    pub(super) role: String,
    /// User and system time of its process, in microseconds.
    pub(super) us_per_event: f64,
}

/// Roles that were not looked at are left out.
pub(super) fn by_role(roles: &[(String, u32)], report: &LoadReport) -> Vec<RoleCpu> {
    let of = |server: &nimbus_loadtest::ServerCost| {
        let (role, _) = roles.iter().find(|(_, pid)| *pid == server.pid)?;
        Some(RoleCpu { role: role.clone(), us_per_event: server.cpu_us_per_event })
    };
    report.cost.servers.iter().filter_map(of).collect()
}
