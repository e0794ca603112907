//! `nimbus-bench run` from its start to its report, with the baselines in the place of Nimbus: what is tried is the benchmark, and
//! what it measures here means nothing.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use nimbus_services::{kafka, nats, redis, shared};
use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_nimbus-bench");

/// Says what `nimbus` says and takes the settings that it takes.
fn stub(directory: &Path, admin: SocketAddr) -> PathBuf {
    let script = format!(
        r#"#!/bin/sh
export PATH=/usr/bin:/bin
case "$1" in
standalone)
    mkdir -p "$NIMBUS_DATA_DIR"
    exec "{BENCH}" baseline --directory "$NIMBUS_DATA_DIR" ;;
server)
    [ "$2 $NIMBUS_PORT $NIMBUS_ADMIN_ADDR" = "--json 0 off" ] || exit 64
    exec "{BENCH}" glue --json --kafka "$NIMBUS_KAFKA_BROKERS" --redis "$NIMBUS_REDIS_ADDRESS" \
        --prefix "${{NIMBUS_KAFKA_EVENTS_TOPIC%-events}}" ;;
consumers)
    [ "$2 $NIMBUS_ADMIN_ADDR" = "--json 127.0.0.1:0" ] || exit 64
    echo '{{"kind":"ready","role":"consumers","grpc":null,"admin":"{admin}"}}'
    exec sleep 600 ;;
esac
exit 64
"#
    );
    let path = directory.join("nimbus");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A router that has applied another 100 batches of 64 at every look. It ends with the test.
fn metrics() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (look, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let (records, batches) = (6400 * look, 100 * look);
            let text = format!("nimbus_router_records_total {records}\nnimbus_router_batches_total {batches}\n");
            stream.get_mut().write_all(format!("HTTP/1.1 200 OK\r\n\r\n{text}").as_bytes()).unwrap();
        }
    });
    address
}

/// Whether Kafka and Redis can be started.
fn has_services() -> bool {
    let prepared = kafka::prepare().and_then(|()| redis::prepare());
    if let Err(error) = &prepared {
        assert!(error.is_unavailable(), "{error}");
        shared::skip(&format!("starts Kafka and Redis, and cannot: {error}"));
    }
    prepared.is_ok()
}

fn run(directory: &Path, change: impl FnOnce(&mut Command)) -> (Output, Option<Value>) {
    let nimbus = stub(directory, metrics());
    let results = directory.join("results");
    let mut command = Command::new(BENCH);
    command.args(["run", "--rounds", "1", "--seconds", "0.2", "--warmup", "0.05", "--idle", "0"]);
    command.arg("--nimbus").arg(nimbus).arg("--directory").arg(directory).arg("--results").arg(&results);
    change(&mut command);
    let output = command.output().unwrap();
    let json = fs::read(results.join("latest.json")).ok().map(|json| serde_json::from_slice(&json).unwrap());
    (output, json)
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn both_parts_are_measured_and_reported() {
    if !has_services() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (output, json) = run(directory.path(), |command| {
        command.arg("--distributed");
    });
    let (text, errors) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("| baseline | Nimbus | Nimbus / baseline |"), "{text}");
    assert!(text.contains("| glue | Nimbus, distributed | Nimbus / glue |"), "{text}");
    let json = json.unwrap();
    let measured = json["measured"].as_array().unwrap();
    // A short load on a busy machine may measure nothing, but it is always answered.
    assert!(measured.iter().all(|one| one["report"]["answered"].as_u64().unwrap() > 0), "{json}");
    // Five servers under ten loads each, and two figures of each load for three pairs of them; with NATS one more of each.
    let with_nats = nats::prepare().is_ok();
    let counts = if with_nats { (60, 80) } else { (50, 60) };
    assert_eq!((measured.len(), json["comparisons"].as_array().unwrap().len()), counts, "{json}");
    assert_eq!(text.contains("| NATS JetStream | Nimbus | Nimbus / NATS JetStream |"), with_nats, "{text}");
    let of_roles = |one: &Value| one["cpu"].as_array().unwrap().len();
    assert!(measured.iter().all(|one| of_roles(one) > 0), "{json}");
    // Half of the capacity and ten times the clients, of four servers; and three payloads, of all but the glue.
    assert_eq!(json["measured_beyond"].as_array().unwrap().len(), 17, "{json}");
    assert!(text.contains("| payload of 1024 bytes, throughput | has no room for one | "), "{text}");
    assert!(json["distributed"]["measured"]["kafka"][0]["bytes"].as_u64().unwrap() > 0, "{json}");
    let costs = json["distributed"]["measured"]["redis"].as_array().unwrap();
    assert_eq!(costs.len(), 2);
    for cost in costs {
        let load = measured.iter().find(|one| {
            let report = &one["report"];
            one["kind"] == "distributed"
                && report["protocol"] == cost["protocol"]
                && report["streams"] == 16
                && report["window"] == 64
        });
        assert_eq!(cost["answered"], load.unwrap()["report"]["answered"], "{json}");
        assert_eq!((&cost["records"], &cost["batches"]), (&Value::from(6400.0), &Value::from(100.0)));
        assert!(cost["redis_cpu_us"].as_f64().unwrap() > 0.0, "{cost}");
    }
}

#[test]
fn when_the_distributed_part_fails_the_embedded_one_is_told() {
    if !has_services() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (output, json) = run(directory.path(), |command| {
        let script = fs::read_to_string(directory.path().join("nimbus")).unwrap();
        fs::write(directory.path().join("nimbus"), script.replace("consumers)", "others)")).unwrap();
        command.arg("--distributed");
    });
    let (text, errors) = (said(&output.stdout), said(&output.stderr));
    assert!(!output.status.success() && errors.contains("the distributed part has failed"), "{text}\n{errors}");
    assert!(text.contains("| baseline | Nimbus | Nimbus / baseline |"), "{text}");
    assert!(text.contains("THE DISTRIBUTED PART IS NOT MEASURED: nimbus consumers ended before"), "{text}");
    assert!(json.unwrap()["distributed"]["not_measured"].is_string());
}

/// Without java, that is.
fn without_services(command: &mut Command) {
    command.env("PATH", "/nowhere").env_remove("CI");
}

#[test]
fn without_services_the_distributed_part_is_left_out_aloud() {
    let directory = tempfile::tempdir().unwrap();
    let (output, json) = run(directory.path(), without_services);
    let (text, errors) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(errors.contains("WITHOUT THE DISTRIBUTED PART: java is missing"), "{errors}");
    assert!(text.contains("THE DISTRIBUTED PART IS NOT MEASURED: java is missing"), "{text}");
    assert!(text.contains("NATS JETSTREAM IS NOT MEASURED"), "{text}");
    assert!(json.unwrap()["distributed"]["not_measured"].as_str().unwrap().contains("java is missing"));
}

#[test]
fn what_was_asked_for_is_not_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut Command)| {
        let (output, json) = run(directory.path(), |command| {
            without_services(command);
            change(command);
        });
        assert!(!output.status.success() && json.is_none(), "{output:?}");
        said(&output.stderr)
    };
    let asked = refused(|command| {
        command.arg("--distributed");
    });
    assert!(asked.contains("the distributed part cannot be measured") && asked.contains("java is missing"), "{asked}");
    let under_ci = refused(|command| {
        command.env("CI", "true");
    });
    assert!(under_ci.contains("java is missing"), "{under_ci}");
}
