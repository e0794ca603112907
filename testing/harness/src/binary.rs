//! Finds the binary under test, and builds it first, so that no test runs against yesterday's.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use anyhow::{Context as _, ensure};

/// The path of the `nimbus` binary, built just now.
///
/// # Errors
/// The build failed; its output is in the message.
pub fn nimbus_binary() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|message| anyhow::anyhow!("{message}"))
}

fn build() -> anyhow::Result<PathBuf> {
    // A test binary lies in <target>/<profile>/deps, beside what it tests.
    let test = std::env::current_exe().context("where is the test binary?")?;
    let profile = test.ancestors().nth(2).context("the test binary lies in no target directory")?;
    let binary = profile.join("nimbus");
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the harness lies in the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "nimbus"]).current_dir(workspace);
    // What cargo says of the test's own package: build scripts of dependencies (ring's) look at these names, and half of the tree would
    // be built anew each time that a test and a shell take turns.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    if profile.file_name() == Some(OsStr::new("release")) {
        command.arg("--release");
    }
    let output = command.output().context("cargo could not be started")?;
    ensure!(output.status.success(), "nimbus does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(binary.is_file(), "{} is not there after the build", binary.display());
    Ok(binary)
}

/// Runs one command of the binary to its end.
///
/// # Errors
/// It could not be started. A failing exit code is no error: look at the output.
pub fn run_nimbus<I, S>(args: I) -> anyhow::Result<Output>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(nimbus_binary()?);
    command.args(args).env_clear().envs(std::env::vars_os().filter(|(name, _)| !is_ours(name)));
    command.output().context("nimbus could not be started")
}

/// Settings of whoever runs the tests must not leak into what they test.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("NIMBUS_")
}
