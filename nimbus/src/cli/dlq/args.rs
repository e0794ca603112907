//! What can be said after `nimbus dlq`, and which letters that means.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use nimbus_consumers::dead_letters::{Filter, LetterId};
use nimbus_core::{ClientId, EventName, clock::UnixMillis};

use super::output::millis;

#[derive(Debug, Args)]
pub(crate) struct DlqArgs {
    /// A data directory whose server is stopped [default: Kafka if NIMBUS_KAFKA_BROKERS is set, else NIMBUS_DATA_DIR]
    #[arg(long, visible_alias = "data_dir", global = true, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Prints one JSON object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Lists dead letters, the oldest first: those that are open, unless --all is given
    #[command(after_help = "Examples:
  nimbus dlq list --client phone-1
  nimbus dlq list --since 2026-08-01T00:00:00Z --until 12h --json
  nimbus dlq list --all --limit 20                   also what was replayed or purged

Nothing matched: exit code 0, and a line on standard error.")]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Also those that were replayed or purged
        #[arg(long)]
        all: bool,
    },
    /// Shows everything of one dead letter: the event with its payload (as text, or as hex), why it failed and what became
    /// of it
    Show {
        /// Which, as `list` names it
        #[arg(value_name = "ID")]
        id: LetterId,
    },
    /// Appends events once more, with the same identity and a replay number; the answers are extras
    #[command(after_help = "Examples:
  nimbus dlq replay 3:41
  nimbus dlq replay 3:41 3:57 5:2 --yes
  nimbus dlq replay --event resize --since 1d --dry-run
  nimbus dlq replay --yes                            everything that is open

A letter that is named is replayed whatever became of it; if one of them was purged, nothing is
replayed. A filter means those that are open. Each client's events go in the order in which they failed. Each line that it
writes is done and durable. It can be begun again after a failure or a crash: up to 64 letters may
be open then although they were replayed.")]
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// Says that you mean more than one
        #[arg(long)]
        yes: bool,
        /// Only shows what would be replayed
        #[arg(long)]
        dry_run: bool,
    },
    /// Marks dead letters as not wanted any more; retention deletes their bytes in the end
    #[command(after_help = "Examples:
  nimbus dlq purge 3:41 --yes
  nimbus dlq purge --reason EXECUTOR_GAVE_UP --until 7d --yes

A purged letter is not listed (`list --all` does) and not replayed any more. Nothing is
overwritten: its bytes stay in the log until retention deletes them. `nimbus data erase` overwrites
everything of one client.")]
    Purge {
        #[command(flatten)]
        selection: Selection,
        /// Says that you mean it
        #[arg(long)]
        yes: bool,
        /// Only shows what would be purged
        #[arg(long)]
        dry_run: bool,
    },
}

/// Letters by name, or by filter.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Which, as `list` names them; else the filters say which of the open ones
    #[arg(value_name = "ID", conflicts_with_all = FilterArgs::NAMES)]
    pub(super) ids: Vec<LetterId>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

impl Selection {
    /// Whether anything was said at all.
    pub(super) fn is_everything(&self) -> bool {
        self.ids.is_empty() && self.filter == FilterArgs::default()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(super) struct FilterArgs {
    /// Of this client
    #[arg(long, value_name = "ID", value_parser = ClientId::try_new)]
    client: Option<ClientId>,
    /// Of events with this name
    #[arg(long, value_name = "NAME", value_parser = EventName::try_new)]
    event: Option<EventName>,
    /// That failed for exactly this reason, such as ATTEMPTS_EXHAUSTED
    #[arg(long)]
    reason: Option<String>,
    /// That failed then or later: so long ago (90m, 2h, 7d), or a moment (2026-08-01T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<When>,
    /// That failed before: so long ago, or a moment
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<When>,
    /// At most so many, the oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl FilterArgs {
    const NAMES: [&str; 6] = ["client", "event", "reason", "since", "until", "limit"];

    /// The filter, and how many letters at most.
    pub(super) fn resolve(&self, now: UnixMillis, settled: bool) -> (Filter, usize) {
        let at = |when: &Option<When>| when.as_ref().map(|when| when.resolve(now));
        let filter = Filter {
            client: self.client.clone(),
            event: self.event.clone(),
            reason: self.reason.clone(),
            since: at(&self.since),
            until: at(&self.until),
            settled,
        };
        (filter, self.limit.unwrap_or(usize::MAX))
    }
}

/// A moment, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Ago(Duration),
    At(UnixMillis),
}

impl When {
    fn resolve(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::Ago(ago) => UnixMillis(now.0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))),
            Self::At(moment) => moment,
        }
    }
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(When::Ago(ago));
    }
    let moment = humantime::parse_rfc3339_weak(text).ok().and_then(millis);
    moment.map(When::At).ok_or_else(|| "write how long ago, as 2h, or a moment, as 2026-08-01T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(words: &str) -> Result<DlqArgs, clap::Error> {
        let cli = Cli::try_parse_from(["nimbus", "dlq"].into_iter().chain(words.split_whitespace()))?;
        match cli.command {
            Command::Dlq(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn moments_are_said_in_two_ways() {
        let now = UnixMillis(1_785_585_600_000);
        let hour = |text| when(text).map(|when| when.resolve(now).0);
        assert_eq!(hour("2h"), Ok(now.0 - 7_200_000));
        assert_eq!(hour("1d 30m"), Ok(now.0 - 88_200_000));
        assert_eq!(hour("2026-08-01T11:00:00Z"), Ok(now.0 - 3_600_000));
        assert_eq!(hour("2026-08-01 11:00:00"), Ok(now.0 - 3_600_000));
        assert_eq!(hour("9000 years"), Ok(0));
        for wrong in ["", "yesterday", "10", "2026-08-01T25:00:00Z", "1960-01-01T00:00:00Z"] {
            assert!(when(wrong).unwrap_err().contains("2h"), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["", "show", "show 3", "replay 3:x", "replay 3:1 --client a", "list 3:1", "list --since soon"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["list --client a/b", "purge --event", "list --limit -1", "show 1:2 --all"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for right in ["list --all --json", "replay 3:1 3:2 --yes", "purge --limit 3 --data-dir d", "replay"] {
            assert!(parse(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn only_a_selection_that_says_nothing_is_everything() {
        for (words, expected) in [("replay --yes", true), ("replay 1:2", false), ("replay --limit 3", false)] {
            let Action::Replay { selection, .. } = parse(words).unwrap().action else { panic!("{words}") };
            assert_eq!(selection.is_everything(), expected, "{words}");
        }
    }
}
