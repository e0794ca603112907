//! Single commands: all that is no script.
//!
//! Each of them is a custom command to the library, which puts those on the wire at once, as it does scripts. The others (its version
//! 10.1) it keeps while more seem to be waiting, going by a count that is too high for ever once something that waited was refused:
//! because too much did, or because its client had ended and was started again. From then on such a command lay there until the next
//! script came by, and where nothing happened any more the check once a second (rule 20) was never answered.

use fred::{
    error::Error,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, FromValue, Value},
};

use crate::moves::followed;

/// Sends one command. Its first argument says in a cluster where it goes to, unless the client is for one node.
pub(crate) async fn command<T, C>(client: &C, name: &'static str, arguments: Vec<Value>) -> Result<T, Error>
where
    T: FromValue,
    C: ClientLike,
{
    let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
    followed(|| client.custom(command.clone(), arguments.clone())).await
}
