//! `nimbus dlq`: lists, shows, replays and purges dead letters. The work is done by `nimbus_consumers::dead_letters`; this
//! says which letters, asks whether they are meant, and shows what became of them.

mod args;
mod output;

use std::io::{self, IsTerminal as _, Write as _};

use nimbus_config::Loaded;
use nimbus_consumers::dead_letters::{
    DeadLettersError, Fate, Filter, Found, Letter, LetterId, LetterState, fetch, find, purge, replay, scan,
};
use nimbus_core::{
    clock::{Clock as _, SystemClock},
    ports::log::{DeadLetterLog, LogError},
};

pub(crate) use self::args::DlqArgs;
use self::args::{Action, Selection};
use crate::{
    compose::{self, Place, Ports},
    exit::{Exit, Failure, OrExit, OrUnread, tell},
};

/// Does it, and lets go of the logs whatever comes of it.
pub(crate) async fn run(args: &DlqArgs, loaded: &Loaded) -> Result<Exit, Failure> {
    let place = Place::new(args.data_dir.as_ref(), loaded);
    let ports = compose::open_ports(&place, &loaded.config).await?;
    let done = act(args, &ports, &place).await;
    let closed = (ports.close)().await.or_exit(Exit::Io);
    let exit = done?;
    closed.map(|()| exit)
}

async fn act(args: &DlqArgs, ports: &Ports, place: &Place) -> Result<Exit, Failure> {
    let log = &*ports.dead_letters;
    match &args.action {
        Action::List { filter, all } => {
            let (filter, limit) = filter.resolve(SystemClock.now(), *all);
            list(args, log, &filter, limit).await
        }
        Action::Show { id } => show(args, log, *id).await,
        Action::Replay { selection, yes, dry_run } => {
            let what = What { verb: "replay", done: "replayed", yes: *yes, dry_run: *dry_run };
            let Some(letters) = select(args, log, selection, &what, |count| count > 1).await? else {
                return Ok(Exit::Done);
            };
            refuse_purged(&letters)?;
            let mut told = Told::new(args);
            let ended =
                replay(log, &*ports.events, &SystemClock, letters, |letter, fate| told.tell(letter, fate)).await;
            let when = match place {
                Place::Directory(_) => "once the server runs again",
                Place::Distributed => "as soon as executors have run",
            };
            told.end(ended, format_args!("replayed; what comes of it goes to the clients as extras, {when}"), selection)
        }
        Action::Purge { selection, yes, dry_run } => {
            let what = What { verb: "purge", done: "purged", yes: *yes, dry_run: *dry_run };
            let Some(letters) = select(args, log, selection, &what, |_| true).await? else { return Ok(Exit::Done) };
            let mut told = Told::new(args);
            let ended = purge(log, &SystemClock, letters, |letter, fate| told.tell(letter, fate)).await;
            told.end(ended, format_args!("purged; retention deletes their bytes in the end"), selection)
        }
    }
}

async fn list(args: &DlqArgs, log: &DeadLetterLog, filter: &Filter, limit: usize) -> Result<Exit, Failure> {
    let Found { letters, matching } = scan(log, filter, limit).await.map_err(failure)?;
    write_list(args, &letters)?;
    match (matching, letters.len()) {
        (0, _) => tell(nothing_matches(filter.settled)),
        (matching, listed) if listed < matching => tell(format_args!("{listed} of {matching} dead letters")),
        (_, _) => {}
    }
    Ok(Exit::Done)
}

const fn nothing_matches(settled: bool) -> &'static str {
    if settled { "no dead letter matches" } else { "no open dead letter matches; `list --all` shows all" }
}

fn write_list(args: &DlqArgs, letters: &[Letter]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if !args.json && out.is_terminal() {
        return if letters.is_empty() { Ok(()) } else { writeln!(out, "{}", output::table(letters)).or_unread() };
    }
    for letter in letters {
        let text = if args.json { output::json_of(letter).to_string() } else { output::plain(letter) };
        writeln!(out, "{text}").or_unread()?;
    }
    Ok(())
}

