//! The distributed part: the glue and Nimbus in turn, over the same Kafka and the same Redis.
//!
//! Each start has topics, groups and keys of its own, and what it has left behind is removed after it: nobody pays for what
//! another one has stored.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use nimbus_loadtest::{Limit, LoadConfig};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{
    CROWD, PROTOCOLS, Plan, beyond,
    kafka::{self, KafkaBytes},
    kind::{Kind, Setting},
    loads, measure,
    memory::{self, IdleStream},
    process::Process,
    redis::RedisCost,
    report::Measured,
    server::{Server, address_in, files_in, nimbus_command},
    services::Services,
};
use crate::glue;

/// Events that a new deployment answers before it is measured: groups are joined and connections open by then.
const FIRST_EVENTS: u64 = 256;
/// How long the first of them may take.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// What Kafka and Redis have spent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Costs {
    pub(super) redis: Vec<RedisCost>,
    pub(super) kafka: Vec<KafkaBytes>,
}

/// Measures both in every round, and what idle streams cost Nimbus at the end.
pub(super) async fn measure_rounds(
    plan: &Plan,
    directory: &Path,
    measured: &mut Vec<Measured>,
    beyond: &mut Vec<beyond::Measured>,
    idle: &mut Vec<IdleStream>,
) -> anyhow::Result<Costs> {
    let services = Services::start(plan.directory.as_deref()).await?;
    warm_up(&services, plan, directory).await?;
    let mut costs = Costs::default();
    for round in 0..plan.rounds {
        for kind in Setting::Distributed.order(round) {
            let names = Names::new();
            let mut server = match kind {
                Kind::Glue => start_glue(&services, &names, directory).await?,
                _ => start_nimbus(&services, &names, &plan.nimbus, directory).await?,
            };
            server.uses = services.processes()?;
            answer_all(&server, Limit::Events(FIRST_EVENTS)).await?;
            for (protocol, shape) in loads() {
                let router = server.router_admin.filter(|_| shape == CROWD);
                let before = match router {
                    Some(router) => Some((router, services.client.look(router).await?)),
                    None => None,
                };
                let one = measure(plan, round, &server, protocol, shape).await?;
                if let Some((router, before)) = before {
                    let load = (round, protocol, one.report.answered);
                    let cost = services.client.cost_since(before, router, load).await?;
                    eprintln!(
                        "    Redis: {:.2} us a result, {:.0} results a batch",
                        cost.us_per_result(),
                        cost.results_per_batch()
                    );
                    costs.redis.push(cost);
                }
                measured.push(one);
            }
            beyond::measure(plan, (Setting::Distributed, round), &server, measured, beyond).await?;
            if kind == Kind::Distributed {
                let topics = (services.kafka.data(), names.of(""));
                costs.kafka.push(kafka::measure(plan, round, &server, (&topics.0, &topics.1)).await?);
            }
            stop(&services, &names, server).await?;
        }
    }
    for protocol in PROTOCOLS.into_iter().filter(|_| plan.idle > 0) {
        let names = Names::new();
        let server = start_nimbus(&services, &names, &plan.nimbus, directory).await?;
        answer_all(&server, Limit::Events(FIRST_EVENTS)).await?;
        let looking = Duration::from_secs_f64(plan.idle_seconds);
        let stream = memory::per_idle_stream(&server, protocol, plan.idle, looking).await?;
        eprintln!("idle: {}, {protocol:?}: {:.1} KiB a stream", server.kind, stream.kib_per_stream);
        idle.push(stream);
        stop(&services, &names, server).await?;
    }
    Ok(costs)
}

/// Java compiles what is used a lot, some seconds after it begins: nobody's first round shall pay for it. The load is the
/// glue's, whoever comes first.
async fn warm_up(services: &Services, plan: &Plan, directory: &Path) -> anyhow::Result<()> {
    eprintln!("Kafka and Redis run; the first load is not measured");
    let names = Names::new();
    let server = start_glue(services, &names, directory).await?;
    answer_all(&server, Limit::Duration(Duration::from_secs_f64(2.0 * plan.seconds))).await?;
    stop(services, &names, server).await
}

/// Ends a server and removes what it has left in Kafka and Redis.
async fn stop(services: &Services, names: &Names, server: Server) -> anyhow::Result<()> {
    let topics = names.topics(server.kind);
    server.stop().await?;
    services.client.empty().await?;
    glue::remove_topics(&services.kafka.address(), &topics).await.context("topics could not be removed")
}

/// What one start calls its own.
#[derive(Debug)]
struct Names {
    prefix: String,
}

impl Names {
    fn new() -> Self {
        Self { prefix: format!("bench-{:016x}", rand::random::<u64>()) }
    }

