//! Does one fault to the installation, from its beginning until everything that was harmed is back.

use std::time::Duration;

use nimbus_services::{Kafka, Redis};

use crate::{
    Kind, Step,
    kind::Role,
    plan::{OF_EACH, last},
    site::Site,
    way::{Way, Weather},
};

/// How often connections are cut in one fault.
const CUTS: usize = 3;
/// How much longer everything takes each way between clients and servers.
const CLIENTS_SLOWER: Duration = Duration::from_millis(200);
/// The same between servers and Redis.
const REDIS_SLOWER: Duration = Duration::from_millis(50);

/// Returns when the harm is over; recovery begins there.
///
/// # Errors
/// Something did not come back, or did not end as it should: the installation is not what it was.
pub(crate) async fn strike(site: &mut Site, step: &Step) -> anyhow::Result<()> {
    let (victim, hold) = (step.victim, step.hold);
    match step.kind {
        Kind::KillServer => kill(site, Role::Server, victim, hold).await,
        Kind::KillExecutor => kill(site, Role::Executor, victim, hold).await,
        Kind::KillRouter => kill(site, Role::Router, victim, hold).await,
        Kind::PauseServer => {
            site.pause(Role::Server, victim)?;
            last(hold).await;
            site.resume(Role::Server, victim)
        }
        Kind::PauseExecutor => zombie(site, Role::Executor, victim, hold).await,
        Kind::PauseRouter => zombie(site, Role::Router, victim, hold).await,
        Kind::RollServers => roll(site, Role::Server, hold).await,
        Kind::RollExecutors => roll(site, Role::Executor, hold).await,
        Kind::RollRouters => roll(site, Role::Router, hold).await,
        Kind::RedisFlush => site.redis(|redis| redis.flush()).await,
        Kind::RedisEmpty => {
            site.redis(Redis::kill).await?;
            last(hold).await;
            site.redis(Redis::restart_empty).await
        }
        Kind::RedisRestart => {
            site.redis(Redis::kill).await?;
            last(hold).await;
            site.redis(Redis::restart).await
        }
        Kind::KafkaRestart => {
            site.kafka(Kafka::kill).await?;
            last(hold).await;
            site.kafka(Kafka::restart).await
        }
        Kind::ClientsCut => {
            cut(&site.clients, hold).await;
            Ok(())
        }
        Kind::RedisCut => {
            cut(&site.redis_way, hold).await;
            Ok(())
        }
        Kind::ClientsDelay => {
            turn(&site.clients, Weather::Slow(CLIENTS_SLOWER), hold).await;
            Ok(())
        }
        Kind::RedisDelay => {
            turn(&site.redis_way, Weather::Slow(REDIS_SLOWER), hold).await;
            Ok(())
        }
        Kind::ClientsHang => {
            turn(&site.clients, Weather::Silent, hold).await;
            Ok(())
        }
        Kind::RedisHang => {
            turn(&site.redis_way, Weather::Silent, hold).await;
            Ok(())
        }
        // It has an installation of its own.
        Kind::DiskFull => Ok(()),
    }
}

async fn kill(site: &mut Site, role: Role, victim: usize, down: Duration) -> anyhow::Result<()> {
    site.kill(role, victim).await?;
    last(down).await;
    site.up(role, victim).await
}

/// Stands still until all it had is the other's, and then goes on as if nothing had happened.
async fn zombie(site: &mut Site, role: Role, victim: usize, hold: Duration) -> anyhow::Result<()> {
    site.pause(role, victim)?;
    let other = (victim + 1) % OF_EACH;
    site.until_it_has_all(role, other).await?;
    last(hold).await;
    site.resume(role, victim)
}

async fn roll(site: &mut Site, role: Role, between: Duration) -> anyhow::Result<()> {
    for number in 0..OF_EACH {
        if number > 0 {
            last(between).await;
        }
        site.stop(role, number).await?;
        site.ready(role, number).await?;
    }
    Ok(())
}

async fn cut(way: &Way, between: Duration) {
    for number in 0..CUTS {
        if number > 0 {
            last(between).await;
        }
        way.cut();
    }
}

async fn turn(way: &Way, weather: Weather, hold: Duration) {
    way.set(weather);
    last(hold).await;
    way.set(Weather::Fair);
}
