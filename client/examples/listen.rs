//! Receives whatever comes for a client id, acknowledges each item when it is done with it, and shows the connection.
//!
//! `cargo run -p nimbus-client --example listen -- http://127.0.0.1:50051 device-1`

use nimbus_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client_id = arguments.next().unwrap_or_else(|| "example-listener".to_owned());

    // `start` does not wait for the server: a listener can begin before it.
    let client = Client::builder(address).client_id(client_id).start().await?;
    let mut state = client.state();
    loop {
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                println!("{:?}", *state.borrow_and_update());
            }
            received = client.recv_unacked() => {
                let Some((incoming, receipt)) = received? else { return Ok(()) };
                println!("{incoming:?}");
                client.ack(receipt).await?;
            }
            _ = tokio::signal::ctrl_c() => {
                client.close().await;
                return Ok(());
            }
        }
    }
}