    fn of(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    fn topics(&self, kind: Kind) -> Vec<String> {
        let mut topics = vec![self.of("events"), self.of("results")];
        if kind == Kind::Distributed {
            topics.push(self.of("dlq"));
        }
        topics
    }
}

async fn start_glue(services: &Services, names: &Names, directory: &Path) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("glue").args(["--prefix", &names.prefix]);
    command.args(["--kafka", &services.kafka.address()]).args(["--redis", &services.redis.address()]);
    let (process, address) = Process::start("glue", command, address_in).await?;
    Ok(Server::new(Kind::Glue, vec![process], address, files_in(directory)?))
}

async fn start_nimbus(services: &Services, names: &Names, nimbus: &Path, directory: &Path) -> anyhow::Result<Server> {
    let files = files_in(directory)?;
    let command = |role: &str, admin: &str| -> anyhow::Result<Command> {
        let mut command = nimbus_command(nimbus, role, files.path())?;
        command.arg("--json").env("NIMBUS_ADMIN_ADDR", admin);
        // One broker, and a Redis that knows nothing yet: it would warn of both at every start.
        command.env("NIMBUS_LOG", "error");
        command.env("NIMBUS_KAFKA_BROKERS", services.kafka.address());
        command.env("NIMBUS_REDIS_ADDRESS", services.redis.address());
        command.env("NIMBUS_KAFKA_EVENTS_TOPIC", names.of("events"));
        command.env("NIMBUS_KAFKA_RESULTS_TOPIC", names.of("results"));
        command.env("NIMBUS_KAFKA_DLQ_TOPIC", names.of("dlq"));
        command.env("NIMBUS_KAFKA_GROUP_PREFIX", names.of("group"));
        command.env("NIMBUS_REDIS_KEY_PREFIX", names.of("key"));
        command.env("NIMBUS_REDIS_EVENTS_CHANNEL", names.of("channel"));
        Ok(command)
    };
    let (server, ready) = Process::start("nimbus server", command("server", "off")?, ready_in).await?;
    let address = ready.grpc.context("nimbus server does not say where it listens")?.to_string();
    let consumers = command("consumers", "127.0.0.1:0")?;
    let (consumers, ready) = Process::start("nimbus consumers", consumers, ready_in).await?;
    let router = ready.admin.context("nimbus consumers does not say where its metrics are")?;
    let mut nimbus = Server::new(Kind::Distributed, vec![server, consumers], address, files);
    nimbus.router_admin = Some(router);
    Ok(nimbus)
}

/// What a process of Nimbus says with `--json` when it is ready, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Ready {
    kind: String,
    #[serde(default)]
    grpc: Option<SocketAddr>,
    #[serde(default)]
    admin: Option<SocketAddr>,
}

fn ready_in(line: &str) -> Option<Ready> {
    serde_json::from_str(line).ok().filter(|ready: &Ready| ready.kind == "ready")
}

/// A load of each protocol that is only checked.
async fn answer_all(server: &Server, limit: Limit) -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let config = LoadConfig {
            streams: CROWD.streams,
            connections: CROWD.streams,
            window: CROWD.window,
            limit,
            warmup: Duration::ZERO,
            client_id_prefix: "first".to_owned(),
            drain_timeout: FIRST_ANSWER,
            ..LoadConfig::new(server.address(), protocol)
        };
        let report = nimbus_loadtest::run(&config, |_| {}).await?;
        anyhow::ensure!(report.is_clean(), "the first load of {} was not clean: {report}", server.kind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_is_told_from_others() {
        let server = r#"{"kind":"ready","server":"s","role":"server","grpc":"127.0.0.1:5","admin":null}"#;
        let ready = ready_in(server).unwrap();
        assert_eq!((ready.grpc.unwrap().port(), ready.admin), (5, None));
        let consumers = ready_in(r#"{"kind":"ready","role":"consumers","grpc":null,"admin":"127.0.0.1:6"}"#).unwrap();
        assert_eq!((consumers.grpc, consumers.admin.unwrap().port()), (None, 6));
        assert!(ready_in(r#"{"kind":"stopped"}"#).is_none() && ready_in("nimbus is up").is_none());
    }

    #[test]
    fn no_two_starts_have_a_name_in_common() {
        let (one, other) = (Names::new(), Names::new());
        assert!(one.topics(Kind::Distributed).iter().all(|topic| !other.topics(Kind::Distributed).contains(topic)));
        // What the glue makes, is removed.
        let parts = glue::Parts { kafka: String::new(), redis: String::new(), prefix: one.prefix.clone() };
        assert_eq!(one.topics(Kind::Glue), [parts.events(), parts.results()]);
    }
}
