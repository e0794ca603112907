//! Looks for what is wrong with an installation. No check hides another: what cannot be reached is one problem, and what
//! can is looked at.

use nimbus_config::Config;
use nimbus_core::{
    LogEpoch,
    clock::{Clock as _, SystemClock},
};
use nimbus_kafka::{Finding, KafkaAdmin, OpenError, Severity};
use nimbus_redis::{RedisError, RedisMetrics, RedisStore};

use crate::compose::{settings, view::Check};

/// Clocks may differ by so much: deadlines and retention are off by as much.
const CLOCKS_MS: u64 = 1_000;

/// What a service says about the epoch: nothing, if it cannot be asked.
type Told = Option<Option<LogEpoch>>;

/// Every check of Kafka and Redis.
pub(crate) async fn examine(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    // Both at once: each may have to wait for an answer that does not come.
    let ((of_kafka, in_kafka), (of_redis, in_redis)) = tokio::join!(kafka(config), redis(config));
    checks.extend(of_kafka);
    checks.extend(of_redis);
    checks.push(epochs(in_kafka, in_redis));
    checks
}

async fn kafka(config: &Config) -> (Vec<Check>, Told) {
    let brokers = config.kafka.brokers.join(",");
    let admin = match KafkaAdmin::try_new(settings::kafka(config, "doctor")) {
        Ok(admin) => admin,
        Err(error) => return (vec![kafka_problem("kafka settings", &error)], None),
    };
    let missing = match admin.missing().await {
        Ok(missing) => missing,
        Err(error) => return (vec![kafka_problem("kafka", &error)], None),
    };
    let mut checks = vec![Check::ok("kafka", format!("{brokers} answers"))];
    if missing.is_empty() {
        checks.push(Check::ok("topics", "all three are there"));
        match admin.inspect().await {
            Ok(prepared) => {
                let count = config.storage.partitions.0;
                checks.push(Check::ok("partitions", format!("{count} in each topic, as configured")));
                checks.extend(prepared.findings().iter().cloned().map(topic_settings));
            }
            Err(error) => {
                let name = match &error {
                    OpenError::Partitions { .. } | OpenError::Unequal { .. } => "partitions",
                    OpenError::Compacted { .. } => "topic settings",
                    OpenError::Missing { .. } => "topics",
                    _ => "kafka",
                };
                checks.push(kafka_problem(name, &error));
            }
        }
    } else {
        let remedy = "start a role of nimbus, which makes them, or correct NIMBUS_KAFKA_*_TOPIC";
        checks.push(Check::problem("topics", format!("there is no {}", missing.join(", no ")), remedy));
        return (checks, Some(None));
    }
    match admin.kept().await {
        Ok(kept) => (checks, Some(kept.epoch())),
        Err(error) => {
            checks.push(kafka_problem("epoch", &error));
            (checks, None)
        }
    }
}

fn topic_settings(finding: Finding) -> Check {
    match finding.severity {
        Severity::Fine => Check::ok("topic settings", finding.what),
        Severity::Warning => Check::warning("topic settings", finding.what, finding.remedy),
    }
}

fn kafka_problem(name: &'static str, error: &OpenError) -> Check {
    let text = error.to_string();
    let remedy = match error {
        OpenError::Unreachable { .. } => {
            "see that it runs, and correct NIMBUS_KAFKA_BROKERS or NIMBUS_KAFKA_PROPERTIES"
        }
        OpenError::Config(_) => "correct the NIMBUS_KAFKA_* settings",
        OpenError::Refused { .. } => "give this user the rights that it needs (NIMBUS_KAFKA_PROPERTIES)",
        OpenError::Thread(_) => "raise the limit on threads",
        // These say in their last part what to do.
        _ => text.rsplit_once("; ").map_or("", |(_, remedy)| remedy),
    };
    let remedy = match error {
        OpenError::Partitions { .. } => format!("{remedy}; the setting is NIMBUS_PARTITIONS"),
        OpenError::Property { .. } => format!("{remedy} from NIMBUS_KAFKA_PROPERTIES"),
        OpenError::NotLetIn { .. } => format!("{remedy}; the setting is NIMBUS_KAFKA_PROPERTIES"),
        _ => remedy.to_owned(),
    };
    let found = text.rsplit_once("; ").map_or(text.as_str(), |(found, _)| found);
    Check::problem(name, found, remedy)
}

async fn redis(config: &Config) -> (Vec<Check>, Told) {
    let redis_config = settings::redis(config);
    let address = redis_config.shown_url();
    let store = match RedisStore::connect_to_examine(redis_config, RedisMetrics::default()).await {
        Ok(store) => store,
        Err(error) => {
            let remedy = match &error {
                RedisError::Address { .. } => "correct NIMBUS_REDIS_ADDRESS, or the prefixes",
                RedisError::Denied { .. } => "correct the user and the password in NIMBUS_REDIS_ADDRESS",
                RedisError::Tls { remedy, .. } => remedy,
                RedisError::Authorities { .. } => {
                    "name a file with certificates of authorities in NIMBUS_REDIS_CA_FILE"
                }
                _ => "see that it runs and lets us in, or correct NIMBUS_REDIS_ADDRESS",
            };
            return (vec![Check::problem("redis", error.to_string(), remedy)], None);
        }
    };
    let mut checks = vec![Check::ok("redis", format!("{address} answers"))];
    checks.extend(redis_settings(&store).await);
    checks.push(match store.try_scripts().await {
        Ok(count) => Check::ok("scripts", format!("{count} are loaded, and scripts run")),
        Err(error) => Check::problem(
            "scripts",
            error.to_string(),
            "let this user call SCRIPT LOAD, EVAL and EVALSHA (ACL SETUSER)",
        ),
    });
    checks.push(clock(&store).await);
    let told = match store.epoch().await {
        Ok(epoch) => Some(epoch),
        Err(error) => {
            let remedy = "look at what stands in the key that ends in :epoch, or whether this user may read it";
            checks.push(Check::problem("epoch", error.to_string(), remedy));
            None
        }
    };
    store.close().await;
    (checks, told)
}

