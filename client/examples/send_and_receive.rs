//! Sends numbers and prints their squares as they come.
//!
//! `cargo run -p nimbus-client --example send_and_receive -- http://127.0.0.1:50051`

use nimbus_client::{Client, Event, Incoming};

#[tokio::main]
async fn main() -> Result<(), nimbus_client::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = Client::builder(address).client_id("example-sender").connect().await?;

    // Sending and receiving go on at the same time: a sender that is held back must not hold back the receiver.
    let sender = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 1..=100 {
                client.send(Event::new("sq", number.to_string()).content_type("application/json")).await?;
            }
            // No more events: the server delivers what is outstanding, then `recv` returns `None`.
            client.goodbye();
            Ok::<_, nimbus_client::Error>(())
        }
    });

    while let Some(incoming) = client.recv().await? {
        match incoming {
            Incoming::Answer(answer) => match (answer.seq, answer.into_result()) {
                (seq, Ok(body)) => println!("{seq}: {}", String::from_utf8_lossy(&body.payload)),
                (seq, Err(failure)) => println!("{seq}: {failure}"),
            },
            Incoming::Gap(gap) => println!("may have missed results between {} and {}", gap.from, gap.to),
            other => println!("{other:?}"),
        }
    }
    sender.await.expect("the sender does not panic")?;
    client.finish().await
}
