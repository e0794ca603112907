//! `nimbus data`: what an operator can do with a data directory. The work is done by `nimbus_embedded::tools`; this shows it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use nimbus_core::ClientId;
use nimbus_embedded::tools::{self, CheckReport, LostRecords, RepairReport, ToolError};
use serde::Serialize;

use crate::{
    compose,
    exit::{Exit, Failure, OrExit, OrUnread},
};

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// The data directory [default: NIMBUS_DATA_DIR, or ./data]
    #[arg(long, visible_alias = "data_dir", global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Reads everything, changes nothing, and lists what is wrong; works while a server runs
    Check,
    /// Sets damaged parts aside, keeps the rest, and lists what is lost; the server must be stopped
    Repair,
    /// Copies the log to a directory that is empty or does not exist, and checks the copy; works while a server runs
    Backup {
        /// Where to
        to: PathBuf,
    },
    /// Makes the data directory from a backup; it must be empty or not exist
    Restore {
        /// The backup
        from: PathBuf,
    },
    /// Erases everything of one client, for good; the server must be stopped
    Erase {
        /// Whose
        client_id: String,
        /// Says that you mean it
        #[arg(long)]
        yes: bool,
    },
}

/// Does it. Blocks: there is nothing else to do meanwhile.
pub(crate) fn run(args: &DataArgs, default_dir: &Path) -> Result<Exit, Failure> {
    let dir = args.data_dir.as_deref().unwrap_or(default_dir);
    match &args.action {
        Action::Check => {
            let report = tools::check(dir).map_err(failure)?;
            show(args, &report, || check_text(dir, &report))?;
            Ok(if report.is_good() { Exit::Done } else { Exit::Data })
        }
        Action::Repair => {
            let report = tools::repair(dir).map_err(failure)?;
            show(args, &report, || repair_text(dir, &report))?;
            Ok(Exit::Done)
        }
        Action::Backup { to } => {
            let report = tools::backup(dir, to).map_err(failure)?;
            let text = || {
                format!(
                    "copied {} files, {} bytes, {} records to {}, and checked the copy",
                    report.files,
                    report.bytes,
                    report.records,
                    to.display()
                )
            };
            show(args, &report, text)?;
            Ok(Exit::Done)
        }
        Action::Restore { from } => {
            let report = tools::restore(from, dir).map_err(failure)?;
            let text = || {
                format!(
                    "restored {} records into {}\nIt has a new epoch ({}): clients that come back are told of a gap, since \
                     what happened after the backup is gone.",
                    report.records,
                    dir.display(),
                    report.epoch
                )
            };
            show(args, &report, text)?;
            Ok(Exit::Done)
        }
        Action::Erase { client_id, yes } => {
            let client = ClientId::try_new(client_id).or_exit(Exit::Usage)?;
            if !yes {
                let what = format!(
                    "this erases everything of {client} in {} for good; say --yes if you mean it",
                    dir.display()
                );
                return Err(Failure::new(Exit::Usage, what));
            }
            let report = tools::erase(dir, &client).map_err(failure)?;
            let text = || {
                let mut text =
                    format!("erased {} records of {client}; wrote {} segments anew", report.records, report.segments);
                if report.quarantined > 0 {
                    text += &format!(
                        "\n{} files in quarantine/ were not looked into and may hold data of this client: delete them when you \
                         no longer need them",
                        report.quarantined
                    );
                }
                text + "\nBackups keep what they have: delete or replace them."
            };
            show(args, &report, text)?;
            Ok(Exit::Done)
        }
    }
}

fn show(args: &DataArgs, report: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let text = if args.json { serde_json::to_string(report).or_exit(Exit::Failed)? } else { text() };
    writeln!(io::stdout(), "{text}").or_unread()
}

/// The exit code of a data tool that could not do its work.
pub(crate) fn failure(error: ToolError) -> Failure {
    match error {
        ToolError::NoLog { .. } | ToolError::NotEmpty { .. } => Failure::new(Exit::Usage, error),
        ToolError::BadCopy { .. } => Failure::new(Exit::Data, error),
        ToolError::TooBusy => Failure::new(Exit::Unavailable, error),
        ToolError::Log(error) => compose::open_failure(error),
    }
}

fn check_text(dir: &Path, report: &CheckReport) -> String {
    let mut text = format!(
        "{}: {} segments, {} bytes, {} partitions, epoch {}\n",
        dir.display(),
        report.segments,
        report.bytes,
        report.partitions,
        report.epoch.as_deref().unwrap_or("unknown")
    );
    for topic in &report.topics {
        let erased = if topic.erased > 0 { format!(", {} erased", topic.erased) } else { String::new() };
        append(&mut text, format_args!("  {}: {} records{erased}\n", topic.topic, topic.records));
    }
    if report.torn_bytes > 0 {
        append(
            &mut text,
            format_args!(
                "  {} bytes of an unfinished write at the end: no damage, nothing of it was acknowledged\n",
                report.torn_bytes
            ),
        );
    }
    for finding in &report.findings {
        append(&mut text, format_args!("  DAMAGE {finding}\n"));
    }
    text += if report.is_good() {
        "all is well"
    } else {
        "Keep a copy of the directory, then `nimbus data repair` sets the damaged parts aside and keeps the rest; or restore a \
         backup."
    };
    text
}

fn repair_text(dir: &Path, report: &RepairReport) -> String {
    if report.findings.is_empty() {
        return format!("{}: nothing is damaged, nothing was changed", dir.display());
    }
    let mut text = format!("{}: repaired\n", dir.display());
    for finding in &report.findings {
        append(&mut text, format_args!("  damage: {finding}\n"));
    }
    for file in &report.quarantined {
        append(&mut text, format_args!("  kept as it was: {file}\n"));
    }
    for LostRecords { topic, partition, from, to } in &report.lost {
        let end = to.map_or_else(|| "the end of the log".to_owned(), |to| to.to_string());
        append(&mut text, format_args!("  LOST {topic}, partition {partition}: offsets {from} to {end}\n"));
    }
    if report.state_may_be_old {
        text += "  The state of consumers and mailboxes may be older than it was: some work is done again.\n";
    }
    if let Some(epoch) = &report.epoch {
        append(&mut text, format_args!("  new epoch: {epoch}; clients that come back are told of a gap\n"));
    }
    text += "Nothing that could be read was thrown away.";
    text
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a string cannot fail");
}
