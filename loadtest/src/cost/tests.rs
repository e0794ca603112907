//! This process as a server of its own.

use super::*;

fn machine(load_cores: f64, busy: f64) -> Machine {
    Machine { host: "a".to_owned(), cores: 2, load_cores, load_cpu_seconds: load_cores, busy, seconds: 1.0 }
}

#[test]
fn a_load_without_cpu_left_is_told() {
    let text = machine(1.0, 0.6).to_string();
    assert_eq!(text, "the load process used 1.00 of 2 cores, the whole machine was 60 % busy");
    let text = machine(1.85, 0.6).to_string();
    assert!(text.starts_with("this machine is the limit: the load process used 1.85 of 2 cores"), "{text}");
    let text = machine(0.5, 0.95).to_string();
    assert!(text.starts_with("this machine is the limit: ") && text.ends_with("95 % busy"), "{text}");
    assert!(!Machine { seconds: 0.1, ..machine(1.0, 1.0) }.is_the_limit(), "too short to tell");
    assert!(machine(0.0, 1.0).is_the_limit(), "somebody else leaves nothing to a load that hardly does anything");
}

#[test]
fn a_process_that_is_not_there_is_refused() {
    let error = Watch::new(&[std::process::id(), u32::MAX]).unwrap_err();
    assert!(matches!(&error, LoadError::Config(why) if why.contains("no process 4294967295")), "{error}");
}

#[test]
fn what_is_used_is_divided_by_events_and_streams() {
    let mut watch = Watch::new(&[std::process::id(), std::process::id()]).unwrap();
    assert_eq!(watch.servers.len(), 1, "one process is counted once");
    watch.look();
    watch.begin();
    watch.end();
    // As if it had used so much meanwhile.
    watch.used.as_mut().unwrap().seconds = 4.0;
    let server = &mut watch.servers[0];
    (server.cpu_from, server.cpu_to) = (1.0, 3.0);
    (server.rss_before_kib, server.rss_max_kib) = (1024.0, 3072.0);
    let expected = ServerCost {
        host: proc::host(),
        pid: std::process::id(),
        ended: false,
        cpu_seconds: 2.0,
        cores: 0.5,
        cpu_us_per_event: 2000.0,
        cpu_ms_per_stream: 200.0,
        rss_before_mib: 1.0,
        rss_max_mib: 3.0,
        rss_kib_per_stream: 204.8,
    };
    assert_eq!(watch.cost(1000, 10).servers, [expected]);
}

#[test]
fn what_never_began_cost_nothing() {
    let mut watch = Watch::new(&[]).unwrap();
    watch.end();
    assert_eq!(watch.cost(0, 1), Cost::default());
}

#[test]
fn a_server_that_ended_keeps_what_was_seen_last() {
    let mut server =
        Server { pid: u32::MAX, ended: false, rss_before_kib: 1.0, rss_max_kib: 7.0, cpu_from: 1.0, cpu_to: 2.0 };
    server.look();
    assert_eq!((server.ended, server.rss_max_kib, server.cpu_to), (true, 7.0, 2.0));
}