async fn show(args: &DlqArgs, log: &DeadLetterLog, id: LetterId) -> Result<Exit, Failure> {
    let gone = || failure(DeadLettersError::Unknown(vec![id]));
    let letter = find(log, &[id]).await.map_err(failure)?.pop().ok_or_else(gone)?;
    let record = fetch(log, &letter).await.map_err(failure)?.ok_or_else(gone)?;
    let text = if args.json { output::full_json(&letter, &record).to_string() } else { output::full(&letter, &record) };
    writeln!(io::stdout(), "{text}").or_unread()?;
    Ok(Exit::Done)
}

/// What is about to be done.
struct What {
    verb: &'static str,
    done: &'static str,
    yes: bool,
    dry_run: bool,
}

/// The letters to do it to; `None` when there is nothing to do, which was told.
async fn select(
    args: &DlqArgs,
    log: &DeadLetterLog,
    selection: &Selection,
    what: &What,
    needs_yes: impl Fn(usize) -> bool,
) -> Result<Option<Vec<Letter>>, Failure> {
    let letters = if selection.ids.is_empty() {
        let (filter, limit) = selection.filter.resolve(SystemClock.now(), false);
        scan(log, &filter, limit).await.map_err(failure)?.letters
    } else {
        find(log, &selection.ids).await.map_err(failure)?
    };
    let count = letters.len();
    if count == 0 {
        tell(nothing_matches(false));
        return Ok(None);
    }
    if what.dry_run {
        write_list(args, &letters)?;
        tell(format_args!("{count} would be {}", what.done));
        return Ok(None);
    }
    if !what.yes && (needs_yes(count) || selection.is_everything()) {
        let everything = if selection.is_everything() { ", everything that is open" } else { "" };
        let text = format!(
            "this would {} {count} dead letter{}{everything}; say --yes if you mean it, or --dry-run to see them",
            what.verb,
            if count == 1 { "" } else { "s" }
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    Ok(Some(letters))
}

/// A purge says that nobody wants it: that is not forgotten because somebody mistypes a number.
fn refuse_purged(letters: &[Letter]) -> Result<(), Failure> {
    let purged = letters.iter().filter(|letter| matches!(letter.state, LetterState::Purged { .. }));
    let purged: Vec<_> = purged.map(|letter| letter.id.to_string()).collect();
    if purged.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failed,
        format!("purged, so not replayed: {}; nothing was done, leave them out", purged.join(" ")),
    ))
}

/// Writes down what is done as it is done. Whoever reads it may go; the work goes on.
struct Told {
    json: bool,
    done: usize,
    gone: usize,
    written: io::Result<()>,
}

impl Told {
    fn new(args: &DlqArgs) -> Self {
        Self { json: args.json, done: 0, gone: 0, written: Ok(()) }
    }

    fn tell(&mut self, letter: &Letter, fate: Fate) {
        match fate {
            Fate::Replayed(_) | Fate::Purged => self.done += 1,
            Fate::AlreadyPurged => {}
            Fate::Gone => self.gone += 1,
        }
        if self.written.is_ok() {
            self.written = writeln!(io::stdout(), "{}", output::fate(letter, fate, self.json));
        }
    }

    fn end(
        self,
        ended: Result<(), DeadLettersError>,
        how: std::fmt::Arguments<'_>,
        selection: &Selection,
    ) -> Result<Exit, Failure> {
        tell(format_args!("{} {how}", self.done));
        ended.map_err(failure)?;
        self.written.or_unread()?;
        // What was named and is not there is missing; what a filter found and retention took is not.
        Ok(if self.gone > 0 && !selection.ids.is_empty() { Exit::Failed } else { Exit::Done })
    }
}

fn failure(error: DeadLettersError) -> Failure {
    let exit = match error.log_error() {
        None | Some(LogError::Ambiguous(_) | LogError::Expired { .. }) => Exit::Failed,
        Some(LogError::Full(_) | LogError::Unavailable(_) | LogError::Closed) => Exit::Unavailable,
        Some(LogError::Damaged(_)) => Exit::Data,
        Some(LogError::Replaced(_)) => Exit::Unavailable,
    };
    Failure { exit, error: error.into() }
}
