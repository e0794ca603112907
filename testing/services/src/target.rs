//! Where things are kept that outlive one run: beside what cargo builds, so that `cargo clean` takes them too.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The file that cargo puts at the top of every target directory.
const MARK: &str = "CACHEDIR.TAG";

/// `services` in the target directory that the running program was built into; in the workspace's own if it was copied
/// elsewhere. It may not exist yet.
pub fn services_dir() -> PathBuf {
    let built = env::current_exe().ok().and_then(|path| of_program(&path));
    let target = built.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    target.join("services")
}

fn of_program(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|dir| dir.join(MARK).is_file()).map(Path::to_owned)
}
