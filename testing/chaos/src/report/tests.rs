//! The forms of a report that was made up.

use std::time::Duration;

use super::*;
use crate::Limit;

/// Three faults in twenty seconds, two of them close together; one did not recover.
pub(crate) fn sample_report() -> Report {
    let config = Config::new("nimbus", 7, Limit::Faults(3), "out");
    let latency = Latency { p50_ms: 4.0, p99_ms: 21.0, max_ms: 30.5 };
    let fault = |number, kind, victim, began_s: f64, recovered_s: Option<f64>| {
        let ended_s = began_s + 1.0;
        let answered_s = recovered_s.map(|at| at - 0.5);
        let course = Course { began_s, ended_s, answered_s, recovered_s, outstanding: 3, latency: Some(latency) };
        let step = Step { number, kind, victim, quiet: Duration::ZERO, hold: Duration::ZERO };
        Fault::new(&step, course)
    };
    let faults = vec![
        fault(1, Kind::KillServer, 1, 4.0, Some(6.25)),
        fault(2, Kind::RedisFlush, 0, 8.0, Some(12.0)),
        fault(3, Kind::KillServer, 0, 14.0, None),
    ];
    let sample = |second: u32| Sample {
        at_s: f64::from(second),
        sent: 1_000,
        answered: 990,
        latency: Some(latency),
        outstanding: 10,
    };
    Report {
        interrupted: false,
        seconds: 20.0,
        steady: Steady { latency, good_p99_ms: 63.0 },
        books: Books { sent: 20_000, answered: 20_000, ..Books::default() },
        kinds: Fault::by_kind(&faults),
        faults,
        timeline: (1..=20).map(sample).collect(),
        ..Report::empty(&config, Duration::from_secs(1_700_000_000), PathBuf::from("logs"))
    }
}

#[test]
fn kinds_have_the_median_and_the_worst_of_their_faults() {
    let kinds = sample_report().kinds;
    assert_eq!(kinds.iter().map(|kind| kind.kind).collect::<Vec<_>>(), [Kind::KillServer, Kind::RedisFlush]);
    assert_eq!((kinds[0].faults, kinds[0].not_recovered), (2, 1));
    assert_eq!((kinds[0].recovery_p50_s, kinds[0].recovery_max_s), (Some(2.25), Some(2.25)));
    assert_eq!((kinds[0].after_max_s, kinds[1].recovery_max_s), (Some(1.25), Some(4.0)));
}

#[test]
fn events_that_were_never_answered_after_a_fault_are_no_clean_run_nor_is_a_death() {
    let mut report = sample_report();
    assert!(!report.is_clean());
    assert!(report.markdown().contains("fault 3 (kill-server 1): events had no answer"), "{}", report.markdown());
    report.faults.pop();
    assert!(report.is_clean() && report.markdown().contains("nothing lost, nothing twice"));
    let death = Death { name: "router-1".to_owned(), status: "exit status: 1".to_owned() };
    let dead = Report { deaths: vec![death], ..report.clone() };
    assert!(!dead.is_clean() && dead.markdown().contains("router-1 ended by itself"));
    let lost = Report { books: Books { lost: 1, ..report.books }, ..report };
    assert!(!lost.is_clean() && lost.markdown().contains("1 violations"));
}

#[test]
fn the_json_form_is_read_back_and_its_fields_have_the_names_of_version_one() {
    let report = sample_report();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], "nimbus-chaos/1");
    assert_eq!(json["faults"][0]["kind"], "kill-server");
    assert_eq!(json["faults"][0]["victim"], 2);
    assert_eq!(json["faults"][0]["recovery_s"], 2.25);
    assert_eq!(json["faults"][2]["recovery_s"], serde_json::Value::Null);
    for field in ["sent", "answered", "lost", "duplicated", "reordered", "foreign", "wrong", "gaps", "strays", "ended"]
    {
        assert!(json["books"][field].is_u64(), "books.{field}");
    }
    for field in ["at_s", "sent", "answered", "latency", "outstanding"] {
        assert!(!json["timeline"][0][field].is_null(), "timeline[].{field}");
    }
    let back: Report = serde_json::from_value(json).unwrap();
    assert_eq!(Report { logs: report.logs.clone(), ..back }, report);
}

#[test]
fn the_command_that_repeats_it_names_the_seed_and_the_kinds() {
    let mut report = sample_report();
    assert_eq!(report.command(), "nimbus chaos --minutes 1 --seed 7");
    report.planned = vec![Kind::KillServer, Kind::DiskFull];
    (report.rate, report.clients) = (300.0, 8);
    let expected = "nimbus chaos --minutes 1 --seed 7 --clients 8 --rate 300 --only kill-server,disk-full";
    assert_eq!(report.command(), expected);
}

#[test]
fn all_three_forms_are_written_over_earlier_ones() {
    let directory = tempfile::tempdir().unwrap();
    let report = sample_report();
    for _ in 0..2 {
        report.write(directory.path()).unwrap();
    }
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(read("report.md").contains("| kill-server | 2 (1 not recovered) |"), "{}", read("report.md"));
    assert!(read("timeline.svg").starts_with("<svg "));
    assert!(read("report.json").contains("nimbus-chaos/1"));
}
