//! TLS and SASL to Kafka: who has what it takes works as ever, and whoever has not is told what to correct.

use nimbus_harness::TestCluster;
use nimbus_services::{KafkaOptions, shared};

use super::{Site, own_kafka, refusals::refusal};

const USER: &str = "nimbus";
const PASSWORD: &str = "correct-horse";

const LOGIN: &str = "security.protocol=SASL_SSL;sasl.mechanism=SCRAM-SHA-256;sasl.username=nimbus";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_with_tls_and_passwords_works_and_whoever_is_not_let_in_is_told_why() -> anyhow::Result<()> {
    let secured = KafkaOptions::default().secured(USER, PASSWORD);
    let (Some(kafka), Some(redis)) = (own_kafka(secured).await?, shared::redis()) else { return Ok(()) };
    let (Some(address), authority) = (kafka.secured_address(), kafka.authority().display().to_string()) else {
        anyhow::bail!("no secured listener")
    };
    let with = |properties: &str| {
        TestCluster::new(&address, &redis).env("NIMBUS_KAFKA_PROPERTIES", format!("{LOGIN};{properties}"))
    };
    let site = Site::start(&with(&format!("sasl.password={PASSWORD};ssl.ca.location={authority}"))).await?;
    let mut load = site.load(8);
    load.progress(1_000).await?;
    site.balanced(load.finish().await)?;
    drop(site);

    let wrong_password = with(&format!("sasl.password=battery-staple;ssl.ca.location={authority}"));
    let unknown_authority = with(&format!("sasl.password={PASSWORD}"));
    let no_tls = TestCluster::new(&address, &redis);
    let plain = kafka.address();
    let needless_tls = with(&format!("sasl.password={PASSWORD}")).env("NIMBUS_KAFKA_BROKERS", &plain);
    let cases = [
        (wrong_password, "does not accept the user or the password", "sasl.password"),
        (unknown_authority, "certificate is not trusted", "ssl.ca.location"),
        (no_tls, "speaks another protocol", "security.protocol"),
        (needless_tls, "speaks another protocol", "security.protocol"),
    ];
    for (cluster, what, remedy) in cases {
        let refused = refusal(&cluster).await?;
        println!("{refused}");
        for words in [what, remedy, "NIMBUS_KAFKA_PROPERTIES", "exit status: 64"] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
        assert!(!refused.contains("battery-staple") && !refused.contains(PASSWORD), "{refused}");
    }
    Ok(())
}
