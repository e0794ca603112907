//! A server: its processes, and a directory of its own.

use std::{net::SocketAddr, path::Path};

use nimbus_loadtest::Destination;
use nimbus_services::Certificates;
use tempfile::TempDir;
use tokio::process::Command;

use super::{LISTENING, kind::Kind, process::Process};

/// A running server. Killed when dropped; its files are removed.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    processes: Vec<Process>,
    /// What it uses that runs without it: names and process ids.
    pub(super) uses: Vec<(&'static str, u32)>,
    /// Of gRPC, host:port.
    address: String,
    /// PEM: who vouches for it, if it speaks TLS.
    authority: Option<String>,
    /// Where the process that routes tells its metrics.
    pub(super) router_admin: Option<SocketAddr>,
    _files: TempDir,
}

impl Server {
    pub(super) fn new(kind: Kind, processes: Vec<Process>, address: String, files: TempDir) -> Self {
        Self { kind, processes, uses: Vec::new(), address, authority: None, router_admin: None, _files: files }
    }

    /// One that needs nothing but a directory.
    pub(super) async fn start_embedded(kind: Kind, nimbus: &Path, directory: &Path) -> anyhow::Result<Self> {
        let files = files_in(directory)?;
        let command = match kind {
            Kind::Baseline | Kind::Echo => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("baseline");
                if kind == Kind::Baseline {
                    command.arg("--directory").arg(files.path());
                }
                command
            }
            _ => standalone(nimbus, files.path())?,
        };
        let (process, address) = Process::start(kind.to_string(), command, address_in).await?;
        Ok(Self::new(kind, vec![process], address, files))
    }

    /// Nimbus, with a certificate.
    pub(super) async fn start_with_tls(nimbus: &Path, directory: &Path) -> anyhow::Result<Self> {
        let files = files_in(directory)?;
        let certificates = Certificates::make()?;
        certificates.write(files.path(), ["ca.crt", "tls.crt", "tls.key"])?;
        let mut command = standalone(nimbus, files.path())?;
        command
            .env("NIMBUS_TLS_CERT_FILE", files.path().join("tls.crt"))
            .env("NIMBUS_TLS_KEY_FILE", files.path().join("tls.key"));
        let (process, address) = Process::start("Nimbus with TLS".to_owned(), command, address_in).await?;
        let authority = Some(certificates.authority);
        Ok(Self { authority, ..Self::new(Kind::Nimbus, vec![process], address, files) })
    }

    pub(super) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.authority.is_some()
    }

    /// Where it is, and who vouches for it.
    pub(super) fn destination(&self) -> Destination {
        Destination { address: self.address.clone(), authority: self.authority.clone() }
    }

    /// Resident memory of its processes, in KiB.
    pub(super) fn resident_kib(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(Process::resident_kib).sum()
    }

    /// CPU time that its processes have used, in seconds.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(Process::cpu_seconds).sum()
    }

    /// Names and process ids of everything that works for it.
    pub(super) fn roles(&self) -> anyhow::Result<Vec<(String, u32)>> {
        let own = self.processes.iter().map(|process| Ok((process.name.clone(), process.pid()?)));
        own.chain(self.uses.iter().map(|(name, pid)| Ok(((*name).to_owned(), *pid)))).collect()
    }

    /// Ends it. None of its processes may have ended before.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }
}

pub(super) fn files_in(directory: &Path) -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("nimbus-bench-").tempdir_in(directory)?)
}

fn standalone(nimbus: &Path, files: &Path) -> anyhow::Result<Command> {
    let mut command = nimbus_command(nimbus, "standalone", files)?;
    command.env("NIMBUS_ADMIN_ADDR", "off").env("NIMBUS_DATA_DIR", files.join("data"));
    Ok(command)
}

/// Every setting at its default, except where it listens; what it logs is not measured.
pub(super) fn nimbus_command(nimbus: &Path, role: &str, files: &Path) -> anyhow::Result<Command> {
    // The directory of the process is another one.
    let mut command = Command::new(nimbus.canonicalize()?);
    command.arg(role).env_clear().env("NIMBUS_PORT", "0").env("NIMBUS_LOG", "warn").current_dir(files);
    Ok(command)
}

/// The address in the line that says where a server listens.
pub(super) fn address_in(line: &str) -> Option<String> {
    line.split_once(LISTENING).map(|(_, address)| address.trim().to_owned())
}
