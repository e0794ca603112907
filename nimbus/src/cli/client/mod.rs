//! `nimbus client`: the sample client, on the Rust SDK.
//!
//! Three ways to use it: send a range of numbers to `sq`, send events by name, or listen. All three receive the same way
//! ([`receive`]), so that what arrives is shown, kept and acknowledged in one place.

mod output;
mod receive;
pub(crate) mod show;
mod sink;

use std::{ops::RangeInclusive, time::Duration};

use nimbus_client::{Client, Error, Event, Outbox};
use nimbus_config::ClientConfig;
use tokio_util::sync::CancellationToken;

use self::{
    output::Output,
    receive::{Receiver, Tally},
    sink::Sink,
};
use super::{
    ClientArgs, Connection, Talk,
    authority::{advice, authority},
    style::Style,
};
use crate::exit::{Exit, Failure, OrExit, OrUnread, tell};

/// What the numbers of `--start` and `--end` are sent to.
const SQUARES: &str = "sq";
const JSON: &str = "application/json";
/// A person waits in front of it: long enough for a server that just starts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the command until it is done, or until `interrupted`.
pub(crate) async fn run(
    args: ClientArgs,
    talk: Option<Talk>,
    config: ClientConfig,
    interrupted: CancellationToken,
) -> Result<Exit, Failure> {
    let numbers = numbers(&args)?;
    let sink = args.connection.results.as_deref().map(Sink::open).transpose().or_exit(Exit::Io)?;
    let client = connect(&args.connection, &config).await?;
    let already = client.last_seq();
    let first = numbers.as_ref().filter(|_| talk.is_none()).map(|numbers| *numbers.start());
    let events: Box<dyn Iterator<Item = Event> + Send> = match (talk, numbers) {
        (Some(Talk::Send { name, payloads }), _) => {
            Box::new(payloads.into_iter().map(move |payload| Event::new(name.clone(), payload)))
        }
        (Some(Talk::Listen), _) | (None, None) => {
            stand_by(&args.connection, &config);
            return listen(client, &args.connection, sink, interrupted).await;
        }
        // An outbox file counts on from where a killed client was: event number n is the n-th of the range.
        (None, Some(numbers)) => {
            if already > 0 && numbers.clone().count() as u64 <= already {
                tell("nimbus: this outbox file has sent all of these before; begin a new file for another range");
            }
            Box::new(numbers.skip(usize::try_from(already).unwrap_or(usize::MAX)).map(square))
        }
    };
    let total = events.size_hint().1.map(|left| already + left as u64);
    let output = Output::to_sender(&args.connection, total, first);
    let mut receiver = Receiver::new(&client, output, sink);
    let sent = async {
        for event in events {
            client.send(event).await?;
        }
        client.goodbye();
        Ok::<_, Error>(())
    };
    let outcome = tokio::select! {
        both = async { tokio::try_join!(async { sent.await.map_err(failure) }, receiver.run()) } => both.map(|_| false),
        () = interrupted.cancelled() => Ok(true),
    };
    let cut_short = outcome?;
    let remains = client.close().await;
    let tally = receiver.finish(remains.unanswered).or_unread()?;
    Ok(match (cut_short, tally) {
        (true, _) => Exit::Interrupted,
        (false, Tally { failed: 0, .. }) if remains.unanswered == 0 => Exit::Done,
        (false, _) => Exit::Failed,
    })
}

/// The numbers to send; none when both are 0.
fn numbers(args: &ClientArgs) -> Result<Option<RangeInclusive<i64>>, Failure> {
    match (args.start, args.end) {
        (0, 0) => Ok(None),
        (start, end) if start <= end => Ok(Some(start..=end)),
        (start, end) => Err(Failure::new(Exit::Usage, format!("--end {end} lies before --start {start}"))),
    }
}

fn square(number: i64) -> Event {
    Event::new(SQUARES, number.to_string()).content_type(JSON)
}

/// Where the server is, as it was given.
fn address<'a>(connection: &'a Connection, config: &'a ClientConfig) -> &'a str {
    connection.addr.as_deref().unwrap_or(&config.addr)
}

async fn connect(connection: &Connection, config: &ClientConfig) -> Result<Client, Failure> {
    let pem = authority(connection.ca_file.as_deref(), config)?;
    // With its scheme, so that what goes wrong is told of what was tried.
    let addr = match &pem {
        Some(_) => nimbus_dial::with_scheme(address(connection, config), true),
        None => address(connection, config).to_owned(),
    };
    let mut builder = Client::builder(addr).client_id(&connection.client_id).connect_timeout(CONNECT_TIMEOUT);
    if let Some(token) = &config.token {
        builder = builder.token(token.expose());
    }
    if let Some(pem) = pem {
        builder = builder.authority(pem);
    }
    if let Some(path) = &connection.outbox {
        builder = builder.outbox(Outbox::file(path));
    }
    builder.connect().await.map_err(failure)
}

/// Says that nothing is wrong although nothing comes. To standard error: what is piped on is answers and nothing else.
fn stand_by(connection: &Connection, config: &ClientConfig) {
    let client_id = Style::of_stderr().bold(&connection.client_id);
    let addr = address(connection, config);
    tell(format_args!("nimbus: connected to {addr} as {client_id}; waits for what comes, ctrl-c ends it"));
}

async fn listen(
    client: Client,
    connection: &Connection,
    sink: Option<Sink>,
    interrupted: CancellationToken,
) -> Result<Exit, Failure> {
    let mut receiver = Receiver::new(&client, Output::to_listener(connection), sink);
    let ended = tokio::select! {
        received = receiver.run() => received,
        () = interrupted.cancelled() => Ok(()),
    };
    client.close().await;
    receiver.finish(0).or_unread()?;
    ended.map(|()| Exit::Done)
}

/// The exit code of an error of the SDK, with a word on what to do.
fn failure(error: Error) -> Failure {
    let (exit, advice) = match &error {
        Error::Invalid { .. } => (Exit::Usage, ""),
        Error::Unreachable { address, .. } => (Exit::Unavailable, advice(address)),
        Error::Refused { reason, .. } if reason == "UNAUTHENTICATED" || reason == "CLIENT_ID_FORBIDDEN" => {
            (Exit::Denied, "; set NIMBUS_CLIENT_TOKEN to a token that may use this client id")
        }
        Error::Refused { code, .. } => (Exit::of_refusal(*code), ""),
        Error::Superseded { .. } => (Exit::Superseded, "; give each process a --client_id of its own"),
        Error::OutboxForeign { .. } => (Exit::Usage, "; give the --client_id that it belongs to, or name another file"),
        Error::OutboxInUse { .. } => (Exit::Unavailable, "; stop the other client, or name another file"),
        Error::OutboxDamaged { .. } | Error::OutboxOutdated { .. } => (Exit::Data, "; begin a new file"),
        Error::OutboxIo { .. } => (Exit::Io, ""),
        _ => (Exit::Unavailable, ""),
    };
    Failure::new(exit, format!("{error}{advice}"))
}
