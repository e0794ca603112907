//! `nimbus topics`: what the three topics hold, and how far their consumers are.

use clap::Args;
use nimbus_config::Config;
use serde_json::{Value, json};

use super::text;
use crate::{
    compose::{
        self,
        view::{GroupView, PartitionView},
    },
    exit::{Exit, Failure},
};

const HEADER: [&str; 8] = ["TOPIC", "PARTITION", "START", "END", "RECORDS", "GROUP", "COMMITTED", "LAG"];

#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &TopicsArgs, config: &Config) -> Result<Exit, Failure> {
    let partitions = compose::topics(config).await?;
    let totals = totals(&partitions);
    if args.json {
        text::write_json(partitions.iter().map(json_of).chain(totals.iter().map(Total::json)))?;
    } else {
        let rows: Vec<_> = partitions.iter().flat_map(rows).chain(totals.iter().flat_map(Total::rows)).collect();
        text::write_rows(HEADER, &rows)?;
    }
    Ok(Exit::Done)
}

fn records(partition: &PartitionView) -> u64 {
    partition.end.0.saturating_sub(partition.start.0)
}

fn rows(partition: &PartitionView) -> Vec<[String; 8]> {
    let committed = |group: &GroupView| group.committed.map_or("none".to_owned(), |position| position.to_string());
    let row = |group: [String; 3]| {
        let [name, committed, lag] = group;
        let range = [partition.start, partition.end].map(|position| position.to_string());
        let [start, end] = range;
        let number = partition.partition.to_string();
        [partition.topic.clone(), number, start, end, records(partition).to_string(), name, committed, lag]
    };
    if partition.groups.is_empty() {
        return vec![row(["-", "-", "-"].map(str::to_owned))];
    }
    partition.groups.iter().map(|group| row([group.group.clone(), committed(group), group.lag.to_string()])).collect()
}

/// One partition, for programs.
pub(super) fn json_of(partition: &PartitionView) -> Value {
    let groups = partition.groups.iter().map(|group| {
        json!({ "group": group.group, "committed": group.committed.map(|position| position.0), "lag": group.lag })
    });
    json!({
        "topic": partition.topic,
        "partition": partition.partition.0,
        "start": partition.start.0,
        "end": partition.end.0,
        "records": records(partition),
        "groups": groups.collect::<Vec<_>>(),
    })
}

/// One topic.
#[derive(Debug, PartialEq, Eq)]
struct Total {
    topic: String,
    records: u64,
    /// By group.
    lags: Vec<(String, u64)>,
}

fn totals(partitions: &[PartitionView]) -> Vec<Total> {
    let mut totals: Vec<Total> = Vec::new();
    for partition in partitions {
        if totals.last().is_none_or(|total| total.topic != partition.topic) {
            let lags = partition.groups.iter().map(|group| (group.group.clone(), 0)).collect();
            totals.push(Total { topic: partition.topic.clone(), records: 0, lags });
        }
        if let Some(total) = totals.last_mut() {
            total.records += records(partition);
            for ((_, lag), group) in total.lags.iter_mut().zip(&partition.groups) {
                *lag += group.lag;
            }
        }
    }
    totals
}

impl Total {
    fn rows(&self) -> Vec<[String; 8]> {
        let row = |group: &str, lag: &str| {
            let records = self.records.to_string();
            [&self.topic, "total", "-", "-", &records, group, "-", lag].map(ToOwned::to_owned)
        };
        if self.lags.is_empty() {
            return vec![row("-", "-")];
        }
        self.lags.iter().map(|(group, lag)| row(group, &lag.to_string())).collect()
    }

    fn json(&self) -> Value {
        let groups = self.lags.iter().map(|(group, lag)| json!({ "group": group, "lag": lag }));
        let groups: Vec<_> = groups.collect();
        json!({ "topic": self.topic, "partition": "total", "records": self.records, "groups": groups })
    }
}

#[cfg(test)]
mod tests {
    use nimbus_core::{Partition, Position};

    use super::*;

    fn partition(topic: &str, number: u32, end: u64, lag: Option<u64>) -> PartitionView {
        let group = |lag| GroupView { group: "ordered".to_owned(), committed: Some(Position(end - lag)), lag };
        PartitionView {
            topic: topic.to_owned(),
            partition: Partition(number),
            start: Position(1),
            end: Position(end),
            groups: lag.map(group).into_iter().collect(),
        }
    }

    #[test]
    fn totals_add_up_by_topic() {
        let all = [partition("e", 0, 5, Some(2)), partition("e", 1, 11, Some(3)), partition("d", 0, 3, None)];
        let totals = totals(&all);
        let expected = [
            Total { topic: "e".to_owned(), records: 14, lags: vec![("ordered".to_owned(), 5)] },
            Total { topic: "d".to_owned(), records: 2, lags: Vec::new() },
        ];
        assert_eq!(totals, expected);
        assert_eq!(rows(&all[1])[0].join(" "), "e 1 1 11 10 ordered 8 3");
        assert_eq!(rows(&all[2])[0].join(" "), "d 0 1 3 2 - - -");
        assert_eq!(totals[0].rows()[0].join(" "), "e total - - 14 ordered - 5");
    }
}
