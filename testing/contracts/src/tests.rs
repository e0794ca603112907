//! A suite's list names each of its functions: one that is left out would never run.

use std::collections::BTreeSet;

fn listed(source: &str, list: &str) -> BTreeSet<String> {
    let body = source.split_once(list).unwrap().1;
    let body = body.split_once(";\n").unwrap().1.split_once('}').unwrap().0;
    body.split_whitespace().map(str::to_owned).collect()
}

fn written(sources: &[&str]) -> BTreeSet<String> {
    let functions = sources.iter().flat_map(|source| source.split("\npub async fn ").skip(1));
    functions.map(|rest| rest.split_once('<').unwrap().0.to_owned()).filter(|name| !name.starts_with("run_")).collect()
}

#[test]
fn every_promise_is_in_its_suites_list() {
    let notifier = include_str!("notifier.rs");
    assert_eq!(listed(notifier, "macro_rules! each_notifier_promise"), written(&[notifier]));

    let log = include_str!("log.rs");
    let promises = [include_str!("log/records.rs"), include_str!("log/groups.rs")];
    assert_eq!(listed(log, "macro_rules! each_log_promise"), written(&promises));
    assert_eq!(listed(log, "macro_rules! each_log_fault_promise"), written(&[include_str!("log/faults.rs")]));
    assert_eq!(listed(log, "macro_rules! each_log_expiry_promise"), written(&[include_str!("log/expiry.rs")]));

    let mailbox = include_str!("mailbox.rs");
    let promises = [
        include_str!("mailbox/claims.rs"),
        include_str!("mailbox/fold.rs"),
        include_str!("mailbox/floors.rs"),
        include_str!("mailbox/notices.rs"),
        include_str!("mailbox/original.rs"),
        include_str!("mailbox/restarts.rs"),
    ];
    assert_eq!(listed(mailbox, "macro_rules! each_mailbox_promise"), written(&promises));
}
