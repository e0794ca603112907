//! What is in the picture; whether it is beautiful, somebody has to look.

use super::*;
use crate::report::tests::sample_report;

#[test]
fn every_fault_has_its_band_and_its_label_and_no_label_covers_another() {
    let report = sample_report();
    let picture = svg(&report);
    assert_eq!(picture.matches(r#"class="label""#).count(), report.faults.len());
    for fault in &report.faults {
        assert!(picture.contains(&label(fault)), "{}", label(fault));
    }
    let x = time(&report);
    let placed = rows(&report.faults, &x);
    for (number, row) in &placed {
        let begins = |number: usize| {
            let fault = &report.faults[number];
            label_x(x.at(fault.course.began_s), &label(fault))
        };
        let end = begins(*number) + LETTER * label(&report.faults[*number]).chars().count() as f64;
        assert!(end <= WIDTH, "it ends within the picture");
        let next = placed.iter().find(|(other, at)| other > number && at == row);
        assert!(next.is_none_or(|(other, _)| begins(*other) >= end));
    }
}

#[test]
fn many_faults_have_upright_labels_one_beside_the_other() {
    let mut report = sample_report();
    report.faults = report.faults.iter().cycle().take(3 * MANY).cloned().collect();
    let picture = svg(&report);
    assert_eq!(picture.matches("rotate(-90)").count(), 3 * MANY);
    let places =
        picture.split("translate(").skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<f64>().unwrap());
    let places: Vec<_> = places.collect();
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= SIDE_BY_SIDE - 0.2), "{places:?}");
}

#[test]
fn a_second_without_answers_breaks_the_line() {
    let mut report = sample_report();
    report.timeline[3].latency = None;
    let picture = svg(&report);
    let line = picture.lines().find(|line| line.starts_with(r#"<path class="p99""#)).unwrap();
    assert_eq!(line.matches('M').count(), 2);
}

#[test]
fn a_run_that_was_cut_short_at_once_has_a_picture_too() {
    let mut report = sample_report();
    report.timeline.clear();
    report.faults.clear();
    assert!(svg(&report).ends_with("</svg>\n") && !svg(&report).contains("NaN"));
}
