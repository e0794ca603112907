//! Ends a service when the process that started it is gone without having done so, as after SIGKILL.
//!
//! A small shell waits at a pipe whose other end only this process holds. The system closes that end however this process
//! ends; the shell then kills the service and removes its temporary directory. The kernel's parent-death signal would be
//! shorter, but it fires when the *thread* ends that started the service, and tests start services from threads that end.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{Error, Result};

/// `$1` is the service, `$2` its temporary directory or nothing. Removing is repeated, because a process that is being killed
/// may still finish a write.
const SCRIPT: &str = r#"
read -r _
kill -KILL "$1" 2> /dev/null
[ -n "$2" ] || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$2" 2> /dev/null && exit 0
    sleep 0.1
done
"#;

/// Watches over one process, until it is dropped.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// Begins: when this process is gone, `pid` is killed and `remove` is removed. Drop it before the end of `pid` is collected:
    /// from then on the number may be another process's.
    ///
    /// # Errors
    /// There is no shell.
    pub fn watch(pid: u32, remove: Option<&Path>) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "nimbus-services-guard", &pid.to_string()])
            .arg(remove.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of ctrl-c, which would end the guard and not the service.
            .process_group(0)
            .spawn()
            .map_err(Error::io("sh could not be started"))?;
        Ok(Self { shell })
    }
}

impl Drop for Guard {
    /// Must come before the service's end is collected: from then on its pid may belong to another process.
    fn drop(&mut self) {
        let ended = self.shell.kill().and_then(|()| self.shell.wait());
        if let Err(error) = ended {
            eprintln!("nimbus-services: a guard could not be ended: {error}");
        }
    }
}
