//! `nimbus standalone` and `nimbus dev`: the same server; `dev` greets. `nimbus server`, `executor`, `router` and
//! `consumers`: its parts, over Kafka and Redis.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
};

use nimbus_config::{Config, Loaded, Source};
use nimbus_telemetry::{LogFormat, init_logs};
use serde_json::json;
use tracing::{info, warn};

use super::{ServeArgs, style::Style};
use crate::{
    compose::{self, Listeners, Role, Signals, Up},
    exit::{Exit, Failure, OrExit},
};

/// How a server that is up says so on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// One line.
    Line,
    /// One JSON line, for programs.
    Json,
    /// What to try next.
    Banner,
}

impl Greeting {
    pub(crate) const fn of(args: &ServeArgs, is_dev: bool) -> Self {
        match (args.json, is_dev) {
            (true, _) => Self::Json,
            (false, true) => Self::Banner,
            (false, false) => Self::Line,
        }
    }
}

/// What `nimbus dev` logs unless `NIMBUS_LOG` is set: the banner should not drown.
const QUIET: &str = "warn,nimbus::compose=info";

/// Runs a role until it is told to end.
pub(crate) async fn run(role: Role, loaded: &Loaded, greeting: Greeting) -> Result<Exit, Failure> {
    let config = &loaded.config;
    let format = match config.telemetry.log_format {
        nimbus_config::LogFormat::Text => LogFormat::Text,
        nimbus_config::LogFormat::Json => LogFormat::Json,
    };
    let was_set =
        loaded.effective.iter().any(|entry| entry.setting.name == "NIMBUS_LOG" && entry.source != Source::Default);
    let filter = if greeting == Greeting::Banner && !was_set { QUIET } else { &config.telemetry.log };
    init_logs(filter, format).or_exit(Exit::Usage)?;
    let signals = Signals::of_process().or_exit(Exit::Io)?;
    let listeners = Listeners::bind(config, role)?;
    for warning in &loaded.warnings {
        warn!(setting = warning.name, why = warning.message, "a setting is odd");
    }
    compose::run(role, config, listeners, signals, |up| {
        info!(server = %up.server, role = up.role.name(), grpc = ?up.grpc, "ready");
        let text = match greeting {
            Greeting::Json => json_of(up),
            Greeting::Line => line(up),
            Greeting::Banner => match up.grpc {
                Some(grpc) => banner(up, grpc, config, Style::of_stdout()),
                None => line(up),
            },
        };
        // Nobody has to read it: a server whose standard output is closed still serves.
        if let Err(error) = writeln!(io::stdout(), "{text}") {
            warn!(%error, "nobody reads standard output");
        }
    })
    .await
}

fn json_of(up: &Up) -> String {
    let admin = up.admin.map(|address| address.to_string());
    let grpc = up.grpc.map(|address| address.to_string());
    let role = up.role.name();
    json!({ "kind": "ready", "server": up.server.as_str(), "role": role, "grpc": grpc, "admin": admin }).to_string()
}

fn line(up: &Up) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match up.grpc {
        Some(grpc) => format!("nimbus {version} listens on {grpc}"),
        None => format!("nimbus {version} is up as {}", up.role.name()),
    }
}

/// As it was started, so that the lines below can be copied.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "nimbus".to_owned())
}

/// Where a client on this machine finds a listener.
fn local(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        };
        address.set_ip(loopback);
    }
    address
}

/// What a client on this machine has to be told about where the server is.
fn flags(address: &str, config: &Config) -> String {
    match &config.tls {
        None if address == config.client.addr => String::new(),
        None => format!(" --addr {address}"),
        // The certificate says which name it is for; an address of this machine is probably not it.
        Some(_) if config.client.ca_file.is_some() => format!(" --addr https://{address}"),
        Some(_) => format!(" --addr https://{address} --ca-file AUTHORITY.pem"),
    }
}

fn banner(up: &Up, grpc: SocketAddr, config: &Config, style: Style) -> String {
    let program = program();
    let addr = flags(&local(grpc).to_string(), config);
    let mut lines = vec![
        String::new(),
        format!("  {} {}", style.bold("nimbus"), style.good("is up")),
        String::new(),
        format!("    gRPC    {grpc}"),
    ];
    if let Some(admin) = up.admin {
        lines.push(format!("    admin   http://{admin}  {}", style.dim("/live /ready /metrics")));
    }
    lines.push(format!("    data    {}", config.storage.dir.display()));
    lines.extend([String::new(), "  Now type, in another terminal:".to_owned(), String::new()]);
    let commands = [
        (format!("{program} client --start 1 --end 10{addr}"), "sends 1 to 10, prints their squares"),
        (format!("{program} client send echo hello{addr}"), "sends one event, prints its answer"),
        (format!("{program} client{addr}"), "stands by and prints what comes while it is there"),
        (format!("{program} client --outbox ./me.outbox{addr}"), "the same, and gets later what it missed"),
        (format!("{program} --help"), "what else there is"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, what) in &commands {
        let padding = " ".repeat(width - command.len() + 3);
        lines.push(format!("    {}{padding}{}", style.bold(command), style.dim(what)));
    }
    lines.extend([
        String::new(),
        format!("  {}", style.dim("ctrl-c ends it: at once if you press it twice")),
        String::new(),
    ]);
    lines.join("\n")
}
