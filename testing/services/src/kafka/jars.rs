//! The broker's jars: fetched by Maven once, into the target directory, and a formatted data directory to begin with.
//!
//! Several test processes may come here at once: a lock lets one of them work. What is half done when a process is killed lies
//! under another name and is made anew.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{classes, secured::User, settings, write};
use crate::{Error, Result, services_dir, tools};

/// The crate's `pom.xml`, which pins what is fetched.
const POM: &str = include_str!("../../pom.xml");

/// A copy of the pom stands for: everything is there. Another pom, another fetch.
const STAMP: &str = "pom.xml";

/// How much of Maven's output is shown when it fails.
const SHOWN_LINES: usize = 12;

/// The version of Kafka that is started, as the pom says.
pub fn version() -> &'static str {
    let after = POM.split_once("<kafka.version>").map_or("", |(_, rest)| rest);
    after.split_once("</kafka.version>").map_or("", |(version, _)| version)
}

/// Where everything lies that a broker needs and does not write to.
#[derive(Debug)]
pub(super) struct Jars {
    dir: PathBuf,
}

impl Jars {
    pub(super) fn classpath(&self) -> OsString {
        self.dir.join("jars").join("*").into()
    }

    pub(super) fn logging(&self) -> PathBuf {
        self.dir.join("log4j.properties")
    }

    /// What a new broker's data directory holds. Making one takes a Java process and a second; copying takes neither.
    pub(super) fn formatted(&self) -> PathBuf {
        self.dir.join("formatted")
    }

    /// Java's archive of the broker's classes, see [`classes`].
    pub(super) fn classes(&self) -> PathBuf {
        self.dir.join("classes.jsa")
    }

    fn are_there(&self) -> bool {
        self.classes().exists() && fs::read_to_string(self.dir.join(STAMP)).is_ok_and(|text| text == POM)
    }
}

/// Waits while another process is at it.
pub(super) fn prepare() -> Result<Jars> {
    let services = services_dir();
    let jars = Jars { dir: services.join(format!("kafka-{}", version())) };
    if jars.are_there() {
        return Ok(jars);
    }
    let cannot = || format!("{} could not be used", services.display());
    fs::create_dir_all(&services).map_err(Error::io(cannot()))?;
    let lock = File::create(services.join("kafka.lock")).map_err(Error::io(cannot()))?;
    lock.lock().map_err(Error::io(cannot()))?;
    if !jars.are_there() {
        make(&jars)?;
        // Not before all is where it stays: the archive knows the jars by their paths.
        classes::archive(&jars)?;
    }
    Ok(jars)
}

fn make(jars: &Jars) -> Result<()> {
    let maven = tools::maven()?;
    let part = Jars { dir: services_dir().join(format!("kafka-{}.part", version())) };
    let cannot = || format!("{} could not be made", jars.dir.display());
    for old in [&part.dir, &jars.dir] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(Error::io(cannot()))?;
        }
    }
    fs::create_dir_all(&part.dir).map_err(Error::io(cannot()))?;
    eprintln!("nimbus-services: fetching Kafka {} (46 MB, once)", version());
    fetch(&maven, &part.dir)?;
    write(&part.logging(), settings::LOGGING)?;
    format_once(&part)?;
    write(&part.dir.join(STAMP), POM)?;
    fs::rename(&part.dir, &jars.dir).map_err(Error::io(cannot()))
}

fn fetch(maven: &Path, dir: &Path) -> Result<()> {
    let pom = dir.join("fetch.xml");
    write(&pom, POM)?;
    let mut command = Command::new(maven);
    command.args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime", "--file"]);
    command.arg(&pom).arg(format!("-DoutputDirectory={}", dir.join("jars").display()));
    let (succeeded, output) = run(command, "mvn")?;
    if succeeded { Ok(()) } else { Err(Error::Fetch { output }) }
}

fn format_once(part: &Jars) -> Result<()> {
    let properties = part.dir.join("format.properties");
    let seat = settings::Seat { own: 0, broker: 9092, secured: None, controllers: vec![9093] };
    write(&properties, &settings::server(&seat, &part.dir, &[]))?;
    format(part, &properties, None)?;
    let data = settings::data(&part.dir);
    fs::rename(&data, part.formatted()).map_err(Error::io(format!("{} could not be renamed", data.display())))
}

/// Makes the data directory that these properties name, with this user in it.
pub(super) fn format(jars: &Jars, properties: &Path, user: Option<&User>) -> Result<()> {
    let mut command = Command::new(tools::java()?);
    command.args(settings::java(128, &jars.logging())).arg("-cp").arg(jars.classpath()).arg("kafka.tools.StorageTool");
    command.args(["format", "--cluster-id", settings::CLUSTER, "--config"]).arg(properties);
    if let Some(user) = user {
        command.arg("--add-scram").arg(user.scram());
    }
    let (succeeded, output) = run(command, "java")?;
    if succeeded { Ok(()) } else { Err(Error::Answer { name: "Kafka's storage tool", answer: output }) }
}

/// Whether it succeeded, and the end of its output.
fn run(mut command: Command, name: &str) -> Result<(bool, String)> {
    let output = command.output().map_err(Error::io(format!("{name} could not be started")))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    Ok((output.status.success(), lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_pins_one_version() {
        assert!(version().split('.').all(|part| part.parse::<u32>().is_ok()), "{}", version());
    }
}
