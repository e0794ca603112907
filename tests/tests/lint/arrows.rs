//! Which crate may depend on which, and where each vendor lives. The tables are the design.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::sources::{expect_none, root};

/// One crate of the workspace and the others that it may name.
struct Arrow {
    from: &'static str,
    to: &'static [&'static str],
    /// Additionally in its own tests.
    in_tests: &'static [&'static str],
}

const fn arrow(from: &'static str, to: &'static [&'static str], in_tests: &'static [&'static str]) -> Arrow {
    Arrow { from, to, in_tests }
}

/// May depend on every crate: the composition root, and what measures or injects from the outside.
const SEES_EVERYTHING: [&str; 3] = ["nimbus", "nimbus-tests", "nimbus-benches"];

/// May name every vendor: what they test and measure is what such a vendor's users would see.
const FROM_THE_OUTSIDE: [&str; 2] = ["nimbus-tests", "nimbus-benches"];

const ARROWS: &[Arrow] = &[
    arrow("nimbus-proto", &[], &[]),
    arrow("nimbus-core", &[], &[]),
    arrow("nimbus-envelope", &["nimbus-core", "nimbus-proto"], &[]),
    arrow("nimbus-config", &["nimbus-core"], &[]),
    arrow("nimbus-telemetry", &["nimbus-core"], &[]),
    arrow("nimbus-contracts", &["nimbus-core"], &[]),
    // Adapters know the ports and the stored form, never one another and never who uses them.
    arrow("nimbus-embedded", &["nimbus-core", "nimbus-envelope"], &["nimbus-contracts"]),
    arrow("nimbus-kafka", &["nimbus-core", "nimbus-envelope"], &["nimbus-contracts", "nimbus-services"]),
    arrow("nimbus-redis", &["nimbus-core", "nimbus-envelope"], &["nimbus-contracts", "nimbus-services"]),
    // What works on ports never names an adapter; its tests may run on the embedded one.
    arrow(
        "nimbus-server",
        &["nimbus-core", "nimbus-proto"],
        &["nimbus-embedded", "nimbus-executors", "nimbus-consumers", "nimbus-services"],
    ),
    arrow("nimbus-consumers", &["nimbus-core"], &["nimbus-embedded", "nimbus-executors"]),
    arrow("nimbus-executors", &["nimbus-core"], &[]),
    // The SDK and what is built on it speak the wire protocol and nothing else.
    arrow("nimbus-dial", &[], &["nimbus-services"]),
    arrow("nimbus-client", &["nimbus-dial", "nimbus-proto"], &[]),
    arrow("nimbus-loadtest", &["nimbus-dial", "nimbus-proto"], &[]),
    arrow("nimbus-harness", &["nimbus-client", "nimbus-proto"], &[]),
    // An abstraction of its own; only its tests look at what it is an abstraction of.
    arrow("nimbus-model", &[], &["nimbus-core"]),
    // Injects through the ports, and stands where the composition root does: it knows what works on ports, and no adapter.
    arrow(
        "nimbus-simulation",
        &["nimbus-client", "nimbus-consumers", "nimbus-core", "nimbus-executors", "nimbus-server"],
        &["nimbus-contracts"],
    ),
    // Sees what it breaks through processes and the wire, as a user does.
    arrow("nimbus-chaos", &["nimbus-client", "nimbus-harness", "nimbus-services"], &[]),
    // Starts what Nimbus talks to, and knows nothing of Nimbus.
    arrow("nimbus-services", &[], &[]),
];

/// A crate from elsewhere, and the only ones of ours that may name it, besides [`FROM_THE_OUTSIDE`].
const VENDORS: &[(&str, &[&str])] = &[
    ("rdkafka", &["nimbus-kafka"]),
    ("fred", &["nimbus-redis"]),
    ("redis", &[]),
    ("lz4_flex", &["nimbus-redis"]),
    // What one would build instead is measured, and that is all.
    ("async-nats", &[]),
    // TLS towards Redis, and at the edge; clients only look at certificates, tonic has TLS of its own for them.
    ("rustls", &["nimbus-dial", "nimbus-redis", "nimbus-server"]),
    ("tokio-rustls", &["nimbus-server"]),
    ("rcgen", &["nimbus-services"]),
    ("envy", &["nimbus-config"]),
    ("dotenvy", &["nimbus-config"]),
    ("axum", &["nimbus-telemetry"]),
    ("tracing-subscriber", &["nimbus-telemetry"]),
    ("rustix", &["nimbus-chaos", "nimbus-embedded", "nimbus-harness", "nimbus-services"]),
    ("governor", &["nimbus-server"]),
    ("stateright", &["nimbus-model"]),
    // Around tonic's services at the edge, for timers that tonic's own server has no setting for; a client's connector.
    ("hyper", &["nimbus-server"]),
    ("hyper-util", &["nimbus-client", "nimbus-server"]),
    ("tonic-health", &["nimbus-server"]),
    ("tonic-reflection", &["nimbus-server"]),
    // Where there is a command line.
    ("clap", &["nimbus", "nimbus-chaos", "nimbus-services"]),
    ("indicatif", &["nimbus", "nimbus-chaos"]),
    ("comfy-table", &["nimbus"]),
    ("tonic", &["nimbus-client", "nimbus-dial", "nimbus-harness", "nimbus-loadtest", "nimbus-proto", "nimbus-server"]),
    // Errors without a type are for programs and tests, never for a library.
    ("anyhow", &["nimbus", "nimbus-chaos", "nimbus-harness", "nimbus-loadtest", "nimbus-services"]),
];

/// The domain names no vendor; these are the language it is written in.
const CORE_MAY_USE: &[&str] = &[
    "ahash",
    "async-trait",
    "bytes",
    "dashmap",
    "futures-core",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
    "ulid",
];

fn metadata() -> Metadata {
    let manifest = root().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata runs wherever cargo does")
}

fn is_ours(metadata: &Metadata, name: &str) -> bool {
    metadata.workspace_packages().iter().any(|package| package.name == name)
}

fn named(package: &Package, kinds: &[DependencyKind]) -> BTreeSet<String> {
    let of_kind = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
    of_kind.map(|dependency| dependency.name.clone()).collect()
}

#[test]
fn every_crate_has_its_row_of_arrows() {
    let metadata = metadata();
    let has_row = |name: &str| SEES_EVERYTHING.contains(&name) || ARROWS.iter().any(|arrow| arrow.from == name);
    let packages = metadata.workspace_packages();
    let missing: Vec<_> =
        packages.iter().map(|package| package.name.to_string()).filter(|name| !has_row(name)).collect();
    expect_none("crates without a row in ARROWS; say what they may depend on", &missing);
}

#[test]
fn dependencies_follow_the_arrows() {
    let metadata = metadata();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(arrow) = ARROWS.iter().find(|arrow| package.name == arrow.from) else { continue };
        for name in named(package, &[DependencyKind::Normal, DependencyKind::Build]) {
            if is_ours(&metadata, &name) && !arrow.to.contains(&name.as_str()) {
                found.push(format!("{} → {name}: it may use {:?}", package.name, arrow.to));
            }
        }
        for name in named(package, &[DependencyKind::Development]) {
            let allowed = arrow.to.contains(&name.as_str()) || arrow.in_tests.contains(&name.as_str());
            if is_ours(&metadata, &name) && !allowed {
                found.push(format!("tests of {} → {name}: they may use {:?} too", package.name, arrow.in_tests));
            }
        }
    }
    expect_none("dependencies against the arrows", &found);
}

#[test]
fn each_vendor_lives_in_one_place() {
    let mut found = Vec::new();
    for package in metadata().workspace_packages() {
        let kinds = [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development];
        for name in named(package, &kinds) {
            if let Some((vendor, homes)) = VENDORS.iter().find(|(vendor, _)| *vendor == name)
                && !homes.contains(&package.name.as_str())
                && !FROM_THE_OUTSIDE.contains(&package.name.as_str())
            {
                found.push(format!("{} names {vendor}, which lives in {homes:?}", package.name));
            }
        }
    }
    expect_none("vendors outside their home", &found);
}

#[test]
fn core_names_no_vendor() {
    let metadata = metadata();
    let core = metadata.packages.iter().find(|package| package.name == "nimbus-core").expect("there is a core");
    let used = named(core, &[DependencyKind::Normal, DependencyKind::Build]);
    let found: Vec<_> = used.into_iter().filter(|name| !CORE_MAY_USE.contains(&name.as_str())).collect();
    expect_none("dependencies of core beyond its language", &found);
}
