//! Sends one event per line of standard input, and survives being killed at any moment: start it again with the same file
//! and it goes on where it was. Each answer is printed once; after a kill those of the last moments may be printed again.
//!
//! `seq 1 100000 | cargo run -p nimbus-client --example file_outbox -- http://127.0.0.1:50051 /tmp/example-outbox`

use nimbus_client::{Client, Error, Event, Incoming, Outbox};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let path = arguments.next().unwrap_or_else(|| "example-outbox".to_owned());

    // Room for a long time offline: `send` waits for disk, not for the server, until this is used up.
    let outbox = Outbox::file(path).capacity(100_000);
    let client = Client::builder(address).client_id("example-file").outbox(outbox).start().await?;

    let receiver = tokio::spawn({
        let client = client.clone();
        async move {
            while let Some(incoming) = client.recv().await? {
                match incoming {
                    // (outbox id, seq) names the event for good: the key for whatever is done with its answer.
                    Incoming::Answer(answer) => println!("{} {:?}", answer.seq, answer.outcome),
                    Incoming::Gap(gap) => println!("may have missed results between {} and {}", gap.from, gap.to),
                    other => println!("{other:?}"),
                }
            }
            Ok::<_, Error>(())
        }
    });

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        client.send(Event::new("sq", line).content_type("application/json")).await?;
    }
    client.finish().await?;
    receiver.await.expect("the receiver does not panic")
}