async fn redis_settings(store: &RedisStore) -> Vec<Check> {
    const NAME: &str = "redis settings";
    let cannot = |error: RedisError| vec![Check::problem(NAME, error.to_string(), "let this user call INFO")];
    let (summaries, findings) = match (store.summaries().await, store.findings().await) {
        (Ok(summaries), Ok(findings)) => (summaries, findings),
        (Err(error), _) | (_, Err(error)) => return cannot(error),
    };
    let facts = summaries.into_iter().map(|summary| Check::ok(NAME, summary));
    facts
        .chain(findings.into_iter().map(|finding| match finding.is_fatal {
            true => Check::problem(NAME, finding.message, finding.remedy),
            false => Check::warning(NAME, finding.message, finding.remedy),
        }))
        .collect()
}

async fn clock(store: &RedisStore) -> Check {
    let before = SystemClock.now().0;
    let theirs = match store.time().await {
        Ok(time) => time.0,
        Err(error) => return Check::problem("clock", error.to_string(), "let this user call TIME"),
    };
    let after = SystemClock.now().0;
    judge_clock(before, theirs, after)
}

/// They asked between `before` and `after`: what lies within is no difference.
fn judge_clock(before: u64, theirs: u64, after: u64) -> Check {
    let ahead = theirs.saturating_sub(after);
    let behind = before.saturating_sub(theirs);
    let found = match (ahead, behind) {
        (0, 0) => "redis has the same time as this machine".to_owned(),
        (ahead, 0) => format!("redis is {ahead} ms ahead of this machine"),
        (_, behind) => format!("redis is {behind} ms behind this machine"),
    };
    if ahead.max(behind) > CLOCKS_MS {
        Check::warning("clock", found, "keep the clocks together (NTP): deadlines and retention go by them")
    } else {
        Check::ok("clock", found)
    }
}

fn epochs(kafka: Told, redis: Told) -> Check {
    const NAME: &str = "epoch";
    match (kafka, redis) {
        (Some(Some(kafka)), Some(Some(redis))) if kafka == redis => Check::ok(NAME, format!("{kafka} in both")),
        (Some(Some(kafka)), Some(Some(redis))) => Check::problem(
            NAME,
            format!("kafka has {kafka} and redis {redis}: they are not of one installation, or one was replaced"),
            "correct NIMBUS_KAFKA_RESULTS_TOPIC, NIMBUS_KAFKA_GROUP_PREFIX or NIMBUS_REDIS_KEY_PREFIX; if they are \
             right, start every role again",
        ),
        (Some(Some(kafka)), Some(None)) => Check::warning(
            NAME,
            format!("kafka has {kafka} and redis none: redis was emptied, or nothing has run since"),
            "nothing, if a role runs: it puts it there again",
        ),
        (Some(None), Some(Some(redis))) => Check::warning(
            NAME,
            format!("redis has {redis} and kafka none: the results topic was made anew, or the broker forgot it"),
            "start every role again: it finds out which, and clients are told of a gap if there is one",
        ),
        (Some(None), Some(None)) => Check::ok(NAME, "none yet: no role has worked here"),
        (None, Some(_)) => Check::warning(NAME, "not compared: kafka does not tell", "see to kafka first"),
        (Some(_), None) => Check::warning(NAME, "not compared: redis does not tell", "see to redis first"),
        (None, None) => Check::warning(NAME, "not compared: neither kafka nor redis tells", "see to both first"),
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::compose::view::Severity as Found;

    #[test]
    fn clocks_may_differ_by_a_second_and_by_what_asking_takes() {
        assert_eq!(judge_clock(1_000, 5_000, 9_000).severity, Found::Ok);
        assert_eq!(judge_clock(1_000, 2_100, 1_100).severity, Found::Ok);
        assert_eq!(judge_clock(1_000, 2_101, 1_100).severity, Found::Warning);
        assert!(judge_clock(5_000, 1_000, 5_001).found.contains("4000 ms behind"));
    }

    #[test]
    fn epochs_that_differ_are_a_problem_and_one_that_is_missing_is_none() {
        let [a, b] = [1, 2].map(|n| Some(LogEpoch(Ulid(n))));
        assert_eq!(epochs(Some(a), Some(a)).severity, Found::Ok);
        assert_eq!(epochs(Some(a), Some(b)).severity, Found::Problem);
        assert_eq!(epochs(Some(a), Some(None)).severity, Found::Warning);
        assert_eq!(epochs(None, Some(a)).severity, Found::Warning);
        assert_eq!(epochs(Some(None), Some(None)).severity, Found::Ok);
    }

    #[test]
    fn what_kafka_refuses_is_told_with_its_remedy_apart() {
        let check = kafka_problem("partitions", &OpenError::Partitions { found: 8, wanted: 4 });
        assert!(check.found.ends_with("the configuration says 4"), "{check:?}");
        assert!(check.remedy.starts_with("set it to 8") && check.remedy.contains("NIMBUS_PARTITIONS"), "{check:?}");
    }
}
