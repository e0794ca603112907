//! `nimbus chaos` runs the `nimbus-chaos` that lies beside this binary, as git and cargo run theirs: what breaks an installation on
//! purpose, and starts Kafka and Redis for it, is no part of what runs in production.

use std::{convert::Infallible, ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use crate::exit::{Exit, Failure, OrExit};

const PROGRAM: &str = "nimbus-chaos";

/// Becomes that program, and so returns only if there is none.
pub(crate) fn run(args: &[OsString]) -> Result<Infallible, Failure> {
    let program = std::env::current_exe().or_exit(Exit::Io)?.with_file_name(PROGRAM);
    if !program.is_file() {
        let message = format!(
            "there is no {PROGRAM} beside this program ({}); in the sources, `make chaos` builds and runs it, and \
             `cargo build --release --package {PROGRAM}` builds it",
            program.display()
        );
        return Err(Failure::new(Exit::Unavailable, message));
    }
    let error = Command::new(&program).args(args).exec();
    Err(Failure::new(Exit::Unavailable, format!("{} could not be run: {error}", program.display())))
}
